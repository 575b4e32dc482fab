"""What is done with a group of tiles: the transforms of all its channels, and its products, one frequency at a time.

A tile of t x t pixels has t * t *frequencies*. The group's spectra lie as V[frequency, tile, channel] before the
products and as M[frequency, tile, output channel] after them; both are parts of one flat array.
"""

from typing import NamedTuple

import numpy as np

from ..jit import kernel
from ..simd import lanes_of, prefetch
from ..vectors import load, spread, store
from .multiply import MOST_ROWS, multiply_rows
from .winograd_lines import evaluate, interpolate, interpolate_last, prefetch_to


class Group(NamedTuple):
    """The shapes of tiles and the layout of their spectra, in elements."""

    tile_y: int
    tile_x: int
    out_y: int
    out_x: int
    channels: int
    blocks: int
    output_blocks: int
    row: int  # from tile to tile, in V
    plane: int  # from frequency to frequency, in V
    sums: int  # where M begins
    output_row: int  # from tile to tile, in M
    output_plane: int
    spare: int  # where two tiles have room for vectors on their way
    end: int


@kernel
def enter(x, start, source, high, wide, bands, across, g, first_block, last_block, work, to, spare):
    """V of bands x across tiles, the first at x[start]; `high` and `wide` say how much of the map there is from there."""
    width = lanes_of(x)
    line = g.tile_x * width
    beside = g.tile_y * line
    zero = spread(x.dtype.type(0))
    for i in range(bands):
        rows = high - i * g.out_y
        for j in range(across):
            columns = wide - j * g.out_x
            tile = to + (i * across + j) * g.row
            at = start + i * g.out_y * source.row + j * g.out_x * source.pixel
            for k in range(first_block, last_block):
                place = at + k * source.block
                if rows >= g.tile_y and columns >= g.tile_x:
                    evaluate(g.tile_y, x, place, source.row, source.pixel, work, spare, line, width, g.tile_x)
                else:  # it hangs over the edge: nothing behind the map is read
                    for a in range(g.tile_y):
                        for b in range(g.tile_x):
                            value = zero
                            if a < rows and b < columns:
                                value = load(x, place + a * source.row + b * source.pixel)
                            store(value, work, spare + beside + a * line + b * width)
                    evaluate(g.tile_y, work, spare + beside, line, width, work, spare, line, width, g.tile_x)
                evaluate(
                    g.tile_x, work, spare, width, line, work, tile + k * width, g.plane, g.tile_x * g.plane, g.tile_y
                )


@kernel
def fetch(x, start, source, blocks, rows, columns, part, parts, write):
    """Asks for one of `parts` parts of rows x columns pixels in all blocks, the first at x[start]."""
    total = blocks * rows * columns
    first, last = part * total // parts, (part + 1) * total // parts
    line, j = divmod(first, max(1, columns))
    while first < last:
        k, i = divmod(line, rows)
        at = start + k * source.block + i * source.row
        until = min(columns, j + last - first)
        for pixel in range(j, until):
            if write:
                prefetch_to(x, at + pixel * source.pixel)
            else:
                prefetch(x, at + pixel * source.pixel)
        first += until - j
        line += 1
        j = 0


@kernel
def products(g, work, frequency, tiles, x_at, y_at, offsets, w, panels, first_panel, last_panel, zeros):
    """M of one frequency, of the output channels of some panels; the tiles' places are x_at in V and y_at in M."""
    width = lanes_of(w)
    source, target = frequency * g.plane, g.sums + frequency * g.output_plane
    weights = frequency * g.channels * g.output_blocks * width
    for panel in range(first_panel, last_panel):
        first, vectors = panels[panel]
        at, to = weights + g.channels * first * width, target + first * width
        none = np.intp(0)  # a literal would be another type, and all of this compiled once more
        multiply_rows(
            work,
            source,
            x_at,
            work,
            to,
            y_at,
            width,
            tiles,
            offsets,
            g.channels,
            w,
            at,
            vectors,
            zeros,
            none,
            none,
            zeros[0],
        )


@kernel
def leave(
    g, work, start, bands, across, bias, slope, first_block, last_block, y, to, block, row, rows, columns, whole, spare
):
    """The outputs of bands x across tiles, of which rows x columns exist, to y[to + k * block + i * row + j * lanes].

    With `whole` there is room for the columns that the last tiles have too many.
    """
    width = lanes_of(y)
    line = g.tile_x * width
    beside = spare + g.tile_y * line
    for i in range(bands):
        high = min(g.out_y, rows - i * g.out_y)
        for j in range(across):
            wide = g.out_x if whole else min(g.out_x, columns - j * g.out_x)
            tile = start + (i * across + j) * g.output_row
            at = to + i * g.out_y * row + j * g.out_x * width
            for k in range(first_block, last_block):
                source, place = tile + k * width, at + k * block
                down = g.tile_x * g.output_plane
                interpolate(g.tile_y, g.out_y, work, source, down, g.output_plane, work, spare, line, width, g.tile_x)
                if wide == g.out_x:
                    interpolate_last(
                        g.tile_x, g.out_x, work, spare, width, line, y, place, width, row, high, bias, k * width, slope
                    )
                    continue
                interpolate_last(
                    g.tile_x, g.out_x, work, spare, width, line, work, beside, width, line, high, bias, k * width, slope
                )
                for a in range(high):
                    for b in range(wide):
                        store(load(work, beside + a * line + b * width), y, place + a * row + b * width)


@kernel
def places(tiles, step):
    """Where each tile's row lies; the list goes on to a whole block of rows, with the last one again."""
    at = np.empty(tiles + MOST_ROWS, np.intp)
    for i in range(tiles + MOST_ROWS):
        at[i] = min(i, tiles - 1) * step
    return at
