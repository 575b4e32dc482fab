"""The convolution engine: outputs as sums of weight times source, on all cores.

Outputs are cut into items of a few vectors and all their channels; an item adds its terms in blocks of `simd.TERMS`, and every
block goes through the micro-kernel and is then added to the output. Which outputs share an item changes no sum.
"""

import numpy as np
from numba import prange

from .geometry import Grid, Sweep
from .jit import Threads, kernel, parallel_kernel
from .simd import ROWS, TERMS, VECTORS, lanes_of, multiply_block

TILES = 8  # blocks of sums side by side in one item: they share the weights in the first-level cache
ITEMS = 64  # fewer items than this are cut further, by channels: enough for the cores of large machines


def height(channels: int) -> int:
    """Output channels that one block of sums holds; a single channel, as in a depthwise convolution, gets no empty rows."""
    return 1 if channels == 1 else ROWS


def run(sweep: Sweep, source: np.ndarray, w: np.ndarray, bias: np.ndarray | None, y: np.ndarray, add: bool, threads: Threads) -> None:
    """Computes, or with `add` adds, the outputs of one sweep; `source` is flat and staged as the sweep expects."""
    grid = sweep.grid
    rows = height(grid.channels)
    panels = -(-grid.channels // rows)
    packed = np.empty(grid.groups * panels * len(sweep.offsets) * rows, y.dtype)
    threads.run(_pack, w.reshape(-1), sweep.weights, grid.groups, grid.channels, sweep.weight_group, sweep.weight_channel, rows, packed)
    b = np.empty(0, y.dtype) if bias is None else bias
    threads.run(_sweep, packed, source, sweep.offsets, b, y.reshape(-1), grid, rows, add)


@parallel_kernel
def _pack(
    w: np.ndarray, terms: np.ndarray, groups: int, channels: int, by_group: int, by_channel: int, rows: int, packed: np.ndarray
) -> None:
    """packed[group, panel, term, row] = w[group, channel, terms[term]], zero where a panel has more rows than channels."""
    panels = -(-channels // rows)
    count = len(terms)
    for panel in prange(groups * panels):
        group, first = divmod(np.intp(panel), panels)
        first *= rows
        for row in range(rows):
            at = panel * count * rows + row
            if first + row < channels:
                start = group * by_group + (first + row) * by_channel
                for t in range(count):
                    packed[at + t * rows] = w[start + terms[t]]
            else:
                for t in range(count):
                    packed[at + t * rows] = 0


@parallel_kernel
def _sweep(
    packed: np.ndarray, x: np.ndarray, offsets: np.ndarray, bias: np.ndarray, y: np.ndarray, grid: Grid, rows: int, add: bool
) -> None:
    vectors = grid.outer * grid.rows * -(-grid.lanes // lanes_of(x))
    batches = -(-vectors // (TILES * VECTORS))
    panels = -(-grid.channels // rows)
    parts = min(panels, max(1, ITEMS // (grid.groups * batches)))
    for item in prange(grid.groups * batches * parts):
        rest, part = divmod(np.intp(item), parts)
        group, batch = divmod(rest, batches)
        first_panel, last_panel = part * panels // parts, (part + 1) * panels // parts
        _item(packed, x, offsets, bias, y, grid, rows, add, group, batch, first_panel, last_panel)


@kernel
def _item(
    packed: np.ndarray, x: np.ndarray, offsets: np.ndarray, bias: np.ndarray, y: np.ndarray, grid: Grid, rows: int, add: bool,
    group: int, batch: int, first_panel: int, last_panel: int,
) -> None:  # fmt: skip
    width = lanes_of(x)
    terms = len(offsets)
    panels = -(-grid.channels // rows)
    x_at = np.empty(TILES * VECTORS, np.intp)  # where each vector is read
    y_at = np.empty(TILES * VECTORS, np.intp)  # where its first output goes
    lane = np.empty(TILES * VECTORS, np.intp)  # the lane that holds the first output
    valid = np.empty(TILES * VECTORS, np.intp)  # how many there are
    count = _places(x, grid, group, batch, x_at, y_at, lane, valid)
    sums = np.empty(ROWS * VECTORS * width, x.dtype)
    for first in range(0, max(terms, 1), TERMS):
        block = min(TERMS, terms - first)
        for panel in range(first_panel, last_panel):
            weights = ((group * panels + panel) * terms + first) * rows
            channel = panel * rows
            height = min(rows, grid.channels - channel)
            for v in range(0, count, VECTORS):
                if block == 0:
                    sums[:] = 0
                elif rows == 1:
                    multiply_block(1, packed, weights, x, x_at[v], x_at[v + 1], x_at[v + 2], offsets, first, block, sums)
                else:
                    multiply_block(ROWS, packed, weights, x, x_at[v], x_at[v + 1], x_at[v + 2], offsets, first, block, sums)
                for m in range(height):
                    start = x.dtype.type(0)
                    if len(bias):
                        start = bias[group * grid.channels + channel + m]
                    for i in range(VECTORS):
                        if valid[v + i]:
                            at = y_at[v + i] + (channel + m) * grid.target_channel
                            read = (m * VECTORS + i) * width + lane[v + i]
                            _put(sums, read, y, at, valid[v + i], grid.target_lane, start, add or first > 0)


@kernel
def _places(
    x: np.ndarray, grid: Grid, group: int, batch: int, x_at: np.ndarray, y_at: np.ndarray, lane: np.ndarray, valid: np.ndarray
) -> int:
    """Fills in where an item's vectors lie, and returns how many there are, with empty ones up to a whole block."""
    width = lanes_of(x)
    segments = -(-grid.lanes // width)
    vectors = grid.outer * grid.rows * segments
    first = batch * len(x_at)
    count = min(len(x_at), vectors - first)
    whole = -(-count // VECTORS) * VECTORS
    for v in range(whole):
        row, segment = divmod(min(first + v, vectors - 1), segments)
        outer, row = divmod(row, grid.rows)
        start = segment * width
        source = group * grid.source_group + outer * grid.source_outer + row * grid.source_row + start
        back = max(0, source + grid.reach + width - len(x))  # never read behind the end: read earlier, use the later lanes
        x_at[v] = source - back
        lane[v] = back
        valid[v] = min(width, grid.lanes - start) if v < count else 0
        y_at[v] = (
            grid.target_start + group * grid.channels * grid.target_channel
            + outer * grid.target_outer + row * grid.target_row + start * grid.target_lane
        )  # fmt: skip
    return whole


@kernel
def _put(sums: np.ndarray, read: int, y: np.ndarray, at: int, count: int, stride: int, start: float, add: bool) -> None:
    """y[at + l * stride] = start + sums[read + l], or += sums[read + l], for the lanes l < count."""
    width = lanes_of(y)
    if stride == 1 and count == width:
        if add:
            for l in range(width):
                y[at + l] += sums[read + l]
        else:
            for l in range(width):
                y[at + l] = start + sums[read + l]
    elif add:
        for l in range(count):
            y[at + l * stride] += sums[read + l]
    else:
        for l in range(count):
            y[at + l * stride] = start + sums[read + l]
