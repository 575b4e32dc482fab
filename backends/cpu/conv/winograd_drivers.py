"""The two drivers of Winograd's convolution: all of a task in one thread, or the phases of a chunk shared by all threads."""

import numpy as np
from numba import prange

from ..jit import kernel, parallel_kernel
from ..simd import lanes_of
from .direct import carry
from .problem import KEEP
from .regions import finish
from .winograd_group import enter, fetch, leave, places, products

FUSED, ENTER, MULTIPLY, LEAVE, FINISH = range(5)  # what a parallel region does
ITEMS = 64  # a phase is cut into so many items where tiles alone make fewer
PIECE = 8  # rows of results that one thread finishes at a time


@parallel_kernel
def run(
    phase,
    x,
    w,
    panels,
    offsets,
    bias,
    slope,
    scratch,
    todo,
    g,
    source,
    size,
    own,
    share,
    f,
    tail,
    tail_bias,
    lattice,
    y,
):
    """FUSED: all tasks of `todo`; otherwise one phase of the chunk that is its only row.

    `share` is (workers, elements of `scratch` that each has for itself, bands of a group or columns of outputs). There is
    one region for all phases because compiling each would take as long as all of them.
    """
    for item in prange(share[0]):
        worker = np.intp(item)
        if phase == FUSED:
            work = scratch[worker * share[1] : (worker + 1) * share[1]]
            for i in range(worker, len(todo), share[0]):
                task(
                    x,
                    w,
                    panels,
                    offsets,
                    bias,
                    slope,
                    work,
                    todo[i],
                    g,
                    source,
                    size,
                    share[2],
                    f,
                    tail,
                    tail_bias,
                    lattice,
                    y,
                )
        elif phase == ENTER:
            enter_share(x, scratch, todo[0], g, source, size, share, worker)
        elif phase == MULTIPLY:
            multiply_share(w, panels, offsets, scratch, todo[0], g, share, worker)
        elif phase == LEAVE:
            leave_share(bias, slope, scratch, todo[0], g, own, share, f, y, worker)
        else:
            finish_share(scratch, todo[0], g, own, share, f, tail, tail_bias, lattice, y, worker)


