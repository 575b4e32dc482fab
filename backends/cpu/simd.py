"""The micro-kernels, as LLVM vector code: everything that multiplies in a convolution goes through one of them.

They hold a block of sums in vector registers and add to it one term after the other, from zero, with fused
multiply-adds; so the bits of a sum depend on its own terms alone.
"""

from functools import cache

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils, config
from numba.core.registry import cpu_target
from numba.extending import intrinsic

I1, I32, I64 = ir.IntType(1), ir.IntType(32), ir.IntType(64)


@cache
def _vector_bytes() -> int:
    """The widest vector register of the processor that numba compiles for: 64, 32 or 16 bytes."""
    triple, cpu, features = cpu_target.target_context.codegen().magic_tuple()
    if config.CPU_NAME is not None and config.CPU_FEATURES is None:
        features = ""  # the name alone decides; numba adds what this host has beyond it
    probe = ir.Module()
    probe.triple = triple
    wide = ir.VectorType(ir.FloatType(), 16)
    function = ir.Function(probe, ir.FunctionType(wide, [wide, wide]), "probe")
    builder = ir.IRBuilder(function.append_basic_block())
    builder.ret(builder.fadd(*function.args))
    machine = llvm.Target.from_triple(triple).create_target_machine(cpu=cpu, features=features)
    assembly = machine.emit_assembly(llvm.parse_assembly(str(probe)))
    return 64 if "zmm" in assembly else 32 if "ymm" in assembly else 16


VECTOR_BYTES = _vector_bytes()  # 64 and 32 are tested; 16 (SSE, NEON) is not
VECTORS = 3  # pixels of a block of sums, in vectors
ROWS = 8 if VECTOR_BYTES == 64 else 4  # its output channels: 8 x 3 sums in 32 registers, 4 x 3 in 16
GRADIENT_ROWS, GRADIENT_TAPS = (4, 6) if VECTOR_BYTES == 64 else (3, 3)  # a block of weight gradients
# Rows of a tile whose rows are so many vectors: with the vectors and one more, they fill the registers.
ROWS_OF = {1: 8, 2: 8, 3: 8, 4: 6, 5: 5} if VECTOR_BYTES == 64 else {1: 8, 2: 5, 3: 4, 4: 2, 5: 2}
TERMS = 128  # the most terms that are added before a sum goes to memory: this bounds the rounding error


def lanes(dtype: np.dtype) -> int:
    """How many numbers one vector holds."""
    return VECTOR_BYTES // dtype.itemsize


@intrinsic
def lanes_of(typingctx, array):
    """`lanes` of an array's dtype, a constant of the compiled code."""
    count = VECTOR_BYTES * 8 // array.dtype.bitwidth
    return types.intp(array), lambda context, builder, signature, args: I64(count)


