"""Ops of the methods that train: one update of one parameter w by its gradient g."""

import numpy as np


def sum_squares(x: np.ndarray) -> float:
    """sum x^2, in float64.

    >>> sum_squares(np.array([[3.0], [4.0]]))
    25.0
    """
    return float(np.square(x, dtype=np.float64).sum())


def momentum_step(g: np.ndarray, v: np.ndarray, w: np.ndarray, *, rate: float, momentum: float) -> None:
    """v = momentum * v - rate * g;  w += v.

    >>> v, w = np.array([1.0]), np.array([10.0])
    >>> momentum_step(np.array([2.0]), v, w, rate=0.5, momentum=0.25)
    >>> v, w
    (array([-0.75]), array([9.25]))
    """
    v[...] = momentum * v - rate * g
    w += v


def nesterov_step(g: np.ndarray, v: np.ndarray, w: np.ndarray, *, rate: float, momentum: float, ahead: float) -> None:
    """u = momentum * v - rate * g;  w += (1 + ahead) * u - momentum * v;  v = u.

    >>> v, w = np.array([1.0]), np.array([10.0])
    >>> nesterov_step(np.array([2.0]), v, w, rate=0.5, momentum=0.25, ahead=0.25)
    >>> v, w
    (array([-0.75]), array([8.8125]))
    """
    u = momentum * v - rate * g
    w += (1 + ahead) * u - momentum * v
    v[...] = u


def squares_step(
    g: np.ndarray, h: np.ndarray, w: np.ndarray, *, rate: float, keep: float, take: float, epsilon: float
) -> None:
    """h = keep * h + take * g^2;  w -= rate * g / (sqrt(h) + epsilon).

    >>> h, w = np.array([5.0]), np.array([10.0])
    >>> squares_step(np.array([2.0]), h, w, rate=3, keep=1, take=1, epsilon=0)
    >>> h, w
    (array([9.]), array([8.]))
    """
    h[...] = keep * h + take * g**2
    w -= rate * g / (np.sqrt(h) + epsilon)


def adadelta_step(
    g: np.ndarray, h: np.ndarray, d: np.ndarray, w: np.ndarray, *, rate: float, keep: float, epsilon: float
) -> None:
    """h = keep * h + (1 - keep) * g^2;  u = g * sqrt((d + epsilon) / (h + epsilon));  d = keep * d + (1 - keep) * u^2;  w -= rate * u.

    >>> h, d, w = np.array([4.0]), np.array([16.0]), np.array([10.0])
    >>> adadelta_step(np.array([2.0]), h, d, w, rate=1, keep=0.5, epsilon=0)
    >>> h, d, w
    (array([4.]), array([16.]), array([6.]))
    """
    h[...] = keep * h + (1 - keep) * g**2
    u = g * np.sqrt((d + epsilon) / (h + epsilon))
    d[...] = keep * d + (1 - keep) * u**2
    w -= rate * u


def adam_step(
    g: np.ndarray,
    m: np.ndarray,
    s: np.ndarray,
    w: np.ndarray,
    *,
    rate: float,
    beta1: float,
    beta2: float,
    epsilon: float,
) -> None:
    """m = beta1 * m + (1 - beta1) * g;  s = beta2 * s + (1 - beta2) * g^2;  w -= rate * m / (sqrt(s) + epsilon).

    >>> m, s, w = np.array([4.0]), np.array([14.0]), np.array([10.0])
    >>> adam_step(np.array([2.0]), m, s, w, rate=1, beta1=0.5, beta2=0.5, epsilon=0)
    >>> m, s, w
    (array([3.]), array([9.]), array([9.]))
    """
    m[...] = beta1 * m + (1 - beta1) * g
    s[...] = beta2 * s + (1 - beta2) * g**2
    w -= rate * m / (np.sqrt(s) + epsilon)
