"""Arithmetic on the host, for what runs there on any backend: losses, and recurrent layers."""

from typing import Any

import numpy as np

from fullmocha.backends.shapes import about

from ..blob import Blob


def on_host(ops: Any, blob: Blob) -> np.ndarray:
    """A blob's values, to be read."""
    values: np.ndarray = ops.to_host(blob.array)
    return values


def add_gradient(ops: Any, grad: Any, change: np.ndarray) -> None:
    """Adds to a gradient what was computed on the host; nothing where none is wanted."""
    if grad is not None:
        sums = ops.to_host(grad)
        sums += change.reshape(sums.shape)
        ops.from_host(sums, grad)


def by_class(x: np.ndarray, axis: int) -> np.ndarray:
    """(*outer, K, *inner) -> (outer, K, inner); no copy."""
    return x.reshape(about(x.shape, axis))


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)), with exponentials of negative numbers only."""
    small = np.exp(-np.abs(x))
    return np.asarray(np.where(x >= 0, 1, small) / (1 + small))
