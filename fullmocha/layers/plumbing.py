"""Layers that only pass blobs on."""

from dataclasses import dataclass
from typing import Any, ClassVar

from ..lattice import Lattice
from .base import Layer, Node, Shape
from .checks import need


@dataclass(frozen=True, kw_only=True)
class SplitLayer(Layer):
    """Copies its bottom to every top; a blob may have several readers without it, so it is only Mocha's and Caffe's habit.

    Examples
    --------
    >>> SplitLayer(name="split", bottoms=["a"], tops=["b", "c"]).shape([(2, 3)])
    [(2, 3), (2, 3)]
    """

    name: str = "split"

    passes_through: ClassVar[bool] = True
    reads_flattened: ClassVar[bool] = True

    def shape(self, bottoms: list[Shape]) -> list[Shape]:
        return need(self, bottoms, 1) * len(self.tops)

    def forward(self, ops: Any, at: Node) -> None:
        (x,) = at.bottoms
        origin = (0,) * len(x.shape)
        for y in at.tops:
            ops.move(x.array, y.array, source=origin, target=origin, size=x.shape)

    def backward(self, ops: Any, at: Node) -> None:
        (x,) = at.bottoms
        if x.grad is not None:
            for y in at.tops:
                if y.grad is not None:
                    ops.axpby(y.grad, x.grad, alpha=1.0, beta=1.0)


@dataclass(frozen=True, kw_only=True)
class IdentityLayer(SplitLayer):
    """Its bottom under another name."""

    name: str = "identity"


@dataclass(frozen=True, kw_only=True)
class SilenceLayer(Layer):
    """Reads blobs so that they do not count as outputs (Caffe)."""

    name: str = "silence"

    is_sink: ClassVar[bool] = True
    differentiable: ClassVar[bool] = False
    reads_flattened: ClassVar[bool] = True

    def shape(self, bottoms: list[Shape]) -> list[Shape]:
        return []

    def forward(self, ops: Any, at: Node) -> None:
        return

    def backward(self, ops: Any, at: Node) -> None:
        return

    def dense(self, lattices: list[Lattice | None]) -> tuple[Layer, Lattice | None]:
        return self, None
