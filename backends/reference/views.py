"""Views of the spatial axes, which are the last ones; no copies."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from ..shapes import Shape


def trailing(x: np.ndarray, slices: Iterable[slice]) -> np.ndarray:
    """x[..., *slices]"""
    index: tuple[Any, ...] = (..., *slices)
    return x[index]


def box(x: np.ndarray, offset: Shape, size: Shape) -> np.ndarray:
    """x[..., offset : offset + size]"""
    return trailing(x, (slice(o, o + n) for o, n in zip(offset, size, strict=True)))


def sample(x: np.ndarray, start: Shape, step: Shape) -> np.ndarray:
    """x[..., start::step]"""
    return trailing(x, (slice(a, None, t) for a, t in zip(start, step, strict=True)))


def corner(x: np.ndarray, size: Shape) -> np.ndarray:
    """x[..., :size]"""
    return box(x, (0,) * len(size), size)
