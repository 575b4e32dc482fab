"""Sums over all axes from one on."""

from dataclasses import dataclass, replace
from math import isfinite, prod
from typing import Any, Literal, get_args

from ..lattice import Lattice
from .base import Layer, Node, Shape
from .checks import integer_of, need, numpy_axis, one_of, placed, rank_of
from .windowed import by

Operation = Literal["sum", "asum", "sumsq", "mean"]


@dataclass(frozen=True, kw_only=True)
class ReductionLayer(Layer):
    r"""One number of all that lie behind the axes before `axis` (Caffe's Reduction).

    .. math:: y_n = c \sum_i x_{n,i}, \quad c \sum_i |x_{n,i}|, \quad c \sum_i x_{n,i}^2 \quad\text{or}\quad
        \frac{c}{I} \sum_{i=1}^{I} x_{n,i}

    Parameters
    ----------
    operation : {"sum", "asum", "sumsq", "mean"}
        Which of the four.
    axis : int
        The first axis that is summed over, counted as numpy does; all behind it are too.
    coefficient : float
        c.

    Notes
    -----
    Bottom (N, ..., D, ...), top (N, ...): the axes before `axis`. The sums are made in float64.

    Examples
    --------
    >>> ReductionLayer(name="sum", bottoms=["a"], tops=["s"], axis=1).shape([(2, 3, 4, 5)])
    [(2,)]
    """

    name: str = "reduction"
    operation: Operation = "sum"
    axis: int = 0
    coefficient: float = 1.0
    per_pixel: bool = False

    def check(self) -> None:
        one_of(self, "operation", get_args(Operation))
        integer_of(self, "axis")
        if not isfinite(self.coefficient):
            raise self.refuse(f"coefficient must be finite, got {self.coefficient!r}")

    def at_axis(self, rank: int) -> int:
        return numpy_axis(self, self.axis, rank)

    def shape(self, bottoms: list[Shape]) -> list[Shape]:
        (x,) = need(self, bottoms, 1)
        return [(x[0], 1, *x[2:])] if self.per_pixel else [x[: self.at_axis(len(x))]]

    def along(self, x: Shape) -> Shape:
        """The bottom's shape with one axis, the second, that is summed over."""
        if self.per_pixel:
            return (x[0], x[1], prod(x[2:]))
        axis = self.at_axis(len(x))
        return (prod(x[:axis]), prod(x[axis:]), 1)

    def options(self, along: Shape) -> dict[str, Any]:
        """What the ops are told."""
        mean = self.operation == "mean"
        scale = self.coefficient / max(1, along[1]) if mean else self.coefficient
        return {"axis": 1, "operation": "sum" if mean else self.operation, "scale": scale}

    def forward(self, ops: Any, at: Node) -> None:
        (x,), (y,) = at.bottoms, at.tops
        along = self.along(x.shape)
        ops.reduce(ops.reshape(x.array, along), y.array, **self.options(along))

    def backward(self, ops: Any, at: Node) -> None:
        (x,), (y,) = at.bottoms, at.tops
        if x.grad is not None:
            along = self.along(x.shape)
            arrays = y.grad, ops.reshape(x.array, along), ops.reshape(x.grad, along)
            ops.reduce_backward(*arrays, **self.options(along))

    def dense(self, lattices: list[Lattice | None]) -> tuple[Layer, Lattice | None]:
        at = placed(lattices)
        axis = self.at_axis(rank_of(at))
        if axis != 1 or prod(at.patch) > 1:
            raise self.not_dense(
                f"sums over axes {axis} and on of a {by(at.patch)} window; densely it can sum the channels of "
                'single pixels (axis 1): pool the window first, with PoolingLayer(whole=True), or use engine="sliding"'
            )
        return self.copy(per_pixel=True), replace(at, flat=True)

    def describe(self) -> str:
        times = "" if self.coefficient == 1 else f" times {self.coefficient:g}"
        return f"{self.operation} from axis {self.axis}{times}"
