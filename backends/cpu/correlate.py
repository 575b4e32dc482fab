"""Convolution, deconvolution and their gradients.

Three computations make all of them: `correlate` (conv, and deconv's data gradient), its adjoint `spread` (deconv, and
conv's data gradient), and the weight gradient, which the two share with x and dy exchanged.
"""

import numpy as np

from ..shapes import Window
from . import geometry, sweep, weight_gradient
from .jit import Threads
from .simd import lanes
from .staging import staged

Gradient = np.ndarray | None


def correlate(
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray | None,
    y: np.ndarray,
    window: Window,
    group: int,
    threads: Threads,
    add: bool = False,
) -> None:
    """y[n,o,h] (+)= b[o] + sum_{c,i} w[o,c,i] x[n, c, h * stride - pad + i * dilation]."""
    _sweep(geometry.correlation(x.shape, y.shape, window, group, lanes(x.dtype)), x, w, b, y, threads, add)


def spread(
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray | None,
    y: np.ndarray,
    window: Window,
    group: int,
    threads: Threads,
    add: bool = False,
) -> None:
    """y[n, o, h * stride - pad + i * dilation] (+)= sum_{c,i} w[c,o,i] x[n,c,h], plus b[o]."""
    _sweep(geometry.adjoint(x.shape, y.shape, window, group, lanes(x.dtype)), x, w, b, y, threads, add)


def _sweep(
    solved: geometry.Geometry,
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray | None,
    y: np.ndarray,
    threads: Threads,
    add: bool,
) -> None:
    source = staged(x, solved.staging, lanes(x.dtype), threads)
    for part in solved.sweeps:
        sweep.run(part, source, w, b, y, threads, add)


def conv_backward(
    dy: np.ndarray,
    x: np.ndarray,
    w: np.ndarray,
    dx: Gradient,
    dw: Gradient,
    db: Gradient,
    window: Window,
    group: int,
    threads: Threads,
) -> None:
    if dx is not None:
        spread(dy, w, None, dx, window, group, threads, add=True)
    if dw is not None:
        weight_gradient.add(dy, x, dw, window, group, threads)
    if db is not None:
        weight_gradient.add_channel_sums(dy, db, threads)


def deconv_backward(
    dy: np.ndarray,
    x: np.ndarray,
    w: np.ndarray,
    dx: Gradient,
    dw: Gradient,
    db: Gradient,
    window: Window,
    group: int,
    threads: Threads,
) -> None:
    if dx is not None:
        correlate(dy, w, None, dx, window, group, threads, add=True)
    if dw is not None:
        weight_gradient.add(x, dy, dw, window, group, threads)
    if db is not None:
        weight_gradient.add_channel_sums(dy, db, threads)
