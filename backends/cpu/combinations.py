"""Ops that make one number of several: of one element of several arrays, or of the elements along an axis."""

import numpy as np
from numba import prange

from ..protocol import Combination, Reduction
from ..shapes import about
from .jit import Threads, parallel_kernel

SUM, PRODUCT, QUOTIENT, FIRST_MAXIMUM, MAXIMUM = range(5)
KINDS = {"sum": SUM, "product": PRODUCT, "quotient": QUOTIENT, "maximum": FIRST_MAXIMUM}
TERMS = {"sum": 0, "asum": 1, "sumsq": 2}


def combine(*arrays: np.ndarray, operation: Combination, coefficients: tuple[float, ...], threads: Threads) -> None:
    """y = sum_i coefficients[i] x_i (1 unless given), prod_i x_i, x_0 / x_1, or max_i x_i; from the first to the last."""
    *xs, y = (a.reshape(-1) for a in arrays)
    factors = [y.dtype.type(c) for c in coefficients or (1.0,) * len(xs)]
    one, kind = y.dtype.type(1), KINDS[operation]
    if len(xs) == 1:
        threads.run(y.size, _scale, xs[0], y, factors[0] if operation == "sum" else one)
        return
    threads.run(y.size, _combine, xs[0], xs[1], y, kind, factors[0], factors[1])
    for x, factor in zip(xs[2:], factors[2:], strict=True):
        threads.run(y.size, _combine, y, x, y, MAXIMUM if operation == "maximum" else kind, one, factor)


def maximum_backward(
    dy: np.ndarray, y: np.ndarray, x: np.ndarray, rival: np.ndarray, dx: np.ndarray, ties: bool, threads: Threads
) -> None:
    """dx += dy where x = y and x > rival; with `ties` also where x = rival."""
    threads.run(y.size, _maximum_backward, *(a.reshape(-1) for a in (dy, y, x, rival, dx)), ties)


def reduce(x: np.ndarray, y: np.ndarray, axis: int, operation: Reduction, scale: float, threads: Threads) -> None:
    """y = scale * sum_k f(x[k]), with f(x) = x, |x| or x^2; summed in float64, from 0 up."""
    threads.run(x.size, _reduce, x.reshape(-1), y.reshape(-1), *about(x.shape, axis)[1:], TERMS[operation], scale)


def reduce_backward(
    dy: np.ndarray, x: np.ndarray, dx: np.ndarray, axis: int, operation: Reduction, scale: float, threads: Threads
) -> None:
    """dx[k] += scale * f'(x[k]) * dy, where f' is 1, sign(x) or 2 x."""
    flat = dy.reshape(-1), x.reshape(-1), dx.reshape(-1)
    threads.run(x.size, _reduce_backward, *flat, *about(x.shape, axis)[1:], TERMS[operation], dx.dtype.type(scale))


@parallel_kernel
def _scale(x, y, factor):
    for i in prange(len(y)):
        y[i] = factor * x[i]


@parallel_kernel
def _combine(a, b, y, kind, alpha, beta):
    if kind == SUM:
        for i in prange(len(y)):
            y[i] = alpha * a[i] + beta * b[i]
    elif kind == PRODUCT:
        for i in prange(len(y)):
            y[i] = a[i] * b[i]
    elif kind == QUOTIENT:
        for i in prange(len(y)):
            y[i] = a[i] / b[i]
    elif kind == FIRST_MAXIMUM:
        for i in prange(len(y)):
            y[i] = a[i] if a[i] > b[i] else b[i]
    else:
        for i in prange(len(y)):
            y[i] = b[i] if b[i] > a[i] else a[i]


@parallel_kernel
def _maximum_backward(dy, y, x, rival, dx, ties):
    for i in prange(len(y)):
        if x[i] == y[i] and (x[i] > rival[i] or (ties and x[i] == rival[i])):
            dx[i] += dy[i]


@parallel_kernel
def _reduce(x, y, count, inner, term, scale):
    for i in prange(len(y)):
        outer, at = divmod(np.intp(i), inner)
        first = outer * count * inner + at
        total = 0.0
        for k in range(count):
            value = np.float64(x[first + k * inner])
            if term == 1:
                value = abs(value)
            elif term == 2:
                value = value * value
            total += value
        y[i] = scale * total


@parallel_kernel
def _reduce_backward(dy, x, dx, count, inner, term, scale):
    for i in prange(len(dy)):
        outer, at = divmod(np.intp(i), inner)
        first = outer * count * inner + at
        change = scale * dy[i]
        for k in range(count):
            value = x[first + k * inner]
            if term == 0:
                dx[first + k * inner] += change
            elif term == 2:
                dx[first + k * inner] += (value + value) * change
            elif value > 0:
                dx[first + k * inner] += change
            elif value < 0:
                dx[first + k * inner] -= change
