"""Accuracy: how often the best score is the label's."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, ClassVar, Literal

import numpy as np

from ..lattice import Lattice
from .base import Layer, Node, Shape
from .checks import axis_of, count_of, named, need, one_of
from .host import by_class, on_host
from .loss import class_numbers
from .softmax import NO_CLASS, channel_axis, one_label_per_window


@dataclass(frozen=True, kw_only=True)
class AccuracyLayer(Layer):
    """The share of labels that are among the `top_k` highest scores, averaged since the last reset.

    Parameters
    ----------
    bottoms : two names
        Scores (N, K, ...) and labels (N, 1, ...).
    top_k : int
        How many of the highest scores count as right.
    ignore_label : int, optional
        Labels of this value are not counted.
    ties : {"index", "miss"}
        Whether of equal scores the lower class leads, as in Mocha and Caffe 1.0, or the label is behind all of them, as in
        Caffe's master.
    report_error : bool
        Also report 1 - accuracy, as Mocha does.

    Notes
    -----
    The first top, if one is named, is a scalar: the accuracy of the present batch. A second one holds that of each class, (K,): the
    share of its labels that are right. Where nothing is counted, each is 0, as in Caffe's master; so is the average.

    Examples
    --------
    >>> AccuracyLayer(name="accuracy", bottoms=["ip2", "label"]).shape([(64, 10), (64, 1)])
    []
    """

    name: str = "accuracy"
    dim: int = -2
    axis: int | None = None
    top_k: int = 1
    ignore_label: int | None = None
    ties: Literal["index", "miss"] = "index"
    report_error: bool = False

    is_sink: ClassVar[bool] = True
    differentiable: ClassVar[bool] = False
    label_bottoms: ClassVar[tuple[int, ...]] = (1,)

    def check(self) -> None:
        count_of(self, "top_k")
        one_of(self, "ties", ("index", "miss"))

    def shape(self, bottoms: list[Shape]) -> list[Shape]:
        x, label = need(self, bottoms, 2)
        axis = axis_of(self, self.dim, self.axis, len(x))
        one_label_per_window(self, x, label, axis)
        if self.top_k > x[axis]:
            raise self.refuse(f"top_k must lie in 1 .. {x[axis]}, the number of classes; got {self.top_k}")
        return [(), (x[axis],)][: len(self.tops)]

    def setup(self, ops: Any, dtype: np.dtype, rng: np.random.Generator) -> Any:
        return SimpleNamespace(hits=0, counted=0)

    def forward(self, ops: Any, at: Node) -> None:
        x, label = at.bottoms
        axis = axis_of(self, self.dim, self.axis, len(x.shape))
        with named(self, NO_CLASS):
            hits, counted = ops.count_hits(
                x.array,
                label.array,
                axis=axis,
                ignore=self.ignore_label,
                top_k=self.top_k,
                ties_ahead=self.ties == "miss",
            )
        at.state.hits += hits
        at.state.counted += counted
        for top in at.tops[:1]:
            ops.fill(top.array, value=hits / counted if counted else 0.0)
        for top in at.tops[1:]:
            ops.from_host(self.per_class(on_host(ops, x), on_host(ops, label), axis), top.array)

    def per_class(self, x: np.ndarray, label: np.ndarray, axis: int) -> np.ndarray:
        """The accuracy for the labels of each class; 0 for a class without."""
        scores = by_class(x, axis)
        outer, classes, inner = scores.shape
        numbers, counted = class_numbers(self, label.reshape(outer, 1, inner), classes, self.ignore_label)
        score, place = np.take_along_axis(scores, numbers, axis=1), np.arange(classes)[:, None]
        rivals = place != numbers if self.ties == "miss" else place < numbers
        ahead = ((scores > score) | ((scores == score) & rivals)).sum(axis=1, keepdims=True)
        hits = (ahead < self.top_k) & ~np.isnan(score) & counted
        right, seen = (np.bincount(numbers[which], minlength=classes) for which in (hits, counted))
        return np.asarray(right / np.maximum(seen, 1))

    def backward(self, ops: Any, at: Node) -> None:
        return

    def dense(self, lattices: list[Lattice | None]) -> tuple[Layer, Lattice | None]:
        at = lattices[0]
        return (self if at is None else self.copy(axis=channel_axis(self, self.dim, self.axis, at))), None

    def statistics(self, state: Any) -> dict[str, float]:
        """The running averages, under Mocha's keys."""
        accuracy = state.hits / state.counted if state.counted else 0.0
        stats = {f"{self.name}-accuracy": accuracy}
        return stats | ({f"{self.name}-error": 1 - accuracy} if self.report_error else {})

    def reset_statistics(self, state: Any) -> None:
        state.hits = state.counted = 0

    def summary(self, state: Any) -> str:
        """One line, as Mocha prints it."""
        share = 100 * self.statistics(state)[f"{self.name}-accuracy"]
        return f"Accuracy (avg over {state.counted}) = {share:.4f}%"
