"""The neurons: each element by itself. Every kind has kernels of its own, compiled when it is first met."""

import functools
from typing import Any, get_args

import numpy as np
from numba import prange

from ..protocol import Activation
from .functions import exp, expm1, log, sigmoid, softplus, tanh
from .jit import Threads, parallel_kernel
from .picks import where_equal, where_more
from .simd import lanes_of
from .vectors import load, load_first, rectify, spread, store, store_first

CHUNK = 4096  # numbers at a time
MOST_PARAMETERS = 3

KINDS: tuple[str, ...] = get_args(Activation)
(
    RELU, AT_LEAST, SIGMOID, TANH, EXPONENTIAL, ELU, BNLL, ABSVAL, POWER, LOG, THRESHOLD, SWISH, CLIP,
) = range(len(KINDS))  # fmt: skip
LINE, SQUARE, CONSTANT = range(len(KINDS), len(KINDS) + 3)  # powers 1, 2 and 0

_OF_THE_TOP = (SIGMOID, TANH, EXPONENTIAL)  # their slopes are computed from y alone, the others' from x
_CHEAP = (RELU, AT_LEAST, ABSVAL, LINE, SQUARE, CONSTANT, THRESHOLD, CLIP)


def activate(x: np.ndarray, y: np.ndarray, kind: Activation, parameters: tuple[float, ...], threads: Threads) -> None:
    """y = f(x), for the kinds of `protocol`'s table."""
    code, values = _code(kind, parameters), _padded(parameters, y.dtype)
    run = _forward_by_libm() if code == POWER else _forward(code)
    threads.run(y.size if code in _CHEAP else 2 * y.size, run, x.reshape(-1), y.reshape(-1), *values)


def activate_backward(
    dy: np.ndarray, x: np.ndarray, y: np.ndarray, dx: np.ndarray, kind: Activation, parameters: tuple[float, ...],
    threads: Threads,
) -> None:  # fmt: skip
    """dx += dy * f'(x), for the kinds of `protocol`'s table."""
    code, values = _code(kind, parameters), _padded(parameters, dx.dtype)
    if code in (THRESHOLD, CONSTANT):
        return
    flat = dy.reshape(-1), (y if code in _OF_THE_TOP else x).reshape(-1), dx.reshape(-1)
    threads.run(y.size, _backward_by_libm() if code == POWER else _backward(code), *flat, *values)


def _code(kind: Activation, parameters: tuple[float, ...]) -> int:
    if kind == "power":
        power, scale, _ = parameters
        return CONSTANT if power * scale == 0 else LINE if power == 1 else SQUARE if power == 2 else POWER
    return KINDS.index(kind)


def _padded(parameters: tuple[float, ...], dtype: np.dtype) -> list[Any]:
    return [dtype.type(p) for p in (*parameters, *(0.0,) * MOST_PARAMETERS)[:MOST_PARAMETERS]]


@functools.cache
def _forward(kind: int) -> Any:
    @parallel_kernel
    def run(x, y, first_parameter, second_parameter, third_parameter):
        constant = third_parameter**first_parameter
        for chunk in prange(-(-len(x) // CHUNK)):
            first = np.intp(chunk) * CHUNK
            p, q, r = spread(first_parameter), spread(second_parameter), spread(third_parameter)
            zero, one = spread(x.dtype.type(0)), spread(x.dtype.type(1))
            for at in range(first, min(first + CHUNK, len(x)), lanes_of(x)):
                count = len(x) - at
                whole = count >= lanes_of(x)
                value = load(x, at) if whole else load_first(x, at, count)
                if kind == RELU:
                    value = rectify(value, p)
                elif kind == AT_LEAST:
                    value = where_more(p, value, p, value)
                elif kind == SIGMOID:
                    value = sigmoid(value)
                elif kind == TANH:
                    value = tanh(value)
                elif kind == EXPONENTIAL:
                    value = p * exp(q * value)
                elif kind == ELU:
                    value = where_more(value, zero, value, p * expm1(value))
                elif kind == BNLL:
                    value = softplus(value)
                elif kind == ABSVAL:
                    value = where_more(zero, value, zero - value, value)
                elif kind == LINE:
                    value = r + q * value
                elif kind == SQUARE:
                    value = (r + q * value) * (r + q * value)
                elif kind == CONSTANT:
                    value = spread(constant)
                elif kind == LOG:
                    value = p * log(r + q * value)
                elif kind == THRESHOLD:
                    value = where_more(value, p, one, zero)
                elif kind == SWISH:
                    value = value * sigmoid(p * value)
                else:
                    value = where_more(p, value, p, where_more(value, q, q, value))
                if whole:
                    store(value, y, at)
                else:
                    store_first(value, y, at, count)

    return run


@functools.cache
def _backward(kind: int) -> Any:
    @parallel_kernel
    def run(dy, known, dx, first_parameter, second_parameter, third_parameter):
        for chunk in prange(-(-len(dy) // CHUNK)):
            first = np.intp(chunk) * CHUNK
            p, q, r = spread(first_parameter), spread(second_parameter), spread(third_parameter)
            zero, one = spread(dy.dtype.type(0)), spread(dy.dtype.type(1))
            for at in range(first, min(first + CHUNK, len(dy)), lanes_of(dy)):
                count = len(dy) - at
                whole = count >= lanes_of(dy)
                change = load(dy, at) if whole else load_first(dy, at, count)
                value = load(known, at) if whole else load_first(known, at, count)
                before = load(dx, at) if whole else load_first(dx, at, count)
                if kind == RELU:
                    change = where_more(value, zero, change, p * change)
                elif kind == AT_LEAST:
                    change = where_more(value, p, change, zero)
                elif kind == SIGMOID:
                    change = change * (value * (one - value))
                elif kind == TANH:
                    change = change * (one - value * value)
                elif kind == EXPONENTIAL:
                    change = q * change * value
                elif kind == ELU:
                    change = change * where_more(value, zero, one, p * exp(value))
                elif kind == BNLL:
                    change = change * sigmoid(value)
                elif kind == ABSVAL:
                    change = where_more(value, zero, change, where_more(zero, value, zero - change, zero))
                elif kind == LINE:
                    change = q * change
                elif kind == SQUARE:
                    change = change * (p * q * (r + q * value))
                elif kind == LOG:
                    change = change * (p * q / (r + q * value))
                elif kind == SWISH:
                    s = sigmoid(p * value)
                    change = change * (s + p * value * s * (one - s))
                else:
                    inside = where_more(p, value, zero, where_more(value, q, zero, change))
                    change = where_equal(value, value, inside, zero)
                if whole:
                    store(before + change, dx, at)
                else:
                    store_first(before + change, dx, at, count)

    return run


@functools.cache
def _forward_by_libm() -> Any:
    """Powers other than 0, 1 and 2: number by number, as rare as they are."""

    @parallel_kernel
    def run(x, y, power, scale, shift):
        for i in prange(len(x)):
            y[i] = (shift + scale * x[i]) ** power

    return run


@functools.cache
def _backward_by_libm() -> Any:
    @parallel_kernel
    def run(dy, x, dx, power, scale, shift):
        for i in prange(len(x)):
            dx[i] += dy[i] * (power * scale * (shift + scale * x[i]) ** (power - np.float32(1)))

    return run
