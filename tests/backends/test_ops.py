"""The ops without windows on every backend, against `reference` in float64 on the same numbers.

Ops that only move, choose or compare give the very same numbers. Bounds of the others count roundings: each operation
errs by at most u times its result, u being half of numpy's eps, and both sides of a float64 comparison err.
"""

import inspect
from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
import pytest
from fullmocha.backends import protocol
from fullmocha.backends.shapes import Shape
from hypothesis import given
from hypothesis import strategies as st

Call = Callable[..., Any]
Draw = Callable[..., np.ndarray]
Numbers = Callable[[int], Draw]


# ---- pointwise


SMOOTH = pytest.mark.parametrize(
    ("kind", "parameters"), [("sigmoid", ()), ("tanh", ()), ("exponential", (1.0, 1.0))], ids=lambda value: str(value)
)


@SMOOTH
def test_activate(
    call: Call, exact: Call, draw: Draw, dtype: np.dtype, kind: str, parameters: tuple[float, ...]
) -> None:
    """Four units in the last place of the value, also near zero and near saturation."""
    x = np.concatenate([np.linspace(-30, 30, 401, dtype=dtype), draw(200), np.zeros(1, dtype)])
    got = call("activate", x, np.full_like(x, np.nan), kind=kind, parameters=parameters)
    wide = exact("activate", x, x, kind=kind, parameters=parameters)
    np.testing.assert_allclose(got, wide, rtol=4 * np.finfo(dtype).eps)


@pytest.mark.parametrize(
    ("kind", "parameters", "ends"),
    [("sigmoid", (), (0, 1)), ("tanh", (), (-1, 1)), ("exponential", (1.0, 1.0), (0, np.inf))],
)
def test_activate_saturates_without_warnings(
    call: Call, dtype: np.dtype, kind: str, parameters: tuple[float, ...], ends: tuple[float, float]
) -> None:
    x = np.array([-1e4, 1e4], dtype)
    np.testing.assert_array_equal(call("activate", x, np.empty_like(x), kind=kind, parameters=parameters), ends)


@pytest.mark.parametrize("slope", [0.0, 0.01, -0.5])
def test_relu(call: Call, draw: Draw, dtype: np.dtype, slope: float) -> None:
    """One product at most, so the very numbers; NaN stays NaN."""
    x = np.append(draw(33), np.array([0.0, np.nan], dtype))
    y = call("activate", x, np.empty_like(x), kind="relu", parameters=(slope,))
    np.testing.assert_array_equal(y, np.where(x > 0, x, dtype.type(slope) * x))


@pytest.mark.parametrize("slope", [0.0, 0.01, -0.5])
def test_relu_backward(call: Call, draw: Draw, dtype: np.dtype, slope: float) -> None:
    """The slope at 0 is the parameter."""
    x, y, dy, dx = np.append(draw(34), np.zeros(1, dtype)), draw(35), draw(35), draw(35)
    got = call("activate_backward", dy, x, y, dx, kind="relu", parameters=(slope,))
    step = np.where(x > 0, 1.0, float(dtype.type(slope))) * dy
    assert (np.abs(got - (dx + step)) <= 2 * np.finfo(dtype).eps * (np.abs(dx) + np.abs(step))).all()


@SMOOTH
def test_activate_backward(
    call: Call, exact: Call, draw: Draw, dtype: np.dtype, kind: str, parameters: tuple[float, ...]
) -> None:
    x, dy, dx = draw(3, 5, 7), draw(3, 5, 7), draw(3, 5, 7)
    y = exact("activate", x, x, kind=kind, parameters=parameters).astype(dtype)
    arrays: dict[str, Any] = {"kind": kind, "parameters": parameters}
    got, wide = (c("activate_backward", dy, x, y, dx, **arrays) for c in (call, exact))
    # Five roundings at most, of numbers below |dx| + |dy| max(1, y).
    assert (np.abs(got - wide) <= 5 * np.finfo(dtype).eps * (np.abs(dx) + np.abs(dy) * np.maximum(1, y))).all()


def test_at_least(call: Call, draw: Draw, dtype: np.dtype) -> None:
    x = np.append(draw(33), np.array([0.25, np.nan], dtype))
    y = call("activate", x, np.empty_like(x), kind="at_least", parameters=(0.25,))
    np.testing.assert_array_equal(y, np.maximum(x, dtype.type(0.25)))
    dy, dx = draw(35), draw(35)
    got = call("activate_backward", dy, x, y, dx, kind="at_least", parameters=(0.25,))
    np.testing.assert_array_equal(got, dx + np.where(x > 0.25, dy, 0))


