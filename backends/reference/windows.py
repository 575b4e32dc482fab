"""Convolution, deconvolution and pooling: one strided view carries them all.

`windows` shows an array through a sliding window: `windows(x)[i]` is what tap `i` of the window meets, at every
position. An op is then a short loop over taps. A forward op adds its terms one by one in the protocol's order, each for
all pixels at once, so the bits of a pixel do not depend on what is computed beside it; numpy's own sums (np.sum,
matmul, einsum) give no such promise, and only backward ops use them.

Every op works on any number of spatial axes; `h`, `i` stand for index tuples, one entry per axis.
"""

from itertools import product
from math import prod

import numpy as np

from ..shapes import Shape, Window
from .views import box


def canvas_shape(size: Shape, window: Window, out: Shape) -> Shape:
    """The size of an input with its leading padding, and with all that the windows cover behind it."""
    covered = ((o - 1) * s + e for o, s, e in zip(out, window.stride, window.extent, strict=True))
    return tuple(max(p + n, c) for n, p, c in zip(size, window.pad, covered, strict=True))


def padded(x: np.ndarray, window: Window, out: Shape, value: float = 0.0) -> np.ndarray:
    """x on a canvas filled with `value`; x itself where nothing is added."""
    size = x.shape[-len(out) :]
    shape = canvas_shape(size, window, out)
    if shape == size:
        return x
    canvas = np.full((*x.shape[: -len(out)], *shape), value, x.dtype)
    box(canvas, window.pad, size)[...] = x
    return canvas


def windows(canvas: np.ndarray, window: Window, out: Shape) -> np.ndarray:
    """view[i][..., h] = canvas[..., h * stride + i * dilation]; axes (*kernel, ..., *out), no copy.

    >>> x = np.arange(5)
    >>> windows(x, Window.of((3,), stride=2), (2,)).T      # each row one position of the window
    array([[0, 1, 2],
           [2, 3, 4]])
    """
    axes = len(out)
    taps = tuple(s * d for s, d in zip(canvas.strides[-axes:], window.dilation, strict=True))
    steps = tuple(s * d for s, d in zip(canvas.strides[-axes:], window.stride, strict=True))
    shape = (*window.kernel, *canvas.shape[:-axes], *out)
    return np.lib.stride_tricks.as_strided(canvas, shape, (*taps, *canvas.strides[:-axes], *steps))


