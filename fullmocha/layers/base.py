"""What a layer is: a frozen config, and its rules side by side.

A layer never changes once made. What changes lives in its `Node`: the blobs it reads and writes, its parameters, its
state (masks, cursors, running sums). The rules receive the backend's ops and that node:

    shape       bottoms' shapes -> tops' shapes; the only place where sizes are derived or refused
    parameters  bottoms' shapes -> what is trained
    setup       -> a fresh state
    forward     reads bottoms, writes tops
    backward    adds to the bottoms' and the parameters' gradients
    dense       the layer that does the same for every window of an image at once, and where its tops then sit
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, TypeVar

import numpy as np

from ..blob import Blob, Parameter, Shape
from ..constraints import Constraint
from ..errors import NotDenseError, ShapeError
from ..initializers import Initializer
from ..lattice import Lattice
from ..regularizers import Regularizer
from .checks import instance_of

L = TypeVar("L", bound="Layer")


@dataclass(frozen=True)
class ParameterSpec:
    """What a layer wants trained: Mocha's name of it, its shape, and how it starts, is pulled and is limited."""

    role: str
    shape: Shape
    initializer: Initializer
    regularizer: Regularizer
    constraint: Constraint
    local_rate: float


@dataclass
class Node:
    """A layer in its place in a net. A k-to-k layer is k nodes, and an in-place layer writes a blob of its own."""

    layer: "Layer"
    bottoms: list[Any] = field(default_factory=list)
    tops: list[Any] = field(default_factory=list)
    params: list[Any] = field(default_factory=list)
    state: Any = None
    frozen: bool = False

    def operands(self, roles: int) -> list[Any]:
        """The parameters' storage, padded with None for those that the layer does without."""
        arrays = [p.array for p in self.params]
        return arrays + [None] * (roles - len(arrays))

    def gradients(self, roles: int) -> list[Any]:
        """The parameters' gradients, None for those that are missing or frozen."""
        grads = [None if self.frozen else p.grad for p in self.params]
        return grads + [None] * (roles - len(grads))


