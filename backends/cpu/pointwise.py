"""The neurons: each element by itself."""

import numpy as np
from numba import prange

from ..protocol import Activation
from .functions import exp, sigmoid, tanh
from .jit import Threads, parallel_kernel
from .picks import where_more
from .simd import lanes_of
from .vectors import load, load_first, rectify, spread, store, store_first

CHUNK = 4096  # numbers at a time
RELU, SIGMOID, TANH, EXPONENTIAL, THRESHOLD = range(5)
KINDS = {"relu": RELU, "sigmoid": SIGMOID, "tanh": TANH, "exponential": EXPONENTIAL}


def activate(x: np.ndarray, y: np.ndarray, kind: Activation, parameter: float, threads: Threads) -> None:
    """relu: x > 0 ? x : parameter * x; sigmoid: 1 / (1 + exp(-x)); tanh; exponential: exp(x)."""
    work = y.size if kind == "relu" else 2 * y.size
    threads.run(work, _activate, x.reshape(-1), y.reshape(-1), KINDS[kind], y.dtype.type(parameter))


def activate_backward(
    dy: np.ndarray, x: np.ndarray, y: np.ndarray, dx: np.ndarray, kind: Activation, parameter: float, threads: Threads
) -> None:
    """dx += dy * f'(x), where f' is x > 0 ? 1 : parameter; y (1 - y); 1 - y^2; y."""
    known = x if kind == "relu" else y
    flat = dy.reshape(-1), known.reshape(-1), dx.reshape(-1)
    threads.run(y.size, _activate_backward, *flat, KINDS[kind], dx.dtype.type(parameter))


def threshold(x: np.ndarray, y: np.ndarray, floor: float, threads: Threads) -> None:
    """y = max(floor, x); NaN stays NaN."""
    threads.run(y.size, _activate, x.reshape(-1), y.reshape(-1), THRESHOLD, y.dtype.type(floor))


def threshold_backward(dy: np.ndarray, y: np.ndarray, dx: np.ndarray, floor: float, threads: Threads) -> None:
    """dx += dy where y > floor."""
    flat = dy.reshape(-1), y.reshape(-1), dx.reshape(-1)
    threads.run(y.size, _activate_backward, *flat, THRESHOLD, dx.dtype.type(floor))


@parallel_kernel
def _activate(x, y, kind, parameter):
    for chunk in prange(-(-len(x) // CHUNK)):
        first = np.intp(chunk) * CHUNK
        given = spread(parameter)
        for at in range(first, min(first + CHUNK, len(x)), lanes_of(x)):
            count = len(x) - at
            whole = count >= lanes_of(x)
            value = load(x, at) if whole else load_first(x, at, count)
            if kind == RELU:
                value = rectify(value, given)
            elif kind == SIGMOID:
                value = sigmoid(value)
            elif kind == TANH:
                value = tanh(value)
            elif kind == EXPONENTIAL:
                value = exp(value)
            else:
                value = where_more(given, value, given, value)
            if whole:
                store(value, y, at)
            else:
                store_first(value, y, at, count)


@parallel_kernel
def _activate_backward(dy, known, dx, kind, parameter):
    for chunk in prange(-(-len(dy) // CHUNK)):
        first = np.intp(chunk) * CHUNK
        given, zero, one = spread(parameter), spread(dy.dtype.type(0)), spread(dy.dtype.type(1))
        for at in range(first, min(first + CHUNK, len(dy)), lanes_of(dy)):
            count = len(dy) - at
            whole = count >= lanes_of(dy)
            change = load(dy, at) if whole else load_first(dy, at, count)
            value = load(known, at) if whole else load_first(known, at, count)
            before = load(dx, at) if whole else load_first(dx, at, count)
            if kind == RELU:
                change = where_more(value, zero, change, given * change)
            elif kind == SIGMOID:
                change = change * (value * (one - value))
            elif kind == TANH:
                change = change * (one - value * value)
            elif kind == EXPONENTIAL:
                change = change * value
            else:
                change = where_more(value, given, change, zero)
            if whole:
                store(before + change, dx, at)
            else:
                store_first(before + change, dx, at, count)
