"""Convolution and pooling over one spatial axis, or three and more, by the kernels for two.

One axis is two of which the first has a single row. More are the last two, for one tap of the leading axes after the
other: each tap multiplies whole slabs (N, C, H, W), which lie side by side once the leading axes come first. Pooling
goes axis by axis, because its maximum and its divisor do. Fragments of more than two axes are numpy's strided copies,
the reference's.
"""

from collections.abc import Callable, Iterator

import numpy as np

from ..reference import moves as reference
from ..shapes import Box, Shape, Window
from . import correlate, moves, pool, weight_gradient
from .jit import Threads

Gradient = np.ndarray | None


def conv(
    x: np.ndarray, w: np.ndarray, b: np.ndarray | None, y: np.ndarray, window: Window, group: int, threads: Threads
) -> None:
    if len(window.kernel) == 2:
        return correlate.correlate(x, w, b, y, window, group, threads)
    if len(window.kernel) == 1:
        return conv(_row(x), _row(w), b, _row(y), _lifted(window), group, threads)
    plane, xs, ws, ys = _plane(window), _slabs(x), _slabs(w), _begun(b, y)
    for tap, large, small in _taps(window, x.shape[2:], y.shape[2:]):
        part = _piled(ys[small])
        correlate.correlate(_piled(xs[large]), ws[tap], None, part, plane, group, threads, add=True)
        ys[small] = part.reshape(ys[small].shape)
    y[...] = _unslab(ys)


def conv_backward(
    dy: np.ndarray, x: np.ndarray, w: np.ndarray, dx: Gradient, dw: Gradient, db: Gradient,
    window: Window, group: int, threads: Threads,
) -> None:  # fmt: skip
    if len(window.kernel) == 2:
        return correlate.conv_backward(dy, x, w, dx, dw, db, window, group, threads)
    if len(window.kernel) == 1:
        rows = _row(dy), _row(x), _row(w), _row_or_none(dx), _row_or_none(dw)
        return conv_backward(*rows, db, _lifted(window), group, threads)
    _backward(dy, x, w, dx, dw, x.shape, window, group, threads, correlate.spread)
    if db is not None:
        weight_gradient.add_channel_sums(dy, db, threads)


def deconv(
    x: np.ndarray, w: np.ndarray, b: np.ndarray | None, y: np.ndarray, window: Window, group: int, threads: Threads
) -> None:
    if len(window.kernel) == 2:
        return correlate.spread(x, w, b, y, window, group, threads)
    if len(window.kernel) == 1:
        return deconv(_row(x), _row(w), b, _row(y), _lifted(window), group, threads)
    plane, xs, ws, ys = _plane(window), _slabs(x), _slabs(w), _begun(b, y)
    for tap, large, small in _taps(window, y.shape[2:], x.shape[2:]):
        part = _piled(ys[large])
        correlate.spread(_piled(xs[small]), ws[tap], None, part, plane, group, threads, add=True)
        ys[large] = part.reshape(ys[large].shape)
    y[...] = _unslab(ys)


def deconv_backward(
    dy: np.ndarray, x: np.ndarray, w: np.ndarray, dx: Gradient, dw: Gradient, db: Gradient,
    window: Window, group: int, threads: Threads,
) -> None:  # fmt: skip
    if len(window.kernel) == 2:
        return correlate.deconv_backward(dy, x, w, dx, dw, db, window, group, threads)
    if len(window.kernel) == 1:
        rows = _row(dy), _row(x), _row(w), _row_or_none(dx), _row_or_none(dw)
        return deconv_backward(*rows, db, _lifted(window), group, threads)
    _backward(dy, x, w, dx, dw, dy.shape, window, group, threads, correlate.correlate)
    if db is not None:
        weight_gradient.add_channel_sums(dy, db, threads)


def _backward(
    dy: np.ndarray, x: np.ndarray, w: np.ndarray, dx: Gradient, dw: Gradient, wide: Shape,
    window: Window, group: int, threads: Threads, adjoint: Callable[..., None],
) -> None:  # fmt: skip
    """Both gradients, tap by tap; `wide` is the shape of the side that the window slides over, x's or dy's."""
    plane, dys, xs, ws = _plane(window), _slabs(dy), _slabs(x), _slabs(w)
    dxs, dws = (None if g is None else _slabs(g) for g in (dx, dw))
    slid = wide == x.shape
    narrow = dy.shape if slid else x.shape
    for tap, large, small in _taps(window, wide[2:], narrow[2:]):
        of_x, of_y = (large, small) if slid else (small, large)
        gradient = _piled(dys[of_y])
        if dxs is not None:
            part = _piled(dxs[of_x])
            adjoint(gradient, ws[tap], None, part, plane, group, threads, add=True)
            dxs[of_x] = part.reshape(dxs[of_x].shape)
        if dws is not None:
            pair = (gradient, _piled(xs[of_x])) if slid else (_piled(xs[of_x]), gradient)
            weight_gradient.add(*pair, dws[tap], plane, group, threads)
    for whole, slabs in ((dx, dxs), (dw, dws)):
        if whole is not None and slabs is not None:
            whole[...] = _unslab(slabs)


# ---- pooling


def max_pool(x: np.ndarray, y: np.ndarray, window: Window, threads: Threads) -> None:
    for source, target, flat in _axis_by_axis(x, y, window):
        pool.max_pool(source, target, flat, threads)


