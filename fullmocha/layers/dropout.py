"""Dropout: in training, some activations are set to zero at random."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np

from .base import Layer, Node, Shape
from .checks import need


@dataclass(frozen=True, kw_only=True)
class DropoutLayer(Layer):
    """y = x * m with m = 1 / (1 - ratio) where a uniform draw exceeds `ratio`, else 0 (Srivastava et al. 2014).

    Parameters
    ----------
    ratio : float
        The share that is dropped, 0 < ratio < 1.
    auto_scale : bool
        Whether what stays is scaled by 1 / (1 - ratio), so that the expectation stays.

    Notes
    -----
    In place unless other tops are named. There is no test phase, as in Mocha: leave the layer out of the test net
    (`load_caffe` does). A dense pass shares one mask among all windows, so `solve_fully` agrees with `solve` in
    expectation only; `predict` and `DenseNet.forward` label without dropping.

    Examples
    --------
    >>> DropoutLayer(name="drop", bottoms=["ip1"], ratio=0.5).tops
    ('ip1',)
    """

    name: str = "dropout"
    ratio: float = 0.5
    auto_scale: bool = True

    per_bottom: ClassVar[bool] = True
    passes_through: ClassVar[bool] = True
    reads_flattened: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not self.tops:
            object.__setattr__(self, "tops", self.bottoms)
        super().__post_init__()

    def check(self) -> None:
        if not 0 < self.ratio < 1:
            raise self.refuse(f"ratio must lie between 0 and 1, both excluded; got {self.ratio}")

    def shape(self, bottoms: list[Shape]) -> list[Shape]:
        return need(self, bottoms, 1)

    def setup(self, ops: Any, dtype: np.dtype, rng: np.random.Generator) -> Any:
        return SimpleNamespace(rng=rng, mask=None)

    def forward(self, ops: Any, at: Node) -> None:
        (x,), (y,), state = at.bottoms, at.tops, at.state
        kept = state.rng.random(x.shape) > self.ratio
        if state.mask is None or state.mask[0] != x.shape:
            state.mask = x.shape, ops.empty(x.shape, x.dtype)
        ops.from_host(kept * (1 / (1 - self.ratio) if self.auto_scale else 1.0), state.mask[1])
        ops.multiply(x.array, state.mask[1], y.array)

    def backward(self, ops: Any, at: Node) -> None:
        (x,), (y,) = at.bottoms, at.tops
        if x.grad is not None:
            ops.multiply(y.grad, at.state.mask[1], x.grad, add=True)

    def describe(self) -> str:
        return f"drops {self.ratio:g}"
