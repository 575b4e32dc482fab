"""Factors and terms that are the same along some axes: one per channel, per place, or one for all."""

from dataclasses import dataclass, replace
from typing import Any

from ..constraints import Constraint, NoCons
from ..initializers import ConstantInitializer, Initializer
from ..lattice import Lattice
from ..regularizers import NoRegu, Regularizer
from .base import Layer, Node, ParameterLayer, ParameterSpec, Shape
from .checks import integer_of, rank_of


@dataclass(frozen=True, kw_only=True)
class _SpreadLayer(ParameterLayer):
    """What both share: the axes of the bottom over which their numbers run."""

    axis: int = 1
    num_axes: int = 1

    def check(self) -> None:
        integer_of(self, "axis")
        integer_of(self, "num_axes", least=-1)

    def span(self, bottoms: list[Shape]) -> tuple[int, Shape]:
        """The first axis of the bottom that the numbers have too, and their shape."""
        if len(bottoms) not in (1, 2):
            raise self.refuse(f"takes one bottom, or two: the numbers are the second; got {list(self.bottoms)}")
        x, *given = bottoms
        axis = self.axis + len(x) if self.axis < 0 else self.axis
        if given and given[0] == ():
            return 0, ()
        if not 0 <= axis < len(x):
            raise self.refuse(f"axis {self.axis} is not one of the bottom's {len(x)}, {x}")
        count = len(given[0]) if given else len(x) - axis if self.num_axes == -1 else self.num_axes
        found = x[axis : axis + count]
        if len(found) < count:
            raise self.refuse(f"{count} axes from axis {axis} on are more than the bottom {x} has; use fewer")
        if given and given[0] != found:
            raise self.refuse(f"the second bottom is {given[0]}, the first one's axes from {axis} on are {found}")
        return axis, found

    def shape(self, bottoms: list[Shape]) -> list[Shape]:
        self.span(bottoms)
        return [bottoms[0]]

    def first_axis(self, at: Node) -> int:
        return self.span([b.shape for b in at.bottoms])[0]

    def dense(self, lattices: list[Lattice | None]) -> tuple[Layer, Lattice | None]:
        first, *given = lattices
        if first is None:
            return self, None
        axis = self.axis + rank_of(first) if self.axis < 0 else self.axis
        if given:
            alike = len({None if at is None else replace(at, flat=False) for at in lattices}) == 1
            if not alike or axis != 0:
                raise self.not_dense(
                    f"its bottoms {list(self.bottoms)} must be of one shape, and axis 0, so that each window meets its own "
                    'numbers; use engine="sliding"'
                )
            return self.copy(axis=0), first
        count = rank_of(first) - axis if self.num_axes == -1 else self.num_axes
        if count != 0 and (axis, count) != (1, 1):
            raise self.not_dense(
                f"its numbers run over {count} axes of the patch from axis {axis} on, and other windows see each pixel in "
                'another place; let them run over the channels (axis=1, num_axes=1), or use engine="sliding"'
            )
        return self.copy(axis=1, num_axes=count), first


