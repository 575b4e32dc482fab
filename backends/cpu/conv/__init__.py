"""The ways to convolve: one algorithm per file, all of them on blocked maps and behind one interface.

An algorithm is a module with a function `candidates(problem)`; a further one is a file and a place in `_MODULES`.
"""

from functools import lru_cache
from typing import Protocol

import numpy as np

from ..jit import Threads
from . import direct, fft, winograd
from .problem import Problem

_MODULES = (direct, winograd, fft)


class Algorithm(Protocol):
    """One way of solving one problem.

    Attributes
    ----------
    name : str
        With its parameters; what a plan says.
    seconds : float
        An estimate.
    workspace : int
        Bytes of `scratch`.
    kept : int
        Bytes of the prepared weights.
    error : float
        RMS of its error over the RMS of the outputs, in float32 as measured; less in float64.
    """

    @property
    def name(self) -> str: ...
    @property
    def seconds(self) -> float: ...
    @property
    def workspace(self) -> int: ...
    @property
    def kept(self) -> int: ...
    @property
    def error(self) -> float: ...

    def prepare(self, w: np.ndarray) -> np.ndarray:
        """Weights (K, C, *kernel) in the form that `run` wants."""

    def run(
        self,
        x: np.ndarray,
        weights: np.ndarray,
        bias: np.ndarray,
        tail: np.ndarray,
        tail_bias: np.ndarray,
        y: np.ndarray,
        scratch: np.ndarray,
        threads: Threads,
    ) -> None:
        """Solves the problem; all arrays are flat, bias goes on to whole vectors, tail is as `regions.pack_tail` makes it."""


@lru_cache(1024)
def algorithms(problem: Problem) -> tuple[Algorithm, ...]:
    """All that can solve the problem."""
    return tuple(found for module in _MODULES for found in module.candidates(problem))


def algorithm(problem: Problem, name: str) -> Algorithm:
    """The one that a plan names."""
    return next(found for found in algorithms(problem) if found.name == name)
