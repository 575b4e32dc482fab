"""Convolution, and its adjoint, deconvolution."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

from fullmocha.backends.shapes import Window

from ..constraints import Constraint, NoCons
from ..initializers import ConstantInitializer, Initializer, XavierInitializer
from ..lattice import Lattice
from ..neurons import Neuron, Neurons
from ..regularizers import L2Regu, NoRegu, Regularizer
from .base import Layer, Node, Pair, ParameterLayer, ParameterSpec, Shape, count_of, instance_of, need, pair, spatial


@dataclass(frozen=True, kw_only=True)
class _WindowedLayer(ParameterLayer):
    """What convolution and deconvolution share: the fields, Mocha's defaults, and the window in rows-first order."""

    kernel: Pair = (1, 1)
    stride: Pair = (1, 1)
    pad: Pair = (0, 0)
    dilation: Pair = (1, 1)
    n_filter: int = 1
    n_group: int = 1
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
    window: Window = field(init=False, repr=False)

    per_bottom: ClassVar[bool] = True

    def check(self) -> None:
        fields = {"kernel": 1, "stride": 1, "pad": 0, "dilation": 1}
        pairs = {name: pair(self.label, name, getattr(self, name), least) for name, least in fields.items()}
        object.__setattr__(self, "window", Window(**{name: (h, w) for name, (w, h) in pairs.items()}))
        instance_of(self, Neuron, "neuron")
        instance_of(self, Initializer, "filter_init", "bias_init")
        instance_of(self, Regularizer, "filter_regu", "bias_regu")
        instance_of(self, Constraint, "filter_cons", "bias_cons")
        count_of(self, "n_filter", "n_group")
        if self.n_filter % self.n_group:
            raise self.refuse(f"n_group must divide n_filter; got n_group={self.n_group}, n_filter={self.n_filter}")

    def channels(self, shape: Shape) -> int:
        """The bottom's channels, if the groups divide them."""
        _, c, _, _ = spatial(self, shape)
        if c % self.n_group:
            raise self.refuse(f"n_group must divide the bottom's channels; got n_group={self.n_group} and {c} channels")
        return c

    def specs(self, filter_shape: Shape) -> list[ParameterSpec]:
        specs = [
            ParameterSpec("filter", filter_shape, self.filter_init, self.filter_regu, self.filter_cons, self.filter_lr)
        ]
        if self.bias:
            shape = (self.n_filter,)
            specs.append(ParameterSpec("bias", shape, self.bias_init, self.bias_regu, self.bias_cons, self.bias_lr))
        return specs

    def describe(self) -> str:
        text = f"{self.n_filter} maps, {_by(self.window.kernel)}"
        for name, plain in (("stride", 1), ("pad", 0), ("dilation", 1)):
            if any(v != plain for v in getattr(self.window, name)):
                text += f", {name} {_by(getattr(self.window, name))}"
        return text + (f", {self.n_group} groups" if self.n_group > 1 else "")


