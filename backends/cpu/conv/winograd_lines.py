"""Winograd's transforms along one axis, as straight-line vector code; two of them in a row transform a tile.

A vector holds one pixel of `lanes` channels, so there is nothing to shuffle. Each transform is one function of the
compiled module that is never inlined: it has a case for every tile, and copies of that would be slow to compile.
"""

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ..simd import I32, I64, Emitter
from .toom_cook import LARGEST, POINTS, SMALLEST, Schedule, input_schedule, output_schedule

LONGEST = 6  # taps
EVALUATED = range(SMALLEST, LARGEST + 1)
INTERPOLATED = [(t, m) for t in EVALUATED for m in range(2, t) if t - m + 1 <= LONGEST]


def _applied(emit: Emitter, schedule: Schedule, values: list[Any]) -> list[Any]:
    """The results of a schedule for these vectors."""
    builder = emit.builder
    for a, c, b in schedule.steps:
        if a >= 0 and abs(c) == 1:
            values.append((builder.fadd if c > 0 else builder.fsub)(values[a], values[b]))
            continue
        factor = ir.Constant(emit.vector, [c] * emit.lanes)
        values.append(emit.multiply_add(factor, values[b], values[a]) if a >= 0 else builder.fmul(factor, values[b]))
    return [values[i] for i in schedule.results]


def _lines(emit: Emitter, count: Any, body: Callable[[Any], None]) -> None:
    """body(line) for line = 0 .. count - 1; count is at least one."""
    builder = emit.builder
    before, loop = builder.block, builder.append_basic_block("lines")
    after = builder.append_basic_block("done")
    builder.branch(loop)
    builder.position_at_end(loop)
    line = builder.phi(I64)
    body(line)
    following = builder.add(line, I64(1))
    line.add_incoming(I64(0), before)
    line.add_incoming(following, builder.block)
    builder.cbranch(builder.icmp_signed("<", following, count), loop, after)
    builder.position_at_end(after)


def _chosen(emit: Emitter, key: Any, cases: Sequence[tuple[int, Callable[[], None]]]) -> None:
    """Runs the case of that key; another one does nothing."""
    builder = emit.builder
    after = builder.append_basic_block("chosen")
    switch = builder.switch(key, after)
    for number, write in cases:
        block = builder.append_basic_block(f"case{number}")
        switch.add_case(I64(number), block)
        builder.position_at_end(block)
        write()
        builder.branch(after)
    builder.position_at_end(after)


def _along(emit: Emitter, schedule: Schedule, source: Sequence, target: Sequence, count: Any, ending: Callable) -> None:
    """A schedule for `count` lines; source and target are (pointer, step, from line to line)."""
    builder = emit.builder
    x, step, following = source
    y, to_step, to_following = target
    steps = [builder.mul(step, I64(i)) for i in range(schedule.inputs)]
    to_steps = [builder.mul(to_step, I64(i)) for i in range(len(schedule.results))]

    def body(line: Any) -> None:
        at, to = builder.gep(x, [builder.mul(line, following)]), builder.gep(y, [builder.mul(line, to_following)])
        results = _applied(emit, schedule, [emit.load(at, s) for s in steps])
        for vector, place in zip(results, to_steps, strict=True):
            emit.store(ending(vector), to, place)

    _lines(emit, count, body)


def _outlined(
    emit: Emitter, dtype: Any, name: str, values: Sequence[Any], write: Callable[[Emitter, Sequence[Any]], None]
) -> None:
    """Calls the function that `write` makes of an emitter and the function's arguments."""
    module = emit.builder.module
    name = f"fullmocha_winograd_{name}_{8 * emit.bytes}"
    function = module.globals.get(name)
    if function is None:
        function = ir.Function(module, ir.FunctionType(ir.VoidType(), [v.type for v in values]), name)
        function.linkage = "linkonce_odr"
        function.attributes.add("noinline")
        function.attributes.add("optsize")  # no unrolling
        builder = ir.IRBuilder(function.append_basic_block())
        write(Emitter(emit.context, builder, emit.signature, function.args, dtype), function.args)
        builder.ret_void()
    emit.builder.call(function, values)


