"""A lowered program, ready to run: every convolution with its algorithm, weights made ready once, one arena."""

import threading
from collections.abc import Callable
from dataclasses import replace
from math import prod
from typing import Any
from weakref import WeakSet, WeakValueDictionary

import numpy as np

from ..program import Plan, Program, SharedArray, Step, Value, Weight, seconds
from . import blocked
from .arrays import aligned
from .conv import algorithm
from .conv.problem import Problem
from .conv.regions import pack_tail
from .jit import Threads
from .upsampled import Upsampled


class Prepared:
    """A parameter in the form that an algorithm wants, made again when the parameter was written to."""

    def __init__(self, parameter: SharedArray, make: Callable[[np.ndarray], np.ndarray]) -> None:
        self.parameter, self.make = parameter, make
        self.version: int | None = None
        self.array = np.empty(0)
        self.turn = threading.Lock()  # programs that share it may run in several Python threads

    def fresh(self) -> np.ndarray:
        with self.turn:
            version = self.parameter.version
            if version != self.version:
                # what was made before goes first: both at once would be twice the plan's memory
                self.array = np.empty(0)
                self.array = self.make(self.parameter.array)
                self.version = version
            return self.array


class Shelf:
    """What is prepared of a backend's parameters, shared by all programs that want it in the same form.

    It lives as long as some program that uses it; the last program's is kept until another one is compiled, because the
    next tile shape wants the same.
    """

    def __init__(self) -> None:
        self.made: WeakValueDictionary[tuple[Any, ...], Prepared] = WeakValueDictionary()
        self.latest: list[Prepared] = []
        self.programs: WeakSet[Compiled] = WeakSet()

    def get(self, weight: Weight, form: tuple[Any, ...], make: Callable[[np.ndarray], np.ndarray]) -> Prepared:
        key = (id(weight.parameter), weight.shape, *form)
        found = self.made.get(key)
        if found is None:
            shape = weight.shape
            found = self.made[key] = Prepared(weight.parameter, lambda values: make(values.reshape(shape)))
        return found

    @property
    def nbytes(self) -> int:
        """What all that is prepared takes at present."""
        return sum(p.array.nbytes for p in list(self.made.values()))

    @property
    def spare(self) -> int:
        """What no living program uses, so that the next one takes it over or it is gone."""
        used = {id(p) for program in list(self.programs) for p in program.prepared}
        return sum(p.array.nbytes for p in self.latest if id(p) not in used)


