"""Convolution, and its adjoint, deconvolution."""

from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar

from ..constraints import Constraint, NoCons
from ..initializers import ConstantInitializer, Initializer, XavierInitializer
from ..lattice import Lattice
from ..neurons import Neuron, Neurons
from ..regularizers import L2Regu, NoRegu, Regularizer
from .base import Layer, Node, ParameterLayer, ParameterSpec, Shape
from .checks import count_of, instance_of, integer_of, need, placed, rank_of
from .inner_product import InnerProductLayer
from .windowed import WindowedLayer, by


@dataclass(frozen=True, kw_only=True)
class _FilterLayer(WindowedLayer, ParameterLayer):
    """What convolution and deconvolution share: the fields, Mocha's defaults, and where the channels are."""

    n_filter: int = 1
    n_group: int = 1
    axis: int = 1
    bias: bool = True
    neuron: Neuron = Neurons.Identity()
    filter_init: Initializer = XavierInitializer()
    bias_init: Initializer = ConstantInitializer(0.0)
    filter_regu: Regularizer = L2Regu(1.0)
    bias_regu: Regularizer = NoRegu()
    filter_cons: Constraint = NoCons()
    bias_cons: Constraint = NoCons()
    filter_lr: float = 1.0
    bias_lr: float = 2.0

    per_bottom: ClassVar[bool] = True

    def check(self) -> None:
        super().check()
        integer_of(self, "axis")
        instance_of(self, Neuron, "neuron")
        self.check_roles("filter", "bias")
        count_of(self, "n_filter", "n_group")
        if self.n_filter % self.n_group:
            raise self.refuse(f"n_group must divide n_filter; got n_group={self.n_group}, n_filter={self.n_filter}")

    def cut(self, shape: Shape) -> int:
        """Which axis holds the channels; those before it are batch, those behind it spatial."""
        at = self.axis + len(shape) if self.axis < 0 else self.axis
        if not 0 < at < len(shape):
            raise self.refuse(f"axis {self.axis}, the channels, is outside 1 .. {len(shape) - 1} of the bottom {shape}")
        return at

    def channels(self, shape: Shape) -> int:
        """The bottom's channels, if the groups divide them."""
        c = shape[self.cut(shape)]
        if c % self.n_group:
            raise self.refuse(f"n_group must divide the bottom's channels; got n_group={self.n_group} and {c} channels")
        return c

    def size(self, shape: Shape) -> Shape:
        """The bottom's spatial axes; none is a bottom of single elements, over which only a kernel of one slides."""
        size = shape[self.cut(shape) + 1 :]
        if not size and (self.window.extent, self.window.pad) != ((1, 1), (0, 0)):
            raise self.refuse(
                f"the bottom {shape} has no axes behind its channels, axis {self.axis}, over which {by(self.window.kernel)} could "
                "slide; use kernel=1, pad=0, or an InnerProductLayer"
            )
        return size

    def filters(self, bottom: Shape) -> Shape:
        """The shape of the filters for a bottom of this shape."""
        raise NotImplementedError

    def parameters(self, bottoms: list[Shape]) -> list[ParameterSpec]:
        return [self.spec("filter", self.filters(bottoms[0])), *[self.spec("bias", (self.n_filter,))] * self.bias]

    def operation(self, x: Shape, y: Shape) -> tuple[Shape, Shape, Shape, dict[str, Any]]:
        """Shapes of bottom, filters and top as the ops want them, with one batch axis and spatial ones, and their options."""
        at = self.cut(x)
        window = self.over(x[at + 1 :] or (1, 1))
        return _maps(x, at), _maps(self.filters(x), 1), _maps(y, at), {"window": window, "group": self.n_group}

    def describe(self) -> str:
        text = f"{self.n_filter} maps, {by(self.window.kernel)}"
        for name, plain in (("stride", 1), ("pad", 0), ("dilation", 1)):
            if any(v != plain for v in getattr(self.window, name)):
                text += f", {name} {by(getattr(self.window, name))}"
        return text + (f", {self.n_group} groups" if self.n_group > 1 else "")


