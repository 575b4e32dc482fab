"""One convolution of a lowered program, in plain integers, and what is done with its outputs before they go to memory.

Maps are *blocked*: (N, ceil(C / L), H, W, L) for vectors of L lanes, so that one pixel of L channels is one vector. The
lanes that C lacks hold zeros. The source of a net's first convolution may be *plain*, (N, C, H, W).
"""

from dataclasses import dataclass, replace
from math import prod
from typing import NamedTuple

import numpy as np

from ...shapes import Shape
from ..simd import lanes

KEEP, POOL, TAIL = range(3)


class Map(NamedTuple):
    """Strides of an activation, in elements: from image to image, channel block to channel block, row to row, pixel to pixel.

    Of a plain map, `block` leads from channel to channel.
    """

    image: int
    block: int
    row: int
    pixel: int


class Finish(NamedTuple):
    """What follows a convolution, and where its results go.

    KEEP: y is the convolution's own blocked map. POOL: the maximum over pool_y x pool_x outputs at stride 1, then split
    into split_y * split_x fragments, y[n * F + f]. TAIL: a few classes, by a 1 x 1 convolution or as they are, with or without softmax,
    stitched into a plain map: the splits of the fragments that exist are undone. All are integers, which is what a
    parallel region of numba takes.
    """

    kind: int
    image: int  # strides of y, as in Map
    block: int
    row: int
    pixel: int
    pool_y: int = 1
    pool_x: int = 1
    split_y: int = 1
    split_x: int = 1
    classes: int = 0
    softmax: int = 0
    height: int = 0  # of the stitched map
    width: int = 0
    past: int = 0  # whether POOL writes past the caches


@dataclass(frozen=True)
class Tail:
    """A 1 x 1 convolution that follows at once, a softmax over its classes, and the splits that are then undone.

    With `own` there is no further convolution: the classes are the outputs themselves.
    """

    classes: int
    softmax: bool
    splits: tuple[Shape, ...]
    size: Shape  # rows and columns of the stitched map
    own: bool = False


@dataclass(frozen=True)
class Problem:
    """y = finish(activation(conv(x))), no padding, no groups; every pair has rows before columns.

    Attributes
    ----------
    images, channels, size
        Of the source.
    outputs : int
        Channels K of the convolution.
    plain : bool
        Whether the source is (N, C, H, W).
    slope : float or None
        Of the rectifier that follows, x > 0 ? x : slope * x; None without one.
    pool : pair
        The window of the maximum that follows at stride 1; (1, 1) without one.
    split : pair
        Strides by which the result is split into fragments.
    tail : Tail or None
        In place of pool and split.
    """

    images: int
    channels: int
    size: Shape
    outputs: int
    kernel: Shape
    stride: Shape
    dilation: Shape
    dtype: np.dtype
    plain: bool = False
    slope: float | None = None
    pool: Shape = (1, 1)
    split: Shape = (1, 1)
    tail: Tail | None = None

    @property
    def lanes(self) -> int:
        return lanes(self.dtype)

    @property
    def blocks(self) -> int:
        """Of the source's channels."""
        return -(-self.channels // self.lanes)

    @property
    def output_blocks(self) -> int:
        return -(-self.outputs // self.lanes)

    @property
    def out(self) -> Shape:
        """Rows and columns of the convolution."""
        geometry = zip(self.size, self.kernel, self.stride, self.dilation, strict=True)
        return tuple((n - (k - 1) * d - 1) // s + 1 for n, k, s, d in geometry)

    @property
    def pooled(self) -> Shape:
        return tuple(n - p + 1 for n, p in zip(self.out, self.pool, strict=True))

    @property
    def kind(self) -> int:
        if self.tail is not None:
            return TAIL
        return KEEP if self.pool == (1, 1) and self.split == (1, 1) else POOL

    @property
    def written(self) -> Shape:
        """The shape of y."""
        if self.tail is not None:
            fragments = prod(prod(s) for s in self.tail.splits)
            return (self.images // fragments, self.tail.classes, *self.tail.size)
        rows, columns = (-(-n // s) for n, s in zip(self.pooled, self.split, strict=True))
        return (self.images * prod(self.split), self.output_blocks, rows, columns, self.lanes)

    @property
    def source(self) -> Map:
        """Where x lies."""
        rows, columns = self.size
        if self.plain:
            return Map(self.channels * rows * columns, rows * columns, columns, 1)
        return blocked(self.blocks, rows, columns, self.lanes)

    @property
    def finish(self) -> Finish:
        if self.tail is not None:
            _, classes, rows, columns = self.written
            y = Map(classes * rows * columns, rows * columns, columns, 1)
            return Finish(TAIL, *y, classes=classes, softmax=int(self.tail.softmax), height=rows, width=columns)
        _, blocks, rows, columns, width = self.written
        return Finish(self.kind, *blocked(blocks, rows, columns, width), *self.pool, *self.split)

    @property
    def smallest(self) -> "Problem":
        """A problem of the same kind with one output per fragment, one channel in and out, and the same kernels to run."""
        spans = zip(self.kernel, self.dilation, self.pool, self.stride, strict=True)
        size = tuple((k - 1) * d + 1 + (p - 1) * s for k, d, p, s in spans)
        tail, images = self.tail, 1
        if tail is not None:
            step = tuple(prod(s[axis] for s in tail.splits) for axis in range(2))
            tail, images = replace(tail, size=step), prod(step)
        return replace(self, images=images, channels=1, outputs=1, size=size, tail=tail)

    @property
    def terms(self) -> int:
        """Of one output."""
        return self.channels * prod(self.kernel)

    @property
    def flops(self) -> int:
        """Two per multiply-add of the direct sums."""
        return 2 * self.images * prod(self.out) * self.outputs * self.terms


def blocked(blocks: int, rows: int, columns: int, width: int) -> Map:
    """Strides of a contiguous blocked map."""
    return Map(blocks * rows * columns * width, rows * columns * width, columns * width, width)
