"""Ops that choose: the largest elements along an axis, and rows by their numbers."""

import numpy as np

from .classes import by_class


def arg_max(x: np.ndarray, y: np.ndarray, *, axis: int, top_k: int, last: bool, values: bool) -> None:
    """y = the places, or with `values` the values, of the top_k largest elements along the axis, the largest first.

    Of equal elements the first one leads, or with `last` the last one; NaN lies behind all numbers. x (*outer, K, *inner),
    y (*outer, top_k, *inner).

    >>> y = np.empty((1, 2))
    >>> arg_max(np.array([[3.0, 1.0, 3.0]]), y, axis=1, top_k=2, last=True, values=False)
    >>> y
    array([[2., 0.]])
    """
    seen = by_class(x, axis)
    order = -seen  # numpy sorts NaN behind all numbers
    if last:
        chosen = order.shape[1] - 1 - np.argsort(order[:, ::-1], axis=1, kind="stable")[:, :top_k]
    else:
        chosen = np.argsort(order, axis=1, kind="stable")[:, :top_k]
    y[...] = (np.take_along_axis(seen, chosen, axis=1) if values else chosen).reshape(y.shape)


def gather(x: np.ndarray, index: np.ndarray, y: np.ndarray) -> None:
    """y[i] = x[index[i]]. x (R, *row), index of I elements in any shape, y (I, *row).

    >>> y = np.empty((3, 1))
    >>> gather(np.array([[5.0], [7.0]]), np.array([1.0, 0.0, 1.0]), y)
    >>> y.ravel()
    array([7., 5., 7.])
    """
    y[...] = x[rows_of(index, len(x))]


def scatter(x: np.ndarray, index: np.ndarray, y: np.ndarray) -> None:
    """y[index[i]] += x[i], one after the other: what `gather` is the gradient of, and the other way round.

    >>> y = np.zeros((2, 1))
    >>> scatter(np.array([[1.0], [2.0], [4.0]]), np.array([1.0, 0.0, 1.0]), y)
    >>> y.ravel()
    array([2., 5.])
    """
    np.add.at(y, rows_of(index, len(y)), x)


def rows_of(index: np.ndarray, rows: int) -> np.ndarray:
    """The numbers as integers; one that is no row raises ValueError."""
    flat = np.asarray(index).reshape(-1)
    with np.errstate(invalid="ignore"):
        legal = (flat >= 0) & (flat < rows) & (flat == np.floor(flat))
    if not legal.all():
        raise ValueError(f"index {flat[~legal][0]:g} is none of the {rows} rows, counted from 0")
    return flat.astype(np.intp)
