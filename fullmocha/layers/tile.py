"""A blob repeated along one axis."""

from dataclasses import dataclass
from typing import Any, ClassVar

from ..lattice import Lattice
from .base import Layer, Node, Shape
from .checks import along_axis, count_of, integer_of, need, numpy_axis, placed, rank_of


@dataclass(frozen=True, kw_only=True)
class TileLayer(Layer):
    """Puts copies of its bottom behind each other along one axis (Caffe's Tile).

    Parameters
    ----------
    axis : int
        Counted as numpy does; 0, the batch, is allowed.
    tiles : int
        How many copies.

    Examples
    --------
    >>> TileLayer(name="tile", bottoms=["a"], tops=["aaa"], tiles=3).shape([(2, 4, 5)])
    [(2, 12, 5)]
    """

    name: str = "tile"
    axis: int = 1
    tiles: int

    hands_on: ClassVar[bool] = True

    def check(self) -> None:
        count_of(self, "tiles")
        integer_of(self, "axis")

    def at_axis(self, rank: int) -> int:
        return numpy_axis(self, self.axis, rank)

    def shape(self, bottoms: list[Shape]) -> list[Shape]:
        (x,) = need(self, bottoms, 1)
        axis = self.at_axis(len(x))
        return [(*x[:axis], x[axis] * self.tiles, *x[axis + 1 :])]

    def keeps_pixels(self, bottoms: list[Shape]) -> bool:
        return self.at_axis(len(bottoms[0])) < 2 or self.tiles == 1

    def offsets(self, x: Shape) -> list[Shape]:
        """Where each copy starts in the top."""
        axis = self.at_axis(len(x))
        return [along_axis(len(x), axis, k * x[axis]) for k in range(self.tiles)]

    def forward(self, ops: Any, at: Node) -> None:
        (x,), (y,) = at.bottoms, at.tops
        for offset in self.offsets(x.shape):
            ops.move(x.array, y.array, source=(0,) * len(x.shape), target=offset, size=x.shape)

    def backward(self, ops: Any, at: Node) -> None:
        (x,), (y,) = at.bottoms, at.tops
        if x.grad is not None:
            for offset in self.offsets(x.shape):
                ops.move(y.grad, x.grad, source=offset, target=(0,) * len(x.shape), size=x.shape, add=True)

    def dense(self, lattices: list[Lattice | None]) -> tuple[Layer, Lattice | None]:
        at = placed(lattices)
        axis = self.at_axis(rank_of(at))
        if axis != 1:
            raise self.not_dense(
                f'repeating axis {axis} mixes windows; repeat channels (axis 1), or use engine="sliding"'
            )
        return self.copy(axis=1), at

    def describe(self) -> str:
        return f"{self.tiles} times along axis {self.axis}"
