"""Arithmetic between blobs of one shape, element by element."""

from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, ClassVar, Literal

import numpy as np

from ..lattice import Lattice
from .base import Layer, Node, Shape
from .checks import instance_of
from .concat import common


@dataclass(frozen=True)
class ElementWiseFunction:
    """Which arithmetic."""

    kind: Literal["add", "subtract", "multiply", "divide", "maximum"]


class ElementWiseFunctors:
    """The functions of `ElementWiseLayer` under Mocha's names, and Caffe's maximum."""

    @staticmethod
    def Add() -> ElementWiseFunction:
        """The sum."""
        return ElementWiseFunction("add")

    @staticmethod
    def Subtract() -> ElementWiseFunction:
        """The first bottom less the second."""
        return ElementWiseFunction("subtract")

    @staticmethod
    def Multiply() -> ElementWiseFunction:
        """The product."""
        return ElementWiseFunction("multiply")

    @staticmethod
    def Divide() -> ElementWiseFunction:
        """The first bottom by the second."""
        return ElementWiseFunction("divide")

    @staticmethod
    def Maximum() -> ElementWiseFunction:
        """The largest."""
        return ElementWiseFunction("maximum")


_OPERATIONS = {"add": "sum", "subtract": "sum", "multiply": "product", "divide": "quotient", "maximum": "maximum"}


