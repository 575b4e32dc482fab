"""Ops that combine several arrays, reduce an axis, choose the largest, or pick rows: every backend against numpy's own words."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

Call = Callable[..., Any]
Draw = Callable[..., np.ndarray]
WIDE = {
    "sum": lambda xs: xs[0] + xs[1] + xs[2],
    "product": lambda xs: xs[0] * xs[1] * xs[2],
    "quotient": lambda xs: xs[0] / xs[1] / xs[2],
    "maximum": lambda xs: np.maximum.reduce(xs),
}


@pytest.mark.parametrize("operation", WIDE)
def test_combine(call: Call, draw: Draw, dtype: np.dtype, operation: str) -> None:
    """Two operations, so two roundings of numbers below the sum of the magnitudes, or of the answer."""
    xs = [draw(3, 5, 7) for _ in range(3)]
    y = call("combine", *xs, np.full_like(xs[0], np.nan), operation=operation)
    wide = [x.astype(np.float64) for x in xs]
    scale = np.abs(wide).sum(0) if operation == "sum" else np.abs(WIDE[operation](wide))
    assert (np.abs(y - WIDE[operation](wide)) <= 2 * np.finfo(dtype).eps * scale).all()


def test_combine_with_coefficients(call: Call, draw: Draw, dtype: np.dtype) -> None:
    xs, factors = [draw(41) for _ in range(3)], (0.5, -2.0, 1.0)
    y = call("combine", *xs, np.full_like(xs[0], np.nan), operation="sum", coefficients=factors)
    terms = [c * x.astype(np.float64) for c, x in zip(factors, xs, strict=True)]
    assert (np.abs(y - sum(terms)) <= 2 * np.finfo(dtype).eps * np.abs(terms).sum(0)).all()
    one = call("combine", xs[0], np.full_like(xs[0], np.nan), operation="sum", coefficients=(-2.0,))
    np.testing.assert_array_equal(one, -2 * xs[0])


def test_a_maximum_and_nan(call: Call, dtype: np.dtype) -> None:
    """As Caffe compares: of the first two the second unless the first is larger, then only what is larger."""
    nan = np.nan
    a, b, c = (np.array(v, dtype) for v in ([nan, 1, nan, 2, 1], [1, nan, 3, 2, 5], [0, 0, nan, 7, nan]))
    y = call("combine", a, b, c, np.empty_like(a), operation="maximum")
    np.testing.assert_array_equal(y, np.array([1, nan, 3, 7, 5], dtype))


@pytest.mark.parametrize("ties", [False, True])
def test_maximum_backward(call: Call, draw: Draw, dtype: np.dtype, ties: bool) -> None:
    y, x = np.array([4, 2, 3, 3], dtype), np.array([1, 2, 3, 3], dtype)
    rival, dy, dx = np.array([4, 2, 1, 3], dtype), draw(4), draw(4)
    won = np.array([False, ties, True, ties])
    got = call("maximum_backward", dy, y, x, rival, dx, ties=ties)
    np.testing.assert_array_equal(got, np.where(won, dx + dy, dx))


TERMS = {"sum": lambda x: x, "asum": np.abs, "sumsq": np.square}
SLOPES = {"sum": np.ones_like, "asum": np.sign, "sumsq": lambda x: 2 * x}


@pytest.mark.parametrize(("shape", "axis"), [((2, 5, 3, 4), 1), ((4, 300), 1), ((4, 3), 0), ((2, 3, 7), 2)])
@pytest.mark.parametrize("operation", TERMS)
def test_reduce(call: Call, draw: Draw, dtype: np.dtype, operation: str, shape: tuple[int, ...], axis: int) -> None:
    """Sums in float64 err by 300 of its units at most, and the answer is rounded once."""
    x = draw(*shape)
    inner = tuple(n for i, n in enumerate(shape) if i != axis)
    y = call("reduce", x, np.full(inner, np.nan, dtype), axis=axis, operation=operation, scale=0.5)
    terms = TERMS[operation](x.astype(np.float64))
    bound = 300 * np.finfo(np.float64).eps * np.abs(terms).sum(axis) + np.finfo(dtype).eps * np.abs(y)
    assert (np.abs(y - 0.5 * terms.sum(axis)) <= bound).all()
    dy, dx = draw(*inner), draw(*shape)
    got = call("reduce_backward", dy, x, dx, axis=axis, operation=operation, scale=0.5)
    change = 0.5 * SLOPES[operation](x.astype(np.float64)) * np.expand_dims(dy, axis)
    assert (np.abs(got - (dx + change)) <= 3 * np.finfo(dtype).eps * (np.abs(dx) + np.abs(change))).all()


def test_the_absolute_value_has_no_slope_at_zero(call: Call, dtype: np.dtype) -> None:
    x = np.array([[0, -0.0, 3]], dtype)
    got = call("reduce_backward", np.ones(1, dtype), x, np.zeros_like(x), axis=1, operation="asum", scale=1.0)
    np.testing.assert_array_equal(got, [[0, 0, 1]])


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize(("shape", "axis"), [((2, 9, 3, 4), 1), ((4, 9), 1), ((9, 3), 0), ((2, 3, 9), 2)])
def test_arg_max(call: Call, dtype: np.dtype, shape: tuple[int, ...], axis: int, last: bool) -> None:
    """Few different numbers, so nearly all tie; sorted by hand, one column at a time."""
    rng = np.random.default_rng(3)
    x = rng.integers(0, 3, shape).astype(dtype)
    x[rng.random(shape) < 0.1] = np.nan
    x[rng.random(shape) < 0.1] = -np.inf
    size = list(shape)
    size[axis] = 5
    places, found = (
        np.moveaxis(call("arg_max", x, np.full(size, -1, dtype), axis=axis, top_k=5, last=last, values=v), axis, 0)
        for v in (False, True)
    )
    columns = np.moveaxis(x, axis, 0)
    for at in np.ndindex(columns.shape[1:]):
        column = columns[(slice(None), *at)]
        order = sorted(
            range(9), key=lambda k: (np.isnan(column[k]), 0 if np.isnan(column[k]) else -column[k], -k if last else k)
        )
        np.testing.assert_array_equal(places[(slice(None), *at)], order[:5])
        np.testing.assert_array_equal(found[(slice(None), *at)], column[order[:5]])


def test_gather_and_scatter(call: Call, draw: Draw, dtype: np.dtype) -> None:
    x, index = draw(4, 3, 2), np.array([[3, 0, 0], [1, 3, 3]], dtype)
    flat = index.astype(int).ravel()
    np.testing.assert_array_equal(call("gather", x, index, np.full((6, 3, 2), np.nan, dtype)), x[flat])
    rows, y = draw(6, 3, 2), draw(4, 3, 2)
    expected = y.copy()
    for row, at in zip(rows, flat, strict=True):
        expected[at] += row
    np.testing.assert_array_equal(call("scatter", rows, index, y), expected)


@pytest.mark.parametrize("bad", [-1, 4, 1.5, np.nan, np.inf])
def test_what_is_no_row(call: Call, draw: Draw, dtype: np.dtype, bad: float) -> None:
    with pytest.raises(ValueError, match="none of the 4 rows"):
        call("gather", draw(4, 2), np.array([0, bad], dtype), draw(2, 2))
    with pytest.raises(ValueError, match="none of the 4 rows"):
        call("scatter", draw(2, 2), np.array([0, bad], dtype), draw(4, 2))
