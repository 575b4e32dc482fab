"""What becomes of a program: the steps of the backend, and the same answers whatever is fused."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from fullmocha.backends.cpu import Ops
from fullmocha.backends.phases import split_phases
from fullmocha.backends.program import Program, Value
from hypothesis import given, settings
from hypothesis import strategies as st

import fullmocha as fm
from fullmocha.models import lenet, n4, sk, u, usk

from ..neurons import NEURONS, name_of
from .programs import Draft, by_reference, compiled, errors, names, source

Build = Callable[[Draft, Value], tuple[Value, ...]]

# Direct sums err by 4e-6 of the RMS per convolution (DESIGN section 4), and here at most five follow one another, in maps
# whose RMS a rectifier or a maximum changes by no more than two.
BOUND = {"float32": 4e-5, "float64": 1e-12}


def branch(d: Draft, x: Value) -> tuple[Value, ...]:
    """A convolution that two steps and the caller read keeps its rectifier apart; what hangs on it is fused."""
    a = d.conv(x, 20, (3, 3))
    left = d.max_pool(d.activate(a), (2, 2))
    right = d.softmax(d.conv(d.activate(d.conv(a, 17, (2, 2)), "relu", 0.1), 3, (1, 1)))
    return left, a, right


def padded(d: Draft, x: Value) -> tuple[Value, ...]:
    a = d.activate(d.conv(x, 24, (3, 4), pad=(1, 2)))
    return (d.conv(a, 9, (5, 3), (2, 1), (2, 1)),)


def groups(d: Draft, x: Value) -> tuple[Value, ...]:
    a = d.activate(d.conv(d.conv(x, 24, (3, 3)), 36, (3, 2), group=3, bias=False))
    return (d.conv(a, 7, (2, 2)),)


def up_by_channel(d: Draft, x: Value) -> tuple[Value, ...]:
    """As Greentea's nets go up: each channel by itself, windows side by side."""
    a = d.activate(d.conv(x, 19, (3, 3)))
    a = d.deconv(d.max_pool(a, (2, 3), (2, 3)), 19, (2, 3), (2, 3), group=19, bias=False)
    return (d.conv(a, 5, (3, 3)),)


def up_in_other_ways(d: Draft, x: Value) -> tuple[Value, ...]:
    a = d.activate(d.conv(x, 12, (3, 3)))
    full = d.deconv(a, 10, (2, 2), (2, 2))
    overlapping = d.deconv(a, 12, (4, 3), (2, 1), (1, 0), group=12)
    return d.conv(full, 4, (2, 2)), d.conv(overlapping, 4, (2, 2))


def up_then_point(d: Draft, x: Value) -> tuple[Value, ...]:
    """Upsampling and a 1 x 1 convolution are one step, whichever comes first: that depends on the weights."""
    a = d.max_pool(d.activate(d.conv(x, 19, (3, 3))), (2, 2), (2, 2))
    near = d.conv(d.deconv(a, 19, (2, 2), (2, 2), group=19, equal=True), 33, (1, 1))
    far = d.activate(d.conv(d.deconv(a, 19, (2, 3), (2, 3), group=19, bias=False), 8, (1, 1), bias=False), "relu", 0.2)
    both = d.activate(d.conv(d.deconv(a, 19, (1, 2), (1, 2), group=19, equal=True), 5, (1, 1), bias=False))
    return near, d.conv(far, 3, (2, 2)), both


def merge(d: Draft, x: Value) -> tuple[Value, ...]:
    """U's: a crop of what went by, and what came up, in whole vectors; the last part may end within one."""
    a, b = d.activate(d.conv(x, 32, (3, 3))), d.activate(d.conv(x, 21, (5, 7)))
    return (d.conv(d.merge(d.crop(a, (1, 2), b.shape[2:]), b), 6, (2, 2)),)


def merge_in_part(d: Draft, x: Value) -> tuple[Value, ...]:
    """The first part ends within a vector."""
    a, b = d.activate(d.conv(x, 21, (3, 3))), d.activate(d.conv(x, 32, (3, 3)))
    return (d.conv(d.merge(a, b), 6, (2, 2)),)


