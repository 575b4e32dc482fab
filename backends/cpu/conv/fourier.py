"""The Fourier transform of a tile, as small matrices applied to vectors: a vector is one pixel of a block of channels.

Along each axis, x_j + x_{t-j} meets cosines and x_j - x_{t-j} meets sines, which halves the work; and since x is real,
only columns v = 0 .. t // 2 are computed, and of those that are their own conjugates (v = 0, and t / 2 where t is even)
only rows u = 0 .. t // 2. What is kept is called the tile's *spectrum*. For the tiles that convolutions want, up to some
forty pixels wide, matrices in a register-blocked kernel beat the fewer operations of a fast transform, and any t will do.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ..jit import kernel
from ..simd import I64, VECTOR_BYTES, Emitter, lanes_of, prefetch
from ..vectors import spread, store

HALF, CROSS, REAL = range(3)  # what `turn` transforms: real to half, complex to complex, half to real
MOST = 6 if VECTOR_BYTES == 64 else 3  # outputs of one `turn`: four sums each
LEAST = 3 if VECTOR_BYTES == 64 else 2
ALONG, OWN, DOWN = range(
    3
)  # a transform's passes: along the rows, down columns that are their own conjugates, down others
HEADER = 7  # numbers that describe a pass


@intrinsic(prefer_literal=True)
def turn(typingctx, mode, x, a_at, b_at, y, to_a, to_b, tables, number, factors):
    """One pass, of `Transform`'s three, over two columns of vectors a and b at once.

    With a term's two places s and t, a vector of column a is x[a_at + s] or x[a_at + t], likewise of b, and with the
    factors c and d of a term and an output,  P = sum c (x_s + x_t)  and  Q = sum d (x_s - x_t);  in mode REAL,  c x_s
    and  d x_t. What is written to an output's two places behind to_a and to_b is, in mode

    - HALF:   P and -Q, each column by itself;
    - CROSS:  P - i Q and P + i Q, where a is the real part and b the imaginary part;
    - REAL:   P - Q and P + Q, each column by itself.
    """
    if not isinstance(mode, types.IntegerLiteral):
        return None
    way = mode.literal_value

    def codegen(context, builder, signature, args):
        emit = Emitter(context, builder, signature, args, x.dtype)
        sources = [emit.pointer(1, at) for at in args[2:4]]
        targets = [emit.pointer(4, at) for at in args[5:7]]
        header, table = builder.mul(args[8], I64(HEADER)), emit.pointer(7, I64(0))
        numbers = [emit.element(table, builder.add(header, I64(i))) for i in range(HEADER)]
        ins, terms, places, outputs, groups, count, coefficients = numbers
        pitch, offsets = builder.mul(outputs, I64(2)), builder.gep(table, [ins])

        def sums_of(many, factor_at):
            def body(term, before):
                pair = builder.mul(term, I64(2))
                at = [emit.element(offsets, builder.add(pair, I64(i))) for i in range(2)]
                plus, minus = [], []
                for source in sources:
                    s, t = (emit.load(source, i) for i in at)
                    plus.append(s if way == REAL else builder.fadd(s, t))
                    minus.append(t if way == REAL else builder.fsub(s, t))
                row = builder.mul(term, pitch)
                updated = []
                for u in range(many):
                    for k, values in enumerate((plus, minus)):
                        factor = emit.spread(emit.element(factor_at, builder.add(row, I64(2 * u + k))), emit.scalar)
                        updated += [emit.multiply_add(factor, values[c], before[4 * u + 2 * k + c]) for c in range(2)]
                return updated

            return emit.accumulate(terms, 4 * many, body)

        def write(place_at, u, pa, pb, qa, qb):
            if way == HALF:
                results = (pa, pb), (builder.fneg(qa), builder.fneg(qb))
            elif way == REAL:
                results = (builder.fsub(pa, qa), builder.fsub(pb, qb)), (builder.fadd(pa, qa), builder.fadd(pb, qb))
            else:
                results = (builder.fadd(pa, qb), builder.fsub(pb, qa)), (builder.fsub(pa, qb), builder.fadd(pb, qa))
            for i, pair in enumerate(results):
                place = emit.element(place_at, I64(2 * u + i))
                for target, vector in zip(targets, pair, strict=True):
                    emit.store(vector, target, place)

        with cgutils.for_range(builder, count) as group:
            edges = [emit.element(table, builder.add(builder.add(groups, group.index), I64(i))) for i in range(2)]
            first = builder.mul(edges[0], I64(2))
            place_at = builder.gep(table, [builder.add(places, first)])
            factor_at = emit.pointer(9, builder.add(coefficients, first))
            after = builder.append_basic_block("turned")
            parts = {many: builder.append_basic_block(f"outputs_{many}") for many in range(LEAST, MOST + 1)}
            choice = builder.switch(builder.sub(edges[1], edges[0]), parts[MOST])
            for many, block in parts.items():
                if many < MOST:
                    choice.add_case(I64(many), block)
                builder.position_at_end(block)
                sums = sums_of(many, factor_at)
                for u in range(many):
                    write(place_at, u, *sums[4 * u : 4 * u + 4])
                builder.branch(after)
            builder.position_at_end(after)
        return context.get_dummy_value()

    at = types.intp
    return types.void(mode, x, at, at, y, at, at, tables, at, factors), codegen


class Spectrum(NamedTuple):
    """A tile's size, and where its frequencies stand: column 0, the columns that are not their own conjugates, column t / 2."""

    rows: int
    columns: int

    @property
    def half_rows(self) -> int:
        return self.rows // 2 + 1

    @property
    def half_columns(self) -> int:
        return self.columns // 2 + 1

    @property
    def frequencies(self) -> int:
        return self.half_rows * (self.half_columns - self.inner) + self.inner * self.rows

    @property
    def inner(self) -> int:
        """Columns that are not their own conjugates; they follow column 0."""
        return (self.columns - 1) // 2

    @property
    def pitch(self) -> int:
        """Vectors from row to row of a tile's half-transformed copy; odd, so that a column does not fall into few cache sets."""
        return 2 * self.half_columns + 1


