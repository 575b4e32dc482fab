"""Copies of a convolution's source in a layout whose vectors are contiguous; `geometry.Staging` says which."""

import numpy as np
from numba import prange

from .geometry import Staging
from .jit import Threads, kernel, parallel_kernel


def staged(x: np.ndarray, staging: Staging | None, width: int, threads: Threads) -> np.ndarray:
    """x as a flat array in the layout of `staging`, with room for one vector behind the end; x itself where there is none."""
    if staging is None:
        return x.reshape(-1)
    out = np.empty(staging.elements(x.shape) + width, x.dtype)
    copy = _batch_last if staging.batch_last else _by_phase
    threads.run(copy, x, out, *staging[:5])
    return out


@kernel
def _inside(at: int, size: int) -> int:
    """`at` brought into 0 .. size."""
    return min(max(at, 0), size)


@parallel_kernel
def _by_phase(x: np.ndarray, out: np.ndarray, top: int, left: int, height: int, width: int, phases: int) -> None:
    images, channels, rows, columns = x.shape
    for i in prange(images * channels * height):
        plane, h = divmod(np.intp(i), height)
        n, c = divmod(plane, channels)
        for phase in range(phases):
            start = (i * phases + phase) * width
            # columns w with 0 <= w * phases + phase - left < columns
            low = _inside(-((phase - left) // phases), width)
            high = _inside(-((phase - left - columns) // phases), width)
            if h < top or h - top >= rows:
                low = high = width
            for w in range(low):
                out[start + w] = 0
            for w in range(low, high):
                out[start + w] = x[n, c, h - top, w * phases + phase - left]
            for w in range(high, width):
                out[start + w] = 0


@parallel_kernel
def _batch_last(x: np.ndarray, out: np.ndarray, top: int, left: int, height: int, width: int, phases: int) -> None:
    images, channels, rows, columns = x.shape
    for i in prange(channels * height):
        c, h = divmod(np.intp(i), height)
        for w in range(width):
            start = (i * width + w) * images
            if 0 <= h - top < rows and 0 <= w - left < columns:
                for n in range(images):
                    out[start + n] = x[n, c, h - top, w - left]
            else:
                for n in range(images):
                    out[start + n] = 0
