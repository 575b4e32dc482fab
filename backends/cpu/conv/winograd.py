"""Winograd's convolution: m x m outputs of an r x r kernel from (m + r - 1)^2 products per pair of channels, not m^2 r^2.

Two drivers. *Fused*: a thread takes a group of tiles through transform, products, inverse transform and what follows,
and the group's spectra never leave the second-level cache. *Together*: where transformed weights are so large that they
should be read once for many tiles, all threads share each phase of a chunk of tiles.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise, product
from math import prod
from typing import NamedTuple

import numpy as np

from ...shapes import Shape
from .. import cost
from ..arrays import aligned
from ..jit import CORES, Threads
from ..simd import ROWS_OF
from . import winograd_drivers as drivers
from .multiply import panels_of
from .problem import KEEP, Map, Problem, blocked
from .regions import TASKS, clear_rims, finish_of, lattice_of
from .toom_cook import LARGEST, POINTS, input_schedule, output_schedule, weight_rows
from .winograd_drivers import ENTER, FINISH, FUSED, LEAVE, MULTIPLY
from .winograd_group import Group
from .winograd_lines import LONGEST
from .winograd_weights import transform_weights

SPECTRA = 900 * 2**10  # bytes of V and M of a group: most of a second-level cache of 1 MiB
FEWEST = 8  # tiles of a group
WEIGHTS = 2**22  # bytes of transformed weights that each thread may stream for itself
CHUNK = 2**25  # bytes of V and M of a chunk: what a third-level cache may hold
OFFERED = 3  # sizes of tiles
TRIED = 10  # sizes of tiles whose groups are laid out before some are offered
LATE = 2  # tiles of a group whose time goes into waiting for weights
ERROR, ERRORS = 1.1e-6, {7: 2.3e-6, 8: 4e-6}  # RMS in float32, measured: of tiles up to 6, and of larger ones
SHOWN = 0.4  # of the traffic of chunks: products hide the rest
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
    def error(self) -> float:
        return ERRORS.get(max(self.tile), ERROR)

    @property
    def tile(self) -> Shape:
        return tuple(m + r - 1 for m, r in zip(self.outputs, self.problem.kernel, strict=True))

    @property
    def frequencies(self) -> int:
        return prod(self.tile)

    @cached_property
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

    @cached_property
    def step(self) -> tuple[int, int, int]:
        """Of the fused driver: bands and tiles across of a group, and how many columns of results a task has."""
        p = self.problem
        most = max(FEWEST, SPECTRA // self.tile_bytes)
        (high, wide), (_, overlap), (m_y, m_x) = p.out, (n - 1 for n in p.pool), self.outputs
        wide -= overlap
        high = -(-high // m_y)
        vectors = p.output_blocks
        least = -(-wide // max(1, most * m_x - overlap))
        found = []
        for pieces in range(least, min(wide, least + 4) + 1):
            across = -(-(-(-wide // pieces) + overlap) // m_x)
            columns = min(wide, across * m_x - overlap)
            whole, rest = divmod(wide, columns)
            last = -(-(rest + overlap) // m_x) if rest else 0
            for bands in _bands(high, max(1, most // across)):
                work = whole * rounded(bands * across, vectors) + (rounded(bands * last, vectors) if rest else 0)
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
    def cuts(self) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """Of the other driver: images from .. to of each chunk, and rows of convolutions, with those that pooling needs twice."""
        p = self.problem
        across, bands = -(-p.out[1] // self.outputs[1]), -(-p.out[0] // self.outputs[0])
        most = max(1, CHUNK // (across * self.tile_bytes))  # bands of a chunk
        if most >= bands:
            count = -(-p.images // max(1, most // bands))
            return list(pairwise(i * p.images // count for i in range(count + 1))), [(0, p.out[0])]
        tops, rows = _spans(p.out[0], self.outputs[0], most, p.pool[0] - 1)
        return list(pairwise(range(p.images + 1))), [(top, min(top + rows, p.out[0])) for top in tops]

    @cached_property
    def chunks(self) -> np.ndarray:
        """Of the other driver: (first image, images, first row, last row)."""
        images, rows = self.cuts
        return np.array([(a, b - a, *span) for a, b in images for span in rows], np.intp)

    def _of_chunks(self) -> Counter[int]:
        """Numbers of tiles, and how many chunks have them."""
        images, rows = (Counter(b - a for a, b in cuts) for cuts in self.cuts)
        (m_y, m_x), across = self.outputs, self.problem.out[1]
        found: Counter[int] = Counter()
        for n, high in product(images, rows):
            found[n * -(-high // m_y) * -(-across // m_x)] += images[n] * rows[high]
        return found

    def _group(self, tiles: int) -> Group:
        p = self.problem
        row, output_row = self.rows
        plane, output_plane = (
            ((tiles * n // p.lanes) | 1) * p.lanes for n in (row, output_row)
        )  # odd: all sets of a cache
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
        return self._group(max(self._of_chunks()))

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
        rows = max(b - a for a, b in self.cuts[1])
        return blocked(p.output_blocks, rows, -(-p.out[1] // self.outputs[1]) * self.outputs[1], p.lanes)

    @property
    def elements(self) -> int:
        """Of `scratch`."""
        if not self.together:
            return CORES * (self.group.end + self.buffer)
        spare = CORES * (self.chunk.end - self.chunk.spare)
        mapped = 0 if self.problem.kind == KEEP else max(b - a for a, b in self.cuts[0]) * self.own.image
        return self.chunk.spare + spare + mapped

    @property
    def workspace(self) -> int:
        """Bytes beside source, weights and result."""
        return self.elements * self.problem.dtype.itemsize

    @property
    def seconds(self) -> float:
        p, vectors = self.problem, self.problem.output_blocks
        memory = 0.0
        if self.together:
            chunks = self._of_chunks()
            tiles = sum(chunks.elements())
            computed = sum(rounded(n, vectors) * count for n, count in chunks.items())
            memory = SHOWN * (self.kept * chunks.total() + 2 * tiles * self.tile_bytes) / cost.BYTES
        else:
            tops, lefts = self.edges
            bands, _, _ = self.step
            high, wide = (
                Counter(-(-(b - a + q - 1) // m) for a, b in pairwise(edges))
                for edges, q, m in zip((tops, lefts), p.pool, self.outputs, strict=True)
            )
            computed = 0
            for n, across in product(high, wide):
                groups = n // bands * (rounded(bands * across, vectors) + LATE)
                if n % bands:
                    groups += rounded(n % bands * across, vectors) + LATE
                computed += p.images * high[n] * wide[across] * groups
            tiles = p.images * sum(high.elements()) * sum(wide.elements())
        work = 2.0 * self.frequencies * vectors * p.lanes * p.channels * computed
        y, x = (_axis(r, m) for r, m in zip(p.kernel, self.outputs, strict=True))
        work += 2.0 * _transforms(y, x, p.blocks, vectors) * p.lanes * tiles
        return cost.CALL + cost.arithmetic(work, p.dtype) + memory + cost.traffic(p)

    def prepare(self, w: np.ndarray) -> np.ndarray:
        """G w G^T of the weights (K, C, r_y, r_x) in float64, then rounded once; each frequency in panels as `multiply.pack` makes them."""
        p = self.problem
        y, x = (np.array(weight_rows(POINTS[t], r), np.float64) for t, r in zip(self.tile, p.kernel, strict=True))
        packed = aligned(self.kept // p.dtype.itemsize, p.dtype)
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
        clear_rims(p, y, threads)
        slope = y.dtype.type(1 if p.slope is None else p.slope)
        offsets = np.arange(p.channels, dtype=np.intp)
        sums = x, weights, panels_of(p.output_blocks), offsets, bias, slope, scratch
        ending = finish_of(p, y), tail, tail_bias, lattice_of(p), y
        if not self.together:
            share = min(threads.count, len(self.tasks)), self.group.end + self.buffer, self.step[0]
            threads.run(
                p.flops, drivers.run, FUSED, *sums, self.tasks, self.group, p.source, p.size, p.source, share, *ending
            )
            return
        share = threads.count, self.chunk.end - self.chunk.spare, p.out[1]
        for i in range(len(self.chunks)):
            for phase in (ENTER, MULTIPLY, LEAVE) if p.kind == KEEP else (ENTER, MULTIPLY, LEAVE, FINISH):
                part = self.chunks[i : i + 1]
                threads.run(
                    p.flops, drivers.run, phase, *sums, part, self.chunk, p.source, p.size, self.own, share, *ending
                )


@lru_cache(2**16)
def rounded(tiles: int, vectors: int) -> int:
    """Tiles that the products of a group compute for so many vectors of outputs: whole blocks of rows."""
    widths = [int(v) for _, v in panels_of(vectors)[:-1]]
    return -(-sum(v * -(-tiles // ROWS_OF[v]) * ROWS_OF[v] for v in widths) // vectors)


@lru_cache(2**12)
def _bands(high: int, most: int) -> tuple[int, ...]:
    """Bands of a group, of each number of groups the fewest: more would compute more."""
    fewest = {-(-high // bands): bands for bands in range(min(high, most), 0, -1)}
    return tuple(fewest.values())


def _spans(high: int, band: int, most: int, overlap: int) -> tuple[range, int]:
    """Where chunks of at most so many bands begin, and their rows; neighbours overlap."""
    bands = -(-high // band)
    rows = max(-(-bands // -(-bands // most)) * band, 2 * overlap + 1)
    return range(0, max(1, high - overlap), rows - overlap), rows


class _Axis(NamedTuple):
    """Of a tile's rows, or of its columns; the operations of one transform, a load or a store counting as one half."""

    tile: int
    outputs: int
    enter: int
    leave: int


