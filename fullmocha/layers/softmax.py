"""Softmax, and the loss that is made of it."""

from dataclasses import dataclass
from math import prod
from types import SimpleNamespace
from typing import Any, ClassVar, Literal, get_args

import numpy as np

from ..lattice import Lattice
from .base import Layer, Node, Shape
from .checks import axis_of, named, need, one_of, rank_of
from .loss import LossLayer, counting, divisor, one_answer

NO_CLASS = "; count classes from 0, or leave some out with ignore_label"
Normalization = Literal["mocha", "full", "valid", "batch_size", "none"]


@dataclass(frozen=True, kw_only=True)
class SoftmaxLayer(Layer):
    r"""Probabilities from scores.

    .. math:: y_k = \exp(x_k - \max_j x_j) / \textstyle\sum_j \exp(x_j - \max_j x_j)

    Parameters
    ----------
    dim : int
        Mocha's dimension; -2, the default, is the channels for any number of axes.
    axis : int, optional
        The same, counted as numpy does.

    Examples
    --------
    >>> SoftmaxLayer(name="prob", bottoms=["ip2"], tops=["prob"]).shape([(64, 10)])
    [(64, 10)]
    """

    name: str = "softmax"
    dim: int = -2
    axis: int | None = None

    per_bottom: ClassVar[bool] = True

    def shape(self, bottoms: list[Shape]) -> list[Shape]:
        (x,) = need(self, bottoms, 1)
        axis_of(self, self.dim, self.axis, len(x))
        return [x]

    def forward(self, ops: Any, at: Node) -> None:
        (x,), (y,) = at.bottoms, at.tops
        ops.softmax(x.array, y.array, axis=axis_of(self, self.dim, self.axis, len(x.shape)))

    def backward(self, ops: Any, at: Node) -> None:
        (x,), (y,) = at.bottoms, at.tops
        if x.grad is not None:
            axis = axis_of(self, self.dim, self.axis, len(x.shape))
            ops.softmax_backward(y.grad, y.array, x.grad, axis=axis)

    def dense(self, lattices: list[Lattice | None]) -> tuple[Layer, Lattice | None]:
        at = lattices[0]
        return (self, None) if at is None else (self.copy(axis=channel_axis(self, self.dim, self.axis, at)), at)


def channel_axis(layer: Layer, dim: int, axis: int | None, at: Lattice) -> int:
    """The channel axis, 1, if that is what the layer means; a dense pass keeps only channels apart from pixels."""
    found = axis_of(layer, dim, axis, rank_of(at))
    if found != 1:
        raise layer.not_dense(
            f'axis {found} runs over pixels of the patch; use the channels (axis 1), or engine="sliding"'
        )
    return found


@dataclass(frozen=True, kw_only=True)
class ClassLossLayer(LossLayer):
    """A loss against class labels, one for each vector of scores or probabilities.

    Parameters
    ----------
    dim, axis : int
        Where the classes are, as in `SoftmaxLayer`.
    """

    dim: int = -2
    axis: int | None = None

    def classes_at(self, x: Shape) -> int:
        """The axis of the classes, in numpy's count."""
        return axis_of(self, self.dim, self.axis, len(x))

    def dense(self, lattices: list[Lattice | None]) -> tuple[Layer, Lattice | None]:
        at = lattices[0]
        if at is None:
            return self, None
        one_answer(self, at)
        return self.copy(axis=channel_axis(self, self.dim, self.axis, at), dense_windows=True), None


@dataclass(frozen=True, kw_only=True)
class SoftmaxLossLayer(ClassLossLayer):
    r"""Cross-entropy of a softmax against class labels: one label per sample, or one per pixel.

    .. math:: L = \frac{w}{Z} \sum_{i \,:\, l_i \ne \text{ignore}} -\log \max(p_{i, l_i}, \epsilon), \qquad
        \frac{\partial L}{\partial x_{i,k}} = \frac{w}{Z} (p_{i,k} - [k = l_i])

    Parameters
    ----------
    bottoms : two names
        Scores (N, K, ...) and labels, zero-based, (N, 1, ...); axes of length 1 may be left out or added.
    weight : float
        w, Caffe's loss_weight.
    normalization : {"mocha", "full", "valid", "batch_size", "none"}
        Z: "mocha" and "full" count all labels, "valid" those not ignored (at least 1), "batch_size" the samples,
        "none" is 1. In a dense pass every window is a sample.
    ignore_label : int, optional
        Labels of this value have neither loss nor gradient.
    dim, axis : int
        Where the classes are, as in `SoftmaxLayer`.

    Notes
    -----
    The first top is the value before its weight; a second one holds the probabilities, and no gradient comes back through
    it. (Caffe's master stops at a second top.)

    Raises
    ------
    ShapeError
        If there is not one label per window, or a label is not a class.

    Examples
    --------
    >>> SoftmaxLossLayer(name="loss", bottoms=["ip2", "label"]).shape([(64, 10), (64, 1)])
    []
    """

    name: str = "softmax-loss"
    normalization: Normalization = "mocha"
    ignore_label: int | None = None

    smallest: ClassVar[dict[str, float]] = {"mocha": 1e-20}  # Caffe's is the smallest normal float32

    def check(self) -> None:
        one_of(self, "normalization", get_args(Normalization))

    def shape(self, bottoms: list[Shape]) -> list[Shape]:
        x, label = need(self, bottoms, 2)
        one_label_per_window(self, x, label, self.classes_at(x))
        return [(), x][: len(self.tops)]

    def setup(self, ops: Any, dtype: np.dtype, rng: np.random.Generator) -> Any:
        return SimpleNamespace(loss=0.0, divisor=1.0, prob=None)

    def forward(self, ops: Any, at: Node) -> None:
        x, label = at.bottoms
        axis = self.classes_at(x.shape)
        prob = at.state.prob = room_for(at, ops)
        ops.softmax(x.array, prob, axis=axis)
        floor = self.smallest.get(self.normalization, float(np.finfo(np.float32).tiny))
        with named(self, NO_CLASS):
            total, counted = ops.cross_entropy(prob, label.array, axis=axis, ignore=self.ignore_label, floor=floor)
        labels = prod(x.shape) // x.shape[axis]
        samples = labels if self.dense_windows else prod(x.shape[:axis])
        at.state.divisor = divisor(self.normalization, labels, counted, samples)
        self.settle(ops, at, total / at.state.divisor)

    def backward(self, ops: Any, at: Node) -> None:
        x, label = at.bottoms
        if x.grad is None or not self.weight:
            return
        axis = self.classes_at(x.shape)
        scale = self.weight / at.state.divisor
        ops.softmax_loss_backward(at.state.prob, label.array, x.grad, axis=axis, ignore=self.ignore_label, scale=scale)

    def describe(self) -> str:
        return counting(self.normalization, self.ignore_label)


def room_for(at: Node, ops: Any) -> Any:
    """Where a loss keeps the probabilities of its scores until backward: the second top, or an array of its own."""
    if len(at.tops) > 1:
        return at.tops[1].array
    x, kept = at.bottoms[0], at.state.prob
    return kept if kept is not None and kept.shape == x.shape else ops.empty(x.shape, x.dtype)


def one_label_per_window(layer: Layer, x: Shape, label: Shape, axis: int) -> None:
    """Refuses labels that are not one per score vector, in their order; axes of length 1 do not count."""
    windows = (*x[:axis], 1, *x[axis + 1 :])
    if [n for n in label if n != 1] != [n for n in windows if n != 1]:
        raise layer.refuse(f"scores {x} need one label each, shaped {windows}; the labels are {label}")
