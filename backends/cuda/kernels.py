"""The kernels: one thread per element of y, plain loops in the protocol's order.

A reduction starts from what y holds (bias, zero or -inf), which also keeps its sum in y's dtype: a literal 0.0 would
make it float64. Only what numba's simulator and both of its CUDA targets have is used.
"""

from typing import Any

from numba import cuda
from numba.core import config

config.CUDA_LOW_OCCUPANCY_WARNINGS = 0  # small images leave a device idle; that is no news to anyone


@cuda.jit
def fill(y: Any, value: Any) -> None:
    """y[...] = value, in one dimension."""
    at = cuda.grid(1)
    if at < y.size:
        y[at] = value


@cuda.jit
def relu(y: Any, x: Any, slope: Any) -> None:
    """y = x > 0 ? x : slope * x, in one dimension."""
    at = cuda.grid(1)
    if at < y.size:
        y[at] = x[at] if x[at] > 0 else slope * x[at]


@cuda.jit(device=True)
def place(at: Any, y: Any) -> Any:
    """(n, channel, row, column) of element `at` of y."""
    width, height, channels = y.shape[3], y.shape[2], y.shape[1]
    return (
        at // (width * height * channels),
        at // (width * height) % channels,
        at // width % height,
        at % width,
    )


@cuda.jit
def spread(y: Any, b: Any) -> None:
    """y[n,k] = b[k]."""
    at = cuda.grid(1)
    if at < y.size:
        n, k, row, column = place(at, y)
        y[n, k, row, column] = b[k]


@cuda.jit
def conv(y: Any, x: Any, w: Any, stride: Any, pad: Any, dilation: Any, group: Any) -> None:
    """y[n,k,h] += sum_{c,i} w[k,c,i] x[n, c + C/g * group(k), h*stride - pad + i*dilation]."""
    at = cuda.grid(1)
    if at < y.size:
        n, k, row, column = place(at, y)
        first = k // (y.shape[1] // group) * w.shape[1]
        total = y[n, k, row, column]
        for c in range(w.shape[1]):
            for i in range(w.shape[2]):
                r = row * stride[0] - pad[0] + i * dilation[0]
                if 0 <= r < x.shape[2]:
                    for j in range(w.shape[3]):
                        q = column * stride[1] - pad[1] + j * dilation[1]
                        if 0 <= q < x.shape[3]:
                            total += w[k, c, i, j] * x[n, first + c, r, q]
        y[n, k, row, column] = total


@cuda.jit
def max_pool(y: Any, x: Any, kernel: Any, stride: Any, pad: Any, dilation: Any) -> None:
    """y[n,c,h] = max(y[n,c,h], max_i x[n, c, h*stride - pad + i*dilation]); a comparison with NaN is false."""
    at = cuda.grid(1)
    if at < y.size:
        n, c, row, column = place(at, y)
        best = y[n, c, row, column]
        for i in range(kernel[0]):
            r = row * stride[0] - pad[0] + i * dilation[0]
            if 0 <= r < x.shape[2]:
                for j in range(kernel[1]):
                    q = column * stride[1] - pad[1] + j * dilation[1]
                    if 0 <= q < x.shape[3] and x[n, c, r, q] > best:
                        best = x[n, c, r, q]
        y[n, c, row, column] = best


@cuda.jit
def mean_pool(y: Any, x: Any, kernel: Any, stride: Any, pad: Any, dilation: Any, clip: Any) -> None:
    """y[n,c,h] = (y[n,c,h] + sum_i x[n, c, h*stride - pad + i*dilation]) / divisor."""
    at = cuda.grid(1)
    if at < y.size:
        n, c, row, column = place(at, y)
        total, rows, columns = y[n, c, row, column], 0, 0
        for i in range(kernel[0]):
            r = row * stride[0] - pad[0] + i * dilation[0]
            if not clip or r < x.shape[2] + pad[0]:
                rows += 1
            if 0 <= r < x.shape[2]:
                for j in range(kernel[1]):
                    q = column * stride[1] - pad[1] + j * dilation[1]
                    if 0 <= q < x.shape[3]:
                        total += x[n, c, r, q]
        for j in range(kernel[1]):
            if not clip or column * stride[1] - pad[1] + j * dilation[1] < x.shape[3] + pad[1]:
                columns += 1
        y[n, c, row, column] = total / (rows * columns)