@kernel
def task(x, w, panels, offsets, bias, slope, work, task, g, source, size, step, f, tail, tail_bias, lattice, y):
    """One rectangle of finished outputs, in steps of some bands of tiles."""
    width = lanes_of(y)
    image, top, bottom, left, right = task
    columns = right - left + f.pool_x - 1
    across = -(-columns // g.out_x)
    row = across * g.out_x * width
    block = (step * g.out_y + f.pool_y - 1) * row
    blocks = g.output_blocks
    buffer = work[g.end : g.end + blocks * block]
    x_at, y_at = places(step * across, g.row), places(step * across, g.output_row)
    zeros = np.zeros(8 * width, y.dtype)
    zero, kept = np.intp(0), f.kind == KEEP  # numba compiles a function once more for every literal that it is given
    held = 0  # rows in the buffer that the last step left
    done = top  # the next row of the convolution
    end = bottom + f.pool_y - 1
    while done < end:
        rows = min(step * g.out_y, end - done)
        bands = -(-rows // g.out_y)
        tiles = bands * across
        start = image * source.image + done * source.row + left * source.pixel
        enter(x, start, source, size[0] - done, size[1] - left, bands, across, g, zero, g.blocks, work, zero, g.spare)
        ahead = done + rows + g.tile_y - g.out_y  # the first row that the next step reads and this one does not
        after = start + (ahead - done) * source.row
        fresh = max(0, min(rows, size[0] - ahead)) if done + rows < end else 0
        for i in range(g.tile_y * g.tile_x):
            fetch(
                x,
                after,
                source,
                g.blocks,
                fresh,
                min(columns + g.tile_x - g.out_x, size[1] - left),
                i,
                g.tile_y * g.tile_x,
                False,
            )
            if kept:
                fetch(
                    y,
                    image * f.image + done * f.row + left * width,
                    f,
                    blocks,
                    rows,
                    columns,
                    i,
                    g.tile_y * g.tile_x,
                    True,
                )
            products(g, work, i, tiles, x_at, y_at, offsets, w, panels, zero, len(panels) - 1, zeros)
        if kept:
            to = image * f.image + done * f.row + left * width
            leave(
                g,
                work,
                g.sums,
                bands,
                across,
                bias,
                slope,
                zero,
                blocks,
                y,
                to,
                f.block,
                f.row,
                rows,
                columns,
                not kept,
                g.spare,
            )
        else:
            to = held * row
            leave(
                g,
                work,
                g.sums,
                bands,
                across,
                bias,
                slope,
                zero,
                blocks,
                buffer,
                to,
                block,
                row,
                rows,
                columns,
                not kept,
                g.spare,
            )
            first = done - held
            held += rows
            finish(f, buffer, np.intp(0), block, row, held, columns, image, first, left, y, tail, tail_bias, lattice)
            held = carry(buffer, block, row, held, min(held, f.pool_y - 1))
        done += rows


@kernel
def enter_share(x, work, chunk, g, source, size, share, worker):
    """Every `workers`-th part of a band of tiles: some of its channel blocks."""
    first, images, top, bottom = chunk
    workers, room, columns = share
    bands, across = -(-(bottom - top) // g.out_y), -(-columns // g.out_x)
    pieces = min(g.blocks, -(-ITEMS // (images * bands)))
    for i in range(worker, images * bands * pieces, workers):
        line, piece = divmod(i, pieces)
        image, band = divmod(line, bands)
        row = top + band * g.out_y
        a, b = piece * g.blocks // pieces, (piece + 1) * g.blocks // pieces
        start = (first + image) * source.image + row * source.row
        enter(
            x,
            start,
            source,
            size[0] - row,
            size[1],
            np.intp(1),
            across,
            g,
            a,
            b,
            work,
            line * across * g.row,
            g.spare + worker * room,
        )


@kernel
def multiply_share(w, panels, offsets, work, chunk, g, share, worker):
    """Every `workers`-th panel of a frequency, for all tiles of the chunk."""
    _, images, top, bottom = chunk
    workers, _, columns = share
    tiles = images * -(-(bottom - top) // g.out_y) * -(-columns // g.out_x)
    x_at, y_at = places(tiles, g.row), places(tiles, g.output_row)
    zeros = np.zeros(8 * lanes_of(w), w.dtype)
    count = len(panels) - 1
    for i in range(worker, g.tile_y * g.tile_x * count, workers):
        k, panel = divmod(i, count)
        products(g, work, k, tiles, x_at, y_at, offsets, w, panels, panel, panel + 1, zeros)


@kernel
def leave_share(bias, slope, work, chunk, g, own, share, f, y, worker):
    """As `enter_share`, to y itself or to the chunk's own map, which lies behind what workers have for themselves."""
    first, images, top, bottom = chunk
    workers, room, columns = share
    bands, across = -(-(bottom - top) // g.out_y), -(-columns // g.out_x)
    pieces = min(g.output_blocks, -(-ITEMS // (images * bands)))
    spare = g.spare + worker * room
    one, kept = np.intp(1), f.kind == KEEP
    for i in range(worker, images * bands * pieces, workers):
        line, piece = divmod(i, pieces)
        image, band = divmod(line, bands)
        row = band * g.out_y
        rows = min(g.out_y, bottom - top - row)
        a, b = piece * g.output_blocks // pieces, (piece + 1) * g.output_blocks // pieces
        tile = g.sums + line * across * g.output_row
        if kept:
            to = (first + image) * f.image + (top + row) * f.row
            leave(g, work, tile, one, across, bias, slope, a, b, y, to, f.block, f.row, rows, columns, not kept, spare)
        else:
            to = g.spare + workers * room + image * own.image + row * own.row
            leave(
                g,
                work,
                tile,
                one,
                across,
                bias,
                slope,
                a,
                b,
                work,
                to,
                own.block,
                own.row,
                rows,
                columns,
                not kept,
                spare,
            )


@kernel
def finish_share(work, chunk, g, own, share, f, tail, tail_bias, lattice, y, worker):
    """What follows the convolution, for every `workers`-th piece of the chunk's own map."""
    first, images, top, bottom = chunk
    workers, room, columns = share
    done = bottom - top - f.pool_y + 1
    pieces = -(-done // PIECE)
    for i in range(worker, images * pieces, workers):
        image, piece = divmod(i, pieces)
        row = piece * PIECE
        rows = min(PIECE, done - row) + f.pool_y - 1
        at = g.spare + workers * room + image * own.image + row * own.row
        finish(
            f,
            work,
            at,
            own.block,
            own.row,
            rows,
            columns,
            first + image,
            top + row,
            np.intp(0),
            y,
            tail,
            tail_bias,
            lattice,
        )
