"""Penalties on parameters, added to their gradients: what pulls weights towards zero."""

from dataclasses import dataclass
from math import inf
from typing import Any, Literal

import numpy as np

from .blob import Parameter
from .errors import ShapeError


class Regularizer:
    """Adds its gradient to a parameter's."""

    def add_gradient(self, ops: Any, parameter: Parameter, coefficient: float) -> None:
        raise NotImplementedError


@dataclass(frozen=True)
class NoRegu(Regularizer):
    """No penalty."""

    def add_gradient(self, ops: Any, parameter: Parameter, coefficient: float) -> None:
        return


@dataclass(frozen=True)
class L2Regu(Regularizer):
    """Weight decay. Mocha's penalty is coef * |w|^2, whose gradient is 2 coef w; Caffe's is half of it, gradient coef w."""

    coef: float = 1.0
    convention: Literal["mocha", "caffe"] = "mocha"

    def __post_init__(self) -> None:
        if self.convention not in ("mocha", "caffe"):
            raise ShapeError(f'L2Regu: convention must be "mocha" or "caffe", got {self.convention!r}')
        _coefficient("L2Regu", self.coef)

    def add_gradient(self, ops: Any, parameter: Parameter, coefficient: float) -> None:
        factor = 2.0 if self.convention == "mocha" else 1.0
        ops.axpby(parameter.array, parameter.grad, alpha=factor * self.coef * coefficient, beta=1.0)


@dataclass(frozen=True)
class L1Regu(Regularizer):
    """The penalty coef * sum |w|, gradient coef sign(w)."""

    coef: float = 1.0

    def __post_init__(self) -> None:
        _coefficient("L1Regu", self.coef)

    def add_gradient(self, ops: Any, parameter: Parameter, coefficient: float) -> None:
        ops.add_sign(parameter.array, parameter.grad, alpha=self.coef * coefficient)


def _coefficient(name: str, value: Any) -> None:
    if not isinstance(value, int | float | np.number) or not 0 <= value < inf:
        raise ShapeError(f"{name}: coef must be a number >= 0, got {value!r}")
