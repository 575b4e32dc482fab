"""Pointwise nonlinearities as layers of their own; Mocha's neurons become one of these behind the layer that names them."""

from dataclasses import dataclass
from typing import Any, ClassVar

from ..neurons import PARAMETERS, Neuron, Neurons
from .base import Layer, Node, Shape
from .checks import instance_of, need


@dataclass(frozen=True, kw_only=True)
class NeuronLayer(Layer):
    r"""y = f(x) element by element, for a neuron f; in place where tops name the bottoms.

    Examples
    --------
    >>> NeuronLayer(name="squash", bottoms=["a"], tops=["a"], function=Neurons.Tanh()).shape([(2, 3)])
    [(2, 3)]
    """

    function: Neuron = Neurons.Identity()

    per_bottom: ClassVar[bool] = True
    reads_flattened: ClassVar[bool] = True

    def check(self) -> None:
        instance_of(self, Neuron, "function")
        f = self.function
        if f == Neurons.Identity():
            return
        if f.kind not in PARAMETERS:
            raise self.refuse(f"no backend has the neuron {f.kind!r}; choose one of {tuple(PARAMETERS)}")
        names = PARAMETERS[f.kind]
        if len(f.parameters) != len(names):
            wanted = ", ".join(names) or "none"
            raise self.refuse(f"neuron {f.kind!r} takes {len(names)} parameters ({wanted}), got {f.parameters}")

    def shape(self, bottoms: list[Shape]) -> list[Shape]:
        return need(self, bottoms, 1)

    def forward(self, ops: Any, at: Node) -> None:
        (x,), (y,), f = at.bottoms, at.tops, self.function
        if f == Neurons.Identity():
            origin = (0,) * len(x.shape)
            ops.move(x.array, y.array, source=origin, target=origin, size=x.shape)
        else:
            ops.activate(x.array, y.array, kind=f.kind, parameters=f.parameters)

    def backward(self, ops: Any, at: Node) -> None:
        (x,), (y,), f = at.bottoms, at.tops, self.function
        if x.grad is None:
            return
        if f == Neurons.Identity():
            ops.axpby(y.grad, x.grad, alpha=1.0, beta=1.0)
        else:
            ops.activate_backward(y.grad, x.array, y.array, x.grad, kind=f.kind, parameters=f.parameters)

    def describe(self) -> str:
        f = self.function
        return str(f) if any(f.parameters) else f.kind or "identity"


@dataclass(frozen=True, kw_only=True)
class ReLULayer(NeuronLayer):
    """x for x > 0, else negative_slope * x, which is also the gradient at 0 (Caffe's ReLU)."""

    negative_slope: float = 0.0

    def check(self) -> None:
        object.__setattr__(self, "function", Neuron("relu", (float(self.negative_slope),)))


@dataclass(frozen=True, kw_only=True)
class SigmoidLayer(NeuronLayer):
    """1 / (1 + exp(-x)) (Caffe's Sigmoid)."""

    function: Neuron = Neurons.Sigmoid()


@dataclass(frozen=True, kw_only=True)
class TanHLayer(NeuronLayer):
    """tanh(x) (Caffe's TanH)."""

    function: Neuron = Neurons.Tanh()
