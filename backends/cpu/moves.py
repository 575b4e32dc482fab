"""Ops that move data and compute nothing: move a box, fragment and stitch."""

from itertools import product
from math import prod

import numpy as np
from numba import prange

from ..shapes import Shape
from .jit import Threads, parallel_kernel


def move(x: np.ndarray, y: np.ndarray, source: Shape, target: Shape, size: Shape, add: bool, threads: Threads) -> None:
    """y[target : target + size] (+)= x[source : source + size], along every axis; the rest of y stays."""
    if 0 in size:
        return
    # Axes that are moved whole join the axis before them: what is left are rows, as long as can be.
    axes: list[list[int]] = []  # length in x, length in y, source, target, size
    for length_x, length_y, s, t, n in zip(x.shape, y.shape, source, target, size, strict=True):
        if axes and length_x == length_y == n:
            axes[-1] = [v * n for v in axes[-1]]
        else:
            axes.append([length_x, length_y, s, t, n])
    lengths_x, lengths_y, source, target, size = (tuple(v) for v in zip(*axes, strict=True))
    from_rows, to_rows = (_rows(*p) for p in ((lengths_x, source, size), (lengths_y, target, size)))
    threads.run(prod(size), _move, x.reshape(-1), y.reshape(-1), from_rows, to_rows, size[-1], add)


def _rows(lengths: Shape, start: Shape, size: Shape) -> np.ndarray:
    """Where each row of a box starts; rows run along the last axis."""
    at = np.zeros(1, np.intp)
    for length, first, n in zip(lengths[:-1], start[:-1], size[:-1], strict=True):
        at = (at[:, None] * length + np.arange(first, first + n)).reshape(-1)
    return at * lengths[-1] + start[-1]


def fragment(x: np.ndarray, y: np.ndarray, strides: tuple[Shape, ...], add: bool, threads: Threads) -> None:
    """y[n * F + f, c] (+)= x[n, c, start(f)::step], zero where that ends before y does."""
    starts, step = lattice(strides)
    threads.run(x.size, _fragment, x, y, starts, step, add)


def stitch(x: np.ndarray, y: np.ndarray, strides: tuple[Shape, ...], add: bool, threads: Threads) -> None:
    """y[n, c, start(f)::step] (+)= x[n * F + f, c]; what exceeds y is dropped."""
    starts, step = lattice(strides)
    threads.run(x.size, _stitch, x, y, starts, step, add)


def lattice(strides: tuple[Shape, ...]) -> tuple[np.ndarray, Shape]:
    """Where each fragment starts, (F, 2), and the step between its pixels; each stride splits the fragments before it."""
    starts, step = [(0, 0)], (1, 1)
    for stride in strides:
        phases = list(product(range(stride[0]), range(stride[1])))
        starts = [(row + i * step[0], column + j * step[1]) for row, column in starts for i, j in phases]
        step = step[0] * stride[0], step[1] * stride[1]
    return np.array(starts, np.intp), step


@parallel_kernel
def _move(x, y, from_rows, to_rows, length, add):
    for i in prange(len(from_rows)):
        source, target = x[from_rows[i] : from_rows[i] + length], y[to_rows[i] : to_rows[i] + length]
        if add:
            for k in range(length):
                target[k] += source[k]
        else:
            for k in range(length):
                target[k] = source[k]


@parallel_kernel
def _fragment(x, y, starts, step, add):
    channels, rows, columns = x.shape[1:]
    for i in prange(y.shape[0] * channels):
        m, c = divmod(np.intp(i), channels)
        n, f = divmod(m, len(starts))
        row, column = starts[f]
        for h in range(y.shape[2]):
            for w in range(y.shape[3]):
                a, b = row + h * step[0], column + w * step[1]
                value = x[n, c, a, b] if a < rows and b < columns else x.dtype.type(0)
                y[m, c, h, w] = y[m, c, h, w] + value if add else value


@parallel_kernel
def _stitch(x, y, starts, step, add):
    channels, rows, columns = y.shape[1:]
    for i in prange(x.shape[0] * channels):
        m, c = divmod(np.intp(i), channels)
        n, f = divmod(m, len(starts))
        row, column = starts[f]
        for h in range(-(-(rows - row) // step[0])):
            for w in range(-(-(columns - column) // step[1])):
                a, b = row + h * step[0], column + w * step[1]
                y[n, c, a, b] = y[n, c, a, b] + x[m, c, h, w] if add else x[m, c, h, w]
