"""Ops that make one number of several: of one element of several arrays, or of the elements along an axis."""

import numpy as np

from ..protocol import Combination, Reduction
from .classes import by_class


@np.errstate(all="ignore")
def combine(*arrays: np.ndarray, operation: Combination, coefficients: tuple[float, ...] = ()) -> None:
    """y = sum_i coefficients[i] x_i (1 unless given), prod_i x_i, x_0 / x_1, or max_i x_i; from the first to the last.

    >>> y = np.empty(2)
    >>> combine(np.array([1.0, 2.0]), np.array([5.0, 7.0]), y, operation="sum", coefficients=(3.0, -1.0))
    >>> y
    array([-2., -1.])
    """
    *xs, y = arrays
    factors = coefficients or (1.0,) * len(xs)
    total = factors[0] * xs[0] if operation == "sum" else xs[0]
    for i, x in enumerate(xs[1:], 1):
        match operation:
            case "sum":
                total = total + factors[i] * x
            case "product":
                total = total * x
            case "quotient":
                total = total / x
            case "maximum":
                total = np.where(total > x, total, x) if i == 1 else np.where(x > total, x, total)
    y[...] = total


def maximum_backward(
    dy: np.ndarray, y: np.ndarray, x: np.ndarray, rival: np.ndarray, dx: np.ndarray, *, ties: bool
) -> None:
    """dx += dy where x = y and x > rival; with `ties` also where x = rival.

    >>> x, dx = np.array([1.0, 2.0, 3.0]), np.zeros(3)
    >>> maximum_backward(np.ones(3), np.array([4.0, 2.0, 3.0]), x, np.array([4.0, 2.0, 1.0]), dx, ties=False)
    >>> dx
    array([0., 0., 1.])
    """
    ahead = x >= rival if ties else x > rival
    dx += np.where(ahead & (x == y), dy, 0)


@np.errstate(all="ignore")
def reduce(x: np.ndarray, y: np.ndarray, *, axis: int, operation: Reduction, scale: float) -> None:
    """y = scale * sum_k f(x[k]), with f(x) = x, |x| or x^2; summed in float64, from 0 up.

    x (*outer, K, *inner), y any shape of outer * inner elements.

    >>> y = np.empty(2)
    >>> reduce(np.array([[1.0, -2.0], [3.0, 4.0]]), y, axis=1, operation="asum", scale=0.5)
    >>> y
    array([1.5, 3.5])
    """
    terms = by_class(x, axis).astype(np.float64)
    if operation == "asum":
        terms = np.abs(terms)
    elif operation == "sumsq":
        terms = terms * terms
    sums = last_sums(terms)
    y[...] = (scale * sums).reshape(y.shape)


def last_sums(terms: np.ndarray) -> np.ndarray:
    """The sums along axis 1 in float64, one number after the other, as np.sum does not; 0 of nothing."""
    if not terms.shape[1]:
        return np.zeros((len(terms), *terms.shape[2:]))
    return np.add.accumulate(terms, axis=1, dtype=np.float64)[:, -1]


def reduce_backward(
    dy: np.ndarray, x: np.ndarray, dx: np.ndarray, *, axis: int, operation: Reduction, scale: float
) -> None:
    """dx[k] += scale * f'(x[k]) * dy, where f' is 1, sign(x), 0 for NaN, or 2 x.

    >>> x, dx = np.array([[1.0, -2.0, 0.0, np.nan]]), np.zeros((1, 4))
    >>> reduce_backward(np.array([4.0]), x, dx, axis=1, operation="asum", scale=0.5)
    >>> dx
    array([[ 2., -2.,  0.,  0.]])
    """
    seen, change = by_class(x, axis), scale * dy.reshape(-1)
    change = change.reshape(len(seen), 1, seen.shape[2])
    if operation == "asum":
        change = np.where(seen > 0, change, np.where(seen < 0, -change, 0))
    elif operation == "sumsq":
        change = 2 * seen * change
    by_class(dx, axis)[...] += change