def some_channels(d: Draft, x: Value) -> tuple[Value, ...]:
    a = d.conv(x, 50, (3, 3))
    size = (a.shape[2] - 3, a.shape[3] - 1)
    whole, part, end, begin = ((16, 16), (3, 20), (32, 18), (0, 20))
    return tuple(d.conv(d.crop(a, (2, 1), size, channels), 3, (2, 2)) for channels in (whole, part, end, begin))


def pointwise(d: Draft, x: Value) -> tuple[Value, ...]:
    """Lanes without a channel come to hold 0.5 and the floor, which must change nothing."""
    a = d.activate(d.conv(x, 18, (3, 3)), "sigmoid")
    a = d.activate(d.activate(d.conv(a, 5, (2, 3)), "tanh"), "at_least", 0.2)
    return (d.conv(a, 17, (2, 2)),)


def pools(d: Draft, x: Value) -> tuple[Value, ...]:
    a = d.conv(x, 20, (2, 2))
    mean = d.mean_pool(a, (2, 3), (2, 1))
    most = d.max_pool(a, (3, 3), (2, 2), (1, 1))
    wide = d.max_pool(d.conv(a, 3, (2, 2)), (5, 1))
    return d.conv(mean, 4, (2, 2)), d.conv(most, 4, (2, 2)), wide


def softmax_between(d: Draft, x: Value) -> tuple[Value, ...]:
    a = d.softmax(d.conv(d.activate(d.conv(x, 20, (3, 3))), 12, (1, 1)))
    b = d.softmax(d.conv(a, 40, (2, 2)))
    return d.conv(b, 3, (2, 2)), d.softmax(d.conv(a, 4, (1, 1)), 3)


def flattened(d: Draft, x: Value) -> tuple[Value, ...]:
    """Inner products: a map is read as (N, C H W, 1, 1), blocked anew, and their answer as (N, K)."""
    a = d.activate(d.conv(x, 18, (3, 3), (2, 2)))
    n, c, h, w = a.shape
    long = d.recorder.reshape(a, (n, c * h * w, 1, 1))
    b = d.activate(d.conv(long, 33, (1, 1)))
    scores = d.conv(b, 4, (1, 1))
    answer = d.softmax(d.recorder.reshape(scores, (n, 4)))
    return answer, d.max_pool(a, (2, 2))


def fragments(d: Draft, x: Value) -> tuple[Value, ...]:
    """Two splits at once are a step of their own, and so is a stitch that a convolution does not end in."""
    a = d.fragment(d.max_pool(d.activate(d.conv(x, 20, (3, 2))), (2, 2)), (2, 1))
    a = d.fragment(d.conv(a, 17, (2, 2)), (1, 2), (2, 2))
    a = d.stitch(d.conv(a, 18, (1, 1)), (2, 1), (1, 2), (2, 2))
    return (d.conv(a, 9, (2, 2)),)


def fragments_of_the_image(d: Draft, x: Value) -> tuple[Value, ...]:
    """By the ops; then a tail that drops what the fragments have too much."""
    a = d.activate(d.conv(d.fragment(x, (2, 3)), 20, (2, 2)))
    cover = (2 * a.shape[2] - 2, 3 * a.shape[3] - 1)
    return (d.stitch(d.softmax(d.conv(a, 3, (1, 1))), (2, 3), size=cover),)


def many_classes(d: Draft, x: Value) -> tuple[Value, ...]:
    """Too many for a tail."""
    return (d.softmax(d.conv(d.activate(d.conv(x, 20, (2, 2))), 30, (1, 1))),)