@lru_cache
def _axis(taps: int, outputs: int) -> _Axis:
    points = POINTS[outputs + taps - 1]
    steps = [len(s.steps) + points.tile for s in (input_schedule(points), output_schedule(points, outputs))]
    return _Axis(points.tile, outputs, *steps)


def _transforms(y: _Axis, x: _Axis, blocks: int, output_blocks: int) -> float:
    """Operations on vectors for a tile's transforms, in operations of products."""
    there, back = y.enter * x.tile + x.enter * y.tile, y.leave * x.tile + x.leave * y.outputs
    return (blocks * there + output_blocks * back) / TRANSFORM


def candidates(problem: Problem) -> list[Winograd]:
    """The sizes of tiles that look fastest: of those that a rough estimate prefers, for laying out groups takes time."""
    p = problem
    if p.plain or p.stride != (1, 1) or p.dilation != (1, 1) or not all(2 <= r <= LONGEST for r in p.kernel):
        return []
    most = LARGEST if p.dtype.itemsize == 4 else LARGEST - 1  # the largest tile misses the bound of float64, 1e-13
    axes = [[_axis(r, m) for m in _outputs(r, n, most)] for r, n in zip(p.kernel, p.out, strict=True)]
    rough = _rough(p, axes)
    likely = sorted(rough, key=rough.__getitem__)[:TRIED]
    found = [Winograd(p, (y.outputs, x.outputs)) for y, x in likely]
    return sorted(found, key=lambda one: one.seconds)[:OFFERED]