class Compiled:
    """Runs a lowered program by its plan. Calls from several Python threads take turns: there is one arena."""

    def __init__(self, ops: Any, program: Program, plan: Plan) -> None:
        self.ops, self.program, self.plan = ops, program, plan
        self.turn = threading.Lock()
        self.arena = aligned(plan.arena, np.dtype(np.uint8))
        self.scratch = aligned(plan.workspace // program.dtype.itemsize, program.dtype)
        self.prepared: list[Prepared] = []
        self.calls = [self._step(step, how.algorithm) for step, how in zip(program.steps, plan.algorithms, strict=True)]
        ops.shelf.latest = self.prepared
        ops.shelf.programs.add(self)

    def __call__(self, x: np.ndarray) -> list[np.ndarray]:
        with self.turn:
            self.ops.from_host(x, self.array(self.program.input))
            for call in self.calls:
                call()
            return [np.array(self.array(y)) for y in self.program.outputs]

    def timed(self, x: np.ndarray) -> list[float]:
        with self.turn:
            self.ops.from_host(x, self.array(self.program.input))
            return [seconds(call) for call in self.calls]

    def array(self, value: Value) -> np.ndarray:
        return self.ops.view(self.arena, self.plan.offsets[value.buffer], value.shape, self.program.dtype)

    def _step(self, step: Step, how: str) -> Callable[[], None]:
        """One step as a call without arguments; its arrays stay where they are.

        Nothing in it refers to this object: a cycle would keep the arena until some later collection.
        """
        if step.op == "convolve":
            return self._convolve(step, how)
        if step.op == "up_convolve":
            return self._up_convolve(step)
        operation = _BLOCKED.get(step.op)
        y = self.array(step.write)
        reads = [self.array(r) if isinstance(r, Value) else r for r in step.reads]
        if operation is None:
            run = getattr(self.ops, step.op)
            return lambda: run(*map(_operand, reads), y, **step.options)
        threads = self.ops.threads
        options = [value for name, value in step.options.items() if name != "flops"]
        return lambda: operation(*map(_operand, reads), y, *options, threads)

    def _convolve(self, step: Step, how: str) -> Callable[[], None]:
        problem: Problem = step.options["problem"]
        chosen = algorithm(problem, how)
        source, w, b, *tail = step.reads
        assert isinstance(source, Value)
        x, y = self.array(source).reshape(-1), self.array(step.write).reshape(-1)
        none = np.zeros(1, problem.dtype)
        width = problem.lanes

        def whole_vectors(values: np.ndarray) -> np.ndarray:
            return np.concatenate([values, np.zeros(-len(values) % width, problem.dtype)])

        weights = self._prepare(w, (how, problem.plain), chosen.prepare)
        bias = self._prepare(b, ("bias",), whole_vectors) or np.zeros(problem.output_blocks * width, problem.dtype)
        ends, end_bias = none, none
        if tail and problem.tail is not None:
            classes = problem.tail.classes
            ends = self._prepare(tail[0], ("tail",), lambda v: pack_tail(v.reshape(classes, -1), width))
            end_bias = self._prepare(tail[1], ("tail bias",), np.array) or np.zeros(classes, problem.dtype)

        scratch, threads = self.scratch, self.ops.threads

        def run() -> None:
            u, start, last, last_bias = (
                p.fresh() if isinstance(p, Prepared) else p for p in (weights, bias, ends, end_bias)
            )
            chosen.run(x, u, start, last, last_bias, y, scratch, threads)

        return run

    def _up_convolve(self, step: Step) -> Callable[[], None]:
        pair = Upsampled(step)
        x, *weights = step.reads
        assert isinstance(x, Value)
        held: dict[tuple[int, ...], Any] = {}

        def ready() -> Any:
            versions = tuple(w.parameter.version for w in weights if isinstance(w, Weight))
            if versions not in held:
                held.clear()
                held[versions] = pair.prepare(*map(_operand, weights))
            return held[versions]

        def upsampling() -> list[Any]:
            return [_operand(w) for w in weights[:2]]

        return pair.runner(self.array(x), self.array(step.write), self.scratch, upsampling, ready, self.ops.threads)

    def _prepare(self, weight: Any, form: tuple[Any, ...], make: Callable[[np.ndarray], np.ndarray]) -> Any:
        if weight is None:
            return None
        found = self.ops.shelf.get(weight, form, make)
        self.prepared.append(found)
        return found


def _operand(operand: Any) -> Any:
    """A parameter as it is now; an array, or None, as it is."""
    return operand.parameter.array.reshape(operand.shape) if isinstance(operand, Weight) else operand


def load(ops: Any, program: Program, plan: Plan) -> None:
    """Runs what a plan uses on next to no data, so that its kernels are in memory."""
    tried: set[Any] = set()
    for step, how in zip(program.steps, plan.algorithms, strict=True):
        if step.op in ("convolve", "up_convolve"):
            chosen: Any = algorithm(step.options["problem"], how.algorithm)
            smallest = replace(chosen, problem=chosen.problem.smallest)
            if smallest not in tried:
                tried.add(smallest)
                _try_out(smallest, ops.threads)
        name = "blocked_spread" if step.op == "up_convolve" else step.op
        if name in _BLOCKED and name not in tried:
            tried.add(name)
            _no_images(name, step, ops.threads)


def _no_images(name: str, step: Step, threads: Threads) -> None:
    """A blocked step on maps without images: every loop is over them."""
    bottom, top = (np.empty((0, *v.shape[1:]), step.dtype) for v in (step.reads[0], step.write) if isinstance(v, Value))
    numbers = [None if r is None else np.zeros(r.shape, step.dtype) for r in step.reads[1:]]
    if name == "blocked_spread":
        stride = step.options["stride"]
        blocked.spread_out(bottom, np.zeros((1, 1, *stride), step.dtype), None, top, stride, threads)
    else:
        _BLOCKED[name](bottom, *numbers, top, *step.options.values(), threads)


def _try_out(chosen: Any, threads: Threads) -> None:
    """Solves a problem over zeros."""
    p: Problem = chosen.problem
    classes = p.tail.classes if p.tail is not None else 1
    x, y = (np.zeros(n, p.dtype) for n in (p.images * p.source.image, prod(p.written)))
    weights = chosen.prepare(np.zeros((p.outputs, p.channels, *p.kernel), p.dtype))
    bias, tail, tail_bias = (np.zeros(n, p.dtype) for n in (p.lanes, classes * p.lanes, classes))
    scratch = aligned(chosen.workspace // p.dtype.itemsize, p.dtype)
    chosen.run(x, weights, bias, tail, tail_bias, y, scratch, threads)


_BLOCKED: dict[str, Callable[..., None]] = {
    "block": blocked.block,
    "unblock": blocked.unblock,
    "pad": blocked.pad,
    "blocked_affine": blocked.affine,
    "blocked_max_pool": blocked.max_pool,
    "blocked_move": blocked.move,
    "blocked_spread": blocked.spread_out,
    "blocked_fragment": blocked.fragment,
    "blocked_stitch": blocked.stitch,
}


__all__ = ["Compiled", "Shelf", "load"]
