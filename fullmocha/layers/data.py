"""Where batches come from: what all sources share, and the one that the caller fills."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..errors import ShapeError
from ..transformers import Transformer
from .base import Layer, Node, Shape
from .checks import is_integer

Transformers = Sequence[tuple[str, Transformer]]


@dataclass(frozen=True, kw_only=True)
class SourceLayer(Layer):
    """What sources share: they have no bottoms, and know what they deliver before the first batch."""

    transformers: Transformers = ()

    is_source: ClassVar[bool] = True
    differentiable: ClassVar[bool] = False

    def check(self) -> None:
        object.__setattr__(self, "transformers", tuple(self.transformers))
        for name, transformer in self.transformers:
            if name not in self.tops:
                raise self.refuse(f"transformers name {name!r}, which is none of its tops {list(self.tops)}")
            if not isinstance(transformer, Transformer):
                raise self.refuse(f'the transformer of "{name}" must be a Transformer, got {transformer!r}')

    def delivers(self) -> list[Shape]:
        """The tops' shapes as delivered."""
        raise NotImplementedError

    def dtype(self) -> np.dtype | None:
        """The floating type of what is delivered; None where it is integers or anybody's guess."""
        return None

    def shape(self, bottoms: list[Shape]) -> list[Shape]:
        return self.delivers()

    def next_batch(self, state: Any) -> list[np.ndarray]:
        """The next batch, one array per top; moves the cursor."""
        raise NotImplementedError

    def transform(self, batches: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The batches as the net sees them."""
        for name, transformer in self.transformers:
            if name in batches:
                try:
                    batches = batches | {name: transformer(batches[name])}
                except ShapeError as problem:
                    raise self.refuse(f'its transformer of "{name}": {problem}') from problem
        return batches

    def batch(self, state: Any, dtype: np.dtype) -> dict[str, np.ndarray]:
        """The next batch by the tops' names, cast and transformed."""
        arrays = (a.astype(dtype, copy=False) for a in self.next_batch(state))
        return self.transform(dict(zip(self.tops, arrays, strict=True)))

    def forward(self, ops: Any, at: Node) -> None:
        delivered = self.batch(at.state, at.tops[0].dtype)
        for name, top in zip(self.tops, at.tops, strict=True):
            batch = delivered[name]
            if _stripped(batch.shape) != _stripped(top.shape):
                larger = batch.shape[:2] == top.shape[:2] and all(map(int.__ge__, batch.shape[2:], top.shape[2:]))
                raise self.refuse(
                    f'delivers {batch.shape} for "{name}", the net takes {top.shape}'
                    + (
                        ". A net whose patch is smaller than what is delivered is trained or run by solve_fully(solver, net)"
                        if larger and batch.ndim == 4 == len(top.shape)
                        else "; reshape the net to what is delivered, or feed it by hand"
                    )
                )
            ops.from_host(np.ascontiguousarray(batch).reshape(top.shape), top.array)

    def backward(self, ops: Any, at: Node) -> None:
        return


@dataclass(frozen=True, kw_only=True)
class InputLayer(SourceLayer):
    """Blobs that the caller fills: `net.forward(inputs={"data": array})`, or `net.output_blobs["data"].data[...] = array`.

    Parameters
    ----------
    shapes : list of shapes
        One per top, (N, C, H, W). Caffe's Input, `input:` and MemoryData without data become this.
    """

    name: str = "input"
    shapes: Sequence[Shape] = ()

    def check(self) -> None:
        super().check()
        check_shapes(self, self.shapes)

    def delivers(self) -> list[Shape]:
        return list(self.shapes)

    def forward(self, ops: Any, at: Node) -> None:
        return  # the caller has written the tops


def _stripped(shape: Shape) -> Shape:
    """Without trailing axes of length 1: labels (N,), (N, 1) and (N, 1, 1, 1) are the same."""
    return _stripped(shape[:-1]) if shape[-1:] == (1,) else tuple(shape)


def check_shapes(layer: SourceLayer, shapes: Sequence[Shape]) -> None:
    """Refuses what is not one shape per top; the field `shapes` becomes tuples of Python's integers."""
    if len(shapes) != len(layer.tops):
        raise layer.refuse(f"needs one shape per top; got {len(shapes)} shapes for tops {list(layer.tops)}")
    for shape in shapes:
        if not isinstance(shape, (tuple, list)) or not all(is_integer(n) and n >= 1 for n in shape):
            raise layer.refuse(f"a shape is a tuple of integers >= 1; got {shape!r}")
    object.__setattr__(layer, "shapes", tuple(tuple(map(int, shape)) for shape in shapes))


def floating(dtype: np.dtype) -> np.dtype | None:
    """The type, if nets compute in it."""
    return dtype if dtype in (np.float32, np.float64) else None


def unfit(dtype: np.dtype) -> str:
    """Why values of this type are no numbers to compute with; empty where they are."""
    if dtype.kind in "biuf":
        return ""
    if dtype.kind == "c":
        return f"complex ({dtype}), and their imaginary part would be lost; give the real part, or both as two channels"
    return f"of type {dtype}; give integers or floats"
