"""Max and mean pooling.

Vectors run along the outputs of a row whose windows have all their columns inside the input. They take one tap after
the other, in row-major order, as the scalar code for the other outputs does, so an output's bits depend on its own
window alone. Backward, each map has one owner, whatever the number of threads.
"""

from functools import lru_cache
from math import prod

import numpy as np
from numba import prange

from ..shapes import Shape, Window
from .jit import Threads, parallel_kernel
from .picks import load_every, where_more
from .simd import lanes_of
from .vectors import larger, load, load_first, spread, store, store_first


def max_pool(x: np.ndarray, y: np.ndarray, window: Window, threads: Threads) -> None:
    """y[n,c,h] = max_i x[n, c, h * stride - pad + i * dilation]; what lies outside x, and NaN, never wins."""
    geometry = _geometry(x.shape[2:], y.shape[2:], window)
    threads.run(y.size * prod(window.kernel), _max_pool, x.reshape(-1), y.reshape(-1), *geometry)


def max_pool_backward(dy: np.ndarray, x: np.ndarray, dx: np.ndarray, window: Window, threads: Threads) -> None:
    """Adds dy to the first element that attains the maximum."""
    (rows, columns), steps = window.kernel, window.dilation
    places = (np.arange(rows)[:, None] * (steps[0] * x.shape[3]) + np.arange(columns) * steps[1]).reshape(-1)
    flat, geometry = (dy.reshape(-1), x.reshape(-1), dx.reshape(-1)), _geometry(x.shape[2:], dy.shape[2:], window)
    threads.run(2 * dy.size * prod(window.kernel), _max_pool_backward, *flat, places, *geometry)


def mean_pool(x: np.ndarray, y: np.ndarray, window: Window, clip_divisor: bool, threads: Threads) -> None:
    """y[n,c,h] = sum_i x[n, c, h * stride - pad + i * dilation] / divisor[h]."""
    divisors = _divisors(x.shape[2:], y.shape[2:], window, clip_divisor, x.dtype)
    geometry = _geometry(x.shape[2:], y.shape[2:], window)
    threads.run(y.size * prod(window.kernel), _mean_pool, x.reshape(-1), y.reshape(-1), *divisors, *geometry)


def mean_pool_backward(dy: np.ndarray, dx: np.ndarray, window: Window, clip_divisor: bool, threads: Threads) -> None:
    """Adds dy / divisor to every tap."""
    divisors = _divisors(dx.shape[2:], dy.shape[2:], window, clip_divisor, dx.dtype)
    geometry = _geometry(dx.shape[2:], dy.shape[2:], window)
    work = dy.size * prod(window.kernel)
    threads.run(work, _mean_pool_backward, dy.reshape(-1), dx.reshape(-1), *divisors, *geometry)


@lru_cache(64)
def _divisors(inputs: Shape, outputs: Shape, window: Window, clip: bool, dtype: np.dtype) -> list[np.ndarray]:
    """What rows, and what columns, contribute to the divisor: all taps, or those inside the padded input."""
    parts = []
    for k, s, p, d, size, out in zip(*_numbers(window), inputs, outputs, strict=True):
        taps = np.arange(out)[:, None] * s + np.arange(k) * d  # places in the padded input, (output, tap)
        parts.append(((taps < size + 2 * p).sum(1) if clip else np.full(out, k)).astype(dtype))
    return parts


def _numbers(window: Window) -> tuple[tuple[int, ...], ...]:
    return window.kernel, window.stride, window.pad, window.dilation


