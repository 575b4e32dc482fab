"""Ops along the axis of classes: softmax, the loss that judges it, and the count of hits.

Scores are seen as (outer, K, inner). Sums over pixels are made in blocks of PIXELS, and the blocks added in their order:
they do not depend on the number of threads.
"""

import numpy as np
from numba import prange

from ..shapes import about
from .functions import exp
from .jit import Threads, kernel, parallel_kernel
from .picks import where_equal
from .simd import lanes_of
from .vectors import larger, load, load_first, multiply_add, spread, store, store_first

PIXELS = 4096  # of a sum over pixels
PLACES = 512  # pixels at a time where each stands for itself


def softmax(x: np.ndarray, y: np.ndarray, axis: int, threads: Threads) -> None:
    """y[k] = exp(x[k] - m) / sum_j exp(x[j] - m) with m = max_j x[j]; the sum goes from class 0 up."""
    threads.run(4 * x.size, _softmax, x.reshape(-1), y.reshape(-1), *about(x.shape, axis)[1:])


def softmax_backward(dy: np.ndarray, y: np.ndarray, dx: np.ndarray, axis: int, threads: Threads) -> None:
    """dx[k] += y[k] (dy[k] - sum_j dy[j] y[j])."""
    flat = dy.reshape(-1), y.reshape(-1), dx.reshape(-1)
    threads.run(dx.size, _softmax_backward, *flat, *about(y.shape, axis)[1:])


def cross_entropy(
    p: np.ndarray, label: np.ndarray, axis: int, ignore: int | None, floor: float, threads: Threads
) -> tuple[float, int]:
    """(sum of -log max(p[label], floor) over the labels that count, how many they are)."""
    scores = p.reshape(about(p.shape, axis))
    labels = _checked(label, scores.shape[1], ignore)
    losses, counts = threads.run(8 * labels.size, _cross_entropy, scores, labels, *_skipped(ignore), floor)
    return float(_in_order(losses)), int(counts.sum())


def softmax_loss_backward(
    p: np.ndarray, label: np.ndarray, dx: np.ndarray, axis: int, ignore: int | None, scale: float, threads: Threads
) -> None:
    """dx[k] += scale * (p[k] - [k = label]); nothing where the label is ignored."""
    sizes = about(p.shape, axis)[1:]
    labels = _checked(label, sizes[0], ignore).astype(p.dtype, copy=False)
    flat = p.reshape(-1), labels, dx.reshape(-1)
    threads.run(dx.size, _softmax_loss_backward, *flat, *sizes, *_skipped(ignore), dx.dtype.type(scale))


def count_hits(
    x: np.ndarray, label: np.ndarray, axis: int, ignore: int | None, top_k: int, ties_ahead: bool, threads: Threads
) -> tuple[int, int]:
    """(labels with fewer than top_k classes ahead of them, labels that count).

    Class k is ahead when its score is higher, or equal and k is lower; with `ties_ahead`, whenever it is equal. A score
    that is NaN is no hit.
    """
    scores = x.reshape(about(x.shape, axis))
    labels = _checked(label, scores.shape[1], ignore)
    hits, counts = threads.run(x.size, _count_hits, scores, labels, *_skipped(ignore), top_k, ties_ahead)
    return int(hits.sum()), int(counts.sum())


def _skipped(ignore: int | None) -> tuple[bool, int]:
    return ignore is not None, ignore or 0


def _checked(label: np.ndarray, classes: int, ignore: int | None) -> np.ndarray:
    """The labels, flat; all of them are classes or ignored."""
    flat = label.reshape(-1)
    bad = _stray(flat, classes, *_skipped(ignore))
    if bad >= 0:
        raise ValueError(f"label {flat[bad]:g} is not one of the {classes} classes 0 .. {classes - 1}")
    return flat


def _in_order(parts: np.ndarray) -> float:
    total = 0.0
    for part in parts:
        total += part
    return total


@kernel
def _stray(label, classes, skips, ignore):
    """The place of the first label that is neither a class nor ignored, or -1."""
    for i in range(len(label)):
        value = label[i]
        if not (skips and value == ignore) and not (0 <= value < classes and value == np.floor(value)):
            return i
    return -1


