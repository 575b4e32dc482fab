"""Vectors that pick among numbers: by comparison, and every second one of a row."""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .simd import I32, I64, Emitter
from .vectors import Vector


@intrinsic
def where_more(typingctx, a, b, then, otherwise):
    """a > b ? then : otherwise, lane by lane; a NaN is not more, and nothing is more than it."""

    def codegen(context, builder, signature, args):
        a, b, then, otherwise = args
        return builder.select(builder.fcmp_ordered(">", a, b), then, otherwise)

    return a(a, a, a, a), codegen


@intrinsic
def where_equal(typingctx, a, b, then, otherwise):
    """a == b ? then : otherwise, lane by lane."""

    def codegen(context, builder, signature, args):
        a, b, then, otherwise = args
        return builder.select(builder.fcmp_ordered("==", a, b), then, otherwise)

    return a(a, a, a, a), codegen


@intrinsic
def load_every(typingctx, x, at, step, count):
    """x[at + step * lane] in the lanes before `count`, zero in the others, which are not read; the step is 1 or 2."""

    def codegen(context, builder, signature, args):
        emit = Emitter(context, builder, signature, args, x.dtype)
        step, count, lanes = args[2], args[3], I64(emit.lanes)
        # A second number's second vector starts one number early, so that it ends with the last number that is wanted.
        near, far = emit.pointer(0, args[1]), emit.pointer(0, builder.add(args[1], I64(emit.lanes - 1)))

        def either(condition, first, second):
            with builder.if_else(condition) as (then, otherwise):
                with then:
                    results = [(first(), builder.block)]
                with otherwise:
                    results.append((second(), builder.block))
            chosen = builder.phi(emit.vector)
            for result in results:
                chosen.add_incoming(*result)
            return chosen

        def load_part(pointer, length):
            return emit.load_masked(pointer, I64(0), emit.first(length))

        def every_second(first, second):
            picked = [*range(0, emit.lanes, 2), *range(emit.lanes + 1, 2 * emit.lanes, 2)]
            return builder.shuffle_vector(first, second, ir.Constant(ir.VectorType(I32, emit.lanes), picked))

        def one_of_two():
            length = builder.sub(builder.add(count, count), I64(1))
            return either(
                whole,
                lambda: every_second(emit.load(near, I64(0)), emit.load(far, I64(0))),
                lambda: every_second(load_part(near, length), load_part(far, builder.sub(length, I64(emit.lanes - 1)))),
            )

        whole = builder.icmp_signed(">=", count, lanes)
        return either(
            builder.icmp_signed("==", step, I64(1)),
            lambda: either(whole, lambda: emit.load(near, I64(0)), lambda: load_part(near, count)),
            one_of_two,
        )

    return Vector(x.dtype)(x, types.intp, types.intp, types.intp), codegen


@intrinsic
def store_pairs(typingctx, a, b, y, at):
    """y[at + 2 * lane] = a and y[at + 2 * lane + 1] = b."""

    def codegen(context, builder, signature, args):
        emit = Emitter(context, builder, signature, args, y.dtype)
        half, target = emit.lanes // 2, emit.pointer(2, args[3])
        for part in range(2):
            mixed = [i + j for i in range(part * half, (part + 1) * half) for j in (0, emit.lanes)]
            pairs = builder.shuffle_vector(args[0], args[1], ir.Constant(ir.VectorType(I32, emit.lanes), mixed))
            emit.store(pairs, target, I64(part * emit.lanes))
        return context.get_dummy_value()

    return types.void(a, b, y, types.intp), codegen