@intrinsic
def evaluate(typingctx, tile, x, x_at, x_step, x_next, y, y_at, y_step, y_next, lines):
    """B^T for tiles of `tile` vectors, on each of `lines` lines.

    Line n reads x[x_at + n * x_next + i * x_step], i < tile, and writes y[y_at + n * y_next + i * y_step].
    """

    def write(emit, values):
        key, source, target, count = values[0], values[1:4], values[4:7], values[7]

        def case(t: int) -> tuple[int, Callable[[], None]]:
            return t, lambda: _along(emit, input_schedule(POINTS[t]), source, target, count, lambda vector: vector)

        _chosen(emit, key, [case(t) for t in EVALUATED])

    def codegen(context, builder, signature, args):
        emit = Emitter(context, builder, signature, args, x.dtype)
        values = args[0], emit.pointer(1, args[2]), *args[3:5], emit.pointer(5, args[6]), *args[7:]
        _outlined(emit, x.dtype, "evaluate", values, write)
        return context.get_dummy_value()

    at = types.intp
    return types.void(at, x, at, at, at, y, at, at, at, at), codegen


@intrinsic
def interpolate(typingctx, tile, outputs, x, x_at, x_step, x_next, y, y_at, y_step, y_next, lines):
    """A^T, from tiles of `tile` vectors to `outputs` vectors, on each of `lines` lines, as in `evaluate`."""

    def write(emit, values):
        _interpolated(emit, values[:9], lambda vector: vector)

    def codegen(context, builder, signature, args):
        emit = Emitter(context, builder, signature, args, x.dtype)
        values = *args[:2], emit.pointer(2, args[3]), *args[4:6], emit.pointer(6, args[7]), *args[8:]
        _outlined(emit, x.dtype, "interpolate", values, write)
        return context.get_dummy_value()

    at = types.intp
    return types.void(at, at, x, at, at, at, y, at, at, at, at), codegen


@intrinsic
def interpolate_last(
    typingctx, tile, outputs, x, x_at, x_step, x_next, y, y_at, y_step, y_next, lines, bias, bias_at, slope
):
    """As `interpolate`; then s = a + bias[bias_at + lane] is written as s > 0 ? s : slope * s."""

    def write(emit, values):
        start, factor = emit.load(values[9], I64(0)), emit.spread(values[10], emit.scalar)

        def ending(vector: Any) -> Any:
            value = emit.builder.fadd(vector, start)
            positive = emit.builder.fcmp_ordered(">", value, emit.zero)
            return emit.builder.select(positive, value, emit.builder.fmul(factor, value))

        _interpolated(emit, values[:9], ending)

    def codegen(context, builder, signature, args):
        emit = Emitter(context, builder, signature, args, x.dtype)
        source, target, start = emit.pointer(2, args[3]), emit.pointer(6, args[7]), emit.pointer(11, args[12])
        values = *args[:2], source, *args[4:6], target, *args[8:11], start, args[13]
        _outlined(emit, x.dtype, "interpolate_last", values, write)
        return context.get_dummy_value()

    at = types.intp
    return types.void(at, at, x, at, at, at, y, at, at, at, at, bias, at, x.dtype), codegen


def _interpolated(emit: Emitter, values: Sequence[Any], ending: Callable) -> None:
    tile, outputs, source, target, count = values[0], values[1], values[2:5], values[5:8], values[8]

    def case(t: int, m: int) -> tuple[int, Callable[[], None]]:
        schedule = output_schedule(POINTS[t], m)
        return t * LARGEST + m, lambda: _along(emit, schedule, source, target, count, ending)

    key = emit.builder.add(emit.builder.mul(tile, I64(LARGEST)), outputs)
    _chosen(emit, key, [case(t, m) for t, m in INTERPOLATED])


@intrinsic
def prefetch_to(typingctx, y, at):
    """Asks for the cache line of y[at], which is going to be written."""

    def codegen(context, builder, signature, args):
        emit = Emitter(context, builder, signature, args, y.dtype)
        write, second_level, data = I32(1), I32(2), I32(1)
        emit.call("llvm.prefetch.p0", ir.VoidType(), emit.pointer(0, args[1]), write, second_level, data)
        return context.get_dummy_value()

    return types.void(y, types.intp), codegen