def by_group(x: np.ndarray, group: int) -> np.ndarray:
    """(N, C, *size) -> (group, C / group, N * size): the pixels of all images side by side; C order."""
    (n, c), pixels = x.shape[:2], prod(x.shape[2:])
    split = x.reshape(n, group, c // group, pixels)
    return np.ascontiguousarray(split.transpose(1, 2, 0, 3)).reshape(group, c // group, n * pixels)


def by_image(x: np.ndarray, shape: Shape) -> np.ndarray:
    """The inverse of `by_group`: (group, C / group, N * size) -> (N, C, *size)."""
    group, channels, _ = x.shape
    return x.reshape(group, channels, shape[0], prod(shape[2:])).transpose(2, 0, 1, 3).reshape(shape)


def by_tap(w: np.ndarray, group: int) -> np.ndarray:
    """(K, C, *kernel) -> (*kernel, group, K / group, C): one matrix per tap and group; a view."""
    return np.moveaxis(w.reshape(group, -1, *w.shape[1:]), (0, 1, 2), (-3, -2, -1))


# ---- convolution


@np.errstate(all="ignore")
def conv(x: np.ndarray, w: np.ndarray, b: np.ndarray | None, y: np.ndarray, *, window: Window, group: int) -> None:
    """y[n,o,h] = b[o] + sum_{c,i} w[o,c,i] x[n, c + C/g * group(o), h*stride - pad + i*dilation], zero outside x.

    >>> x, w, y = np.array([[[1.0, 2, 3, 4]]]), np.array([[[1.0, 10]]]), np.empty((1, 1, 3))
    >>> conv(x, w, np.array([100.0]), y, window=Window.of((2,)), group=1)
    >>> y
    array([[[121., 132., 143.]]])
    """
    (n, maps, *out), channels = y.shape, w.shape[1]
    weights = by_tap(w, group)  # (*kernel, G, K/G, C/G)
    taps = windows(padded(x, window, tuple(out)), window, tuple(out))  # (*kernel, N, C, *out)
    total = np.empty((group, maps // group, n * prod(out)), y.dtype)
    total[...] = 0 if b is None else b.reshape(group, -1, 1)
    term = np.empty_like(total)
    for c, i in product(range(channels), np.ndindex(*window.kernel)):
        tap = by_group(taps[i][:, c::channels], group)  # (G, 1, pixels): channel c of every group
        np.multiply(weights[i][:, :, c, None], tap, out=term)
        total += term
    y[...] = by_image(total, y.shape)


def conv_backward(
    dy: np.ndarray,
    x: np.ndarray,
    w: np.ndarray,
    dx: np.ndarray | None,
    dw: np.ndarray | None,
    db: np.ndarray | None,
    *,
    window: Window,
    group: int,
) -> None:
    """Adds the gradients of `conv`.

    dx[n, c, h*stride - pad + i*dilation] += sum_o w[o,c,i] dy[n,o,h]
    dw[o,c,i] += sum_{n,h} x[n, c, h*stride - pad + i*dilation] dy[n,o,h]
    db[o] += sum_{n,h} dy[n,o,h]

    >>> x, w, dx, dw = np.array([[[1.0, 2, 3]]]), np.array([[[1.0, 10]]]), np.zeros((1, 1, 3)), np.zeros((1, 1, 2))
    >>> conv_backward(np.array([[[1.0, 2]]]), x, w, dx, dw, None, window=Window.of((2,)), group=1)
    >>> dx, dw
    (array([[[ 1., 12., 20.]]]), array([[[5., 8.]]]))
    """
    out, size = dy.shape[2:], x.shape[2:]
    slopes = by_group(dy, group)  # (G, K/G, pixels)
    if dx is not None:
        weights = by_tap(w, group)  # (*kernel, G, K/G, C/G)
        canvas = np.zeros((*x.shape[:2], *canvas_shape(size, window, out)), x.dtype)
        targets = windows(canvas, window, out)
        for i in np.ndindex(*window.kernel):
            targets[i] += by_image(weights[i].swapaxes(1, 2) @ slopes, targets[i].shape)
        dx += box(canvas, window.pad, size)
    if dw is not None:
        taps = windows(padded(x, window, out), window, out)
        dweights = by_tap(dw, group)
        for i in np.ndindex(*window.kernel):
            dweights[i] += slopes @ by_group(taps[i], group).swapaxes(1, 2)
    if db is not None:
        db += slopes.sum(axis=-1).ravel()


# ---- its adjoint


@np.errstate(all="ignore")
def deconv(x: np.ndarray, w: np.ndarray, b: np.ndarray | None, y: np.ndarray, *, window: Window, group: int) -> None:
    """y[n,o,m] = b[o] + sum over c, and over all i, h with h*stride - pad + i*dilation = m, of w[c,o,i] x[n,c,h].

    >>> x, w, y = np.array([[[1.0, 2]]]), np.array([[[1.0, 10, 100]]]), np.empty((1, 1, 5))
    >>> deconv(x, w, None, y, window=Window.of((3,), stride=2), group=1)
    >>> y
    array([[[  1.,  10., 102.,  20., 200.]]])
    """
    (n, channels, *size), maps = x.shape, w.shape[1]
    bottoms = x.reshape(n, group, channels // group, 1, *size)
    weights = by_tap(w, group)[(..., *[None] * len(size))]  # (*kernel, G, C/G, K/G, *1)
    canvas = np.empty((n, group, maps, *canvas_shape(y.shape[2:], window, tuple(size))), y.dtype)
    canvas[...] = 0 if b is None else b.reshape(group, maps, *[1] * len(size))
    targets = windows(canvas, window, tuple(size))  # (*kernel, N, G, K/G, *size)
    for c, i in product(range(channels // group), np.ndindex(*window.kernel)):
        targets[i] += weights[i][:, c] * bottoms[:, :, c]
    y[...] = box(canvas, window.pad, y.shape[2:]).reshape(y.shape)


def deconv_backward(
    dy: np.ndarray,
    x: np.ndarray,
    w: np.ndarray,
    dx: np.ndarray | None,
    dw: np.ndarray | None,
    db: np.ndarray | None,
    *,
    window: Window,
    group: int,
) -> None:
    """Adds the gradients of `deconv`.

    dx[n,c,h] += sum_{o,i} w[c,o,i] dy[n, o, h*stride - pad + i*dilation]
    dw[c,o,i] += sum_{n,h} x[n,c,h] dy[n, o, h*stride - pad + i*dilation]
    db[o] += sum_{n,m} dy[n,o,m]

    >>> x, w, dx, dw = np.array([[[1.0, 2]]]), np.array([[[1.0, 10]]]), np.zeros((1, 1, 2)), np.zeros((1, 1, 2))
    >>> deconv_backward(np.array([[[1.0, 2, 3]]]), x, w, dx, dw, None, window=Window.of((2,)), group=1)
    >>> dx, dw
    (array([[[21., 32.]]]), array([[[5., 8.]]]))
    """
    out, weights = x.shape[2:], by_tap(w, group)  # (*kernel, G, C/G, K/G)
    taps = windows(padded(dy, window, out), window, out)
    bottoms = by_group(x, group)  # (G, C/G, pixels)
    for i in np.ndindex(*window.kernel):
        tap = by_group(taps[i], group)  # (G, K/G, pixels)
        if dx is not None:
            dx += by_image(weights[i] @ tap, dx.shape)
        if dw is not None:
            by_tap(dw, group)[i] += bottoms @ tap.swapaxes(1, 2)
    if db is not None:
        db += by_group(dy, 1)[0].sum(axis=-1)


# ---- pooling


def max_pool(x: np.ndarray, y: np.ndarray, *, window: Window) -> None:
    """y[n,c,h] = max_i x[n, c, h*stride - pad + i*dilation]. What lies outside x is NaN, and NaN never wins.

    >>> y = np.empty((1, 1, 3))
    >>> max_pool(np.array([[[1.0, 3, 2, -4, np.nan]]]), y, window=Window.of((2,), stride=2))
    >>> y
    array([[[  3.,   2., -inf]]])
    """
    taps = windows(padded(x, window, y.shape[2:], np.nan), window, y.shape[2:])
    y[...] = -np.inf
    for i in np.ndindex(*window.kernel):
        np.copyto(y, taps[i], where=taps[i] > y)


def max_pool_backward(dy: np.ndarray, x: np.ndarray, dx: np.ndarray, *, window: Window) -> None:
    """dx[n, c, h*stride - pad + i*dilation] += dy[n,c,h] for the first i, in row-major order, that attains the maximum.

    >>> dx = np.zeros((1, 1, 4))
    >>> max_pool_backward(np.array([[[5.0, 7]]]), np.array([[[3.0, 3, 1, 2]]]), dx, window=Window.of((2,), stride=2))
    >>> dx
    array([[[5., 0., 0., 7.]]])
    """
    out, size = dy.shape[2:], x.shape[2:]
    y = np.empty_like(dy)
    max_pool(x, y, window=window)
    taps = windows(padded(x, window, out, np.nan), window, out)
    canvas = np.zeros((*x.shape[:2], *canvas_shape(size, window, out)), x.dtype)
    targets = windows(canvas, window, out)
    open_ = np.ones(dy.shape, bool)  # positions whose winner is not found yet
    for i in np.ndindex(*window.kernel):
        wins = open_ & (taps[i] == y)
        targets[i] += np.where(wins, dy, 0)
        open_ &= ~wins
    dx += box(canvas, window.pad, size)


def divisor(size: Shape, out: Shape, window: Window, clip: bool, dtype: np.dtype) -> np.ndarray:
    """What each mean is divided by, (*out): all taps of the window, or those inside the padded input.

    >>> divisor((4,), (3,), Window.of((3,), stride=2, pad=1), True, np.dtype(float))  # padded to 6, windows at 0, 2, 4
    array([3., 3., 2.])
    """
    counts = np.ones(out, dtype)
    for axis, (n, h) in enumerate(zip(size, out, strict=True)):
        k, s, p, d = window.kernel[axis], window.stride[axis], window.pad[axis], window.dilation[axis]
        at = np.arange(h)[:, None] * s + np.arange(k) * d  # in the padded input, (position, tap)
        taps = (at < n + 2 * p).sum(axis=1) if clip else np.full(h, k)
        counts *= taps.reshape(-1, *[1] * (len(out) - 1 - axis))
    return counts


@np.errstate(all="ignore")
def mean_pool(x: np.ndarray, y: np.ndarray, *, window: Window, clip_divisor: bool) -> None:
    """y[n,c,h] = sum_i x[n, c, h*stride - pad + i*dilation] / divisor[h], zero outside x.

    >>> y = np.empty((1, 1, 2))
    >>> mean_pool(np.array([[[1.0, 2, 3]]]), y, window=Window.of((2,), stride=2), clip_divisor=False)
    >>> y
    array([[[1.5, 1.5]]])
    >>> mean_pool(np.array([[[1.0, 2, 3]]]), y, window=Window.of((2,), stride=2), clip_divisor=True)
    >>> y
    array([[[1.5, 3. ]]])
    """
    out = y.shape[2:]
    taps = windows(padded(x, window, out), window, out)
    y[...] = 0
    for i in np.ndindex(*window.kernel):
        y += taps[i]
    y /= divisor(x.shape[2:], out, window, clip_divisor, y.dtype)


def mean_pool_backward(dy: np.ndarray, dx: np.ndarray, *, window: Window, clip_divisor: bool) -> None:
    """dx[n, c, h*stride - pad + i*dilation] += dy[n,c,h] / divisor[h] for every i.

    >>> dx = np.zeros((1, 1, 3))
    >>> mean_pool_backward(np.array([[[2.0, 4]]]), dx, window=Window.of((2,)), clip_divisor=False)
    >>> dx
    array([[[1., 3., 2.]]])
    """
    out, size = dy.shape[2:], dx.shape[2:]
    share = dy / divisor(size, out, window, clip_divisor, dy.dtype)
    canvas = np.zeros((*dx.shape[:2], *canvas_shape(size, window, out)), dx.dtype)
    targets = windows(canvas, window, out)
    for i in np.ndindex(*window.kernel):
        targets[i] += share
    dx += box(canvas, window.pad, size)


def max_pool_places(x: np.ndarray, y: np.ndarray, *, window: Window) -> None:
    """y[n,c,h] = the flat index, among all of x[n,c], of the first element that attains the maximum; -1 if all are NaN.

    >>> y = np.empty((1, 1, 2))
    >>> max_pool_places(np.array([[[1.0, 3, 3, 4]]]), y, window=Window.of((2,), stride=2))
    >>> y
    array([[[1., 3.]]])
    """
    size, out = x.shape[2:], y.shape[2:]
    index = np.arange(prod(size)).reshape(size)
    best = np.full_like(y, -np.inf)
    y[...] = -1
    for _, reads, places in window.taps(size, out):
        tap, most, at = x[:, :, *reads], best[:, :, *places], y[:, :, *places]
        wins = (tap > most) | ((at < 0) & (tap == most))  # minus infinity may win too
        np.copyto(most, tap, where=wins)
        np.copyto(at, index[reads], where=wins, casting="unsafe")


# ---- taps as channels


def columns(y: np.ndarray, window: Window) -> np.ndarray:
    """(N, C * taps, *out) -> (*kernel, N, C, *out); a view."""
    split = y.reshape(y.shape[0], y.shape[1] // prod(window.kernel), *window.kernel, *y.shape[2:])
    return np.moveaxis(split, (0, 1), (len(window.kernel), len(window.kernel) + 1))


def unfold(x: np.ndarray, y: np.ndarray, *, window: Window) -> None:
    """y[n, (c, i), h] = x[n, c, h*stride - pad + i*dilation], zero outside x.

    >>> y = np.empty((1, 2, 3))
    >>> unfold(np.array([[[1.0, 2, 3, 4]]]), y, window=Window.of((2,)))
    >>> y
    array([[[1., 2., 3.],
            [2., 3., 4.]]])
    """
    y[...] = 0
    taps = columns(y, window)
    for i, reads, places in window.taps(x.shape[2:], y.shape[2:]):
        taps[i][:, :, *places] = x[:, :, *reads]


def unfold_backward(dy: np.ndarray, dx: np.ndarray, *, window: Window) -> None:
    """dx[n, c, h*stride - pad + i*dilation] += dy[n, (c, i), h].

    >>> dx = np.zeros((1, 1, 4))
    >>> unfold_backward(np.array([[[1.0, 2, 3], [10, 20, 30]]]), dx, window=Window.of((2,)))
    >>> dx
    array([[[ 1., 12., 23., 30.]]])
    """
    taps = columns(dy, window)
    for i, reads, places in window.taps(dx.shape[2:], dy.shape[2:]):
        dx[:, :, *reads] += taps[i][:, :, *places]
