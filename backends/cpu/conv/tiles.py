"""The phases of a convolution by spectra, each one a parallel region: tiles there, products, tiles back, and what follows.

A tiling is rows and columns of tiles on an image, of outputs in a tile, of the source, and of the outputs, all integers. Every thread has
a share of the tasks, and of `own` room for a half-transformed tile and a tile, `held` and `size` elements.
"""

import numpy as np
from numba import prange

from ..jit import kernel, parallel_kernel
from ..simd import lanes_of
from ..vectors import load, rectify, spread, store
from .fourier import spectrum_of, tile_of
from .regions import finish
from .spectra import multiply_spectra


@kernel
def transform_weights(
    w, outputs, channels, size, first, vectors, layout, tables, factors, scratch, tile, pitch, u, u_at, step
):
    """The spectra of the weights of one group of outputs; `tile` is zero where no kernel reaches."""
    width = lanes_of(w)
    rows, columns = size
    row = layout[1] * width
    for v in range(vectors):
        for c in range(channels):
            for lane in range(width):
                k = (first + v) * width + lane
                source = (k * channels + c) * rows * columns
                for i in range(rows):
                    for j in range(columns):
                        value = w.dtype.type(0)
                        if k < outputs:
                            value = w[source + i * columns + j]
                        tile[i * row + j * width + lane] = value
            to = u_at + (v * channels + c) * 2 * width
            ahead = 2 * width
            spectrum_of(tile, 0, row, rows, layout, tables, factors, scratch, pitch, u, to, step, width, ahead, tile, 0, row)  # fmt: skip


@kernel
def _place(tile, tiling):
    """Image, first row and first column of a tile."""
    down, across, rows, columns = tiling[:4]
    image, number = divmod(tile, down * across)
    return image, number // across * rows, number % across * columns


@kernel
def _pad(x, at, row, rows, columns, y, wide):
    """Copies a part of a map into the left of a tile, whose other columns become zero."""
    width = lanes_of(x)
    zero = spread(x.dtype.type(0))
    for i in range(rows):
        to = i * wide * width
        for j in range(columns):
            store(load(x, at + i * row + j * width), y, to + j * width)
        for j in range(columns, wide):
            store(zero, y, to + j * width)


@parallel_kernel
def transform_tiles(x, source, tiling, tasks, tables, factors, layout, own, held, size, pitch, v, step, row, half):
    """The spectra of `count` tiles from `first` on; what hangs over the source is zero, and not read."""
    first, count, blocks, parts = tasks
    width = lanes_of(x)
    for item in prange(parts):
        part = np.intp(item)
        start = part * (held + size)
        scratch = own[start : start + held]
        padded = own[start + held : start + held + size]
        for number in range(part * count * blocks // parts, (part + 1) * count * blocks // parts):
            tile, block = divmod(number, blocks)
            image, top, left = _place(first + tile, tiling)
            at = image * source.image + block * source.block + top * source.row + left * width
            to = tile * row + block * width
            if block + 1 < blocks:
                after, ahead = at + source.block, width
            else:
                image, low, right = _place(first + tile + 1, tiling)
                after, ahead = image * source.image + low * source.row + right * width, row - block * width
            rows, columns = min(layout[0], tiling[4] - top), tiling[5] - left
            origin, origin_at, origin_row = x, at, source.row
            if columns < layout[1]:
                _pad(x, at, source.row, rows, columns, padded, layout[1])
                origin, origin_at, origin_row = padded, 0, layout[1] * width
            spectrum_of(
                origin, origin_at, origin_row, rows, layout, tables, factors, scratch, pitch, v, to, step, half, ahead, x, after, source.row
            )  # fmt: skip


@parallel_kernel
def multiply_tiles(v, step, row, half, m, m_step, m_row, m_half, rows, w, w_at, w_step, terms, vectors, frequencies, parts):  # fmt: skip
    """The products of one group of outputs, at all frequencies."""
    for item in prange(parts):
        part = np.intp(item)
        for f in range(part * frequencies // parts, (part + 1) * frequencies // parts):
            v_at, m_at, at = f * step, f * m_step, w_at + f * w_step
            v_next, m_next = v_at + step, m_at + m_step
            multiply_spectra(v, v_at, row, half, v_next, m, m_at, m_row, m_half, m_next, rows, w, at, terms, vectors)


@parallel_kernel
def transform_back(
    m, step, row, half, tiling, tasks, tables, factors, layout, own, held, size, pitch, group, bias, rectified, slope, y, to
):  # fmt: skip
    """The outputs of `count` tiles from `first` on, of the vectors from `group` on, with bias and rectifier."""
    first, count, vectors, parts = tasks
    valid = tiling[2:4]
    width = lanes_of(y)
    for item in prange(parts):
        part = np.intp(item)
        start = part * (held + size)
        scratch = own[start : start + held]
        result = own[start + held : start + held + size]
        for number in range(part * count * vectors // parts, (part + 1) * count * vectors // parts):
            tile, vector = divmod(number, vectors)
            image, top, left = _place(first + tile, tiling)
            ahead = width if vector + 1 < vectors else row - vector * width
            start = tile * row + vector * width
            tile_of(m, start, step, half, ahead, layout, tables, factors, scratch, pitch, valid, result, 0)
            at = image * to.image + (group + vector) * to.block + top * to.row + left * width
            rows, columns = min(valid[0], tiling[6] - top), min(valid[1], tiling[7] - left)
            _write(result, valid[1], rows, columns, bias, (group + vector) * width, rectified, slope, y, at, to.row)


@kernel
def _write(tile, wide, rows, columns, bias, bias_at, rectified, slope, y, at, row):
    """Adds the bias, rectifies, and writes what lies within the map."""
    width = lanes_of(y)
    shift, factor = load(bias, bias_at), spread(slope)
    for i in range(rows):
        line = i * (wide + 1) * width
        for j in range(columns):
            value = load(tile, line + j * width) + shift
            if rectified:
                value = rectify(value, factor)
            store(value, y, at + i * row + j * width)


@parallel_kernel
def finish_all(outputs, map_, todo, f, tail, tail_bias, lattice, y, parts):
    """What follows the convolution, for each of the rectangles `todo` of results."""
    width = lanes_of(y)
    for item in prange(parts):
        for number in range(np.intp(item), len(todo), parts):
            image, top, bottom, left, right = todo[number]
            at = image * map_.image + top * map_.row + left * width
            rows, columns = bottom - top + f.pool_y - 1, right - left + f.pool_x - 1
            finish(f, outputs, at, map_.block, map_.row, rows, columns, image, top, left, y, tail, tail_bias, lattice)
