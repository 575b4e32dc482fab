"""Hard limits on parameters, imposed after an update."""

from dataclasses import dataclass
from typing import Any

from .blob import Parameter


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

    def impose(self, ops: Any, parameter: Parameter) -> None:
        ops.clip_norm(parameter.array, limit=self.threshold)
        parameter.touch()
