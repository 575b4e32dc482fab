"""The gradient of a convolution's weights: products of dy and x, summed over all images and pixels.

Both are read along the same vectors, so a sum is kept as one vector and its lanes are added at the end of a block. A block is
`simd.TERMS` vectors; blocks follow one another in a fixed order, and each weight has one owner, whatever the number of threads.
"""

from math import prod

import numpy as np
from numba import prange

from ..shapes import Window
from . import geometry
from .jit import Threads, kernel, parallel_kernel
from .simd import GRADIENT_ROWS, GRADIENT_TAPS, TERMS, correlate_block, lanes, lanes_of
from .staging import staged


def run(dy: np.ndarray, x: np.ndarray, dw: np.ndarray, window: Window, group: int, threads: Threads) -> None:
    """dw[o,c,i] += sum_{n,h} dy[n,o,h] x[n, c + C/g * group(o), h * stride - pad + i * dilation]."""
    width = lanes(x.dtype)
    plan = geometry.correlation(x.shape, dy.shape, window, group, width)
    (sweep,) = plan.sweeps
    grid = sweep.grid
    source = staged(x, plan.staging, width, threads)
    target = dy.reshape(-1)
    if plan.staging is not None and plan.staging.batch_last:
        turned = geometry.Staging(0, 0, dy.shape[2], dy.shape[3], 1, True)
        target = staged(dy, turned, width, threads)
        image, plane, row = turned.strides(dy.shape)
        grid = grid._replace(target_channel=plane, target_outer=row, target_row=grid.lanes, target_lane=image)
    threads.run(_gradient, target, source, sweep.offsets, dw.reshape(-1), grid)


def workspace(dy: tuple[int, ...], x: tuple[int, ...], window: Window, group: int, dtype: np.dtype) -> int:
    """Bytes of what `run` stages."""
    staging = geometry.correlation(x, dy, window, group, lanes(dtype)).staging
    if staging is None:
        return 0
    return (staging.elements(x) + (prod(dy) if staging.batch_last else 0)) * dtype.itemsize


@parallel_kernel
def _gradient(dy: np.ndarray, x: np.ndarray, offsets: np.ndarray, dw: np.ndarray, grid: geometry.Grid) -> None:
    panels = -(-grid.channels // GRADIENT_ROWS)
    for item in prange(grid.groups * panels):
        group, panel = divmod(np.intp(item), panels)
        _item(dy, x, offsets, dw, grid, group, panel)


@kernel
def _item(dy: np.ndarray, x: np.ndarray, offsets: np.ndarray, dw: np.ndarray, grid: geometry.Grid, group: int, panel: int) -> None:
    """All weights of a few output channels."""
    width = lanes_of(x)
    taps = len(offsets)
    batches = -(-taps // GRADIENT_TAPS)
    segments = -(-grid.lanes // width)
    vectors = grid.outer * grid.rows * segments
    first = panel * GRADIENT_ROWS
    height = min(GRADIENT_ROWS, grid.channels - first)
    rows = np.empty(GRADIENT_ROWS, np.intp)
    for m in range(GRADIENT_ROWS):  # rows and taps that are too many repeat the last one
        rows[m] = (group * grid.channels + min(first + m, grid.channels - 1)) * grid.target_channel
    padded = np.empty(batches * GRADIENT_TAPS, np.intp)
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
            lane = segment * width
            x_at[v] = outer * grid.source_outer + row * grid.source_row + lane
            y_at[v] = outer * grid.target_outer + row * grid.target_row + lane
            valid[v] = min(width, grid.lanes - lane)
        for batch in range(batches):
            tap = batch * GRADIENT_TAPS
            correlate_block(dy, rows, x, padded, tap, y_at, x_at, valid, count, sums)
            for m in range(height):
                for q in range(min(GRADIENT_TAPS, taps - tap)):
                    totals[m, tap + q] += sums[m * GRADIENT_TAPS + q]
    for m in range(height):
        at = (group * grid.channels + first + m) * taps
        for t in range(taps):
            dw[at + t] += totals[m, t]


def add_channel_sums(dy: np.ndarray, db: np.ndarray, threads: Threads) -> None:
    """db[o] += sum_{n,h} dy[n,o,h]."""
    threads.run(_channel_sums, dy.reshape(dy.shape[0], dy.shape[1], -1), db)


@parallel_kernel
def _channel_sums(dy: np.ndarray, db: np.ndarray) -> None:
    images, channels, pixels = dy.shape
    for c in prange(channels):
        db[c] += _sum(dy, np.intp(c))


@kernel
def _sum(dy: np.ndarray, channel: int) -> float:
    """The sum of one channel: blocks of pixels in float64, eight interleaved sums in each."""
    images, _, pixels = dy.shape
    parts = np.zeros(8)
    for n in range(images):
        whole = pixels // 8 * 8
        for p in range(0, whole, 8):
            for l in range(8):
                parts[l] += dy[n, channel, p + l]
        for l in range(pixels - whole):
            parts[l] += dy[n, channel, whole + l]
    total = 0.0
    for l in range(8):
        total += parts[l]
    return total
