"""What losses share: a weight, a value, and the ways to count samples.

A loss is a few operations per answer of a net whose convolutions took thousands, so all but the softmax are computed by numpy, on
any backend. Their value is one number for a whole batch: no pixel's bits depend on the order of its sum.
"""

from dataclasses import dataclass
from math import prod
from types import SimpleNamespace
from typing import Any, ClassVar, Literal

import numpy as np

from ..lattice import Lattice
from .base import Layer, Node, Shape
from .windowed import by

Normalization = Literal["full", "valid", "batch_size", "none"]


@dataclass(frozen=True, kw_only=True)
class LossLayer(Layer):
    """A layer whose value, times its weight, is part of what training makes small.

    Parameters
    ----------
    weight : float
        Caffe's loss_weight. The first top, if one is named, holds the value before it.
    dense_windows : bool
        Set by `dense`: every window is a sample, and its scores lie along axis 1.
    """

    weight: float = 1.0
    dense_windows: bool = False

    is_sink: ClassVar[bool] = True
    has_loss: ClassVar[bool] = True
    label_bottoms: ClassVar[tuple[int, ...]] = (1,)

    def setup(self, ops: Any, dtype: np.dtype, rng: np.random.Generator) -> Any:
        return SimpleNamespace(loss=0.0)

    def settle(self, ops: Any, at: Node, value: float) -> None:
        """Takes the value, before its weight; a weight of 0 also silences a value that is not finite."""
        at.state.value, at.state.loss = value, self.weight * value if self.weight else 0.0
        for top in at.tops[:1]:
            ops.fill(top.array, value=value)

    def samples(self, x: Shape) -> int:
        """How many samples a bottom of this shape holds."""
        if not x:
            raise self.refuse("takes samples, but its bottom is one number")
        return x[0] * prod(x[2:]) if self.dense_windows else x[0]

    def dense(self, lattices: list[Lattice | None]) -> tuple[Layer, Lattice | None]:
        at = lattices[0]
        if at is None:
            return self, None
        one_answer(self, at)
        return self.copy(dense_windows=True), None


@dataclass(frozen=True, kw_only=True)
class MeanLossLayer(LossLayer):
    """A loss that keeps its mean over the samples since the last reset, as some of Mocha's do.

    `statistic` names it: "square" gives "<name>-square-loss".
    """

    statistic: ClassVar[str] = ""

    def setup(self, ops: Any, dtype: np.dtype, rng: np.random.Generator) -> Any:
        return SimpleNamespace(loss=0.0, total=0.0, seen=0)

    def tally(self, state: Any, samples: int) -> None:
        """Counts the present loss for so many samples."""
        state.total += state.loss * samples
        state.seen += samples

    def statistics(self, state: Any) -> dict[str, float]:
        """The running mean, under Mocha's key."""
        return {f"{self.name}-{self.statistic}-loss": state.total / state.seen if state.seen else 0.0}

    def reset_statistics(self, state: Any) -> None:
        state.total, state.seen = 0.0, 0

    def summary(self, state: Any) -> str:
        """One line, as Mocha prints it."""
        (value,) = self.statistics(state).values()
        return f"{self.statistic.capitalize()}-loss (avg over {state.seen}) = {value:.4f}"


def one_answer(layer: Layer, at: Lattice) -> None:
    """Refuses a patch with several answers: windows side by side would share them, and each would count them."""
    if max(at.patch) > 1:
        raise layer.not_dense(
            f"its bottom is {by(at.patch)} per window, and windows side by side would each count what they share; "
            "end the net in one answer per window, or train it with solve"
        )


def counting(normalization: str, ignore_label: int | None) -> str:
    """How listings say what a loss is divided by, and what it leaves out."""
    ignored = "" if ignore_label is None else f", ignores label {ignore_label}"
    return f"normalised by {normalization}{ignored}"


def divisor(normalization: str, labels: int, counted: int, samples: int) -> float:
    """What a sum over labels is divided by, at least 1: all of them ("full", "mocha"), those counted, the samples, or 1."""
    sizes = {"mocha": labels, "full": labels, "valid": counted, "batch_size": samples, "none": 1}
    return float(max(1, sizes[normalization]))


def class_numbers(layer: Layer, label: np.ndarray, classes: int, ignore: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Labels as integers, 0 where ignored, and which of them count.

    Raises
    ------
    ShapeError
        If one is neither a class nor ignored.
    """
    counted = np.ones(label.shape, bool) if ignore is None else label != ignore
    label = np.where(counted, label, 0)
    legal = (label >= 0) & (label < classes) & (label == np.floor(label))
    if not legal.all():
        raise layer.refuse(
            f"label {label[~legal][0]:g} is not one of the {classes} classes 0 .. {classes - 1}; count classes from 0"
        )
    return label.astype(np.intp), counted


def same_samples(layer: Layer, x: Shape, target: Shape) -> None:
    """Refuses a target that has not one value per value of x, sample by sample; axes of length 1 do not count."""
    if (x[:1], prod(x)) != (target[:1], prod(target)):
        raise layer.refuse(f"its bottoms must hold as many values per sample, got {x} and {target}")
