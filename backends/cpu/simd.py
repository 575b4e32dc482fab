"""The two micro-kernels, as LLVM vector code: everything that multiplies in this backend goes through one of them.

Both hold a small block of sums in vector registers and add to it with fused multiply-adds, one term after the other from zero, so
a sum's bits depend on its own terms only.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils, config
from numba.core.registry import cpu_target
from numba.extending import intrinsic

I32, I64 = ir.IntType(32), ir.IntType(64)


@cache
def _vector_bytes() -> int:
    """The widest vector register of the processor that numba compiles for: 64, 32 or 16 bytes."""
    triple, cpu, features = cpu_target.target_context.codegen().magic_tuple()
    if config.CPU_NAME is not None and config.CPU_FEATURES is None:
        features = ""  # the name alone decides; numba would add what this host has beyond it
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
ROWS = 8 if VECTOR_BYTES == 64 else 4  # output channels of a block: 8 x 3 sums of 32 registers, 4 x 3 of 16
GRADIENT_ROWS, GRADIENT_TAPS = (4, 6) if VECTOR_BYTES == 64 else (3, 3)  # a block of the weight gradient's sums
TERMS = 256  # the most terms that are added before the sum goes to memory: what bounds the rounding error


def lanes(dtype: np.dtype) -> int:
    """How many numbers fit one vector."""
    return VECTOR_BYTES // dtype.itemsize


@intrinsic
def lanes_of(typingctx: Any, array: types.Array) -> tuple[Any, Callable[..., Any]]:
    """`lanes`, as a constant of the compiled code."""
    count = VECTOR_BYTES * 8 // array.dtype.bitwidth
    return types.intp(array), lambda context, builder, signature, args: I64(count)


class _Emitter:
    """What both micro-kernels need to write vector code for one dtype."""

    def __init__(self, context: Any, builder: Any, signature: Any, args: Any, dtype: types.Float) -> None:
        self.context, self.builder, self.signature, self.args = context, builder, signature, args
        self.scalar = ir.FloatType() if dtype.bitwidth == 32 else ir.DoubleType()
        self.bytes = dtype.bitwidth // 8
        self.lanes = VECTOR_BYTES // self.bytes
        self.vector = ir.VectorType(self.scalar, self.lanes)
        self.suffix = f"v{self.lanes}f{dtype.bitwidth}"
        self.zero = ir.Constant(self.vector, [0.0] * self.lanes)

    def function(self, name: str, result: Any, arguments: list[Any]) -> Any:
        return cgutils.get_or_insert_function(self.builder.module, ir.FunctionType(result, arguments), name)

    def data(self, index: int) -> Any:
        """Pointer to the first element of the array that is argument `index`."""
        return self.context.make_array(self.signature.args[index])(self.context, self.builder, self.args[index]).data

    def element(self, pointer: Any, at: Any) -> Any:
        return self.builder.load(self.builder.gep(pointer, [at]))

    def at_vector(self, pointer: Any, at: Any) -> Any:
        return self.builder.bitcast(self.builder.gep(pointer, [at]), self.vector.as_pointer())

    def load(self, pointer: Any, at: Any) -> Any:
        return self.builder.load(self.at_vector(pointer, at), align=self.bytes)

    def store(self, vector: Any, pointer: Any, at: Any) -> None:
        self.builder.store(vector, self.at_vector(pointer, at), align=self.bytes)

    def first(self, count: Any) -> Any:
        """The mask of the lanes before `count`."""
        numbers = ir.Constant(ir.VectorType(I64, self.lanes), list(range(self.lanes)))
        return self.builder.icmp_signed("<", numbers, self.spread(count, I64))

    def load_masked(self, pointer: Any, at: Any, mask: Any) -> Any:
        """A vector whose other lanes are zero and not read."""
        arguments = [self.at_vector(pointer, at), I32(self.bytes), mask, self.zero]
        load = self.function(f"llvm.masked.load.{self.suffix}.p0", self.vector, [a.type for a in arguments])
        return self.builder.call(load, arguments)

    def store_masked(self, vector: Any, pointer: Any, at: Any, mask: Any) -> None:
        arguments = [vector, self.at_vector(pointer, at), I32(self.bytes), mask]
        store = self.function(f"llvm.masked.store.{self.suffix}.p0", ir.VoidType(), [a.type for a in arguments])
        self.builder.call(store, arguments)

    def spread(self, value: Any, kind: Any) -> Any:
        """The value in every lane."""
        whole = ir.VectorType(kind, self.lanes)
        first = self.builder.insert_element(ir.Constant(whole, ir.Undefined), value, I32(0))
        return self.builder.shuffle_vector(first, first, ir.Constant(ir.VectorType(I32, self.lanes), [0] * self.lanes))

    def multiply_add(self, a: Any, b: Any, c: Any) -> Any:
        """a * b + c; fused wherever the processor can, which is the same everywhere in one process."""
        fma = self.function(f"llvm.fmuladd.{self.suffix}", self.vector, [self.vector] * 3)
        return self.builder.call(fma, [a, b, c])

    def total(self, vector: Any) -> Any:
        """The sum of the lanes, by halves."""
        width = self.lanes
        while width > 1:
            width //= 2
            low, high = ([*range(start, start + width)] for start in (0, width))
            undefined = ir.Constant(vector.type, ir.Undefined)
            halves = [
                self.builder.shuffle_vector(vector, undefined, ir.Constant(ir.VectorType(I32, width), part))
                for part in (low, high)
            ]
            vector = self.builder.fadd(*halves)
        return self.builder.extract_element(vector, I32(0))

    def accumulate(self, count: Any, sums: int, body: Callable[[Any, list[Any]], list[Any]]) -> list[Any]:
        """`body(step, sums)` for step = 0 .. count - 1, with the sums in registers; count is at least one."""
        before, loop = self.builder.block, self.builder.append_basic_block("terms")
        after = self.builder.append_basic_block("done")
        self.builder.branch(loop)
        self.builder.position_at_end(loop)
        step = self.builder.phi(I64)
        step.add_incoming(I64(0), before)
        phis = [self.builder.phi(self.vector) for _ in range(sums)]
        updated = body(step, phis)
        following = self.builder.add(step, I64(1))
        step.add_incoming(following, loop)
        for phi, value in zip(phis, updated, strict=True):
            phi.add_incoming(self.zero, before)
            phi.add_incoming(value, loop)
        self.builder.cbranch(self.builder.icmp_signed("<", following, count), loop, after)
        self.builder.position_at_end(after)
        return updated


@intrinsic
def multiply_block(
    typingctx: Any, a: Any, a_at: Any, x: Any, x0: Any, x1: Any, x2: Any, offsets: Any, first: Any, count: Any,
    y: Any, y0: Any, y1: Any, y2: Any, step: Any,
) -> tuple[Any, Callable[..., Any]]:  # fmt: skip
    """y[yv + m * step + lane] += sum_{t < count} a[a_at + t * ROWS + m] * x[xv + offsets[first + t] + lane].

    For v < VECTORS, m < ROWS and all lanes; arrays are one-dimensional, positions count elements, and nothing checks bounds.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        emit = _Emitter(context, builder, signature, args, x.dtype)
        weights = builder.gep(emit.data(0), [args[1]])
        pixels = [builder.gep(emit.data(2), [args[3 + v]]) for v in range(VECTORS)]
        offset = builder.gep(emit.data(6), [args[7]])

        def body(term: Any, before: list[Any]) -> list[Any]:
            at = emit.element(offset, term)
            vectors = [emit.load(pointer, at) for pointer in pixels]
            row = builder.mul(term, I64(ROWS))
            updated = []
            for m in range(ROWS):
                weight = emit.spread(emit.element(weights, builder.add(row, I64(m))), emit.scalar)
                updated += [emit.multiply_add(weight, vectors[v], before[m * VECTORS + v]) for v in range(VECTORS)]
            return updated

        sums = emit.accumulate(args[8], ROWS * VECTORS, body)
        for i, total in enumerate(sums):
            m, v = divmod(i, VECTORS)
            at = builder.add(args[10 + v], builder.mul(args[13], I64(m)))
            emit.store(builder.fadd(emit.load(emit.data(9), at), total), emit.data(9), at)
        return context.get_dummy_value()

    at = types.intp
    return types.void(a, at, x, at, at, at, offsets, at, at, y, at, at, at, at), codegen


