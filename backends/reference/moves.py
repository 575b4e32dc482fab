"""Ops that move data and compute nothing: move a box, fragment and stitch."""

import numpy as np

from ..shapes import Shape
from .views import box, corner, sample


def put(y: np.ndarray, x: np.ndarray, add: bool) -> None:
    """y (+)= x."""
    if add:
        y += x
    else:
        y[...] = x


def move(x: np.ndarray, y: np.ndarray, *, source: Shape, target: Shape, size: Shape, add: bool = False) -> None:
    """y[target : target + size] (+)= x[source : source + size], along every axis; the rest of y stays.

    >>> y = np.array([1.0, 2, 3, 4])
    >>> move(np.array([7.0, 8, 9]), y, source=(1,), target=(0,), size=(2,))
    >>> y
    array([8., 9., 3., 4.])
    """
    put(box(y, target, size), box(x, source, size), add)


def lattice(strides: tuple[Shape, ...]) -> tuple[list[Shape], Shape]:
    """Where each fragment starts, in the order of the batch, and the step between its pixels.

    Every stride splits each fragment of the strides before it.

    >>> lattice(((2,), (3,)))
    ([(0,), (2,), (4,), (1,), (3,), (5,)], (6,))
    """
    starts, step = [(0,) * len(strides[0])], (1,) * len(strides[0])
    for stride in strides:
        starts = [
            tuple(a + t * i for a, t, i in zip(start, step, phase, strict=True))
            for start in starts
            for phase in np.ndindex(*stride)
        ]
        step = tuple(t * s for t, s in zip(step, stride, strict=True))
    return starts, step


def fragment(x: np.ndarray, y: np.ndarray, *, strides: tuple[Shape, ...], add: bool = False) -> None:
    """y[n * F + f, c] (+)= x[n, c, start(f)::step], zero where that ends before y does.

    >>> y = np.empty((2, 1, 3))
    >>> fragment(np.array([[[1.0, 2, 3, 4, 5]]]), y, strides=((2,),))
    >>> y
    array([[[1., 3., 5.]],
    <BLANKLINE>
           [[2., 4., 0.]]])
    """
    starts, step = lattice(strides)
    parts = y.reshape(x.shape[0], len(starts), *y.shape[1:])
    if not add:
        y[...] = 0
    for f, start in enumerate(starts):
        part = sample(x, start, step)
        put(corner(parts[:, f], part.shape[2:]), part, add)


def stitch(x: np.ndarray, y: np.ndarray, *, strides: tuple[Shape, ...], add: bool = False) -> None:
    """y[n, c, start(f)::step] (+)= x[n * F + f, c]; what exceeds y is dropped.

    >>> y = np.empty((1, 1, 5))
    >>> stitch(np.array([[[1.0, 3, 5]], [[2, 4, 0]]]), y, strides=((2,),))
    >>> y
    array([[[1., 2., 3., 4., 5.]]])
    """
    starts, step = lattice(strides)
    parts = x.reshape(y.shape[0], len(starts), *x.shape[1:])
    for f, start in enumerate(starts):
        part = sample(y, start, step)
        put(part, corner(parts[:, f], part.shape[2:]), add)