def _rough(p: Problem, axes: list[list[_Axis]]) -> dict[tuple[_Axis, _Axis], float]:
    """Seconds with each pair of axes, as `Winograd.seconds` has them but for the shapes of groups and what is common to all."""
    (high, wide), blocks, vectors = p.out, p.blocks, p.output_blocks
    vector, width = p.lanes * p.dtype.itemsize, sum(n + (n % 16 == 0) for n in (blocks, vectors))
    rate = 2.0 * p.lanes * cost.arithmetic(1, p.dtype)
    found = {}
    for y, x in product(*axes):
        frequencies, down, across = y.tile * x.tile, -(-high // y.outputs), -(-wide // x.outputs)
        tile_bytes, kept = frequencies * width * vector, frequencies * p.channels * vectors * vector
        memory = 0.0
        if kept > WEIGHTS:
            most = max(1, CHUNK // (across * tile_bytes))
            tops, rows = _spans(high, y.outputs, most, p.pool[0] - 1)
            down = (len(tops) - 1) * -(-rows // y.outputs) - (tops[-1] - high) // y.outputs
            tiles = computed = p.images * down * across
            chunks = -(-p.images // max(1, most // down)) * len(tops)
            memory = SHOWN * (kept * chunks + 2 * tiles * tile_bytes) / cost.BYTES
        else:
            tiles = p.images * down * across
            computed = tiles + LATE * -(-tiles // max(FEWEST, SPECTRA // tile_bytes))
        work = frequencies * vectors * p.channels * computed + _transforms(y, x, blocks, vectors) * tiles
        found[y, x] = rate * work + memory
    return found


def _outputs(taps: int, size: int, most: int) -> Iterator[int]:
    """Sizes m of tiles; one that makes no fewer tiles than a smaller one is left out."""
    fewest = size + 1
    for m in range(2, most - taps + 2):
        tiles = -(-size // m)
        if tiles < fewest:
            fewest = tiles
            yield m
