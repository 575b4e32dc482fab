"""Taking a blob apart along one axis."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from ..lattice import Lattice
from .base import Layer, Node, Shape
from .checks import along_axis, integer_of, integers, need, numpy_axis, placed, rank_of


@dataclass(frozen=True, kw_only=True)
class SliceLayer(Layer):
    """Cuts its bottom along one axis, a piece for each top (Caffe's Slice): the opposite of `ConcatLayer`.

    Parameters
    ----------
    axis : int
        Counted as numpy does; 0, the batch, is allowed.
    points : sequence of int
        Where each piece but the first begins; without them all pieces are equally long.

    Raises
    ------
    ShapeError
        If the points do not ascend within the bottom, or are not one fewer than the tops.

    Examples
    --------
    >>> SliceLayer(name="cut", bottoms=["ab"], tops=["a", "b"], points=[3]).shape([(2, 7, 5, 4)])
    [(2, 3, 5, 4), (2, 4, 5, 4)]
    """

    name: str = "slice"
    axis: int = 1
    points: Sequence[int] = ()

    hands_on: ClassVar[bool] = True

    def check(self) -> None:
        integer_of(self, "axis")
        object.__setattr__(self, "points", integers(self, "points", "where each top but the first begins"))
        if self.points and len(self.points) != len(self.tops) - 1:
            raise self.refuse(
                f"has {len(self.points)} points for {len(self.tops)} tops; give one for each top but the first, or none"
            )

    def at_axis(self, rank: int) -> int:
        return numpy_axis(self, self.axis, rank)

    def pieces(self, length: int) -> list[tuple[int, int]]:
        """Where each top's piece begins and how long it is."""
        if not self.points and length % len(self.tops):
            raise self.refuse(f"cannot cut {length} into {len(self.tops)} equal pieces; give points")
        step = length // len(self.tops)
        ends = [*self.points, length] if self.points else [step * (i + 1) for i in range(len(self.tops))]
        starts = [0, *ends[:-1]]
        if any(b <= a for a, b in zip(starts, ends, strict=True)):
            raise self.refuse(
                f"points {list(self.points)} must ascend strictly between 0 and the axis's length {length}"
            )
        return [(a, b - a) for a, b in zip(starts, ends, strict=True)]

    def shape(self, bottoms: list[Shape]) -> list[Shape]:
        (x,) = need(self, bottoms, 1)
        axis = self.at_axis(len(x))
        return [(*x[:axis], length, *x[axis + 1 :]) for _, length in self.pieces(x[axis])]

    def offsets(self, x: Shape) -> list[Shape]:
        """Where each top starts in the bottom."""
        axis = self.at_axis(len(x))
        return [along_axis(len(x), axis, start) for start, _ in self.pieces(x[axis])]

    def forward(self, ops: Any, at: Node) -> None:
        (x,) = at.bottoms
        for y, offset in zip(at.tops, self.offsets(x.shape), strict=True):
            ops.move(x.array, y.array, source=offset, target=(0,) * len(x.shape), size=y.shape)

    def backward(self, ops: Any, at: Node) -> None:
        (x,) = at.bottoms
        if x.grad is None:
            return
        for y, offset in zip(at.tops, self.offsets(x.shape), strict=True):
            if y.grad is not None:
                ops.move(y.grad, x.grad, source=(0,) * len(x.shape), target=offset, size=y.shape, add=True)

    def dense(self, lattices: list[Lattice | None]) -> tuple[Layer, Lattice | None]:
        at = placed(lattices)
        axis = self.at_axis(rank_of(at))
        if axis != 1:
            raise self.not_dense(
                f'cutting along axis {axis} takes windows apart; cut channels (axis 1), or use engine="sliding"'
            )
        return self.copy(axis=1), at

    def describe(self) -> str:
        return f"axis {self.axis}" + (f" at {', '.join(map(str, self.points))}" if self.points else "")
