"""Direct sums to a few outputs: vectors along the source's channels, where vectors of outputs would be mostly empty."""

import numpy as np

from ..jit import kernel
from ..simd import ROWS_OF, TERMS, dot_tile, lanes_of
from ..vectors import spread, store

MOST = 5  # outputs; their sums for a tile of pixels fill the registers

_ROWS_1, _ROWS_2, _ROWS_3, _ROWS_4, _ROWS_5 = (ROWS_OF[k] for k in range(1, 6))


def pack(terms: np.ndarray, width: int) -> np.ndarray:
    """(K, C, taps) as (K, block, tap, lane), flat; channels are padded with zeros to whole vectors."""
    outputs, channels, taps = terms.shape
    blocks = -(-channels // width)
    packed = np.zeros((outputs, blocks * width, taps), terms.dtype)
    packed[:, :channels] = terms
    return np.ascontiguousarray(packed.reshape(outputs, blocks, width, taps).swapaxes(2, 3)).reshape(-1)


@kernel
def dot_pixels(x, start, x_at, y, to, y_at, pixels, offsets, w, outputs, bias, rectified, slope):
    """The outputs of a list of pixels; what their vectors have beyond them is zero."""
    width = lanes_of(y)
    zero = spread(y.dtype.type(0))
    sums = np.empty(64, y.dtype)
    terms = len(offsets)
    rows = _ROWS_1
    if outputs == 4:
        rows = _ROWS_4
    elif outputs == 5:
        rows = _ROWS_5
    elif outputs == 2:
        rows = _ROWS_2
    elif outputs == 3:
        rows = _ROWS_3
    for p in range(0, pixels, rows):
        sums[:] = 0
        for first in range(0, terms, TERMS):
            count = min(TERMS, terms - first)
            at, step = first * width, terms * width
            if outputs == 1:
                dot_tile(1, _ROWS_1, x, start, x_at, p, offsets, first, count, w, at, step, sums)
            elif outputs == 2:
                dot_tile(2, _ROWS_2, x, start, x_at, p, offsets, first, count, w, at, step, sums)
            elif outputs == 3:
                dot_tile(3, _ROWS_3, x, start, x_at, p, offsets, first, count, w, at, step, sums)
            elif outputs == 4:
                dot_tile(4, _ROWS_4, x, start, x_at, p, offsets, first, count, w, at, step, sums)
            else:
                dot_tile(5, _ROWS_5, x, start, x_at, p, offsets, first, count, w, at, step, sums)
        for r in range(min(rows, pixels - p)):
            store(zero, y, to + y_at[p + r])
            for k in range(outputs):
                value = sums[r * outputs + k] + bias[k]
                y[to + y_at[p + r] + k] = slope * value if rectified and not value > 0 else value