@intrinsic
def add_lanes(typingctx: Any, y: Any, y_at: Any, sums: Any, at: Any, valid: Any) -> tuple[Any, Callable[..., Any]]:
    """y[y_at + lane] += sums[at + lane] for lane < valid; the other lanes of y are neither read nor written."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        emit = _Emitter(context, builder, signature, args, y.dtype)
        mask = emit.first(args[4])
        total = builder.fadd(emit.load_masked(emit.data(0), args[1], mask), emit.load(emit.data(2), args[3]))
        emit.store_masked(total, emit.data(0), args[1], mask)
        return context.get_dummy_value()

    return types.void(y, types.intp, sums, types.intp, types.intp), codegen


@intrinsic
def prefetch(typingctx: Any, x: Any, at: Any) -> tuple[Any, Callable[..., Any]]:
    """Asks for the cache line of x[at]; any position is allowed."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        emit = _Emitter(context, builder, signature, args, x.dtype)
        pointer = builder.gep(emit.data(0), [args[1]])
        fetch = emit.function("llvm.prefetch.p0", ir.VoidType(), [pointer.type, I32, I32, I32])
        builder.call(fetch, [pointer, I32(0), I32(2), I32(1)])  # to read, into the second-level cache, data
        return context.get_dummy_value()

    return types.void(x, types.intp), codegen


