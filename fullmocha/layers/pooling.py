"""Max and mean pooling."""

from dataclasses import dataclass
from typing import Any, Literal

from fullmocha.backends.shapes import Round, Window

from ..lattice import Lattice
from ..neurons import Neuron, Neurons
from .base import Layer, Node, Shape
from .checks import instance_of, need, one_of, placed, spatial
from .windowed import WindowedLayer, by


@dataclass(frozen=True)
class PoolingFunction:
    """Which pooling: "max" or "mean"."""

    kind: Literal["max", "mean"]


class Pooling:
    """The pooling functions under Mocha's names."""

    @staticmethod
    def Max() -> PoolingFunction:
        """The largest element of the window."""
        return PoolingFunction("max")

    @staticmethod
    def Mean() -> PoolingFunction:
        """The mean of the window."""
        return PoolingFunction("mean")


@dataclass(frozen=True, kw_only=True)
class PoolingLayer(WindowedLayer):
    r"""Takes the maximum or the mean over a sliding window, channel by channel.

    .. math:: y_{n,c,h,w} = \max_{i,j} x_{n,\,c,\,h s - p + i d,\, w s - p + j d}
        \quad\text{or}\quad \frac{1}{D} \sum_{i,j} x_{\dots}

    over the part of the window inside the image.

    Parameters
    ----------
    kernel, stride, pad, dilation : int or tuple of int
        One per spatial axis in Mocha's order, (width, height) or (width, height, depth); one integer for all. Dilation is not
        Mocha's; it is what strided kernels (Li 2014, Tschopp 2015) need.
    pooling : PoolingFunction
        ``Pooling.Max()`` or ``Pooling.Mean()``.
    round : {"ceil", "floor"}
        Whether a last window that hangs over the edge counts; Mocha and Caffe use ceil.
    divisor : {"mocha", "caffe"}
        D of the mean: the whole window, or its part inside the padded image.
    whole : bool
        One window over the whole map, whatever its size (Caffe's global_pooling).
    places : bool
        Also give, as a second top, where each maximum was: its flat index h W + w in the map, -1 where none was found among
        NaNs. No gradient passes through it. Caffe has this, Mocha not.

    Notes
    -----
    Bottom (N, C, H, W), top (N, C, H', W'), H' = round((H + 2 p - ((k - 1) d + 1)) / s) + 1, less one where ceil and
    padding would start a window in the trailing padding. The same over one spatial axis, three or more. Ties go to the first
    element in row-major order.

    Raises
    ------
    ShapeError
        If the window does not fit, or some window would be empty.
    NotDenseError
        In a dense net: if pad > 0, or a window hangs over the patch's edge.

    Examples
    --------
    >>> PoolingLayer(name="pool1", bottoms=["conv1"], tops=["pool1"], kernel=2, stride=2).shape([(1, 48, 45, 92)])
    [(1, 48, 23, 46)]
    """

    pooling: PoolingFunction = Pooling.Max()
    round: Round = "ceil"
    divisor: Literal["mocha", "caffe"] = "mocha"
    whole: bool = False
    places: bool = False
    neuron: Neuron = Neurons.Identity()

    @property
    def per_bottom(self) -> bool:  # type: ignore[override]
        return not self.places

    def check(self) -> None:
        super().check()
        instance_of(self, PoolingFunction, "pooling")
        instance_of(self, Neuron, "neuron")
        one_of(self, "round", ("ceil", "floor"))
        one_of(self, "divisor", ("mocha", "caffe"))
        window = self.window
        if any(p >= e for p, e in zip(window.pad, window.extent, strict=True)):
            raise self.refuse(f"pad (h, w) {window.pad} must be smaller than the window {window.extent}")
        if self.whole and (any(window.pad) or max(window.stride) > 1):
            raise self.refuse("whole=True pools the whole map at once and takes neither pad nor stride")
        if self.places and (self.pooling.kind != "max" or self.neuron != Neurons.Identity()):
            raise self.refuse("only maxima have places; use pooling=Pooling.Max(), and a neuron in a layer of its own")

    def over(self, size: Shape) -> Window:
        """The window for a bottom of this size."""
        return Window.of(tuple(size)) if self.whole else super().over(size)

    def shape(self, bottoms: list[Shape]) -> list[Shape]:
        (x,) = need(self, bottoms, 1)
        n, c, size = spatial(self, x)
        window = self.over(size)
        out = window.slides(size, self.round)
        if min(out) < 1:
            raise self.refuse(
                f"the window spans {window.extent} (h, w), the bottom has only {size}; use a larger input"
            )
        for axis, (o, s, p) in enumerate(zip(out, window.stride, window.pad, strict=True)):
            if (o - 1) * s - p >= size[axis]:
                raise self.refuse(
                    f"the last of {o} windows along axis {axis + 2} starts at {(o - 1) * s - p}, outside the bottom's "
                    f'{size[axis]}: stride {s} exceeds the window; use round="floor" or a smaller stride'
                )
        return [(n, c, *out)] * (2 if self.places else 1)

    def forward(self, ops: Any, at: Node) -> None:
        (x,), (y, *places) = at.bottoms, at.tops
        window = self.over(x.shape[2:])
        for top in places:
            ops.max_pool_places(x.array, top.array, window=window)
        if self.pooling.kind == "max":
            ops.max_pool(x.array, y.array, window=window)
        else:
            ops.mean_pool(x.array, y.array, window=window, clip_divisor=self.divisor == "caffe")

    def backward(self, ops: Any, at: Node) -> None:
        (x,), (y, *_) = at.bottoms, at.tops
        if x.grad is None:
            return
        window = self.over(x.shape[2:])
        if self.pooling.kind == "max":
            ops.max_pool_backward(y.grad, x.array, x.grad, window=window)
        else:
            ops.mean_pool_backward(y.grad, x.grad, window=window, clip_divisor=self.divisor == "caffe")

    def dense(self, lattices: list[Lattice | None]) -> tuple[Layer, Lattice]:
        at = placed(lattices)
        if self.places:
            raise self.not_dense(
                'the places of maxima are counted in one patch; leave them out, or use engine="sliding"'
            )
        window = self.over(at.patch)
        if any(window.pad):
            raise self.not_dense(f'pad {window.pad} reaches outside the patch; use pad=0, or engine="sliding"')
        out = window.slides(at.patch, self.round)
        if out != window.slides(at.patch, "floor"):
            hang = tuple(
                (o - 1) * s + e - n for o, s, e, n in zip(out, window.stride, window.extent, at.patch, strict=True)
            )
            raise self.not_dense(
                f"window {window.kernel} with stride {window.stride} hangs {hang} pixels (h, w) over the edge of the "
                f"{by(at.patch)} patch, where a dense pass sees image"
            )
        dilation = tuple(d * e for d, e in zip(window.dilation, at.spacing, strict=True))
        layer = self.copy(
            kernel=window.kernel[::-1], stride=1, pad=0, dilation=dilation[::-1], round="floor", whole=False
        )
        return layer, at.strided(out, window.stride)

    def describe(self) -> str:
        kernel, stride, dilation = map(by, (self.window.kernel, self.window.stride, self.window.dilation))
        size = "whole map" if self.whole else f"{kernel}, stride {stride}"
        return f"{self.pooling.kind} {size}" + (f", dilation {dilation}" if max(self.window.dilation) > 1 else "")
