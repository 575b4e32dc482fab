"""Steps of a lowered program on blocked maps, (N, ceil(C / L), H, W, L), other than convolutions."""

from math import prod
from typing import Any

import numpy as np
from numba import prange

from ..shapes import Shape, Window
from .channels import compose
from .jit import Threads, parallel_kernel
from .moves import lattice
from .simd import lanes_of
from .vectors import larger, load, multiply_add, rectify, spread, store


def block(x: np.ndarray, y: np.ndarray, threads: Threads) -> None:
    """y[n, k, h, w, lane] = x[n, k * L + lane, h, w]; zero where x has no such channel."""
    threads.run(y.size, _block, x, y)


def unblock(x: np.ndarray, y: np.ndarray, threads: Threads) -> None:
    """y[n, c, h, w] = x[n, c // L, h, w, c % L]."""
    threads.run(y.size, _unblock, x, y)


def pad(x: np.ndarray, y: np.ndarray, pad: Shape, threads: Threads) -> None:
    """y = x with `pad` zeros around its rows and columns."""
    threads.run(y.size, _pad, x, y, *pad)


def max_pool(x: np.ndarray, y: np.ndarray, window: Window, threads: Threads) -> None:
    """The maximum over the window's part inside x; NaN never wins."""
    geometry = window.kernel, window.stride, window.pad, window.dilation
    threads.run(y.size * prod(window.kernel), _max_pool, x, y.reshape(-1), y.shape, *geometry)


def spread_out(
    x: np.ndarray, w: np.ndarray, b: np.ndarray | None, y: np.ndarray, stride: Shape, threads: Threads
) -> None:
    """y[n, c, h * sy + i, w * sx + j] = b[c] + w[c, 0, i, j] x[n, c, h, w]: deconvolution with windows side by side."""
    blocks, width = y.shape[1], y.shape[-1]
    factors = np.zeros((*stride, blocks * width), y.dtype)
    factors[:, :, : len(w)] = w[:, 0].transpose(1, 2, 0)
    bias = np.zeros(blocks * width, y.dtype)
    if b is not None:
        bias[: len(b)] = b
    threads.run(y.size, _spread_out, x, factors.reshape(-1), bias, y.reshape(-1), y.shape, stride)


@np.errstate(all="ignore")
def affine(x: np.ndarray, *rest: Any) -> None:
    """y = x' > 0 ? x' : slope x' with x' = a x + c, the numbers being those that a chain of ops has for each channel.

    Of the rest, the first are the chain's operands; then come y, the chain, the number of channels and the threads. Lanes without a
    channel become 0.
    """
    *operands, y, chain, channels, threads = rest
    _, blocks, rows, columns, width = y.shape
    numbers = np.zeros((3, blocks * width), y.dtype)
    numbers[:, :channels] = compose(chain, operands, channels)
    threads.run(y.size, _affine, x.reshape(-1), *numbers, y.reshape(-1), blocks, rows, columns)


def fragment(x: np.ndarray, y: np.ndarray, strides: tuple[Shape, ...], threads: Threads) -> None:
    """y[n * F + f] = x[n, :, start(f)::step], zero where that ends before y does."""
    starts, step = lattice(strides)
    threads.run(y.size, _fragment, x, y.reshape(-1), y.shape, starts, step)


def stitch(x: np.ndarray, y: np.ndarray, strides: tuple[Shape, ...], threads: Threads) -> None:
    """y[n, :, start(f)::step] = x[n * F + f]; what exceeds y is dropped."""
    starts, step = lattice(strides)
    threads.run(x.size, _stitch, x, y.reshape(-1), y.shape, starts, step)


def move(x: np.ndarray, y: np.ndarray, source: Shape, target: Shape, size: Shape, last: bool, threads: Threads) -> None:
    """y[target : target + size] = x[source : source + size] of the maps (N, C, H, W) that x and y are, wherever channels begin.

    With `last` the box ends with y's channels, and the lanes behind it become zeros.
    """
    end = y.shape[1] * y.shape[4] if last else target[1] + size[1]
    threads.run(2 * prod(size), _move, x, y, source, target, size, end)


