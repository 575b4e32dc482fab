"""What a step costs on this backend: an estimate of its time, and the memory it takes beside its own arrays."""

from dataclasses import replace
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from ..program import Candidate, Step, Value, Weight
from ..shapes import Shape
from .folded import Folded
from .geometry import adjoint, correlation
from .simd import ROWS, VECTOR_BYTES, lanes

# Measured on two cores of Zen 5, where AVX-512 does twice the work of AVX2. They are constants, because a plan must not
# depend on how many threads run it.
FLOPS = 4e11 * VECTOR_BYTES / 64  # of float32
BYTES = 2.5e10
CALL = 2e-5


def candidates(step: Step) -> list[Candidate]:
    """Every algorithm that claims a convolution; one way for everything else, which reads and writes once."""
    size = step.dtype.itemsize
    elements = sum(prod(v.shape) for v in (*step.reads, step.write) if v is not None)
    if step.op == "convolve":
        w = step.reads[1]
        folding = prod(w.shape) * size if isinstance(w, Weight) and isinstance(w.parameter, Folded) else 0
        found = _convolve(step.options["problem"])
        if step.options.get("apart"):  # no output may depend on what is computed beside it
            found = tuple(c for c in found if c.exact)
        return [replace(c, kept=c.kept + folding) for c in found]
    if step.op == "up_convolve":
        from .upsampled import Upsampled

        pair = Upsampled(step)
        return [Candidate("direct", pair.seconds, pair.workspace, pair.kept)]
    if step.op not in ("conv", "deconv"):
        return [Candidate("loop", CALL + size * elements / BYTES)]
    x, w = step.reads[0], step.reads[1]
    assert isinstance(x, Value) and isinstance(w, Weight)
    if len(x.shape) == 4:
        workspace, work = _convolution(step, x.shape, step.write.shape, step.dtype)
    else:  # `axes` copies both sides, and a part of each for every tap
        workspace, work = 2 * size * elements, step.flops
    seconds = CALL + elements * size / BYTES + work * size / 4 / FLOPS
    return [Candidate("direct", seconds, workspace)]


@lru_cache(4096)  # planning asks for the same problems again and again
def _convolve(problem: Any) -> tuple[Candidate, ...]:
    from .conv import algorithms  # which ask here for the rates

    return tuple(
        Candidate(
            a.name,
            a.seconds,
            a.workspace,
            a.kept,
            exact=a.name == "direct",
            error=a.error * (problem.dtype.itemsize == 4),
        )
        for a in algorithms(problem)
    )


def _convolution(step: Step, x: Shape, y: Shape, dtype: np.dtype) -> tuple[int, int]:
    """Bytes of workspace, and floating-point operations, with those of the empty lanes and rows in blocks of sums."""
    solve = correlation if step.op == "conv" else adjoint
    width = lanes(dtype)
    solved = solve(x, y, step.options["window"], step.options["group"], width)
    work = 0
    for sweep in solved.sweeps:
        g = sweep.grid
        vectors = g.outer * g.rows * -(-g.lanes // width)
        work += 2 * g.groups * -(-g.channels // ROWS) * ROWS * vectors * width * len(sweep.offsets)
    return solved.workspace(x, ROWS, dtype.itemsize), work


def arithmetic(operations: float, dtype: np.dtype) -> float:
    """Seconds for so many floating-point operations of the micro-kernels."""
    return operations * dtype.itemsize / 4 / FLOPS


def traffic(problem: Any) -> float:
    """Seconds for reading the source of a convolution once and writing its result."""
    source = problem.images * problem.source.image
    return (source + prod(problem.written)) * problem.dtype.itemsize / BYTES
