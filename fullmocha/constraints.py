"""Hard limits on parameters, imposed after an update."""

from dataclasses import dataclass
from math import inf
from typing import Any

import numpy as np

from .blob import Parameter
from .errors import ShapeError


class Constraint:
    """Projects a parameter back to where it is allowed, every `every_n_iter` updates."""

    every_n_iter: int = 0

    def impose(self, ops: Any, parameter: Parameter) -> None:
        raise NotImplementedError


@dataclass(frozen=True)
class NoCons(Constraint):
    """No limit."""

    def impose(self, ops: Any, parameter: Parameter) -> None:
        return


@dataclass(frozen=True)
class L2Cons(Constraint):
    """Rescales the weights of every output unit whose Euclidean norm exceeds the threshold (Srivastava 2013)."""

    threshold: float
    every_n_iter: int = 1

    def __post_init__(self) -> None:
        if not isinstance(self.threshold, int | float | np.number) or not 0 < self.threshold < inf:
            raise ShapeError(f"L2Cons: threshold must be a positive number, got {self.threshold!r}")
        if not isinstance(self.every_n_iter, int | np.integer) or self.every_n_iter < 0:
            raise ShapeError(f"L2Cons: every_n_iter must be an integer >= 0, got {self.every_n_iter!r}")

    def impose(self, ops: Any, parameter: Parameter) -> None:
        ops.clip_norm(parameter.array, limit=self.threshold)
        parameter.touch()
