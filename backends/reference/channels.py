"""Ops that treat each channel in a way of its own: factors, slopes, statistics, and sums over neighbouring channels.

Channels are axis 1 unless an axis is given. Statistics are sums in a fixed order, in float64; every other answer depends on
its own pixel alone.
"""

from math import prod

import numpy as np

from .combinations import last_sums


def _beside(s: np.ndarray, x: np.ndarray, axis: int) -> np.ndarray:
    """s under a shape that numpy spreads over x, where its first axis is `axis` of x."""
    return s.reshape(*(1,) * axis, *s.shape, *(1,) * (x.ndim - axis - s.ndim))


def _per_channel(s: np.ndarray, x: np.ndarray) -> np.ndarray:
    """One number for each channel, or one for all, as numpy spreads it over x."""
    return s.reshape(1, -1, *(1,) * (x.ndim - 2))


def _gathered(x: np.ndarray, s: np.ndarray, axis: int) -> np.ndarray:
    """The sums of x over all axes but those of s."""
    outer, inner = prod(x.shape[:axis]), prod(x.shape[axis + s.ndim :])
    return x.reshape(outer, s.size, inner).sum(axis=(0, 2)).reshape(s.shape)


# ---- factors and terms


@np.errstate(all="ignore")
def scale(x: np.ndarray, s: np.ndarray | None, b: np.ndarray | None, y: np.ndarray, *, axis: int) -> None:
    """y = s * x + b, s and b spread over the axes of x that they lack; their first one is `axis` of x.

    >>> y = np.empty((1, 2, 2))
    >>> scale(np.array([[[1.0, 2], [3, 4]]]), np.array([10.0, 100]), np.array([1.0, 2]), y, axis=1)
    >>> y
    array([[[ 11.,  21.],
            [302., 402.]]])
    """
    y[...] = x if s is None else x * _beside(s, x, axis)
    if b is not None:
        y += _beside(b, x, axis)


@np.errstate(all="ignore")
def scale_backward(
    dy: np.ndarray,
    x: np.ndarray,
    s: np.ndarray | None,
    dx: np.ndarray | None,
    ds: np.ndarray | None,
    db: np.ndarray | None,
    *,
    axis: int,
) -> None:
    """dx += s * dy; ds += the sums of dy * x; db += the sums of dy.

    >>> dx, ds, db = np.zeros((1, 1, 2)), np.zeros(1), np.zeros(1)
    >>> scale_backward(np.array([[[1.0, 2]]]), np.array([[[3.0, 5]]]), np.array([7.0]), dx, ds, db, axis=1)
    >>> dx, ds, db
    (array([[[ 7., 14.]]]), array([13.]), array([3.]))
    """
    if dx is not None:
        dx += dy if s is None else dy * _beside(s, x, axis)
    if ds is not None:
        ds += _gathered(dy * x, ds, axis)
    if db is not None:
        db += _gathered(dy, db, axis)


@np.errstate(all="ignore")
def prelu(x: np.ndarray, slope: np.ndarray, y: np.ndarray) -> None:
    """y = x > 0 ? x : slope[c] * x; a single slope is every channel's.

    >>> y = np.empty((1, 2, 2))
    >>> prelu(np.array([[[-1.0, 2], [-1, 2]]]), np.array([0.5, 3]), y)
    >>> y
    array([[[-0.5,  2. ],
            [-3. ,  2. ]]])
    """
    y[...] = np.where(x > 0, x, _per_channel(slope, x) * x)


@np.errstate(all="ignore")
def prelu_backward(
    dy: np.ndarray, x: np.ndarray, slope: np.ndarray, dx: np.ndarray | None, dslope: np.ndarray | None
) -> None:
    """dx += x > 0 ? dy : slope[c] * dy; dslope[c] += the sum of dy * x over x <= 0.

    >>> dx, dslope = np.zeros((1, 1, 2)), np.zeros(1)
    >>> prelu_backward(np.array([[[1.0, 2]]]), np.array([[[-3.0, 5]]]), np.array([0.5]), dx, dslope)
    >>> dx, dslope
    (array([[[0.5, 2. ]]]), array([-3.]))
    """
    if dx is not None:
        dx += np.where(x > 0, dy, _per_channel(slope, x) * dy)
    if dslope is not None:
        left = np.where(x > 0, 0, dy * x)
        dslope += left.sum() if slope.size == 1 else _gathered(left, dslope, 1)


# ---- statistics


def _rows(x: np.ndarray) -> np.ndarray:
    """(N, C, ...) as (C, M)."""
    return np.moveaxis(x, 1, 0).reshape(x.shape[1], -1)


