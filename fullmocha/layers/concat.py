"""Concatenation along one axis."""

from dataclasses import dataclass
from typing import Any, ClassVar

from ..errors import NotDenseError
from ..lattice import Lattice
from .base import Layer, Node, Shape
from .checks import along_axis, axis_or_batch, rank_of
from .windowed import by


@dataclass(frozen=True, kw_only=True)
class ConcatLayer(Layer):
    """Joins its bottoms, in their order.

    Parameters
    ----------
    dim : int
        Mocha's dimension, positive: 3 is the channels of a blob of four axes.
    axis : int, optional
        The same, counted as numpy does.

    Examples
    --------
    >>> ConcatLayer(name="join", bottoms=["a", "b"], tops=["ab"]).shape([(2, 3, 5, 4), (2, 4, 5, 4)])
    [(2, 7, 5, 4)]
    """

    name: str = "concat"
    dim: int = 3
    axis: int | None = None

    hands_on: ClassVar[bool] = True
    reads_flattened: ClassVar[bool] = True  # maps of one size, joined, are flattened as the joined map is

    def at_axis(self, rank: int) -> int:
        return axis_or_batch(self, self.dim, self.axis, rank)

    def shape(self, bottoms: list[Shape]) -> list[Shape]:
        if not bottoms:
            raise self.refuse("needs at least one bottom")
        first = bottoms[0]
        if not first:
            raise self.refuse(
                "joins blobs along an axis, but its first bottom is one number, which has none; reshape it"
            )
        axis = self.at_axis(len(first))
        if len({len(b) for b in bottoms}) > 1:
            raise self.refuse(f"bottoms must have equally many axes; got {' and '.join(map(str, bottoms))}")
        rest = {(*b[:axis], *b[axis + 1 :]) for b in bottoms}
        if len(rest) > 1:
            raise self.refuse(f"bottoms must agree in every axis but {axis}; got {' and '.join(map(str, bottoms))}")
        return [(*first[:axis], sum(b[axis] for b in bottoms), *first[axis + 1 :])]

    def keeps_pixels(self, bottoms: list[Shape]) -> bool:
        return self.at_axis(len(bottoms[0])) < 2

    def offsets(self, at: Node) -> list[Shape]:
        """Where each bottom starts in the top."""
        axis, starts, start = self.at_axis(len(at.tops[0].shape)), [], 0
        for x in at.bottoms:
            starts.append(along_axis(len(x.shape), axis, start))
            start += x.shape[axis]
        return starts

    def forward(self, ops: Any, at: Node) -> None:
        for x, offset in zip(at.bottoms, self.offsets(at), strict=True):
            ops.move(x.array, at.tops[0].array, source=(0,) * len(x.shape), target=offset, size=x.shape)

    def backward(self, ops: Any, at: Node) -> None:
        for x, offset in zip(at.bottoms, self.offsets(at), strict=True):
            if x.grad is not None:
                ops.move(at.tops[0].grad, x.grad, source=offset, target=(0,) * len(x.shape), size=x.shape, add=True)

    def dense(self, lattices: list[Lattice | None]) -> tuple[Layer, Lattice]:
        at = common(self, lattices)
        return self.copy(axis=_channels(self, self.at_axis(rank_of(at)))), at


def _channels(layer: Layer, axis: int) -> int:
    if axis != 1:
        raise layer.not_dense(
            f'joining along axis {axis} mixes windows; join channels (axis 1), or use engine="sliding"'
        )
    return axis


def common(layer: Layer, lattices: list[Lattice | None]) -> Lattice:
    """The one lattice on which all bottoms sit."""
    places = list(dict.fromkeys(at for at in lattices if at is not None))
    if len(places) != 1:
        raise apart(layer, places)
    return places[0]


def apart(layer: Layer, places: list[Lattice]) -> NotDenseError:
    """That the bottoms sit on different lattices."""
    bottoms = f"its bottoms {list(layer.bottoms)}"
    if len({at.stride for at in places}) == 1 and len({at.splits for at in places}) > 1:
        orders = " and ".join(", ".join(map(by, at.splits)) or "not at all" for at in places)
        return layer.not_dense(
            f'{bottoms} were split into fragments in another order, {orders}; engine="strided" does not split'
        )
    strides = " and ".join(by(at.stride) for at in places)
    return layer.not_dense(
        f"{bottoms} sit on lattices of strides {strides}, so no one dilation serves both; "
        'give the branches equal strides, or use engine="sliding"'
    )
