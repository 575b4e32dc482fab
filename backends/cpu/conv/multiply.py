"""Matrix products over a list of rows: what every algorithm spends its time in.

A row is a pixel, or a tile at one frequency; its products are all output channels, in *panels* of a few vectors, as
many as there are registers for. Terms are added in blocks of `simd.TERMS`, from zero, so the bits of a sum depend on
its own terms alone.
"""

from functools import lru_cache

import numpy as np

from ..jit import kernel
from ..simd import ROWS_OF, TERMS, VECTOR_BYTES, lanes_of, multiply_tile

WIDEST = 5 if VECTOR_BYTES == 64 else 3  # vectors of a panel
MOST_ROWS = max(ROWS_OF.values())  # lists of rows have room for as many more
BEGIN, RECTIFY = 1, 2  # what multiply_tile does with its sums

_ROWS_1, _ROWS_2, _ROWS_3, _ROWS_4, _ROWS_5 = (ROWS_OF[v] for v in range(1, 6))


@lru_cache
def panels_of(vectors: int) -> np.ndarray:
    """(first vector, vectors) of each panel, of nearly equal widths; the last entry is (vectors, 0)."""
    count = -(-vectors // WIDEST)
    edges = [i * vectors // count for i in range(count + 1)]
    panels = np.array([(a, b - a) for a, b in zip(edges, [*edges[1:], edges[-1]], strict=True)], np.intp)
    panels.flags.writeable = False
    return panels


class Packed:
    """Weights (terms, channels) by panel, term, vector, lane, flat in `array`; written some terms at a time."""

    def __init__(self, terms: int, channels: int, dtype: np.dtype, width: int) -> None:
        self.width = width
        vectors = -(-channels // width)
        self.array = np.zeros(terms * vectors * width, dtype)
        self.panels = []
        for first, count in panels_of(vectors)[:-1]:
            start, size = terms * first * width, count * width
            part = self.array[start : start + terms * size].reshape(terms, size)
            self.panels.append((first * width, part[:, : min(size, channels - first * width)]))

    def write(self, first: int, weights: np.ndarray) -> None:
        """The terms from `first` on, (terms, channels)."""
        for channel, panel in self.panels:
            panel[first : first + len(weights)] = weights[:, channel : channel + panel.shape[1]]


@kernel
def multiply_rows(
    x, x_from, x_at, y, y_from, y_at, y_step, rows, offsets, terms, w, w_at, vectors, bias, bias_at, last, slope
):
    """y[y_from + y_at[r] + v * y_step] = bias + sum_t x[x_from + x_at[r] + offsets[t]] * w[t, v], rectified if `last` says so.

    For r < rows; the lists of rows go on to a whole tile, in which the last row may be repeated. `w_at` is the panel's place.
    """
    width = lanes_of(x)
    for first in range(0, terms, TERMS):
        count = min(TERMS, terms - first)
        start = 0
        if first == 0:
            start = BEGIN
        if first + count == terms:
            start |= last
        at = w_at + first * vectors * width
        if vectors == 1:
            for r in range(0, rows, _ROWS_1):
                multiply_tile(
                    1, _ROWS_1, x, x_from, x_at, y, y_from, y_at, y_step, r, offsets, first, count, w, at, start, bias, bias_at, slope,
                )  # fmt: skip
        elif vectors == 2:
            for r in range(0, rows, _ROWS_2):
                multiply_tile(
                    2, _ROWS_2, x, x_from, x_at, y, y_from, y_at, y_step, r, offsets, first, count, w, at, start, bias, bias_at, slope,
                )  # fmt: skip
        elif vectors == 3:
            for r in range(0, rows, _ROWS_3):
                multiply_tile(
                    3, _ROWS_3, x, x_from, x_at, y, y_from, y_at, y_step, r, offsets, first, count, w, at, start, bias, bias_at, slope,
                )  # fmt: skip
        elif vectors == 4:
            for r in range(0, rows, _ROWS_4):
                multiply_tile(
                    4, _ROWS_4, x, x_from, x_at, y, y_from, y_at, y_step, r, offsets, first, count, w, at, start, bias, bias_at, slope,
                )  # fmt: skip
        else:
            for r in range(0, rows, _ROWS_5):
                multiply_tile(
                    5, _ROWS_5, x, x_from, x_at, y, y_from, y_at, y_step, r, offsets, first, count, w, at, start, bias, bias_at, slope,
                )  # fmt: skip
