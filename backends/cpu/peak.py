"""The most that this machine could do: multiply-adds in registers, with nothing loaded or stored."""

import threading
import time

import numpy as np
from numba import types
from numba.extending import intrinsic

from .jit import kernel
from .simd import VECTOR_BYTES, Emitter, lanes

CHAINS = 24 if VECTOR_BYTES == 64 else 12  # independent sums: enough to hide the latency, few enough for the registers
STEPS = 2**20  # of a measurement, some ten milliseconds


@intrinsic
def _chains(typingctx, factor, term, steps):
    """Repeats s = factor * s + term in every lane of every chain, from 0; the sum of all, so that nothing is left out."""

    def codegen(context, builder, signature, args):
        emit = Emitter(context, builder, signature, args, factor)
        f, t = (emit.spread(value, emit.scalar) for value in args[:2])
        first, *others = emit.accumulate(args[2], CHAINS, lambda step, sums: [emit.multiply_add(f, s, t) for s in sums])
        for other in others:
            first = builder.fadd(first, other)
        return emit.total(first)

    return factor(factor, factor, types.intp), codegen


@kernel
def _run(factor, term, steps):
    return _chains(factor, term, steps)


def peak(dtype: np.dtype, threads: int, seconds: float = 0.2) -> float:
    """Floating-point operations per second of so many threads together: the best of several runs."""
    half, one = dtype.type(0.5), dtype.type(1)
    _run(half, one, 1)
    best, until = 0.0, time.perf_counter() + seconds
    while time.perf_counter() < until or not best:
        others = [threading.Thread(target=_run, args=(half, one, STEPS)) for _ in range(threads - 1)]
        start = time.perf_counter()
        for other in others:
            other.start()
        _run(half, one, STEPS)
        for other in others:
            other.join()
        best = max(best, 2 * threads * STEPS * CHAINS * lanes(dtype) / (time.perf_counter() - start))
    return best
