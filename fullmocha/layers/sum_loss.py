"""The sum of a blob as a loss."""

from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar

import numpy as np

from .base import Node, Shape
from .checks import need
from .host import add_gradient, on_host
from .loss import LossLayer


@dataclass(frozen=True, kw_only=True)
class SumLossLayer(LossLayer):
    """L = weight * (sum of all values): what Caffe means by a loss_weight on a layer that is no loss.

    Parameters
    ----------
    bottoms : one name
    weight : float
        The gradient of every value.

    Notes
    -----
    A sum is not divided by the samples. So in a dense pass, too, it is that over all windows.

    Examples
    --------
    >>> SumLossLayer(name="sparsity", bottoms=["code"], weight=0.1).shape([(64, 10)])
    []
    """

    name: str = "sum-loss"

    label_bottoms: ClassVar[tuple[int, ...]] = ()

    def shape(self, bottoms: list[Shape]) -> list[Shape]:
        need(self, bottoms, 1)
        return [() for _ in self.tops]

    def forward(self, ops: Any, at: Node) -> None:
        (x,) = at.bottoms
        self.settle(ops, at, float(on_host(ops, x).sum(dtype=np.float64)))

    def backward(self, ops: Any, at: Node) -> None:
        (x,) = at.bottoms
        if self.weight:
            add_gradient(ops, x.grad, np.full(prod(x.shape), self.weight, x.dtype))

    def describe(self) -> str:
        return f"{self.weight:g} times the sum"
