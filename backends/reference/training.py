"""Ops of the solvers: sums, products and norms of parameters."""

import numpy as np


def multiply(a: np.ndarray, b: np.ndarray, y: np.ndarray, *, add: bool = False) -> None:
    """y (+)= a * b.

    >>> y = np.array([1.0, 1.0])
    >>> multiply(np.array([2.0, 3.0]), np.array([5.0, 7.0]), y, add=True)
    >>> y
    array([11., 22.])
    """
    if add:
        y += a * b
    else:
        np.multiply(a, b, out=y)


def axpby(x: np.ndarray, y: np.ndarray, *, alpha: float, beta: float) -> None:
    """y = alpha * x + beta * y; as in BLAS, y is not read where beta is 0.

    >>> y = np.array([1.0, 2.0])
    >>> axpby(np.array([10.0, 20.0]), y, alpha=2, beta=-1)
    >>> y
    array([19., 38.])
    """
    y[...] = alpha * x + beta * y if beta else alpha * x


def add_sign(x: np.ndarray, y: np.ndarray, *, alpha: float) -> None:
    """y += alpha * sign(x), with sign(0) = 0.

    >>> y = np.ones(3)
    >>> add_sign(np.array([-4.0, 0.0, 9.0]), y, alpha=0.5)
    >>> y
    array([0.5, 1. , 1.5])
    """
    y += alpha * np.sign(x)


def clip_norm(y: np.ndarray, *, limit: float) -> None:
    """y[i] *= min(1, limit / |y[i]|) for every i, with the Euclidean norm; a one-dimensional y is one vector.

    >>> y = np.array([[3.0, 4.0], [0.3, 0.4]])
    >>> clip_norm(y, limit=1.0)
    >>> y
    array([[0.6, 0.8],
           [0.3, 0.4]])
    """
    for row in [y] if y.ndim == 1 else y:
        norm = np.sqrt(np.square(row, dtype=np.float64).sum())
        if norm > limit:
            row *= limit / norm
