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
    match kind, *parameters:
        case "relu", slope:
            y[...] = np.where(x > 0, x, slope * x)
        case "at_least", floor:
            y[...] = np.where(x <= floor, x.dtype.type(floor), x)
        case ("sigmoid",):
            y[...] = 1 / (1 + np.exp(-x))
        case ("tanh",):
            y[...] = np.tanh(x)
        case "exponential", scale, rate:
            y[...] = scale * np.exp(rate * x)
        case _:
            raise ValueError(f"no neuron {kind!r} with parameters {parameters}")


def activate_backward(
    dy: np.ndarray, x: np.ndarray, y: np.ndarray, dx: np.ndarray, *, kind: Activation, parameters: tuple[float, ...]
) -> None:
    """dx += dy * f'(x), for the kinds of `protocol`'s table.

    >>> x, dx = np.array([-2.0, 0.0, 3.0]), np.zeros(3)
    >>> activate_backward(np.array([1.0, 1.0, 5.0]), x, x, dx, kind="relu", parameters=(0.1,))
    >>> dx
    array([0.1, 0.1, 5. ])
    """
    match kind, *parameters:
        case "relu", slope:
            dx += np.where(x > 0, dy, slope * dy)
        case "at_least", floor:
            dx += np.where(x > floor, dy, 0)
        case ("sigmoid",):
            dx += dy * y * (1 - y)
        case ("tanh",):
            dx += dy * (1 - y * y)
        case "exponential", _, rate:
            dx += rate * dy * y
        case _:
            raise ValueError(f"no neuron {kind!r} with parameters {parameters}")