def max_pool_backward(dy: np.ndarray, x: np.ndarray, dx: np.ndarray, window: Window, threads: Threads) -> None:
    """The maxima of each stage again, then back through them: among equals the outermost axis decides first."""
    if len(window.kernel) == 2:
        return pool.max_pool_backward(dy, x, dx, window, threads)
    stages = list(_axis_by_axis(x, np.empty_like(dy), window))
    for source, target, flat in stages[:-1]:
        pool.max_pool(source, target, flat, threads)
    _back(dy, dx, stages, lambda g, s, d, f: pool.max_pool_backward(g, s, d, f, threads))


def mean_pool(x: np.ndarray, y: np.ndarray, window: Window, clip_divisor: bool, threads: Threads) -> None:
    for source, target, flat in _axis_by_axis(x, y, window):
        pool.mean_pool(source, target, flat, clip_divisor, threads)


def mean_pool_backward(dy: np.ndarray, dx: np.ndarray, window: Window, clip_divisor: bool, threads: Threads) -> None:
    stages = list(_axis_by_axis(dx, np.empty_like(dy), window))
    _back(dy, dx, stages, lambda g, _, d, f: pool.mean_pool_backward(g, d, f, clip_divisor, threads))


def _axis_by_axis(x: np.ndarray, y: np.ndarray, window: Window) -> Iterator["Stage"]:
    """(source, target, window) of each stage, over the last two axes first, as maps (planes, 1, rows, columns)."""
    axes = len(window.kernel)
    if axes <= 2:
        yield (x, y, window) if axes == 2 else (_row(x), _row(y), _lifted(window))
        return
    shape = [*x.shape[:-2], *y.shape[-2:]]
    target = np.empty(shape, x.dtype)
    yield x.reshape(-1, 1, *x.shape[-2:]), target.reshape(-1, 1, *y.shape[-2:]), _plane(window)
    for axis in range(axes - 3, -1, -1):
        source, at = target, axis + 2
        shape[at] = y.shape[at]
        target = y if axis == 0 else np.empty(shape, x.dtype)
        inner = int(np.prod(shape[at + 1 :]))
        flat = Window(
            (window.kernel[axis], 1), (window.stride[axis], 1), (window.pad[axis], 0), (window.dilation[axis], 1)
        )
        yield source.reshape(-1, 1, source.shape[at], inner), target.reshape(-1, 1, shape[at], inner), flat


Stage = tuple[np.ndarray, np.ndarray, Window]


def _back(dy: np.ndarray, dx: np.ndarray, stages: list[Stage], step: Callable[..., None]) -> None:
    """Takes a gradient through stages, last first; the first one's goes to dx."""
    gradient = dy
    for i, (source, target, flat) in reversed(list(enumerate(stages))):
        down = dx.reshape(source.shape) if i == 0 else np.zeros_like(source)
        step(gradient.reshape(target.shape), source, down, flat)
        gradient = down


# ---- fragments


def fragment(x: np.ndarray, y: np.ndarray, strides: tuple[Shape, ...], add: bool, threads: Threads) -> None:
    axes = len(strides[0])
    if axes == 2:
        moves.fragment(x, y, strides, add, threads)
    elif axes == 1:
        moves.fragment(_row(x), _row(y), tuple((1, *s) for s in strides), add, threads)
    else:  # nothing but strided copies, one per fragment
        reference.fragment(x, y, strides=strides, add=add)


def stitch(x: np.ndarray, y: np.ndarray, strides: tuple[Shape, ...], add: bool, threads: Threads) -> None:
    axes = len(strides[0])
    if axes == 2:
        moves.stitch(x, y, strides, add, threads)
    elif axes == 1:
        moves.stitch(_row(x), _row(y), tuple((1, *s) for s in strides), add, threads)
    else:
        reference.stitch(x, y, strides=strides, add=add)


# ---- shapes


def _row(x: np.ndarray) -> np.ndarray:
    """(N, C, W) as (N, C, 1, W); the same elements."""
    return x.reshape(*x.shape[:2], 1, x.shape[2])


def _row_or_none(x: Gradient) -> Gradient:
    return None if x is None else _row(x)


def _lifted(window: Window) -> Window:
    return Window((1, *window.kernel), (1, *window.stride), (0, *window.pad), (1, *window.dilation))


def _plane(window: Window) -> Window:
    """Along the last two axes."""
    return Window(window.kernel[-2:], window.stride[-2:], window.pad[-2:], window.dilation[-2:])


def _slabs(x: np.ndarray) -> np.ndarray:
    """(N, C, *leading, H, W) as (*leading, N, C, H, W), copied."""
    return np.moveaxis(x, (0, 1), (-4, -3)).copy()


def _unslab(slabs: np.ndarray) -> np.ndarray:
    return np.moveaxis(slabs, (-4, -3), (0, 1))


def _begun(b: np.ndarray | None, y: np.ndarray) -> np.ndarray:
    """Slabs of y that hold the bias."""
    slabs = np.zeros(np.moveaxis(y, (0, 1), (-4, -3)).shape, y.dtype)
    if b is not None:
        slabs += b[:, None, None]
    return slabs


def _piled(slabs: np.ndarray) -> np.ndarray:
    """Slabs as one batch, copied."""
    return np.ascontiguousarray(slabs).reshape(-1, *slabs.shape[-3:])


def _taps(window: Window, large: Shape, small: Shape) -> Iterator[tuple[Shape, Box, Box]]:
    """Each tap of the leading axes, the places that it reads in the larger side, and for which places of the smaller."""
    fields = (window.kernel, window.stride, window.pad, window.dilation)
    return Window(*(field[:-2] for field in fields)).taps(large[:-2], small[:-2])