@np.errstate(all="ignore")
def channel_mean(x: np.ndarray, y: np.ndarray) -> None:
    """y[c] = the mean of channel c.

    >>> y = np.empty(2)
    >>> channel_mean(np.array([[[1.0, 2], [3, 7]]]), y)
    >>> y
    array([1.5, 5. ])
    """
    rows = _rows(x)
    y[...] = last_sums(rows) / rows.shape[1]


@np.errstate(all="ignore")
def channel_variance(x: np.ndarray, mean: np.ndarray, y: np.ndarray) -> None:
    """y[c] = the mean of (x - mean[c])^2 over channel c.

    >>> y = np.empty(1)
    >>> channel_variance(np.array([[[1.0, 4]]]), np.array([2.0]), y)
    >>> y
    array([2.5])
    """
    rows = _rows(x)
    y[...] = last_sums(np.square(rows - mean[:, None])) / rows.shape[1]


@np.errstate(all="ignore")
def standardize(
    x: np.ndarray, mean: np.ndarray, variance: np.ndarray, factor: np.ndarray, y: np.ndarray, *, eps: float
) -> None:
    """y = (x - mean[c] / f) / sqrt(variance[c] / f + eps), f being factor[0]; where f is 0, 0 stands for either quotient.

    >>> y = np.empty((1, 1, 2))
    >>> standardize(np.array([[[1.0, 7]]]), np.array([6.0]), np.array([8.0]), np.array([2.0]), y, eps=0.0)
    >>> y
    array([[[-1.,  2.]]])
    """
    share = factor.dtype.type(1 / factor[0] if factor[0] else 0)
    root = np.sqrt(variance * share + factor.dtype.type(eps))
    y[...] = (x - _per_channel(mean * share, x)) / _per_channel(root, x)


@np.errstate(all="ignore")
def standardize_backward(
    dy: np.ndarray, variance: np.ndarray, factor: np.ndarray, dx: np.ndarray, *, eps: float
) -> None:
    """dx += dy / sqrt(variance[c] / f + eps): the statistics are given, whatever x is.

    >>> dx = np.zeros((1, 1, 1))
    >>> standardize_backward(np.array([[[3.0]]]), np.array([8.0]), np.array([2.0]), dx, eps=0.0)
    >>> dx
    array([[[1.5]]])
    """
    share = factor.dtype.type(1 / factor[0] if factor[0] else 0)
    dx += dy / _per_channel(np.sqrt(variance * share + factor.dtype.type(eps)), dx)


@np.errstate(all="ignore")
def batch_backward(dy: np.ndarray, y: np.ndarray, variance: np.ndarray, dx: np.ndarray, *, eps: float) -> None:
    """The gradient of `standardize` by x's own mean and variance.

    dx += (dy - mean(dy) - y * mean(dy * y)) / sqrt(variance[c] + eps), the means over the channel.

    >>> dx, y = np.zeros((1, 1, 3)), np.array([[[-1.0, 0, 1]]])  # of x = [-1, 0, 1], whose variance is 2 / 3
    >>> batch_backward(np.array([[[0.0, 3, 0]]]), y, np.array([2 / 3]), dx, eps=1 / 3)
    >>> dx
    array([[[-1.,  2., -1.]]])
    """
    rows, change = _rows(y), _rows(dy)
    count = rows.shape[1]
    mean = (change.sum(axis=1) / count).astype(y.dtype)
    slope = ((change * rows).sum(axis=1) / count).astype(y.dtype)
    root = np.sqrt(variance + variance.dtype.type(eps))
    dx += (dy - _per_channel(mean, y) - y * _per_channel(slope, y)) / _per_channel(root, y)


