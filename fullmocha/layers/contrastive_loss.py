"""The contrastive loss of siamese nets."""

from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar

import numpy as np

from ..lattice import Lattice
from .base import Layer, Node, Shape
from .checks import need
from .host import add_gradient, on_host
from .loss import LossLayer, class_numbers


@dataclass(frozen=True, kw_only=True)
class ContrastiveLossLayer(LossLayer):
    r"""Pulls the features of like pairs together, and those of unlike pairs apart up to a margin.

    .. math:: L = \frac{w}{2 N} \sum_n s_n d_n^2 + (1 - s_n) \max(m - d_n, 0)^2, \qquad d_n = \lVert a_n - b_n \rVert

    Parameters
    ----------
    bottoms : three names
        a and b (N, C), and s (N,): 1 for a like pair, 0 for an unlike one.
    weight : float
        w, Caffe's loss_weight.
    margin : float
        m.
    legacy_version : bool
        Unlike pairs cost max(m - d^2, 0), as in Caffe before 2014-12.
    epsilon : float
        Added to d where the gradient divides by it, so that two equal points do not divide by 0. Caffe's is 1e-4: its
        gradient is smaller than the slope of L by that over d.

    Notes
    -----
    Source: Hadsell, Chopra, LeCun 2006; Caffe's ContrastiveLoss. It compares two samples, so a dense pass, which reads one image,
    has no place for it.

    Raises
    ------
    ShapeError
        If the bottoms do not match, or s holds anything but 0 and 1.

    Examples
    --------
    >>> ContrastiveLossLayer(name="loss", bottoms=["a", "b", "like"]).shape([(64, 10), (64, 10), (64, 1)])
    []
    """

    name: str = "contrastive-loss"
    margin: float = 1.0
    legacy_version: bool = False
    epsilon: float = 1e-4

    label_bottoms: ClassVar[tuple[int, ...]] = (2,)

    def shape(self, bottoms: list[Shape]) -> list[Shape]:
        a, b, like = need(self, bottoms, 3)
        if not a:
            raise self.refuse("compares features of samples, but its first bottom is one number")
        if a != b:
            raise self.refuse(f"compares features of one shape, got {a} and {b}")
        if like[:1] != a[:1] or prod(like) != a[0]:
            raise self.refuse(f"{a[0]} pairs need one mark each; the marks are {like}")
        return [() for _ in self.tops]

    def pairs(self, ops: Any, at: Node) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """a - b (N, C), d^2 and s, both (N, 1)."""
        a, b, like = (on_host(ops, blob) for blob in at.bottoms)
        marks, _ = class_numbers(self, like, 2, None)
        apart = (a - b).reshape(len(a), prod(a.shape[1:]))
        return apart, np.square(apart).sum(axis=1, keepdims=True), marks.reshape(-1, 1) == 1

    def forward(self, ops: Any, at: Node) -> None:
        _, squared, like = self.pairs(ops, at)
        left = np.maximum(self.margin - (squared if self.legacy_version else np.sqrt(squared)), 0)
        unlike = left if self.legacy_version else left**2
        total = float(np.where(like, squared, unlike).sum(dtype=np.float64))
        self.settle(ops, at, total / max(1, 2 * len(like)))

    def backward(self, ops: Any, at: Node) -> None:
        a, b, _ = at.bottoms
        if not self.weight or (a.grad is None and b.grad is None):
            return
        apart, squared, like = self.pairs(ops, at)
        if self.legacy_version:
            unlike = np.where(squared < self.margin, -1, 0)
        else:
            distance = np.sqrt(squared)
            unlike = -np.maximum(self.margin - distance, 0) / np.maximum(
                distance + self.epsilon, np.finfo(a.dtype).tiny
            )
        slope = np.where(like, 1, unlike) * apart * (self.weight / max(1, len(apart)))
        add_gradient(ops, a.grad, slope)
        add_gradient(ops, b.grad, -slope)

    def dense(self, lattices: list[Lattice | None]) -> tuple[Layer, Lattice | None]:
        raise self.not_dense("compares pairs of samples, and a dense pass reads one image; train it with solve")

    def describe(self) -> str:
        return f"margin {self.margin:g}" + (", legacy" if self.legacy_version else "")
