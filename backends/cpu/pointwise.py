"""The neurons: each element by itself. Every kind has kernels of its own, compiled when it is first met."""

import functools
from typing import Any, get_args

import numpy as np
from numba import prange

from ..protocol import Activation
from .functions import exp, sigmoid, tanh
from .jit import Threads, parallel_kernel
from .picks import where_more
from .simd import lanes_of
from .vectors import load, load_first, rectify, spread, store, store_first

CHUNK = 4096  # numbers at a time
MOST_PARAMETERS = 2

KINDS: tuple[str, ...] = get_args(Activation)
RELU, AT_LEAST, SIGMOID, TANH, EXPONENTIAL = range(len(KINDS))

_OF_THE_TOP = (SIGMOID, TANH, EXPONENTIAL)  # their slopes are computed from y alone, the others' from x
_CHEAP = (RELU, AT_LEAST)


def activate(x: np.ndarray, y: np.ndarray, kind: Activation, parameters: tuple[float, ...], threads: Threads) -> None:
    """y = f(x), for the kinds of `protocol`'s table."""
    code = KINDS.index(kind)
    work = y.size if code in _CHEAP else 2 * y.size
    threads.run(work, _forward(code), x.reshape(-1), y.reshape(-1), *_padded(parameters, y.dtype))


def activate_backward(
    dy: np.ndarray, x: np.ndarray, y: np.ndarray, dx: np.ndarray, kind: Activation, parameters: tuple[float, ...],
    threads: Threads,
) -> None:  # fmt: skip
    """dx += dy * f'(x), for the kinds of `protocol`'s table."""
    code = KINDS.index(kind)
    flat = dy.reshape(-1), (y if code in _OF_THE_TOP else x).reshape(-1), dx.reshape(-1)
    threads.run(y.size, _backward(code), *flat, *_padded(parameters, dx.dtype))


def _padded(parameters: tuple[float, ...], dtype: np.dtype) -> list[Any]:
    return [dtype.type(p) for p in (*parameters, *(0.0,) * MOST_PARAMETERS)[:MOST_PARAMETERS]]


@functools.cache
def _forward(kind: int) -> Any:
    @parallel_kernel
    def run(x, y, p, q):
        for chunk in prange(-(-len(x) // CHUNK)):
            first = np.intp(chunk) * CHUNK
            p_, q_ = spread(p), spread(q)
            for at in range(first, min(first + CHUNK, len(x)), lanes_of(x)):
                count = len(x) - at
                whole = count >= lanes_of(x)
                value = load(x, at) if whole else load_first(x, at, count)
                if kind == RELU:
                    value = rectify(value, p_)
                elif kind == AT_LEAST:
                    value = where_more(p_, value, p_, value)
                elif kind == SIGMOID:
                    value = sigmoid(value)
                elif kind == TANH:
                    value = tanh(value)
                else:
                    value = p_ * exp(q_ * value)
                if whole:
                    store(value, y, at)
                else:
                    store_first(value, y, at, count)

    return run


@functools.cache
def _backward(kind: int) -> Any:
    @parallel_kernel
    def run(dy, known, dx, p, q):
        for chunk in prange(-(-len(dy) // CHUNK)):
            first = np.intp(chunk) * CHUNK
            p_, q_, zero, one = spread(p), spread(q), spread(dy.dtype.type(0)), spread(dy.dtype.type(1))
            for at in range(first, min(first + CHUNK, len(dy)), lanes_of(dy)):
                count = len(dy) - at
                whole = count >= lanes_of(dy)
                change = load(dy, at) if whole else load_first(dy, at, count)
                value = load(known, at) if whole else load_first(known, at, count)
                before = load(dx, at) if whole else load_first(dx, at, count)
                if kind == RELU:
                    change = where_more(value, zero, change, p_ * change)
                elif kind == AT_LEAST:
                    change = where_more(value, p_, change, zero)
                elif kind == SIGMOID:
                    change = change * (value * (one - value))
                elif kind == TANH:
                    change = change * (one - value * value)
                else:
                    change = q_ * change * value
                if whole:
                    store(before + change, dx, at)
                else:
                    store_first(before + change, dx, at, count)

    return run
