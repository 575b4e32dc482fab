"""Ops by channel: every backend against numpy's own words in float64, and those against PyTorch.

Bounds count roundings, each at most half an eps of a number below the magnitude that stands there; both sides of a float64 comparison
err.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from fullmocha.backends.reference import Ops as Reference
from fullmocha.backends.shapes import Shape

Call = Callable[..., Any]
Draw = Callable[..., np.ndarray]

# Inner lengths below, at and beyond a vector's; one number per channel; a channel's numbers over several axes.
PLACES = [((2, 5, 7, 11), 1, 1), ((3, 70), 1, 1), ((2, 3, 1, 1), 1, 1), ((2, 3, 4, 5), 0, 2), ((2, 3, 4, 5), 2, 2),
          ((2, 3, 4, 5), 1, 0), ((2, 3, 17), 0, 3), ((1, 2, 5, 1000), 1, 1)]  # fmt: skip
MAPS = [(2, 5, 7, 11), (3, 70), (7, 3, 4), (1, 2, 3, 1500)]


def beside(s: np.ndarray, x: np.ndarray, axis: int) -> np.ndarray:
    return s.astype(np.float64).reshape(*(1,) * axis, *s.shape, *(1,) * (x.ndim - axis - s.ndim))


def others(x: np.ndarray, axis: int, count: int) -> tuple[int, ...]:
    return tuple(i for i in range(x.ndim) if not axis <= i < axis + count)


def channels(x: np.ndarray) -> tuple[int, ...]:
    return others(x, 1, 1)


@pytest.mark.parametrize(("shape", "axis", "count"), PLACES)
@pytest.mark.parametrize("given", ["sb", "s", "b"])
def test_scale(call: Call, draw: Draw, dtype: np.dtype, shape: Shape, axis: int, count: int, given: str) -> None:
    x, s, b = draw(*shape), draw(*shape[axis : axis + count]), draw(*shape[axis : axis + count])
    arrays = s if "s" in given else None, b if "b" in given else None
    y = call("scale", x, *arrays, np.full_like(x, np.nan), axis=axis)
    product = x * beside(s, x, axis) if "s" in given else x.astype(float)
    term = beside(b, x, axis) if "b" in given else 0.0
    assert (np.abs(y - (product + term)) <= 2 * np.finfo(dtype).eps * (np.abs(product) + np.abs(term))).all()


@pytest.mark.parametrize(("shape", "axis", "count"), PLACES)
def test_scale_backward(call: Call, draw: Draw, dtype: np.dtype, shape: Shape, axis: int, count: int) -> None:
    """Sums of up to 1540 products, of which those of a channel or place are added: as many roundings at the very most."""
    dy, x, dx = draw(*shape), draw(*shape), draw(*shape)
    s, ds, db = (draw(*shape[axis : axis + count]) for _ in range(3))
    got = call("scale_backward", dy, x, s, dx, ds, db, axis=axis)
    wide, rest, eps = dy.astype(float), others(x, axis, count), np.finfo(dtype).eps
    terms = [(dx, wide * beside(s, x, axis), ()), (ds, wide * x, rest), (db, wide, rest)]
    for answer, (before, term, axes) in zip(got, terms, strict=True):
        want, size = before + term.sum(axes), np.abs(before) + np.abs(term).sum(axes)
        roundings = 3 + term.size // max(1, want.size)
        assert (np.abs(answer - want) <= roundings * eps * size).all()
    alone, none, _ = call("scale_backward", dy, x, None, dx, None, db, axis=axis)
    assert none is None
    assert (np.abs(alone - (dx + wide)) <= 2 * eps * (np.abs(dx) + np.abs(dy))).all()


@pytest.mark.parametrize("shape", MAPS)
@pytest.mark.parametrize("shared", [(), (1,), None])
def test_prelu(call: Call, draw: Draw, dtype: np.dtype, shape: Shape, shared: Shape | None) -> None:
    """One product, so the very numbers; at 0 the slope counts; NaN stays NaN."""
    x, dy, dx = draw(*shape), draw(*shape), draw(*shape)
    x.flat[3] = 0
    slope = draw(*(shape[1:2] if shared is None else shared))
    spread = slope.reshape(1, -1, *(1,) * (x.ndim - 2))
    y = call("prelu", x, slope, np.full_like(x, np.nan))
    np.testing.assert_array_equal(y, np.where(x > 0, x, spread * x))
    got, got_slope = call("prelu_backward", dy, x, slope, dx, np.zeros_like(slope))
    change = np.where(x > 0, dy, spread * dy)
    assert (np.abs(got - (dx + change)) <= 2 * np.finfo(dtype).eps * (np.abs(dx) + np.abs(change))).all()
    terms = np.where(x > 0, 0.0, dy.astype(float) * x)
    axes = channels(x) if shared is None else None
    want, size = terms.sum(axes), np.abs(terms).sum(axes)
    assert (np.abs(got_slope - want) <= x.size * np.finfo(dtype).eps * size).all()
    x.flat[3] = np.nan
    assert np.isnan(call("prelu", x, slope, np.empty_like(x)).flat[3])


@pytest.mark.parametrize("shape", MAPS)
def test_statistics(call: Call, draw: Draw, dtype: np.dtype, shape: Shape) -> None:
    """A mean far from 0 must not spoil the variance; sums are made in float64, so the answer is rounded a few times only."""
    x = draw(*shape) + dtype.type(100)
    mean = call("channel_mean", x, np.full(shape[1], np.nan, dtype))
    wide, eps = x.astype(float), float(np.finfo(dtype).eps)
    sums = max(eps, x.size * np.finfo(float).eps)
    np.testing.assert_allclose(mean, wide.mean(channels(x)), rtol=sums)
    variance = call("channel_variance", x, mean, np.full(shape[1], np.nan, dtype))
    centre = mean.astype(float).reshape(1, -1, *(1,) * (x.ndim - 2))
    # Each difference is rounded below 100, and squared.
    want = np.square(wide - centre).mean(channels(x))
    np.testing.assert_allclose(variance, want, rtol=3 * eps + 2 * sums)


@pytest.mark.parametrize("shape", MAPS)
@pytest.mark.parametrize("factor", [0.0, 1.0, 2.7])
def test_standardize(call: Call, draw: Draw, dtype: np.dtype, shape: Shape, factor: float) -> None:
    x, dy, dx = draw(*shape), draw(*shape), draw(*shape)
    mean, variance, f = draw(shape[1]), np.abs(draw(shape[1])), np.array([factor], dtype)
    y = call("standardize", x, mean, variance, f, np.full_like(x, np.nan), eps=0.25)
    share = 1 / float(f[0]) if factor else 0.0
    root = np.sqrt(beside(variance, x, 1) * share + 0.25)
    magnitude = (np.abs(x) + np.abs(beside(mean, x, 1) * share)) / root
    want = (x - beside(mean, x, 1) * share) / root
    assert (np.abs(y - want) <= 6 * np.finfo(dtype).eps * magnitude).all()
    got = call("standardize_backward", dy, variance, f, dx, eps=0.25)
    assert (np.abs(got - (dx + dy / root)) <= 5 * np.finfo(dtype).eps * (np.abs(dx) + np.abs(dy / root))).all()


@pytest.mark.parametrize("shape", MAPS)
def test_batch_backward(call: Call, draw: Draw, dtype: np.dtype, shape: Shape) -> None:
    """Against the gradient that goes through mean and variance step by step."""
    x, dy, dx, eps = draw(*shape), draw(*shape), draw(*shape), 0.1
    axes = channels(x)
    mean, variance = (m(x.astype(float), axis=axes, keepdims=True) for m in (np.mean, np.var))
    root, count = np.sqrt(variance + eps), x.size // shape[1]
    y = ((x - mean) / root).astype(dtype)
    got = call("batch_backward", dy, y, variance.reshape(-1).astype(dtype), dx, eps=eps)
    to_variance = (dy * (x - mean)).sum(axes, keepdims=True) * -0.5 / root**3
    to_mean = -(dy / root).sum(axes, keepdims=True)
    want = dx + dy / root + to_variance * 2 * (x - mean) / count + to_mean / count
    bound = 20 * np.finfo(dtype).eps * (np.abs(dx) + (np.abs(dy).max() + np.abs(y).max()) / root)
    assert (np.abs(got - want) <= np.maximum(bound, x.size * np.finfo(float).eps)).all()


@pytest.mark.parametrize("scaled", [True, False])
@pytest.mark.parametrize("shape", [(6, 77), (2, 1500), (3, 2)])
def test_mvn(call: Call, draw: Draw, dtype: np.dtype, shape: Shape, scaled: bool) -> None:
    x, eps = draw(*shape) + dtype.type(3), 0.5
    y = call("mvn", x, np.full_like(x, np.nan), scaled=scaled, eps=eps)
    wide = x.astype(float)
    divisor = wide.std(1, keepdims=True) + eps if scaled else 1.0
    want = (wide - wide.mean(1, keepdims=True)) / divisor
    assert np.abs(y - want).max() <= max(8 * np.finfo(dtype).eps, x.size * np.finfo(float).eps) * np.abs(x).max() * 2


def test_mvn_of_equal_numbers(call: Call, dtype: np.dtype) -> None:
    """The deviation is 0, the gradient that of the mean alone, and nothing is divided by 0."""
    x, dy = np.full((1, 4), 0.5, dtype), np.array([[1, 2, 3, 6]], dtype)
    y = call("mvn", x, np.empty_like(x), scaled=True, eps=0.25)
    np.testing.assert_array_equal(y, 0)
    got = call("mvn_backward", dy, x, y, np.zeros_like(x), scaled=True, eps=0.25)
    np.testing.assert_allclose(got, (dy - 3) * 4, rtol=1e-6)


LRNS = [
    (5, 1.0, 0.75, 1.0),
    (3, 0.7, 0.5, 2.0),
    (4, 1.2, 0.75, 1.0),
    (5, 0.4, 0.6, 1.5),
    (1, 2.0, 1.0, 0.5),
    (9, 3.0, 0.25, 1.0),
]


def by_definition(x: np.ndarray, size: int, alpha: float, beta: float, k: float, within: bool) -> np.ndarray:
    """Element by element."""
    y = np.empty(x.shape)
    before = (size - 1) // 2
    for n, c, *place in np.ndindex(x.shape):
        if within:
            boxes = tuple(slice(max(0, p - before), p - before + size) for p in place)
            seen = x[(n, c, *boxes)]
        else:
            seen = x[(n, slice(max(0, c - before), c - before + size), *place)]
        total = (seen.astype(float) ** 2).sum()
        y[(n, c, *place)] = x[(n, c, *place)] / (k + alpha / size ** (len(place) if within else 1) * total) ** beta
    return y


@pytest.mark.parametrize(("size", "alpha", "beta", "k"), LRNS)
@pytest.mark.parametrize(
    ("shape", "within"), [((2, 7, 3, 5), False), ((3, 19), False), ((1, 2, 5, 6), True), ((1, 2, 4, 3, 2), True)]
)
def test_lrn(
    call: Call, draw: Draw, dtype: np.dtype, size: int, alpha: float, beta: float, k: float, shape: Shape, within: bool
) -> None:
    """Sums of at most 81 squares; the power multiplies the base's error by beta, and has a few units of its own."""
    x = 2 * draw(*shape)
    options = {"size": size, "alpha": alpha, "beta": beta, "k": k, "within": within}
    y = call("lrn", x, np.full_like(x, np.nan), **options)
    want = by_definition(x, **options)
    assert (
        np.abs(y - want) <= (10 + size ** (len(shape) - 2 if within else 1)) * np.finfo(dtype).eps * np.abs(want)
    ).all()


