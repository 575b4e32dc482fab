"""Max and mean pooling.

Forward, a row of outputs takes one tap after the other, in row-major order: the compiler's vectors run along the row,
and an output's bits depend on its own window alone. Backward, each map has one owner, whatever the number of threads.
"""

from math import prod

import numpy as np
from numba import prange

from ..shapes import Window
from .jit import Threads, kernel, parallel_kernel


def max_pool(x: np.ndarray, y: np.ndarray, window: Window, threads: Threads) -> None:
    """y[n,c,h] = max_i x[n, c, h * stride - pad + i * dilation]; what lies outside x, and NaN, never wins."""
    threads.run(y.size * prod(window.kernel), _max_pool, x, y, *_numbers(window))


def max_pool_backward(dy: np.ndarray, x: np.ndarray, dx: np.ndarray, window: Window, threads: Threads) -> None:
    """Adds dy to the first element that attains the maximum."""
    threads.run(dy.size * prod(window.kernel), _max_pool_backward, dy, x, dx, *_numbers(window))


def mean_pool(x: np.ndarray, y: np.ndarray, window: Window, clip_divisor: bool, threads: Threads) -> None:
    """y[n,c,h] = sum_i x[n, c, h * stride - pad + i * dilation] / divisor[h]."""
    divisors = _divisors(x, y, window, clip_divisor)
    threads.run(y.size * prod(window.kernel), _mean_pool, x, y, *divisors, *_numbers(window))


def mean_pool_backward(dy: np.ndarray, dx: np.ndarray, window: Window, clip_divisor: bool, threads: Threads) -> None:
    """Adds dy / divisor to every tap."""
    divisors = _divisors(dx, dy, window, clip_divisor)
    threads.run(dy.size * prod(window.kernel), _mean_pool_backward, dy, dx, *divisors, *_numbers(window))


def _numbers(window: Window) -> tuple[tuple[int, ...], ...]:
    return window.kernel, window.stride, window.pad, window.dilation


def _divisors(x: np.ndarray, y: np.ndarray, window: Window, clip: bool) -> list[np.ndarray]:
    """What rows, and what columns, contribute to the divisor: all taps, or those inside the padded input."""
    parts = []
    for k, s, p, d, size, out in zip(*_numbers(window), x.shape[2:], y.shape[2:], strict=True):
        taps = np.arange(out)[:, None] * s + np.arange(k) * d  # places in the padded input, (output, tap)
        parts.append((taps < size + 2 * p).sum(1) if clip else np.full(out, k))
    return parts


@kernel
def _reached(offset, stride, size, out):
    """The outputs o, low <= o < high, whose tap o * stride + offset lies inside an input of this size."""
    low = min(max(-(offset // stride), 0), out)
    high = min(max(-((offset - size) // stride), low), out)
    return low, high


@parallel_kernel
def _max_pool(x, y, kernel, stride, pad, dilation):
    channels, rows, columns = x.shape[1:]
    out_rows, out_columns = y.shape[2:]
    for i in prange(y.shape[0] * channels * out_rows):
        plane, h = divmod(np.intp(i), out_rows)
        n, c = divmod(plane, channels)
        line = y[n, c, h]
        line[:] = -np.inf
        for a in range(kernel[0]):
            row = h * stride[0] - pad[0] + a * dilation[0]
            if 0 <= row < rows:
                for b in range(kernel[1]):
                    offset = b * dilation[1] - pad[1]
                    low, high = _reached(offset, stride[1], columns, out_columns)
                    if stride[1] == 1:
                        best, tap = line[low:high], x[n, c, row, low + offset : high + offset]
                        for w in range(len(best)):
                            best[w] = tap[w] if tap[w] > best[w] else best[w]
                    else:
                        for w in range(low, high):
                            value = x[n, c, row, w * stride[1] + offset]
                            line[w] = value if value > line[w] else line[w]


@parallel_kernel
def _max_pool_backward(dy, x, dx, kernel, stride, pad, dilation):
    channels, rows, columns = x.shape[1:]
    for plane in prange(x.shape[0] * channels):
        n, c = divmod(np.intp(plane), channels)
        for h in range(dy.shape[2]):
            for w in range(dy.shape[3]):
                best, best_row, best_column = -np.inf, -1, -1
                for a in range(kernel[0]):
                    row = h * stride[0] - pad[0] + a * dilation[0]
                    if 0 <= row < rows:
                        for b in range(kernel[1]):
                            column = w * stride[1] - pad[1] + b * dilation[1]
                            if 0 <= column < columns:
                                value = x[n, c, row, column]
                                if value > best or (best_row < 0 and value == best):
                                    best, best_row, best_column = value, row, column
                if best_row >= 0:
                    dx[n, c, best_row, best_column] += dy[n, c, h, w]


@parallel_kernel
def _mean_pool(x, y, row_divisor, column_divisor, kernel, stride, pad, dilation):
    channels, rows, columns = x.shape[1:]
    out_rows, out_columns = y.shape[2:]
    for i in prange(y.shape[0] * channels * out_rows):
        plane, h = divmod(np.intp(i), out_rows)
        n, c = divmod(plane, channels)
        line = y[n, c, h]
        line[:] = 0
        for a in range(kernel[0]):
            row = h * stride[0] - pad[0] + a * dilation[0]
            if 0 <= row < rows:
                for b in range(kernel[1]):
                    offset = b * dilation[1] - pad[1]
                    low, high = _reached(offset, stride[1], columns, out_columns)
                    if stride[1] == 1:
                        total, tap = line[low:high], x[n, c, row, low + offset : high + offset]
                        for w in range(len(total)):
                            total[w] += tap[w]
                    else:
                        for w in range(low, high):
                            line[w] += x[n, c, row, w * stride[1] + offset]
        for w in range(out_columns):
            line[w] /= y.dtype.type(row_divisor[h] * column_divisor[w])


@parallel_kernel
def _mean_pool_backward(dy, dx, row_divisor, column_divisor, kernel, stride, pad, dilation):
    channels, rows, columns = dx.shape[1:]
    for plane in prange(dx.shape[0] * channels):
        n, c = divmod(np.intp(plane), channels)
        for h in range(dy.shape[2]):
            for w in range(dy.shape[3]):
                share = dy[n, c, h, w] / dx.dtype.type(row_divisor[h] * column_divisor[w])
                for a in range(kernel[0]):
                    row = h * stride[0] - pad[0] + a * dilation[0]
                    if 0 <= row < rows:
                        for b in range(kernel[1]):
                            column = w * stride[1] - pad[1] + b * dilation[1]
                            if 0 <= column < columns:
                                dx[n, c, row, column] += share
