"""Losses and scores."""

import numpy as np

import fullmocha as fm

from .case import Case

_PAIR = {"a": (3, 4), "b": (3, 4)}
_MAPS = {"a": (2, 3, 4, 5), "b": (2, 3, 4, 5)}
_CLASSES = {"a": (5, 3), "b": (5, 1)}
_PIXELS = {"a": (2, 3, 4, 5), "b": (2, 1, 4, 5)}
_MATRIX = np.random.default_rng(1).uniform(0.1, 2, (3, 3)).tolist()


def _square(**fields: object) -> fm.SquareLossLayer:
    return fm.SquareLossLayer(name="l", bottoms=["a", "b"], **fields)


def _sigmoid(**fields: object) -> fm.SigmoidCrossEntropyLossLayer:
    return fm.SigmoidCrossEntropyLossLayer(name="l", bottoms=["a", "b"], **fields)


def _hinge(**fields: object) -> fm.HingeLossLayer:
    return fm.HingeLossLayer(name="l", bottoms=["a", "b"], **fields)


def _infogain(**fields: object) -> fm.InfogainLossLayer:
    return fm.InfogainLossLayer(name="l", **{"bottoms": ["a", "b"], "infogain": _MATRIX} | fields)


def _contrastive(**fields: object) -> fm.ContrastiveLossLayer:
    return fm.ContrastiveLossLayer(name="l", bottoms=["a", "b", "c"], **fields)


class Positive(Case):
    """With scores above 0, as probabilities are."""

    def draw(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        drawn = super().draw(rng)
        return drawn | {"a": np.abs(drawn["a"]) + 0.1}


def _multinomial(**fields: object) -> fm.MultinomialLogisticLossLayer:
    return fm.MultinomialLogisticLossLayer(name="l", bottoms=["a", "b"], **fields)


_TRIPLE = {"a": (6, 4), "b": (6, 4), "c": (6, 1)}

CASES = [
    Case("square loss", _square(weight=0.7, tops=["y"]), _PAIR),
    Case("square loss maps", _square(), _MAPS),
    Case("square loss shapes", _square(), {"a": (2, 6), "b": (2, 3, 1, 2)}),
    Case("sigmoid cross-entropy", _sigmoid(tops=["y"]), _MAPS, {"b": 2}),
    *(Case(f"sigmoid cross-entropy {n}", _sigmoid(normalization=n, ignore_label=-1, weight=0.6), _MAPS, {"b": 2}, True)
      for n in ("full", "valid", "batch_size", "none")),
    Case("hinge", _hinge(), _PAIR),
    Case("hinge squared", _hinge(norm="L2", weight=0.4), _MAPS),
    Case("hinge classes", _hinge(labels="classes", tops=["y"]), _CLASSES, {"b": 3}),
    Case("hinge classes squared", _hinge(labels="classes", norm="L2"), {"a": (4, 2, 3, 1), "b": (4,)}, {"b": 6}),
    Positive("multinomial logistic", _multinomial(tops=["y"]), _CLASSES, {"b": 3}),
    Positive("multinomial logistic pixels", _multinomial(weight=0.3), _PIXELS, {"b": 3}),
    Positive("multinomial logistic axis", _multinomial(axis=2), {"a": (2, 4, 3, 5), "b": (2, 4, 1, 5)}, {"b": 3}),
    Case("infogain", _infogain(), _CLASSES, {"b": 3}),
    Case("infogain pixels", _infogain(tops=["y", "z"], weight=0.3), _PIXELS, {"b": 3}),
    Case("infogain axis", _infogain(axis=2), {"a": (2, 4, 3, 5), "b": (2, 4, 1, 5)}, {"b": 3}),
    *(Case(f"infogain {n}", _infogain(normalization=n, ignore_label=-1), _PIXELS, {"b": 3}, True)
      for n in ("full", "valid", "batch_size", "none")),
    Case("contrastive", _contrastive(margin=3.0, epsilon=0.0, tops=["y"]), _TRIPLE, {"c": 2}),
    Case("contrastive legacy", _contrastive(margin=9.0, legacy_version=True, weight=0.2), _TRIPLE, {"c": 2}),
    Case("sum loss", fm.SumLossLayer(name="l", bottoms=["a"], weight=0.3, tops=["y"]), {"a": (2, 3, 4, 5)}),
    Case("softmax loss probabilities", fm.SoftmaxLossLayer(name="l", bottoms=["a", "b"], tops=["y", "z"]), _PIXELS, {"b": 3}),
    Case("accuracy per class", fm.AccuracyLayer(name="l", bottoms=["a", "b"], tops=["y", "z"], ignore_label=-1), _PIXELS, {"b": 3}, True),
]  # fmt: skip
