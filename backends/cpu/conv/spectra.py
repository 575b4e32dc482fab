"""Products of spectra, frequency by frequency: complex matrices, tiles x channels times channels x outputs.

A row of the left matrix has the real parts of all channels and then the imaginary ones; a row of the result likewise.
Weights lie in *panels* of a few vectors of outputs, term by term: their real parts, then the imaginary ones. Terms are
added in blocks of `simd.TERMS`, from zero, so the bits of a sum depend on its own terms alone.
"""

from functools import lru_cache

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ..jit import kernel
from ..simd import I1, I32, I64, TERMS, VECTOR_BYTES, Emitter, lanes_of

WIDEST = 3 if VECTOR_BYTES == 64 else 2  # vectors of a panel
# Rows of a tile, by the vectors of its panel: two sums for each pair fill the registers, beside the weights' parts.
TILE_ROWS = {1: 12, 2: 6, 3: 4} if VECTOR_BYTES == 64 else {1: 6, 2: 2, 3: 1}
MOST_ROWS = max(TILE_ROWS.values())  # the rows of both matrices that must exist
FETCH = I32(0), I32(2), I32(1)  # to read, into the second level, as data
_ROWS_1, _ROWS_2, _ROWS_3 = TILE_ROWS[1], TILE_ROWS[2], TILE_ROWS[3]


@lru_cache
def panels_of(vectors: int) -> np.ndarray:
    """Edges of panels of nearly equal widths, in vectors."""
    count = -(-vectors // WIDEST)
    edges = np.array([i * vectors // count for i in range(count + 1)], np.intp)
    edges.flags.writeable = False
    return edges


@intrinsic(prefer_literal=True)
def multiply_complex_tile(
    typingctx, vectors, rows, x, x_at, x_row, x_im, y, y_at, y_row, y_im, w, w_at, count, begin, which, ahead
):
    """y[r, v] (+)= sum_{t < count} x[r, t] * conj(w[t, v]), complex, for `rows` rows and `vectors` vectors, two literals.

    The parts of x[r, t] are x[x_at + r * x_row + t] and, x_im behind it, the imaginary one; those of y[r, v] vectors at
    y_at + r * y_row + v * lanes and y_im behind; those of w[t, v] vectors at w_at + (2 * vectors * t + v) * lanes and
    `vectors` vectors behind. If `begin`, the sums go into y as they are. With each term, a line is fetched from
    position `ahead` of w, x or y on, which is `which` 0, 1 or 2: the caches do not see what comes next.
    """
    if not (isinstance(vectors, types.IntegerLiteral) and isinstance(rows, types.IntegerLiteral)):
        return None
    many, high = vectors.literal_value, rows.literal_value

    def codegen(context, builder, signature, args):
        emit = Emitter(context, builder, signature, args, x.dtype)
        left, weights = emit.pointer(2, args[3]), emit.pointer(10, args[11])
        of_w, of_x, of_y = (emit.pointer(i, args[15]) for i in (10, 2, 6))
        fetched = builder.select(builder.icmp_signed("==", args[14], I64(1)), of_x, of_y)
        fetched = builder.select(builder.icmp_signed("==", args[14], I64(0)), of_w, fetched)
        reals = [builder.gep(left, [builder.mul(args[4], I64(r))]) for r in range(high)]
        imaginaries = [builder.gep(pointer, [args[5]]) for pointer in reals]

        def body(term, before):
            line = builder.gep(fetched, [builder.mul(term, I64(64 // emit.bytes))])
            emit.call("llvm.prefetch.p0", ir.VoidType(), line, *FETCH)
            row = builder.mul(term, I64(2 * many * emit.lanes))
            parts = [emit.load(weights, builder.add(row, I64(i * emit.lanes))) for i in range(2 * many)]
            updated = []
            for r in range(high):
                a, b = (emit.spread(emit.element(p[r], term), emit.scalar) for p in (reals, imaginaries))
                minus_a = builder.fneg(a)
                for v in range(many):
                    c, d = parts[v], parts[many + v]
                    re, im = before[2 * (r * many + v) : 2 * (r * many + v) + 2]
                    re = emit.multiply_add(b, d, emit.multiply_add(a, c, re))
                    updated += [re, emit.multiply_add(minus_a, d, emit.multiply_add(b, c, im))]
            return updated

        sums = emit.accumulate(args[12], 2 * high * many, body)
        first = emit.pointer(6, args[7])
        targets = [builder.gep(first, [builder.mul(args[8], I64(r))]) for r in range(high)]
        steps = [builder.add(step, I64(v * emit.lanes)) for v in range(many) for step in (I64(0), args[9])]
        places = [(target, step) for target in targets for step in steps]
        with builder.if_else(builder.trunc(args[13], I1)) as (begins, goes_on):
            with begins:
                left_block = builder.block
            with goes_on:
                added = [builder.fadd(emit.load(*place), total) for place, total in zip(places, sums, strict=True)]
                right_block = builder.block
        for place, vector in zip(places, emit.joined(sums, left_block, added, right_block), strict=True):
            emit.store(vector, *place)
        return context.get_dummy_value()

    at = types.intp
    kinds = (vectors, rows, x, at, at, at, y, at, at, at, w, at, at, at, at, at)
    return types.void(*kinds), codegen


@kernel
def multiply_spectra(x, x_at, x_row, x_im, x_next, y, y_at, y_row, y_im, y_next, rows, w, w_at, terms, panels):
    """y = x * conj(w) at one frequency: all rows, all panels; at least MOST_ROWS rows of x can be read, and of y be written.

    The last tile of rows goes over some of them again, or over those extra ones. Meanwhile the next panel is fetched,
    and then what the next frequency reads and writes, at x_next and y_next.
    """
    width = lanes_of(x)
    line = 64 // x.itemsize
    x_end, y_end = x_next + rows * x_row, y_next + rows * y_row
    for panel in range(len(panels) - 1):
        vectors = panels[panel + 1] - panels[panel]
        to = y_at + panels[panel] * width
        size = 2 * vectors * width
        start = w_at + 2 * panels[panel] * width * terms
        w_next = start + size * terms
        w_end = w_next + size * terms
        tile = _ROWS_1 if vectors == 1 else (_ROWS_2 if vectors == 2 else _ROWS_3)
        for number in range((rows + tile - 1) // tile):
            r = max(0, min(number * tile, rows - tile))
            target = to + r * y_row
            for first in range(0, terms, TERMS):
                count = min(TERMS, terms - first)
                begin = int(first == 0)
                source, at = x_at + r * x_row + first, start + first * size
                which, ahead = 0, w_next
                if w_next < w_end:
                    w_next += count * line
                elif x_next < x_end:
                    which, ahead = 1, x_next
                    x_next += count * line
                elif y_next < y_end:
                    which, ahead = 2, y_next
                    y_next += count * line
                else:
                    ahead = at
                if vectors == 1:
                    multiply_complex_tile(
                        1, _ROWS_1, x, source, x_row, x_im, y, target, y_row, y_im, w, at, count, begin, which, ahead
                    )
                elif vectors == 2:
                    multiply_complex_tile(
                        2, _ROWS_2, x, source, x_row, x_im, y, target, y_row, y_im, w, at, count, begin, which, ahead
                    )
                else:
                    multiply_complex_tile(
                        3, _ROWS_3, x, source, x_row, x_im, y, target, y_row, y_im, w, at, count, begin, which, ahead
                    )
