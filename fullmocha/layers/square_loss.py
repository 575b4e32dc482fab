"""The square loss, Caffe's EuclideanLoss."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from .base import Node, Shape
from .checks import need
from .host import add_gradient, on_host
from .loss import MeanLossLayer, same_samples


@dataclass(frozen=True, kw_only=True)
class SquareLossLayer(MeanLossLayer):
    r"""Half the squared distance between a prediction and its target, per sample.

    .. math:: L = \frac{w}{2 N} \sum_i (x_i - t_i)^2, \qquad
        \frac{\partial L}{\partial x_i} = -\frac{\partial L}{\partial t_i} = \frac{w}{N} (x_i - t_i)

    Parameters
    ----------
    bottoms : two names
        Prediction and target, as many values per sample; both take gradients.
    weight : float
        w, Caffe's loss_weight.

    Notes
    -----
    In a dense pass every window is a sample, with a target (N, K, h, w) beside a prediction of that shape. Mocha's
    SquareLossLayer and Caffe's EuclideanLoss.

    Raises
    ------
    ShapeError
        If the bottoms do not match.

    Examples
    --------
    >>> SquareLossLayer(name="loss", bottoms=["ip2", "target"]).shape([(64, 10), (64, 10)])
    []
    """

    name: str = "square-loss"

    target_bottoms: ClassVar[tuple[int, ...]] = (1,)
    statistic: ClassVar[str] = "square"

    def shape(self, bottoms: list[Shape]) -> list[Shape]:
        x, target = need(self, bottoms, 2)
        same_samples(self, x, target)
        if self.dense_windows and x != target:
            raise self.refuse(f"predictions {x} need targets of that shape, one set per window; got {target}")
        return [() for _ in self.tops]

    def difference(self, ops: Any, at: Node) -> np.ndarray:
        x, target = (on_host(ops, blob) for blob in at.bottoms)
        return x - target.reshape(x.shape)

    def forward(self, ops: Any, at: Node) -> None:
        samples = self.samples(at.bottoms[0].shape)
        squares = np.square(self.difference(ops, at), dtype=np.float64)
        self.settle(ops, at, float(squares.sum()) / max(1, 2 * samples))
        self.tally(at.state, samples)

    def backward(self, ops: Any, at: Node) -> None:
        x, target = at.bottoms
        if self.weight and (x.grad is not None or target.grad is not None):
            slope = self.difference(ops, at) * (self.weight / max(1, self.samples(x.shape)))
            add_gradient(ops, x.grad, slope)
            add_gradient(ops, target.grad, -slope)
