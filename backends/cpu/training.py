"""Ops of the solvers: sums, products and norms of parameters."""

from math import prod

import numpy as np
from numba import prange

from .jit import Threads, parallel_kernel


def multiply(a: np.ndarray, b: np.ndarray, y: np.ndarray, add: bool, threads: Threads) -> None:
    """y (+)= a * b."""
    threads.run(y.size, _multiply, a.reshape(-1), b.reshape(-1), y.reshape(-1), add)


def axpby(x: np.ndarray, y: np.ndarray, alpha: float, beta: float, threads: Threads) -> None:
    """y = alpha * x + beta * y; as in BLAS, y is not read where beta is 0."""
    threads.run(y.size, _axpby, x.reshape(-1), y.reshape(-1), y.dtype.type(alpha), y.dtype.type(beta))


def add_sign(x: np.ndarray, y: np.ndarray, alpha: float, threads: Threads) -> None:
    """y += alpha * sign(x), with sign(0) = 0."""
    threads.run(y.size, _add_sign, x.reshape(-1), y.reshape(-1), y.dtype.type(alpha))


def clip_norm(y: np.ndarray, limit: float, threads: Threads) -> None:
    """y[i] *= min(1, limit / |y[i]|) for every i, with the Euclidean norm; a one-dimensional y is one vector."""
    threads.run(y.size, _clip_norm, y.reshape(*((1, len(y)) if y.ndim == 1 else (len(y), prod(y.shape[1:])))), limit)


@parallel_kernel
def _multiply(a, b, y, add):
    if add:
        for i in prange(len(y)):
            y[i] += a[i] * b[i]
    else:
        for i in prange(len(y)):
            y[i] = a[i] * b[i]


@parallel_kernel
def _axpby(x, y, alpha, beta):
    if beta == 0:
        for i in prange(len(y)):
            y[i] = alpha * x[i]
    else:
        for i in prange(len(y)):
            y[i] = alpha * x[i] + beta * y[i]


@parallel_kernel
def _add_sign(x, y, alpha):
    for i in prange(len(y)):
        if x[i] > 0:
            y[i] += alpha
        elif x[i] < 0:
            y[i] -= alpha
        elif x[i] != x[i]:
            y[i] = x[i]


@parallel_kernel
def _clip_norm(y, limit):
    for i in prange(len(y)):
        total = 0.0
        for j in range(y.shape[1]):
            total += np.float64(y[i, j]) ** 2
        norm = np.sqrt(total)
        if norm > limit:
            factor = y.dtype.type(limit / norm)
            for j in range(y.shape[1]):
                y[i, j] *= factor
