"""Rates that change as the training goes: learning rate and momentum as functions of the iteration."""

import math
from dataclasses import dataclass

from ..errors import SolverError


class Policy:
    """A rate for every iteration.

    Which number the first update has is the solver's convention: 1 in Mocha, 0 in Caffe. Policy(0) is the initial rate.
    """

    def __call__(self, iteration: int) -> float:
        raise NotImplementedError(f"{type(self).__name__}.__call__")


@dataclass(frozen=True)
class Fixed(Policy):
    """base."""

    base: float

    def __call__(self, iteration: int) -> float:
        return self.base


def _power(gamma: float, n: int) -> float:
    """gamma ^ n, infinite where that is too large to write down: then a maximum holds, or the loss tells."""
    try:
        return gamma**n
    except OverflowError:
        return math.inf


@dataclass(frozen=True)
class Step(Policy):
    """base * gamma ^ floor(iteration / stepsize).

    >>> [Step(0.5, 0.5, 3)(i) for i in (0, 2, 3, 6)]
    [0.5, 0.5, 0.25, 0.125]
    """

    base: float
    gamma: float
    stepsize: int

    def __post_init__(self) -> None:
        _at_least_one("stepsize", self.stepsize)

    def __call__(self, iteration: int) -> float:
        return self.base * _power(self.gamma, iteration // self.stepsize)


@dataclass(frozen=True)
class Exp(Policy):
    """base * gamma ^ iteration."""

    base: float
    gamma: float

    def __call__(self, iteration: int) -> float:
        return self.base * _power(self.gamma, iteration)


@dataclass(frozen=True)
class Inv(Policy):
    """base * (1 + gamma * iteration) ^ -power."""

    base: float
    gamma: float
    power: float

    def __call__(self, iteration: int) -> float:
        return self.base * (1 + self.gamma * iteration) ** -self.power


@dataclass(frozen=True)
class StepUp(Step):
    """min(base * gamma ^ floor(iteration / stepsize), max)."""

    max: float

    def __call__(self, iteration: int) -> float:
        return min(super().__call__(iteration), self.max)


@dataclass(frozen=True)
class Linear(Policy):
    """min(base + floor(iteration / stepsize) * gamma, max)."""

    base: float
    gamma: float
    stepsize: int
    max: float

    def __post_init__(self) -> None:
        _at_least_one("stepsize", self.stepsize)

    def __call__(self, iteration: int) -> float:
        return min(self.base + iteration // self.stepsize * self.gamma, self.max)


class Staged(Policy):
    """Policies one after the other: `Staged((6000, Fixed(0.001)), (4000, Fixed(0.0001)))`.

    The second takes over at iteration 6000, and the last stays for ever. Each sees the iteration of the whole training.
    """

    def __init__(self, *stages: tuple[int, Policy]) -> None:
        if not stages:
            raise SolverError("Staged needs at least one (iterations, policy)")
        for length, policy in stages:
            _at_least_one("a stage's number of iterations", length)
            if not isinstance(policy, Policy):
                raise SolverError(f"Staged takes (iterations, policy), got ({length!r}, {policy!r})")
        self.stages = stages

    def __call__(self, iteration: int) -> float:
        end = 0
        for length, policy in self.stages:
            end += length
            if iteration < end:
                return policy(iteration)
        return self.stages[-1][1](iteration)

    def __repr__(self) -> str:
        return f"Staged({', '.join(map(repr, self.stages))})"


class LRPolicy:
    """The policies for the learning rate, under Mocha's names."""

    Fixed = Fixed
    Step = Step
    Exp = Exp
    Inv = Inv
    Staged = Staged


class MomPolicy:
    """The policies for the momentum, under Mocha's names: those that grow have a limit."""

    Fixed = Fixed
    Step = StepUp
    Linear = Linear
    Staged = Staged


def _at_least_one(what: str, value: int) -> None:
    if value < 1:
        raise SolverError(f"{what} must be at least 1, got {value}")
