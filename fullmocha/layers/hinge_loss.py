"""The hinge loss of a support vector machine, with Mocha's labels or Caffe's."""

from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar, Literal

import numpy as np

from .base import Node, Shape
from .checks import need, one_of
from .host import add_gradient, by_class, on_host
from .loss import MeanLossLayer, class_numbers, same_samples


@dataclass(frozen=True, kw_only=True)
class HingeLossLayer(MeanLossLayer):
    r"""What scores lack to a margin of 1 on the right side.

    .. math:: L = \frac{w}{N} \sum_i \max(0, 1 - y_i x_i)^p

    Parameters
    ----------
    bottoms : two names
        Scores, and labels as `labels` says.
    weight : float
        w, Caffe's loss_weight.
    norm : {"L1", "L2"}
        p = 1 or 2 (Caffe).
    labels : {"signs", "classes"}
        "signs" (Mocha): one y, 1 or -1, per score; both bottoms take gradients. "classes" (Caffe): one class number per sample, of
        scores (N, K); y is 1 for that class and -1 for the others.

    Notes
    -----
    On the margin itself the slope is 0. In a dense pass every window is a sample. Mocha's CPU code forgets the weight in the value,
    its GPU code does not; here it counts.

    Raises
    ------
    ShapeError
        If the bottoms do not match, or a label is no class.

    Examples
    --------
    >>> HingeLossLayer(name="loss", bottoms=["ip2", "label"], labels="classes").shape([(64, 10), (64, 1)])
    []
    """

    name: str = "hinge-loss"
    norm: Literal["L1", "L2"] = "L1"
    labels: Literal["signs", "classes"] = "signs"

    target_bottoms: ClassVar[tuple[int, ...]] = (1,)
    statistic: ClassVar[str] = "hinge"

    def check(self) -> None:
        one_of(self, "norm", ("L1", "L2"))
        one_of(self, "labels", ("signs", "classes"))

    def shape(self, bottoms: list[Shape]) -> list[Shape]:
        x, label = need(self, bottoms, 2)
        if self.labels == "signs":
            same_samples(self, x, label)
        elif label[:1] != x[:1] or prod(label) != self.samples(x):
            raise self.refuse(f"scores {x} need {self.samples(x)} labels, one per sample; the labels are {label}")
        return [() for _ in self.tops]

    def sides(self, x: np.ndarray, label: np.ndarray) -> np.ndarray:
        """y for every score."""
        if self.labels == "signs":
            return label.reshape(x.shape)
        scores = x if self.dense_windows else x.reshape(len(x), prod(x.shape[1:]))
        scores = by_class(scores, 1)
        outer, classes, inner = scores.shape
        numbers, _ = class_numbers(self, label.reshape(outer, 1, inner), classes, None)
        return np.where(np.arange(classes)[:, None] == numbers, 1, -1).astype(x.dtype).reshape(x.shape)

    def forward(self, ops: Any, at: Node) -> None:
        x, label = (on_host(ops, blob) for blob in at.bottoms)
        lack = np.maximum(0, 1 - self.sides(x, label) * x)
        samples = self.samples(x.shape)
        total = float((lack if self.norm == "L1" else lack * lack).sum(dtype=np.float64))
        self.settle(ops, at, total / max(1, samples))
        self.tally(at.state, samples)

    def backward(self, ops: Any, at: Node) -> None:
        x, label = at.bottoms
        signs = label.grad if self.labels == "signs" else None  # a class number has no slope
        if not self.weight or (x.grad is None and signs is None):
            return
        scores = on_host(ops, x)
        y = self.sides(scores, on_host(ops, label))
        lack = 1 - y * scores
        scale = -self.weight / max(1, self.samples(x.shape))
        slope = np.where(lack > 0, 1 if self.norm == "L1" else 2 * lack, 0) * scale
        add_gradient(ops, x.grad, (slope * y).astype(scores.dtype))
        add_gradient(ops, signs, (slope * scores).astype(scores.dtype))

    def describe(self) -> str:
        return self.norm