@parallel_kernel
def _softmax(x, y, classes, inner):
    """Vectors run over PLACES pixels, or, where there is one, over the classes; the sums are the same."""
    blocks = -(-inner // PLACES)
    for i in prange(len(x) // (classes * inner) * blocks):
        n, block = divmod(np.intp(i), blocks)
        base, one = n * classes * inner, x.dtype.type(1)
        if inner == 1:
            top, total = x[base], x.dtype.type(0)
            for k in range(1, classes):
                top = x[base + k] if x[base + k] > top else top
            for k in range(0, classes, lanes_of(x)):
                count = min(classes - k, lanes_of(x))
                store_first(exp(load_first(x, base + k, count) - spread(top)), y, base + k, count)
            for k in range(classes):
                total += y[base + k]
            for k in range(classes):
                y[base + k] *= one / total
        for p in range(block * PLACES, min((block + 1) * PLACES, inner) if inner > 1 else 0, lanes_of(x)):
            at, count = base + p, inner - p
            whole = count >= lanes_of(x)
            most = load(x, at) if whole else load_first(x, at, count)
            for k in range(1, classes):
                most = larger(most, load(x, at + k * inner) if whole else load_first(x, at + k * inner, count))
            sums = spread(x.dtype.type(0))
            for k in range(classes):
                value = exp((load(x, at + k * inner) if whole else load_first(x, at + k * inner, count)) - most)
                sums = sums + value
                if whole:
                    store(value, y, at + k * inner)
                else:
                    store_first(value, y, at + k * inner, count)
            share = spread(one) / sums
            for k in range(classes):
                if whole:
                    store(load(y, at + k * inner) * share, y, at + k * inner)
                else:
                    store_first(load_first(y, at + k * inner, count) * share, y, at + k * inner, count)


@parallel_kernel
def _softmax_backward(dy, y, dx, classes, inner):
    blocks = -(-inner // PLACES)
    for i in prange(len(y) // (classes * inner) * blocks):
        n, block = divmod(np.intp(i), blocks)
        base = n * classes * inner
        if inner == 1:
            total = y.dtype.type(0)
            for k in range(base, base + classes):
                total += dy[k] * y[k]
            for k in range(base, base + classes):
                dx[k] += y[k] * (dy[k] - total)
        for p in range(block * PLACES, min((block + 1) * PLACES, inner) if inner > 1 else 0, lanes_of(y)):
            first, count = base + p, inner - p
            whole = count >= lanes_of(y)
            sums = spread(y.dtype.type(0))
            for k in range(classes):
                at = first + k * inner
                value = load(y, at) if whole else load_first(y, at, count)
                sums = multiply_add(load(dy, at) if whole else load_first(dy, at, count), value, sums)
            for k in range(classes):
                at = first + k * inner
                value = load(y, at) if whole else load_first(y, at, count)
                change = (load(dy, at) if whole else load_first(dy, at, count)) - sums
                change = multiply_add(value, change, load(dx, at) if whole else load_first(dx, at, count))
                if whole:
                    store(change, dx, at)
                else:
                    store_first(change, dx, at, count)


@parallel_kernel
def _cross_entropy(p, label, skips, ignore, floor):
    inner = p.shape[2]
    blocks = -(-len(label) // PIXELS)
    losses, counts = np.zeros(blocks), np.zeros(blocks, np.intp)
    for block in prange(blocks):
        first = np.intp(block) * PIXELS
        for i in range(first, min(first + PIXELS, len(label))):
            if not (skips and label[i] == ignore):
                n, q = divmod(i, inner)
                losses[block] -= np.log(max(np.float64(p[n, np.intp(label[i]), q]), floor))
                counts[block] += 1
    return losses, counts


@parallel_kernel
def _softmax_loss_backward(p, label, dx, classes, inner, skips, ignore, scale):
    blocks = -(-inner // PLACES)
    for i in prange(len(p) // (classes * inner) * blocks):
        n, block = divmod(np.intp(i), blocks)
        zero, one = spread(p.dtype.type(0)), spread(p.dtype.type(1))
        ignored = spread(p.dtype.type(ignore))
        for q in range(block * PLACES, min((block + 1) * PLACES, inner), lanes_of(p)):
            count = inner - q
            whole = count >= lanes_of(p)
            wanted = load(label, n * inner + q) if whole else load_first(label, n * inner + q, count)
            for k in range(classes):
                at = (n * classes + k) * inner + q
                hit = where_equal(wanted, spread(p.dtype.type(k)), one, zero)
                change = spread(scale) * ((load(p, at) if whole else load_first(p, at, count)) - hit)
                if skips:
                    change = where_equal(wanted, ignored, zero, change)
                if whole:
                    store(load(dx, at) + change, dx, at)
                else:
                    store_first(load_first(dx, at, count) + change, dx, at, count)


@parallel_kernel
def _count_hits(x, label, skips, ignore, top_k, ties_ahead):
    classes, inner = x.shape[1:]
    blocks = -(-len(label) // PIXELS)
    hits, counts = np.zeros(blocks, np.intp), np.zeros(blocks, np.intp)
    for block in prange(blocks):
        first = np.intp(block) * PIXELS
        for i in range(first, min(first + PIXELS, len(label))):
            if not (skips and label[i] == ignore):
                n, q = divmod(i, inner)
                wanted = np.intp(label[i])
                score = x[n, wanted, q]
                ahead = 0
                for k in range(classes):
                    if x[n, k, q] > score or (x[n, k, q] == score and (k < wanted or (ties_ahead and k != wanted))):
                        ahead += 1
                hits[block] += ahead < top_k and not np.isnan(score)
                counts[block] += 1
    return hits, counts
