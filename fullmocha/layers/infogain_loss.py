"""Cross-entropy that weighs every confusion of two classes."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from types import SimpleNamespace
from typing import Any, ClassVar, get_args

import numpy as np

from fullmocha.backends.shapes import about

from .base import Node, Shape
from .checks import one_of
from .host import add_gradient, by_class, on_host
from .loss import Normalization, class_numbers, counting, divisor
from .softmax import ClassLossLayer, one_label_per_window, room_for


@dataclass(frozen=True, kw_only=True)
class InfogainLossLayer(ClassLossLayer):
    r"""Cross-entropy of a softmax with a row of weights for each label.

    .. math:: L = -\frac{w}{Z} \sum_i \sum_k H_{l_i, k} \log \max(p_{i,k}, 10^{-20}), \qquad
        \frac{\partial L}{\partial x_{i,k}} = \frac{w}{Z} \Big(p_{i,k} \sum_j H_{l_i, j} - H_{l_i, k}\Big)

    With the identity for H it is `SoftmaxLossLayer`.

    Parameters
    ----------
    bottoms : two or three names
        Scores (N, K, ...), labels, one per score vector, and H (K, K) where it is not given as a field.
    infogain : (K, K) numbers, optional
        H.
    weight : float
        w, Caffe's loss_weight.
    normalization : {"valid", "full", "batch_size", "none"}
        Z, as in `SoftmaxLossLayer`.
    ignore_label : int, optional
        Labels of this value have neither loss nor gradient.
    dim, axis : int
        Where the classes are, as in `SoftmaxLayer`.

    Notes
    -----
    The first top is the value; a second one holds the probabilities, and no gradient comes back through it. Caffe's
    InfogainLoss of its master, which contains the softmax; that of Caffe 1.0 wants one before it.

    Raises
    ------
    ShapeError
        If H is not K x K, there is not one label per window, or a label is not a class.

    Examples
    --------
    >>> loss = InfogainLossLayer(name="loss", bottoms=["ip2", "label"], infogain=[[1, 0], [0, 3]])
    >>> loss.shape([(64, 2), (64, 1)])
    []
    """

    name: str = "infogain-loss"
    infogain: Sequence[Sequence[float]] = ()
    normalization: Normalization = "valid"
    ignore_label: int | None = None

    smallest: ClassVar[float] = 1e-20

    def check(self) -> None:
        if len(self.infogain):  # as tuples, so that layers can be compared
            rows = np.asarray(self.infogain, np.float64)
            if rows.ndim != 2 or rows.shape[0] != rows.shape[1] or not np.isfinite(rows).all():
                raise self.refuse(f"infogain must be a square of finite numbers, (K, K); it is shaped {rows.shape}")
            object.__setattr__(self, "infogain", tuple(map(tuple, rows.tolist())))
        one_of(self, "normalization", get_args(Normalization))

    def shape(self, bottoms: list[Shape]) -> list[Shape]:
        wanted = 2 if self.infogain else 3
        if len(bottoms) != wanted:
            raise self.refuse(
                f"takes {wanted} bottoms {'with' if self.infogain else 'without'} the field infogain, got {list(self.bottoms)}"
            )
        x, label = bottoms[:2]
        axis = self.classes_at(x)
        one_label_per_window(self, x, label, axis)
        found = (len(self.infogain),) * 2 if self.infogain else bottoms[2][-2:]
        if found != (x[axis],) * 2 or (not self.infogain and prod(bottoms[2]) != x[axis] ** 2):
            raise self.refuse(
                f"{x[axis]} classes need an infogain matrix of {x[axis]}x{x[axis]}, got {found if self.infogain else bottoms[2]}"
            )
        return [(), x][: len(self.tops)]

    def setup(self, ops: Any, dtype: np.dtype, rng: np.random.Generator) -> Any:
        return SimpleNamespace(loss=0.0, divisor=1.0, prob=None)

    def weights(self, ops: Any, at: Node) -> tuple[np.ndarray, np.ndarray]:
        """H's row for each label, (outer, K, inner), and which labels count, (outer, 1, inner)."""
        x, label = at.bottoms[:2]
        axis = self.classes_at(x.shape)
        outer, classes, inner = about(x.shape, axis)
        numbers, counted = class_numbers(self, on_host(ops, label).reshape(outer, inner), classes, self.ignore_label)
        matrix = np.array(self.infogain, x.dtype) if self.infogain else on_host(ops, at.bottoms[2])
        return np.moveaxis(matrix.reshape(classes, classes)[numbers], 2, 1), counted[:, None]

    def forward(self, ops: Any, at: Node) -> None:
        x = at.bottoms[0]
        axis = self.classes_at(x.shape)
        at.state.prob = room_for(at, ops)
        ops.softmax(x.array, at.state.prob, axis=axis)
        rows, counted = self.weights(ops, at)
        logs = np.log(np.maximum(by_class(ops.to_host(at.state.prob), axis), self.smallest))
        total = -float((rows * logs).sum(where=counted, dtype=np.float64))
        samples = counted.size if self.dense_windows else prod(x.shape[:axis])
        at.state.divisor = divisor(self.normalization, counted.size, int(counted.sum()), samples)
        self.settle(ops, at, total / at.state.divisor)

    def backward(self, ops: Any, at: Node) -> None:
        x = at.bottoms[0]
        if x.grad is None or not self.weight:
            return
        rows, counted = self.weights(ops, at)
        p = by_class(ops.to_host(at.state.prob), self.classes_at(x.shape))
        slope = p * rows.sum(axis=1, keepdims=True) - rows
        add_gradient(ops, x.grad, np.where(counted, slope, 0) * (self.weight / at.state.divisor))

    def describe(self) -> str:
        return counting(self.normalization, self.ignore_label)
