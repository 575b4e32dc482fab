"""Mocha's neurons: pointwise functions that a layer applies to its tops."""

from dataclasses import dataclass

# The kinds of the backends' op `activate`, and what their parameters are called.
PARAMETERS: dict[str, tuple[str, ...]] = {
    "relu": ("slope",),
    "at_least": ("floor",),
    "sigmoid": (),
    "tanh": (),
    "exponential": ("factor", "rate"),
    "elu": ("alpha",),
    "bnll": (),
    "absval": (),
    "power": ("power", "scale", "shift"),
    "log": ("factor", "scale", "shift"),
    "threshold": ("level",),
    "swish": ("beta",),
    "clip": ("least", "most"),
}


@dataclass(frozen=True)
class Neuron:
    """A pointwise function, by the kind and parameters of the backend's `activate`; the identity has no kind."""

    kind: str = ""
    parameters: tuple[float, ...] = ()

    def __str__(self) -> str:
        """Its kind, and its parameters by name: "relu, slope 0.1"."""
        named = zip(PARAMETERS.get(self.kind, ()), self.parameters, strict=False)
        return ", ".join([self.kind or "identity", *(f"{name} {value:g}" for name, value in named)])


class Neurons:
    """The neurons under Mocha's names."""

    @staticmethod
    def Identity() -> Neuron:
        """x."""
        return Neuron()

    @staticmethod
    def ReLU(epsilon: float = 0.0) -> Neuron:
        """max(epsilon, x); the gradient passes where the output exceeds epsilon."""
        return Neuron("at_least", (float(epsilon),)) if epsilon else Neuron("relu", (0.0,))

    @staticmethod
    def LReLU() -> Neuron:
        """x for x > 0, else 0.01 x."""
        return Neuron("relu", (0.01,))

    @staticmethod
    def Sigmoid() -> Neuron:
        """1 / (1 + exp(-x))."""
        return Neuron("sigmoid")

    @staticmethod
    def Tanh() -> Neuron:
        """tanh(x)."""
        return Neuron("tanh")

    @staticmethod
    def Exponential() -> Neuron:
        """exp(x)."""
        return Neuron("exponential", (1.0, 1.0))