def neuron(call: Call, kind: str, parameters: tuple[float, ...], x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """f(x) and f'(x)."""
    y = call("activate", x, np.full_like(x, 7), kind=kind, parameters=parameters)
    dx = call("activate_backward", np.ones_like(x), x, y, np.zeros_like(x), kind=kind, parameters=parameters)
    return y, dx


POWERS: list[tuple[tuple[float, ...], list[float], list[float]]] = [
    ((0, 3, 2), [1, 1, 1, 1], [0, 0, 0, 0]),
    ((3, 0, 2), [8, 8, 8, 8], [0, 0, 0, 0]),
    ((0, 0, 0), [1, 1, 1, 1], [0, 0, 0, 0]),
    ((1, 2, 1), [-3, 1, 9, np.inf], [2, 2, 2, 2]),
    ((2, -1, 0), [4, 0, 16, np.inf], [-4, 0, 8, np.inf]),
    ((3, 1, 0), [-8, 0, 64, np.inf], [12, 0, 48, np.inf]),
    ((0.5, 1, 0), [np.nan, 0, 2, np.inf], [np.nan, np.inf, 0.25, 0]),
    ((-2, 1, 0), [0.25, np.inf, 0.0625, 0], [0.25, -np.inf, -0.03125, 0]),
]


@pytest.mark.parametrize(("parameters", "values", "slopes"), POWERS, ids=[str(p[0]) for p in POWERS])
def test_powers_at_the_edges(
    call: Call, dtype: np.dtype, parameters: tuple[float, ...], values: list[float], slopes: list[float]
) -> None:
    """Constants, negative bases, zero and infinity. The powers are those of 2 and 4: exact but for a unit of libm's."""
    y, slope = neuron(call, "power", parameters, np.array([-2, 0, 4, np.inf], dtype))
    np.testing.assert_allclose(y, values, rtol=2 * np.finfo(dtype).eps)
    np.testing.assert_allclose(slope, slopes, rtol=2 * np.finfo(dtype).eps)


EDGES: list[tuple[str, tuple[float, ...], list[float], list[float], list[float]]] = [
    ("elu", (2.0,), [-1e4, 0, 1e4], [-2, 0, 1e4], [0, 2, 1]),
    ("bnll", (), [-1e4, 1e4, 1e30], [0, 1e4, 1e30], [0, 1, 1]),
    ("absval", (), [-3, 0, 3], [3, 0, 3], [-1, 0, 1]),
    ("log", (2.0, -1.0, 0.0), [0, 1, -1], [-np.inf, np.nan, 0], [-np.inf, 2, -2]),
    ("threshold", (0.5,), [0.5, 0.75, np.nan], [0, 1, 0], [0, 0, 0]),
    ("swish", (1.0,), [-1e4, 0, 1e4], [0, 0, 1e4], [0, 0.5, 1]),
    ("clip", (-1.0, 2.0), [-1, 2, 2.5, -np.inf], [-1, 2, 2, -1], [1, 1, 0, 0]),
]


@pytest.mark.parametrize(("kind", "parameters", "at", "values", "slopes"), EDGES, ids=[e[0] for e in EDGES])
def test_neurons_at_the_edges(
    call: Call, dtype: np.dtype, kind: str, parameters: tuple[float, ...], at: list[float], values: list[float],
    slopes: list[float],
) -> None:  # fmt: skip
    """Kinks, ends and extremes: nothing overflows, and what is 0 or 1 is so exactly."""
    y, slope = neuron(call, kind, parameters, np.array(at, dtype))
    np.testing.assert_array_equal(y, np.array(values, dtype))
    np.testing.assert_array_equal(slope, np.array(slopes, dtype))


# ---- the axis of classes

AXES = [((2, 5, 3, 4), 1), ((4, 3), 1), ((4, 3), 0), ((2, 3, 7), 2), ((1, 1, 1, 1), 1)]


@pytest.mark.parametrize(("shape", "axis"), AXES)
def test_softmax(call: Call, exact: Call, draw: Draw, dtype: np.dtype, shape: Shape, axis: int) -> None:
    x = 8 * draw(*shape)
    y, wide = (c("softmax", x, np.full_like(x, np.nan), axis=axis) for c in (call, exact))
    # exp magnifies the rounding of x - max by |x - max|; then come its own error, a sum over K, and a division.
    fall = (x.max(axis=axis, keepdims=True) - x).max()
    assert (np.abs(y - wide) <= (shape[axis] + 6 + fall) * np.finfo(dtype).eps * wide).all()


@pytest.mark.parametrize(("shape", "axis"), AXES)
def test_softmax_backward(call: Call, exact: Call, draw: Draw, dtype: np.dtype, shape: Shape, axis: int) -> None:
    y = exact("softmax", draw(*shape), draw(*shape), axis=axis).astype(dtype)
    dy, dx = draw(*shape), draw(*shape)
    got, wide = (c("softmax_backward", dy, y, dx, axis=axis) for c in (call, exact))
    magnitude = np.abs(dx) + y * (np.abs(dy) + (np.abs(dy) * y).sum(axis=axis, keepdims=True))
    assert (np.abs(got - wide) <= (shape[axis] + 5) * np.finfo(dtype).eps * magnitude).all()


def test_softmax_of_large_scores(call: Call, dtype: np.dtype) -> None:
    """The largest score is subtracted first, so nothing overflows."""
    x = np.array([[1e4, 1e4, -1e4]], dtype)
    np.testing.assert_array_equal(call("softmax", x, np.empty_like(x), axis=1), [[0.5, 0.5, 0]])


def draw_labels(classes: int, shape: Shape, ignore: int | None, dtype: np.dtype) -> np.ndarray:
    """Every class occurs, and every fourth label is ignored."""
    label = np.random.default_rng(7).permutation(np.arange(prod(shape)) % classes).reshape(shape).astype(dtype)
    if ignore is not None:
        label.flat[::4] = ignore
    return label


LABELLED = [((2, 5, 3, 4), 1, (2, 1, 3, 4)), ((7, 3), 1, (7,)), ((7, 3), 1, (7, 1)), ((3, 4, 6), 0, (24,))]


@pytest.mark.parametrize(("shape", "axis", "labels"), LABELLED)
@pytest.mark.parametrize("ignore", [None, 1, 255, -1])
def test_cross_entropy(
    call: Call, exact: Call, draw: Draw, dtype: np.dtype, shape: Shape, axis: int, labels: Shape, ignore: int | None
) -> None:
    """Against a loop over the labels; and its gradient."""
    label = draw_labels(shape[axis], labels, ignore, dtype)
    p = exact("softmax", draw(*shape), draw(*shape), axis=axis).astype(dtype)
    options: dict[str, Any] = {"axis": axis, "ignore": ignore}
    columns = np.moveaxis(p, axis, -1).reshape(-1, shape[axis])
    losses = [-np.log(float(q[int(k)])) for q, k in zip(columns, label.flat, strict=True) if k != ignore]
    total, counted = call("cross_entropy", p, label, floor=1e-20, **options)
    assert (type(counted), counted) == (int, len(losses))
    # At worst each logarithm and each of the sums is rounded in p's own precision.
    assert total == pytest.approx(sum(losses), rel=len(losses) * float(np.finfo(dtype).eps), abs=0)

    dx = draw(*shape)
    got, wide = (c("softmax_loss_backward", p, label, dx, scale=0.7, **options) for c in (call, exact))
    assert (np.abs(got - wide) <= 4 * np.finfo(dtype).eps * (np.abs(dx) + 1)).all()


@pytest.mark.parametrize(("shape", "axis", "labels"), LABELLED)
@pytest.mark.parametrize("ignore", [None, 1, 255])
def test_count_hits(
    call: Call, draw: Draw, dtype: np.dtype, shape: Shape, axis: int, labels: Shape, ignore: int | None
) -> None:
    """Against sorting and counting; scores are rounded, so that many are equal: the lower leads, or no tie is a hit."""
    label, scores = draw_labels(shape[axis], labels, ignore, dtype), draw(*shape).round()
    columns = np.moveaxis(scores, axis, -1).reshape(-1, shape[axis])
    ranked = np.argsort(-columns, axis=1, kind="stable")
    for top_k in (1, 2, shape[axis]):
        hits = [k in order[:top_k] for order, k in zip(ranked, label.flat, strict=True) if k != ignore]
        options: dict[str, Any] = {"axis": axis, "ignore": ignore, "top_k": top_k}
        assert call("count_hits", scores, label, **options) == (sum(hits), len(hits))
        clear = [(q >= q[int(k)]).sum() <= top_k for q, k in zip(columns, label.flat, strict=True) if k != ignore]
        assert call("count_hits", scores, label, ties_ahead=True, **options) == (sum(clear), len(hits))


def test_a_score_that_is_nan_is_no_hit(call: Call, dtype: np.dtype) -> None:
    x = np.array([[np.nan, np.nan], [np.nan, 1], [np.nan, 1]], dtype)
    assert call("count_hits", x, np.array([0, 0, 1], dtype), axis=1, ignore=None, top_k=1) == (1, 3)


def test_the_floor_of_a_probability(call: Call, dtype: np.dtype) -> None:
    p = np.array([[1, 0], [0.5, 0.5]], dtype)
    total, counted = call("cross_entropy", p, np.array([1, 0], dtype), axis=1, ignore=None, floor=1e-20)
    assert total == pytest.approx(20 * np.log(10) + np.log(2), rel=4 * float(np.finfo(dtype).eps))
    assert counted == 2


def test_nothing_counts(call: Call, dtype: np.dtype) -> None:
    p, label = np.array([[0.5, 0.5]], dtype), np.array([9], dtype)
    assert call("cross_entropy", p, label, axis=1, ignore=9, floor=1e-20) == (0.0, 0)
    assert call("count_hits", p, label, axis=1, ignore=9, top_k=1) == (0, 0)


@pytest.mark.parametrize("label", [3, -1, 0.5, np.nan, 1e9])
def test_a_label_outside_the_classes_is_refused(call: Call, dtype: np.dtype, label: float) -> None:
    p, labels = np.full((2, 3), 1 / 3, dtype), np.array([0, label], dtype)
    with pytest.raises(ValueError, match="label"):
        call("cross_entropy", p, labels, axis=1, ignore=None, floor=1e-20)


# ---- moving data

SEEDS = st.integers(0, 99)
SIZES = st.tuples(st.integers(1, 8), st.integers(1, 8))
SPLITS = st.lists(st.tuples(st.integers(1, 3), st.integers(1, 3)), min_size=1, max_size=3).map(tuple)


@given(axes=st.lists(st.tuples(*[st.integers(0, 3)] * 5), min_size=1, max_size=4), add=st.booleans(), seed=SEEDS)
def test_move(call: Call, numbers: Numbers, axes: list[tuple[int, ...]], add: bool, seed: int) -> None:
    """Any box, on up to four axes, against slicing; boxes may be empty."""
    draw, (source, target, size, more_x, more_y) = numbers(seed), zip(*axes, strict=True)
    x = draw(*map(sum, zip(source, size, more_x, strict=True)))
    y = draw(*map(sum, zip(target, size, more_y, strict=True)))
    got = call("move", x, y, source=source, target=target, size=size, add=add)
    taken = x[tuple(slice(s, s + n) for s, n in zip(source, size, strict=True))]
    place = tuple(slice(t, t + n) for t, n in zip(target, size, strict=True))
    y[place] = y[place] + taken if add else taken
    np.testing.assert_array_equal(got, y)


def split_shape(shape: Shape, strides: tuple[Shape, ...]) -> Shape:
    """(n, c, h, w) of all fragments."""
    (n, c, *size), steps = shape, [prod(s[axis] for s in strides) for axis in range(2)]
    return (n * prod(steps), c, *(-(-m // s) for m, s in zip(size, steps, strict=True)))


@given(strides=SPLITS, size=SIZES, n=st.integers(1, 2), seed=SEEDS)
def test_fragment(call: Call, numbers: Numbers, strides: tuple[Shape, ...], size: Shape, n: int, seed: int) -> None:
    """Against slicing by each stride in turn: fragments of fragments. What they lack in size is zero."""
    draw = numbers(seed)
    x = draw(n, 2, *size)
    parts = list(x)
    for sy, sx in strides:
        parts = [part[:, i::sy, j::sx] for part in parts for i in range(sy) for j in range(sx)]
    expected = np.zeros(split_shape(x.shape, strides), x.dtype)
    for place, part in zip(expected, parts, strict=True):
        place[:, : part.shape[1], : part.shape[2]] = part
    y = call("fragment", x, np.full_like(expected, np.nan), strides=strides)
    np.testing.assert_array_equal(y, expected)
    before = draw(*y.shape)
    np.testing.assert_array_equal(call("fragment", x, before, strides=strides, add=True), before + expected)


@given(strides=SPLITS, size=SIZES, n=st.integers(1, 2), seed=SEEDS)
def test_stitch_undoes_fragment(
    call: Call, numbers: Numbers, strides: tuple[Shape, ...], size: Shape, n: int, seed: int
) -> None:
    draw = numbers(seed)
    x = draw(n, 2, *size)
    y = call("fragment", x, draw(*split_shape(x.shape, strides)), strides=strides)
    np.testing.assert_array_equal(call("stitch", y, np.full_like(x, np.nan), strides=strides), x)
    before = draw(*x.shape)
    np.testing.assert_array_equal(call("stitch", y, before, strides=strides, add=True), before + x)


def test_stitch_drops_what_exceeds(call: Call, draw: Draw) -> None:
    """Fragments of 3 x 2 make maps of 6 x 4; a 5 x 3 map keeps the upper left."""
    x = draw(2 * 4, 3, 3, 2)
    whole = call("stitch", x, draw(2, 3, 6, 4), strides=((2, 2),))
    part = call("stitch", x, draw(2, 3, 5, 3), strides=((2, 2),))
    np.testing.assert_array_equal(part, whole[:, :, :5, :3])


# ---- training


@pytest.mark.parametrize("add", [False, True])
def test_multiply(call: Call, draw: Draw, dtype: np.dtype, add: bool) -> None:
    a, b, y = draw(3, 4, 5), draw(3, 4, 5), draw(3, 4, 5)
    got = call("multiply", a, b, y if add else np.full_like(y, np.nan), add=add)
    wide = a.astype(float) * b + (y if add else 0)
    assert (np.abs(got - wide) <= 2 * np.finfo(dtype).eps * (np.abs(a * b) + np.abs(y))).all()


@pytest.mark.parametrize(("alpha", "beta"), [(0.3, -0.9), (1.0, 1.0), (-0.01, 0.0)])
def test_axpby(call: Call, draw: Draw, dtype: np.dtype, alpha: float, beta: float) -> None:
    """As in BLAS, y is not read where beta is 0: it may hold anything."""
    x, y = draw(3, 4, 5), draw(3, 4, 5)
    got = call("axpby", x, y if beta else np.full_like(y, np.nan), alpha=alpha, beta=beta)
    wide = alpha * x.astype(float) + beta * y.astype(float)
    assert (np.abs(got - wide) <= 2 * np.finfo(dtype).eps * (np.abs(alpha * x) + np.abs(beta * y))).all()


def test_add_sign(call: Call, dtype: np.dtype) -> None:
    x, y = np.array([-3, 0, 1e-9, 7], dtype), np.array([1, 2, 3, 4], dtype)
    np.testing.assert_array_equal(call("add_sign", x, y, alpha=0.5), np.array([0.5, 2, 3.5, 4.5], dtype))


def test_clip_norm(call: Call, draw: Draw, dtype: np.dtype) -> None:
    y = draw(5, 3, 4)
    norms = np.sqrt((y.astype(float) ** 2).sum(axis=(1, 2)))
    limit = float(np.median(norms)) * 1.01  # not a norm itself
    got = call("clip_norm", y, limit=limit)
    longer = norms > limit
    assert longer.sum() == 2
    np.testing.assert_array_equal(got[~longer], y[~longer])
    # Twelve squares added, a root, a division and a product.
    np.testing.assert_allclose(
        got[longer], y[longer] * (limit / norms[longer])[:, None, None], rtol=16 * np.finfo(dtype).eps
    )
    vector = call("clip_norm", np.array([3, 4], dtype), limit=1.0)
    np.testing.assert_allclose(vector, [0.6, 0.8], rtol=4 * np.finfo(dtype).eps)


# ---- the protocol itself


def test_same_names_same_parameters(ops: Any) -> None:
    """Every op of the protocol with its parameters and defaults, or a message that says that it is missing."""
    names = {name for name in vars(protocol.Ops) if not name.startswith("_")}
    offered = names & set(dir(ops))
    for name in offered:
        mine = list(inspect.signature(getattr(ops, name)).parameters.values())
        stated = list(inspect.signature(getattr(protocol.Ops, name)).parameters.values())[1:]
        assert [(p.name, p.kind, p.default) for p in mine] == [(p.name, p.kind, p.default) for p in stated], name
    for name in names - offered:
        with pytest.raises(NotImplementedError, match=f'"{ops.name}" has no {name}'):
            getattr(ops, name)()
