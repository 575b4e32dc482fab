"""Programs written by hand, as no layer would make them, and their answers by the reference's ops in float64."""

from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import numpy as np
from fullmocha.backends.cpu import Ops
from fullmocha.backends.program import Interpreter, Program, Recorder, Value, Weight
from fullmocha.backends.reference import Ops as Reference
from fullmocha.backends.shapes import Shape, Window

from fullmocha.plan import lay_out

REFERENCE = Reference()


@dataclass
class Shared:
    """A parameter as a program knows it."""

    array: Any
    version: int = 0


def window(kernel: Shape, stride: Shape = (1, 1), pad: Shape = (0, 0), dilation: Shape = (1, 1)) -> Window:
    return Window(kernel, stride, pad, dilation)


@dataclass
class Draft:
    """Writes a program down step by step; weights are drawn so that sums keep a variance of about 1.

    The numbers are float32 ones whatever the dtype, so that a draft in float64 is the exact answer of one in float32.
    """

    dtype: np.dtype
    shape: Shape
    seed: int = 0
    params: list[Shared] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.dtype = np.dtype(self.dtype)
        self.rng = np.random.default_rng(self.seed)
        self.recorder = Recorder(self.dtype)
        self.x = self.recorder.value(self.shape)

    def weight(self, *shape: int, terms: int = 1) -> Weight:
        values = (self.rng.normal(size=shape) / np.sqrt(terms)).astype(np.float32)
        self.params.append(Shared(values.astype(self.dtype)))
        return Weight(self.params[-1], shape)

    def call(self, op: str, reads: tuple[Any, ...], shape: Shape, **options: Any) -> Value:
        write = self.recorder.value(shape)
        self.recorder.layer = f"{op}{write.buffer}"
        getattr(self.recorder, op)(*reads, write, **options)
        return write

    def conv(self, x: Value, outputs: int, *window_: Any, group: int = 1, bias: bool = True, **options: Any) -> Value:
        slide = window(*window_, **options)
        inner = x.shape[1] // group
        w = self.weight(outputs, inner, *slide.kernel, terms=inner * prod(slide.kernel))
        b = self.weight(outputs) if bias else None
        return self.call(
            "conv", (x, w, b), (x.shape[0], outputs, *slide.slides(x.shape[2:])), window=slide, group=group
        )

    def deconv(
        self,
        x: Value,
        outputs: int,
        *window_: Any,
        group: int = 1,
        bias: bool = True,
        equal: bool = False,
        **options: Any,
    ) -> Value:
        """`equal`: the same weight at all taps of a channel, as for nearest neighbours."""
        slide = window(*window_, **options)
        terms = max(1, x.shape[1] // group * prod(slide.kernel) // prod(slide.stride))
        w, b = self.weight(x.shape[1], outputs // group, *slide.kernel, terms=terms), None
        if equal:
            w.parameter.array[...] = w.parameter.array[..., :1, :1]
        if bias:
            b = self.weight(outputs)
        shape = (x.shape[0], outputs, *slide.spread(x.shape[2:]))
        return self.call("deconv", (x, w, b), shape, window=slide, group=group)

    def activate(self, x: Value, kind: str = "relu", *parameters: float) -> Value:
        """A rectifier without a slope, or any neuron."""
        return self.call("activate", (x,), x.shape, kind=kind, parameters=parameters or (0.0,) * (kind == "relu"))

    def max_pool(self, x: Value, *window_: Any, **options: Any) -> Value:
        slide = window(*window_, **options)
        return self.call("max_pool", (x,), (*x.shape[:2], *slide.slides(x.shape[2:])), window=slide)

    def mean_pool(self, x: Value, *window_: Any, **options: Any) -> Value:
        slide = window(*window_, **options)
        shape = (*x.shape[:2], *slide.slides(x.shape[2:]))
        return self.call("mean_pool", (x,), shape, window=slide, clip_divisor=False)

    def softmax(self, x: Value, axis: int = 1) -> Value:
        return self.call("softmax", (x,), x.shape, axis=axis)

    def fragment(self, x: Value, *strides: Shape) -> Value:
        step = [prod(s[axis] for s in strides) for axis in range(2)]
        size = tuple(-(-n // s) for n, s in zip(x.shape[2:], step, strict=True))
        return self.call("fragment", (x,), (x.shape[0] * prod(step), x.shape[1], *size), strides=strides)

    def stitch(self, x: Value, *strides: Shape, size: Shape | None = None) -> Value:
        step = [prod(s[axis] for s in strides) for axis in range(2)]
        whole = size or tuple(n * s for n, s in zip(x.shape[2:], step, strict=True))
        return self.call("stitch", (x,), (x.shape[0] // prod(step), x.shape[1], *whole), strides=strides)

    def crop(self, x: Value, top: Shape, size: Shape, channels: tuple[int, int] | None = None) -> Value:
        first, count = channels or (0, x.shape[1])
        y = self.recorder.value((x.shape[0], count, *size))
        self.recorder.layer = f"crop{y.buffer}"
        self.recorder.move(x, y, source=(0, first, *top), target=(0, 0, 0, 0), size=y.shape)
        return y

    def merge(self, *parts: Value) -> Value:
        """All of equal size, channels one after the other."""
        y = self.recorder.value((parts[0].shape[0], sum(p.shape[1] for p in parts), *parts[0].shape[2:]))
        self.recorder.layer = f"merge{y.buffer}"
        at = 0
        for part in parts:
            self.recorder.move(part, y, source=(0, 0, 0, 0), target=(0, at, 0, 0), size=part.shape)
            at += part.shape[1]
        return y

    def program(self, *outputs: Value) -> Program:
        return Program(tuple(self.recorder.steps), self.x, outputs, self.dtype)


def source(program: Program, seed: int = 7) -> np.ndarray:
    """Input of float32 numbers."""
    values = np.random.default_rng(seed).normal(size=program.input.shape)
    return values.astype(np.float32).astype(program.dtype)


def by_reference(program: Program, x: np.ndarray) -> list[np.ndarray]:
    """The program's own steps in float64, each value in a place of its own."""
    wide = _widened(program)
    return Interpreter(REFERENCE, wide, lay_out(REFERENCE, wide))(x.astype(np.float64))


def _widened(program: Program) -> Program:
    double = np.dtype(np.float64)
    kept: dict[int, Shared] = {}

    def widen(read: Any) -> Any:
        if not isinstance(read, Weight):
            return read
        shared = kept.setdefault(id(read.parameter), Shared(np.asarray(read.parameter.array, double)))
        return Weight(shared, read.shape)

    steps = tuple(replace(s, reads=tuple(map(widen, s.reads)), dtype=double) for s in program.steps)
    return replace(program, steps=steps, dtype=double)


def compiled(ops: Ops, program: Program, exact: bool = False, budget: int | None = None) -> Any:
    lowered = ops.lower(program)
    return ops.compile(lowered, lay_out(ops, lowered, exact, budget))


def names(program: Program) -> list[str]:
    return [step.op for step in program.steps]


def errors(answers: list[np.ndarray], exact: list[np.ndarray]) -> list[float]:
    """max |a - b| / RMS(b) per output."""
    for a, b in zip(answers, exact, strict=True):
        assert a.shape == b.shape and a.flags.c_contiguous
    return [float(np.abs(a - b).max() / np.sqrt(np.mean(b**2))) for a, b in zip(answers, exact, strict=True)]