class Transform(NamedTuple):
    """The passes ALONG, OWN and DOWN of one direction.

    `tables` begins with HEADER numbers for each: where its terms' places start, and how many terms there are; the same
    of its outputs, and of its groups of outputs, of which the edges are kept; where its factors start.
    """

    tables: np.ndarray
    factors: np.ndarray


def _transform(passes: list[tuple[list, list, np.ndarray]], dtype: np.dtype) -> Transform:
    """Each pass has its terms' two places, its outputs' two places, and their factors (term, output, 2).

    In a list of fewer than LEAST outputs the last one is repeated.
    """
    header: list[int] = []
    tables: list[int] = []
    factors: list[np.ndarray] = []
    for ins, places, waves in passes:
        lacking = max(0, LEAST - len(places))
        places = [*places, *places[-1:] * lacking]
        parts = -(-len(places) // MOST)
        at, coefficients = len(passes) * HEADER + len(tables), sum(f.size for f in factors)
        header += [at, len(ins), at + 2 * len(ins), len(places), at + 2 * (len(ins) + len(places)), parts, coefficients]
        tables += [n for pair in (*ins, *places) for n in pair] + [g * len(places) // parts for g in range(parts + 1)]
        factors.append(np.pad(waves, ((0, 0), (0, lacking), (0, 0)), "edge").reshape(-1))
    return Transform(np.array(header + tables, np.intp), np.concatenate(factors).astype(dtype))


def _waves(t: int, outputs: int, weight: np.ndarray) -> np.ndarray:
    """weight_j (cos, sin)(2 pi j u / t) for j = 0 .. t // 2 and u < outputs: exact zeros and ones where there are any."""
    turns = np.outer(np.arange(t // 2 + 1), np.arange(outputs)) % t
    cosines, sines = np.array([_wave(j, t) for j in range(t)]).T
    return np.stack([cosines[turns], sines[turns]], -1) * weight[:, None, None]


def _wave(j: int, t: int) -> tuple[float, float]:
    """cos and sin of 2 pi j / t, by way of the first eighth of the circle: values that should be equal are."""
    if 2 * j > t:
        c, s = _wave(t - j, t)
        return c, -s
    if 4 * j > t:
        c, s = _wave_of(t - 2 * j, 2 * t)
        return -c, s
    return _wave_of(2 * j, 2 * t)


def _wave_of(j: int, t: int) -> tuple[float, float]:
    """The same in the first quarter, from the first eighth."""
    if 8 * j > t:
        angle = 2 * np.pi * (t - 4 * j) / (4 * t)
        return float(np.sin(angle)), float(np.cos(angle))
    return float(np.cos(2 * np.pi * j / t)), float(np.sin(2 * np.pi * j / t))


def _ends(t: int, at_ends: float, between: float) -> np.ndarray:
    """A weight for j = 0 .. t // 2: one for those that are their own mirror images, one for the others."""
    return np.array([at_ends if 2 * j % t == 0 else between for j in range(t // 2 + 1)])


@lru_cache
def forward(spectrum: Spectrum, dtype: np.dtype, lanes: int, step: int, imaginary: int) -> Transform:
    """From a tile to its spectrum: frequencies go `step` apart, their imaginary parts `imaginary` behind.

    The halves x_0 + x_0 and x_{t/2} + x_{t/2} are what the weight 1/2 is for.
    """
    ty, tx, pitch = spectrum.rows, spectrum.columns, spectrum.pitch * lanes
    across, down = (_waves(t, t // 2 + 1, _ends(t, 0.5, 1.0)) for t in (tx, ty))
    mirrored = [(u, (ty - u) % ty) for u in range(ty // 2 + 1)]
    pixels = [(j * lanes, (tx - j) % tx * lanes) for j in range(tx // 2 + 1)]
    waves = [(2 * v * lanes, (2 * v + 1) * lanes) for v in range(tx // 2 + 1)]
    rows = [(a * pitch, b * pitch) for a, b in mirrored]
    half = [(u * step, u * step + imaginary) for u, _ in mirrored]
    whole = [(a * step, b * step) for a, b in mirrored]
    return _transform([(pixels, waves, across), (rows, half, down), (rows, whole, down)], dtype)


@lru_cache
def inverse(
    spectrum: Spectrum, dtype: np.dtype, lanes: int, out: tuple[int, int], step: int, imaginary: int
) -> Transform:
    """From a spectrum to the first rows and columns, `out`, of its tile.

    A row of the result has room for one vector more, and a column of the half-transformed tile too: there goes what is not wanted.
    """
    ty, tx, pitch = spectrum.rows, spectrum.columns, spectrum.pitch * lanes
    rows, columns = out
    high, wide = min(rows, ty // 2 + 1), min(columns, tx // 2 + 1)

    def both(j: int, t: int, valid: int, size: int) -> tuple[int, int]:
        mirror = (t - j) % t
        return j * size, mirror * size if mirror < valid else valid * size

    scale = 1 / (ty * tx)
    down = _waves(ty, high, _ends(ty, 0.5, 1.0))
    real = _waves(ty, high, _ends(ty, 1.0, 2.0))
    across = _waves(tx, wide, _ends(tx, scale, 2 * scale))
    targets = [both(j, ty, rows, pitch) for j in range(high)]
    # The imaginary part of a real one is nowhere; its factor, a sine, is zero.
    half = [(2 * v * lanes, (2 * v + (2 * v % tx != 0)) * lanes) for v in range(tx // 2 + 1)]
    pixels = [both(i, tx, columns, lanes) for i in range(wide)]
    ones = [(u * step, u * step + imaginary) for u in range(ty // 2 + 1)]
    whole = [(u * step, (ty - u) % ty * step) for u in range(ty // 2 + 1)]
    turned = [(b, a) for a, b in targets]  # the other way round
    return _transform([(half, pixels, across), (ones, targets, real), (whole, turned, down)], dtype)


# A tile's layout is (rows, columns, inner), and its scratch holds `rows` rows of `pitch` vectors each.


@kernel
def spectrum_of(
    x,
    x_at,
    row,
    rows,
    layout,
    tables,
    factors,
    scratch,
    pitch,
    y,
    y_at,
    step,
    imaginary,
    ahead,
    source,
    next_at,
    next_row,
):
    """Writes the spectrum of the tile at x[x_at], whose rows from `rows` on are zero, to y[y_at + f * step], and + imaginary.

    The next tile, source[next_at] with rows next_row apart, is fetched, and the places where its spectrum goes, `ahead`
    elements behind: no cache foresees them.
    """
    width = lanes_of(x)
    high, wide, inner = layout
    for j in range(0, rows, 2):
        k = min(j + 1, rows - 1)
        turn(HALF, x, x_at + j * row, x_at + k * row, scratch, j * pitch, k * pitch, tables, ALONG, factors)
        for i in range(wide):
            prefetch(source, next_at + j * next_row + i * width)
            prefetch(source, next_at + k * next_row + i * width)
    zero = spread(x.dtype.type(0))
    for j in range(rows, high):
        for k in range(2 * (wide // 2 + 1)):
            store(zero, scratch, j * pitch + k * width)
    even = 1 - wide % 2
    last = even * wide * width  # column t / 2, or column 0 again where there is none
    half = high // 2 + 1
    turn(HALF, scratch, 0, last, y, y_at, y_at + even * (half + inner * high) * step, tables, OWN, factors)
    for v in range(inner):
        at, to = 2 * (v + 1) * width, y_at + (half + v * high) * step
        turn(CROSS, scratch, at, at + width, y, to, to + imaginary, tables, DOWN, factors)
        for u in range(high):
            prefetch(y, to + ahead + u * step)
            prefetch(y, to + ahead + u * step + imaginary)


@kernel
def tile_of(x, x_at, step, imaginary, ahead, layout, tables, factors, scratch, pitch, out, y, y_at):
    """Writes the first `out` pixels of the tile whose spectrum is at x[x_at + f * step] to y; its rows hold one more.

    The next spectrum, `ahead` elements behind, is fetched.
    """
    width = lanes_of(x)
    high, wide, inner = layout
    rows, columns = out
    even = 1 - wide % 2
    last = even * wide * width
    half = high // 2 + 1
    turn(REAL, x, x_at, x_at + even * (half + inner * high) * step, scratch, 0, last, tables, OWN, factors)
    for v in range(inner):
        at, to = x_at + (half + v * high) * step, 2 * (v + 1) * width
        turn(CROSS, x, at, at + imaginary, scratch, to, to + width, tables, DOWN, factors)
        for u in range(high):
            prefetch(x, at + ahead + u * step)
            prefetch(x, at + ahead + u * step + imaginary)
    row = (columns + 1) * width
    for j in range(0, rows, 2):
        k = min(j + 1, rows - 1)
        turn(REAL, scratch, j * pitch, k * pitch, y, y_at + j * row, y_at + k * row, tables, ALONG, factors)
