"""How a convolution's outputs are cut into regions that stay in the cache, and what is done with a region there.

A *task* is a rectangle of finished outputs of one image. Its thread goes down in steps of some rows of the convolution:
the step's outputs go to a buffer in the second-level cache, `finish` turns them into results, and the rows that the
next step's pooling still wants are carried over. A task's bits depend on nothing outside it.
"""

from functools import lru_cache
from itertools import pairwise

import numpy as np
from numba import prange

from ...shapes import Shape
from ..functions import exp
from ..jit import Threads, kernel, parallel_kernel
from ..simd import VECTOR_BYTES, lanes_of
from ..vectors import larger, load, multiply_add, spread, store, store_past, total
from .problem import KEEP, POOL, Finish, Map, Problem

CACHES = 2**24  # bytes; a larger result has left them before it is read
TASKS = 64  # images are cut by rows where there are fewer tasks: enough to keep the cores of large machines busy


def tasks(problem: Problem, rows: int, columns: int) -> np.ndarray:
    """Rectangles (image, top, bottom, left, right) of finished outputs, at most `columns` wide.

    Where there are few, they are cut by rows too, though none below `rows`.
    """
    high, wide = problem.out if problem.tail is not None else problem.pooled
    lefts = _cut(wide, -(-wide // columns))
    bands = min(-(-high // rows), max(1, TASKS // (problem.images * (len(lefts) - 1))))
    tops = _cut(high, bands)
    found = [
        (n, top, bottom, left, right)
        for n in range(problem.images)
        for top, bottom in pairwise(tops)
        for left, right in pairwise(lefts)
    ]
    return np.array(found, np.intp)


def _cut(total: int, pieces: int) -> list[int]:
    """Edges of nearly equal pieces."""
    return [i * total // pieces for i in range(pieces + 1)]


def lattice_of(problem: Problem) -> np.ndarray:
    """Where each fragment lies in the stitched map: rows (first row, first column), then the steps between its pixels."""
    return _lattice(problem.tail.splits if problem.tail is not None else ())


@lru_cache(64)
def _lattice(splits: tuple[Shape, ...]) -> np.ndarray:
    starts, step = [(0, 0)], (1, 1)
    for sy, sx in splits:
        starts = [(y + i * step[0], x + j * step[1]) for y, x in starts for i in range(sy) for j in range(sx)]
        step = step[0] * sy, step[1] * sx
    return np.array([*starts, step], np.intp)


def finish_of(problem: Problem, y: np.ndarray) -> Finish:
    """The problem's finish; a result that no cache holds is written without being read first, which vectors in place allow."""
    return problem.finish._replace(past=int(y.nbytes > CACHES and y.ctypes.data % VECTOR_BYTES == 0))


@kernel
def finish(f, buffer, at, block, row, rows, columns, image, top, left, y, tail, tail_bias, lattice):
    """Turns a buffer of `rows` x `columns` outputs into results; the first has its place at (top, left).

    The buffer's element (k, i, j) is a vector at `at + k * block + i * row + j * lanes`.
    """
    if f.kind == POOL:
        _pool(f, buffer, at, block, row, rows, columns, image, top, left, y)
    elif f.kind != KEEP:
        _tail(f, buffer, at, block, row, rows, columns, image, top, left, y, tail, tail_bias, lattice)


@kernel
def _pool(f, buffer, at, block, row, rows, columns, image, top, left, y):
    """The maximum over each pool_y x pool_x window; what is at (p, q) goes to place (p // s, q // s) of its fragment."""
    width = lanes_of(y)
    for k in range(f.image // f.block):
        for i in range(rows - f.pool_y + 1):
            fragment = image * f.split_y * f.split_x + (top + i) % f.split_y * f.split_x
            line = fragment * f.image + k * f.block + (top + i) // f.split_y * f.row
            place, phase = divmod(left, f.split_x)
            source = at + k * block + i * row
            before = _highest(f, buffer, source, row)
            for j in range(columns - f.pool_x + 1):
                if f.pool_x == 2:  # neighbours share a column
                    after = _highest(f, buffer, source + (j + 1) * width, row)
                    best = larger(before, after)
                    before = after
                else:
                    best = _highest(f, buffer, source + j * width, row)
                    for b in range(1, f.pool_x):
                        best = larger(best, _highest(f, buffer, source + (j + b) * width, row))
                if f.past:
                    store_past(best, y, line + phase * f.image + place * width)
                else:
                    store(best, y, line + phase * f.image + place * width)
                phase += 1
                if phase == f.split_x:
                    phase = 0
                    place += 1


@kernel
def _highest(f, buffer, at, row):
    """The maximum of a window's column; NaN never wins."""
    best = larger(spread(buffer.dtype.type(-np.inf)), load(buffer, at))
    for a in range(1, f.pool_y):
        best = larger(best, load(buffer, at + a * row))
    return best


@kernel
def _tail(f, buffer, at, block, row, rows, columns, image, top, left, y, tail, tail_bias, lattice):
    """Scores of a few classes for every pixel, softmax where asked, written where the pixel lies in the stitched map.

    Without weights in `tail`, the scores are the outputs themselves.
    """
    width = lanes_of(y)
    fragments = len(lattice) - 1
    step_y, step_x = lattice[fragments]
    start_y, start_x = lattice[image % fragments]
    blocks = len(tail) // (f.classes * width)
    scores = np.empty(f.classes * width, y.dtype)
    for i in range(rows):
        to_y = start_y + (top + i) * step_y
        if to_y >= f.height:
            continue
        for j in range(0, columns, width):
            count = min(width, columns - j)
            for pixel in range(count):
                source = at + i * row + (j + pixel) * width
                for c in range(f.classes):
                    if blocks == 0:
                        scores[c * width + pixel] = buffer[source + c // width * block + c % width]
                        continue
                    score = spread(y.dtype.type(0))
                    for k in range(blocks):
                        score = multiply_add(
                            load(buffer, source + k * block), load(tail, (c * blocks + k) * width), score
                        )
                    scores[c * width + pixel] = total(score) + tail_bias[c]
            if f.softmax:
                _softmax(scores, f.classes, width)
            to_x = start_x + (left + j) * step_x
            count = min(count, (f.width - to_x + step_x - 1) // step_x)
            for c in range(f.classes):
                target = image // fragments * f.image + c * f.block + to_y * f.row + to_x
                for pixel in range(count):
                    y[target + pixel * step_x] = scores[c * width + pixel]


@kernel
def _softmax(scores, classes, width):
    """exp(s - max) / sum of them, for as many pixels as a vector has lanes."""
    most = load(scores, 0)
    for c in range(1, classes):
        most = larger(most, load(scores, c * width))
    whole = spread(scores.dtype.type(0))
    for c in range(classes):
        part = exp(load(scores, c * width) - most)
        whole = whole + part
        store(part, scores, c * width)
    for c in range(classes):
        store(load(scores, c * width) / whole, scores, c * width)


def pack_tail(w: np.ndarray, width: int) -> np.ndarray:
    """(classes, channels) as (class, block, lane), flat."""
    classes, channels = w.shape
    packed = np.zeros((classes, -(-channels // width) * width), w.dtype)
    packed[:, :channels] = w
    return packed.reshape(-1)


def clear_rims(problem: Problem, y: np.ndarray, threads: Threads) -> None:
    """Zeros the last row and column of every fragment of y that is shorter than others: algorithms with tiles read them."""
    if problem.tail is None and any(n % s for n, s in zip(problem.pooled, problem.split, strict=True)):
        y_map = Map(*problem.finish[1:5])
        threads.run(
            y.size, _clear_rims, y, problem.images, y_map, *problem.split, *problem.written[2:4], *problem.pooled
        )


@parallel_kernel
def _clear_rims(y, images, map_, split_y, split_x, rows, columns, full_rows, full_columns):
    """A fragment's own size is what its stride leaves of full_rows x full_columns; its map has rows x columns."""
    width = lanes_of(y)
    zero = spread(y.dtype.type(0))
    for item in prange(images * split_y * split_x):
        entry = np.intp(item)
        phase = entry % (split_y * split_x)
        own_rows = (full_rows - phase // split_x + split_y - 1) // split_y
        own_columns = (full_columns - phase % split_x + split_x - 1) // split_x
        for k in range(map_.image // map_.block):
            at = entry * map_.image + k * map_.block
            for i in range(rows):
                first = own_columns if i < own_rows else 0
                for j in range(first, columns):
                    store(zero, y, at + i * map_.row + j * width)


__all__ = ["Finish", "clear_rims", "finish", "finish_of", "lattice_of", "pack_tail", "tasks"]
