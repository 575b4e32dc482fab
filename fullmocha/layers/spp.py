"""Spatial pyramid pooling: maps of any size as so many numbers."""

from dataclasses import dataclass
from math import prod
from typing import Any

from fullmocha.backends.shapes import Window

from ..lattice import Lattice
from .base import Layer, Node, Shape
from .checks import count_of, instance_of, need, spatial
from .pooling import Pooling, PoolingFunction


@dataclass(frozen=True, kw_only=True)
class SPPLayer(Layer):
    r"""Pools every map over ever finer grids, 1 x 1, 2 x 2, 4 x 4 and so on, and strings the results together.

    .. math:: k = \lceil H / 2^l \rceil, \quad p = \lceil (2^l k - H) / 2 \rceil, \quad s = k

    are the kernel, the padding and the stride on level l, so that each level has 2^l windows a side.

    Parameters
    ----------
    pyramid_height : int
        Levels.
    pooling : PoolingFunction
        ``Pooling.Max()``, or ``Pooling.Mean()`` with Caffe's divisor, for which padding counts.

    Notes
    -----
    Bottom (N, C, H, W); top (N, C (1 + 4 + 16 + ...)), level by level, each of them channel by channel. A pyramid of one level
    gives (N, C, 1, 1), as Caffe's does. Source: Caffe's SPP, after He et al. 2014.

    Raises
    ------
    ShapeError
        If the bottom is too small for the finest level.
    NotDenseError
        In a dense net: the grids are those of one patch.

    Examples
    --------
    >>> SPPLayer(name="spp", bottoms=["conv5"], tops=["spp"], pyramid_height=3).shape([(2, 256, 13, 9)])
    [(2, 5376)]
    """

    pyramid_height: int
    pooling: PoolingFunction = Pooling.Max()

    def check(self) -> None:
        count_of(self, "pyramid_height")
        instance_of(self, PoolingFunction, "pooling")
        if self.pyramid_height > 12:
            raise self.refuse(
                f"pyramid_height {self.pyramid_height} asks for grids of 2^{self.pyramid_height - 1} a side"
            )

    def levels(self, size: Shape) -> list[Window]:
        """The window of each level, for a bottom of this size."""
        windows = []
        for bins in (2**level for level in range(self.pyramid_height)):
            kernel = tuple(-(-n // bins) for n in size)
            pad = tuple((k * bins - n + 1) // 2 for k, n in zip(kernel, size, strict=True))
            if any(p >= k for p, k in zip(pad, kernel, strict=True)):
                raise self.refuse(
                    f"the bottom of {size} has too few pixels for {bins} windows a side, which would lie in the padding alone; "
                    "use a smaller pyramid_height"
                )
            windows.append(Window(kernel, kernel, pad, (1,) * len(size)))
        return windows

    def shape(self, bottoms: list[Shape]) -> list[Shape]:
        (x,) = need(self, bottoms, 1)
        n, c, size = spatial(self, x)
        bins = sum(prod(window.slides(size, "ceil")) for window in self.levels(size))
        return [(n, c * bins) if self.pyramid_height > 1 else (n, c, *(1,) * len(size))]

    def forward(self, ops: Any, at: Node) -> None:
        (x,), (y,) = at.bottoms, at.tops
        top, start = ops.reshape(y.array, (x.shape[0], prod(y.shape[1:]))), 0
        for window in self.levels(x.shape[2:]):
            pooled = ops.empty((*x.shape[:2], *window.slides(x.shape[2:], "ceil")), x.dtype)
            if self.pooling.kind == "max":
                ops.max_pool(x.array, pooled, window=window)
            else:
                ops.mean_pool(x.array, pooled, window=window, clip_divisor=True)
            flat = (x.shape[0], prod(pooled.shape[1:]))
            ops.move(ops.reshape(pooled, flat), top, source=(0, 0), target=(0, start), size=flat)
            start += flat[1]

    def backward(self, ops: Any, at: Node) -> None:
        (x,), (y,) = at.bottoms, at.tops
        if x.grad is None:
            return
        top, start = ops.reshape(y.grad, (x.shape[0], prod(y.shape[1:]))), 0
        for window in self.levels(x.shape[2:]):
            slope = ops.empty((*x.shape[:2], *window.slides(x.shape[2:], "ceil")), x.dtype)
            flat = (x.shape[0], prod(slope.shape[1:]))
            ops.move(top, ops.reshape(slope, flat), source=(0, start), target=(0, 0), size=flat)
            if self.pooling.kind == "max":
                ops.max_pool_backward(slope, x.array, x.grad, window=window)
            else:
                ops.mean_pool_backward(slope, x.grad, window=window, clip_divisor=True)
            start += flat[1]

    def dense(self, lattices: list[Lattice | None]) -> tuple[Layer, Lattice]:
        raise self.not_dense('its grids divide one patch; use PoolingLayers that fit it, or engine="sliding"')

    def describe(self) -> str:
        return f"{self.pooling.kind}, {self.pyramid_height} level{'s' * (self.pyramid_height > 1)}"
