"""Ops that move data and compute nothing: move a box, fragment and stitch."""

from functools import lru_cache
from itertools import product
from math import prod

import numpy as np
from numba import prange

from ..shapes import Shape
from .jit import Threads, kernel, parallel_kernel
from .picks import load_every, store_every, store_pairs
from .simd import lanes_of
from .vectors import load, load_first, store, store_first


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
    threads.run(x.size, _fragment, x.reshape(-1), y.reshape(-1), _fragments(strides), x.shape[1:], y.shape[2:], add)


def stitch(x: np.ndarray, y: np.ndarray, strides: tuple[Shape, ...], add: bool, threads: Threads) -> None:
    """y[n, c, start(f)::step] (+)= x[n * F + f, c]; what exceeds y is dropped."""
    threads.run(x.size, _stitch, x.reshape(-1), y.reshape(-1), _fragments(strides), y.shape[1:], x.shape[2:], add)


def lattice(strides: tuple[Shape, ...]) -> tuple[np.ndarray, Shape]:
    """Where each fragment starts, (F, 2), and the step between its pixels; each stride splits the fragments before it."""
    starts, step = [(0, 0)], (1, 1)
    for stride in strides:
        phases = list(product(range(stride[0]), range(stride[1])))
        starts = [(row + i * step[0], column + j * step[1]) for row, column in starts for i, j in phases]
        step = step[0] * stride[0], step[1] * stride[1]
    return np.array(starts, np.intp), step


@lru_cache(64)
def _fragments(strides: tuple[Shape, ...]) -> np.ndarray:
    """The inverse of `lattice`: which fragment each pixel of the first step x step starts."""
    starts, step = lattice(strides)
    fragments = np.empty(step, np.intp)
    fragments[tuple(starts.T)] = np.arange(len(starts))
    return fragments


# Of all that follow, arrays are flat.


@parallel_kernel
def _move(x, y, from_rows, to_rows, length, add):
    for i in prange(len(from_rows)):
        source, target = from_rows[i], to_rows[i]
        for k in range(0, length, lanes_of(x)):
            count = length - k
            whole = count >= lanes_of(x)
            value = load(x, source + k) if whole else load_first(x, source + k, count)
            if add:
                value = value + (load(y, target + k) if whole else load_first(y, target + k, count))
            if whole:
                store(value, y, target + k)
            else:
                store_first(value, y, target + k, count)


# Between maps and fragments: a row of a map stays in the cache while all fragments of its columns are written or read.
# The rows of one phase follow each other, so that each of these fragments is passed through from end to end.


@kernel
def _place(i, down, height):
    """(map, phase, row of a fragment) of the i-th step of either way."""
    line, h = divmod(i, height)
    plane, phase = divmod(line, down)
    return plane, phase, h


@parallel_kernel
def _fragment(x, y, fragments, shape, size, add):
    channels, rows, columns = shape
    down, across = fragments.shape
    volume = channels * size[0] * size[1]  # of a fragment
    for i in prange(len(y) // (size[1] * across)):
        plane, phase, h = _place(np.intp(i), down, size[0])
        n, c = divmod(plane, channels)
        row = h * down + phase
        for column in range(across):
            source = (plane * rows + row) * columns + column
            target = (n * down * across + fragments[phase, column]) * volume + (c * size[0] + h) * size[1]
            inside = min(-(-(columns - column) // across), size[1]) if row < rows else 0
            for w in range(0, inside, lanes_of(x)):
                count = inside - w
                whole = count >= lanes_of(x)
                value = load_every(x, source + w * across, across, count)
                if add:
                    value = value + (load(y, target + w) if whole else load_first(y, target + w, count))
                if whole:
                    store(value, y, target + w)
                else:
                    store_first(value, y, target + w, count)
            if not add:
                for w in range(inside, size[1]):
                    y[target + w] = 0


@parallel_kernel
def _stitch(x, y, fragments, shape, size, add):
    channels, rows, columns = shape
    down, across = fragments.shape
    volume = channels * size[0] * size[1]  # of a fragment
    height = -(-rows // down)
    for i in prange(len(y) // (rows * columns) * down * height):
        plane, phase, h = _place(np.intp(i), down, height)
        n, c = divmod(plane, channels)
        row = h * down + phase
        source = n * down * across * volume + (c * size[0] + h) * size[1]
        target, done = (plane * rows + row) * columns, 0
        within = columns if row < rows else 0
        if across == 2 and not add:
            left, right = source + fragments[phase, 0] * volume, source + fragments[phase, 1] * volume
            done = within // (2 * lanes_of(x)) * lanes_of(x)
            for w in range(0, done, lanes_of(x)):
                store_pairs(load(x, left + w), load(x, right + w), y, target + 2 * w)
        for column in range(across):
            first, end = source + fragments[phase, column] * volume, max(-(-(within - column) // across), 0)
            for w in range(done, end, lanes_of(x)):
                at, count = target + w * across + column, end - w
                value = load_every(x, first + w, 1, count)
                if add:
                    value = value + load_every(y, at, across, count)
                store_every(value, y, at, across, count)
