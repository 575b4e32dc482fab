"""Convolution, deconvolution and pooling on every backend, against `reference` in float64 on the same numbers.

A sum of n products, in any order and with or without fused multiply-adds, errs by less than n u sum |terms|, u being
half of numpy's eps; that sum of magnitudes is the op itself on absolute values. A maximum is one of the numbers given.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from fullmocha.backends.shapes import Shape, Window
from hypothesis import given
from hypothesis import strategies as st

Call = Callable[..., Any]
Draw = Callable[..., np.ndarray]
Numbers = Callable[[int], Draw]


def listed(answer: Any) -> list[np.ndarray]:
    return [a for a in (answer if isinstance(answer, tuple) else (answer,)) if a is not None]


def assert_sums(call: Call, exact: Call, terms: list[int], op: str, *arrays: Any, **options: Any) -> None:
    """One count of terms per array written; a gradient counts as one more, for what it held before."""
    got, wide = listed(call(op, *arrays, **options)), listed(exact(op, *arrays, **options))
    magnitudes = listed(exact(op, *(None if a is None else np.abs(a) for a in arrays), **options))
    assert len(got) == len(wide) == len(terms)
    for a, b, magnitude, n in zip(got, wide, magnitudes, terms, strict=True):
        assert a.dtype == arrays[0].dtype and a.shape == b.shape
        # eps is 2 u: where float64 is compared with float64, both sides err.
        assert (np.abs(a - b) <= (n + 2) * np.finfo(a.dtype).eps * magnitude).all(), op


@dataclass(frozen=True)
class Geometry:
    """Shapes of one convolution: x (n, c, *size), w (k, c / group, *kernel), y (n, k, *out)."""

    window: Window
    group: int
    n: int
    c: int
    k: int
    size: Shape
    seed: int = 0

    @property
    def out(self) -> Shape:
        return self.window.slides(self.size)

    @property
    def w(self) -> Shape:
        return (self.k, self.c // self.group, *self.window.kernel)

    def pooled(self, hang: bool) -> Shape:
        """What a pool gives, floor or ceil; one output at least, and none whose window starts beyond x."""
        out = self.window.slides(self.size, "ceil" if hang else "floor")
        most = ((n + p - 1) // s + 1 for n, p, s in zip(self.size, self.window.pad, self.window.stride, strict=True))
        return tuple(max(1, min(o, m)) for o, m in zip(out, most, strict=True))


PAIRS = st.tuples(st.integers(1, 3), st.integers(1, 3))


@st.composite
def geometries(draw: st.DrawFn, pools: bool = False) -> Geometry:
    """Anything that fits; the pad of a pool is smaller than its kernel, as the layers demand."""
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    stride, dilation, out = draw(PAIRS), draw(PAIRS), draw(PAIRS)
    pad = tuple(draw(st.integers(0, min(2, k - 1) if pools else 2)) for k in kernel)
    window = Window(kernel, stride, pad, dilation)
    spare = tuple(draw(st.integers(0, s - 1)) for s in stride)
    size = tuple(max(1, n + e) for n, e in zip(window.spread(out), spare, strict=True))
    group = draw(st.integers(1, 3))
    maps = st.integers(1, 3).map(lambda n: n * group)
    return Geometry(window, group, draw(st.integers(1, 2)), draw(maps), draw(maps), size, draw(st.integers(0, 99)))


LARGER = Geometry(Window((3, 4), (1, 1), (0, 0), (2, 1)), 1, 2, 20, 7, (19, 18))  # 240 terms
WANTED = st.tuples(st.booleans(), st.booleans(), st.booleans())


@given(g=geometries(), bias=st.booleans())
def test_conv(call: Call, exact: Call, numbers: Numbers, g: Geometry, bias: bool) -> None:
    draw = numbers(g.seed)
    x, w, b, y = draw(g.n, g.c, *g.size), draw(*g.w), draw(g.k) if bias else None, draw(g.n, g.k, *g.out)
    y[...] = np.nan
    assert_sums(call, exact, [prod(g.w[1:]) + 1], "conv", x, w, b, y, window=g.window, group=g.group)


def test_conv_within_the_published_bound(call: Call, exact: Call, draw: Draw, dtype: np.dtype) -> None:
    """The bound that users are told: max |a - b| / RMS(b), for sums in blocks of at most 256 terms."""
    g = LARGER
    arrays = draw(g.n, g.c, *g.size), draw(*g.w), draw(g.k), draw(g.n, g.k, *g.out)
    a, b = (c("conv", *arrays, window=g.window, group=1) for c in (call, exact))
    bound = {"float32": 4e-6, "float64": 1e-13}[dtype.name]
    assert np.abs(a - b).max() / np.sqrt(np.mean(b**2)) < bound


@given(g=geometries(), wanted=WANTED)
def test_conv_backward(call: Call, exact: Call, numbers: Numbers, g: Geometry, wanted: tuple[bool, bool, bool]) -> None:
    """Adds to gradients that are not zero; one that is None is left alone."""
    draw = numbers(g.seed)
    dy, x, w = draw(g.n, g.k, *g.out), draw(g.n, g.c, *g.size), draw(*g.w)
    pixels = g.n * prod(g.out)
    terms = [g.k // g.group * prod(g.window.kernel) + 1, pixels + 1, pixels + 1]
    terms = [n for n, want in zip(terms, wanted, strict=True) if want]
    before = draw(*x.shape), draw(*w.shape), draw(g.k)
    grads = [d if want else None for d, want in zip(before, wanted, strict=True)]
    assert_sums(call, exact, terms, "conv_backward", dy, x, w, *grads, window=g.window, group=g.group)


@given(g=geometries(), bias=st.booleans())
def test_deconv(call: Call, exact: Call, numbers: Numbers, g: Geometry, bias: bool) -> None:
    """What was conv's y is x here; the result is as large as the adjoint writes, where padding leaves any of it."""
    draw, spread = numbers(g.seed), g.window.spread(g.out)
    if min(spread) < 1:
        return
    x, w, b, y = draw(g.n, g.k, *g.out), draw(*g.w), draw(g.c) if bias else None, draw(g.n, g.c, *spread)
    y[...] = np.nan
    terms = g.k // g.group * prod(g.window.kernel) + 1
    assert_sums(call, exact, [terms], "deconv", x, w, b, y, window=g.window, group=g.group)


