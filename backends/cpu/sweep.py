"""The convolution engine: outputs as sums of weight times source, on all cores.

Outputs are cut into items of a few vectors and all their channels. An item adds its terms in blocks of `simd.TERMS`; a
block goes through the micro-kernel, and its sums are then added to the outputs. So the bits of an output do not depend
on the item that holds it.
"""

import numpy as np
from numba import prange

from .geometry import Sweep
from .jit import Threads, kernel, parallel_kernel
from .simd import ROWS, TERMS, VECTORS, add_lanes, lanes_of, multiply_block, prefetch

BATCH = 8 * VECTORS  # vectors of an item: 8 blocks of sums share their weights in the first-level cache
ITEMS = 64  # where there are fewer items they are cut by channels too: enough for the cores of large machines


def run(
    sweep: Sweep,
    source: np.ndarray,
    w: np.ndarray,
    bias: np.ndarray | None,
    y: np.ndarray,
    threads: Threads,
    add: bool,
) -> None:
    """Computes, or with `add` adds, the outputs of one sweep; `source` is flat, and staged as the sweep expects."""
    grid = sweep.grid
    packed = np.empty(grid.groups * -(-grid.channels // ROWS) * len(sweep.offsets) * ROWS, y.dtype)
    places = sweep.weights, sweep.weight_group, sweep.weight_channel
    threads.run(packed.size, _pack, w.reshape(-1), *places, grid.groups, grid.channels, packed)
    start = np.zeros(y.shape[1], y.dtype) if bias is None else bias
    work = packed.size * grid.outer * grid.rows * grid.lanes // 16
    threads.run(work, _sweep, packed, source, sweep.offsets, start, add, y.reshape(-1), grid)


@parallel_kernel
def _pack(w, places, by_group, by_channel, groups, channels, packed):
    """packed[group, panel, term, row] = w[group * by_group + channel * by_channel + places[term]].

    A panel is ROWS channels; the rows that its last one lacks are zero.
    """
    panels = -(-channels // ROWS)
    terms = len(places)
    for item in prange(groups * panels):
        group, panel = divmod(np.intp(item), panels)
        for block in range(0, terms, TERMS):  # what is written row by row stays in the cache
            for row in range(ROWS):
                channel = panel * ROWS + row
                source = group * by_group + channel * by_channel
                target = (group * panels + panel) * terms * ROWS + row
                for t in range(block, min(block + TERMS, terms)):
                    packed[target + t * ROWS] = w[source + places[t]] if channel < channels else 0


@parallel_kernel
def _sweep(packed, x, offsets, bias, add, y, grid):
    vectors = grid.outer * grid.rows * -(-grid.lanes // lanes_of(x))
    batches = -(-vectors // BATCH)
    panels = -(-grid.channels // ROWS)
    parts = min(panels, max(1, ITEMS // (grid.groups * batches)))
    for item in prange(grid.groups * batches * parts):
        rest, part = divmod(np.intp(item), parts)
        group, batch = divmod(rest, batches)
        first, last = part * panels // parts, (part + 1) * panels // parts
        _item(packed, x, offsets, bias, add, y, grid, group, batch, first, last)


@kernel
def _item(packed, x, offsets, bias, add, y, grid, group, batch, first_panel, last_panel):
    """The outputs of one batch of vectors, for the channels of some panels."""
    width = lanes_of(x)
    terms = len(offsets)
    panels = -(-grid.channels // ROWS)
    x_at = np.empty(BATCH, np.intp)  # where each vector is read
    y_at = np.empty(BATCH, np.intp)  # where its first output goes
    lane = np.empty(BATCH, np.intp)  # the lane that holds the first output
    valid = np.empty(BATCH, np.intp)  # how many outputs there are
    count = _places(x, grid, group, batch, x_at, y_at, lane, valid)
    sums = np.empty(ROWS * VECTORS * width, x.dtype)
    for first in range(0, max(terms, 1), TERMS):
        block = min(TERMS, terms - first)
        latest = -width
        for t in range(first, first + block):  # the cache lines of the first term of every row of the source
            if not 0 <= offsets[t] - latest < width:
                latest = offsets[t]
                for v in range(count):
                    prefetch(x, x_at[v] + latest)
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
                                for k in range(width):
                                    y[at + k] = start
                            else:
                                for k in range(valid[v + i]):
                                    y[at + k * grid.target_lane] = start
                if block == 0:  # a residue that no tap of a deconvolution reaches
                    continue
                whole = min(valid[v], valid[v + 1], valid[v + 2]) == width and rows == ROWS
                if whole and grid.target_lane == 1:
                    y0, y1, y2 = corner + y_at[v], corner + y_at[v + 1], corner + y_at[v + 2]
                    x0, x1, x2 = x_at[v], x_at[v + 1], x_at[v + 2]
                    step = grid.target_channel
                    multiply_block(packed, weights, x, x0, x1, x2, offsets, first, block, y, y0, y1, y2, step)
                    continue
                sums[:] = 0
                x0, x1, x2 = x_at[v], x_at[v + 1], x_at[v + 2]
                step = VECTORS * width
                multiply_block(packed, weights, x, x0, x1, x2, offsets, first, block, sums, 0, width, 2 * width, step)
                for m in range(rows):
                    for i in range(VECTORS):
                        at = corner + y_at[v + i] + m * grid.target_channel
                        held = (m * VECTORS + i) * width + lane[v + i]
                        if grid.target_lane == 1:
                            add_lanes(y, at, sums, held, valid[v + i])
                        else:
                            for k in range(valid[v + i]):
                                y[at + k * grid.target_lane] += sums[held + k]


@kernel
def _places(x, grid, group, batch, x_at, y_at, lane, valid):
    """Fills in where a batch's vectors lie; returns how many there are, with empty ones up to a whole block of sums."""
    width = lanes_of(x)
    segments = -(-grid.lanes // width)
    vectors = grid.outer * grid.rows * segments
    first = batch * BATCH
    count = min(BATCH, vectors - first)
    padded = -(-count // VECTORS) * VECTORS
    for v in range(padded):
        row, segment = divmod(min(first + v, vectors - 1), segments)
        outer, row = divmod(row, grid.rows)
        start = segment * width
        source = group * grid.source_group + outer * grid.source_outer + row * grid.source_row + start
        target = outer * grid.target_outer + row * grid.target_row + start * grid.target_lane
        back = max(0, source + grid.reach + width - len(x))  # not behind the end: read earlier, and use the later lanes
        x_at[v] = source - back
        y_at[v] = grid.target_start + group * grid.channels * grid.target_channel + target
        lane[v] = back
        valid[v] = min(width, grid.lanes - start) if v < count else 0
    return padded