PROGRAMS: dict[str, tuple[Build, str]] = {
    "branch": (branch, "convolve activate blocked_max_pool convolve unblock unblock"),
    "padded": (padded, "block pad convolve pad convolve unblock"),
    "groups": (groups, "convolve unblock conv activate block convolve unblock"),
    "up by channel": (up_by_channel, "convolve blocked_max_pool blocked_spread convolve unblock"),
    "up in other ways": (
        up_in_other_ways,
        "convolve unblock deconv deconv block convolve block convolve unblock unblock",
    ),
    "up then point": (
        up_then_point,
        "convolve blocked_max_pool up_convolve up_convolve up_convolve convolve unblock unblock unblock",
    ),
    "merge": (merge, "convolve convolve move move move convolve unblock"),
    "merge in part": (merge_in_part, "convolve convolve blocked_move blocked_move convolve unblock"),
    "some channels": (
        some_channels,
        "convolve move convolve blocked_move convolve move convolve blocked_move convolve" + 4 * " unblock",
    ),
    "pointwise": (pointwise, "convolve activate convolve activate activate convolve unblock"),
    "pools": (
        pools,
        "convolve unblock mean_pool blocked_max_pool convolve blocked_max_pool block convolve convolve unblock unblock unblock",
    ),
    "softmax between": (
        softmax_between,
        "convolve block convolve unblock softmax block convolve convolve unblock softmax unblock",
    ),
    "flattened": (flattened, "convolve unblock block convolve softmax blocked_max_pool unblock"),
    "fragments": (
        fragments,
        "convolve convolve blocked_fragment convolve blocked_stitch convolve unblock",
    ),
    "fragments of the image": (fragments_of_the_image, "fragment convolve"),
    "many classes": (many_classes, "convolve convolve unblock softmax"),
}


def build(make: Build, dtype: str, images: int = 2, channels: int = 3) -> Program:
    draft = Draft(np.dtype(dtype), (images, channels, 19, 22))
    return draft.program(*make(draft, draft.x))


@pytest.mark.parametrize(("make", "steps"), PROGRAMS.values(), ids=PROGRAMS)
def test_steps(ops: Ops, make: Build, steps: str) -> None:
    """In float32, with the vectors of AVX-512 that the channels were chosen for."""
    program = build(make, "float32")
    lowered = ops.lower(program)
    assert lowered.flops == program.flops
    assert [o.shape for o in lowered.outputs] == [o.shape for o in program.outputs]
    if lowered.steps[0].options.get("problem") is None or lowered.steps[0].options["problem"].lanes == 16:
        assert " ".join(names(lowered)) == steps


@pytest.mark.parametrize("channels", [1, 8, 20])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("make", [make for make, _ in PROGRAMS.values()], ids=PROGRAMS)
def test_same_answers(ops: Ops, make: Build, dtype: str, channels: int) -> None:
    for images in (1, 3):
        program = build(make, dtype, images, channels)
        x = source(program)
        exact = by_reference(program, x)
        assert max(errors(compiled(ops, program, exact=True)(x), exact)) <= BOUND[dtype]
        # Winograd's bound for one convolution is five times as wide in float32
        assert max(errors(compiled(ops, program)(x), exact)) <= 10 * BOUND[dtype]


NETS = {
    "n4": (n4, "fragments", ["convolve"] * 5),
    "n4 strided": (n4, "strided", ["convolve", *["convolve", "blocked_max_pool"] * 3, "convolve"]),
    "sk": (sk, "fragments", ["convolve"] * 5),
    "lenet": (lenet, "fragments", ["convolve"] * 3),
    "u": (
        u,
        "fragments",
        ["convolve", "convolve", "blocked_max_pool"] * 4
        + ["convolve"] * 2
        + ["up_convolve", "move", "move", "convolve", "convolve"] * 4,
    ),
    "usk": (
        usk,
        "fragments",
        ["convolve", "convolve", "blocked_max_pool"]
        + ["convolve"] * 5
        + ["blocked_stitch", "up_convolve", "move", "move", "convolve", "convolve"],
    ),
}


