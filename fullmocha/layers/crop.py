"""Cropping: a window of fixed place, of random place, or as large as another blob."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np

from ..lattice import Lattice
from .base import Layer, Node, Shape
from .checks import Sizes, along, integers, need, placed, sizes, spatial


@dataclass(frozen=True, kw_only=True)
class CropLayer(Layer):
    """Cuts a window out of its first bottom.

    Parameters
    ----------
    crop_size : int or (width, height), optional
        Mocha's form, one bottom: the centre, at floor((size - crop) / 2). One size for all spatial axes, or one per axis,
        fastest axis first.
    random_crop, random_mirror : bool
        Mocha's: the place, or the left-right order, is drawn anew for every batch. Such a layer passes no gradient.
    axis, offset
        Caffe's form, two bottoms: every axis from `axis` on is cut to the second bottom's size, at `offset` (none is
        0, one is for all axes, else one per axis).

    Examples
    --------
    >>> CropLayer(name="crop", bottoms=["a"], tops=["b"], crop_size=(4, 5)).shape([(2, 3, 9, 8)])
    [(2, 3, 5, 4)]
    >>> CropLayer(name="crop", bottoms=["a", "b"], tops=["c"], offset=(3, 1)).shape([(2, 3, 9, 8), (1, 1, 4, 5)])
    [(2, 3, 4, 5)]
    """

    name: str = "crop"
    crop_size: Sizes | None = None
    random_crop: bool = False
    random_mirror: bool = False
    axis: int = 2
    offset: tuple[int, ...] = ()

    size_bottoms: ClassVar[tuple[int, ...]] = (1,)

    def check(self) -> None:
        if self.crop_size is not None:
            sizes(self.label, "crop_size", self.crop_size, 1)
        if integers(self, "offset", "one, or one per cropped axis") and (
            self.crop_size is not None or self.random_crop
        ):
            place = "random_crop draws the place" if self.random_crop else "crop_size cuts the centre"
            raise self.refuse(f"{place}, so offset={self.offset} has no meaning; leave one of them out")

    @property
    def is_random(self) -> bool:
        return self.random_crop or self.random_mirror

    def shape(self, bottoms: list[Shape]) -> list[Shape]:
        if self.crop_size is None:
            x, like = need(self, bottoms, 2)
            if len(x) != len(like):
                raise self.refuse(f"both bottoms must have as many axes; got {x} and {like}")
            axis = self.first_axis(len(x))
            if not 0 <= axis < len(x):
                raise self.refuse(f"axis {self.axis} is outside 0 .. {len(x) - 1} of the bottom {x}")
            top = (*x[:axis], *like[axis:])
        else:
            (x,) = need(self, bottoms, 1)
            n, c, size = spatial(self, x)
            top = (n, c, *along(self, "crop_size", len(size)))
        start = self.start(x, top)
        if any(o < 0 or o + n > m for o, n, m in zip(start, top, x, strict=True)):
            raise self.refuse(f"a window of {top} at {start} does not lie inside the bottom {x}")
        return [top]

    def first_axis(self, rank: int) -> int:
        """The first cropped axis of Caffe's form, counted from the batch."""
        return self.axis + rank if self.axis < 0 else self.axis

    def start(self, x: Shape, top: Shape) -> Shape:
        """Where the window starts, per axis."""
        if self.crop_size is not None:
            return tuple((n - m) // 2 for n, m in zip(x, top, strict=True))
        axis = self.first_axis(len(x))
        cropped = len(x) - axis
        offset = self.offset or (0,)
        if len(offset) not in (1, cropped):
            raise self.refuse(f"offset needs one entry, or one per cropped axis ({cropped}); got {self.offset}")
        return (0,) * axis + (tuple(offset) * cropped if len(offset) == 1 else tuple(offset))

    def setup(self, ops: Any, dtype: np.dtype, rng: np.random.Generator) -> Any:
        return SimpleNamespace(rng=rng)

    def forward(self, ops: Any, at: Node) -> None:
        x, y = at.bottoms[0], at.tops[0]
        if not self.is_random:
            ops.move(x.array, y.array, source=self.start(x.shape, y.shape), target=(0,) * len(y.shape), size=y.shape)
            return
        offset = self.start(x.shape, y.shape)
        if self.random_crop:
            room = zip(x.shape[2:], y.shape[2:], strict=True)
            offset = (0, 0, *(int(at.state.rng.integers(n - m + 1)) for n, m in room))
        ops.move(x.array, y.array, source=offset, target=(0,) * len(offset), size=y.shape)
        if self.random_mirror and at.state.rng.random() < 0.5:
            ops.from_host(ops.to_host(y.array)[..., ::-1].copy(), y.array)

    def backward(self, ops: Any, at: Node) -> None:
        x, y = at.bottoms[0], at.tops[0]
        if self.is_random:
            raise self.refuse("a random crop passes no gradient; put it right behind the data")
        if x.grad is not None:
            start, origin = self.start(x.shape, y.shape), (0,) * len(y.shape)
            ops.move(y.grad, x.grad, source=origin, target=start, size=y.shape, add=True)

    def dense(self, lattices: list[Lattice | None]) -> tuple[Layer, Lattice]:
        at = lattices[0]
        assert at is not None
        if self.is_random:
            raise self.not_dense("a random crop is no function of the image; leave it out of the net that labels")
        axes = len(at.patch)
        axis = self.first_axis(2 + axes)
        if self.crop_size is None and axis < 2:
            raise self.not_dense(f'axis={self.axis} also crops channels or batch; use axis=2, or engine="sliding"')
        if self.crop_size is None:
            like = lattices[1]
            assert like is not None
            size = (*at.patch[: axis - 2], *like.patch[axis - 2 :])
        else:
            size = along(self, "crop_size", axes)
        start = self.start((1, 1, *at.patch), (1, 1, *size))[2:]
        before = tuple(o * e for o, e in zip(start, at.spacing, strict=True))
        after = tuple((n - m - o) * e for n, m, o, e in zip(at.patch, size, start, at.spacing, strict=True))
        layer = TrimLayer(name=self.name, bottoms=self.bottoms[:1], tops=self.tops, before=before, after=after)
        return layer, at.strided(size, (1,) * axes)


@dataclass(frozen=True, kw_only=True)
class TrimLayer(Layer):
    """Takes so many elements off each side of the spatial axes: a crop whose size follows the image's."""

    before: Shape
    after: Shape

    per_bottom: ClassVar[bool] = True

    def shape(self, bottoms: list[Shape]) -> list[Shape]:
        (x,) = bottoms
        return [(*x[:2], *(n - a - b for n, a, b in zip(x[2:], self.before, self.after, strict=True)))]

    def forward(self, ops: Any, at: Node) -> None:
        (x,), (y,) = at.bottoms, at.tops
        ops.move(x.array, y.array, source=(0, 0, *self.before), target=(0,) * len(y.shape), size=y.shape)

    def backward(self, ops: Any, at: Node) -> None:
        (x,), (y,) = at.bottoms, at.tops
        if x.grad is not None:
            start = (0, 0, *self.before)
            ops.move(y.grad, x.grad, source=(0,) * len(start), target=start, size=y.shape, add=True)

    def dense(self, lattices: list[Lattice | None]) -> tuple[Layer, Lattice]:
        at = placed(lattices)
        size = tuple(n - a - b for n, a, b in zip(at.patch, self.before, self.after, strict=True))
        before, after = (
            tuple(n * e for n, e in zip(side, at.spacing, strict=True)) for side in (self.before, self.after)
        )
        return self.copy(before=before, after=after), at.strided(size, (1,) * len(size))
