"""Cross-entropy of given probabilities."""

from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar

import numpy as np

from .base import Node, Shape
from .checks import named, need
from .host import add_gradient, by_class, on_host
from .loss import class_numbers
from .softmax import NO_CLASS, ClassLossLayer, one_label_per_window


@dataclass(frozen=True, kw_only=True)
class MultinomialLogisticLossLayer(ClassLossLayer):
    r"""Cross-entropy of probabilities against class labels.

    .. math:: L = \frac{w}{Z} \sum_i -\log \max(p_{i, l_i}, 10^{-20}), \qquad
        \frac{\partial L}{\partial p_{i, l_i}} = -\frac{w}{Z \max(p_{i, l_i}, 10^{-20})}

    with Z labels.

    Parameters
    ----------
    bottoms : two names
        Probabilities (N, K, ...) and labels, zero-based, one per probability vector.
    weight : float
        w, Caffe's loss_weight.
    dim, axis : int
        Where the classes are, as in `SoftmaxLayer`.

    Notes
    -----
    Behind a softmax, `SoftmaxLossLayer` is the same and keeps its precision. Mocha's layer of this name has no backward rule;
    Caffe's has this one. In a dense pass every window is a sample.

    Raises
    ------
    ShapeError
        If there is not one label per window, or a label is not a class.

    Examples
    --------
    >>> MultinomialLogisticLossLayer(name="loss", bottoms=["prob", "label"]).shape([(64, 10), (64, 1)])
    []
    """

    name: str = "multinomial-logistic-loss"

    smallest: ClassVar[float] = 1e-20

    def shape(self, bottoms: list[Shape]) -> list[Shape]:
        p, label = need(self, bottoms, 2)
        one_label_per_window(self, p, label, self.classes_at(p))
        return [() for _ in self.tops]

    def forward(self, ops: Any, at: Node) -> None:
        p, label = at.bottoms
        axis = self.classes_at(p.shape)
        with named(self, NO_CLASS):
            total, counted = ops.cross_entropy(p.array, label.array, axis=axis, ignore=None, floor=self.smallest)
        self.settle(ops, at, total / max(1, counted))

    def backward(self, ops: Any, at: Node) -> None:
        p, label = at.bottoms
        if p.grad is None or not self.weight:
            return
        probabilities = by_class(on_host(ops, p), self.classes_at(p.shape))
        outer, classes, inner = probabilities.shape
        numbers, _ = class_numbers(self, on_host(ops, label).reshape(outer, 1, inner), classes, None)
        chosen = np.take_along_axis(probabilities, numbers, axis=1)
        slopes = np.zeros_like(probabilities)
        scale = -self.weight / max(1, prod(numbers.shape))
        np.put_along_axis(slopes, numbers, scale / np.maximum(chosen, self.smallest), axis=1)
        add_gradient(ops, p.grad, slopes)