@given(g=geometries(), wanted=WANTED)
def test_deconv_backward(
    call: Call, exact: Call, numbers: Numbers, g: Geometry, wanted: tuple[bool, bool, bool]
) -> None:
    draw, spread = numbers(g.seed), g.window.spread(g.out)
    if min(spread) < 1:
        return
    dy, x, w = draw(g.n, g.c, *spread), draw(g.n, g.k, *g.out), draw(*g.w)
    terms = [g.w[1] * prod(g.window.kernel) + 1, g.n * prod(g.out) + 1, g.n * prod(spread) + 1]
    terms = [n for n, want in zip(terms, wanted, strict=True) if want]
    before = draw(*x.shape), draw(*w.shape), draw(g.c)
    grads = [d if want else None for d, want in zip(before, wanted, strict=True)]
    assert_sums(call, exact, terms, "deconv_backward", dy, x, w, *grads, window=g.window, group=g.group)


@given(g=geometries(pools=True), hang=st.booleans(), clip=st.booleans())
def test_mean_pool(call: Call, exact: Call, numbers: Numbers, g: Geometry, hang: bool, clip: bool) -> None:
    draw, terms = numbers(g.seed), prod(g.window.kernel) + 1
    x, y = draw(g.n, g.c, *g.size), draw(g.n, g.c, *g.pooled(hang))
    y[...] = np.nan
    assert_sums(call, exact, [terms], "mean_pool", x, y, window=g.window, clip_divisor=clip)


@given(g=geometries(pools=True), hang=st.booleans(), clip=st.booleans())
def test_mean_pool_backward(call: Call, exact: Call, numbers: Numbers, g: Geometry, hang: bool, clip: bool) -> None:
    draw, terms = numbers(g.seed), prod(g.window.kernel) + 2
    dy, dx = draw(g.n, g.c, *g.pooled(hang)), draw(g.n, g.c, *g.size)
    assert_sums(call, exact, [terms], "mean_pool_backward", dy, dx, window=g.window, clip_divisor=clip)


