"""Copies of a convolution's source in a layout whose vectors are contiguous; `geometry.Staging` says which."""

import numpy as np
from numba import prange

from .geometry import Staging
from .jit import Threads, kernel, parallel_kernel


def staged(x: np.ndarray, staging: Staging | None, width: int, threads: Threads) -> np.ndarray:
    """x as a flat array in the layout of `staging`, with room for a vector behind the end; without one, x itself."""
    if staging is None:
        return x.reshape(-1)
    out = np.empty(staging.elements(x.shape) + width, x.dtype)
    threads.run(out.size, _batch_last if staging.batch_last else _by_phase, x, out, *staging[:5])
    return out


@kernel
def _between(low, value, high):
    return max(low, min(value, high))


@parallel_kernel
def _by_phase(x, out, top, left, height, width, phases):
    channels, rows, columns = x.shape[1:]
    for i in prange(x.shape[0] * channels * height):
        item = np.intp(i)
        plane, h = divmod(item, height)
        n, c = divmod(plane, channels)
        for phase in range(phases):
            start = (item * phases + phase) * width
            line = out[start : start + width]
            # the w with 0 <= w * phases + phase - left < columns
            low = _between(0, -((phase - left) // phases), width)
            high = _between(low, -((phase - left - columns) // phases), width)
            if h < top or h - top >= rows:
                low = high = width
            line[:low] = 0
            line[high:] = 0
            for w in range(low, high):
                line[w] = x[n, c, h - top, w * phases + phase - left]


@parallel_kernel
def _batch_last(x, out, top, left, height, width, phases):
    images, channels, rows, columns = x.shape
    for i in prange(channels * height):
        item = np.intp(i)
        c, h = divmod(item, height)
        for w in range(width):
            start = (item * width + w) * images
            line = out[start : start + images]
            if 0 <= h - top < rows and 0 <= w - left < columns:
                for n in range(images):
                    line[n] = x[n, c, h - top, w - left]
            else:
                line[:] = 0