@lru_cache(64)
def _geometry(inputs: Shape, outputs: Shape, window: Window) -> tuple[np.ndarray, np.ndarray, tuple[int, ...]]:
    """(taps of each row of outputs, of each column, (rows, columns, dilations, taps of a column, its stride, low, high)).

    Taps are (where the first lies, the first one inside x, the first one beyond it). Vectors take the outputs
    low .. high - 1 of each row.
    """
    spans = []
    for k, s, p, d, size, out in zip(*_numbers(window), inputs, outputs, strict=True):
        start = np.arange(out) * s - p
        first = np.clip(-(start // d), 0, k)
        spans.append(np.stack([start, first, np.clip(-((start - size) // d), first, k)], 1))
    rows, columns = spans
    stride, taps = window.stride[1], window.kernel[1]
    inside = np.flatnonzero(columns[:, 2] - columns[:, 1] == taps)
    low, high = (int(inside[0]), int(inside[-1]) + 1) if inside.size else (0, 0)
    return rows, columns, (*inputs, *window.dilation, taps, stride, low, high)


# Of all that follow, arrays are flat.


@parallel_kernel
def _max_pool(x, y, row_taps, column_taps, sizes):
    rows, columns, row_step, column_step, taps, stride, low, high = sizes
    width = len(column_taps)
    for i in prange(len(y) // width):
        line = np.intp(i) * width
        plane, h = divmod(np.intp(i), len(row_taps))
        base = (plane * rows + row_taps[h, 0]) * columns
        first, end = row_taps[h, 1], row_taps[h, 2]
        for w in range(low, high, lanes_of(x)):
            best = spread(x.dtype.type(-np.inf))
            for a in range(first, end):
                at = base + a * row_step * columns + column_taps[w, 0]
                for b in range(taps):
                    best = larger(best, load_every(x, at + b * column_step, stride, high - w))
            if high - w >= lanes_of(x):
                store(best, y, line + w)
            else:
                store_first(best, y, line + w, high - w)
        for rest in range(width - high + low):
            w = rest if rest < low else rest + high - low
            value = x.dtype.type(-np.inf)
            for a in range(first, end):
                at = base + a * row_step * columns + column_taps[w, 0]
                for b in range(column_taps[w, 1], column_taps[w, 2]):
                    tap = x[at + b * column_step]
                    value = tap if tap > value else value
            y[line + w] = value


@parallel_kernel
def _max_pool_backward(dy, x, dx, places, row_taps, column_taps, sizes):
    """A row of outputs first finds the taps that won, then adds its gradients one after the other.

    `places` says where each tap lies, seen from the first one.
    """
    rows, columns, row_step, column_step, taps, stride, low, high = sizes
    height, width = len(row_taps), len(column_taps)
    for plane in prange(len(dy) // (height * width)):
        winners = np.full(width, -1, x.dtype)  # -1: no vector took the output, or no tap of it is above -inf
        for h in range(height):
            line = (np.intp(plane) * height + h) * width
            base = (np.intp(plane) * rows + row_taps[h, 0]) * columns
            first, end = row_taps[h, 1], row_taps[h, 2]
            for w in range(low, high, lanes_of(x)):
                best, winner = spread(x.dtype.type(-np.inf)), spread(x.dtype.type(-1))
                for a in range(first, end):
                    at = base + a * row_step * columns + column_taps[w, 0]
                    for b in range(taps):
                        value = load_every(x, at + b * column_step, stride, high - w)
                        winner = where_more(value, best, spread(x.dtype.type(a * taps + b)), winner)
                        best = larger(best, value)
                if high - w >= lanes_of(x):
                    store(winner, winners, w)
                else:
                    store_first(winner, winners, w, high - w)
            for w in range(width):
                at = base + column_taps[w, 0]
                best_at = -1
                if winners[w] >= 0:
                    best_at = at + places[np.intp(winners[w])]
                else:
                    most = x.dtype.type(-np.inf)
                    for a in range(first, end):
                        for b in range(column_taps[w, 1], column_taps[w, 2]):
                            place = at + a * row_step * columns + b * column_step
                            if x[place] > most or (best_at < 0 and x[place] == most):
                                most, best_at = x[place], place
                if best_at >= 0:
                    dx[best_at] += dy[line + w]


@parallel_kernel
def _mean_pool(x, y, row_divisor, column_divisor, row_taps, column_taps, sizes):
    rows, columns, row_step, column_step, taps, stride, low, high = sizes
    width = len(column_taps)
    for i in prange(len(y) // width):
        line = np.intp(i) * width
        plane, h = divmod(np.intp(i), len(row_taps))
        base = (plane * rows + row_taps[h, 0]) * columns
        first, end = row_taps[h, 1], row_taps[h, 2]
        for w in range(low, high, lanes_of(x)):
            total = spread(x.dtype.type(0))
            for a in range(first, end):
                at = base + a * row_step * columns + column_taps[w, 0]
                for b in range(taps):
                    total = total + load_every(x, at + b * column_step, stride, high - w)
            mean = total / (spread(row_divisor[h]) * load_every(column_divisor, w, 1, high - w))
            if high - w >= lanes_of(x):
                store(mean, y, line + w)
            else:
                store_first(mean, y, line + w, high - w)
        for rest in range(width - high + low):
            w = rest if rest < low else rest + high - low
            value = x.dtype.type(0)
            for a in range(first, end):
                at = base + a * row_step * columns + column_taps[w, 0]
                for b in range(column_taps[w, 1], column_taps[w, 2]):
                    value += x[at + b * column_step]
            y[line + w] = value / (row_divisor[h] * column_divisor[w])


@parallel_kernel
def _mean_pool_backward(dy, dx, row_divisor, column_divisor, row_taps, column_taps, sizes):
    """One tap after the other along a whole row: what it reaches does not overlap."""
    rows, columns, row_step, column_step, taps, stride = sizes[:6]
    height, width = len(row_taps), len(column_taps)
    for plane in prange(len(dy) // (height * width)):
        share = np.empty(width, dx.dtype)
        for h in range(height):
            line = (np.intp(plane) * height + h) * width
            base = (np.intp(plane) * rows + row_taps[h, 0]) * columns
            for w in range(width):
                share[w] = dy[line + w] / (row_divisor[h] * column_divisor[w])
            for a in range(row_taps[h, 1], row_taps[h, 2]):
                for b in range(taps):
                    offset = column_taps[0, 0] + b * column_step
                    start = min(max(-(offset // stride), 0), width)
                    stop = min(max(-((offset - columns) // stride), start), width)
                    at = base + a * row_step * columns + offset
                    if stride == 1:
                        for w in range(start, stop, lanes_of(dx)):
                            if stop - w >= lanes_of(dx):
                                store(load(dx, at + w) + load(share, w), dx, at + w)
                            else:
                                sums = load_first(dx, at + w, stop - w) + load_first(share, w, stop - w)
                                store_first(sums, dx, at + w, stop - w)
                    else:
                        for w in range(start, stop):
                            dx[at + w * stride] += share[w]
