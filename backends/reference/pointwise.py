"""Ops that meet each element by itself: the neurons.

numpy has several forms of exp and tanh, which round differently, and chooses by the array's strides (float64 exp has
another one for arrays read backwards). So they only ever see contiguous arrays here, and an element's bits depend on
its value alone.
"""

import numpy as np

from ..protocol import Activation


@np.errstate(all="ignore")
def activate(x: np.ndarray, y: np.ndarray, *, kind: Activation, parameter: float) -> None:
    """relu: x > 0 ? x : parameter * x; sigmoid: 1 / (1 + exp(-x)); tanh; exponential: exp(x).

    >>> x, y = np.array([-2.0, 3.0]), np.empty(2)
    >>> activate(x, y, kind="relu", parameter=0.1)
    >>> y
    array([-0.2,  3. ])
    """
    x = np.ascontiguousarray(x)
    match kind:
        case "relu":
            y[...] = np.where(x > 0, x, parameter * x)
        case "sigmoid":
            y[...] = 1 / (1 + np.exp(-x))
        case "tanh":
            y[...] = np.tanh(x)
        case "exponential":
            y[...] = np.exp(x)


def activate_backward(
    dy: np.ndarray, x: np.ndarray, y: np.ndarray, dx: np.ndarray, *, kind: Activation, parameter: float
) -> None:
    """dx += dy * f'(x), where f' is x > 0 ? 1 : parameter; y (1 - y); 1 - y^2; y.

    >>> x, dx = np.array([-2.0, 0.0, 3.0]), np.zeros(3)
    >>> activate_backward(np.array([1.0, 1.0, 5.0]), x, x, dx, kind="relu", parameter=0.1)
    >>> dx
    array([0.1, 0.1, 5. ])
    """
    match kind:
        case "relu":
            dx += np.where(x > 0, dy, parameter * dy)
        case "sigmoid":
            dx += dy * y * (1 - y)
        case "tanh":
            dx += dy * (1 - y * y)
        case "exponential":
            dx += dy * y


def threshold(x: np.ndarray, y: np.ndarray, *, floor: float) -> None:
    """y = max(floor, x); NaN stays NaN.

    >>> y = np.empty(2)
    >>> threshold(np.array([-2.0, 3.0]), y, floor=0.5)
    >>> y
    array([0.5, 3. ])
    """
    y[...] = np.where(x <= floor, x.dtype.type(floor), x)


def threshold_backward(dy: np.ndarray, y: np.ndarray, dx: np.ndarray, *, floor: float) -> None:
    """dx += dy where y > floor.

    >>> dx = np.ones(2)
    >>> threshold_backward(np.array([7.0, 8.0]), np.array([0.5, 3.0]), dx, floor=0.5)
    >>> dx
    array([1., 9.])
    """
    dx += np.where(y > floor, dy, 0)
