"""A recorded program, interpreted in one arena, gives the same bits as the calls themselves; its work is counted."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from fullmocha.backends.program import Candidate, Interpreter, Plan, Program, Recorder, Step, Value, Weight
from fullmocha.backends.reference import Ops as Reference
from fullmocha.backends.shapes import Shape, Window


@dataclass
class Shared:
    """A parameter as a program knows it."""

    array: Any
    version: int = 0


def device(ops: Any, host: np.ndarray) -> Any:
    place = ops.empty(host.shape, host.dtype)
    ops.from_host(host, place)
    return place


THREE, TWO, ONE = Window.of((3, 3)), Window.of((2, 2)), Window.of((1, 1))


def forward(ops: Any, x: Any, y: list[Any], w: Any, b: Any, v: Any) -> None:
    """conv - relu - max pool - mean pool - conv without bias, of images of 7 x 6: what every backend has."""
    ops.conv(x, w, b, y[0], window=THREE, group=1)
    ops.activate(y[0], y[1], kind="relu", parameters=(0.25,))
    ops.max_pool(y[1], y[2], window=TWO)
    ops.mean_pool(y[2], y[3], window=TWO, clip_divisor=False)
    ops.conv(y[3], v, None, y[4], window=ONE, group=1)


INPUT: Shape = (2, 2, 7, 6)
SHAPES: list[Shape] = [(2, 3, 5, 4), (2, 3, 5, 4), (2, 3, 4, 3), (2, 3, 3, 2), (2, 4, 3, 2)]


def recorded(w: Shared, b: Shared, v: Shared, dtype: np.dtype) -> Program:
    """v is kept as (4, 3) and seen by the convolution as (4, 3, 1, 1)."""
    recorder = Recorder(dtype, layer="net")
    x = recorder.value(INPUT)
    y = [recorder.value(shape) for shape in SHAPES]
    forward(recorder, x, y, Weight(w, (3, 2, 3, 3)), Weight(b, (3,)), Weight(v, (4, 3, 1, 1)))
    return Program(tuple(recorder.steps), x, (y[4], y[0]), dtype)


def laid_out(program: Program, ops: Any) -> Plan:
    """Every buffer in a place of its own."""
    offsets, end = {}, 0
    for buffer, size in program.sizes().items():
        offsets[buffer], end = end, end + -(-size // 64) * 64
    chosen = tuple(ops.candidates(step)[0] for step in program.steps)
    return Plan(chosen, offsets, end, max(c.workspace for c in chosen))


def test_same_bits_as_the_calls(ops: Any, draw: Any, dtype: np.dtype) -> None:
    """And a parameter that changes between two runs is seen."""
    x, w, b, v = draw(*INPUT), draw(3, 2, 3, 3), draw(3), draw(4, 3)
    shared = [Shared(device(ops, a)) for a in (w, b, v)]
    program = recorded(shared[0], shared[1], shared[2], dtype)
    run = ops.compile(program, laid_out(program, ops))
    for _ in range(2):
        answers = run(x)
        y = [ops.empty(shape, dtype) for shape in SHAPES]
        filters = ops.reshape(shared[2].array, (4, 3, 1, 1))
        forward(ops, device(ops, x), y, shared[0].array, shared[1].array, filters)
        for answer, called in zip(answers, (y[4], y[0]), strict=True):
            assert answer.dtype == dtype and answer.flags.c_contiguous
            np.testing.assert_array_equal(answer, ops.to_host(called))
        ops.from_host(draw(4, 3), shared[2].array)
        shared[2].version += 1


def test_the_caller_may_keep_answers(ops: Any, draw: Any, dtype: np.dtype) -> None:
    """They are fresh arrays, not views of the arena."""
    shared = [Shared(device(ops, a)) for a in (draw(3, 2, 3, 3), draw(3), draw(4, 3))]
    program = recorded(shared[0], shared[1], shared[2], dtype)
    run = ops.compile(program, laid_out(program, ops))
    first = run(draw(*INPUT))
    kept = [a.copy() for a in first]
    run(draw(*INPUT))
    for a, b in zip(first, kept, strict=True):
        np.testing.assert_array_equal(a, b)


def test_buffers_may_share_memory(draw: Any) -> None:
    """Buffers in turn at the two ends of an arena that holds two of the largest; the input is dead after its step."""
    ops, dtype = Reference(), np.dtype(np.float64)
    shared = [Shared(a.astype(dtype)) for a in (draw(3, 2, 3, 3), draw(3), draw(4, 3))]
    program = recorded(shared[0], shared[1], shared[2], dtype)
    program = Program(program.steps, program.input, program.outputs[:1], dtype)
    x, largest = draw(*INPUT).astype(dtype), max(program.sizes().values())
    tight = Plan((), {b: (i % 2) * largest for i, b in enumerate(sorted(program.sizes()))}, 2 * largest, 0)
    roomy = Interpreter(ops, program, laid_out(program, ops))(x)
    np.testing.assert_array_equal(Interpreter(ops, program, tight)(x)[0], roomy[0])


def test_the_recorder_writes_down_what_was_called() -> None:
    recorder = Recorder(np.dtype(np.float64), layer="conv1")
    x, y = recorder.value((1, 2, 5, 6)), recorder.value((1, 4, 3, 4))
    weight = Weight(Shared(np.zeros((4, 2, 3, 3))), (4, 2, 3, 3))
    recorder.conv(x, weight, None, y, window=THREE, group=1)
    recorder.layer = "flat"
    flat = recorder.reshape(y, (1, 48))
    recorder.softmax(flat, flat, axis=1)
    assert recorder.steps == [
        Step("conv", (x, weight, None), y, {"window": THREE, "group": 1}, "conv1", np.dtype(np.float64)),
        Step("softmax", (Value(1, (1, 48)),), Value(1, (1, 48)), {"axis": 1}, "flat", np.dtype(np.float64)),
    ]


@pytest.mark.parametrize(
    ("op", "x", "w", "y", "flops"),
    [
        # 2 images x 4 maps x 3 x 5 outputs, each 3 channels x 2 x 2 taps, each a product and a sum
        ("conv", (2, 3, 4, 6), (4, 3, 2, 2), (2, 4, 3, 5), 2 * 120 * 12),
        # two groups: 4 maps of 3 of the 6 channels
        ("conv", (1, 6, 4, 6), (4, 3, 2, 2), (1, 4, 3, 5), 2 * 60 * 12),
        # each of 2 x 3 x 12 inputs goes through 5 maps x 4 taps
        ("deconv", (2, 3, 3, 4), (3, 5, 2, 2), (2, 5, 6, 8), 2 * 72 * 20),
        ("max_pool", (2, 3, 4, 6), (1,), (2, 3, 2, 3), 0),
    ],
)
def test_flops_by_hand(op: str, x: Shape, w: Shape, y: Shape, flops: int) -> None:
    step = Step(op, (Value(0, x), Weight(Shared(None), w), None), Value(1, y), {}, "layer", np.dtype(np.float32))
    assert step.flops == flops


def test_a_program_adds_up() -> None:
    shared = Shared(None)
    program = recorded(shared, shared, shared, np.dtype(np.float32))
    assert program.flops == 2 * (2 * 3 * 5 * 4 * 18 + 2 * 4 * 3 * 2 * 3)
    elements = [168, 120, 120, 72, 36, 48]
    assert program.sizes() == {buffer: 4 * n for buffer, n in enumerate(elements)}
    plan = Plan((Candidate("a", 1.5, 10), Candidate("b", 2.5, 30)), {}, 100, 30)
    assert (plan.seconds, plan.nbytes) == (4.0, 130)


# ---- storage, the ops under all of this


def test_views_of_one_arena_are_its_bytes(ops: Any, draw: Any, dtype: np.dtype) -> None:
    arena = ops.empty((1024,), np.dtype(np.uint8))
    a, b = ops.view(arena, 64, (3, 5), dtype), ops.view(arena, 512, (2, 2, 3), dtype)
    x, y = draw(3, 5), draw(2, 2, 3)
    ops.from_host(x, a)
    ops.from_host(y, b)
    np.testing.assert_array_equal(ops.to_host(a), x)
    np.testing.assert_array_equal(ops.to_host(b), y)
    host = np.array(ops.to_host(arena))
    np.testing.assert_array_equal(host[64 : 64 + x.nbytes], x.view(np.uint8).ravel())
    ops.fill(ops.reshape(a, (15,)), value=2.5)
    np.testing.assert_array_equal(ops.to_host(a), np.full((3, 5), 2.5))


def test_from_host_converts(ops: Any, dtype: np.dtype) -> None:
    """Also integers, and arrays that are views or broadcasts."""
    y = ops.empty((3, 4), dtype)
    for host in (np.arange(12, dtype=np.uint8).reshape(3, 4), np.arange(24.0).reshape(4, 6)[:, ::2].T, np.full((), 7)):
        host = np.broadcast_to(host, (3, 4))
        ops.from_host(host, y)
        np.testing.assert_array_equal(ops.to_host(y), host)
        assert ops.to_host(y).dtype == dtype


def test_available(backend_name: str) -> None:
    """Skipped, with the reason, where a backend cannot run here; the tests above then leave it out."""
    assert backend_name
