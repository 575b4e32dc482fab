"""Ops that choose: the largest elements along an axis; rows by their numbers are moved by numpy, as on the reference."""

import numpy as np
from numba import prange

from ..reference.select import gather, scatter  # numpy copies rows as fast as can be, and no dense net contains them
from ..shapes import about
from .jit import Threads, kernel, parallel_kernel


def arg_max(x: np.ndarray, y: np.ndarray, axis: int, top_k: int, last: bool, values: bool, threads: Threads) -> None:
    """y = the places, or with `values` the values, of the top_k largest elements along the axis, the largest first."""
    _, *sizes = about(x.shape, axis)
    threads.run(top_k * x.size, _arg_max, x.reshape(-1), y.reshape(-1), *sizes, top_k, last, values)


@kernel
def _leads(a, b):
    """Whether a comes before b whatever their places."""
    return a > b or (b != b and a == a)


@parallel_kernel
def _arg_max(x, y, count, inner, top_k, last, values):
    # Each round takes the best of those that come behind the winner of the round before.
    for i in prange(len(y) // max(top_k, 1)):
        outer, at = divmod(np.intp(i), inner)
        first = outer * count * inner + at
        previous = -1
        for k in range(top_k):
            best = -1
            for step in range(count):
                j = count - 1 - step if last else step
                value = x[first + j * inner]
                if previous >= 0:
                    bound = x[first + previous * inner]
                    later = j < previous if last else j > previous
                    if _leads(value, bound) or not (later or _leads(bound, value)):
                        continue
                if best < 0 or _leads(value, x[first + best * inner]):
                    best = j
            y[(outer * top_k + k) * inner + at] = x[first + best * inner] if values else best
            previous = best


__all__ = ["arg_max", "gather", "scatter"]
