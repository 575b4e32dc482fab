"""The most multiply-adds per second that this machine does in float32: fused, in registers, nothing loaded or stored.

    python -m bench.peak [--threads N] [--seconds 0.5]

prints one line of JSON: GFLOP/s of one core alone, and of all threads together.
"""

import argparse
import json
import threading
import time
from typing import Any

import numpy as np
from llvmlite import binding as llvm
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from .machine import cores


def _lanes() -> int:
    """Of the widest vectors of float32 that the host has."""
    features = llvm.get_host_cpu_features()
    return 16 if features.get("avx512f") else 8 if features.get("avx2") else 4


LANES = _lanes()
SUMS = (
    24 if LANES != 8 else 12
)  # independent chains: enough to hide the latency, few enough for the registers (AVX2 has 16)
FLOAT, INT = ir.FloatType(), ir.IntType(64)
VECTOR = ir.VectorType(FLOAT, LANES)


@intrinsic
def _chains(typingctx: Any, factor: Any, term: Any, steps: Any) -> Any:
    """`steps` times sums[i] = factor * sums[i] + term for every chain; returns one number, so that nothing is left out."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        factor, term, steps = args
        fma = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(VECTOR, [VECTOR] * 3), f"llvm.fma.v{LANES}f32"
        )

        def spread(scalar: Any) -> Any:
            first = builder.insert_element(ir.Constant(VECTOR, ir.Undefined), scalar, ir.IntType(32)(0))
            return builder.shuffle_vector(first, first, ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES))

        factors, terms = spread(factor), spread(term)
        before = builder.block
        loop, done = builder.append_basic_block("fma_loop"), builder.append_basic_block("fma_done")
        builder.branch(loop)
        builder.position_at_end(loop)
        step = builder.phi(INT)
        step.add_incoming(INT(0), before)
        sums = [builder.phi(VECTOR) for _ in range(SUMS)]
        for i, phi in enumerate(sums):
            phi.add_incoming(ir.Constant(VECTOR, [float(i)] * LANES), before)
        updated = [builder.call(fma, [factors, phi, terms]) for phi in sums]
        for phi, value in zip(sums, updated, strict=True):
            phi.add_incoming(value, loop)
        following = builder.add(step, INT(1))
        step.add_incoming(following, loop)
        builder.cbranch(builder.icmp_signed("<", following, steps), loop, done)
        builder.position_at_end(done)
        total = updated[0]
        for value in updated[1:]:
            total = builder.fadd(total, value)
        answer = builder.extract_element(total, ir.IntType(32)(0))
        for lane in range(1, LANES):
            answer = builder.fadd(answer, builder.extract_element(total, ir.IntType(32)(lane)))
        return answer

    return types.float32(types.float32, types.float32, types.int64), codegen


@njit(nogil=True)
def chains(factor, term, steps):  # type: ignore[no-untyped-def]
    """The loop for one thread."""
    return _chains(factor, term, steps)


def measure(threads: int, seconds: float = 0.5) -> float:
    """The best GFLOP/s of several runs of some 20 ms on so many threads at once."""
    factor, term = np.float32(0.5), np.float32(1.0)
    assert abs(chains(factor, term, 100) - 2 * SUMS * LANES) < 1e-3, "x = x / 2 + 1 ends at 2"
    steps, taken = 10_000, 0.0
    while taken < 0.02:
        steps *= 2
        start = time.perf_counter()
        chains(factor, term, steps)
        taken = time.perf_counter() - start
    best, until = 0.0, time.perf_counter() + seconds
    while time.perf_counter() < until or not best:
        others = [threading.Thread(target=chains, args=(factor, term, steps)) for _ in range(threads - 1)]
        start = time.perf_counter()
        for other in others:
            other.start()
        chains(factor, term, steps)
        for other in others:
            other.join()
        best = max(best, 2e-9 * threads * steps * SUMS * LANES / (time.perf_counter() - start))
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--seconds", type=float, default=0.5, help="for each of the two figures")
    options = parser.parse_args()
    one, all_threads = (measure(n, options.seconds) for n in (1, options.threads))
    print(
        json.dumps(
            {
                "one core": round(one, 1),
                "all threads": round(all_threads, 1),
                "threads": options.threads,
                "lanes": LANES,
            }
        )
    )


if __name__ == "__main__":
    main()