@dataclass(frozen=True, kw_only=True)
class ScaleLayer(_SpreadLayer):
    r"""Multiplies by factors, and may add terms.

    .. math:: y_{i,j,k} = s_j x_{i,j,k} + b_j

    where j runs over `num_axes` axes from `axis` on: the channels, unless given otherwise.

    Parameters
    ----------
    axis, num_axes : int
        Where the factors' axes begin, counted as numpy does, and how many there are: -1 for all to the last one, 0 for a
        single factor.
    bias : bool
        Whether b is there.

    Notes
    -----
    With a second bottom, that one holds the factors, as many axes of the first as it has, and only b is trained.
    Parameters: scale, then bias, both of the shape ``bottom.shape[axis : axis + num_axes]``. Source: Caffe's Scale. A dense
    pass takes factors per channel, a single factor, or two bottoms of one shape with ``axis=0``.

    Raises
    ------
    ShapeError
        If the bottom has no such axes, or the second bottom does not fit there.
    NotDenseError
        In a dense net, if factors differ between places in the patch.

    Examples
    --------
    >>> layer = ScaleLayer(name="scale1", bottoms=["conv1"], tops=["conv1"], bias=True)
    >>> [spec.shape for spec in layer.parameters([(2, 8, 5, 7)])]
    [(8,), (8,)]
    """

    name: str = "scale"
    bias: bool = False
    scale_init: Initializer = ConstantInitializer(1.0)
    bias_init: Initializer = ConstantInitializer(0.0)
    scale_regu: Regularizer = NoRegu()
    bias_regu: Regularizer = NoRegu()
    scale_cons: Constraint = NoCons()
    bias_cons: Constraint = NoCons()
    scale_lr: float = 1.0
    bias_lr: float = 1.0

    def check(self) -> None:
        super().check()
        self.check_roles("scale", "bias")

    def parameters(self, bottoms: list[Shape]) -> list[ParameterSpec]:
        _, shape = self.span(bottoms)
        return [self.spec("scale", shape)] * (len(bottoms) == 1) + [self.spec("bias", shape)] * self.bias

    def forward(self, ops: Any, at: Node) -> None:
        x, *given = at.bottoms
        s, b = (*(g.array for g in given), *at.operands(2))[:2]
        ops.scale(x.array, s, b, at.tops[0].array, axis=self.first_axis(at))

    def backward(self, ops: Any, at: Node) -> None:
        x, *given = at.bottoms
        s = given[0].array if given else at.operands(1)[0]
        ds, db = (*(g.grad for g in given), *at.gradients(2))[:2]
        ops.scale_backward(at.tops[0].grad, x.array, s, x.grad, ds, db, axis=self.first_axis(at))

    def dense(self, lattices: list[Lattice | None]) -> tuple[Layer, Lattice | None]:
        if len(lattices) == 2 and self.bias:
            raise self.not_dense("its terms have the patch's shape; add them by a BiasLayer per channel")
        return super().dense(lattices)

    def describe(self) -> str:
        return "factors and terms" if self.bias else "factors"


@dataclass(frozen=True, kw_only=True)
class BiasLayer(_SpreadLayer):
    r"""Adds terms.

    .. math:: y_{i,j,k} = x_{i,j,k} + b_j

    where j runs over `num_axes` axes from `axis` on: the channels, unless given otherwise.

    Parameters
    ----------
    axis, num_axes : int
        As in `ScaleLayer`.

    Notes
    -----
    With a second bottom, that one holds the terms, and nothing is trained. Source: Caffe's Bias.

    Examples
    --------
    >>> BiasLayer(name="shift", bottoms=["a"], tops=["b"], axis=-2, num_axes=2).parameters([(2, 8, 5, 7)])[0].shape
    (5, 7)
    """

    name: str = "bias"
    bias_init: Initializer = ConstantInitializer(0.0)
    bias_regu: Regularizer = NoRegu()
    bias_cons: Constraint = NoCons()
    bias_lr: float = 1.0

    def check(self) -> None:
        super().check()
        self.check_roles("bias")

    def parameters(self, bottoms: list[Shape]) -> list[ParameterSpec]:
        _, shape = self.span(bottoms)
        return [self.spec("bias", shape)] * (len(bottoms) == 1)

    def forward(self, ops: Any, at: Node) -> None:
        x, *given = at.bottoms
        b = given[0].array if given else at.operands(1)[0]
        ops.scale(x.array, None, b, at.tops[0].array, axis=self.first_axis(at))

    def backward(self, ops: Any, at: Node) -> None:
        x, *given = at.bottoms
        db = given[0].grad if given else at.gradients(1)[0]
        if x.grad is not None or db is not None:
            ops.scale_backward(at.tops[0].grad, x.array, None, x.grad, None, db, axis=self.first_axis(at))