class Emitter:
    """Writes vector code for one dtype; `args` are the values of an intrinsic's call."""

    def __init__(self, context, builder, signature, args, dtype):
        self.context, self.builder, self.signature, self.args = context, builder, signature, args
        self.scalar = ir.FloatType() if dtype.bitwidth == 32 else ir.DoubleType()
        self.bytes = dtype.bitwidth // 8
        self.lanes = VECTOR_BYTES // self.bytes
        self.vector = ir.VectorType(self.scalar, self.lanes)
        self.zero = ir.Constant(self.vector, [0.0] * self.lanes)

    def call(self, name, result, *arguments):
        """A call of an LLVM intrinsic; `%` stands for the vector's type in its mangled name."""
        name = name.replace("%", f"v{self.lanes}f{8 * self.bytes}")
        kind = ir.FunctionType(result, [a.type for a in arguments])
        return self.builder.call(cgutils.get_or_insert_function(self.builder.module, kind, name), arguments)

    def pointer(self, index, at):
        """Where element `at` of the array lies that is argument `index`; never through an integer (LLVM 22)."""
        array = self.context.make_array(self.signature.args[index])(self.context, self.builder, self.args[index])
        return self.builder.gep(array.data, [at])

    def element(self, pointer, at):
        return self.builder.load(self.builder.gep(pointer, [at]))

    def vector_at(self, pointer, at):
        return self.builder.bitcast(self.builder.gep(pointer, [at]), self.vector.as_pointer())

    def load(self, pointer, at):
        return self.builder.load(self.vector_at(pointer, at), align=self.bytes)

    def store(self, vector, pointer, at):
        self.builder.store(vector, self.vector_at(pointer, at), align=self.bytes)

    def first(self, count):
        """The mask of the lanes before `count`."""
        numbers = ir.Constant(ir.VectorType(I64, self.lanes), list(range(self.lanes)))
        return self.builder.icmp_signed("<", numbers, self.spread(count, I64))

    def load_masked(self, pointer, at, mask):
        """A vector whose other lanes are zero, and not read."""
        place = self.vector_at(pointer, at)
        return self.call("llvm.masked.load.%.p0", self.vector, place, I32(self.bytes), mask, self.zero)

    def store_masked(self, vector, pointer, at, mask):
        place = self.vector_at(pointer, at)
        self.call("llvm.masked.store.%.p0", ir.VoidType(), vector, place, I32(self.bytes), mask)

    def spread(self, value, kind):
        """The value in every lane."""
        one = self.builder.insert_element(ir.Constant(ir.VectorType(kind, self.lanes), ir.Undefined), value, I32(0))
        return self.builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(I32, self.lanes), [0] * self.lanes))

    def multiply_add(self, a, b, c):
        """a * b + c, rounded once wherever the processor can, which is everywhere or nowhere in one process."""
        return self.call("llvm.fmuladd.%", self.vector, a, b, c)

    def total(self, vector):
        """The sum of the lanes, by halves."""
        width = self.lanes
        while width > 1:
            width //= 2
            indices = [ir.Constant(ir.VectorType(I32, width), [*range(s, s + width)]) for s in (0, width)]
            vector = self.builder.fadd(*[self.builder.shuffle_vector(vector, vector, part) for part in indices])
        return self.builder.extract_element(vector, I32(0))

    def joined(self, some, block, others, other_block):
        """What a block that two lead to goes on with: the vectors of the one, or of the other."""
        phis = [self.builder.phi(self.vector) for _ in some]
        for phi, a, b in zip(phis, some, others, strict=True):
            phi.add_incoming(a, block)
            phi.add_incoming(b, other_block)
        return phis

    def accumulate(self, count, sums, body):
        """Repeats sums = body(step, sums) for step = 0 .. count - 1, with all sums in registers; count is at least one."""
        before, loop = self.builder.block, self.builder.append_basic_block("terms")
        after = self.builder.append_basic_block("done")
        self.builder.branch(loop)
        self.builder.position_at_end(loop)
        step = self.builder.phi(I64)
        phis = [self.builder.phi(self.vector) for _ in range(sums)]
        updated = body(step, phis)
        following = self.builder.add(step, I64(1))
        step.add_incoming(I64(0), before)
        step.add_incoming(following, loop)
        for phi, value in zip(phis, updated, strict=True):
            phi.add_incoming(self.zero, before)
            phi.add_incoming(value, loop)
        self.builder.cbranch(self.builder.icmp_signed("<", following, count), loop, after)
        self.builder.position_at_end(after)
        return updated


# Of all that follow: arrays are one-dimensional, positions count elements, and nothing checks bounds.


@intrinsic
def multiply_block(typingctx, a, a_at, x, x0, x1, x2, offsets, first, count, y, y0, y1, y2, step):
    """y[yv + m * step + lane] += sum_{t < count} a[a_at + t * ROWS + m] * x[xv + offsets[first + t] + lane].

    For v < VECTORS, m < ROWS, and all lanes.
    """

    def codegen(context, builder, signature, args):
        emit = Emitter(context, builder, signature, args, x.dtype)
        weights, offset = emit.pointer(0, args[1]), emit.pointer(6, args[7])
        pixels = [emit.pointer(2, args[3 + v]) for v in range(VECTORS)]
        targets = [emit.pointer(9, args[10 + v]) for v in range(VECTORS)]

        def body(term, before):
            at = emit.element(offset, term)
            vectors = [emit.load(pointer, at) for pointer in pixels]
            row = builder.mul(term, I64(ROWS))
            updated = []
            for m in range(ROWS):
                weight = emit.spread(emit.element(weights, builder.add(row, I64(m))), emit.scalar)
                updated += [emit.multiply_add(weight, vectors[v], before[m * VECTORS + v]) for v in range(VECTORS)]
            return updated

        for i, total in enumerate(emit.accumulate(args[8], ROWS * VECTORS, body)):
            m, v = divmod(i, VECTORS)
            at = builder.mul(args[13], I64(m))
            emit.store(builder.fadd(emit.load(targets[v], at), total), targets[v], at)
        return context.get_dummy_value()

    at = types.intp
    return types.void(a, at, x, at, at, at, offsets, at, at, y, at, at, at, at), codegen


