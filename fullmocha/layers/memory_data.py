"""Batches from arrays in memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np

from .base import Shape
from .checks import count_of
from .cursor import Cursor, generator_state, own_generator, set_generator_state
from .data import SourceLayer, floating, unfit


@dataclass(frozen=True, kw_only=True)
class MemoryDataLayer(SourceLayer):
    """Delivers batches from arrays, over and over.

    Parameters
    ----------
    data : list of arrays
        One per top, samples along the first axis. The arrays are not copied: writing into them changes the next batch.
    batch_size : int
        Samples per batch; a batch may wrap around the end.
    shuffle : bool
        A new order for every epoch.
    transformers : list of (top, transformer)
        Applied in order.

    Examples
    --------
    >>> layer = MemoryDataLayer(batch_size=2, data=[np.zeros((5, 1, 8, 9)), np.zeros((5, 1))])
    >>> layer.delivers()
    [(2, 1, 8, 9), (2, 1)]
    """

    name: str = "memory-data"
    tops: Sequence[str] = ("data", "label")
    batch_size: int
    data: Sequence[np.ndarray] = field(repr=False)
    shuffle: bool = False

    def check(self) -> None:
        super().check()
        count_of(self, "batch_size")
        if len(self.data) != len(self.tops):
            raise self.refuse(f"needs one array per top; got {len(self.data)} arrays for tops {list(self.tops)}")
        object.__setattr__(self, "data", tuple(map(self._numbers, self.tops, self.data)))
        counts = {len(a) for a in self.data}
        if len(counts) != 1 or 0 in counts:
            raise self.refuse(f"all arrays need the same number of samples, at least one; got {sorted(counts)}")

    def _numbers(self, top: str, data: Any) -> np.ndarray:
        """The data of one top as an array, the same one where it is one already."""
        try:
            array = np.asarray(data)
        except ValueError as problem:
            raise self.refuse(f'the data of "{top}" are no array: {problem}') from problem
        if not array.ndim:
            raise self.refuse(
                f'the data of "{top}" need samples along their first axis; got the single value {array!r}'
            )
        if why := unfit(array.dtype):
            raise self.refuse(f'the data of "{top}" are {why}')
        return array

    def delivers(self) -> list[Shape]:
        return [(self.batch_size, *a.shape[1:]) for a in self.data]

    def dtype(self) -> np.dtype | None:
        return floating(self.data[0].dtype)

    def setup(self, ops: Any, dtype: np.dtype, rng: np.random.Generator) -> Any:
        return SimpleNamespace(cursor=Cursor(len(self.data[0]), self.shuffle, own_generator(rng)))

    def next_batch(self, state: Any) -> list[np.ndarray]:
        at = state.cursor.take(self.batch_size)
        return [a[at] for a in self.data]

    def place(self, state: Any) -> dict[str, Any]:
        return {"epoch": state.cursor.epoch, "random": generator_state(state.cursor.rng)} | state.cursor.place()

    def restore(self, state: Any, saved: Mapping[str, Any]) -> None:
        state.cursor.restore(self, saved)
        set_generator_state(self, state.cursor.rng, saved["random"])
        state.cursor.epoch = int(saved["epoch"])
