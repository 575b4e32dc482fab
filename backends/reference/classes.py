"""Ops along the axis of classes: softmax, the loss that judges it, and the count of hits.

Scores are (*outer, K, *inner), with K at `axis`; labels are any shape of outer * inner elements, in that order.
"""

from math import fsum

import numpy as np

from ..shapes import about


@np.errstate(all="ignore")
def softmax(x: np.ndarray, y: np.ndarray, *, axis: int) -> None:
    """y[k] = exp(x[k] - m) / sum_j exp(x[j] - m) with m = max_j x[j]; the sum goes from class 0 up.

    >>> y = np.empty((1, 3))
    >>> softmax(np.log([[1.0, 2, 5]]), y, axis=1)
    >>> y.round(9)
    array([[0.125, 0.25 , 0.625]])
    """
    y[...] = np.exp(np.ascontiguousarray(x - x.max(axis=axis, keepdims=True)))
    classes = np.moveaxis(y, axis, 0)
    total = np.zeros_like(classes[0])
    for k in range(len(classes)):
        total += classes[k]
    classes /= total


def softmax_backward(dy: np.ndarray, y: np.ndarray, dx: np.ndarray, *, axis: int) -> None:
    """dx[k] += y[k] (dy[k] - sum_j dy[j] y[j]).

    >>> dx = np.zeros((1, 2))
    >>> softmax_backward(np.array([[1.0, 0]]), np.array([[0.25, 0.75]]), dx, axis=1)
    >>> dx
    array([[ 0.1875, -0.1875]])
    """
    dx += y * (dy - (dy * y).sum(axis=axis, keepdims=True))


def by_class(x: np.ndarray, axis: int) -> np.ndarray:
    """(*outer, K, *inner) -> (outer, K, inner); no copy."""
    return x.reshape(about(x.shape, axis))


def targets(x: np.ndarray, label: np.ndarray, ignore: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Labels as integers (outer, inner), 0 where ignored, and which of them count; x is (outer, K, inner)."""
    outer, classes, inner = x.shape
    label = np.asarray(label).reshape(outer, inner)
    counted = np.ones(label.shape, bool) if ignore is None else label != ignore
    label = np.where(counted, label, 0)
    legal = np.isin(label, np.arange(classes))
    if not legal.all():
        raise ValueError(f"label {label[~legal][0]:g} is not one of the {classes} classes 0 .. {classes - 1}")
    return label.astype(np.intp), counted


def cross_entropy(
    p: np.ndarray, label: np.ndarray, *, axis: int, ignore: int | None, floor: float
) -> tuple[float, int]:
    """(sum of -log max(p[label], floor) over the labels that count, how many they are).

    In float64, and exactly rounded: the order of the pixels does not matter.

    >>> p = np.array([[0.25, 0.75], [0.5, 0.5], [1.0, 0.0]])
    >>> cross_entropy(p, np.array([0, 255, 1]), axis=1, ignore=255, floor=np.exp(-80))  # -log 0.25 + 80
    (81.3862943611199, 2)
    """
    p = by_class(p, axis)
    label, counted = targets(p, label, ignore)
    chosen = np.take_along_axis(p, label[:, None], axis=1)[:, 0][counted].astype(np.float64)
    return fsum(-np.log(np.maximum(chosen, floor))), int(counted.sum())


def softmax_loss_backward(
    p: np.ndarray, label: np.ndarray, dx: np.ndarray, *, axis: int, ignore: int | None, scale: float
) -> None:
    """dx[k] += scale * (p[k] - [k = label]); nothing where the label is ignored.

    >>> dx = np.zeros((2, 2))
    >>> softmax_loss_backward(np.array([[0.25, 0.75], [0.5, 0.5]]), np.array([0, 9]), dx, axis=1, ignore=9, scale=2)
    >>> dx
    array([[-1.5,  1.5],
           [ 0. ,  0. ]])
    """
    p, slopes = by_class(p, axis), by_class(dx, axis)
    label, counted = targets(p, label, ignore)
    onehot = np.arange(p.shape[1])[:, None] == label[:, None]  # (outer, K, inner)
    slopes += np.where(counted[:, None], scale * (p - onehot), 0)


def count_hits(
    x: np.ndarray, label: np.ndarray, *, axis: int, ignore: int | None, top_k: int, ties_ahead: bool = False
) -> tuple[int, int]:
    """(labels with fewer than top_k classes ahead of them, labels that count).

    Class k is ahead when its score is higher, or equal and k is lower; with `ties_ahead`, whenever it is equal. A score
    that is NaN is no hit.

    >>> x = np.array([[0.1, 0.7, 0.2], [0.5, 0.5, 0.0]])
    >>> count_hits(x, np.array([1, 1]), axis=1, ignore=None, top_k=1)
    (1, 2)
    >>> count_hits(x, np.array([1, 1]), axis=1, ignore=None, top_k=2)
    (2, 2)
    >>> count_hits(x, np.array([1, 0]), axis=1, ignore=None, top_k=1, ties_ahead=True)
    (1, 2)
    """
    x = by_class(x, axis)
    label, counted = targets(x, label, ignore)
    score = np.take_along_axis(x, label[:, None], axis=1)  # (outer, 1, inner)
    number = np.arange(x.shape[1])[:, None]
    lower = number != label[:, None] if ties_ahead else number < label[:, None]
    ahead = ((x > score) | ((x == score) & lower)).sum(axis=1)
    hits = (ahead < top_k) & ~np.isnan(score[:, 0]) & counted
    return int(hits.sum()), int(counted.sum())
