"""One configuration of a layer, and the inputs to try it on."""

from dataclasses import dataclass, field

import numpy as np

import fullmocha as fm
from fullmocha.layers.base import Layer

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Case:
    """A layer between input blobs named a, b, ... and its tops.

    `labels` says which inputs are class numbers below that count (and -1 where `ignored`).
    """

    name: str
    layer: Layer
    inputs: dict[str, Shape]
    labels: dict[str, int] = field(default_factory=dict)
    ignored: bool = False

    def net(self, backend: fm.Backend, dtype: str) -> fm.Net:
        data = fm.InputLayer(tops=list(self.inputs), shapes=list(self.inputs.values()))
        net = fm.Net(self.name, backend, [data, self.layer], dtype=dtype)
        net.init()
        return net

    def draw(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Inputs whose values are at least .001 apart, also from one input to the next, so that no kink or tie lies within a
        finite difference."""
        drawn = {}
        for place, (name, shape) in enumerate(self.inputs.items()):
            if name in self.labels:
                drawn[name] = rng.integers(-1 if self.ignored else 0, self.labels[name], shape).astype(float)
            else:
                count = int(np.prod(shape))
                drawn[name] = ((rng.permutation(count) + 0.5 + 0.1 * place - count / 2) * (4 / count)).reshape(shape)
        return drawn