@pytest.mark.parametrize(("layers", "engine", "steps"), NETS.values(), ids=NETS)
def test_the_reports_nets_are_fused(layers: Callable[[], list], engine: str, steps: list[str]) -> None:
    """No map leaves its blocks between the first convolution and the classes."""
    dense = fm.densify(fm.Net("net", "cpu", layers()), engine)  # type: ignore[arg-type]
    program = dense.program(dense.input_shape(dense.fit((16, 18))))
    assert names(dense.backend.ops.lower(program)) == steps


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("neuron", NEURONS, ids=name_of)
def test_neurons_between_convolutions(ops: Ops, neuron: tuple[Any, tuple[float, ...]], dtype: str) -> None:
    """On blocked maps, but for those that could make infinities in lanes without a channel; on fragments, all of them."""
    kind, parameters = neuron
    if kind == "threshold" and dtype == "float32":
        pytest.skip("a jump, on either side of which a number may come to lie")
    for maps in (16, 18):
        draft = Draft(np.dtype(dtype), (2, 3, 15, 17))
        a = draft.activate(draft.conv(draft.x, maps, (3, 2)), kind, *parameters)
        program = draft.program(draft.conv(a, 5, (2, 2), dilation=(2, 2)))
        lowered = ops.lower(program)
        escaping = kind in ("exponential", "log") or (kind == "power" and parameters[0] not in (0, 1, 2))
        plain = maps == 18 and escaping
        between = "" if kind == "relu" else "unblock activate block " if plain else "activate "
        assert " ".join(names(lowered)) == f"convolve {between}convolve unblock"
        split = split_phases(program)
        assert names(split) == ["conv", "activate", "fragment", "conv", "stitch"]
        x = source(program)
        exact = by_reference(program, x)
        assert max(errors(compiled(ops, program)(x), exact)) <= 10 * BOUND[dtype]
        assert max(errors(compiled(ops, split)(x), exact)) <= 10 * BOUND[dtype]


@pytest.mark.parametrize("neuron", [("log", (1.0, 1.0, 0.0)), ("power", (-1.0, 1.0, 0.0))], ids=name_of)
def test_lanes_without_a_channel_stay_finite(ops: Ops, neuron: tuple[Any, tuple[float, ...]]) -> None:
    """The channels lie about 6, the lanes beside them at 0, of which the neuron makes an infinity."""
    kind, parameters = neuron
    draft = Draft(np.dtype("float64"), (2, 3, 15, 17))
    a = draft.conv(draft.x, 18, (3, 2))
    draft.params[-1].array[...] = 6.0  # the bias
    program = draft.program(draft.conv(draft.activate(a, kind, *parameters), 5, (2, 2)))
    x = source(program)
    answers = compiled(ops, program, exact=True)(x)  # by the algorithm for few outputs, which reads those lanes
    assert max(errors(answers, by_reference(program, x))) <= 10 * BOUND["float64"]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "neuron", [("log", (1.0, 1.0, 0.0)), ("power", (-1.0, 1.0, 0.0)), ("quotient", ())], ids=name_of
)
def test_what_fragments_hold_beyond_their_maps_stays_there(
    ops: Ops, neuron: tuple[Any, tuple[float, ...]], dtype: str
) -> None:
    """Zeros fill the fragments of an odd map up, and become infinities; two convolutions on, nothing that is asked for saw them."""
    kind, parameters = neuron
    draft = Draft(np.dtype(dtype), (1, 3, 46, 43))
    a = draft.conv(draft.x, 32, (3, 2))
    draft.params[-1].array[...] = 6.0  # the bias
    a = draft.fragment(draft.max_pool(a, (2, 2)), (2, 2))
    if kind == "quotient":
        square = draft.activate(a, "power", 2.0, 1.0, 0.0)
        a = draft.call("combine", (a, square), a.shape, operation="quotient")
    else:
        a = draft.activate(a, kind, *parameters)
    a = draft.conv(draft.activate(draft.conv(a, 32, (3, 3))), 32, (3, 3))
    program = draft.program(draft.stitch(a, (2, 2), size=(43 - 8, 41 - 8)))
    assert program.steps[2].write.shape[2:] == (22, 21) and program.steps[1].write.shape[2:] == (43, 41)
    x = source(program)
    assert max(errors(compiled(ops, program)(x), by_reference(program, x))) <= 10 * BOUND[dtype]


def test_layers_are_named_by_all_that_they_hold(ops: Ops) -> None:
    dense = fm.densify(fm.Net("n4", "cpu", n4()))
    steps = ops.lower(dense.program(dense.input_shape((16, 16)))).steps
    assert steps[0].layer.startswith("conv1 + pool1") and "prob" in steps[-1].layer


# ---- random programs