@dataclass(frozen=True, kw_only=True)
class ConvolutionLayer(_WindowedLayer):
    r"""Correlates its bottom with a bank of filters.

    .. math:: y_{n,o,h,w} = b_o + \sum_{c,i,j} f_{o,c,i,j} \, x_{n,\,c,\,h s - p + i d,\, w s - p + j d}

    with stride s, zero padding p and dilation d; channel c runs over the group of filter o.

    Parameters
    ----------
    kernel, stride, pad, dilation : int or (width, height)
        In Mocha's order; one integer means square.
    n_filter, n_group : int
        Filters, and the number of groups into which channels and filters are divided.
    bias : bool
        Whether b is there.

    Notes
    -----
    Bottom (N, C, H, W), top (N, n_filter, H', W') with H' = floor((H + 2 p - ((k - 1) d + 1)) / s) + 1. Parameters:
    filter (n_filter, C / n_group, kh, kw) and bias (n_filter,), Caffe's order. Mocha knows no dilation and always has
    a bias.

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
        out = self.window.slides(x[2:])
        if min(out) < 1:
            raise self.refuse(
                f"the dilated kernel spans {_by(self.window.extent)}, the padded bottom has only "
                f"{_by(_padded(x[2:], self.window.pad))}; use a larger input or a smaller kernel"
            )
        return [(x[0], self.n_filter, *out)]

    def parameters(self, bottoms: list[Shape]) -> list[ParameterSpec]:
        return self.specs((self.n_filter, self.channels(bottoms[0]) // self.n_group, *self.window.kernel))

    def forward(self, ops: Any, at: Node) -> None:
        (x,), (y,), (w, b) = at.bottoms, at.tops, at.operands(2)
        ops.conv(x.array, w, b, y.array, window=self.window, group=self.n_group)

    def backward(self, ops: Any, at: Node) -> None:
        (x,), (y,), (w, _), (dw, db) = at.bottoms, at.tops, at.operands(2), at.gradients(2)
        ops.conv_backward(y.grad, x.array, w, x.grad, dw, db, window=self.window, group=self.n_group)

    def dense(self, lattices: list[Lattice | None]) -> tuple[Layer, Lattice]:
        (at,) = lattices
        assert at is not None
        if any(self.window.pad):
            raise self.not_dense(
                f"pad {_by(self.window.pad)} puts zeros inside every patch, where a dense pass sees image; "
                'use pad=0, or engine="sliding"'
            )
        dilation = tuple(d * e for d, e in zip(self.window.dilation, at.spacing, strict=True))
        layer = self.copy(stride=1, dilation=dilation[::-1])
        return layer, at.strided(self.window.slides(at.patch), self.window.stride)


@dataclass(frozen=True, kw_only=True)
class DeconvolutionLayer(_WindowedLayer):
    r"""Spreads its bottom through a bank of filters: the adjoint of convolution, used for upsampling.

    .. math:: y_{n,o,\,h s - p + i d,\, w s - p + j d} \mathrel{+}= f_{c,o,i,j} \, x_{n,c,h,w}, \qquad y_{n,o} \mathrel{+}= b_o

    Parameters
    ----------
    kernel, stride, pad, dilation : int or (width, height)
        As in `ConvolutionLayer`; the kernel moves over the top.
    n_filter, n_group : int
        Maps of the top, and groups. n_group = C with a constant filter of ones is nearest-neighbour upsampling
        (Greentea's U nets).

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
        out = self.window.spread(x[2:])
        if min(out) < 1:
            raise self.refuse(
                f"pad {_by(self.window.pad)} leaves nothing of the {_by(x[2:])} bottom's spread; use less"
            )
        return [(x[0], self.n_filter, *out)]

    def parameters(self, bottoms: list[Shape]) -> list[ParameterSpec]:
        return self.specs((self.channels(bottoms[0]), self.n_filter // self.n_group, *self.window.kernel))

    def forward(self, ops: Any, at: Node) -> None:
        (x,), (y,), (w, b) = at.bottoms, at.tops, at.operands(2)
        ops.deconv(x.array, w, b, y.array, window=self.window, group=self.n_group)

    def backward(self, ops: Any, at: Node) -> None:
        (x,), (y,), (w, _), (dw, db) = at.bottoms, at.tops, at.operands(2), at.gradients(2)
        ops.deconv_backward(y.grad, x.array, w, x.grad, dw, db, window=self.window, group=self.n_group)

    def dense(self, lattices: list[Lattice | None]) -> tuple[Layer, Lattice]:
        raise self.not_dense(
            "upsampling inside a patch lands between the pixels at which windows start; "
            'make the net dense itself (output stride 1, as a U net), or use engine="sliding"'
        )


def _by(sizes: Shape) -> str:
    return "x".join(map(str, sizes))


def _padded(size: Shape, pad: Shape) -> Shape:
    return tuple(n + 2 * p for n, p in zip(size, pad, strict=True))
