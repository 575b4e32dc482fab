"""Made-up batches: blobs that fillers fill."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

from ..initializers import ConstantInitializer, Initializer
from .base import Shape
from .cursor import generator_state, own_generator, set_generator_state
from .data import SourceLayer, check_shapes


@dataclass(frozen=True, kw_only=True)
class DummyDataLayer(SourceLayer):
    """Blobs of given shapes, constant or drawn anew for every batch, for tests and timings (Caffe's DummyData).

    Parameters
    ----------
    shapes : list of shapes
        One per top.
    fillers : list of Initializer, optional
        One per top, or one for all; by default zeros.

    Notes
    -----
    Each batch counts as an epoch, because there is nothing that it could be a part of.

    Examples
    --------
    >>> layer = DummyDataLayer(tops=["ones"], shapes=[(1, 3)], fillers=[fm.ConstantInitializer(1)])
    >>> net = fm.Net("dummy", "reference", [layer]); net.forward(); net.output_blobs["ones"].data
    0.0
    array([[1., 1., 1.]], dtype=float32)
    """

    name: str = "dummy-data"
    tops: Sequence[str] = ("data",)
    shapes: Sequence[Shape]
    fillers: Sequence[Initializer] = ()

    def check(self) -> None:
        super().check()
        check_shapes(self, self.shapes)
        fillers = tuple(self.fillers) or (ConstantInitializer(0.0),)
        if len(fillers) not in (1, len(self.tops)):
            raise self.refuse(f"needs one filler, or one per top; got {len(fillers)} for tops {list(self.tops)}")
        for filler in fillers:
            if not isinstance(filler, Initializer):
                raise self.refuse(f"a filler is an Initializer; got {filler!r}")
        object.__setattr__(self, "fillers", fillers if len(fillers) == len(self.tops) else fillers * len(self.tops))

    def delivers(self) -> list[Shape]:
        return list(self.shapes)

    def setup(self, ops: Any, dtype: np.dtype, rng: np.random.Generator) -> Any:
        return SimpleNamespace(rng=own_generator(rng), cursor=SimpleNamespace(epoch=0))

    def next_batch(self, state: Any) -> list[np.ndarray]:
        state.cursor.epoch += 1
        return [filler.draw(shape, state.rng) for filler, shape in zip(self.fillers, self.delivers(), strict=True)]

    def place(self, state: Any) -> dict[str, Any]:
        return {"epoch": state.cursor.epoch, "random": generator_state(state.rng)}

    def restore(self, state: Any, saved: Mapping[str, Any]) -> None:
        state.cursor.epoch = int(saved["epoch"])
        set_generator_state(self, state.rng, saved["random"])