@dataclass(frozen=True, kw_only=True)
class Layer:
    """The contract, with the rules of the commonest case: one bottom, one top of the same shape, nothing trained."""

    name: str
    bottoms: Sequence[str] = ()
    tops: Sequence[str] = ()
    propagate_down: Sequence[bool] = ()

    is_source: ClassVar[bool] = False  # makes data
    is_sink: ClassVar[bool] = False  # wants whole maps, one value per window: losses, scores, outputs
    has_loss: ClassVar[bool] = False  # its state.loss is part of the objective
    per_bottom: ClassVar[bool] = False  # k bottoms, k tops: the same done to each
    passes_through: ClassVar[bool] = False  # outside training its tops are its bottom
    hands_on: ClassVar[bool] = False  # its tops hold its bottoms' numbers: labels, if labels are what its readers want
    resizes: ClassVar[bool] = False  # its forward may give its tops other shapes, which depend on the values
    differentiable: ClassVar[bool] = True  # False: no gradient passes
    reads_flattened: ClassVar[bool] = False  # densely, to it a flattened patch, (N, C h w), is the same as (N, C, h, w)
    size_bottoms: ClassVar[tuple[int, ...]] = ()  # bottoms of which only the size is used
    label_bottoms: ClassVar[tuple[int, ...]] = ()  # bottoms that hold one value per window, not pixels
    target_bottoms: ClassVar[tuple[int, ...]] = ()  # those of them that take a gradient

    def __post_init__(self) -> None:
        object.__setattr__(self, "propagate_down", tuple(bool(flag) for flag in self.propagate_down))
        for side in ("bottoms", "tops"):
            names = getattr(self, side)
            object.__setattr__(self, side, (names,) if isinstance(names, str) else tuple(names))
        self.check()

    def check(self) -> None:
        """Refuses fields that no input could make right."""

    def copy(self: L, **changes: Any) -> L:
        """Mocha's `copy(layer, field=value)`."""
        return replace(self, **changes)

    def propagates(self, bottom: int) -> bool:
        """Whether a gradient may pass to that bottom: `propagate_down` can forbid it."""
        return bottom >= len(self.propagate_down) or self.propagate_down[bottom]

    @property
    def in_place(self) -> bool:
        """Whether the tops take the bottoms' names."""
        return bool(self.bottoms) and tuple(self.tops) == tuple(self.bottoms)

    def keeps_pixels(self, bottoms: list[Shape]) -> bool:
        """Whether elements that lie beside each other in a top did so in the bottom, as many strides apart as the layer takes."""
        return True

    @property
    def is_local(self) -> bool:
        """Whether what it makes of a pixel is the same where the map goes on as where it ends."""
        return True

    @property
    def label(self) -> str:
        """How messages call this layer: "pool2 (PoolingLayer)"."""
        return f"{self.name} ({type(self).__name__})"

    def refuse(self, why: str) -> ShapeError:
        return ShapeError(f"{self.label}: {why}")

    def not_dense(self, why: str) -> NotDenseError:
        return NotDenseError(f"{self.label}: {why}")

    # ---- the rules
    def shape(self, bottoms: list[Shape]) -> list[Shape]:
        """The tops' shapes. Raises ShapeError where the bottoms break the layer's rule."""
        return list(bottoms)

    def parameters(self, bottoms: list[Shape]) -> list[ParameterSpec]:
        """What is trained."""
        return []

    def setup(self, ops: Any, dtype: np.dtype, rng: np.random.Generator) -> Any:
        """A fresh state."""
        return None

    def forward(self, ops: Any, at: Node) -> None:
        raise NotImplementedError(f"{type(self).__name__}.forward")

    def backward(self, ops: Any, at: Node) -> None:
        raise NotImplementedError(f"{type(self).__name__}.backward")

    def dense(self, lattices: list[Lattice | None]) -> tuple["Layer", Lattice | None]:
        """The dense layer and the lattice of its tops. Pointwise layers return themselves.

        Raises NotDenseError where no such layer exists.
        """
        return self, lattices[0]

    # ---- what its state keeps from pass to pass: nothing, unless a layer says otherwise
    def place(self, state: Any) -> dict[str, Any]:
        """Where in its data the layer stands, in integers and arrays that nobody changes; empty where nowhere."""
        return {}

    def restore(self, state: Any, saved: Mapping[str, Any]) -> None:
        """Goes back to a place. May draw from the random generator, so the generator is restored after it."""

    def statistics(self, state: Any) -> dict[str, float]:
        """Running averages by name."""
        return {}

    def reset_statistics(self, state: Any) -> None:
        """Begins them anew."""

    def summary(self, state: Any) -> str:
        """The same in one line for people."""
        return ""

    def close(self, state: Any) -> None:
        """Finishes what the layer wrote."""

    # ---- how it is listed
    def describe(self) -> str:
        """The config in a few words, for listings."""
        return ""

    def describe_over(self, bottoms: list[Shape]) -> str:
        """The same for bottoms of these shapes."""
        return self.describe()


@dataclass(frozen=True, kw_only=True)
class ParameterLayer(Layer):
    """A layer with something to train.

    Parameters
    ----------
    param_key : str
        Layers with equal keys have the same parameters; by default the layer's name.
    param_names : sequence of str
        Names under which single parameters are shared, "" for one that is not (Caffe).
    """

    param_key: str = ""
    param_names: Sequence[str] = ()

    def check_roles(self, *roles: str) -> None:
        """Refuses what stands in the fields <role>_init, <role>_regu and <role>_cons, but is of another kind."""
        for kind, end in ((Initializer, "init"), (Regularizer, "regu"), (Constraint, "cons")):
            instance_of(self, kind, *(f"{role}_{end}" for role in roles))

    def spec(self, role: str, shape: Shape) -> ParameterSpec:
        """The parameter of that role, by its fields <role>_init, <role>_regu, <role>_cons and <role>_lr."""
        return ParameterSpec(role, shape, *(getattr(self, f"{role}_{end}") for end in ("init", "regu", "cons", "lr")))

    def shared_names(self, count: int) -> list[str]:
        """One name per parameter."""
        return [*self.param_names, *[""] * count][:count]


__all__ = ["Blob", "Layer", "Node", "Parameter", "ParameterLayer", "ParameterSpec", "Shape"]