@parallel_kernel
def _move(x, y, source, target, size, end):
    width = y.shape[4]
    first = target[1] // width
    blocks = -(-end // width) - first
    images = max(0, min(size[0], len(y) - target[0]))
    for i in prange(images * blocks * size[2]):
        rest, h = divmod(np.intp(i), size[2])
        n, k = divmod(rest, blocks)
        k += first
        for lane in range(width):
            c = k * width + lane - target[1]
            if 0 <= c < size[1]:
                block, at = divmod(source[1] + c, width)
                for w in range(size[3]):
                    value = x[source[0] + n, block, source[2] + h, source[3] + w, at]
                    y[target[0] + n, k, target[2] + h, target[3] + w, lane] = value
            elif c >= size[1] and k * width + lane < end:
                for w in range(size[3]):
                    y[target[0] + n, k, target[2] + h, target[3] + w, lane] = 0


@parallel_kernel
def _block(x, y):
    channels = x.shape[1]
    blocks, rows, columns, width = y.shape[1:]
    for i in prange(y.shape[0] * blocks * rows):
        rest, h = divmod(np.intp(i), rows)
        n, k = divmod(rest, blocks)
        for lane in range(width):
            c = k * width + lane
            for w in range(columns):
                y[n, k, h, w, lane] = x[n, c, h, w] if c < channels else 0


@parallel_kernel
def _unblock(x, y):
    channels, rows, columns = y.shape[1:]
    width = x.shape[4]
    for i in prange(y.shape[0] * channels * rows):
        rest, h = divmod(np.intp(i), rows)
        n, c = divmod(rest, channels)
        k, lane = divmod(c, width)
        for w in range(columns):
            y[n, c, h, w] = x[n, k, h, w, lane]


@parallel_kernel
def _pad(x, y, top, left):
    blocks, rows, columns, width = y.shape[1:]
    inner = x.shape[2], x.shape[3]
    for i in prange(y.shape[0] * blocks * rows):
        rest, h = divmod(np.intp(i), rows)
        n, k = divmod(rest, blocks)
        inside = 0 <= h - top < inner[0]
        for w in range(columns):
            for lane in range(width):
                if inside and 0 <= w - left < inner[1]:
                    y[n, k, h, w, lane] = x[n, k, h - top, w - left, lane]
                else:
                    y[n, k, h, w, lane] = 0


@parallel_kernel
def _max_pool(x, y, shape, kernel, stride, pad, dilation):
    width = lanes_of(y)
    blocks, rows, columns = shape[1], shape[2], shape[3]
    high, wide = x.shape[2], x.shape[3]
    source = x.reshape(-1)
    for i in prange(shape[0] * blocks * rows):
        plane, h = divmod(np.intp(i), rows)
        lowest = spread(y.dtype.type(-np.inf))
        for w in range(columns):
            best = lowest
            for a in range(kernel[0]):
                row = h * stride[0] - pad[0] + a * dilation[0]
                if 0 <= row < high:
                    for b in range(kernel[1]):
                        column = w * stride[1] - pad[1] + b * dilation[1]
                        if 0 <= column < wide:
                            best = larger(best, load(source, ((plane * high + row) * wide + column) * width))
            store(best, y, ((plane * rows + h) * columns + w) * width)


@parallel_kernel
def _spread_out(x, factors, bias, y, shape, stride):
    width = lanes_of(y)
    blocks, rows, columns = shape[1], shape[2], shape[3]
    wide = x.shape[3]
    source = x.reshape(-1)
    for i in prange(shape[0] * blocks * x.shape[2]):
        plane, h = divmod(np.intp(i), x.shape[2])
        k = plane % blocks
        start = load(bias, k * width)
        for a in range(stride[0]):
            for b in range(stride[1]):
                factor = load(factors, ((a * stride[1] + b) * blocks + k) * width)
                at = ((plane * rows + h * stride[0] + a) * columns + b) * width
                for w in range(wide):
                    value = load(source, ((plane * x.shape[2] + h) * wide + w) * width)
                    store(multiply_add(factor, value, start), y, at + w * stride[1] * width)


@parallel_kernel
def _affine(x, a, c, slope, y, blocks, rows, columns):
    width = lanes_of(y)
    for i in prange(len(y) // max(1, columns * width)):
        row = np.intp(i)
        k = row // rows % blocks
        factor, term, below = load(a, k * width), load(c, k * width), load(slope, k * width)
        for at in range(row * columns * width, (row + 1) * columns * width, width):
            store(rectify(multiply_add(factor, load(x, at), term), below), y, at)


@parallel_kernel
def _fragment(x, y, shape, starts, step):
    width = lanes_of(y)
    blocks, rows, columns = shape[1], shape[2], shape[3]
    high, wide = x.shape[2], x.shape[3]
    source = x.reshape(-1)
    for i in prange(shape[0] * blocks * rows):
        rest, h = divmod(np.intp(i), rows)
        m, k = divmod(rest, blocks)
        n, f = divmod(m, len(starts))
        row, column = starts[f]
        row += h * step[0]
        zero = spread(y.dtype.type(0))
        at = ((m * blocks + k) * rows + h) * columns * width
        for w in range(columns):
            place = column + w * step[1]
            if row < high and place < wide:
                store(load(source, (((n * blocks + k) * high + row) * wide + place) * width), y, at + w * width)
            else:
                store(zero, y, at + w * width)


@parallel_kernel
def _stitch(x, y, shape, starts, step):
    width = lanes_of(y)
    blocks, rows, columns = shape[1], shape[2], shape[3]
    high, wide = x.shape[2], x.shape[3]
    source = x.reshape(-1)
    for i in prange(x.shape[0] * blocks * high):
        rest, h = divmod(np.intp(i), high)
        m, k = divmod(rest, blocks)
        n, f = divmod(m, len(starts))
        row, column = starts[f]
        row += h * step[0]
        if row < rows:
            at = ((m * blocks + k) * high + h) * wide * width
            for w in range(min(wide, (columns - column + step[1] - 1) // step[1])):
                value = load(source, at + w * width)
                store(value, y, (((n * blocks + k) * rows + row) * columns + column + w * step[1]) * width)
