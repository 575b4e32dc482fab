"""Ops that treat each channel in a way of its own: factors, slopes, statistics.

What a channel's numbers are multiplied by, what is added, and the slope below zero are three numbers per channel, whichever of
the ops, or of several in a row, they come from: y = x' > 0 ? x' : slope x' with x' = a x + c. So one kernel does them all, and a
chain of them is one pass over the map.

Maps are seen as (outer, channels, inner). Sums over a channel are made in float64, a part for each outer index, and the parts added in
their order: they do not depend on the number of threads.
"""

from collections.abc import Iterator, Sequence
from math import prod
from typing import Any

import numpy as np
from llvmlite import ir
from numba import prange, types
from numba.extending import intrinsic

from .jit import Threads, parallel_kernel
from .picks import where_more
from .simd import I32, lanes_of
from .training import multiply
from .vectors import load, load_first, multiply_add, rectify, spread, store, store_first

PLACES = 4096  # numbers of a channel at a time

Link = tuple[str, float]
"""One op of a chain, and its number: eps of `standardize`, the slope of `relu`; 0 for the others."""

OPERANDS = {"scale": 2, "standardize": 3, "prelu": 1, "relu": 0}  # arrays of numbers per channel that each link takes


@np.errstate(all="ignore")  # as the kernels: what overflows is inf
def compose(chain: Sequence[Link], operands: Sequence[Any], channels: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """a, c and slope of every channel, in float64; what has a slope ends a chain."""
    a, c, slope = np.ones(channels), np.zeros(channels), np.ones(channels)
    rest: Iterator[Any] = iter(operands)
    for op, number in chain:
        given = [next(rest) for _ in range(OPERANDS[op])]
        wide: list[Any] = [None if g is None else np.asarray(g, np.float64).reshape(-1) for g in given]
        match op, wide:
            case "scale", (factor, term):
                factor = 1.0 if factor is None else factor
                a, c = a * factor, c * factor + (0.0 if term is None else term)
            case "standardize", (mean, variance, total):
                share = 1 / total[0] if total[0] else 0.0
                inverse = 1 / np.sqrt(variance * share + number)
                a, c = a * inverse, (c - mean * share) * inverse
            case "prelu", (slopes,):
                slope = slope * slopes
            case _:
                slope = slope * number
    return a, c, slope


# ---- the ops


def scale(
    x: np.ndarray, s: np.ndarray | None, b: np.ndarray | None, y: np.ndarray, axis: int, threads: Threads
) -> None:
    """y = s * x + b, s and b spread over the axes of x that they lack; their first one is `axis` of x."""
    sizes = _seen(x, s if b is None else b, axis)
    if s is not None and b is None and s.size == x.size:
        multiply(x, s, y, False, threads)
        return
    factors = np.ones(sizes[1], x.dtype) if s is None else s.reshape(-1)
    terms = np.zeros(sizes[1], x.dtype) if b is None else b.reshape(-1)
    _apply(x, (factors, terms, np.ones(sizes[1], x.dtype)), y, sizes, threads)


@np.errstate(all="ignore")
def scale_backward(
    dy: np.ndarray, x: np.ndarray, s: np.ndarray | None, dx: np.ndarray | None, ds: np.ndarray | None,
    db: np.ndarray | None, axis: int, threads: Threads,
) -> None:  # fmt: skip
    """dx += s * dy; ds += the sums of dy * x; db += the sums of dy."""
    sizes = _seen(x, next((g for g in (s, ds, db) if g is not None), np.empty(())), axis)
    if dx is not None:
        factors = np.ones(sizes[1], dy.dtype) if s is None else s.reshape(-1)
        zero = np.zeros_like(factors)
        _mix(dy, dy, (factors, zero, zero), dx, sizes, threads)
    if ds is not None or db is not None:
        sums, products = _product_sums(dy, x, sizes, False, threads)
        for grad, total in ((db, sums), (ds, products)):
            if grad is not None:
                grad += total.reshape(grad.shape).astype(grad.dtype)


def prelu(x: np.ndarray, slope: np.ndarray, y: np.ndarray, threads: Threads) -> None:
    """y = x > 0 ? x : slope[c] * x; a single slope is every channel's."""
    sizes = _by_channel(x)
    one = np.ones(sizes[1], x.dtype)
    _apply(x, (one, np.zeros_like(one), one * slope.reshape(-1)), y, sizes, threads)


@np.errstate(all="ignore")
def prelu_backward(
    dy: np.ndarray, x: np.ndarray, slope: np.ndarray, dx: np.ndarray | None, dslope: np.ndarray | None, threads: Threads
) -> None:
    """dx += x > 0 ? dy : slope[c] * dy; dslope[c] += the sum of dy * x over x <= 0."""
    sizes = _by_channel(x)
    if dx is not None:
        slopes = np.ones(sizes[1], x.dtype) * slope.reshape(-1)
        threads.run(x.size, _prelu_backward, dy.reshape(-1), x.reshape(-1), slopes, dx.reshape(-1), *sizes[1:])
    if dslope is not None:
        _, products = _product_sums(dy, x, sizes, True, threads)
        dslope += (products.sum() if dslope.size == 1 else products).reshape(dslope.shape).astype(dslope.dtype)


@np.errstate(all="ignore")
def channel_mean(x: np.ndarray, y: np.ndarray, threads: Threads) -> None:
    """y[c] = the mean of channel c."""
    sizes = _by_channel(x)
    y[...] = _power_sums(x, np.zeros_like(y), 1, sizes, threads) / (sizes[0] * sizes[2])


@np.errstate(all="ignore")
def channel_variance(x: np.ndarray, mean: np.ndarray, y: np.ndarray, threads: Threads) -> None:
    """y[c] = the mean of (x - mean[c])^2 over channel c."""
    sizes = _by_channel(x)
    y[...] = _power_sums(x, mean, 2, sizes, threads) / (sizes[0] * sizes[2])


@np.errstate(all="ignore")
def standardize(
    x: np.ndarray, mean: np.ndarray, variance: np.ndarray, factor: np.ndarray, y: np.ndarray, eps: float, threads: Threads
) -> None:  # fmt: skip
    """y = (x - mean[c] / f) / sqrt(variance[c] / f + eps), f being factor[0]; where f is 0, 0 stands for either quotient."""
    sizes = _by_channel(x)
    numbers = compose([("standardize", eps)], (mean, variance, factor), sizes[1])
    _apply(x, numbers, y, sizes, threads)


@np.errstate(all="ignore")
def standardize_backward(
    dy: np.ndarray, variance: np.ndarray, factor: np.ndarray, dx: np.ndarray, eps: float, threads: Threads
) -> None:
    """dx += dy / sqrt(variance[c] / f + eps)."""
    sizes = _by_channel(dy)
    inverse, _, _ = compose([("standardize", eps)], (np.zeros_like(variance), variance, factor), sizes[1])
    zero = np.zeros(sizes[1], dy.dtype)
    _mix(dy, dy, (inverse, zero, zero), dx, sizes, threads)


@np.errstate(all="ignore")
def batch_backward(
    dy: np.ndarray, y: np.ndarray, variance: np.ndarray, dx: np.ndarray, eps: float, threads: Threads
) -> None:
    """dx += (dy - mean(dy) - y * mean(dy * y)) / sqrt(variance[c] + eps)."""
    divisor = np.sqrt(np.asarray(variance, np.float64) + eps)
    _less_means(dy, y, divisor, np.ones_like(divisor), dx, _by_channel(dy), threads)


@np.errstate(all="ignore")
def mvn(x: np.ndarray, y: np.ndarray, scaled: bool, eps: float, threads: Threads) -> None:
    """y[i] = x[i] - mean(x[i]) for every row, and with `scaled` that divided by its standard deviation + eps."""
    sizes = (1, x.shape[0], x.shape[1])
    mean, _, divisor = _deviations(x, scaled, eps, threads)
    numbers = 1 / divisor, -mean / divisor, np.ones(len(x))
    _apply(x, numbers, y, sizes, threads)


@np.errstate(all="ignore")
def mvn_backward(
    dy: np.ndarray, x: np.ndarray, y: np.ndarray, dx: np.ndarray, scaled: bool, eps: float, threads: Threads
) -> None:
    """dx += (dy - mean(dy) - y * mean(dy * y) * (d + eps) / d) / (d + eps), d being the row's standard deviation."""
    _, deviation, divisor = _deviations(x, scaled, eps, threads)
    ratio = np.divide(divisor, deviation, out=np.zeros_like(divisor), where=deviation > 0) * scaled
    _less_means(dy, y, divisor, ratio, dx, (1, x.shape[0], x.shape[1]), threads)


# ---- what they are made of


def _seen(x: np.ndarray, s: np.ndarray | None, axis: int) -> tuple[int, int, int]:
    """(outer, channels, inner), the channels being the axes of s, the first of which is `axis` of x."""
    assert s is not None
    return prod(x.shape[:axis]), s.size, prod(x.shape[axis + s.ndim :])


def _by_channel(x: np.ndarray) -> tuple[int, int, int]:
    return x.shape[0], x.shape[1], prod(x.shape[2:])


Numbers = tuple[np.ndarray, np.ndarray, np.ndarray]


def _apply(x: np.ndarray, numbers: Numbers, y: np.ndarray, sizes: tuple[int, int, int], threads: Threads) -> None:
    """y = x' > 0 ? x' : slope[c] x' with x' = a[c] x + c[c]."""
    a, c, slope = (n.astype(x.dtype, copy=False) for n in numbers)
    threads.run(x.size, _affine, x.reshape(-1), a, c, slope, y.reshape(-1), *sizes[1:])


def _mix(
    dy: np.ndarray, y: np.ndarray, numbers: Numbers, dx: np.ndarray, sizes: tuple[int, int, int], threads: Threads
) -> None:
    """dx += p[c] dy + q[c] y + r[c]."""
    p, q, r = (n.astype(dy.dtype, copy=False) for n in numbers)
    threads.run(2 * dy.size, _mixed, dy.reshape(-1), y.reshape(-1), p, q, r, dx.reshape(-1), *sizes[1:])


def _less_means(
    dy: np.ndarray, y: np.ndarray, divisor: np.ndarray, ratio: np.ndarray, dx: np.ndarray, sizes: tuple[int, int, int],
    threads: Threads,
) -> None:  # fmt: skip
    """dx += (dy - mean(dy) - ratio[c] y * mean(dy * y)) / divisor[c]."""
    sums, products = _product_sums(dy, y, sizes, False, threads)
    count = sizes[0] * sizes[2]
    numbers = 1 / divisor, -ratio * products / count / divisor, -sums / count / divisor
    _mix(dy, y, numbers, dx, sizes, threads)


def _deviations(x: np.ndarray, scaled: bool, eps: float, threads: Threads) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of every row: its mean, its standard deviation, and what it is divided by."""
    sizes = (1, x.shape[0], x.shape[1])
    mean = _power_sums(x, np.zeros(len(x), x.dtype), 1, sizes, threads) / x.shape[1]
    if not scaled:
        return mean, np.ones_like(mean), np.ones_like(mean)
    centre = mean.astype(x.dtype)
    deviation = np.sqrt(_power_sums(x, centre, 2, sizes, threads) / x.shape[1])
    return centre.astype(np.float64), deviation, deviation + eps


def _power_sums(
    x: np.ndarray, centre: np.ndarray, power: int, sizes: tuple[int, int, int], threads: Threads
) -> np.ndarray:
    """The sum of (x - centre[c])^power over each channel, in float64."""
    parts = _rows_of_sums(sizes)
    threads.run(2 * x.size, _add_powers, x.reshape(-1), centre, power, parts.reshape(-1), *sizes)
    return parts.sum(axis=0)


def _rows_of_sums(sizes: tuple[int, int, int]) -> np.ndarray:
    """One for each outer index; the first is written to even where there is none."""
    return np.zeros((max(1, sizes[0]), sizes[1]))


def _product_sums(
    dy: np.ndarray, z: np.ndarray, sizes: tuple[int, int, int], below: bool, threads: Threads
) -> tuple[np.ndarray, np.ndarray]:
    """The sums of dy, and of dy * z, over each channel, in float64; with `below` only where z <= 0."""
    sums, products = _rows_of_sums(sizes), _rows_of_sums(sizes)
    parts = sums.reshape(-1), products.reshape(-1)
    threads.run(4 * dy.size, _add_products, dy.reshape(-1), z.reshape(-1), below, *parts, *sizes)
    return sums.sum(axis=0), products.sum(axis=0)


@intrinsic
def wide_total(typingctx, v):
    """The sum of the lanes in float64, by halves."""

    def codegen(context, builder, signature, args):
        (vector,), double = args, ir.DoubleType()
        width = v.lanes
        if v.dtype.bitwidth == 32:
            vector = builder.fpext(vector, ir.VectorType(double, width))
        while width > 1:
            width //= 2
            picks = [ir.Constant(ir.VectorType(I32, width), [*range(s, s + width)]) for s in (0, width)]
            vector = builder.fadd(*[builder.shuffle_vector(vector, vector, p) for p in picks])
        return builder.extract_element(vector, I32(0))

    return types.float64(v), codegen


@parallel_kernel
def _affine(x, a, c, slope, y, channels, inner):
    """Vectors run along a channel, or over the channels where each has one number in a row."""
    if inner == 1:
        blocks = -(-channels // PLACES)
        for i in prange(len(x) // channels * blocks):
            row, block = divmod(np.intp(i), blocks)
            for k in range(block * PLACES, min((block + 1) * PLACES, channels), lanes_of(x)):
                at, count = row * channels + k, channels - k
                value = multiply_add(load_first(a, k, count), load_first(x, at, count), load_first(c, k, count))
                store_first(rectify(value, load_first(slope, k, count)), y, at, count)
    else:
        blocks = -(-inner // PLACES)
        for i in prange(len(x) // max(1, inner) * blocks):
            plane, block = divmod(np.intp(i), blocks)
            k = plane % channels
            factor, term, below = spread(a[k]), spread(c[k]), spread(slope[k])
            for p in range(block * PLACES, min((block + 1) * PLACES, inner), lanes_of(x)):
                at, count = plane * inner + p, inner - p
                if count >= lanes_of(x):
                    store(rectify(multiply_add(factor, load(x, at), term), below), y, at)
                else:
                    value = multiply_add(factor, load_first(x, at, count), term)
                    store_first(rectify(value, below), y, at, count)


@parallel_kernel
def _mixed(dy, y, p, q, r, dx, channels, inner):
    if inner == 1:
        for i in prange(len(dy) // channels):
            for k in range(0, channels, lanes_of(dy)):
                at, count = np.intp(i) * channels + k, channels - k
                change = multiply_add(load_first(p, k, count), load_first(dy, at, count), load_first(r, k, count))
                change = multiply_add(load_first(q, k, count), load_first(y, at, count), change)
                store_first(load_first(dx, at, count) + change, dx, at, count)
    else:
        for i in prange(len(dy) // max(1, inner)):
            plane = np.intp(i)
            k = plane % channels
            first, second, third = spread(p[k]), spread(q[k]), spread(r[k])
            for at in range(plane * inner, (plane + 1) * inner, lanes_of(dy)):
                count = (plane + 1) * inner - at
                change = multiply_add(first, load_first(dy, at, count), third)
                change = multiply_add(second, load_first(y, at, count), change)
                store_first(load_first(dx, at, count) + change, dx, at, count)


@parallel_kernel
def _prelu_backward(dy, x, slope, dx, channels, inner):
    for i in prange(len(dy) // max(1, inner)):
        plane = np.intp(i)
        below, zero = spread(slope[plane % channels]), spread(x.dtype.type(0))
        for at in range(plane * inner, (plane + 1) * inner, lanes_of(dy)):
            count = (plane + 1) * inner - at
            change = load_first(dy, at, count)
            change = where_more(load_first(x, at, count), zero, change, below * change)
            store_first(load_first(dx, at, count) + change, dx, at, count)


@parallel_kernel
def _add_powers(x, centre, power, parts, outer, channels, inner):
    if inner == 1:
        for k in prange(channels):
            total = 0.0
            for i in range(outer):
                value = x[i * channels + np.intp(k)] - centre[k]
                total += np.float64(value) if power == 1 else np.float64(value) * np.float64(value)
            parts[k] = total
    else:
        for i in prange(outer * channels):
            plane, total = np.intp(i), 0.0
            middle = spread(centre[plane % channels])
            for at in range(plane * inner, (plane + 1) * inner, lanes_of(x)):
                count = (plane + 1) * inner - at
                if count >= lanes_of(x):
                    value = load(x, at) - middle
                    total += wide_total(value if power == 1 else value * value)
                else:
                    for last in range(at, (plane + 1) * inner):
                        one = x[last] - centre[plane % channels]
                        total += np.float64(one) if power == 1 else np.float64(one) * np.float64(one)
            parts[plane] = total


@parallel_kernel
def _add_products(dy, z, below, sums, products, outer, channels, inner):
    if inner == 1:
        for k in prange(channels):
            sum_, product = 0.0, 0.0
            for i in range(outer):
                at = i * channels + np.intp(k)
                sum_ += np.float64(dy[at])
                if not (below and z[at] > 0):
                    product += np.float64(dy[at]) * np.float64(z[at])
            sums[k], products[k] = sum_, product
    else:
        for i in prange(outer * channels):
            plane, sum_, product = np.intp(i), 0.0, 0.0
            zero = spread(dy.dtype.type(0))
            for at in range(plane * inner, (plane + 1) * inner, lanes_of(dy)):
                count = (plane + 1) * inner - at
                change, value = load_first(dy, at, count), load_first(z, at, count)
                if below:
                    value = where_more(value, zero, zero, value)
                sum_ += wide_total(change)
                product += wide_total(change * value)
            sums[plane], products[plane] = sum_, product
