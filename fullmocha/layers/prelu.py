"""The rectifier whose slope below zero is trained."""

from dataclasses import dataclass
from typing import Any

from ..constraints import Constraint, NoCons
from ..initializers import ConstantInitializer, Initializer
from ..regularizers import NoRegu, Regularizer
from .base import Node, ParameterLayer, ParameterSpec, Shape
from .checks import with_channels


@dataclass(frozen=True, kw_only=True)
class PReLULayer(ParameterLayer):
    r"""y = x for x > 0, else a slope times x, one for every channel (He et al. 2015).

    .. math:: y_{n,c,i} = \max(0, x_{n,c,i}) + a_c \min(0, x_{n,c,i})

    Parameters
    ----------
    channel_shared : bool
        Whether all channels have the same slope.

    Notes
    -----
    Parameter: slope (C,), or () where it is shared. At 0 the gradient's factor is the slope. Source: Caffe's PReLU.

    Examples
    --------
    >>> PReLULayer(name="prelu1", bottoms=["conv1"], tops=["conv1"]).parameters([(2, 8, 5, 7)])[0].shape
    (8,)
    """

    name: str = "prelu"
    channel_shared: bool = False
    slope_init: Initializer = ConstantInitializer(0.25)
    slope_regu: Regularizer = NoRegu()
    slope_cons: Constraint = NoCons()
    slope_lr: float = 1.0

    def check(self) -> None:
        self.check_roles("slope")

    def shape(self, bottoms: list[Shape]) -> list[Shape]:
        return [with_channels(self, bottoms)]

    def parameters(self, bottoms: list[Shape]) -> list[ParameterSpec]:
        return [self.spec("slope", () if self.channel_shared else (bottoms[0][1],))]

    def forward(self, ops: Any, at: Node) -> None:
        (x,), (y,), (slope,) = at.bottoms, at.tops, at.operands(1)
        ops.prelu(x.array, slope, y.array)

    def backward(self, ops: Any, at: Node) -> None:
        (x,), (y,), (slope,), (dslope,) = at.bottoms, at.tops, at.operands(1), at.gradients(1)
        if x.grad is not None or dslope is not None:
            ops.prelu_backward(y.grad, x.array, slope, x.grad, dslope)

    def describe(self) -> str:
        return "one slope" if self.channel_shared else "a slope per channel"