@dataclass(frozen=True, kw_only=True)
class ConvolutionLayer(_FilterLayer):
    r"""Correlates its bottom with a bank of filters.

    .. math:: y_{n,o,h,w} = b_o + \sum_{c,i,j} f_{o,c,i,j} \, x_{n,\,c,\,h s - p + i d,\, w s - p + j d}

    with stride s, zero padding p and dilation d; channel c runs over the group of filter o.

    Parameters
    ----------
    kernel, stride, pad, dilation : int or tuple of int
        One per spatial axis in Mocha's order, (width, height) or (width, height, depth); one integer for all.
    n_filter, n_group : int
        Filters, and the number of groups into which channels and filters are divided.
    axis : int
        Where the channels are (Caffe); all axes before it are batch, all behind it spatial, however many.
    bias : bool
        Whether b is there.

    Notes
    -----
    Bottom (N, C, H, W), top (N, n_filter, H', W') with H' = floor((H + 2 p - ((k - 1) d + 1)) / s) + 1. Parameters:
    filter (n_filter, C / n_group, kh, kw) and bias (n_filter,), Caffe's order. The same for (N, C, W), (N, C, D, H, W) and
    (N, C). Mocha knows no dilation, only images, and always has a bias.

    Raises
    ------
    ShapeError
        If the kernel does not fit the padded bottom, or groups do not divide the channels.

    Examples
    --------
    >>> ConvolutionLayer(name="conv1", bottoms=["data"], tops=["conv1"], kernel=5, n_filter=20).shape([(64, 1, 28, 28)])
    [(64, 20, 24, 24)]
    """

    def shape(self, bottoms: list[Shape]) -> list[Shape]:
        (x,) = need(self, bottoms, 1)
        self.channels(x)
        size = self.size(x)
        window = self.over(size)
        out = window.slides(size)
        if min(out, default=1) < 1:
            raise self.refuse(
                f"the dilated kernel spans {by(window.extent)}, the padded bottom has only "
                f"{by(_padded(size, window.pad))}; use a larger input or a smaller kernel"
            )
        return [(*x[: self.cut(x)], self.n_filter, *out)]

    def filters(self, bottom: Shape) -> Shape:
        return (self.n_filter, self.channels(bottom) // self.n_group, *self.over(self.size(bottom)).kernel)

    def forward(self, ops: Any, at: Node) -> None:
        (x,), (y,), (w, b) = at.bottoms, at.tops, at.operands(2)
        xs, ws, ys, options = self.operation(x.shape, y.shape)
        ops.conv(ops.reshape(x.array, xs), ops.reshape(w, ws), b, ops.reshape(y.array, ys), **options)

    def backward(self, ops: Any, at: Node) -> None:
        (x,), (y,), (w, _), (dw, db) = at.bottoms, at.tops, at.operands(2), at.gradients(2)
        xs, ws, ys, options = self.operation(x.shape, y.shape)
        dx, dw = (None if g is None else ops.reshape(g, s) for g, s in ((x.grad, xs), (dw, ws)))
        dy, x, w = ops.reshape(y.grad, ys), ops.reshape(x.array, xs), ops.reshape(w, ws)
        ops.conv_backward(dy, x, w, dx, dw, db, **options)

    def dense(self, lattices: list[Lattice | None]) -> tuple[Layer, Lattice]:
        at = placed(lattices)
        if at.flat:
            return self.as_inner_product().dense(lattices)
        if self.cut((1,) * rank_of(at)) != 1:
            raise self.not_dense(f'axis={self.axis} keeps pixels as batch; use axis=1, or engine="sliding"')
        window = self.over(at.patch)
        if any(window.pad):
            raise self.not_dense(
                f"pad {by(window.pad)} puts zeros inside every patch, where a dense pass sees image; "
                'use pad=0, or engine="sliding"'
            )
        dilation = tuple(d * e for d, e in zip(window.dilation, at.spacing, strict=True))
        layer = self.copy(kernel=window.kernel[::-1], stride=1, pad=0, dilation=dilation[::-1], axis=1)
        return layer, at.strided(window.slides(at.patch), window.stride)

    def as_inner_product(self) -> InnerProductLayer:
        """The same on samples without spatial axes."""
        if self.n_group > 1:
            raise self.not_dense(f'{self.n_group} groups of single elements; use n_group=1, or engine="sliding"')
        return InnerProductLayer(
            name=self.name, bottoms=self.bottoms, tops=self.tops, output_dim=self.n_filter, bias=self.bias
        )


@dataclass(frozen=True, kw_only=True)
class DeconvolutionLayer(_FilterLayer):
    r"""Spreads its bottom through a bank of filters: the adjoint of convolution, used for upsampling.

    .. math:: y_{n,o,\,h s - p + i d,\, w s - p + j d} \mathrel{+}= f_{c,o,i,j} \, x_{n,c,h,w}, \qquad y_{n,o} \mathrel{+}= b_o

    Parameters
    ----------
    kernel, stride, pad, dilation : int or tuple of int
        As in `ConvolutionLayer`; the kernel moves over the top.
    n_filter, n_group : int
        Maps of the top, and groups. n_group = C with a constant filter of ones is nearest-neighbour upsampling
        (Greentea's U nets).
    axis : int
        Where the channels are, as in `ConvolutionLayer`.

    Notes
    -----
    Bottom (N, C, H, W), top (N, n_filter, H', W') with H' = s (H - 1) + (k - 1) d + 1 - 2 p. Parameters: filter
    (C, n_filter / n_group, kh, kw), bias (n_filter,). Source: Caffe's Deconvolution.

    Examples
    --------
    >>> DeconvolutionLayer(name="up", bottoms=["a"], tops=["b"], kernel=2, stride=2, n_filter=8).shape([(1, 8, 9, 7)])
    [(1, 8, 18, 14)]
    """

    def shape(self, bottoms: list[Shape]) -> list[Shape]:
        (x,) = need(self, bottoms, 1)
        self.channels(x)
        size = self.size(x)
        window = self.over(size)
        out = window.spread(size)
        if min(out, default=1) < 1:
            raise self.refuse(f"pad {by(window.pad)} leaves nothing of the {by(size)} bottom's spread; use less")
        return [(*x[: self.cut(x)], self.n_filter, *out)]

    def filters(self, bottom: Shape) -> Shape:
        return (self.channels(bottom), self.n_filter // self.n_group, *self.over(self.size(bottom)).kernel)

    def forward(self, ops: Any, at: Node) -> None:
        (x,), (y,), (w, b) = at.bottoms, at.tops, at.operands(2)
        xs, ws, ys, options = self.operation(x.shape, y.shape)
        ops.deconv(ops.reshape(x.array, xs), ops.reshape(w, ws), b, ops.reshape(y.array, ys), **options)

    def backward(self, ops: Any, at: Node) -> None:
        (x,), (y,), (w, _), (dw, db) = at.bottoms, at.tops, at.operands(2), at.gradients(2)
        xs, ws, ys, options = self.operation(x.shape, y.shape)
        dx, dw = (None if g is None else ops.reshape(g, s) for g, s in ((x.grad, xs), (dw, ws)))
        dy, x, w = ops.reshape(y.grad, ys), ops.reshape(x.array, xs), ops.reshape(w, ws)
        ops.deconv_backward(dy, x, w, dx, dw, db, **options)

    def dense(self, lattices: list[Lattice | None]) -> tuple[Layer, Lattice]:
        raise self.not_dense(
            "upsampling inside a patch lands between the pixels at which windows start; "
            'make the net dense itself (output stride 1, as a U net), or use engine="sliding"'
        )


def _maps(shape: Shape, channels: int) -> Shape:
    """A shape with one axis before its channels, and some behind them."""
    return (prod(shape[:channels]), shape[channels], *(shape[channels + 1 :] or (1, 1)))


def _padded(size: Shape, pad: Shape) -> Shape:
    return tuple(n + 2 * p for n, p in zip(size, pad, strict=True))
