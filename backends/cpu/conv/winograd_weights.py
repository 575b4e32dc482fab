"""Winograd's transform of a convolution's weights, made once for every version of them."""

import numpy as np

from ..jit import kernel

AT_ONCE = 16  # channels whose weights are transformed together


@kernel
def transform_weights(w, outputs, channels, y, x, panels, width, packed):
    """packed[f, panel, c, k] = sum_{a, b} y[i, a] x[j, b] w[k, c, a, b] for frequency f = (i, j).

    A few channels at a time: then whole stretches of each frequency are written, whose planes meet in few sets of a cache.
    """
    (high, rows), (wide, columns) = y.shape, x.shape
    plane = len(packed) // (high * wide)
    taps = np.empty((AT_ONCE, rows, columns, panels[0, 1] * width + width), y.dtype)
    half, total = np.empty((columns, taps.shape[3]), y.dtype), np.empty(taps.shape[3], y.dtype)
    for panel in range(len(panels) - 1):
        first, count = panels[panel] * width
        taps[:] = 0  # of lanes beyond the outputs
        for c in range(0, channels, AT_ONCE):
            some = min(AT_ONCE, channels - c)
            for k in range(min(count, outputs - first)):
                at = ((first + k) * channels + c) * rows * columns
                for d in range(some):
                    for a in range(rows):
                        for b in range(columns):
                            taps[d, a, b, k] = w[at]
                            at += 1
            for i in range(high):
                for d in range(some):
                    for b in range(columns):
                        for k in range(count):
                            half[b, k] = y[i, 0] * taps[d, 0, b, k]
                        for a in range(1, rows):
                            for k in range(count):
                                half[b, k] += y[i, a] * taps[d, a, b, k]
                    for j in range(wide):
                        for k in range(count):
                            total[k] = x[j, 0] * half[0, k]
                        for b in range(1, columns):
                            for k in range(count):
                                total[k] += x[j, b] * half[b, k]
                        to = (i * wide + j) * plane + channels * first + (c + d) * count
                        for k in range(count):
                            packed[to + k] = total[k]
