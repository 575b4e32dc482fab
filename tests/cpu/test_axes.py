"""One spatial axis, and three or four: the same ops as over two, against the reference in float64."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from fullmocha.backends.cpu import Ops
from fullmocha.backends.reference import Ops as Reference
from fullmocha.backends.shapes import Shape, Window
from hypothesis import given, settings
from hypothesis import strategies as st

Draw = Callable[..., np.ndarray]

WINDOWS = {
    "1": (Window((3,), (2,), (1,), (2,)), (17,)),
    "3": (Window((2, 3, 2), (1, 2, 1), (1, 0, 2), (2, 1, 3)), (6, 9, 8)),
    "3 flat": (Window((1, 3, 3), (1, 1, 1), (0, 1, 1), (1, 1, 1)), (3, 7, 9)),
    "3 deep": (Window((4, 1, 1), (3, 1, 1), (2, 0, 0), (1, 1, 1)), (9, 4, 5)),
    "4": (Window((2, 3, 2, 2), (2, 1, 1, 1), (1, 1, 0, 1), (1, 1, 2, 1)), (4, 5, 6, 5)),
}


def close(got: np.ndarray | None, exact: np.ndarray | None, dtype: np.dtype) -> None:
    """Direct sums, a block of terms per tap of the leading axes: 4e-6 of the RMS, and 1e-13 (DESIGN section 4)."""
    assert got is not None and exact is not None and got.shape == exact.shape
    assert np.abs(got - exact).max() <= (4e-6 if dtype == np.float32 else 1e-13) * np.sqrt(np.mean(exact**2))


def wide(arrays: list[Any]) -> list[Any]:
    return [None if a is None else a.astype(np.float64) for a in arrays]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("group", [1, 2])
@pytest.mark.parametrize(("window", "size"), WINDOWS.values(), ids=WINDOWS)
def test_convolution(
    ops: Ops, reference: Reference, draw: Draw, dtype: np.dtype, window: Window, size: Shape, group: int, bias: bool
) -> None:
    x, w = draw(2, 4, *size), draw(6, 4 // group, *window.kernel)
    b, y = draw(6) if bias else None, draw(2, 6, *window.slides(size))
    exact = np.empty(y.shape)
    options: dict[str, Any] = {"window": window, "group": group}
    reference.conv(*wide([x, w, b]), exact, **options)
    got = np.full_like(y, np.nan)
    ops.conv(x, w, b, got, **options)
    close(got, exact, dtype)

    grads = [draw(*x.shape), draw(*w.shape), draw(6)]
    wides = wide(grads)
    ops.conv_backward(y, x, w, *grads, **options)
    reference.conv_backward(*wide([y, x, w]), *wides, **options)
    for g, e in zip(grads, wides, strict=True):
        close(g, e, dtype)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("group", [1, 2])
@pytest.mark.parametrize(("window", "size"), WINDOWS.values(), ids=WINDOWS)
def test_deconvolution(
    ops: Ops, reference: Reference, draw: Draw, dtype: np.dtype, window: Window, size: Shape, group: int, bias: bool
) -> None:
    small = window.slides(size)
    x, w = draw(2, 4, *small), draw(4, 6 // group, *window.kernel)
    b, dy = draw(6) if bias else None, draw(2, 6, *window.spread(small))
    exact = np.empty(dy.shape)
    options: dict[str, Any] = {"window": window, "group": group}
    reference.deconv(*wide([x, w, b]), exact, **options)
    got = np.full_like(dy, np.nan)
    ops.deconv(x, w, b, got, **options)
    close(got, exact, dtype)

    grads = [draw(*x.shape), draw(*w.shape), draw(6)]
    wides = wide(grads)
    ops.deconv_backward(dy, x, w, *grads, **options)
    reference.deconv_backward(*wide([dy, x, w]), *wides, **options)
    for g, e in zip(grads, wides, strict=True):
        close(g, e, dtype)


def test_only_the_gradients_that_are_wanted(ops: Ops, draw: Draw) -> None:
    window, size = WINDOWS["3"]
    x, w, dy = draw(2, 3, *size), draw(5, 3, *window.kernel), draw(2, 5, *window.slides(size))
    whole = [np.zeros_like(x), np.zeros_like(w), np.zeros_like(dy[0, :, 0, 0, 0])]
    ops.conv_backward(dy, x, w, *whole, window=window, group=1)
    for i in range(3):
        some = [np.zeros_like(g) if i == k else None for k, g in enumerate(whole)]
        ops.conv_backward(dy, x, w, *some, window=window, group=1)
        np.testing.assert_array_equal(some[i], whole[i])


def with_ties(draw: Draw, *shape: int) -> np.ndarray:
    """Few values, so that windows hold equal ones, and NaN, which never wins."""
    x = np.round(draw(*shape))
    x.reshape(-1)[::11] = np.nan
    return x


@pytest.mark.parametrize(("window", "size"), WINDOWS.values(), ids=WINDOWS)
def test_max_pool(ops: Ops, reference: Reference, draw: Draw, dtype: np.dtype, window: Window, size: Shape) -> None:
    """The very values, and gradients at the very places, for whole numbers add without rounding."""
    x = with_ties(draw, 2, 3, *size)
    y, exact = np.full((2, 3, *window.slides(size)), np.nan, dtype), np.empty((2, 3, *window.slides(size)))
    ops.max_pool(x, y, window=window)
    reference.max_pool(x.astype(float), exact, window=window)
    np.testing.assert_array_equal(y, exact)
    dy, dx = np.round(8 * draw(*y.shape)), np.round(draw(*x.shape))
    expected = dx.astype(float)
    ops.max_pool_backward(dy, x, dx, window=window)
    reference.max_pool_backward(dy.astype(float), x.astype(float), expected, window=window)
    np.testing.assert_array_equal(dx, expected)


@pytest.mark.parametrize("clip", [True, False])
@pytest.mark.parametrize(("window", "size"), WINDOWS.values(), ids=WINDOWS)
def test_mean_pool(
    ops: Ops, reference: Reference, draw: Draw, dtype: np.dtype, window: Window, size: Shape, clip: bool
) -> None:
    shape = window.slides(size, "ceil")
    x, dy = draw(2, 3, *size), draw(2, 3, *shape)
    y, exact = np.full_like(dy, np.nan), np.empty(dy.shape)
    options: dict[str, Any] = {"window": window, "clip_divisor": clip}
    ops.mean_pool(x, y, **options)
    reference.mean_pool(x.astype(float), exact, **options)
    close(y, exact, dtype)
    dx = draw(*x.shape)
    expected = dx.astype(float)
    ops.mean_pool_backward(dy, dx, **options)
    reference.mean_pool_backward(dy.astype(float), expected, **options)
    close(dx, expected, dtype)


@st.composite
def cubes(draw: st.DrawFn) -> tuple[Window, Shape]:
    three = lambda low, high: tuple(draw(st.integers(low, high)) for _ in range(3))  # noqa: E731
    window = Window(three(1, 3), three(1, 3), three(0, 2), three(1, 2))
    size = tuple(max(1, e + extra - 2 * p) for e, extra, p in zip(window.extent, three(0, 3), window.pad, strict=True))
    return window, size


@settings(max_examples=60, deadline=None)
@given(cubes(), st.integers(0, 99))
def test_any_cube(case: tuple[Window, Shape], seed: int) -> None:
    (window, size), rng = case, np.random.default_rng(seed)
    ops, reference = Ops(), Reference()
    x, w, b = rng.normal(size=(1, 2, *size)), rng.normal(size=(3, 2, *window.kernel)), rng.normal(size=3)
    for op, source, filters in (("conv", x, w), ("max_pool", x, None)):
        y = np.full((1, 2 if filters is None else 3, *window.slides(size)), np.nan)
        exact = y.copy()
        parts = (source,) if filters is None else (source, filters, b)
        options = {"window": window} | ({} if filters is None else {"group": 1})
        getattr(ops, op)(*parts, y, **options)
        getattr(reference, op)(*parts, exact, **options)
        np.testing.assert_allclose(y, exact, rtol=1e-12, atol=1e-12)


def test_any_number_of_threads(ops: Ops, draw: Draw) -> None:
    window = Window.of((3, 3, 3), pad=1)
    x, w = draw(2, 20, 6, 40, 41), draw(17, 20, 3, 3, 3)
    answers = []
    for count in (1, None):
        ops.set_threads(count)
        y = np.empty((2, 17, 6, 40, 41), x.dtype)
        ops.conv(x, w, None, y, window=window, group=1)
        answers.append(y)
    np.testing.assert_array_equal(*answers)


@pytest.mark.parametrize("add", [False, True])
@pytest.mark.parametrize(("strides", "size"), [(((2,), (3,)), (17,)), (((2, 1, 3), (1, 2, 2)), (5, 6, 13))])
def test_fragments(
    ops: Ops, reference: Reference, draw: Draw, dtype: np.dtype, strides: tuple[Shape, ...], size: Shape, add: bool
) -> None:
    """Splits in two steps, and back: copies, so equal bits."""
    split = np.prod(strides, axis=0)
    x = draw(2, 3, *size)
    y = draw(2 * int(np.prod(split)), 3, *(-(-n // s) for n, s in zip(size, split, strict=True)))
    for op, source, target in (("fragment", x, y), ("stitch", y, x)):
        got, exact = target.copy(), target.copy()
        getattr(ops, op)(source, got, strides=strides, add=add)
        getattr(reference, op)(source, exact, strides=strides, add=add)
        np.testing.assert_array_equal(got, exact)
        assert (got != target).any()
