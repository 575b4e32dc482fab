"""Programs on fragments give the bits of the programs they were made from, and have no dilated convolution left."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from fullmocha.backends.phases import split_phases
from fullmocha.backends.program import Interpreter, Program, Recorder, Step, Value, Weight
from fullmocha.backends.reference import Ops as Reference
from fullmocha.backends.shapes import Shape, Window
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import fullmocha as fm
from fullmocha.plan import lay_out

from .neurons import NEURONS
from .strategies import PatchNet, patch_nets

_SETTINGS = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
F8 = np.dtype(np.float64)
TAME = [n for n in NEURONS if n[0] not in ("exponential", "log", "power")]  # these leave the numbers that floats have


@dataclass
class Shared:
    """A parameter as a program knows it."""

    array: Any
    version: int = 0


class Sketch:
    """A program in the making; every op makes a value of its own and returns it."""

    def __init__(self, *image: int, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.recorder = Recorder(F8)
        self.image = self.recorder.value(image)

    def weight(self, *shape: int) -> Weight:
        return Weight(Shared(self.rng.normal(size=shape)), shape)

    def add(self, op: str, x: Value, shape: Shape, *params: Weight | None, **options: Any) -> Value:
        y = self.recorder.value(shape)
        self.recorder.layer = f"{op}{y.buffer}"
        getattr(self.recorder, op)(x, *params, y, **options)
        return y

    def conv(self, x: Value, maps: int, window: Window, group: int = 1) -> Value:
        n, c, *size = x.shape
        w, b = self.weight(maps, c // group, *window.kernel), self.weight(maps)
        return self.add("conv", x, (n, maps, *window.slides(tuple(size))), w, b, window=window, group=group)

    def deconv(self, x: Value, maps: int, window: Window) -> Value:
        n, c, *size = x.shape
        w, b = self.weight(c, maps, *window.kernel), self.weight(maps)
        return self.add("deconv", x, (n, maps, *window.spread(tuple(size))), w, b, window=window, group=1)

    def pool(self, x: Value, window: Window, kind: str = "max") -> Value:
        y = (*x.shape[:2], *window.slides(x.shape[2:]))
        options = {} if kind == "max" else {"clip_divisor": kind == "clipped"}
        return self.add("max_pool" if kind == "max" else "mean_pool", x, y, window=window, **options)

    def neuron(self, x: Value, kind: str = "tanh", *parameters: float) -> Value:
        return self.add("activate", x, x.shape, kind=kind, parameters=parameters or (0.25,) * (kind == "relu"))

    def join(self, a: Value, b: Value) -> Value:
        """a, and beside it the corner of b that is as large."""
        n, c, *size = a.shape
        y = self.recorder.value((n, c + b.shape[1], *size))
        self.recorder.layer = f"join{y.buffer}"
        self.recorder.move(a, y, source=(0, 0, 0, 0), target=(0, 0, 0, 0), size=a.shape)
        self.recorder.move(b, y, source=(0, 0, 0, 0), target=(0, c, 0, 0), size=(n, b.shape[1], *size))
        return y

    def combine(self, *xs: Value, operation: str = "sum") -> Value:
        y = self.recorder.value(xs[0].shape)
        self.recorder.layer = f"combine{y.buffer}"
        self.recorder.combine(*xs, y, operation=operation, coefficients=())
        return y

    def program(self, *outputs: Value) -> Program:
        return Program(tuple(self.recorder.steps), self.image, outputs, F8)


def answers(program: Program, x: np.ndarray) -> list[np.ndarray]:
    ops = Reference()
    return Interpreter(ops, program, lay_out(ops, program))(x)


def same_bits(program: Program, seed: int = 1) -> Program:
    """Runs both programs, in the arena that the planner lays out; returns the new one."""
    split = split_phases(program)
    x = np.random.default_rng(seed).normal(size=program.input.shape).astype(program.dtype)
    for ours, theirs in zip(answers(split, x), answers(program, x), strict=True):
        np.testing.assert_array_equal(ours, theirs)
        assert ours.tobytes() == theirs.tobytes()
    return split


def spread(step: Step) -> bool:
    """Whether its kernel has gaps."""
    window = step.options.get("window")
    return window is not None and any(k > 1 and d > 1 for k, d in zip(window.kernel, window.dilation, strict=True))


def splits(step: Step) -> bool:
    """Whether it is to be split: a convolution with gaps, and neither stride nor padding."""
    window = step.options.get("window")
    return step.op == "conv" and spread(step) and (max(window.stride), max(window.pad)) == (1, 0)


def ops_of(program: Program) -> list[str]:
    return [step.op for step in program.steps]


@st.composite
def programs(draw: st.DrawFn) -> Program:
    """Random graphs: any value may be read again, several are asked for, and windows of all kinds follow each other."""
    size = (draw(st.integers(9, 26)), draw(st.integers(9, 26)))
    sketch = Sketch(draw(st.integers(1, 2)), 2, *size, seed=draw(st.integers(0, 99)))
    values = [sketch.image]
    dilations = st.sampled_from([(1, 1), (2, 2), (2, 2), (4, 4), (4, 4), (3, 3), (2, 1), (1, 3), (4, 2), (6, 4)])
    kinds = ["conv"] * 6 + [
        "point",
        "max",
        "mean",
        "clipped",
        "neuron",
        "at least",
        "softmax",
        "rows",
        "join",
        "up",
        "combine",
        "combine",
    ]
    for _ in range(draw(st.integers(1, 8))):
        x = values[-1] if draw(st.integers(0, 3)) else draw(st.sampled_from(values))
        kind = draw(st.sampled_from(kinds))
        kernel = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
        stride, pad = draw(st.sampled_from([((1, 1), (0, 0))] * 6 + [((2, 1), (0, 0)), ((1, 1), (1, 0))]))
        window = Window((1, 1) if kind == "point" else kernel, stride, pad, draw(dilations))
        pads = any(p >= e for p, e in zip(pad, window.extent, strict=True))
        if kind in ("conv", "point", "max", "mean", "clipped") and (pads or min(window.slides(x.shape[2:])) < 1):
            continue
        if kind in ("conv", "point"):
            values.append(sketch.conv(x, draw(st.sampled_from([2, 4])), window, 2 if x.shape[1] % 2 == 0 else 1))
        elif kind in ("max", "mean", "clipped"):
            values.append(sketch.pool(x, window, kind))
        elif kind == "at least":
            values.append(sketch.neuron(x, "at_least", 0.1))
        elif kind in ("softmax", "rows"):
            values.append(sketch.add("softmax", x, x.shape, axis=1 if kind == "softmax" else 2))
        elif kind == "join":
            others = [v for v in values if all(m >= n for m, n in zip(v.shape[2:], x.shape[2:], strict=True))]
            values.append(sketch.join(x, draw(st.sampled_from(others))))
        elif kind == "combine":
            alike = [v for v in values if v.shape == x.shape]
            others = draw(st.lists(st.sampled_from(alike), min_size=1, max_size=2))
            values.append(sketch.combine(x, *others, operation=draw(st.sampled_from(["sum", "maximum"]))))
        elif kind == "up":
            values.append(sketch.deconv(x, 2, Window.of((2, 2), stride=2)) if max(x.shape) < 30 else sketch.neuron(x))
        else:
            kind, parameters = draw(st.sampled_from(TAME))
            values.append(sketch.neuron(x, kind, *parameters))
    return sketch.program(values[-1], *draw(st.lists(st.sampled_from(values), max_size=2, unique=True)))


def check_random(program: Program) -> None:
    split = same_bits(program)
    assert not any(map(splits, split.steps))
    kept = [s for s in split.steps if s.op not in ("fragment", "stitch")]
    assert [(s.op, s.layer) for s in kept] == [(s.op, s.layer) for s in program.steps]
    if not any(map(splits, program.steps)):
        assert len(split.steps) == len(program.steps)


@_SETTINGS
@given(programs())
def test_random_programs(program: Program) -> None:
    check_random(program)


@pytest.mark.slow
@settings(max_examples=2000, deadline=None, suppress_health_check=list(HealthCheck))
@given(programs())
def test_many_random_programs(program: Program) -> None:
    check_random(program)


@_SETTINGS
@given(patch_nets(), st.tuples(st.integers(0, 7), st.integers(0, 7)), st.sampled_from(["float32", "float64"]))
def test_random_nets_of_strided_kernels(spec: PatchNet, extra: tuple[int, int], dtype: str) -> None:
    net = fm.Net("random", fm.ReferenceBackend(1), spec.layers, dtype=dtype)
    net.init()
    dense = fm.densify(net, "strided")
    size = tuple(p + e for p, e in zip(spec.patch, extra, strict=True))
    program = dense.program((2, spec.channels, *size))
    assume(any(map(spread, program.steps)))
    same_bits(program)


def sk_like(sketch: Sketch, x: Value, maps: int = 3) -> Value:
    """Three levels of SK: dilations 1, 2, 4 and 8, and two convolutions of one element."""
    for kernel, dilation in ((3, 1), (2, 2), (3, 4)):
        x = sketch.neuron(sketch.conv(x, maps, Window.of((kernel, kernel), dilation=dilation)), "relu")
        x = sketch.pool(x, Window.of((2, 2), dilation=dilation))
    x = sketch.neuron(sketch.conv(x, 2 * maps, Window.of((3, 3), dilation=8)), "relu")
    return sketch.neuron(sketch.conv(x, maps, Window.of((1, 1))), "relu")


def test_sk_is_split_behind_its_pools_and_stitched_at_the_end() -> None:
    sketch = Sketch(2, 1, 51, 46)
    x = sketch.conv(sk_like(sketch, sketch.image), 2, Window.of((1, 1)))
    program = sketch.program(sketch.add("softmax", x, x.shape, axis=1))
    split = same_bits(program)
    level = ["conv", "activate", "max_pool", "fragment"]
    assert ops_of(split) == 3 * level + 2 * ["conv", "activate"] + ["conv", "softmax", "stitch"]
    assert not any(map(spread, split.steps))
    moved = [(s.layer, s.options["strides"]) for s in split.steps if s.op in ("fragment", "stitch")]
    pools = [s.layer for s in program.steps if s.op == "max_pool"]
    assert moved == [(pool, ((2, 2),)) for pool in pools] + [(program.steps[-1].layer, ((2, 2),) * 3)]


def test_usk_is_stitched_before_it_goes_up() -> None:
    sketch = Sketch(1, 2, 106, 98)
    skip = sketch.conv(sketch.image, 3, Window.of((3, 3)))
    deep = sk_like(sketch, sketch.pool(skip, Window.of((2, 2), stride=2)))
    joined = sketch.join(sketch.deconv(deep, 3, Window.of((2, 2), stride=2)), skip)
    program = sketch.program(sketch.conv(joined, 2, Window.of((3, 3))))
    split = same_bits(program)
    assert not any(map(spread, split.steps))
    assert ops_of(split)[:2] == ["conv", "max_pool"]
    assert ops_of(split)[-5:] == ["stitch", "deconv", "move", "move", "conv"]
    assert len(split.steps) == len(program.steps) + 4


def test_a_program_without_gaps_is_left_as_it_is() -> None:
    sketch = Sketch(1, 2, 12, 9)
    skip = sketch.conv(sketch.image, 3, Window.of((3, 2)))
    up = sketch.deconv(sketch.pool(skip, Window.of((2, 2), stride=2)), 2, Window.of((2, 2), stride=2))
    program = sketch.program(sketch.join(up, skip), skip)
    assert split_phases(program) == program


def test_readers_that_disagree_each_get_their_form_and_share_it() -> None:
    """One map, read as it is, twice by twos, by twos and threes, and by the caller."""
    sketch = Sketch(2, 1, 20, 23)
    x = sketch.neuron(sketch.image)
    by_twos = [sketch.conv(x, 2, Window.of((2, 2), dilation=2)) for _ in range(2)]
    mixed = sketch.conv(x, 2, Window((2, 2), (1, 1), (0, 0), (2, 3)))
    plain = sketch.conv(x, 2, Window.of((3, 3)))
    split = same_bits(sketch.program(x, *by_twos, mixed, plain))
    assert ops_of(split).count("fragment") == 2
    assert ops_of(split).count("stitch") == 3


def test_the_last_split_is_undone_alone() -> None:
    """Dilations 2, 4, 2: the fourfold fragments are joined to the twofold ones in one step."""
    sketch = Sketch(2, 1, 29, 33)
    x = sketch.image
    for dilation in (2, 4, 2):
        x = sketch.conv(x, 2, Window.of((3, 2), dilation=dilation))
    split = same_bits(sketch.program(x))
    assert ops_of(split) == ["fragment", "conv", "fragment", "conv", "stitch", "conv", "stitch"]
    moved = [s.options["strides"] for s in split.steps if s.op != "conv"]
    assert moved == [((2, 2),), ((2, 2),), ((2, 2),), ((2, 2),)]
    assert [s.write.shape[0] for s in split.steps] == [8, 8, 32, 32, 8, 8, 2]


def test_a_pool_alone_is_not_worth_a_split() -> None:
    sketch = Sketch(1, 2, 11, 13)
    x = sketch.pool(sketch.image, Window.of((2, 2), dilation=3))
    assert ops_of(same_bits(sketch.program(sketch.conv(x, 2, Window.of((1, 1)))))) == ["max_pool", "conv"]


def test_a_value_under_two_shapes_stays_whole() -> None:
    """What an inner product flattens may not be taken apart."""
    sketch = Sketch(2, 1, 9, 8)
    x = sketch.conv(sketch.image, 2, Window.of((3, 3), dilation=2))
    flat = sketch.recorder.reshape(x, (2, 2 * 5 * 4, 1, 1))
    split = same_bits(sketch.program(sketch.conv(flat, 3, Window.of((1, 1)))))
    assert ops_of(split) == ["conv", "conv"]


def test_fragments_cost_what_rounding_up_costs() -> None:
    sketch = Sketch(1, 1, 18, 17)
    program = sketch.program(sketch.conv(sketch.image, 2, Window.of((3, 3), dilation=4)))  # to 10 x 9
    assert program.flops == 2 * 2 * 9 * 10 * 9
    assert same_bits(program).flops == 2 * 2 * 9 * 12 * 12


def test_what_two_steps_write_is_split_once_it_is_complete() -> None:
    sketch = Sketch(2, 2, 17, 14)
    a = sketch.conv(sketch.image, 3, Window.of((2, 2), dilation=2))
    joined = sketch.join(a, sketch.image)
    sketch.neuron(joined)
    program = sketch.program(sketch.conv(joined, 2, Window.of((3, 3), dilation=2)))
    split = same_bits(program)
    assert ops_of(split) == ["fragment", "conv", "stitch", "move", "move", "activate", "fragment", "conv", "stitch"]
    first, move, *rest = program.steps
    half = Step(
        "activate", (joined,), sketch.recorder.value(joined.shape), {"kind": "tanh", "parameters": ()}, "half", F8
    )
    early = replace(program, steps=(first, move, half, *rest))  # read between the two moves: not to be taken apart
    assert ops_of(split_phases(early))[3:] == ["move", "activate", "move", "activate", "conv"]


def test_residual_branches_stay_on_their_fragments() -> None:
    """Two branches of one dilation, added: nothing is stitched between them, and what was split for one serves the other."""
    sketch = Sketch(2, 2, 23, 26)
    x = sketch.conv(sketch.image, 3, Window.of((2, 3), dilation=2))
    for _ in range(2):
        x = sketch.combine(sketch.conv(sketch.neuron(x), 3, Window.of((1, 1))), x)
    left, right = (sketch.conv(x, 3, Window.of((3, 3), dilation=4)) for _ in range(2))
    split = same_bits(sketch.program(sketch.neuron(sketch.combine(left, right, operation="maximum"))))
    block = ["activate", "conv", "combine"]
    assert ops_of(split) == [
        "fragment",
        "conv",
        *block,
        *block,
        "fragment",
        "conv",
        "conv",
        "combine",
        "activate",
        "stitch",
    ]


def test_branches_split_in_other_ways_meet_on_the_finer_fragments() -> None:
    """One was split by 6 at once, the other by 2: that one is split by what is left, or anew."""
    sketch = Sketch(1, 2, 29, 31)
    fine = sketch.conv(sketch.image, 2, Window.of((2, 2), dilation=6))
    coarse = sketch.conv(sketch.image, 2, Window.of((4, 4), dilation=2))
    split = same_bits(sketch.program(sketch.combine(coarse, fine, coarse)))
    assert ops_of(split) == ["fragment", "conv", "fragment", "conv", "stitch", "fragment", "combine", "stitch"]
    assert split.steps[-2].write.shape[0] == 36


def test_what_is_written_over_in_part_is_computed_whole() -> None:
    sketch = Sketch(2, 2, 11, 14)
    a = sketch.conv(sketch.image, 2, Window.of((2, 2), dilation=2))
    b = sketch.neuron(a)
    sketch.recorder.move(sketch.image, b, source=(0, 0, 1, 2), target=(0, 0, 2, 1), size=(2, 2, 5, 6))
    split = same_bits(sketch.program(sketch.conv(b, 3, Window.of((2, 3)))))
    assert ops_of(split) == ["fragment", "conv", "stitch", "activate", "move", "conv"]
