"""Where the largest elements are."""

from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar, Literal

from ..lattice import Lattice
from .base import Layer, Node, Shape
from .checks import axis_or_batch, count_of, need, one_of, placed, rank_of
from .windowed import by


@dataclass(frozen=True, kw_only=True)
class ArgmaxLayer(Layer):
    """The numbers of the largest elements along one axis, counted from 0; no gradient passes.

    Parameters
    ----------
    dim : int
        Mocha's dimension; -2, the default, is the channels for any number of axes.
    axis : int, optional
        The same, counted as numpy does.
    top_k : int
        How many, the largest first.
    whole : bool
        Among all elements of a sample, whatever its axes: Caffe's ArgMax without an axis.
    output : {"index", "value", "both"}
        Numbers, the elements themselves, or, with `whole` only, one behind the other.
    ties : {"first", "last"}
        Which of equal elements leads: the first as in Mocha, or the last as in Caffe.

    Notes
    -----
    Bottom (N, K, ...), top (N, top_k, ...); with `whole` (N, 1, top_k), or (N, 2, top_k) for both, and 1 for each further axis of
    the bottom. Mocha's layer takes several bottoms; each is treated alike.

    Examples
    --------
    >>> ArgmaxLayer(name="label", bottoms=["prob"], tops=["label"]).shape([(64, 10)])
    [(64, 1)]
    """

    name: str = "argmax"
    dim: int = -2
    axis: int | None = None
    top_k: int = 1
    whole: bool = False
    output: Literal["index", "value", "both"] = "index"
    ties: Literal["first", "last"] = "first"

    per_bottom: ClassVar[bool] = True
    differentiable: ClassVar[bool] = False

    def check(self) -> None:
        count_of(self, "top_k")
        one_of(self, "output", ("index", "value", "both"))
        one_of(self, "ties", ("first", "last"))
        if self.output == "both" and not self.whole:
            raise self.refuse('output "both" goes with whole=True; make two layers of it, for "index" and "value"')

    def at_axis(self, rank: int) -> int:
        return axis_or_batch(self, self.dim, self.axis, rank)

    def shape(self, bottoms: list[Shape]) -> list[Shape]:
        (x,) = need(self, bottoms, 1)
        if not x:
            raise self.refuse("takes samples, but its bottom is one number; it has no maximum to look for")
        axis = 1 if self.whole else self.at_axis(len(x))
        among = prod(x[1:]) if self.whole else x[axis]
        if self.top_k > among:
            raise self.refuse(f"top_k={self.top_k} of {among} elements: the bottom is {x}")
        if self.whole:
            return [(x[0], 2 if self.output == "both" else 1, self.top_k, *(1,) * (len(x) - 3))]
        return [(*x[:axis], self.top_k, *x[axis + 1 :])]

    def keeps_pixels(self, bottoms: list[Shape]) -> bool:
        return self.top_k == 1 or (not self.whole and self.at_axis(len(bottoms[0])) < 2)

    def forward(self, ops: Any, at: Node) -> None:
        (x,), (y,) = at.bottoms, at.tops
        options: dict[str, Any] = {"top_k": self.top_k, "last": self.ties == "last"}
        if not self.whole:
            axis = self.at_axis(len(x.shape))
            ops.arg_max(x.array, y.array, axis=axis, values=self.output == "value", **options)
            return
        samples = ops.reshape(x.array, (x.shape[0], prod(x.shape[1:])))
        if self.output != "both":
            ops.arg_max(samples, y.array, axis=1, values=self.output == "value", **options)
            return
        size = (x.shape[0], self.top_k)
        for place, values in enumerate((False, True)):
            part = ops.empty(size, y.dtype)
            ops.arg_max(samples, part, axis=1, values=values, **options)
            both = ops.reshape(y.array, (size[0], 2 * self.top_k))
            ops.move(part, both, source=(0, 0), target=(0, place * self.top_k), size=size)

    def backward(self, ops: Any, at: Node) -> None:
        return

    def dense(self, lattices: list[Lattice | None]) -> tuple[Layer, Lattice | None]:
        at = placed(lattices)
        if self.whole:
            if prod(at.patch) > 1 or self.top_k > 1 or self.output == "both":
                raise self.not_dense(
                    f"looks at all elements of a {by(at.patch)} window; densely it can look at the channels: set "
                    'axis=1, with "index" or "value" for output, or use engine="sliding"'
                )
            return self.copy(whole=False, axis=1), at
        axis = self.at_axis(rank_of(at))
        if axis != 1:
            raise self.not_dense(f'axis {axis} runs over windows; use the channels (axis 1), or engine="sliding"')
        return self.copy(axis=1), at

    def describe(self) -> str:
        return f"{self.output}, the {self.top_k} largest" if self.top_k > 1 else self.output
