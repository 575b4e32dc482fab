"""The dense net as a flat list of steps: how it is recorded, what a plan says of it, and the default way to run it.

A program is recorded, not written: `Recorder` stands in for a backend while every layer's `forward` runs once on
`Value`s, so the layer's forward rule is the only description of its arithmetic.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from math import prod
from typing import Any, Protocol

import numpy as np

from .shapes import Shape


@dataclass(frozen=True)
class Value:
    """An activation of the program: a buffer, and the shape under which a step sees it."""

    buffer: int
    shape: Shape


class SharedArray(Protocol):
    """What a program knows of a parameter: its array, and a version that every write bumps."""

    @property
    def version(self) -> int: ...

    @property
    def array(self) -> Any: ...


@dataclass(frozen=True)
class Weight:
    """A parameter under the shape that a step wants; the parameter itself may change between runs."""

    parameter: SharedArray
    shape: Shape


@dataclass(frozen=True)
class Step:
    """One call of an op: `getattr(ops, op)(*reads, write, **options)`."""

    op: str
    reads: tuple[Value | Weight | None, ...]
    write: Value
    options: Mapping[str, Any]
    layer: str
    dtype: np.dtype

    def operand(self, place: int = 0) -> Value | Weight:
        """What the step reads in that place, where something must stand."""
        found = self.reads[place]
        assert found is not None
        return found

    @property
    def flops(self) -> int:
        """Two per multiply-add of a convolution; the reports count nothing else. A backend's own step brings its count."""
        if "flops" in self.options:
            return self.options["flops"]
        if self.op not in ("conv", "deconv"):
            return 0
        x, w = self.reads[0], self.reads[1]
        assert isinstance(x, Value) and isinstance(w, Weight)
        positions = self.write.shape if self.op == "conv" else x.shape  # where the whole kernel is applied
        return 2 * prod(w.shape) * positions[0] * prod(positions[2:])


@dataclass(frozen=True)
class Program:
    """A net from one input to its outputs, at one input shape."""

    steps: tuple[Step, ...]
    input: Value
    outputs: tuple[Value, ...]
    dtype: np.dtype

    @property
    def flops(self) -> int:
        return sum(step.flops for step in self.steps)

    def sizes(self) -> dict[int, int]:
        """Bytes of every buffer."""
        values = [self.input, *(step.write for step in self.steps)]
        return {v.buffer: prod(v.shape) * self.dtype.itemsize for v in values}


@dataclass(frozen=True)
class Candidate:
    """One way of doing a step.

    Attributes
    ----------
    seconds : float
        An estimate.
    workspace : int
        Bytes needed beside the step's own arrays while it runs.
    kept : int
        Bytes of prepared weights that stay for as long as the program does.
    exact : bool
        Whether the bits of an answer depend on its own window alone.
    error : float
        What it adds to the rounding of its inputs: RMS of the error over RMS of the answer.
    """

    algorithm: str
    seconds: float
    workspace: int = 0
    kept: int = 0
    exact: bool = True
    error: float = 0.0


@dataclass(frozen=True)
class Plan:
    """What the planner decided for one program: an algorithm per step, and where each buffer lies in one arena."""

    algorithms: tuple[Candidate, ...]
    offsets: Mapping[int, int]
    arena: int
    workspace: int
    kept: int = 0

    @property
    def nbytes(self) -> int:
        """Everything that running the program holds at once, parameters and caller's arrays apart."""
        return self.arena + self.workspace + self.kept

    @property
    def seconds(self) -> float:
        return sum(c.seconds for c in self.algorithms)


class Executable(Protocol):
    """A compiled program; it holds its buffers until it is dropped."""

    def __call__(self, x: np.ndarray) -> list[np.ndarray]:
        """Runs the program on a host array; the answers are fresh host arrays in C order."""

    def timed(self, x: np.ndarray) -> list[float]:
        """Runs it, and gives the seconds of every step."""


def seconds(call: Callable[[], object]) -> float:
    """What a call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


@dataclass
class Recorder:
    """Stands in for a backend's ops and writes down every call.

    Only what an inference pass needs: storage ops that make or reshape values, and forward ops.
    """

    dtype: np.dtype
    layer: str = ""
    steps: list[Step] = field(default_factory=list)
    buffers: int = 0

    def value(self, shape: Shape) -> Value:
        self.buffers += 1
        return Value(self.buffers - 1, tuple(shape))

    def empty(self, shape: Shape, dtype: np.dtype) -> Value:
        """A buffer that a layer needs for itself."""
        return self.value(shape)

    def reshape(self, x: Any, shape: Shape) -> Any:
        return replace(x, shape=tuple(shape))

    def __getattr__(self, op: str) -> Any:
        if op.startswith("_"):
            raise AttributeError(op)

        def record(*arrays: Any, **options: Any) -> None:
            *reads, write = arrays
            self.steps.append(Step(op, tuple(reads), write, options, self.layer, self.dtype))

        return record


class Interpreter:
    """Runs a program step by step with a backend's ops, in one arena laid out by the plan."""

    def __init__(self, ops: Any, program: Program, plan: Plan) -> None:
        self.ops, self.program = ops, program
        self.arena = ops.empty((plan.arena,), np.dtype(np.uint8))
        self.offsets = plan.offsets

    def array(self, operand: Value | Weight | None) -> Any:
        if operand is None:
            return None
        if isinstance(operand, Weight):
            return self.ops.reshape(operand.parameter.array, operand.shape)
        return self.ops.view(self.arena, self.offsets[operand.buffer], operand.shape, self.program.dtype)

    def run(self, step: Step) -> None:
        getattr(self.ops, step.op)(*map(self.array, step.reads), self.array(step.write), **step.options)

    def timed(self, x: np.ndarray) -> list[float]:
        """On a device that works on its own, a step's time is that of handing it over."""
        self.ops.from_host(x, self.array(self.program.input))
        return [seconds(partial(self.run, step)) for step in self.program.steps]

    def __call__(self, x: np.ndarray) -> list[np.ndarray]:
        self.ops.from_host(x, self.array(self.program.input))
        for step in self.program.steps:
            self.run(step)
        return [np.array(self.ops.to_host(self.array(y))) for y in self.program.outputs]
