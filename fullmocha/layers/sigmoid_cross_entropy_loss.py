"""Cross-entropy of sigmoids: independent yes-or-no answers."""

from dataclasses import dataclass
from math import prod
from types import SimpleNamespace
from typing import Any, get_args

import numpy as np

from .base import Node, Shape
from .checks import integer_of, need, one_of
from .host import add_gradient, on_host, sigmoid
from .loss import LossLayer, Normalization, counting, divisor, same_samples


@dataclass(frozen=True, kw_only=True)
class SigmoidCrossEntropyLossLayer(LossLayer):
    r"""Cross-entropy between sigmoid(x) and the targets, each answer by itself.

    .. math:: L = -\frac{w}{Z} \sum_i t_i \log \sigma(x_i) + (1 - t_i) \log(1 - \sigma(x_i)), \qquad
        \frac{\partial L}{\partial x_i} = \frac{w}{Z} (\sigma(x_i) - t_i)

    Parameters
    ----------
    bottoms : two names
        Scores and targets, as many values per sample; targets are probabilities, most often 0 and 1.
    weight : float
        w, Caffe's loss_weight.
    normalization : {"batch_size", "full", "valid", "none"}
        Z: the samples, all values, those not ignored (at least 1), or 1. In a dense pass every window is a sample.
    ignore_label : int, optional
        Targets with this integer part (as Caffe cuts them) have neither loss nor gradient.

    Notes
    -----
    Scores of any size are safe: no exponential overflows. Caffe's SigmoidCrossEntropyLoss, whose default
    normalization is "batch_size", unlike SoftmaxWithLoss's.

    Raises
    ------
    ShapeError
        If there is not one target per score.

    Examples
    --------
    >>> SigmoidCrossEntropyLossLayer(name="loss", bottoms=["ip2", "target"]).shape([(64, 3), (64, 3)])
    []
    """

    name: str = "sigmoid-cross-entropy-loss"
    normalization: Normalization = "batch_size"
    ignore_label: int | None = None

    def check(self) -> None:
        one_of(self, "normalization", get_args(Normalization))
        if self.ignore_label is not None:
            integer_of(self, "ignore_label")

    def shape(self, bottoms: list[Shape]) -> list[Shape]:
        x, target = need(self, bottoms, 2)
        same_samples(self, x, target)
        if self.dense_windows and x != target:
            raise self.refuse(f"scores {x} need targets of that shape, one set per window; got {target}")
        return [() for _ in self.tops]

    def setup(self, ops: Any, dtype: np.dtype, rng: np.random.Generator) -> Any:
        return SimpleNamespace(loss=0.0, divisor=1.0)

    def counted(self, target: np.ndarray) -> np.ndarray:
        """Which targets count."""
        return np.ones(target.shape, bool) if self.ignore_label is None else np.trunc(target) != self.ignore_label

    def forward(self, ops: Any, at: Node) -> None:
        x, target = (on_host(ops, blob) for blob in at.bottoms)
        target = target.reshape(x.shape)
        counted = self.counted(target)
        # log(1 + exp(x)) - t x, with exp of negative numbers only
        losses = np.maximum(x, 0) - x * target + np.log1p(np.exp(-np.abs(x)))
        samples = self.samples(x.shape)
        at.state.divisor = divisor(self.normalization, prod(x.shape), int(counted.sum()), samples)
        self.settle(ops, at, float(losses.sum(where=counted, dtype=np.float64)) / at.state.divisor)

    def backward(self, ops: Any, at: Node) -> None:
        x, target = at.bottoms
        if x.grad is None or not self.weight:
            return
        scores, targets = on_host(ops, x), on_host(ops, target).reshape(x.shape)
        slope = np.where(self.counted(targets), sigmoid(scores) - targets, 0) * (self.weight / at.state.divisor)
        add_gradient(ops, x.grad, slope)

    def describe(self) -> str:
        return counting(self.normalization, self.ignore_label)
