"""Max-pooling fragments: splitting maps so that neighbours of one window are neighbours in memory, and undoing it."""

from dataclasses import dataclass
from math import prod
from typing import Any

from .base import Layer, Node, Shape


@dataclass(frozen=True, kw_only=True)
class FragmentLayer(Layer):
    """Every map becomes stride * stride smaller ones, further entries of the batch (Giusti et al. 2013, section 2).

    In a volume there are stride * stride * stride.
    """

    stride: Shape

    def shape(self, bottoms: list[Shape]) -> list[Shape]:
        ((n, c, *size),) = bottoms
        return [(n * prod(self.stride), c, *(-(-m // s) for m, s in zip(size, self.stride, strict=True)))]

    def forward(self, ops: Any, at: Node) -> None:
        ops.fragment(at.bottoms[0].array, at.tops[0].array, strides=(self.stride,))

    def backward(self, ops: Any, at: Node) -> None:
        if at.bottoms[0].grad is not None:
            ops.stitch(at.tops[0].grad, at.bottoms[0].grad, strides=(self.stride,), add=True)

    def describe(self) -> str:
        return f"into {prod(self.stride)} fragments"


@dataclass(frozen=True, kw_only=True)
class StitchLayer(Layer):
    """Interleaves all fragments again, to maps of `windows` + `beyond` a side (the last fragments may be longer)."""

    splits: tuple[Shape, ...]
    beyond: Shape  # by how much the map exceeds the number of windows: one window's own span
    windows: Shape

    def shape(self, bottoms: list[Shape]) -> list[Shape]:
        ((n, c, *_),) = bottoms
        fragments = prod(map(prod, self.splits))
        return [(n // fragments, c, *(w + b for w, b in zip(self.windows, self.beyond, strict=True)))]

    def forward(self, ops: Any, at: Node) -> None:
        ops.stitch(at.bottoms[0].array, at.tops[0].array, strides=self.splits)

    def backward(self, ops: Any, at: Node) -> None:
        if at.bottoms[0].grad is not None:
            ops.fragment(at.tops[0].grad, at.bottoms[0].grad, strides=self.splits, add=True)

    def describe(self) -> str:
        return f"{prod(prod(s) for s in self.splits)} fragments"