@intrinsic
def correlate_block(
    typingctx: Any, y: Any, rows: Any, x: Any, taps: Any, first: Any, y_at: Any, x_at: Any, valid: Any, count: Any, sums: Any
) -> tuple[Any, Callable[..., Any]]:
    """sums[r, q] = sum_{v < count, lane < valid[v]} y[y_at[v] + rows[r] + lane] * x[x_at[v] + taps[first + q] + lane].

    For r < GRADIENT_ROWS, q < GRADIENT_TAPS; all arrays are one-dimensional, and nothing checks bounds.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        emit = _Emitter(context, builder, signature, args, x.dtype)
        left = [builder.gep(emit.data(0), [emit.element(emit.data(1), I64(r))]) for r in range(GRADIENT_ROWS)]
        right = [builder.gep(emit.data(2), [emit.element(emit.data(3), builder.add(args[4], I64(q)))]) for q in range(GRADIENT_TAPS)]

        def body(step: Any, before: list[Any]) -> list[Any]:
            mask = emit.first(emit.element(emit.data(7), step))
            y_step, x_step = emit.element(emit.data(5), step), emit.element(emit.data(6), step)
            ys = [emit.load_masked(pointer, y_step, mask) for pointer in left]
            updated = []
            xs = [emit.load_masked(pointer, x_step, mask) for pointer in right]
            for r in range(GRADIENT_ROWS):
                updated += [emit.multiply_add(ys[r], xs[q], before[r * GRADIENT_TAPS + q]) for q in range(GRADIENT_TAPS)]
            return updated

        for i, vector in enumerate(emit.accumulate(args[8], GRADIENT_ROWS * GRADIENT_TAPS, body)):
            builder.store(emit.total(vector), builder.gep(emit.data(9), [I64(i)]))
        return context.get_dummy_value()

    return types.void(y, rows, x, taps, types.intp, y_at, x_at, valid, types.intp, sums), codegen