# Those that are smooth enough, and keep numbers small enough, to follow each other.
_NEURONS = [n for n in NEURONS if n[0] not in ("threshold", "exponential", "log", "power")]
_KINDS = [
    *["conv"] * 4,
    *["neuron"] * 4,
    *["max", "mean", "merge", "crop", "split", "up", "soft"],
]


@st.composite
def drafts(draw: st.DrawFn) -> tuple[Program, Program]:
    """The same steps in float32 and float64; every step reads one of the last values."""
    shape = (
        draw(st.integers(1, 2)),
        draw(st.sampled_from([1, 3, 8, 17])),
        draw(st.integers(9, 16)),
        draw(st.integers(9, 16)),
    )
    pair = lambda low, high: (draw(st.integers(low, high)), draw(st.integers(low, high)))  # noqa: E731
    both = [Draft(np.dtype(dtype), shape) for dtype in ("float32", "float64")]
    values: list[tuple[Value, ...]] = [tuple(d.x for d in both)]
    for _ in range(draw(st.integers(1, 9))):
        now = draw(st.sampled_from(values[-3:]))
        n, c, *size = now[0].shape
        kernel = tuple(min(k, s) for k, s in zip(pair(1, 3), size, strict=True))
        maps = draw(st.sampled_from([2, 8, 16, 19, 32]))
        kind, small, unit = draw(st.sampled_from(_KINDS)), pair(1, 2), draw(st.booleans())
        stride = (1, 1) if unit else small
        match kind:
            case "conv":
                pad = draw(st.sampled_from([(0, 0), (0, 0), (1, 1)]))
                group = 2 if c % 2 == 0 and draw(st.integers(0, 4)) == 0 else 1
                maps = 1 + maps // 8 if kernel == (1, 1) else maps
                new = [
                    d.conv(v, maps * group, kernel, stride, pad, group=group) for d, v in zip(both, now, strict=True)
                ]
            case "neuron":
                kind, parameters = draw(st.sampled_from(_NEURONS))
                new = [d.activate(v, kind, *parameters) for d, v in zip(both, now, strict=True)]
            case "max":
                new = [d.max_pool(v, kernel, stride) for d, v in zip(both, now, strict=True)]
            case "mean":
                new = [d.mean_pool(v, kernel, stride) for d, v in zip(both, now, strict=True)]
            case "merge":
                others = [v for v in values if v[0].shape[:1] + v[0].shape[2:] == (n, *size)]
                other = draw(st.sampled_from(others))
                new = [d.merge(v, w) for d, v, w in zip(both, now, other, strict=True)]
            case "crop":
                less = tuple(max(1, s - 2) for s in size)
                at = tuple(s - m for s, m in zip(size, less, strict=True))
                new = [d.crop(v, at, less) for d, v in zip(both, now, strict=True)]
            case "split" if n <= 4:
                new = [d.fragment(v, small) for d, v in zip(both, now, strict=True)]
            case "up" if max(size) <= 12:
                apart = draw(st.booleans())
                new = [
                    d.deconv(v, c if apart else maps, small, small, group=c if apart else 1)
                    for d, v in zip(both, now, strict=True)
                ]
            case "soft":
                new = [d.softmax(v) for d, v in zip(both, now, strict=True)]
            case _:
                continue
        values.append(tuple(new))
    last = values[-1]
    extra = draw(st.lists(st.sampled_from(values), max_size=1))
    outputs = [last, *[v for v in extra if v is not last]]
    return tuple(d.program(*(v[i] for v in outputs)) for i, d in enumerate(both))  # type: ignore[return-value]


@settings(max_examples=60, deadline=None)
@given(drafts())
def test_random_programs(programs: tuple[Program, Program]) -> None:
    """Against what each dtype's own rounding may grow to in nine steps: far less than a wrong channel or row does."""
    ops = Ops()
    for program, bound in zip(programs, (2e-4, 1e-11), strict=True):
        x = source(program)
        assert max(errors(compiled(ops, program, exact=True)(x), by_reference(program, x))) <= bound


def test_a_program_without_steps_gives_its_input(ops: Ops) -> None:
    draft = Draft(np.dtype("float32"), (1, 2, 5, 6))
    program = draft.program(draft.x)
    x = source(program)
    np.testing.assert_array_equal(compiled(ops, program)(x)[0], x)
