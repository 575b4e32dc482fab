"""The neurons: each element by itself."""

import numpy as np
from numba import prange

from ..protocol import Activation
from .jit import Threads, parallel_kernel

EXP = 8  # an exponential costs as much as some additions


def activate(x: np.ndarray, y: np.ndarray, kind: Activation, parameter: float, threads: Threads) -> None:
    """relu: x > 0 ? x : parameter * x; sigmoid: 1 / (1 + exp(-x)); tanh; exponential: exp(x)."""
    x, y = x.reshape(-1), y.reshape(-1)
    if kind != "relu":
        threads.run(EXP * y.size, {"sigmoid": _sigmoid, "tanh": _tanh, "exponential": _exponential}[kind], x, y)
    elif x.ctypes.data == y.ctypes.data:
        threads.run(y.size, _relu_in_place, y, y.dtype.type(parameter))
    else:
        threads.run(y.size, _relu, x, y, y.dtype.type(parameter))


def activate_backward(
    dy: np.ndarray, x: np.ndarray, y: np.ndarray, dx: np.ndarray, kind: Activation, parameter: float, threads: Threads
) -> None:
    """dx += dy * f'(x), where f' is x > 0 ? 1 : parameter; y (1 - y); 1 - y^2; y."""
    dy, x, y, dx = dy.reshape(-1), x.reshape(-1), y.reshape(-1), dx.reshape(-1)
    if kind == "relu":
        threads.run(y.size, _relu_backward, dy, x, dx, dx.dtype.type(parameter))
    else:
        slopes = {"sigmoid": _sigmoid_backward, "tanh": _tanh_backward, "exponential": _exponential_backward}
        threads.run(y.size, slopes[kind], dy, y, dx)


def threshold(x: np.ndarray, y: np.ndarray, floor: float, threads: Threads) -> None:
    """y = max(floor, x); NaN stays NaN."""
    threads.run(y.size, _threshold, x.reshape(-1), y.reshape(-1), y.dtype.type(floor))


def threshold_backward(dy: np.ndarray, y: np.ndarray, dx: np.ndarray, floor: float, threads: Threads) -> None:
    """dx += dy where y > floor."""
    threads.run(y.size, _threshold_backward, dy.reshape(-1), y.reshape(-1), dx.reshape(-1), dx.dtype.type(floor))


@parallel_kernel
def _relu(x, y, slope):
    for i in prange(len(x)):
        y[i] = x[i] if x[i] > 0 else slope * x[i]


@parallel_kernel
def _relu_in_place(y, slope):  # its own kernel: two arrays that may overlap are not vectorised
    for i in prange(len(y)):
        y[i] = y[i] if y[i] > 0 else slope * y[i]


@parallel_kernel
def _relu_backward(dy, x, dx, slope):
    for i in prange(len(x)):
        dx[i] += dy[i] if x[i] > 0 else slope * dy[i]


@parallel_kernel
def _sigmoid(x, y):
    one = y.dtype.type(1)
    for i in prange(len(x)):
        y[i] = one / (one + np.exp(-x[i]))


@parallel_kernel
def _sigmoid_backward(dy, y, dx):
    one = y.dtype.type(1)
    for i in prange(len(y)):
        dx[i] += dy[i] * (y[i] * (one - y[i]))


@parallel_kernel
def _tanh(x, y):
    for i in prange(len(x)):
        y[i] = np.tanh(x[i])


@parallel_kernel
def _tanh_backward(dy, y, dx):
    one = y.dtype.type(1)
    for i in prange(len(y)):
        dx[i] += dy[i] * (one - y[i] * y[i])


@parallel_kernel
def _exponential(x, y):
    for i in prange(len(x)):
        y[i] = np.exp(x[i])


@parallel_kernel
def _exponential_backward(dy, y, dx):
    for i in prange(len(y)):
        dx[i] += dy[i] * y[i]


@parallel_kernel
def _threshold(x, y, floor):
    for i in prange(len(x)):
        y[i] = floor if x[i] <= floor else x[i]


@parallel_kernel
def _threshold_backward(dy, y, dx, floor):
    for i in prange(len(y)):
        if y[i] > floor:
            dx[i] += dy[i]
