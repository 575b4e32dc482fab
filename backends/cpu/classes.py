"""Ops along the axis of classes: softmax, the loss that judges it, and the count of hits.

Scores are seen as (outer, K, inner). Sums over pixels are made in blocks of PIXELS, and the blocks added in their order:
they do not depend on the number of threads.
"""

from math import prod

import numpy as np
from numba import prange

from .jit import Threads, kernel, parallel_kernel

PIXELS = 4096


def softmax(x: np.ndarray, y: np.ndarray, axis: int, threads: Threads) -> None:
    """y[k] = exp(x[k] - m) / sum_j exp(x[j] - m) with m = max_j x[j]; the sum goes from class 0 up."""
    threads.run(8 * x.size, _softmax, _by_class(x, axis), _by_class(y, axis))


def softmax_backward(dy: np.ndarray, y: np.ndarray, dx: np.ndarray, axis: int, threads: Threads) -> None:
    """dx[k] += y[k] (dy[k] - sum_j dy[j] y[j])."""
    threads.run(dx.size, _softmax_backward, _by_class(dy, axis), _by_class(y, axis), _by_class(dx, axis))


def cross_entropy(
    p: np.ndarray, label: np.ndarray, axis: int, ignore: int | None, floor: float, threads: Threads
) -> tuple[float, int]:
    """(sum of -log max(p[label], floor) over the labels that count, how many they are)."""
    scores = _by_class(p, axis)
    labels = _checked(label, scores.shape[1], ignore)
    losses, counts = threads.run(8 * labels.size, _cross_entropy, scores, labels, *_skipped(ignore), floor)
    return float(_in_order(losses)), int(counts.sum())


def softmax_loss_backward(
    p: np.ndarray, label: np.ndarray, dx: np.ndarray, axis: int, ignore: int | None, scale: float, threads: Threads
) -> None:
    """dx[k] += scale * (p[k] - [k = label]); nothing where the label is ignored."""
    scores = _by_class(p, axis)
    labels = _checked(label, scores.shape[1], ignore)
    threads.run(
        dx.size, _softmax_loss_backward, scores, labels, _by_class(dx, axis), *_skipped(ignore), dx.dtype.type(scale)
    )


def count_hits(
    x: np.ndarray, label: np.ndarray, axis: int, ignore: int | None, top_k: int, ties_ahead: bool, threads: Threads
) -> tuple[int, int]:
    """(labels with fewer than top_k classes ahead of them, labels that count).

    Class k is ahead when its score is higher, or equal and k is lower; with `ties_ahead`, whenever it is equal. A score
    that is NaN is no hit.
    """
    scores = _by_class(x, axis)
    labels = _checked(label, scores.shape[1], ignore)
    hits, counts = threads.run(x.size, _count_hits, scores, labels, *_skipped(ignore), top_k, ties_ahead)
    return int(hits.sum()), int(counts.sum())


def _by_class(x: np.ndarray, axis: int) -> np.ndarray:
    """(*outer, K, *inner) -> (outer, K, inner); no copy."""
    return x.reshape(prod(x.shape[:axis]), x.shape[axis], prod(x.shape[axis + 1 :]))


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
def _softmax(x, y):
    outer, classes, inner = x.shape
    for i in prange(outer * inner):
        n, p = divmod(np.intp(i), inner)
        most = x[n, 0, p]
        for k in range(1, classes):
            most = x[n, k, p] if x[n, k, p] > most else most
        total = y.dtype.type(0)
        for k in range(classes):
            value = np.exp(x[n, k, p] - most)
            y[n, k, p] = value
            total += value
        for k in range(classes):
            y[n, k, p] /= total


@parallel_kernel
def _softmax_backward(dy, y, dx):
    outer, classes, inner = y.shape
    for i in prange(outer * inner):
        n, p = divmod(np.intp(i), inner)
        total = y.dtype.type(0)
        for k in range(classes):
            total += dy[n, k, p] * y[n, k, p]
        for k in range(classes):
            dx[n, k, p] += y[n, k, p] * (dy[n, k, p] - total)


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
def _softmax_loss_backward(p, label, dx, skips, ignore, scale):
    classes, inner = p.shape[1:]
    one = p.dtype.type(1)
    for i in prange(len(label)):
        if not (skips and label[i] == ignore):
            n, q = divmod(np.intp(i), inner)
            for k in range(classes):
                dx[n, k, q] += scale * (p[n, k, q] - one if k == label[i] else p[n, k, q])


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
