"""Max and mean pooling."""

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from fullmocha.backends.shapes import Round, Window

from ..lattice import Lattice
from ..neurons import Neuron, Neurons
from .base import Layer, Node, Pair, Shape, instance_of, need, one_of, pair, spatial


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
class PoolingLayer(Layer):
    r"""Takes the maximum or the mean over a sliding window, channel by channel.

    .. math:: y_{n,c,h,w} = \max_{i,j} x_{n,\,c,\,h s - p + i d,\, w s - p + j d}
        \quad\text{or}\quad \frac{1}{D} \sum_{i,j} x_{\dots}

    over the part of the window inside the image.

    Parameters
    ----------
    kernel, stride, pad, dilation : int or (width, height)
        In Mocha's order. Dilation is not Mocha's; it is what strided kernels (Li 2014, Tschopp 2015) need.
    pooling : PoolingFunction
        ``Pooling.Max()`` or ``Pooling.Mean()``.
    round : {"ceil", "floor"}
        Whether a last window that hangs over the edge counts; Mocha and Caffe use ceil.
    divisor : {"mocha", "caffe"}
        D of the mean: the whole window, or its part inside the padded image.
    whole : bool
        One window over the whole map, whatever its size (Caffe's global_pooling).

    Notes
    -----
    Bottom (N, C, H, W), top (N, C, H', W'), H' = round((H + 2 p - ((k - 1) d + 1)) / s) + 1, less one where ceil and
    padding would start a window in the trailing padding. Ties go to the first element in row-major order.

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

    kernel: Pair = (1, 1)
    stride: Pair = (1, 1)
    pad: Pair = (0, 0)
    dilation: Pair = (1, 1)
    pooling: PoolingFunction = Pooling.Max()
    round: Round = "ceil"
    divisor: Literal["mocha", "caffe"] = "mocha"
    whole: bool = False
    neuron: Neuron = Neurons.Identity()
    window: Window = field(init=False, repr=False)

    per_bottom: ClassVar[bool] = True

    def check(self) -> None:
        instance_of(self, PoolingFunction, "pooling")
        instance_of(self, Neuron, "neuron")
        one_of(self, "round", ("ceil", "floor"))
        one_of(self, "divisor", ("mocha", "caffe"))
        fields = {"kernel": 1, "stride": 1, "pad": 0, "dilation": 1}
        pairs = {name: pair(self.label, name, getattr(self, name), least) for name, least in fields.items()}
        object.__setattr__(self, "window", Window(**{name: (h, w) for name, (w, h) in pairs.items()}))
        if any(p >= e for p, e in zip(self.window.pad, self.window.extent, strict=True)):
            raise self.refuse(f"pad (h, w) {self.window.pad} must be smaller than the window {self.window.extent}")
        if self.whole and (any(self.window.pad) or self.window.stride != (1, 1)):
            raise self.refuse("whole=True pools the whole map at once and takes neither pad nor stride")

    def over(self, size: Shape) -> Window:
        """The window for a bottom of this size."""
        return Window.of(tuple(size)) if self.whole else self.window

    def shape(self, bottoms: list[Shape]) -> list[Shape]:
        (x,) = need(self, bottoms, 1)
        n, c, *size = spatial(self, x)
        window = self.over(tuple(size))
        out = window.slides(tuple(size), self.round)
        if min(out) < 1:
            raise self.refuse(
                f"the window spans {window.extent} (h, w), the bottom has only {tuple(size)}; use a larger input"
            )
        for axis, (o, s, p) in enumerate(zip(out, window.stride, window.pad, strict=True)):
            if (o - 1) * s - p >= size[axis]:
                raise self.refuse(
                    f"the last of {o} windows along axis {axis + 2} starts at {(o - 1) * s - p}, outside the bottom's "
                    f'{size[axis]}: stride {s} exceeds the window; use round="floor" or a smaller stride'
                )
        return [(n, c, *out)]

    def forward(self, ops: Any, at: Node) -> None:
        (x,), (y,) = at.bottoms, at.tops
        window = self.over(x.shape[2:])
        if self.pooling.kind == "max":
            ops.max_pool(x.array, y.array, window=window)
        else:
            ops.mean_pool(x.array, y.array, window=window, clip_divisor=self.divisor == "caffe")

    def backward(self, ops: Any, at: Node) -> None:
        (x,), (y,) = at.bottoms, at.tops
        if x.grad is None:
            return
        window = self.over(x.shape[2:])
        if self.pooling.kind == "max":
            ops.max_pool_backward(y.grad, x.array, x.grad, window=window)
        else:
            ops.mean_pool_backward(y.grad, x.grad, window=window, clip_divisor=self.divisor == "caffe")

    def dense(self, lattices: list[Lattice | None]) -> tuple[Layer, Lattice]:
        (at,) = lattices
        assert at is not None
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
                f"{at.patch[0]}x{at.patch[1]} patch, where a dense pass sees image"
            )
        dilation = tuple(d * e for d, e in zip(window.dilation, at.spacing, strict=True))
        layer = self.copy(kernel=window.kernel[::-1], stride=1, dilation=dilation[::-1], round="floor", whole=False)
        return layer, at.strided(out, window.stride)

    def describe(self) -> str:
        (kh, kw), (sh, sw), (dh, dw) = self.window.kernel, self.window.stride, self.window.dilation
        size = "whole map" if self.whole else f"{kh}x{kw}, stride {sh}x{sw}"
        return f"{self.pooling.kind} {size}" + (f", dilation {dh}x{dw}" if (dh, dw) != (1, 1) else "")