@given(g=geometries(pools=True), hang=st.booleans(), ties=st.booleans())
def test_max_pool(call: Call, exact: Call, numbers: Numbers, g: Geometry, hang: bool, ties: bool) -> None:
    draw, window = numbers(g.seed), g.window
    x, y = draw(g.n, g.c, *g.size), draw(g.n, g.c, *g.pooled(hang))
    x = x.round() if ties else x
    y[...] = np.nan
    np.testing.assert_array_equal(call("max_pool", x, y, window=window), exact("max_pool", x, y, window=window))


@given(g=geometries(pools=True), hang=st.booleans(), ties=st.booleans())
def test_max_pool_backward(call: Call, exact: Call, numbers: Numbers, g: Geometry, hang: bool, ties: bool) -> None:
    """An element collects at most one dy per tap; `ties` makes equal elements common."""
    draw, window = numbers(g.seed), g.window
    dy, x, dx = draw(g.n, g.c, *g.pooled(hang)), draw(g.n, g.c, *g.size), draw(g.n, g.c, *g.size)
    x = x.round() if ties else x
    got = call("max_pool_backward", dy, x, dx, window=window)
    wide, most = exact("max_pool_backward", dy, x, dx, window=window), prod(window.kernel) + 1
    bound = most * np.finfo(x.dtype).eps * (np.abs(dx).max() + most * np.abs(dy).max())
    assert np.abs(got - wide).max() <= bound


def test_nan_never_wins(call: Call, dtype: np.dtype) -> None:
    nan = np.nan
    x = np.array([[[[nan, -5, nan], [nan, nan, -7], [2, nan, nan]]]], dtype)
    window = Window.of((2, 2))
    y = call("max_pool", x, np.full((1, 1, 2, 2), nan, dtype), window=window)
    np.testing.assert_array_equal(y, [[[[-5, -5], [2, -7]]]])


def test_nan_takes_no_gradient(call: Call, dtype: np.dtype) -> None:
    nan = np.nan
    x, window = np.array([[[[nan, -5, nan], [nan, nan, -7], [2, nan, nan]]]], dtype), Window.of((2, 2))
    dx = call("max_pool_backward", np.array([[[[1, 2], [3, 4]]]], dtype), x, np.zeros_like(x), window=window)
    np.testing.assert_array_equal(dx, [[[[0, 3, 0], [0, 0, 4], [3, 0, 0]]]])


def test_max_pool_keeps_out_the_padding(call: Call, draw: Draw) -> None:
    """All inputs are negative: a zero from outside would win."""
    x = -1 - np.abs(draw(2, 3, 4, 5))
    y = call("max_pool", x, draw(2, 3, 3, 3), window=Window.of((3, 3), stride=2, pad=1))
    np.testing.assert_array_equal(y[:, :, 0, 0], x[:, :, :2, :2].max(axis=(2, 3)))
    np.testing.assert_array_equal(y[:, :, 2, 2], x[:, :, 3:, 3:].max(axis=(2, 3)))


def test_mean_pool_divisors_by_hand(call: Call, dtype: np.dtype) -> None:
    """Windows of 2 x 3, stride 2, pad (0, 1), on 3 x 4: rows start at 0 and 2, columns at -1, 1, 3; the last hang over.

    Caffe counts the padding and not what hangs over beyond it: the divisors are 6, 6, 4 and, in the last row, 3, 3, 2.
    """
    x = np.arange(1, 13, dtype=dtype).reshape(1, 1, 3, 4)
    window = Window((2, 3), (2, 2), (0, 1), (1, 1))
    sums = np.array([[[[14, 30, 12], [19, 33, 12]]]], dtype)
    blank = np.full((1, 1, 2, 3), np.nan, dtype)
    mocha = call("mean_pool", x, blank, window=window, clip_divisor=False)
    caffe = call("mean_pool", x, blank, window=window, clip_divisor=True)
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(mocha, sums / 6, rtol=2 * eps)
    np.testing.assert_allclose(caffe, sums / np.array([[6, 6, 4], [3, 3, 2]]), rtol=2 * eps)


def test_one_pixel(call: Call, dtype: np.dtype) -> None:
    """A 1 x 1 image under a padded 3 x 3 kernel meets the centre weight alone."""
    x, w, b = np.array([[[[2]]]], dtype), np.arange(9, dtype=dtype).reshape(1, 1, 3, 3), np.array([0.5], dtype)
    y = call("conv", x, w, b, np.empty_like(x), window=Window.of((3, 3), pad=1), group=1)
    np.testing.assert_array_equal(y, [[[[8.5]]]])
