"""The gradients of a convolution's parameters: sums over all images and pixels.

dy and x are read along the same vectors, so a sum is kept as one vector, and its lanes are added at the end of a block
of `simd.TERMS` vectors. Blocks follow one another in a fixed order, and every weight has one owner: its bits do not
depend on the number of threads.
"""

from math import prod

import numpy as np
from numba import prange

from ..shapes import Window
from .geometry import Staging, correlation
from .jit import Threads, kernel, parallel_kernel
from .simd import GRADIENT_ROWS, GRADIENT_TAPS, TERMS, correlate_block, lanes, lanes_of
from .staging import staged


def add(dy: np.ndarray, x: np.ndarray, dw: np.ndarray, window: Window, group: int, threads: Threads) -> None:
    """dw[o,c,i] += sum_{n,h} dy[n,o,h] x[n, c + C/g * group(o), h * stride - pad + i * dilation]."""
    width = lanes(x.dtype)
    solved = correlation(x.shape, dy.shape, window, group, width)
    (sweep,) = solved.sweeps
    grid, source, target = sweep.grid, staged(x, solved.staging, width, threads), dy.reshape(-1)
    if solved.staging is not None and solved.staging.batch_last:  # dy too
        turned = Staging(0, 0, dy.shape[2], dy.shape[3], 1, True)
        target = staged(dy, turned, width, threads)
        _, plane, row = turned.strides(dy.shape)
        grid = grid._replace(target_channel=plane, target_outer=row, target_row=grid.lanes, target_lane=1)
    work = dw.size * dy.shape[0] * dy.shape[2] * dy.shape[3] // 16
    threads.run(work, _gradient, target, source, sweep.offsets, dw.reshape(-1), grid)


def add_channel_sums(dy: np.ndarray, db: np.ndarray, threads: Threads) -> None:
    """db[o] += sum_{n,h} dy[n,o,h], in float64."""
    threads.run(dy.size, _channel_sums, dy.reshape(*dy.shape[:2], prod(dy.shape[2:])), db)


@parallel_kernel
def _gradient(dy, x, offsets, dw, grid):
    panels = -(-grid.channels // GRADIENT_ROWS)
    for item in prange(grid.groups * panels):
        group, panel = divmod(np.intp(item), panels)
        _item(dy, x, offsets, dw, grid, group, panel)


@kernel
def _item(dy, x, offsets, dw, grid, group, panel):
    """All weights of GRADIENT_ROWS output channels."""
    width = lanes_of(x)
    taps = len(offsets)
    segments = -(-grid.lanes // width)
    vectors = grid.outer * grid.rows * segments
    channel = group * grid.channels + panel * GRADIENT_ROWS
    height = min(GRADIENT_ROWS, grid.channels - panel * GRADIENT_ROWS)
    rows = np.empty(GRADIENT_ROWS, np.intp)
    for m in range(GRADIENT_ROWS):  # a block's rows and taps that are too many repeat the last one
        rows[m] = (channel + min(m, height - 1)) * grid.target_channel
    padded = np.empty(-(-taps // GRADIENT_TAPS) * GRADIENT_TAPS, np.intp)
    for t in range(len(padded)):
        padded[t] = group * grid.source_group + offsets[min(t, taps - 1)]
    totals = np.zeros((height, taps), x.dtype)
    x_at, y_at, valid = np.empty(TERMS, np.intp), np.empty(TERMS, np.intp), np.empty(TERMS, np.intp)
    sums = np.empty(GRADIENT_ROWS * GRADIENT_TAPS, x.dtype)
    for start in range(0, vectors, TERMS):
        count = min(TERMS, vectors - start)
        for v in range(count):
            row, segment = divmod(start + v, segments)
            outer, row = divmod(row, grid.rows)
            first = segment * width
            x_at[v] = outer * grid.source_outer + row * grid.source_row + first
            y_at[v] = outer * grid.target_outer + row * grid.target_row + first
            valid[v] = min(width, grid.lanes - first)
        for tap in range(0, taps, GRADIENT_TAPS):
            correlate_block(dy, rows, x, padded, tap, y_at, x_at, valid, count, sums)
            for m in range(height):
                for q in range(min(GRADIENT_TAPS, taps - tap)):
                    totals[m, tap + q] += sums[m * GRADIENT_TAPS + q]
    for m in range(height):
        for t in range(taps):
            dw[(channel + m) * taps + t] += totals[m, t]


@parallel_kernel
def _channel_sums(dy, db):
    for c in prange(dy.shape[1]):
        db[c] += _channel_sum(dy, np.intp(c))


@kernel
def _channel_sum(dy, channel):
    """Eight interleaved sums, which a processor adds side by side."""
    images, _, pixels = dy.shape
    parts = np.zeros(8)
    whole = pixels // 8 * 8
    for n in range(images):
        for p in range(0, whole, 8):
            for k in range(8):
                parts[k] += dy[n, channel, p + k]
        for p in range(whole, pixels):
            parts[p - whole] += dy[n, channel, p]
    total = 0.0
    for part in parts:
        total += part
    return total
