"""Direct convolution: every output is the sum of its terms, in a fixed order. No im2col buffer: a term is a place in the source.

The only algorithm of `exact=True`, because the bits of an output depend on its own window alone; and the one for 1 x 1
kernels, for strides, and for the first layer, whose source is a plain image of few channels.
"""

from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np
from numba import prange

from .. import cost
from ..jit import CORES, Threads, kernel, parallel_kernel
from ..simd import lanes_of
from . import few
from .few import dot_pixels
from .multiply import MOST_ROWS, RECTIFY, Packed, multiply_rows, panels_of
from .problem import KEEP, Problem
from .regions import clear_rims, finish, finish_of, lattice_of, tasks

STEP = 2**18  # bytes of a step's outputs: a quarter of a second-level cache
PIXELS = 256  # of a step, where that is not too many


@dataclass(frozen=True)
class Direct:
    """Direct sums for one problem."""

    problem: Problem
    name = "direct"
    error = 3e-7

    @cached_property
    def step(self) -> tuple[int, int]:
        """Rows and columns of the convolution that are computed at a time."""
        p = self.problem
        widest = max(p.output_blocks, 1 if p.plain else p.blocks) * p.lanes * p.dtype.itemsize
        pixels = max(2 * MOST_ROWS, min(PIXELS, STEP // widest))
        columns = min(p.out[1], 64, pixels)
        if p.pool[1] > 1:
            columns = min(p.out[1], max(columns, 4 * p.pool[1]))
        return max(1, pixels // columns), columns

    @cached_property
    def tasks(self) -> np.ndarray:
        rows, columns = self.step
        return tasks(self.problem, 4 * rows, columns - self.problem.pool[1] + 1)

    @property
    def few(self) -> int:
        """The outputs, where they are so few that vectors go along the source's channels; else 0."""
        p = self.problem
        return p.outputs if p.outputs <= min(few.MOST, p.lanes) and not p.plain and 2 * p.channels >= p.lanes else 0

    @cached_property
    def offsets(self) -> np.ndarray:
        """Where each term lies behind an output's own place in the source: channel blocks, then taps, then lanes."""
        p, at = self.problem, self.problem.source
        taps = [
            i * p.dilation[0] * at.row + j * p.dilation[1] * at.pixel
            for i in range(p.kernel[0])
            for j in range(p.kernel[1])
        ]
        if p.plain:
            return np.array([c * at.block + tap for c in range(p.channels) for tap in taps], np.intp)
        if self.few:
            return np.array([k * at.block + tap for k in range(p.blocks) for tap in taps], np.intp)
        lanes = range(p.lanes)
        return np.array(
            [
                k * at.block + tap + c
                for k in range(p.blocks)
                for tap in taps
                for c in lanes
                if k * p.lanes + c < p.channels
            ],
            np.intp,
        )

    @property
    def buffer(self) -> int:
        """Elements of a step's outputs, with the rows that are carried over."""
        p = self.problem
        if p.kind == KEEP:
            return 0
        rows, columns = self.step
        return p.output_blocks * p.lanes * (rows + p.pool[0] - 1) * columns

    @property
    def kept(self) -> int:
        """Bytes of the transformed weights."""
        p = self.problem
        vectors = len(self.offsets) * p.outputs if self.few else p.terms * p.output_blocks
        return vectors * p.lanes * p.dtype.itemsize

    @property
    def workspace(self) -> int:
        """Bytes beside source, weights and result."""
        return CORES * self.buffer * self.problem.dtype.itemsize

    @property
    def seconds(self) -> float:
        p = self.problem
        pixels = p.images * prod(p.out)
        if self.few:  # totals of lanes cost as much as some terms
            work = 2.0 * pixels * p.outputs * p.lanes * (len(self.offsets) + 8)
            return cost.CALL + cost.arithmetic(work, p.dtype) + cost.traffic(p)
        work = (
            2.0 * pixels * p.output_blocks * p.lanes * (p.terms + 16)
        )  # 16: what writing a sum costs beside its terms
        return cost.CALL + cost.arithmetic(work, p.dtype) + cost.traffic(p)

    def prepare(self, w: np.ndarray) -> np.ndarray:
        """(K, C, *kernel) in the order of the terms, in panels."""
        p = self.problem
        terms = w.reshape(p.outputs, p.channels, -1)
        if self.few:
            return few.pack(terms, p.lanes)
        packed = Packed(p.terms, p.outputs, p.dtype, p.lanes)
        if p.plain:
            packed.write(0, terms.reshape(p.outputs, -1).T)
            return packed.array
        first = 0
        for c in range(0, p.channels, p.lanes):  # in slices: no second copy of all weights
            for t in range(terms.shape[2]):
                some = terms[:, c : c + p.lanes, t].T  # (terms, K)
                packed.write(first, some)
                first += len(some)
        return packed.array

    def run(
        self,
        x: np.ndarray,
        weights: np.ndarray,
        bias: np.ndarray,
        tail: np.ndarray,
        tail_bias: np.ndarray,
        y: np.ndarray,
        scratch: np.ndarray,
        threads: Threads,
    ) -> None:
        """All arrays are flat; `bias` goes on to whole vectors."""
        p = self.problem
        clear_rims(p, y, threads)
        slope = y.dtype.type(0 if p.slope is None else p.slope)
        last = 0 if p.slope is None else RECTIFY
        todo = self.tasks
        parts = min(threads.count, len(todo))
        geometry = p.source, p.stride, self.step[0], parts, self.buffer
        sums = weights, self.few, panels_of(p.output_blocks), self.offsets, bias, last, slope
        ending = finish_of(p, y), tail, tail_bias, lattice_of(p)
        threads.run(p.flops, _run, x, *sums, scratch, todo, *geometry, *ending, y)


def candidates(problem: Problem) -> list[Direct]:
    return [Direct(problem)]


@parallel_kernel
def _run(
    x, w, few, panels, offsets, bias, last, slope, scratch, todo, source, stride, step, parts, size, f, tail, tail_bias, lattice, y,
):  # fmt: skip
    for item in prange(parts):
        part = np.intp(item)
        buffer = scratch[part * size : part * size + size]
        sums, ending = (w, few, panels, offsets, bias, last, slope), (f, tail, tail_bias, lattice)
        for number in range(part, len(todo), parts):
            _task(x, source, stride, sums, todo[number], step, buffer, ending, y)


@kernel
def _task(x, source, stride, sums, task, step, buffer, ending, y):
    """One rectangle of finished outputs, in steps of some rows."""
    width = lanes_of(y)
    f, tail, tail_bias, lattice = ending
    image, top, bottom, left, right = task
    columns = right - left + f.pool_x - 1
    row = columns * width
    block = (step + f.pool_y - 1) * row
    x_at = np.empty(step * columns + MOST_ROWS, np.intp)
    y_at = np.empty(step * columns + MOST_ROWS, np.intp)
    held = 0  # rows in the buffer that the last step left
    done = top  # the next row of the convolution
    end = bottom + f.pool_y - 1
    while done < end:
        rows = min(step, end - done)
        start = image * source.image + done * stride[0] * source.row + left * stride[1] * source.pixel
        if f.kind == KEEP:
            to = image * f.image + done * f.row + left * width
            _region(x, start, source, stride, sums, y, to, f.block, f.row, rows, columns, x_at, y_at)
        else:
            _region(x, start, source, stride, sums, buffer, held * row, block, row, rows, columns, x_at, y_at)
            first = done - held
            held += rows
            # np.intp: a literal 0 would be another type, and all of this compiled once more
            finish(f, buffer, np.intp(0), block, row, held, columns, image, first, left, y, tail, tail_bias, lattice)
            held = carry(buffer, block, row, held, min(held, f.pool_y - 1))
        done += rows


@kernel
def _region(x, start, source, stride, sums, y, to, block, row, rows, columns, x_at, y_at):
    """Outputs of `rows` x `columns` pixels, all channels; the first reads x[start], and is written at y[to]."""
    w, few, panels, offsets, bias, last, slope = sums
    width = lanes_of(y)
    pixels = rows * columns
    for i in range(rows):
        for j in range(columns):
            x_at[i * columns + j] = i * stride[0] * source.row + j * stride[1] * source.pixel
            y_at[i * columns + j] = i * row + j * width
    for p in range(pixels, pixels + MOST_ROWS):  # what a whole tile lacks is the last pixel, again
        x_at[p] = x_at[pixels - 1]
        y_at[p] = y_at[pixels - 1]
    if few > 0:
        dot_pixels(x, start, x_at, y, to, y_at, pixels, offsets, w, few, bias, last == RECTIFY, slope)
        return
    terms = len(offsets)
    for panel in range(len(panels) - 1):
        first, vectors = panels[panel]
        at, lane = terms * first * width, first * width
        target = to + first * block
        multiply_rows(
            x, start, x_at, y, target, y_at, block, pixels, offsets, terms, w, at, vectors, bias, lane, last, slope
        )


@kernel
def carry(buffer, block, row, held, kept):
    """Moves the last `kept` of `held` rows to the top of every block; returns how many."""
    if kept > 0 and kept < held:
        for k in range(len(buffer) // block):
            start = k * block
            for i in range(kept * row):
                buffer[start + i] = buffer[start + (held - kept) * row + i]
    return kept


__all__ = ["Direct", "candidates", "carry"]
