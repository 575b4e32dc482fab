"""Winograd's convolution: m x m outputs of an r x r kernel from (m + r - 1)^2 products per pair of channels, not m^2 r^2.

Two drivers. *Fused*: a thread takes a group of tiles through transform, products, inverse transform and what follows,
and the group's spectra never leave the second-level cache. *Together*: where transformed weights are so large that they
should be read once for many tiles, all threads share each phase of a chunk of tiles.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise, product
from math import prod

import numpy as np
from numba.core import config

from ...shapes import Shape
from .. import cost
from ..jit import Threads, kernel
from ..simd import ROWS_OF
from . import winograd_drivers as drivers
from .multiply import panels_of
from .problem import KEEP, Map, Problem, blocked
from .regions import TASKS, clear_rims, has_rims, lattice_of
from .toom_cook import LARGEST, POINTS, input_schedule, output_schedule, weight_rows
from .winograd_drivers import ENTER, FINISH, FUSED, LEAVE, MULTIPLY
from .winograd_group import Group
from .winograd_lines import LONGEST

SPECTRA = 900 * 2**10  # bytes of V and M of a group: most of a second-level cache of 1 MiB
FEWEST = 8  # tiles of a group
WEIGHTS = 2**22  # bytes of transformed weights that each thread may stream for itself
CHUNK = 2**25  # bytes of V and M of a chunk: what a third-level cache may hold
OFFERED = 3  # sizes of tiles
LATE = 2  # tiles of a group whose time goes into waiting for weights
TRANSFORM = 1.2  # the rate of transforms, of that of products; what is loaded and stored counts as operations too


@dataclass(frozen=True)
class Winograd:
    """F(m_y, r_y) x F(m_x, r_x) for one problem."""

    problem: Problem
    outputs: Shape

    @property
    def name(self) -> str:
        return "winograd {}x{}".format(*self.outputs)

    @property
    def tile(self) -> Shape:
        return tuple(m + r - 1 for m, r in zip(self.outputs, self.problem.kernel, strict=True))

    @property
    def frequencies(self) -> int:
        return prod(self.tile)

    @property
    def kept(self) -> int:
        """Bytes of the transformed weights."""
        p = self.problem
        return self.frequencies * p.channels * p.output_blocks * p.lanes * p.dtype.itemsize

    @property
    def together(self) -> bool:
        return self.kept > WEIGHTS

    @cached_property
    def rows(self) -> tuple[int, int]:
        """Elements from tile to tile in V and in M: not multiples of 1 KiB, whose cache lines would meet in few sets."""
        p = self.problem
        found = [blocks + (blocks % 16 == 0) for blocks in (p.blocks, p.output_blocks)]
        return found[0] * p.lanes, found[1] * p.lanes

    @property
    def tile_bytes(self) -> int:
        """Of the spectra of one tile."""
        return self.frequencies * sum(self.rows) * self.problem.dtype.itemsize

    def rounded(self, tiles: int) -> int:
        """Tiles that the products of a group compute: whole blocks of rows."""
        p = self.problem
        panels = panels_of(p.output_blocks)[:-1]
        vectors = sum(int(v) * -(-tiles // ROWS_OF[int(v)]) * ROWS_OF[int(v)] for _, v in panels)
        return -(-vectors // p.output_blocks)

    @cached_property
    def step(self) -> tuple[int, int, int]:
        """Of the fused driver: bands and tiles across of a group, and how many columns of results a task has."""
        p = self.problem
        most = max(FEWEST, SPECTRA // self.tile_bytes)
        (high, wide), (_, overlap), (m_y, m_x) = p.out, (n - 1 for n in p.pool), self.outputs
        wide -= overlap
        high = -(-high // m_y)
        least = -(-wide // max(1, most * m_x - overlap))
        found = []
        for pieces in range(least, min(wide, least + 4) + 1):
            across = -(-(-(-wide // pieces) + overlap) // m_x)
            columns = min(wide, across * m_x - overlap)
            whole, rest = divmod(wide, columns)
            last = -(-(rest + overlap) // m_x) if rest else 0
            for bands in range(1, min(high, max(1, most // across)) + 1):
                work = whole * self.rounded(bands * across) + (self.rounded(bands * last) if rest else 0)
                found.append((-(-high // bands) * (work + LATE * (whole + bool(rest))), (bands, across, columns)))
        return min(found)[1]

    @cached_property
    def edges(self) -> tuple[list[int], list[int]]:
        """Where tasks of the fused driver begin and end on an image of results: after whole steps, as far as there are any."""
        p = self.problem
        bands, _, columns = self.step
        (high, wide), overlap, rows = p.pooled, p.pool[0] - 1, bands * self.outputs[0]
        lefts = [*range(0, wide, columns), wide]
        count = max(1, min(TASKS // (p.images * (len(lefts) - 1)), high // (4 * rows)))
        steps = -(-(-(-high // count) + overlap) // rows)
        return [*range(0, high, steps * rows - overlap), high], lefts

    @cached_property
    def tasks(self) -> np.ndarray:
        """(image, top, bottom, left, right) of the results of each, as in `regions.tasks`."""
        tops, lefts = (list(pairwise(edges)) for edges in self.edges)
        found = [(n, *rows, *columns) for n in range(self.problem.images) for rows in tops for columns in lefts]
        return np.array(found, np.intp)

    @cached_property
    def chunks(self) -> np.ndarray:
        """Of the other driver: (first image, images, first row, last row) of convolutions, with those that pooling needs twice."""
        p = self.problem
        across, bands = -(-p.out[1] // self.outputs[1]), -(-p.out[0] // self.outputs[0])
        most = max(1, CHUNK // (across * self.tile_bytes))  # bands of a chunk
        if most >= bands:
            count = -(-p.images // max(1, most // bands))
            edges = [i * p.images // count for i in range(count + 1)]
            found = [(a, b - a, 0, p.out[0]) for a, b in pairwise(edges)]
        else:
            overlap = p.pool[0] - 1
            pieces = -(-bands // most)
            rows = max(-(-bands // pieces) * self.outputs[0], 2 * overlap + 1)
            tops = range(0, max(1, p.out[0] - overlap), rows - overlap)
            found = [(n, 1, top, min(top + rows, p.out[0])) for n in range(p.images) for top in tops]
        return np.array(found, np.intp)

    def _group(self, tiles: int) -> Group:
        p = self.problem
        row, output_row = self.rows
        plane, output_plane = (((tiles * n // p.lanes) | 1) * p.lanes for n in (row, output_row))  # odd: all sets of a cache
        sums = self.frequencies * plane
        spare = sums + self.frequencies * output_plane
        end = spare + 2 * self.frequencies * p.lanes
        (t_y, t_x), (m_y, m_x) = self.tile, self.outputs
        layout = row, plane, sums, output_row, output_plane, spare, end
        return Group(t_y, t_x, m_y, m_x, p.channels, p.blocks, p.output_blocks, *layout)

    @cached_property
    def group(self) -> Group:
        """Of the fused driver's groups."""
        bands, across, _ = self.step
        return self._group(bands * across)

    @cached_property
    def chunk(self) -> Group:
        """Of the largest chunk."""
        return self._group(max(self._tiles(chunk) for chunk in self.chunks))

    def _tiles(self, chunk: np.ndarray) -> int:
        _, images, top, bottom = (int(n) for n in chunk)
        return images * -(-(bottom - top) // self.outputs[0]) * -(-self.problem.out[1] // self.outputs[1])

    @property
    def buffer(self) -> int:
        """Elements of the outputs of a step of the fused driver, with the rows that are carried over."""
        p = self.problem
        if p.kind == KEEP:
            return 0
        bands, across, _ = self.step
        return p.output_blocks * p.lanes * (bands * self.outputs[0] + p.pool[0] - 1) * across * self.outputs[1]

    @property
    def own(self) -> Map:
        """Of a chunk's outputs, where something follows them."""
        p = self.problem
        rows = max(int(c[3] - c[2]) for c in self.chunks)
        return blocked(p.output_blocks, rows, -(-p.out[1] // self.outputs[1]) * self.outputs[1], p.lanes)

    @property
    def elements(self) -> int:
        """Of `scratch`."""
        if not self.together:
            return config.NUMBA_NUM_THREADS * (self.group.end + self.buffer)
        spare = config.NUMBA_NUM_THREADS * (self.chunk.end - self.chunk.spare)
        mapped = 0 if self.problem.kind == KEEP else max(int(c[1]) for c in self.chunks) * self.own.image
        return self.chunk.spare + spare + mapped

    @property
    def workspace(self) -> int:
        """Bytes beside source, weights and result."""
        return self.elements * self.problem.dtype.itemsize

    @property
    def seconds(self) -> float:
        p = self.problem
        memory = 0.0
        if self.together:
            tiles = [self._tiles(chunk) for chunk in self.chunks]
            computed = sum(self.rounded(n) for n in tiles)
            memory = (self.kept * len(tiles) + 2 * sum(tiles) * self.tile_bytes) / cost.BYTES
        else:
            tops, lefts = self.edges
            bands, _, _ = self.step
            high = [-(-(b - a + p.pool[0] - 1) // self.outputs[0]) for a, b in pairwise(tops)]
            wide = [-(-(b - a + p.pool[1] - 1) // self.outputs[1]) for a, b in pairwise(lefts)]
            groups = [(n // bands, bands * across) for n in high for across in wide]
            groups += [(1, n % bands * across) for n in high for across in wide if n % bands]
            computed = p.images * sum(n * (self.rounded(tiles) + LATE) for n, tiles in groups)
            tiles = [p.images * sum(high) * sum(wide)]
        work = 2.0 * self.frequencies * p.output_blocks * p.lanes * p.channels * computed
        steps = p.blocks * self._input_steps + p.output_blocks * self._output_steps
        work += 2.0 * steps * p.lanes * sum(tiles) / TRANSFORM
        return cost.CALL + cost.arithmetic(work, p.dtype) + memory + cost.traffic(p)

    @property
    def _input_steps(self) -> int:
        """Operations on vectors, a load or a store counting as one half."""
        y, x = (len(input_schedule(POINTS[t]).steps) + t for t in self.tile)
        return y * self.tile[1] + x * self.tile[0]

    @property
    def _output_steps(self) -> int:
        y, x = (len(output_schedule(POINTS[t], m).steps) + t for t, m in zip(self.tile, self.outputs, strict=True))
        return y * self.tile[1] + x * self.outputs[0]

    def prepare(self, w: np.ndarray) -> np.ndarray:
        """G w G^T of the weights (K, C, r_y, r_x) in float64, then rounded once; each frequency in panels as `multiply.pack` makes them."""
        p = self.problem
        y, x = (np.array(weight_rows(POINTS[t], r), np.float64) for t, r in zip(self.tile, p.kernel, strict=True))
        packed = np.zeros(self.kept // p.dtype.itemsize, p.dtype)
        transform_weights(w.reshape(-1), p.outputs, p.channels, y, x, panels_of(p.output_blocks), p.lanes, packed)
        return packed

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
        if has_rims(p):
            rims = p.images, Map(*p.finish[1:5]), *p.split, *p.written[2:4], *p.pooled
            threads.run(y.size, clear_rims, y, *rims)
        slope = y.dtype.type(1 if p.slope is None else p.slope)
        offsets = np.arange(p.channels, dtype=np.intp)
        sums = x, weights, panels_of(p.output_blocks), offsets, bias, slope, scratch
        ending = p.finish, tail, tail_bias, lattice_of(p), y
        if not self.together:
            share = min(threads.count, len(self.tasks)), self.group.end + self.buffer, self.step[0]
            threads.run(p.flops, drivers.run, FUSED, *sums, self.tasks, self.group, p.source, p.size, p.source, share, *ending)
            return
        share = threads.count, self.chunk.end - self.chunk.spare, p.out[1]
        for i in range(len(self.chunks)):
            for phase in (ENTER, MULTIPLY, LEAVE) if p.kind == KEEP else (ENTER, MULTIPLY, LEAVE, FINISH):
                part = self.chunks[i : i + 1]
                threads.run(p.flops, drivers.run, phase, *sums, part, self.chunk, p.source, p.size, self.own, share, *ending)


@kernel
def transform_weights(w, outputs, channels, y, x, panels, width, packed):
    """packed[f, panel, c, k] = sum_{a, b} y[i, a] x[j, b] w[k, c, a, b] for frequency f = (i, j)."""
    (high, rows), (wide, columns) = y.shape, x.shape
    plane = len(packed) // (high * wide)
    taps = np.empty((rows, columns, panels[0, 1] * width + width), y.dtype)
    half = np.empty((high, *taps.shape[1:]), y.dtype)
    for panel in range(len(panels) - 1):
        first, count = panels[panel] * width
        many = min(count, outputs - first)
        for c in range(channels):
            for k in range(many):
                at = ((first + k) * channels + c) * rows * columns
                for a in range(rows):
                    for b in range(columns):
                        taps[a, b, k] = w[at + a * columns + b]
            for i in range(high):
                for b in range(columns):
                    for k in range(many):
                        total = y[i, 0] * taps[0, b, k]
                        for a in range(1, rows):
                            total += y[i, a] * taps[a, b, k]
                        half[i, b, k] = total
            for i in range(high):
                for j in range(wide):
                    to = (i * wide + j) * plane + channels * first + c * count
                    for k in range(many):
                        total = x[j, 0] * half[i, 0, k]
                        for b in range(1, columns):
                            total += x[j, b] * half[i, b, k]
                        packed[to + k] = total


def candidates(problem: Problem) -> list[Winograd]:
    """The sizes of tiles that look fastest."""
    p = problem
    if p.plain or p.stride != (1, 1) or p.dilation != (1, 1) or not all(2 <= r <= LONGEST for r in p.kernel):
        return []
    most = LARGEST if p.dtype.itemsize == 4 else LARGEST - 1  # the largest tile misses the bound of float64, 1e-13
    sizes = [list(_outputs(r, n, most)) for r, n in zip(p.kernel, p.out, strict=True)]
    found = [Winograd(p, outputs) for outputs in product(*sizes)]
    return sorted(found, key=lambda one: one.seconds)[:OFFERED]


def _outputs(taps: int, size: int, most: int) -> Iterator[int]:
    """Sizes m of tiles; one that makes no fewer tiles than a smaller one is left out."""
    fewest = size + 1
    for m in range(2, most - taps + 2):
        tiles = -(-size // m)
        if tiles < fewest:
            fewest = tiles
            yield m