@dataclass(frozen=True, kw_only=True)
class ElementWiseLayer(Layer):
    r"""Adds, subtracts, multiplies or divides its bottoms, or takes their maximum, element by element.

    .. math:: y = \sum_i c_i x_i, \quad x_1 - x_2, \quad \prod_i x_i, \quad x_1 / x_2 \quad\text{or}\quad \max_i x_i

    Parameters
    ----------
    bottoms : two names or more
        Blobs of one shape; exactly two to subtract or divide.
    operation : ElementWiseFunction
        ``ElementWiseFunctors.Add()`` and so on.
    coefficients : sequence of float
        c, one per bottom, for sums only; 1 unless given (Caffe's coeff).
    stable_gradient : bool
        Whether the gradient of a product multiplies the other bottoms, or divides the product by the bottom itself, which
        costs less for many bottoms and is wrong where that is 0 (Caffe's stable_prod_grad).

    Notes
    -----
    Where bottoms tie for the maximum, the gradient goes to the later one of the first two, or to the earliest of more: Caffe's
    rule.

    Raises
    ------
    ShapeError
        If the bottoms' shapes differ.

    Examples
    --------
    >>> ElementWiseLayer(name="sum", bottoms=["a", "b"], tops=["y"], coefficients=[1, -0.5]).shape([(2, 3), (2, 3)])
    [(2, 3)]
    """

    name: str = "element-wise"
    operation: ElementWiseFunction = ElementWiseFunctors.Add()
    coefficients: Sequence[float] = ()
    stable_gradient: bool = True

    reads_flattened: ClassVar[bool] = True

    def check(self) -> None:
        instance_of(self, ElementWiseFunction, "operation")
        if self.operation.kind not in _OPERATIONS:
            raise self.refuse(f"operation must be one of {', '.join(_OPERATIONS)}; got {self.operation.kind!r}")
        object.__setattr__(self, "coefficients", tuple(float(c) for c in self.coefficients))
        if self.coefficients and self.operation.kind != "add":
            raise self.refuse(
                f"coefficients belong to a sum, and its operation is {self.operation.kind!r}; leave them out"
            )
        if self.coefficients and not np.isfinite(self.coefficients).all():
            raise self.refuse(f"coefficients must be finite numbers; got {list(self.coefficients)}")

    @property
    def factors(self) -> tuple[float, ...]:
        """What each bottom of a sum is multiplied by."""
        if self.operation.kind == "subtract":
            return (1.0, -1.0)
        return tuple(self.coefficients) or (1.0,) * len(self.bottoms)

    def shape(self, bottoms: list[Shape]) -> list[Shape]:
        pair = self.operation.kind in ("subtract", "divide")
        if len(bottoms) < 2 or (pair and len(bottoms) > 2):
            wanted = "two bottoms" if pair else "at least two bottoms"
            raise self.refuse(f"takes {wanted} to {self.operation.kind}, got {len(bottoms)}: {list(self.bottoms)}")
        if len(set(bottoms)) > 1:
            raise self.refuse(
                f"bottoms must have one shape; got {' and '.join(map(str, bottoms))}: crop or reshape one"
            )
        if self.coefficients and len(self.coefficients) != len(bottoms):
            raise self.refuse(
                f"has {len(self.coefficients)} coefficients for {len(bottoms)} bottoms; give one each, or none"
            )
        return [bottoms[0]]

    def setup(self, ops: Any, dtype: np.dtype, rng: np.random.Generator) -> Any:
        return SimpleNamespace(scratch=None)

    def forward(self, ops: Any, at: Node) -> None:
        operation = _OPERATIONS[self.operation.kind]
        coefficients = self.factors if operation == "sum" and set(self.factors) != {1.0} else ()
        arrays = [x.array for x in at.bottoms]
        ops.combine(*arrays, at.tops[0].array, operation=operation, coefficients=coefficients)

    def backward(self, ops: Any, at: Node) -> None:
        (y,) = at.tops
        for i, x in enumerate(at.bottoms):
            if x.grad is None:
                continue
            match self.operation.kind:
                case "add" | "subtract":
                    ops.axpby(y.grad, x.grad, alpha=self.factors[i], beta=1.0)
                case "multiply":
                    self._product(ops, at, i)
                case "divide":
                    self._quotient(ops, at, i)
                case "maximum":
                    self._maximum(ops, at, i)

    def _scratch(self, ops: Any, at: Node) -> Any:
        """An array like the top."""
        (y,) = at.tops
        if at.state.scratch is None or at.state.scratch[0] != y.shape:
            at.state.scratch = y.shape, ops.empty(y.shape, y.dtype)
        return at.state.scratch[1]

    def _product(self, ops: Any, at: Node, i: int) -> None:
        (y,), x = at.tops, at.bottoms[i]
        others = [b.array for j, b in enumerate(at.bottoms) if j != i]
        factor = others[0]
        if not self.stable_gradient:
            factor = self._scratch(ops, at)
            ops.combine(y.array, x.array, factor, operation="quotient")
        elif len(others) > 1:
            factor = self._scratch(ops, at)
            ops.combine(*others, factor, operation="product")
        ops.multiply(y.grad, factor, x.grad, add=True)

    def _quotient(self, ops: Any, at: Node, i: int) -> None:
        """dy / b for the dividend, -y dy / b for the divisor b."""
        (y,), b, change = at.tops, at.bottoms[1], self._scratch(ops, at)
        ops.combine(y.grad, b.array, change, operation="quotient")
        if i == 0:
            ops.axpby(change, at.bottoms[0].grad, alpha=1.0, beta=1.0)
        else:
            ops.axpby(change, change, alpha=-1.0, beta=0.0)
            ops.multiply(change, y.array, b.grad, add=True)

    def _maximum(self, ops: Any, at: Node, i: int) -> None:
        (y,), x = at.tops, at.bottoms[i]
        if i < 2:
            rival = at.bottoms[1 - i].array
        else:  # of more than two, one must be larger than all before it
            rival = self._scratch(ops, at)
            ops.combine(*(b.array for b in at.bottoms[:i]), rival, operation="maximum")
        ops.maximum_backward(y.grad, y.array, x.array, rival, x.grad, ties=i == 1)

    def dense(self, lattices: list[Lattice | None]) -> tuple[Layer, Lattice | None]:
        return self, common(self, lattices)

    def describe(self) -> str:
        factors = f" times {', '.join(f'{c:g}' for c in self.coefficients)}" if self.coefficients else ""
        return self.operation.kind + factors
