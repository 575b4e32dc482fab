"""The convolution engine: outputs as sums of weight times source, on all cores.

Outputs are cut into items of a few vectors and all their channels; an item adds its terms in blocks of `simd.TERMS`, and every
block goes through the micro-kernel and is then added to the output. Which outputs share an item changes no sum.
"""

import numpy as np
from numba import prange

from .geometry import Grid, Sweep
from .jit import Threads, kernel, parallel_kernel
from .simd import ROWS, TERMS, VECTORS, add_lanes, lanes_of, multiply_block, prefetch

BATCH = 8 * VECTORS  # vectors of one item: 8 blocks of sums that share their weights in the first-level cache
ITEMS = 64  # fewer items than this are cut further, by channels: enough for the cores of large machines


def run(sweep: Sweep, source: np.ndarray, w: np.ndarray, bias: np.ndarray | None, y: np.ndarray, add: bool, threads: Threads) -> None:
    """Computes, or with `add` adds, the outputs of one sweep; `source` is flat and staged as the sweep expects."""
    grid = sweep.grid
    packed = np.empty(grid.groups * -(-grid.channels // ROWS) * len(sweep.offsets) * ROWS, y.dtype)
    threads.run(_pack, w.reshape(-1), sweep.weights, grid.groups, grid.channels, sweep.weight_group, sweep.weight_channel, packed)
    b = np.zeros(y.shape[1], y.dtype) if bias is None else bias
    threads.run(_sweep, packed, source, sweep.offsets, b, add, y.reshape(-1), grid)


@parallel_kernel
def _pack(
    w: np.ndarray, terms: np.ndarray, groups: int, channels: int, by_group: int, by_channel: int, packed: np.ndarray
) -> None:
    """packed[group, panel, term, row] = w[group, channel, terms[term]], zero where a panel has more rows than channels."""
    panels = -(-channels // ROWS)
    count = len(terms)
    for panel in prange(groups * panels):
        group, first = divmod(np.intp(panel), panels)
        for block in range(0, count, TERMS):  # what is written row by row stays in the cache
            for row in range(ROWS):
                at = panel * count * ROWS + row
                channel = first * ROWS + row
                start = group * by_group + channel * by_channel
                for t in range(block, min(block + TERMS, count)):
                    packed[at + t * ROWS] = w[start + terms[t]] if channel < channels else 0


@parallel_kernel
def _sweep(
    packed: np.ndarray, x: np.ndarray, offsets: np.ndarray, bias: np.ndarray, add: bool, y: np.ndarray, grid: Grid
) -> None:
    vectors = grid.outer * grid.rows * -(-grid.lanes // lanes_of(x))
    batches = -(-vectors // BATCH)
    panels = -(-grid.channels // ROWS)
    parts = min(panels, max(1, ITEMS // (grid.groups * batches)))
    for item in prange(grid.groups * batches * parts):
        rest, part = divmod(np.intp(item), parts)
        group, batch = divmod(rest, batches)
        _item(packed, x, offsets, bias, add, y, grid, group, batch, part * panels // parts, (part + 1) * panels // parts)


@kernel
def _item(
    packed: np.ndarray, x: np.ndarray, offsets: np.ndarray, bias: np.ndarray, add: bool, y: np.ndarray, grid: Grid,
    group: int, batch: int, first_panel: int, last_panel: int,
) -> None:  # fmt: skip
    """The channels of some panels at the places of one batch of vectors.

    Everything is written out in this one function: a call would count references to its arrays, atomically, at every block.
    """
    width = lanes_of(x)
    terms = len(offsets)
    panels = -(-grid.channels // ROWS)
    x_at = np.empty(BATCH, np.intp)  # where each vector is read
    y_at = np.empty(BATCH, np.intp)  # where its first output goes
    lane = np.empty(BATCH, np.intp)  # the lane that holds the first output
    valid = np.empty(BATCH, np.intp)  # how many there are
    count = _places(x, grid, group, batch, x_at, y_at, lane, valid)
    sums = np.empty(ROWS * VECTORS * width, x.dtype)
    for first in range(0, max(terms, 1), TERMS):
        block = min(TERMS, terms - first)
        last = -width
        for t in range(first, first + block):
            if not 0 <= offsets[t] - last < width:
                last = offsets[t]
                for v in range(count):
                    prefetch(x, x_at[v] + last)
        for panel in range(first_panel, last_panel):
            weights = ((group * panels + panel) * terms + first) * ROWS
            rows = min(ROWS, grid.channels - panel * ROWS)
            corner = panel * ROWS * grid.target_channel
            for v in range(0, count, VECTORS):
                if first == 0 and not add:
                    for m in range(rows):
                        start = bias[group * grid.channels + panel * ROWS + m]
                        for i in range(VECTORS):
                            at = corner + y_at[v + i] + m * grid.target_channel
                            if grid.target_lane == 1 and valid[v + i] == width:
                                for l in range(width):
                                    y[at + l] = start
                            else:
                                for l in range(valid[v + i]):
                                    y[at + l * grid.target_lane] = start
                if block == 0:  # a residue that no tap of a deconvolution reaches
                    continue
                lanes = min(valid[v], valid[v + 1], valid[v + 2])
                if lanes == width and rows == ROWS and grid.target_lane == 1:
                    multiply_block(
                        packed, weights, x, x_at[v], x_at[v + 1], x_at[v + 2], offsets, first, block,
                        y, corner + y_at[v], corner + y_at[v + 1], corner + y_at[v + 2], grid.target_channel,
                    )  # fmt: skip
                    continue
                sums[:] = 0
                multiply_block(
                    packed, weights, x, x_at[v], x_at[v + 1], x_at[v + 2], offsets, first, block,
                    sums, 0, width, 2 * width, VECTORS * width,
                )  # fmt: skip
                for m in range(rows):
                    for i in range(VECTORS):
                        at = corner + y_at[v + i] + m * grid.target_channel
                        read = (m * VECTORS + i) * width + lane[v + i]
                        if grid.target_lane == 1:
                            add_lanes(y, at, sums, read, valid[v + i])
                            continue
                        for l in range(valid[v + i]):
                            y[at + l * grid.target_lane] += sums[read + l]


@kernel
def _places(
    x: np.ndarray, grid: Grid, group: int, batch: int, x_at: np.ndarray, y_at: np.ndarray, lane: np.ndarray, valid: np.ndarray
) -> int:
    """Fills in where an item's vectors lie, and returns how many there are, with empty ones up to a whole block."""
    width = lanes_of(x)
    segments = -(-grid.lanes // width)
    vectors = grid.outer * grid.rows * segments
    first = batch * BATCH
    count = min(BATCH, vectors - first)
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
