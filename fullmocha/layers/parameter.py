"""A parameter as a blob of its own."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..constraints import Constraint, NoCons
from ..initializers import ConstantInitializer, Initializer
from ..lattice import Lattice
from ..regularizers import L2Regu, Regularizer
from .base import Layer, Node, ParameterLayer, ParameterSpec, Shape
from .checks import integers


@dataclass(frozen=True, kw_only=True)
class ParameterBlobLayer(ParameterLayer):
    """A trained array that other layers read like any blob (Caffe's Parameter).

    Parameters
    ----------
    dims : sequence of int
        Its shape.

    Notes
    -----
    No bottom, one top of that shape. One parameter, "blob"; it starts as zeros unless `blob_init` says otherwise, as in Caffe.

    Examples
    --------
    >>> ParameterBlobLayer(name="w", tops=["w"], dims=(3, 4)).shape([])
    [(3, 4)]
    """

    dims: Sequence[int]
    blob_init: Initializer = ConstantInitializer(0.0)
    blob_regu: Regularizer = L2Regu(1.0)
    blob_cons: Constraint = NoCons()
    blob_lr: float = 1.0

    def check(self) -> None:
        object.__setattr__(self, "dims", integers(self, "dims", "the shape"))
        if not all(self.dims):
            raise self.refuse(f"dims must be at least 1; got {self.dims}")
        if self.bottoms or len(self.tops) != 1:
            raise self.refuse(f"has no bottoms and one top; got {list(self.bottoms)} and {list(self.tops)}")
        self.check_roles("blob")

    def shape(self, bottoms: list[Shape]) -> list[Shape]:
        return [tuple(self.dims)]

    def parameters(self, bottoms: list[Shape]) -> list[ParameterSpec]:
        return [self.spec("blob", tuple(self.dims))]

    def forward(self, ops: Any, at: Node) -> None:
        (y,), (w,) = at.tops, at.operands(1)
        origin = (0,) * len(self.dims)
        ops.move(w, y.array, source=origin, target=origin, size=tuple(self.dims))

    def backward(self, ops: Any, at: Node) -> None:
        (y,), (dw,) = at.tops, at.gradients(1)
        if dw is not None and y.grad is not None:
            ops.axpby(y.grad, dw, alpha=1.0, beta=1.0)

    def dense(self, lattices: list[Lattice | None]) -> tuple[Layer, Lattice | None]:
        return self, None

    def describe(self) -> str:
        return " x ".join(map(str, self.dims))
