"""Local response normalization: each element by the squares around it."""

from math import prod

import numpy as np
from numba import prange
from numba.extending import intrinsic

# Within a channel it cannot be in a dense net, and the reference is quick enough for the nets that have it.
from ..reference.channels import lrn as reference_lrn
from ..reference.channels import lrn_backward as reference_lrn_backward
from .jit import Threads, parallel_kernel
from .simd import Emitter, lanes_of
from .vectors import load_first, multiply_add, spread, store_first

PLACES = 4096  # numbers of a channel at a time


def lrn(
    x: np.ndarray, y: np.ndarray, size: int, alpha: float, beta: float, k: float, within: bool, threads: Threads
) -> None:
    """y = x / (k + alpha / n * the sum of x^2 over a window of n elements around x)^beta; outside x there are zeros."""
    if within:
        reference_lrn(x, y, size=size, alpha=alpha, beta=beta, k=k, within=True)
    else:
        _across(x, y, size, alpha, beta, k, threads)


@np.errstate(all="ignore")
def lrn_backward(
    dy: np.ndarray, x: np.ndarray, y: np.ndarray, dx: np.ndarray, size: int, alpha: float, beta: float, k: float,
    within: bool, threads: Threads,
) -> None:  # fmt: skip
    """dx += dy / u^beta - 2 alpha beta / n * x * the sum of dy * y / u over those in whose windows x lies."""
    if within:
        reference_lrn_backward(dy, x, y, dx, size=size, alpha=alpha, beta=beta, k=k, within=True)
        return
    bases = np.empty_like(x)
    _across(x, bases, size, alpha, 0.0, k, threads, raw=True)
    powers = np.power(bases, x.dtype.type(-beta))
    ratio = dy * y / bases
    before = (size - 1) // 2
    share = x.dtype.type(2 * alpha * beta / size)
    flat = (v.reshape(-1) for v in (dy, x, powers, ratio, dx))
    threads.run(x.size * size, _across_backward, *flat, x.shape[1], prod(x.shape[2:]), size - 1 - before, before, share)


def _across(
    x: np.ndarray, y: np.ndarray, size: int, alpha: float, beta: float, k: float, threads: Threads, raw: bool = False
) -> None:
    """Over channels; with `raw` the bases alone. Powers in quarters are roots and products, any other the library's."""
    before = (size - 1) // 2
    rooted = 4 * beta in range(17) and min(alpha, k) >= 0  # a base below 0 has no root, but it may have the power
    quarters = int(4 * beta) if rooted else -1
    flat, sizes = (x.reshape(-1), y.reshape(-1)), (x.shape[1], prod(x.shape[2:]))
    numbers = x.dtype.type(alpha / size), x.dtype.type(k), x.dtype.type(-beta), quarters
    threads.run(x.size * (size + 8), _normalize, *flat, *sizes, before, size - 1 - before, *numbers, raw)


@intrinsic
def root(typingctx, v):
    """The square roots of the lanes."""

    def codegen(context, builder, signature, args):
        emit = Emitter(context, builder, signature, args, v.dtype)
        return emit.call("llvm.sqrt.%", emit.vector, args[0])

    return v(v), codegen


@parallel_kernel
def _normalize(x, y, channels, inner, before, after, share, k, exponent, quarters, raw):
    blocks = -(-inner // PLACES)
    for i in prange(len(x) // max(1, channels * inner) * blocks):
        n, block = divmod(np.intp(i), blocks)
        start, part, one = spread(k), spread(share), spread(x.dtype.type(1))
        for p in range(block * PLACES, min((block + 1) * PLACES, inner), lanes_of(x)):
            first, count = n * channels * inner + p, inner - p
            for c in range(channels):
                total = spread(x.dtype.type(0))
                for j in range(max(0, c - before), min(channels, c + after + 1)):
                    value = load_first(x, first + j * inner, count)
                    total = multiply_add(value, value, total)
                base, at = multiply_add(part, total, start), first + c * inner
                if raw:
                    store_first(base, y, at, count)
                elif quarters >= 0:
                    fourth, power = one / root(root(base)), one
                    for _ in range(quarters):
                        power = power * fourth
                    store_first(load_first(x, at, count) * power, y, at, count)
                else:
                    store_first(base, y, at, count)
                    for lane in range(at, at + min(count, lanes_of(x))):
                        y[lane] = x[lane] * y[lane] ** exponent


@parallel_kernel
def _across_backward(dy, x, powers, ratio, dx, channels, inner, before, after, share):
    blocks = -(-inner // PLACES)
    for i in prange(len(x) // max(1, channels * inner) * blocks):
        n, block = divmod(np.intp(i), blocks)
        part = spread(share)
        for p in range(block * PLACES, min((block + 1) * PLACES, inner), lanes_of(x)):
            first, count = n * channels * inner + p, inner - p
            for c in range(channels):
                total = spread(x.dtype.type(0))
                for j in range(max(0, c - before), min(channels, c + after + 1)):
                    total = total + load_first(ratio, first + j * inner, count)
                at = first + c * inner
                change = load_first(dy, at, count) * load_first(powers, at, count)
                change = change - part * load_first(x, at, count) * total
                store_first(load_first(dx, at, count) + change, dx, at, count)