@intrinsic(prefer_literal=True)
def multiply_tile(
    typingctx, vectors, rows, x, x_from, x_at, y, y_from, y_at, y_step, row, offsets, first, count, w, w_at, start, bias, bias_at, slope,
):  # fmt: skip
    """y[y_from + y_at[r] + v * y_step + lane] (+)= sum_t x[x_from + x_at[r] + offsets[first + t]] * panel[t, v, lane].

    The panel begins at w[w_at]. For t < count, `rows` rows r from `row` on, and v < `vectors`, two literals. The first bit
    of `start` says that the sums begin with bias[bias_at + v * lanes + lane] in place of y; the second, that they are
    rectified, s > 0 ? s : slope * s.
    """
    if not (isinstance(vectors, types.IntegerLiteral) and isinstance(rows, types.IntegerLiteral)):
        return None
    many, high = vectors.literal_value, rows.literal_value

    def codegen(context, builder, signature, args):
        emit = Emitter(context, builder, signature, args, x.dtype)
        offset, weights = emit.pointer(10, args[11]), emit.pointer(13, args[14])
        source_at, target_at = emit.pointer(4, args[9]), emit.pointer(7, args[9])
        source, target = emit.pointer(2, args[3]), emit.pointer(5, args[6])
        sources = [builder.gep(source, [emit.element(source_at, I64(r))]) for r in range(high)]

        def body(term, before):
            at = emit.element(offset, term)
            row = builder.mul(term, I64(many * emit.lanes))
            vectors = [emit.load(weights, builder.add(row, I64(v * emit.lanes))) for v in range(many)]
            updated = []
            for r in range(high):
                value = emit.spread(emit.element(sources[r], at), emit.scalar)
                updated += [emit.multiply_add(value, vectors[v], before[r * many + v]) for v in range(many)]
            return updated

        sums = emit.accumulate(args[12], high * many, body)
        targets = [builder.gep(target, [emit.element(target_at, I64(r))]) for r in range(high)]
        steps = [builder.mul(args[8], I64(v)) for v in range(many)]
        begins = builder.trunc(args[15], I1)
        with builder.if_else(begins) as (first_block, later_block):
            with first_block:
                biases = [emit.load(emit.pointer(16, args[17]), I64(v * emit.lanes)) for v in range(many)]
                begun = [builder.fadd(biases[i % many], total) for i, total in enumerate(sums)]
                left = builder.block
            with later_block:
                held = [emit.load(targets[i // many], steps[i % many]) for i in range(high * many)]
                gone_on = [builder.fadd(a, total) for a, total in zip(held, sums, strict=True)]
                right = builder.block
        results = emit.joined(begun, left, gone_on, right)
        before, rectified, after = (
            builder.block,
            builder.append_basic_block("rectify"),
            builder.append_basic_block("write"),
        )
        builder.cbranch(builder.trunc(builder.lshr(args[15], I64(1)), I1), rectified, after)
        builder.position_at_end(rectified)
        factor = emit.spread(args[18], emit.scalar)
        positive = [
            builder.select(builder.fcmp_ordered(">", a, emit.zero), a, builder.fmul(factor, a)) for a in results
        ]
        builder.branch(after)
        builder.position_at_end(after)
        for i, vector in enumerate(emit.joined(results, before, positive, rectified)):
            emit.store(vector, targets[i // many], steps[i % many])
        return context.get_dummy_value()

    at = types.intp
    kinds = (vectors, rows, x, at, x_at, y, at, y_at, at, at, offsets, at, at, w, at, at, bias, at, x.dtype)
    return types.void(*kinds), codegen


@intrinsic(prefer_literal=True)
def dot_tile(typingctx, outputs, rows, x, x_from, x_at, row, offsets, first, count, w, w_at, w_step, sums):
    """sums[r * outputs + k] += sum_t <x[x_from + x_at[row + r] + offsets[first + t] :], w[w_at + k * w_step + t * lanes :]>.

    For t < count, r < `rows` and k < `outputs`, two literals; <,> is the product of two vectors.
    """
    if not (isinstance(outputs, types.IntegerLiteral) and isinstance(rows, types.IntegerLiteral)):
        return None
    many, high = outputs.literal_value, rows.literal_value

    def codegen(context, builder, signature, args):
        emit = Emitter(context, builder, signature, args, x.dtype)
        place, offset = emit.pointer(4, args[5]), emit.pointer(6, args[7])
        source = emit.pointer(2, args[3])
        sources = [builder.gep(source, [emit.element(place, I64(r))]) for r in range(high)]
        weights = [emit.pointer(9, builder.add(args[10], builder.mul(args[11], I64(k)))) for k in range(many)]

        def body(term, before):
            at, step = emit.element(offset, term), builder.mul(term, I64(emit.lanes))
            vectors = [emit.load(weight, step) for weight in weights]
            updated = []
            for r in range(high):
                value = emit.load(sources[r], at)
                updated += [emit.multiply_add(value, vectors[k], before[r * many + k]) for k in range(many)]
            return updated

        for i, vector in enumerate(emit.accumulate(args[8], high * many, body)):
            target = emit.pointer(12, I64(i))
            builder.store(builder.fadd(builder.load(target), emit.total(vector)), target)
        return context.get_dummy_value()

    at = types.intp
    return types.void(outputs, rows, x, at, x_at, at, offsets, at, at, w, at, at, sums), codegen


@intrinsic
def add_lanes(typingctx, y, y_at, sums, at, valid):
    """y[y_at + lane] += sums[at + lane] for lane < valid; other lanes of y are neither read nor written."""

    def codegen(context, builder, signature, args):
        emit = Emitter(context, builder, signature, args, y.dtype)
        target, mask = emit.pointer(0, args[1]), emit.first(args[4])
        total = builder.fadd(emit.load_masked(target, I64(0), mask), emit.load(emit.pointer(2, args[3]), I64(0)))
        emit.store_masked(total, target, I64(0), mask)
        return context.get_dummy_value()

    return types.void(y, types.intp, sums, types.intp, types.intp), codegen


@intrinsic
def prefetch(typingctx, x, at):
    """Asks for the cache line of x[at]; any position is allowed."""

    def codegen(context, builder, signature, args):
        emit = Emitter(context, builder, signature, args, x.dtype)
        read, second_level, data = I32(0), I32(2), I32(1)
        emit.call("llvm.prefetch.p0", ir.VoidType(), emit.pointer(0, args[1]), read, second_level, data)
        return context.get_dummy_value()

    return types.void(x, types.intp), codegen


@intrinsic
def correlate_block(typingctx, y, rows, x, taps, first, y_at, x_at, valid, count, sums):
    """sums[r, q] = sum_{v < count, lane < valid[v]} y[y_at[v] + rows[r] + lane] * x[x_at[v] + taps[first + q] + lane].

    For r < GRADIENT_ROWS, q < GRADIENT_TAPS.
    """

    def codegen(context, builder, signature, args):
        emit = Emitter(context, builder, signature, args, x.dtype)
        row, tap = emit.pointer(1, I64(0)), emit.pointer(3, args[4])
        left = [emit.pointer(0, emit.element(row, I64(r))) for r in range(GRADIENT_ROWS)]
        right = [emit.pointer(2, emit.element(tap, I64(q))) for q in range(GRADIENT_TAPS)]
        y_place, x_place, size = (emit.pointer(i, I64(0)) for i in (5, 6, 7))

        def body(v, before):
            mask = emit.first(emit.element(size, v))
            ys = [emit.load_masked(pointer, emit.element(y_place, v), mask) for pointer in left]
            xs = [emit.load_masked(pointer, emit.element(x_place, v), mask) for pointer in right]
            pairs = [(a, b) for a in ys for b in xs]
            return [emit.multiply_add(a, b, total) for (a, b), total in zip(pairs, before, strict=True)]

        for i, vector in enumerate(emit.accumulate(args[8], GRADIENT_ROWS * GRADIENT_TAPS, body)):
            builder.store(emit.total(vector), emit.pointer(9, I64(i)))
        return context.get_dummy_value()

    return types.void(y, rows, x, taps, types.intp, y_at, x_at, valid, types.intp, sums), codegen
