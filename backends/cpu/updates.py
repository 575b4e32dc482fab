"""Ops of the methods that train: each goes over a parameter, its gradient and what is remembered of it once."""

from math import sqrt

import numpy as np
from numba import prange

from .jit import Threads, parallel_kernel

_BLOCK = 4096  # terms of one partial sum: the same for any number of threads, so the bits are


def sum_squares(x: np.ndarray, threads: Threads) -> float:
    """sum x^2: by blocks, in float64, and the blocks in their order."""
    partial = np.empty(-(-x.size // _BLOCK), np.float64)
    threads.run(x.size, _sum_squares, x.reshape(-1), partial)
    return float(np.add.accumulate(partial)[-1]) if len(partial) else 0.0


def step(kernel: object, arrays: tuple[np.ndarray, ...], numbers: tuple[float, ...], threads: Threads) -> None:
    """Runs one of the kernels below on all elements, with its numbers in the arrays' type."""
    kind = arrays[-1].dtype.type
    threads.run(8 * arrays[-1].size, kernel, *(a.reshape(-1) for a in arrays), *map(kind, numbers))


@parallel_kernel
def _sum_squares(x, partial):
    for b in prange(len(partial)):
        first = np.intp(b) * _BLOCK
        total = 0.0
        for i in range(first, min(first + _BLOCK, len(x))):
            total += np.float64(x[i]) ** 2
        partial[b] = total


@parallel_kernel
def momentum_step(g, v, w, rate, momentum):
    """v = momentum * v - rate * g;  w += v."""
    for i in prange(len(w)):
        v[i] = momentum * v[i] - rate * g[i]
        w[i] += v[i]


@parallel_kernel
def nesterov_step(g, v, w, rate, momentum, further):
    """u = momentum * v - rate * g;  w += further * u - momentum * v;  v = u, with further = 1 + ahead."""
    for i in prange(len(w)):
        u = momentum * v[i] - rate * g[i]
        w[i] += further * u - momentum * v[i]
        v[i] = u


@parallel_kernel
def squares_step(g, h, w, rate, keep, take, epsilon):
    """h = keep * h + take * g^2;  w -= rate * g / (sqrt(h) + epsilon)."""
    for i in prange(len(w)):
        h[i] = keep * h[i] + take * (g[i] * g[i])
        w[i] -= rate * g[i] / (sqrt(h[i]) + epsilon)


@parallel_kernel
def adadelta_step(g, h, d, w, rate, keep, take, epsilon):
    """h = keep * h + take * g^2;  u = g * sqrt((d + epsilon) / (h + epsilon));  d = keep * d + take * u^2;  w -= rate * u."""
    for i in prange(len(w)):
        h[i] = keep * h[i] + take * (g[i] * g[i])
        u = g[i] * sqrt((d[i] + epsilon) / (h[i] + epsilon))
        d[i] = keep * d[i] + take * (u * u)
        w[i] -= rate * u


@parallel_kernel
def adam_step(g, m, s, w, rate, beta1, rest1, beta2, rest2, epsilon):
    """m = beta1 * m + rest1 * g;  s = beta2 * s + rest2 * g^2;  w -= rate * m / (sqrt(s) + epsilon)."""
    for i in prange(len(w)):
        m[i] = beta1 * m[i] + rest1 * g[i]
        s[i] = beta2 * s[i] + rest2 * (g[i] * g[i])
        w[i] -= rate * m[i] / (sqrt(s[i]) + epsilon)
