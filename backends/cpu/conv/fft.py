"""Convolution by Fourier transforms of tiles: for large kernels, far fewer operations than the direct sums.

A tile of t x t inputs gives the (t - r + 1)^2 outputs whose windows lie within it. The work is cooperative, because the
spectra of one tile over all channels can fill a cache: a *chunk* of tiles is transformed, multiplied with the weights'
spectra frequency by frequency, so that each thread reads its own part of the weights once for the whole chunk, and
transformed back. Outputs are done in *groups* of channels, so that the products of a chunk stay small.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise, product
from math import prod

import numpy as np

from .. import cost
from ..arrays import aligned
from ..jit import CORES, Threads
from .fourier import Spectrum, forward, inverse
from .problem import KEEP, Map, Problem, blocked
from .regions import clear_rims, finish_of, lattice_of, tasks
from .spectra import TILE_ROWS
from .tiles import finish_all, multiply_tiles, transform_back, transform_tiles, transform_weights

SMALLEST, LARGEST = 3, 16  # kernels
TILE = 40  # the widest tile
NOMINAL = (
    64  # tiles of a chunk when groups of outputs are made, since the weights' layout must not depend on the images
)
FEWEST = 64  # tiles that are worth reading the weights for
CACHE = 2**24  # bytes of weights that are read faster than memory: with these, chunks may be smaller
SOURCES, CACHED_SOURCES, PRODUCTS = 2**25, 2**22, 3 * 2**23  # bytes of a chunk's spectra, and of its products
SHARE_OF_PEAK = 0.6  # of the transforms, beside the products


@dataclass(frozen=True)
class FFT:
    """Tiles of one size for one problem."""

    problem: Problem
    tile: tuple[int, int]

    error = 3e-7

    @property
    def name(self) -> str:
        return "fft {}x{}".format(*self.tile)

    @cached_property
    def spectrum(self) -> Spectrum:
        return Spectrum(*self.tile)

    @cached_property
    def frequencies(self) -> int:
        return self.spectrum.frequencies

    @cached_property
    def valid(self) -> tuple[int, int]:
        """Rows and columns of outputs that a tile gives."""
        high, wide = (t - r + 1 for t, r in zip(self.tile, self.problem.kernel, strict=True))
        return high, wide

    @cached_property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of tiles on one image."""
        down, across = (-(-n // m) for n, m in zip(self.problem.out, self.valid, strict=True))
        return down, across

    @cached_property
    def tiles(self) -> int:
        return self.problem.images * prod(self.grid)

    @cached_property
    def groups(self) -> list[int]:
        """Edges of the groups of outputs, in vectors."""
        one = NOMINAL * 2 * self.frequencies * self.problem.lanes * self.problem.dtype.itemsize
        vectors = self.problem.output_blocks
        count = -(-vectors // max(1, PRODUCTS // one))
        return [i * vectors // count for i in range(count + 1)]

    @cached_property
    def chunk(self) -> int:
        """The most tiles of a chunk."""
        room = SOURCES if self.kept > CACHE else CACHED_SOURCES
        most = max(FEWEST, room // (self.frequencies * self.row * self.problem.dtype.itemsize))
        return -(-self.tiles // -(-self.tiles // most))

    # Rows of spectra have all channels' real parts, then the imaginary ones; `step` leads from frequency to frequency,
    # over an odd number of vectors: else one tile's frequencies would meet in few sets of the cache.

    @cached_property
    def row(self) -> int:
        return 2 * self.problem.blocks * self.problem.lanes

    @property
    def product_row(self) -> int:
        """Of the widest group."""
        return 2 * max(b - a for a, b in pairwise(self.groups)) * self.problem.lanes

    def _step(self, row: int) -> int:
        return max(self.chunk, TILE_ROWS) * row + self.problem.lanes

    def _weight_step(self, vectors: int) -> int:
        return (2 * self.problem.channels * vectors + 1) * self.problem.lanes

    @property
    def _own(self) -> tuple[int, int]:
        """Vectors of one thread's half-transformed tile, and of the tile itself."""
        (high, wide), (rows, columns) = self.tile, self.valid
        return max(high, rows + 1) * self.spectrum.pitch, max(high * wide, rows * (columns + 1))

    @property
    def _sizes(self) -> tuple[int, int, int, int]:
        """Elements of the workspace: spectra, products, the threads' own tiles, and the convolution's map."""
        p = self.problem
        spectra, products = (self.frequencies * self._step(row) for row in (self.row, self.product_row))
        own = CORES * sum(self._own) * p.lanes
        return spectra, products, own, 0 if p.kind == KEEP else p.images * self._map.image

    @property
    def _map(self) -> Map:
        """Of the convolution's outputs, where they do not go straight into the result."""
        return _outputs(self.problem)

    @cached_property
    def kept(self) -> int:
        """Bytes of the transformed weights."""
        p, groups = self.problem, len(self.groups) - 1
        vectors = 2 * p.channels * self.groups[-1] + groups  # the sum of all `_weight_step`
        return self.frequencies * vectors * p.lanes * p.dtype.itemsize

    @cached_property
    def workspace(self) -> int:
        """Bytes beside source, weights and result."""
        return sum(self._sizes) * self.problem.dtype.itemsize

    @cached_property
    def seconds(self) -> float:
        p, s = self.problem, self.spectrum
        blocks, vectors, lanes = p.blocks, p.output_blocks, p.lanes
        chunks, groups = -(-self.tiles // self.chunk), len(self.groups) - 1
        rows = chunks * max(self.chunk, TILE_ROWS)
        products = cost.arithmetic(6.0 * rows * self.frequencies * p.channels * vectors * lanes, p.dtype)
        if self.kept > CACHE:
            products = max(products, chunks * self.kept / cost.BYTES)
        (high, wide), (rows_out, columns_out) = (s.half_rows, s.half_columns), self.valid
        there = self.tile[0] * wide * wide * 2 + s.inner * 4 * high * high
        back = s.inner * 4 * high * min(high, rows_out) + rows_out * wide * min(wide, columns_out) * 2
        steps = 2.0 * lanes * self.tiles * (blocks * there + vectors * back)
        calls = (chunks * (1 + 2 * groups) + 1) * cost.CALL
        return products + cost.arithmetic(steps / SHARE_OF_PEAK, p.dtype) + calls + _passes(p)

    def prepare(self, w: np.ndarray) -> np.ndarray:
        """(K, C, *kernel) as spectra: group, frequency, vector, channel, real and imaginary parts, lane."""
        p, s = self.problem, self.spectrum
        own, tile = (n * p.lanes for n in self._own)
        scratch, padded = aligned(own, p.dtype), np.zeros(tile, p.dtype)
        kept = aligned(self.kept // p.dtype.itemsize, p.dtype)
        flat = np.ascontiguousarray(w).reshape(-1)
        start = 0
        for first, last in pairwise(self.groups):
            step = self._weight_step(last - first)
            table = forward(s, p.dtype, p.lanes, step, p.lanes)
            sizes = p.outputs, p.channels, p.kernel, first, last - first
            transform_weights(flat, *sizes, _layout(s), *table, scratch, padded, s.pitch * p.lanes, kept, start, step)
            whole = start + self.frequencies * step
            kept[start:whole].reshape(self.frequencies, step)[:, -p.lanes :] = 0
            start = whole
        return kept

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
        p, s = self.problem, self.spectrum
        ends = np.cumsum(self._sizes)
        spectra, products, own, outputs = np.split(scratch[: ends[-1]], ends[:-1])
        target, to = (y, Map(*p.finish[1:5])) if p.kind == KEEP else (outputs, self._map)
        step, product_step = self._step(self.row), self._step(self.product_row)
        half, product_half = self.row // 2, self.product_row // 2
        there = forward(s, p.dtype, p.lanes, step, half)
        back = inverse(s, p.dtype, p.lanes, self.valid, product_step, product_half)
        tiling = *self.grid, *self.valid, *p.size, *p.out
        mine = _layout(s), own, *(n * p.lanes for n in (*self._own, s.pitch))
        slope = y.dtype.type(0 if p.slope is None else p.slope)
        parts = threads.count
        for first, count in self._chunks():
            tasks_ = first, count, p.blocks, min(parts, count * p.blocks)
            threads.run(
                p.flops, transform_tiles, x, p.source, tiling, tasks_, *there, *mine, spectra, step, self.row, half
            )
            start = 0
            for a, b in pairwise(self.groups):
                weight_step = self._weight_step(b - a)
                left = spectra, step, self.row, half
                right = weights, start, weight_step, p.channels, b - a
                result = products, product_step, self.product_row, product_half
                shares = self.frequencies, min(parts, self.frequencies)
                threads.run(p.flops, multiply_tiles, *left, *result, count, *right, *shares)
                tasks_ = first, count, b - a, min(parts, count * (b - a))
                ending = a, bias, p.slope is not None, slope, target, to
                threads.run(p.flops, transform_back, *result, tiling, tasks_, *back, *mine, *ending)
                start += self.frequencies * weight_step
        if p.kind != KEEP:
            self._finish(outputs, tail, tail_bias, y, threads)

    def _chunks(self) -> Iterator[tuple[int, int]]:
        """First tile and number of tiles of each chunk, nearly equal."""
        count = -(-self.tiles // self.chunk)
        edges = [i * self.tiles // count for i in range(count + 1)]
        return ((a, b - a) for a, b in pairwise(edges))

    def _finish(
        self, outputs: np.ndarray, tail: np.ndarray, tail_bias: np.ndarray, y: np.ndarray, threads: Threads
    ) -> None:
        p = self.problem
        clear_rims(p, y, threads)
        todo = tasks(p, 8, 64)
        parts = min(threads.count, len(todo))
        threads.run(
            outputs.size,
            finish_all,
            outputs,
            self._map,
            todo,
            finish_of(p, y),
            tail,
            tail_bias,
            lattice_of(p),
            y,
            parts,
        )


def _outputs(p: Problem) -> Map:
    rows, columns = p.out
    return blocked(p.output_blocks, rows, columns, p.lanes)


@lru_cache(64)
def _passes(p: Problem) -> float:
    """Seconds for reading the source and writing the result, and for a convolution's map between: with tiles of any size."""
    between = 0 if p.kind == KEEP else 2 * p.images * _outputs(p).image * p.dtype.itemsize / cost.BYTES
    return between + cost.traffic(p)


def _layout(s: Spectrum) -> tuple[int, int, int]:
    return s.rows, s.columns, s.inner


@lru_cache
def candidates(problem: Problem) -> tuple[FFT, ...]:
    """The fastest tiles, and the fastest that take at most a half and a quarter of their memory; none where FFT cannot."""
    p = problem
    free = p.stride == (1, 1) and p.dilation == (1, 1) and not p.plain
    if not free or any(not SMALLEST <= r <= LARGEST for r in p.kernel):
        return ()
    sizes = [_tiles(n, r) for n, r in zip(p.out, p.kernel, strict=True)]
    near = {(_nearest(t, sizes[0]), _nearest(t, sizes[1])) for t in {*sizes[0], *sizes[1]}}
    known = {tile: FFT(p, tile) for tile in near}
    best = min(known.values(), key=lambda a: a.seconds).tile
    for tile in product(_around(best[0], sizes[0]), _around(best[1], sizes[1])):  # the nearly square ones come first
        known.setdefault(tile, FFT(p, tile))
    found = sorted(known.values(), key=lambda a: a.seconds)
    offered: list[FFT] = []
    for part in (1.0, 0.5, 0.25):
        limit = part * (found[0].kept + found[0].workspace)
        small = next((a for a in found if a.kept + a.workspace <= limit), None)
        if small is not None and small not in offered:
            offered.append(small)
    return tuple(offered)


def _nearest(wanted: int, sizes: list[int]) -> int:
    return min(sizes, key=lambda t: abs(t - wanted))


def _around(size: int, sizes: list[int]) -> list[int]:
    """The size, and three on either side of it."""
    place = sizes.index(size)
    return sizes[max(0, place - 3) : place + 4]


def _tiles(out: int, kernel: int) -> list[int]:
    """Sizes of which none that is smaller covers the outputs by tiles of fewer pixels in all."""
    sizes = sorted({-(-out // count) + kernel - 1 for count in range(1, out + 1)})
    found: list[int] = []
    fewest = None
    for t in sizes:
        pixels = -(-out // (t - kernel + 1)) * t
        if kernel < t <= TILE and (fewest is None or pixels < fewest):
            found.append(t)
            fewest = pixels
    return found or [kernel + 1]
