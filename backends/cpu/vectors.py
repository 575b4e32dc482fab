"""Vectors as values of numba code: `load`, arithmetic, `store`, as in `store(load(x, i) * a + b, y, i)`.

A vector holds `simd.lanes` numbers of one dtype. Arrays are one-dimensional, positions count elements, and nothing
checks bounds.
"""

import operator
from typing import Any

from llvmlite import ir
from numba import types
from numba.core.imputils import lower_builtin
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, models, register_model

from .simd import I64, VECTOR_BYTES, Emitter


class Vector(types.Type):
    """As many numbers of one dtype as a register holds."""

    def __init__(self, dtype: Any) -> None:
        self.dtype = dtype
        self.lanes = VECTOR_BYTES * 8 // dtype.bitwidth
        super().__init__(name=f"Vector({dtype}, {self.lanes})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Vector) -> None:
        scalar = ir.FloatType() if fe_type.dtype.bitwidth == 32 else ir.DoubleType()
        super().__init__(dmm, fe_type, ir.VectorType(scalar, fe_type.lanes))


def _binary(operation: Any, instruction: str) -> None:
    @infer_global(operation)
    class _Template(AbstractTemplate):
        def generic(self, args: Any, kws: Any) -> Any:
            if len(args) == 2 and isinstance(args[0], Vector) and args[0] == args[1]:
                return signature(args[0], *args)
            return None

    @lower_builtin(operation, Vector, Vector)
    def lower(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return getattr(builder, instruction)(*args)


for _operation, _instruction in (
    (operator.add, "fadd"),
    (operator.sub, "fsub"),
    (operator.mul, "fmul"),
    (operator.truediv, "fdiv"),
):
    _binary(_operation, _instruction)


@intrinsic
def load(typingctx, x, at):
    """x[at : at + lanes]."""

    def codegen(context, builder, signature, args):
        emit = Emitter(context, builder, signature, args, x.dtype)
        return emit.load(emit.pointer(0, args[1]), I64(0))

    return Vector(x.dtype)(x, types.intp), codegen


@intrinsic
def load_first(typingctx, x, at, count):
    """x[at : at + count] in the first lanes, zero in the others, which are not read."""

    def codegen(context, builder, signature, args):
        emit = Emitter(context, builder, signature, args, x.dtype)
        return emit.load_masked(emit.pointer(0, args[1]), I64(0), emit.first(args[2]))

    return Vector(x.dtype)(x, types.intp, types.intp), codegen


@intrinsic
def store(typingctx, vector, y, at):
    """y[at : at + lanes] = vector."""

    def codegen(context, builder, signature, args):
        emit = Emitter(context, builder, signature, args, y.dtype)
        emit.store(args[0], emit.pointer(1, args[2]), I64(0))
        return context.get_dummy_value()

    return types.void(vector, y, types.intp), codegen


@intrinsic
def store_first(typingctx, vector, y, at, count):
    """y[at : at + count] = the first lanes; nothing else is written."""

    def codegen(context, builder, signature, args):
        emit = Emitter(context, builder, signature, args, y.dtype)
        emit.store_masked(args[0], emit.pointer(1, args[2]), I64(0), emit.first(args[3]))
        return context.get_dummy_value()

    return types.void(vector, y, types.intp, types.intp), codegen


@intrinsic
def store_past(typingctx, vector, y, at):
    """y[at : at + lanes] = vector, past the caches: for a map that is larger than they are, on whole cache lines only."""

    def codegen(context, builder, signature, args):
        emit = Emitter(context, builder, signature, args, y.dtype)
        written = builder.store(args[0], emit.vector_at(emit.pointer(1, args[2]), I64(0)), align=VECTOR_BYTES)
        written.set_metadata("nontemporal", builder.module.add_metadata([ir.IntType(32)(1)]))
        return context.get_dummy_value()

    return types.void(vector, y, types.intp), codegen


@intrinsic
def spread(typingctx, value):
    """The number in every lane."""

    def codegen(context, builder, signature, args):
        emit = Emitter(context, builder, signature, args, value)
        return emit.spread(args[0], emit.scalar)

    return Vector(value)(value), codegen


@intrinsic
def multiply_add(typingctx, a, b, c):
    """a * b + c, rounded once wherever the processor can."""

    def codegen(context, builder, signature, args):
        return Emitter(context, builder, signature, args, a.dtype).multiply_add(*args)

    return a(a, b, c), codegen


@intrinsic
def larger(typingctx, a, b):
    """b > a ? b : a, lane by lane: a NaN in b never wins."""

    def codegen(context, builder, signature, args):
        return builder.select(builder.fcmp_ordered(">", args[1], args[0]), args[1], args[0])

    return a(a, b), codegen


@intrinsic
def rectify(typingctx, a, slope):
    """a > 0 ? a : slope * a; `slope` is a vector."""

    def codegen(context, builder, signature, args):
        value, factor = args
        zero = ir.Constant(value.type, [0.0] * a.lanes)
        return builder.select(builder.fcmp_ordered(">", value, zero), value, builder.fmul(factor, value))

    return a(a, a), codegen


@intrinsic
def total(typingctx, a):
    """The sum of the lanes, by halves."""

    def codegen(context, builder, signature, args):
        return Emitter(context, builder, signature, args, a.dtype).total(args[0])

    return a.dtype(a), codegen
