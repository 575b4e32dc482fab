"""Products of spectra, frequency by frequency: complex matrices, tiles x channels times channels x outputs.

A row of the left matrix has the real parts of all channels and then the imaginary ones; a row of the result likewise.
Weights lie in *panels* of one vector of outputs, term by term, the real parts and then the imaginary ones. Terms are
added in blocks of `simd.TERMS`, from zero, so the bits of a sum depend on its own terms alone.

A product takes three multiplications instead of four (Gauss), and five additions, of which most are shared by the rows
of a tile, and which take no time from the multiplications where a processor has units for both.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ..jit import kernel
from ..simd import I1, I32, I64, TERMS, VECTOR_BYTES, Emitter, lanes_of

TILE_ROWS = 8 if VECTOR_BYTES == 64 else 3  # three sums each: they fill the registers; so many rows must exist
FETCH = I32(0), I32(2), I32(1)  # to read, into the second level, as data


@intrinsic(prefer_literal=True)
def multiply_complex_tile(
    typingctx, rows, x, x_at, x_row, x_im, y, y_at, y_row, y_im, w, w_at, count, begin, which, ahead
):
    """y[r] (+)= sum_{t < count} x[r, t] * conj(w[t]), complex, for `rows` rows, a literal.

    The parts of x[r, t] are x[x_at + r * x_row + t] and, x_im behind it, the imaginary one; those of y[r] vectors at
    y_at + r * y_row and y_im behind; those of w[t] vectors at w_at + 2 * t * lanes and one vector behind. If `begin`, the
    sums go into y as they are. With each term, a line is fetched from position `ahead` of w, x or y on, which is `which`
    0, 1 or 2: the caches do not see what comes next.
    """
    if not isinstance(rows, types.IntegerLiteral):
        return None
    high = rows.literal_value

    def codegen(context, builder, signature, args):
        emit = Emitter(context, builder, signature, args, x.dtype)
        left, weights = emit.pointer(1, args[2]), emit.pointer(9, args[10])
        of_w, of_x, of_y = (emit.pointer(i, args[14]) for i in (9, 1, 5))
        fetched = builder.select(builder.icmp_signed("==", args[13], I64(1)), of_x, of_y)
        fetched = builder.select(builder.icmp_signed("==", args[13], I64(0)), of_w, fetched)
        reals = [builder.gep(left, [builder.mul(args[3], I64(r))]) for r in range(high)]
        imaginaries = [builder.gep(pointer, [args[4]]) for pointer in reals]

        def body(term, before):
            line = builder.gep(fetched, [builder.mul(term, I64(64 // emit.bytes))])
            emit.call("llvm.prefetch.p0", ir.VoidType(), line, *FETCH)
            at = builder.mul(term, I64(2 * emit.lanes))
            c, d = emit.load(weights, at), emit.load(weights, builder.add(at, I64(emit.lanes)))
            less, more = builder.fsub(c, d), builder.fadd(c, d)
            updated = []
            for r in range(high):
                # (a + i b) (c - i d) = (a + b) c - b (c - d)  +  i ((a + b) c - a (c + d))
                a, b = (emit.spread(emit.element(p[r], term), emit.scalar) for p in (reals, imaginaries))
                pairs = (builder.fadd(a, b), c), (b, less), (a, more)
                updated += [emit.multiply_add(*pair, before[3 * r + i]) for i, pair in enumerate(pairs)]
            return updated

        thirds = emit.accumulate(args[11], 3 * high, body)
        sums = [builder.fsub(thirds[3 * r], thirds[3 * r + k]) for r in range(high) for k in (1, 2)]
        first = emit.pointer(5, args[6])
        places = [builder.gep(first, [builder.mul(args[7], I64(r))]) for r in range(high)]
        places = [builder.gep(place, [part]) for place in places for part in (I64(0), args[8])]
        with builder.if_else(builder.trunc(args[12], I1)) as (begins, goes_on):
            with begins:
                left_block = builder.block
            with goes_on:
                added = [builder.fadd(emit.load(p, I64(0)), total) for p, total in zip(places, sums, strict=True)]
                right_block = builder.block
        for place, vector in zip(places, emit.joined(sums, left_block, added, right_block), strict=True):
            emit.store(vector, place, I64(0))
        return context.get_dummy_value()

    at = types.intp
    kinds = (rows, x, at, at, at, y, at, at, at, w, at, at, at, at, at)
    return types.void(*kinds), codegen


@kernel
def multiply_spectra(x, x_at, x_row, x_im, x_next, y, y_at, y_row, y_im, y_next, rows, w, w_at, terms, vectors):
    """y = x * conj(w) at one frequency: all rows, all panels; at least TILE_ROWS rows of x can be read, and of y be written.

    The last tile of rows goes over some of them again, or over those extra ones. Meanwhile the next panel is fetched,
    and then what the next frequency reads and writes, at x_next and y_next.
    """
    width = lanes_of(x)
    line = 64 // x.itemsize
    size = 2 * width
    x_end, y_end = x_next + rows * x_row, y_next + rows * y_row
    for v in range(vectors):
        start = w_at + v * terms * size
        w_next = start + terms * size
        w_end = w_next + terms * size
        for tile in range(0, rows, TILE_ROWS):
            r = max(0, min(tile, rows - TILE_ROWS))
            target = y_at + r * y_row + v * width
            for first in range(0, terms, TERMS):
                count = min(TERMS, terms - first)
                source, at = x_at + r * x_row + first, start + first * size
                which, ahead = 0, at
                if w_next < w_end:
                    ahead = w_next
                    w_next += count * line
                elif x_next < x_end:
                    which, ahead = 1, x_next
                    x_next += count * line
                elif y_next < y_end:
                    which, ahead = 2, y_next
                    y_next += count * line
                begin = int(first == 0)
                multiply_complex_tile(
                    TILE_ROWS, x, source, x_row, x_im, y, target, y_row, y_im, w, at, count, begin, which, ahead
                )
