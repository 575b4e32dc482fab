"""Mean-variance normalization: every sample, or every map of it, by its own statistics."""

from dataclasses import dataclass
from math import isfinite, prod
from typing import Any

from ..lattice import Lattice
from .base import Layer, Node, Shape
from .checks import with_channels


@dataclass(frozen=True, kw_only=True)
class MVNLayer(Layer):
    r"""Takes off the mean of every map, and divides by its standard deviation.

    .. math:: y = (x - \mu) / (\sigma + \epsilon)

    Parameters
    ----------
    normalize_variance : bool
        Whether it divides.
    across_channels : bool
        Whether all channels of a sample have one mean and deviation.
    eps : float
        Is added to the standard deviation, not to the variance.

    Notes
    -----
    The gradient is that of this equation; Caffe's lacks a factor of (sigma + eps) / sigma in one term, which is seen
    where eps is not small. Source: Caffe's MVN.

    Raises
    ------
    NotDenseError
        In a dense net: the statistics are those of each patch.

    Examples
    --------
    >>> MVNLayer(name="even", bottoms=["data"], tops=["even"]).shape([(2, 3, 5, 7)])
    [(2, 3, 5, 7)]
    """

    name: str = "mvn"
    normalize_variance: bool = True
    across_channels: bool = False
    eps: float = 1e-9

    def check(self) -> None:
        if not (isfinite(self.eps) and self.eps >= 0):
            raise self.refuse(f"eps must be a number >= 0, got {self.eps}")

    @property
    def is_local(self) -> bool:
        return False

    def shape(self, bottoms: list[Shape]) -> list[Shape]:
        return [with_channels(self, bottoms)]

    def rows(self, shape: Shape) -> Shape:
        """The bottom as a matrix; each row has its own statistics."""
        axes = 1 if self.across_channels else 2
        return prod(shape[:axes]), prod(shape[axes:])

    def forward(self, ops: Any, at: Node) -> None:
        (x,), (y,) = at.bottoms, at.tops
        bottom, top = (ops.reshape(b.array, self.rows(x.shape)) for b in (x, y))
        ops.mvn(bottom, top, scaled=self.normalize_variance, eps=self.eps)

    def backward(self, ops: Any, at: Node) -> None:
        (x,), (y,) = at.bottoms, at.tops
        if x.grad is not None:
            arrays = (ops.reshape(a, self.rows(x.shape)) for a in (y.grad, x.array, y.array, x.grad))
            ops.mvn_backward(*arrays, scaled=self.normalize_variance, eps=self.eps)

    def dense(self, lattices: list[Lattice | None]) -> tuple[Layer, Lattice | None]:
        raise self.not_dense(
            "every patch has a mean and a variance of its own, so no map serves all windows; normalise the image "
            'beforehand, or use engine="sliding"'
        )

    def describe(self) -> str:
        per = "sample" if self.across_channels else "map"
        return f"mean{' and variance' * self.normalize_variance} of every {per}"
