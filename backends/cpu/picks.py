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
    """x[at + step * lane] in the lanes before `count`; those after it, of which there may be none, hold anything."""

    def codegen(context, builder, signature, args):
        emit = Emitter(context, builder, signature, args, x.dtype)
        at, step, count = args[1:]
        start = emit.pointer(0, at)

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

        def one_of_two():
            # The second vector starts one number early, so that it ends with the last number that is wanted.
            far = emit.load(start, I64(emit.lanes - 1))
            picked = [*range(0, emit.lanes, 2), *range(emit.lanes + 1, 2 * emit.lanes, 2)]
            return builder.shuffle_vector(emit.load(start, I64(0)), far, constants(picked))

        def one_by_one():
            vector = ir.Constant(emit.vector, ir.Undefined)
            for lane in range(emit.lanes):
                present = builder.icmp_signed("<", I64(lane), count)
                place = builder.select(present, builder.mul(step, I64(lane)), I64(0))
                vector = builder.insert_element(vector, emit.element(start, place), I32(lane))
            return vector

        def constants(numbers):
            return ir.Constant(ir.VectorType(I32, emit.lanes), numbers)

        def side_by_side():
            return either(whole, lambda: emit.load(start, I64(0)), lambda: emit.load_masked(start, I64(0), present))

        whole = builder.icmp_signed(">=", count, I64(emit.lanes))
        present = emit.first(count)
        pairs = builder.and_(whole, builder.icmp_signed("==", step, I64(2)))
        single = builder.icmp_signed("==", step, I64(1))
        return either(single, side_by_side, lambda: either(pairs, one_of_two, one_by_one))

    return Vector(x.dtype)(x, types.intp, types.intp, types.intp), codegen


@intrinsic
def store_every(typingctx, vector, y, at, step, count):
    """y[at + step * lane] = the lane, for the lanes before `count`; number by number, as a scatter is slower."""

    def codegen(context, builder, signature, args):
        emit = Emitter(context, builder, signature, args, y.dtype)
        vector, _, at, step, count = args
        start = emit.pointer(1, at)

        def put(lane):
            place = builder.gep(start, [builder.mul(step, I64(lane))])
            builder.store(builder.extract_element(vector, I32(lane)), place)

        with builder.if_else(builder.icmp_signed(">=", count, I64(emit.lanes))) as (then, otherwise):
            with then:
                for lane in range(emit.lanes):
                    put(lane)
            with otherwise:
                for lane in range(emit.lanes):
                    with builder.if_then(builder.icmp_signed("<", I64(lane), count)):
                        put(lane)
        return context.get_dummy_value()

    return types.void(vector, y, types.intp, types.intp, types.intp), codegen


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
