"""The op that meets each element by itself: the neurons.

numpy has several forms of exp and tanh, which round differently, and chooses by the array's strides (float64 exp has
another one for arrays read backwards). So they only ever see contiguous arrays here, and an element's bits depend on
its value alone.
"""

import numpy as np

from ..protocol import Activation


@np.errstate(all="ignore")
def activate(x: np.ndarray, y: np.ndarray, *, kind: Activation, parameters: tuple[float, ...]) -> None:
    """y = f(x), for the kinds of `protocol`'s table.

    >>> x, y = np.array([-2.0, 3.0]), np.empty(2)
    >>> activate(x, y, kind="relu", parameters=(0.1,))
    >>> y
    array([-0.2,  3. ])
    >>> activate(x, y, kind="at_least", parameters=(0.5,))
    >>> y
    array([0.5, 3. ])
    """
    x = np.ascontiguousarray(x)
    match kind, parameters:
        case "relu", (slope,):
            y[...] = np.where(x > 0, x, slope * x)
        case "at_least", (floor,):
            y[...] = np.where(x <= floor, x.dtype.type(floor), x)
        case "sigmoid", ():
            y[...] = _sigmoid(x)
        case "tanh", ():
            y[...] = np.tanh(x)
        case "exponential", (factor, rate):
            y[...] = factor * np.exp(rate * x)
        case "elu", (alpha,):
            y[...] = np.where(x > 0, x, alpha * np.expm1(x))
        case "bnll", ():
            y[...] = np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))  # so that exp cannot overflow
        case "absval", ():
            y[...] = np.abs(x)
        case "power", (power, scale, shift):
            y[...] = _power(shift + scale * x if power * scale else np.full_like(x, shift), power)
        case "log", (factor, scale, shift):
            y[...] = factor * np.log(shift + scale * x)
        case "threshold", (level,):
            y[...] = x > level
        case "swish", (beta,):
            y[...] = x * _sigmoid(beta * x)
        case "clip", (least, most):
            y[...] = np.where(x < least, x.dtype.type(least), np.where(x > most, x.dtype.type(most), x))
        case _:
            raise ValueError(f"no neuron {kind!r} with parameters {parameters}")


@np.errstate(all="ignore")
def activate_backward(
    dy: np.ndarray, x: np.ndarray, y: np.ndarray, dx: np.ndarray, *, kind: Activation, parameters: tuple[float, ...]
) -> None:
    """dx += dy * f'(x), for the kinds of `protocol`'s table.

    >>> x, dx = np.array([-2.0, 0.0, 3.0]), np.zeros(3)
    >>> activate_backward(np.array([1.0, 1.0, 5.0]), x, x, dx, kind="relu", parameters=(0.1,))
    >>> dx
    array([0.1, 0.1, 5. ])
    """
    match kind, parameters:
        case "relu", (slope,):
            dx += np.where(x > 0, dy, slope * dy)
        case "at_least", (floor,):
            dx += np.where(x > floor, dy, 0)
        case "sigmoid", ():
            dx += dy * y * (1 - y)
        case "tanh", ():
            dx += dy * (1 - y * y)
        case "exponential", (_, rate):
            dx += rate * dy * y
        case "elu", (alpha,):
            dx += dy * np.where(x > 0, 1, alpha * np.exp(x))
        case "bnll", ():
            dx += dy * _sigmoid(x)
        case "absval", ():
            dx += np.where(x > 0, dy, np.where(x < 0, -dy, 0))
        case "power", (power, scale, shift):
            if power * scale:
                dx += dy * (power * scale * _power(shift + scale * x, power - 1))
        case "log", (factor, scale, shift):
            dx += dy * (factor * scale / (shift + scale * x))
        case "threshold", (_,):
            pass
        case "swish", (beta,):
            s = _sigmoid(beta * x)
            dx += dy * (s + beta * x * s * (1 - s))
        case "clip", (least, most):
            dx += np.where((x >= least) & (x <= most), dy, 0)
        case _:
            raise ValueError(f"no neuron {kind!r} with parameters {parameters}")


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def _power(u: np.ndarray, power: float) -> np.ndarray:
    """u^power, without numpy's own choice of short cuts."""
    if power == 0:
        return np.ones_like(u)
    if power in (1, 2):
        return u if power == 1 else u * u
    return np.power(u, np.full_like(u, power))
