"""Layers that pick rows by their numbers: of a table, of a batch, or those of a batch that a selector names."""

from dataclasses import dataclass
from math import prod
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np

from ..constraints import Constraint, NoCons
from ..initializers import ConstantInitializer, Initializer, XavierInitializer
from ..lattice import Lattice
from ..regularizers import L2Regu, NoRegu, Regularizer
from .base import Layer, Node, ParameterLayer, ParameterSpec, Shape
from .checks import count_of, named, need


class _ByNumber(Layer):
    """A layer whose windows are not pixels."""

    def dense(self, lattices: list[Lattice | None]) -> tuple[Layer, Lattice | None]:
        raise self.not_dense("picks rows by number, so it has no place in a map of pixels; remove it from the net")


@dataclass(frozen=True, kw_only=True)
class EmbedLayer(ParameterLayer, _ByNumber):
    r"""A row of a table for every number (Caffe's Embed): an inner product with one-hot vectors.

    .. math:: y_{n,o} = W_{x_n, o} + b_o

    Parameters
    ----------
    input_dim : int
        Rows of the table: numbers lie in 0 .. input_dim - 1.
    output_dim : int
        Their length.
    bias : bool
        Whether b is there.

    Notes
    -----
    Bottom (...), top (..., output_dim). Parameters: weight (input_dim, output_dim), bias (output_dim,).

    Raises
    ------
    ShapeError
        In `forward`, if a number is no row.

    Examples
    --------
    >>> EmbedLayer(name="words", bottoms=["word"], tops=["vector"], input_dim=1000, output_dim=16).shape([(7, 5)])
    [(7, 5, 16)]
    """

    input_dim: int
    output_dim: int
    bias: bool = True
    weight_init: Initializer = XavierInitializer()
    bias_init: Initializer = ConstantInitializer(0.0)
    weight_regu: Regularizer = L2Regu(1.0)
    bias_regu: Regularizer = NoRegu()
    weight_cons: Constraint = NoCons()
    bias_cons: Constraint = NoCons()
    weight_lr: float = 1.0
    bias_lr: float = 2.0

    label_bottoms: ClassVar[tuple[int, ...]] = (0,)

    def check(self) -> None:
        count_of(self, "input_dim", "output_dim")
        self.check_roles("weight", "bias")

    def shape(self, bottoms: list[Shape]) -> list[Shape]:
        (x,) = need(self, bottoms, 1)
        return [(*x, self.output_dim)]

    def parameters(self, bottoms: list[Shape]) -> list[ParameterSpec]:
        weight = self.spec("weight", (self.input_dim, self.output_dim))
        return [weight, *[self.spec("bias", (self.output_dim,))] * self.bias]

    def forward(self, ops: Any, at: Node) -> None:
        (x,), (y,), (w, b) = at.bottoms, at.tops, at.operands(2)
        rows = ops.reshape(y.array, (prod(x.shape), self.output_dim))
        with named(self):
            ops.gather(w, x.array, rows)
        if b is not None:
            ops.scale(rows, None, b, rows, axis=1)

    def backward(self, ops: Any, at: Node) -> None:
        (x,), (y,), (dw, db) = at.bottoms, at.tops, at.gradients(2)
        rows = ops.reshape(y.grad, (prod(x.shape), self.output_dim))
        if dw is not None:
            ops.scatter(rows, x.array, dw)
        if db is not None:
            ops.scale_backward(rows, rows, None, None, None, db, axis=1)

    def describe(self) -> str:
        return f"{self.input_dim} rows of {self.output_dim}"


@dataclass(frozen=True, kw_only=True)
class BatchReindexLayer(_ByNumber):
    """The samples of the first bottom whose numbers the second one lists, as often as it does (Caffe's BatchReindex).

    Notes
    -----
    Bottoms (N, ...) and (M,), top (M, ...).

    Raises
    ------
    ShapeError
        In `forward`, if a number is no sample.

    Examples
    --------
    >>> BatchReindexLayer(name="pick", bottoms=["a", "order"], tops=["b"]).shape([(3, 5, 4), (7,)])
    [(7, 5, 4)]
    """

    name: str = "batch-reindex"

    label_bottoms: ClassVar[tuple[int, ...]] = (1,)

    def shape(self, bottoms: list[Shape]) -> list[Shape]:
        x, index = need(self, bottoms, 2)
        if len(index) != 1:
            raise self.refuse(f"the numbers must have one axis, got {index}")
        return [(*index, *x[1:])]

    def forward(self, ops: Any, at: Node) -> None:
        (x, index), (y,) = at.bottoms, at.tops
        with named(self):
            ops.gather(x.array, index.array, y.array)

    def backward(self, ops: Any, at: Node) -> None:
        (x, index), (y,) = at.bottoms, at.tops
        if x.grad is not None:
            ops.scatter(y.grad, index.array, x.grad)


@dataclass(frozen=True, kw_only=True)
class FilterLayer(_ByNumber):
    """Keeps the samples at which the last bottom is not 0 (Caffe's Filter), so its tops change size from batch to batch.

    Parameters
    ----------
    bottoms : names
        Blobs of equally many samples, and the selector, one number per sample.
    tops : names
        One for each bottom but the selector.

    Examples
    --------
    >>> FilterLayer(name="keep", bottoms=["a", "selector"], tops=["some"]).shape([(6, 5), (6, 1)])  # at the most
    [(6, 5)]
    """

    name: str = "filter"

    hands_on: ClassVar[bool] = True
    resizes: ClassVar[bool] = True

    def shape(self, bottoms: list[Shape]) -> list[Shape]:
        if len(bottoms) < 2 or len(self.tops) != len(bottoms) - 1:
            raise self.refuse(
                f"takes blobs and a selector, and names a top for each of the blobs; got bottoms {list(self.bottoms)}, "
                f"tops {list(self.tops)}"
            )
        *blobs, selector = bottoms
        if any(not b or b[0] != prod(selector) for b in bottoms):
            raise self.refuse(
                f"the selector {selector} needs one number for each sample of {' and '.join(map(str, blobs))}"
            )
        return blobs

    def setup(self, ops: Any, dtype: np.dtype, rng: np.random.Generator) -> Any:
        return SimpleNamespace(kept=None)

    def forward(self, ops: Any, at: Node) -> None:
        *blobs, selector = at.bottoms
        kept = np.flatnonzero(ops.to_host(selector.array))
        at.state.kept = ops.empty((len(kept),), selector.dtype)
        ops.from_host(kept.astype(selector.dtype), at.state.kept)
        for x, y in zip(blobs, at.tops, strict=True):
            y.reshape((len(kept), *x.shape[1:]))
            ops.gather(x.array, at.state.kept, y.array)

    def backward(self, ops: Any, at: Node) -> None:
        for x, y in zip(at.bottoms, at.tops, strict=False):
            if x.grad is not None and y.grad is not None:
                ops.scatter(y.grad, at.state.kept, x.grad)
