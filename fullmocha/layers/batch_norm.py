"""Batch normalization: each channel to mean 0 and variance 1."""

from dataclasses import dataclass
from math import isfinite, prod
from types import SimpleNamespace
from typing import Any

import numpy as np

from fullmocha.backends.program import Recorder

from ..constraints import NoCons
from ..initializers import ConstantInitializer, Initializer
from ..lattice import Lattice
from ..regularizers import NoRegu
from .base import Layer, Node, ParameterLayer, ParameterSpec, Shape
from .checks import instance_of, with_channels


@dataclass(frozen=True, kw_only=True)
class BatchNormLayer(ParameterLayer):
    r"""Takes off each channel's mean, and divides by its standard deviation (Ioffe and Szegedy 2015).

    .. math:: y_{n,c,i} = (x_{n,c,i} - \mu_c) / \sqrt{\sigma_c^2 + \epsilon}

    with the mean and variance of the batch, or with stored ones. Factors and terms are a `ScaleLayer`'s.

    Parameters
    ----------
    use_global_stats : bool
        Whether mean and variance are the stored ones. Otherwise they are the batch's, over samples and places, and every
        forward pass adds them to what is stored.
    moving_average_fraction : float
        What a pass leaves of the stored sums.
    eps : float
        Is added to the variance.

    Notes
    -----
    Parameters, none of them trained: sums of means (C,) and of variances (C,), and factor (1,), the number of summands, older
    ones counting less. Stored are mean / factor and variance / factor, and 0 where the factor is 0, so that a layer which never
    saw a batch divides by the root of eps. With m numbers per channel a pass does::

        factor   = fraction * factor   + 1
        mean     = fraction * mean     + batch mean
        variance = fraction * variance + m / (m - 1) * batch variance

    whether the layer is frozen or not: freezing concerns what solvers do, ``use_global_stats=True`` keeps the sums as they are.

    Labelling and dense training want stored statistics, because windows of one image share pixels: their batch has
    another mean than the image. A net for labelling is made beside the one that is trained, on the same backend object,
    with ``use_global_stats=True`` here; `load_caffe` does so for the test phase. In a net that is dense itself (U nets) batch
    statistics are those of its whole maps, and can be trained with `solve_fully`. Source: Caffe's BatchNorm.

    Raises
    ------
    NotDenseError
        In a dense net, with batch statistics.

    Examples
    --------
    >>> layer = BatchNormLayer(name="bn1", bottoms=["conv1"], tops=["conv1"])
    >>> [spec.shape for spec in layer.parameters([(2, 8, 5, 7)])]
    [(8,), (8,), (1,)]
    """

    name: str = "batch-norm"
    use_global_stats: bool = False
    moving_average_fraction: float = 0.999
    eps: float = 1e-5
    mean_init: Initializer = ConstantInitializer(0.0)
    variance_init: Initializer = ConstantInitializer(0.0)
    factor_init: Initializer = ConstantInitializer(0.0)

    def check(self) -> None:
        if not 0 <= self.moving_average_fraction <= 1:
            raise self.refuse(f"moving_average_fraction must lie in 0 .. 1, got {self.moving_average_fraction}")
        if not (isfinite(self.eps) and self.eps >= 0):
            raise self.refuse(f"eps must be a number >= 0, got {self.eps}")
        instance_of(self, Initializer, "mean_init", "variance_init", "factor_init")

    def shape(self, bottoms: list[Shape]) -> list[Shape]:
        return [with_channels(self, bottoms)]

    def parameters(self, bottoms: list[Shape]) -> list[ParameterSpec]:
        channels = (bottoms[0][1],)
        roles = (
            ("mean", channels, self.mean_init),
            ("variance", channels, self.variance_init),
            ("factor", (1,), self.factor_init),
        )
        return [ParameterSpec(role, shape, init, NoRegu(), NoCons(), 0.0) for role, shape, init in roles]

    def setup(self, ops: Any, dtype: np.dtype, rng: np.random.Generator) -> Any:
        return SimpleNamespace(batch=None)

    def forward(self, ops: Any, at: Node) -> None:
        (x,), (y,) = at.bottoms, at.tops
        if self.use_global_stats:
            ops.standardize(x.array, *at.operands(3), y.array, eps=self.eps)
            return
        if isinstance(ops, Recorder):
            raise self._batch_is_not_dense()
        count = prod(x.shape) // x.shape[1]
        if not count:  # a batch of nothing has no mean
            return
        mean, variance, one = at.state.batch = at.state.batch or self._room(ops, at)
        ops.channel_mean(x.array, mean)
        ops.channel_variance(x.array, mean, variance)
        ops.standardize(x.array, mean, variance, one, y.array, eps=self.eps)
        unbiased = count / (count - 1) if count > 1 else 1.0
        for parameter, summand, alpha in zip(at.params, (mean, variance, one), (1.0, unbiased, 1.0), strict=True):
            ops.axpby(summand, parameter.array, alpha=alpha, beta=self.moving_average_fraction)
            parameter.touch()

    def _room(self, ops: Any, at: Node) -> tuple[Any, Any, Any]:
        """For a batch's mean and variance, and the factor of both, 1."""
        mean, variance, one = (ops.empty(p.shape, p.dtype) for p in at.params)
        ops.fill(one, value=1.0)
        return mean, variance, one

    def backward(self, ops: Any, at: Node) -> None:
        (x,), (y,) = at.bottoms, at.tops
        if x.grad is None or not prod(x.shape):
            return
        if self.use_global_stats:
            _, variance, factor = at.operands(3)
            ops.standardize_backward(y.grad, variance, factor, x.grad, eps=self.eps)
        else:
            ops.batch_backward(y.grad, y.array, at.state.batch[1], x.grad, eps=self.eps)

    def dense(self, lattices: list[Lattice | None]) -> tuple[Layer, Lattice | None]:
        if not self.use_global_stats:
            raise self._batch_is_not_dense()
        return self, lattices[0]

    def _batch_is_not_dense(self) -> Exception:
        return self.not_dense(
            "windows of one image share pixels, so the batch of all windows has another mean and variance than the image; use "
            'stored ones (use_global_stats=True, or load_caffe with phase="test"), or train on patches with solve'
        )

    def describe(self) -> str:
        return "stored statistics" if self.use_global_stats else "batch statistics"