# ---- a pixel's bits


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_bits_of_a_part(kind: Any) -> None:
    """On the reference a pixel is the same bits whatever is beside it."""
    rng, ops = np.random.default_rng(5), Reference()
    x = rng.normal(size=(3, 6, 23, 31)).astype(kind)
    a, b, c = (rng.uniform(0.5, 2, 6).astype(kind) for _ in range(3))
    one = np.array([1.7], kind)
    runs: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
        ("scale", (a, b), {"axis": 1}),
        ("standardize", (a, b, one), {"eps": 1e-5}),
        ("prelu", (c,), {}),
        ("lrn", (), {"size": 5, "alpha": 0.7, "beta": 0.75, "k": 1.0}),
        ("lrn", (), {"size": 4, "alpha": 0.7, "beta": 0.6, "k": 2.0}),
    ]
    for op, numbers, options in runs:
        whole = np.empty_like(x)
        getattr(ops, op)(x, *numbers, whole, **options)
        for rows, columns in ((slice(0, 1), slice(0, 1)), (slice(3, 20), slice(7, 30)), (slice(22, 23), slice(2, 31))):
            part = np.ascontiguousarray(x[1:2, :, rows, columns])
            y = np.empty_like(part)
            getattr(ops, op)(part, *numbers, y, **options)
            np.testing.assert_array_equal(y, whole[1:2, :, rows, columns], err_msg=op)


