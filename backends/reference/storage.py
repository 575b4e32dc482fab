"""Arrays of this backend are plain ndarrays."""

from math import prod

import numpy as np

from ..shapes import Shape


def empty(shape: Shape, dtype: np.dtype) -> np.ndarray:
    return np.empty(shape, dtype)


def view(arena: np.ndarray, offset: int, shape: Shape, dtype: np.dtype) -> np.ndarray:
    """The array of that shape that starts `offset` bytes into the arena.

    >>> view(np.zeros(64, np.uint8), 16, (2, 3), np.dtype(np.float64))
    array([[0., 0., 0.],
           [0., 0., 0.]])
    """
    return arena[offset : offset + prod(shape) * np.dtype(dtype).itemsize].view(dtype).reshape(shape)


def reshape(x: np.ndarray, shape: Shape) -> np.ndarray:
    return x.reshape(shape)


def from_host(host: np.ndarray, y: np.ndarray) -> None:
    np.copyto(y, host, casting="unsafe")


def to_host(x: np.ndarray) -> np.ndarray:
    return x


def fill(y: np.ndarray, *, value: float) -> None:
    y.fill(value)
