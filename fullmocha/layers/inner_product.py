"""Inner product: every output sees every input of the sample."""

from dataclasses import dataclass, replace
from math import prod
from typing import Any, ClassVar

from fullmocha.backends.shapes import Window

from ..constraints import Constraint, NoCons
from ..initializers import ConstantInitializer, Initializer, XavierInitializer
from ..lattice import Lattice
from ..neurons import Neuron, Neurons
from ..regularizers import L2Regu, NoRegu, Regularizer
from .base import Layer, Node, ParameterLayer, ParameterSpec, Shape
from .checks import count_of, instance_of, need, placed, rank_of
from .windowed import by


@dataclass(frozen=True, kw_only=True)
class InnerProductLayer(ParameterLayer):
    r"""y = W x + b for every sample, with the sample's axes flattened in C order.

    .. math:: y_{n,o} = b_o + \sum_f W_{o,f} \, x_{n,f}

    Parameters
    ----------
    output_dim : int
        Outputs per sample.
    axis : int
        The first flattened axis (Caffe); all axes before it are batch.
    bias : bool
        Whether b is there.

    Notes
    -----
    Bottom (N, ...), top (N, output_dim). Parameters: weight (output_dim, F), bias (output_dim,): Caffe's order, and
    the bytes of Mocha's (F, output_dim). Densely it is a convolution whose kernel is the bottom's patch: the same
    weights, reshaped.

    Examples
    --------
    >>> InnerProductLayer(name="ip1", bottoms=["pool2"], tops=["ip1"], output_dim=500).shape([(64, 50, 4, 4)])
    [(64, 500)]
    """

    output_dim: int
    axis: int = 1
    bias: bool = True
    neuron: Neuron = Neurons.Identity()
    weight_init: Initializer = XavierInitializer()
    bias_init: Initializer = ConstantInitializer(0.0)
    weight_regu: Regularizer = L2Regu(1.0)
    bias_regu: Regularizer = NoRegu()
    weight_cons: Constraint = NoCons()
    bias_cons: Constraint = NoCons()
    weight_lr: float = 1.0
    bias_lr: float = 2.0

    per_bottom: ClassVar[bool] = True
    reads_flattened: ClassVar[bool] = True

    def check(self) -> None:
        count_of(self, "output_dim")
        instance_of(self, Neuron, "neuron")
        self.check_roles("weight", "bias")

    def cut(self, shape: Shape) -> int:
        """Where batch axes end."""
        at = self.axis + len(shape) if self.axis < 0 else self.axis
        if not 0 < at < len(shape):
            raise self.refuse(f"axis {self.axis} is outside 1 .. {len(shape) - 1} of the bottom {shape}")
        return at

    def shape(self, bottoms: list[Shape]) -> list[Shape]:
        (x,) = need(self, bottoms, 1)
        return [(*x[: self.cut(x)], self.output_dim)]

    def parameters(self, bottoms: list[Shape]) -> list[ParameterSpec]:
        (x,) = bottoms
        o, f = self.output_dim, prod(x[self.cut(x) :])
        return [self.spec("weight", (o, f)), *[self.spec("bias", (o,))] * self.bias]

    def as_conv(self, shape: Shape) -> tuple[Shape, Shape, Shape]:
        """Bottom, weight and top under shapes that make it a 1x1 convolution."""
        at = self.cut(shape)
        n, f, o = prod(shape[:at]), prod(shape[at:]), self.output_dim
        return (n, f, 1, 1), (o, f, 1, 1), (n, o, 1, 1)

    def forward(self, ops: Any, at: Node) -> None:
        (x,), (y,), (w, b) = at.bottoms, at.tops, at.operands(2)
        xs, ws, ys = self.as_conv(x.shape)
        ops.conv(ops.reshape(x.array, xs), ops.reshape(w, ws), b, ops.reshape(y.array, ys), window=_POINT, group=1)

    def backward(self, ops: Any, at: Node) -> None:
        (x,), (y,), (w, _), (dw, db) = at.bottoms, at.tops, at.operands(2), at.gradients(2)
        xs, ws, ys = self.as_conv(x.shape)
        dx, dw = (None if g is None else ops.reshape(g, s) for g, s in ((x.grad, xs), (dw, ws)))
        dy, x, w = ops.reshape(y.grad, ys), ops.reshape(x.array, xs), ops.reshape(w, ws)
        ops.conv_backward(dy, x, w, dx, dw, db, window=_POINT, group=1)

    def dense(self, lattices: list[Lattice | None]) -> tuple[Layer, Lattice]:
        at = placed(lattices)
        if self.cut((1,) * rank_of(at)) != 1:
            raise self.not_dense(f'axis={self.axis} keeps spatial axes as batch; use axis=1, or engine="sliding"')
        ones = (1,) * len(at.patch)
        window = Window(kernel=at.patch, stride=ones, pad=(0,) * len(ones), dilation=at.spacing)
        layer = DenseInnerProductLayer(
            name=self.name, bottoms=self.bottoms, tops=self.tops, patch_layer=self, window=window
        )
        return layer, replace(at.strided(ones, ones), flat=True)

    def describe(self) -> str:
        return f"{self.output_dim} outputs"


@dataclass(frozen=True, kw_only=True)
class DenseInnerProductLayer(Layer):
    """An inner product at every window: a convolution with the same parameters, seen as (output_dim, C, h, w)."""

    patch_layer: InnerProductLayer
    window: Window

    def shape(self, bottoms: list[Shape]) -> list[Shape]:
        (x,) = bottoms
        return [(x[0], self.patch_layer.output_dim, *self.window.slides(x[2:]))]

    def parameters(self, bottoms: list[Shape]) -> list[ParameterSpec]:
        taps = bottoms[0][1] * prod(self.window.kernel)
        return self.patch_layer.copy(axis=1).parameters([(1, taps)])  # its axis counts where the patch has axes

    def filters(self, x: Shape) -> Shape:
        return (self.patch_layer.output_dim, x[1], *self.window.kernel)

    def forward(self, ops: Any, at: Node) -> None:
        (x,), (y,), (w, b) = at.bottoms, at.tops, at.operands(2)
        ops.conv(x.array, ops.reshape(w, self.filters(x.shape)), b, y.array, window=self.window, group=1)

    def backward(self, ops: Any, at: Node) -> None:
        (x,), (y,), (w, _), (dw, db) = at.bottoms, at.tops, at.operands(2), at.gradients(2)
        shape = self.filters(x.shape)
        w, dw = ops.reshape(w, shape), None if dw is None else ops.reshape(dw, shape)
        ops.conv_backward(y.grad, x.array, w, x.grad, dw, db, window=self.window, group=1)

    def describe(self) -> str:
        return f"{self.patch_layer.output_dim} maps, {by(self.window.kernel)}, dilation {by(self.window.dilation)}"


_POINT = Window.of((1, 1))