# ---- an outsider


def test_lrn_is_pytorchs(dtype: np.dtype) -> None:
    """PyTorch's even windows have one more channel before than behind, ours one more behind: as seen from the last channel."""
    torch = pytest.importorskip("torch", reason="PyTorch is an extra, [peers]")
    if dtype != np.float64:
        pytest.skip("PyTorch's float64 is the judge")
    rng, ops = np.random.default_rng(2), Reference()
    x, dy = rng.normal(size=(2, 9, 4, 5)), rng.normal(size=(2, 9, 4, 5))
    for size, alpha, beta, k in LRNS:
        flipped = torch.tensor(x[:, ::-1].copy(), requires_grad=True)
        theirs = torch.nn.functional.local_response_norm(flipped, size, alpha=alpha, beta=beta, k=k)
        theirs.backward(torch.tensor(dy[:, ::-1].copy()))
        y, dx = np.empty_like(x), np.zeros_like(x)
        options = {"size": size, "alpha": alpha, "beta": beta, "k": k}
        ops.lrn(x, y, **options)
        ops.lrn_backward(dy, x, y, dx, **options)
        np.testing.assert_allclose(y, theirs.detach().numpy()[:, ::-1], rtol=1e-13)
        np.testing.assert_allclose(dx, flipped.grad.numpy()[:, ::-1], rtol=1e-11, atol=1e-13)