def _deviations(x: np.ndarray, scaled: bool, eps: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of every row of (C, M): its mean, its standard deviation, and what it is divided by."""
    mean = (last_sums(x) / x.shape[1]).astype(x.dtype)
    if not scaled:
        return mean, np.ones_like(mean), np.ones_like(mean)
    deviation = np.sqrt(last_sums(np.square(x - mean[:, None])) / x.shape[1]).astype(x.dtype)
    return mean, deviation, deviation + x.dtype.type(eps)


@np.errstate(all="ignore")
def mvn(x: np.ndarray, y: np.ndarray, *, scaled: bool, eps: float) -> None:
    """y[i] = x[i] - mean(x[i]) for every row of a matrix, and with `scaled` that divided by its standard deviation + eps.

    >>> y = np.empty((1, 2))
    >>> mvn(np.array([[1.0, 7]]), y, scaled=True, eps=1.0)
    >>> y
    array([[-0.75,  0.75]])
    """
    mean, _, divisor = _deviations(x, scaled, eps)
    y[...] = (x - mean[:, None]) / divisor[:, None]


@np.errstate(all="ignore")
def mvn_backward(dy: np.ndarray, x: np.ndarray, y: np.ndarray, dx: np.ndarray, *, scaled: bool, eps: float) -> None:
    """dx += (dy - mean(dy) - y * mean(dy * y) * (d + eps) / d) / (d + eps), d being the row's standard deviation.

    Without `scaled` only the means are taken off. In a row of equal numbers, d = 0, the third term is 0 as y is.

    >>> dx = np.zeros((1, 3))
    >>> mvn_backward(np.array([[0.0, 3, 0]]), np.array([[1.0, 2, 6]]), np.array([[-2.0, -1, 3]]), dx, scaled=False, eps=0.0)
    >>> dx
    array([[-1.,  2., -1.]])
    """
    change = dy - (dy.sum(axis=1) / x.shape[1]).astype(x.dtype)[:, None]
    if scaled:
        _, deviation, divisor = _deviations(x, scaled, eps)
        ratio = np.divide(divisor, deviation, out=np.zeros_like(divisor), where=deviation > 0)
        slope = ((dy * y).sum(axis=1) / x.shape[1]).astype(x.dtype) * ratio
        change = (change - y * slope[:, None]) / divisor[:, None]
    dx += change


# ---- neighbours


def _window_axes(x: np.ndarray, within: bool) -> tuple[int, ...]:
    return tuple(range(2, x.ndim)) if within else (1,)


def _window_sums(x: np.ndarray, size: int, before: int, within: bool) -> np.ndarray:
    """The sums over `size` elements along each axis of the window, so many of them before the element; zeros lie outside x."""
    axes = _window_axes(x, within)
    padded = np.pad(x, [(before, size - 1 - before) if axis in axes else (0, 0) for axis in range(x.ndim)])
    total = np.zeros_like(x)
    for shift in np.ndindex(*(size,) * len(axes)):
        at = dict(zip(axes, shift, strict=True))
        total += padded[tuple(slice(at.get(axis, 0), at.get(axis, 0) + n) for axis, n in enumerate(x.shape))]
    return total


def _bases(x: np.ndarray, size: int, alpha: float, k: float, within: bool) -> np.ndarray:
    """k + alpha / n * the sum of x^2 over the n elements around each one; those outside x are zero, and counted."""
    share = alpha / size ** len(_window_axes(x, within))
    return np.ascontiguousarray(k + share * _window_sums(np.square(x), size, (size - 1) // 2, within))


def _around(x: np.ndarray, size: int, within: bool) -> np.ndarray:
    """The sums of x over the elements in whose windows each one lies."""
    return _window_sums(x, size, size - 1 - (size - 1) // 2, within)


@np.errstate(all="ignore")
def lrn(x: np.ndarray, y: np.ndarray, *, size: int, alpha: float, beta: float, k: float, within: bool = False) -> None:
    """y = x / (k + alpha / n * the sum of x^2 over a window of n elements around x)^beta; outside x there are zeros.

    The window is `size` channels, or with `within` so many places along each spatial axis, (size - 1) // 2 of them before the element.

    >>> x, y = np.array([[1.0, 2, 0, 3]]), np.empty((1, 4))
    >>> lrn(x, y, size=3, alpha=3.0, beta=1.0, k=4.0)  # sums of squares 5, 5, 13, 9
    >>> y.round(4)
    array([[0.1111, 0.2222, 0.    , 0.2308]])
    """
    y[...] = x * np.power(_bases(x, size, alpha, k, within), x.dtype.type(-beta))


@np.errstate(all="ignore")
def lrn_backward(
    dy: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    dx: np.ndarray,
    *,
    size: int,
    alpha: float,
    beta: float,
    k: float,
    within: bool = False,
) -> None:
    """dx += dy / u^beta - 2 alpha beta / n * x * the sum of dy * y / u over those in whose windows x lies, u being the base.

    >>> dx, x = np.zeros((1, 1)), np.array([[2.0]])
    >>> lrn_backward(np.array([[1.0]]), x, x / 5, dx, size=1, alpha=1.0, beta=1.0, k=1.0)  # (1 - x^2) / (1 + x^2)^2
    >>> dx.round(9)
    array([[-0.12]])
    """
    base = _bases(x, size, alpha, k, within)
    share = 2 * alpha * beta / size ** len(_window_axes(x, within))
    dx += dy * np.power(base, x.dtype.type(-beta)) - share * x * _around(dy * y / base, size, within)
