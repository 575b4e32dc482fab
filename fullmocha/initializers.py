"""What parameters hold before training; each draws from the backend's seeded generator."""

from dataclasses import dataclass
from math import ceil, prod, sqrt
from typing import Literal, get_args

import numpy as np

from .errors import ShapeError

Fan = Literal["fan_in", "fan_out", "average"]


def fans(shape: tuple[int, ...]) -> tuple[float, float]:
    """Caffe's counts: inputs per output, count / shape[0], and outputs per input, count / shape[1]."""
    count = prod(shape)
    return count / shape[0], count / (shape[1] if len(shape) > 1 else 1)


def _fan(shape: tuple[int, ...], norm: Fan) -> float:
    fan_in, fan_out = fans(shape)
    if norm not in get_args(Fan):
        raise ShapeError(f"variance_norm must be one of {', '.join(get_args(Fan))}; got {norm!r}")
    return {"fan_in": fan_in, "fan_out": fan_out, "average": (fan_in + fan_out) / 2}[norm]


class Initializer:
    """Gives an array of a shape."""

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        raise NotImplementedError


@dataclass(frozen=True)
class NullInitializer(Initializer):
    """Leaves zeros: the values come from elsewhere."""

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        return np.zeros(shape)


@dataclass(frozen=True)
class ConstantInitializer(Initializer):
    """One value everywhere."""

    value: float = 0.0

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        return np.full(shape, float(self.value))


@dataclass(frozen=True)
class GaussianInitializer(Initializer):
    """N(mean, std^2); with `sparse` n every weight is kept with probability n / shape[0] and else 0 (Caffe)."""

    mean: float = 0.0
    std: float = 1.0
    sparse: int | None = None

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        values = rng.normal(self.mean, self.std, shape)
        if self.sparse is None:
            return values
        if not 0 <= self.sparse <= shape[0]:
            raise ShapeError(f"sparse must lie in 0 .. {shape[0]}, the first size of {shape}; got {self.sparse}")
        return values * (rng.random(shape) < self.sparse / shape[0])


@dataclass(frozen=True)
class UniformInitializer(Initializer):
    """U[min, max]."""

    min: float = 0.0
    max: float = 1.0

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        return rng.uniform(self.min, self.max, shape)


@dataclass(frozen=True)
class PositiveUnitballInitializer(Initializer):
    """U[0, 1] divided by the sum of its row, so that what an output weighs adds up to 1 (Caffe)."""

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        rows = rng.random((shape[0], prod(shape[1:])))
        return (rows / rows.sum(1, keepdims=True)).reshape(shape)


@dataclass(frozen=True)
class XavierInitializer(Initializer):
    """U[-s, s], s = sqrt(3 / fan) (Glorot and Bengio 2010, as Caffe and Mocha have it)."""

    variance_norm: Fan = "fan_in"

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        scale = sqrt(3 / _fan(shape, self.variance_norm))
        return rng.uniform(-scale, scale, shape)


@dataclass(frozen=True)
class MSRAInitializer(Initializer):
    """N(0, 2 / fan), for layers before a ReLU (He et al. 2015)."""

    variance_norm: Fan = "fan_in"

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        return rng.normal(0.0, sqrt(2 / _fan(shape, self.variance_norm)), shape)


@dataclass(frozen=True)
class BilinearInitializer(Initializer):
    """The kernel of bilinear upsampling, for a deconvolution with as many groups as channels (Caffe's `bilinear`)."""

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        def weights(k: int) -> np.ndarray:
            f = ceil(k / 2)
            return 1 - np.abs(np.arange(k) / f - (k - 1) / (2 * f))

        return np.broadcast_to(weights(shape[-2])[:, None] * weights(shape[-1]), shape).copy()


@dataclass(frozen=True)
class OrthogonalInitializer(Initializer):
    """gain times an orthonormal basis from the SVD of a Gaussian matrix; sqrt(2) before a ReLU (Saxe et al. 2014)."""

    gain: float = 1.0

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        u, _, v = np.linalg.svd(rng.normal(size=(shape[0], prod(shape[1:]))), full_matrices=False)
        basis = u if u.shape == (shape[0], prod(shape[1:])) else v
        return self.gain * basis.reshape(shape)
