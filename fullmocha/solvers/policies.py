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


def _power(x: float, exponent: float) -> float:
    """x ^ exponent, infinite where that is too large to write down, nan where it is no real number: a maximum holds, or the loss tells."""
    try:
        found = x**exponent
    except ArithmeticError:
        return math.inf
    return math.nan if isinstance(found, complex) else found


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
        return self.base * _power(1 + self.gamma * iteration, -self.power)


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


@dataclass(frozen=True)
class MultiStep(Policy):
    """base * gamma ^ step, where the step grows by one, once per iteration at most, while iteration >= stepvalues[step] (Caffe).

    The step is part of the training's state (`SolverState.current_step`), because a resumed one may have other stepvalues.

    >>> [MultiStep(1.0, 0.5, (2, 2, 5))(i) for i in range(7)]
    [1.0, 1.0, 0.5, 0.25, 0.25, 0.125, 0.125]
    """

    base: float
    gamma: float
    stepvalues: tuple[int, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "stepvalues", tuple(int(value) for value in self.stepvalues))

    def advance(self, step: int, iteration: int) -> int:
        """The step at an iteration, after `step` at the one before."""
        return step + (step < len(self.stepvalues) and iteration >= self.stepvalues[step])

    def rate(self, step: int) -> float:
        return self.base * _power(self.gamma, step)

    def __call__(self, iteration: int) -> float:
        """The rate of a training that has had these stepvalues from its beginning."""
        step, free = 0, 0  # the first iteration at which the next step may be taken
        for value in self.stepvalues:
            free = max(value, free) + 1
            step += iteration >= free - 1
        return self.rate(step)


@dataclass(frozen=True)
class Poly(Policy):
    """base * (1 - iteration / max_iter) ^ power, and 0 from max_iter on (Caffe).

    >>> [Poly(2.0, 2.0, 4)(i) for i in (0, 2, 4, 5)]
    [2.0, 0.5, 0.0, 0.0]
    """

    base: float
    power: float
    max_iter: int

    def __post_init__(self) -> None:
        _at_least_one("max_iter", self.max_iter)

    def __call__(self, iteration: int) -> float:
        left = max(0.0, 1 - iteration / self.max_iter)
        return self.base * _power(left, self.power) if left or self.power > 0 else 0.0


@dataclass(frozen=True)
class Sigmoid(Policy):
    """base / (1 + exp(-gamma * (iteration - stepsize))) (Caffe): it falls around stepsize where gamma is negative.

    >>> Sigmoid(2.0, -0.1, 100)(100)
    1.0
    """

    base: float
    gamma: float
    stepsize: int

    def __call__(self, iteration: int) -> float:
        try:
            return self.base / (1 + math.exp(-self.gamma * (iteration - self.stepsize)))
        except OverflowError:
            return 0.0


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
    """The policies for the learning rate: Mocha's under its names, then those that only Caffe has."""

    Fixed = Fixed
    Step = Step
    Exp = Exp
    Inv = Inv
    Staged = Staged
    MultiStep = MultiStep
    Poly = Poly
    Sigmoid = Sigmoid


class MomPolicy:
    """The policies for the momentum, under Mocha's names: those that grow have a limit."""

    Fixed = Fixed
    Step = StepUp
    Linear = Linear
    Staged = Staged


def _at_least_one(what: str, value: int) -> None:
    if value < 1:
        raise SolverError(f"{what} must be at least 1, got {value}")
