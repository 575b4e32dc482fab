"""Mocha's neurons: pointwise functions that a layer applies to its tops."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Neuron:
    """A pointwise function, by the name and parameter of the backend's `activate`."""

    kind: str = ""
    parameter: float = 0.0


@dataclass(frozen=True)
class _ReLU(Neuron):
    """max(epsilon, x)."""

    kind: str = "relu"
    epsilon: float = 0.0


class Neurons:
    """The neurons under Mocha's names."""

    @staticmethod
    def Identity() -> Neuron:
        """x."""
        return Neuron()

    @staticmethod
    def ReLU(epsilon: float = 0.0) -> Neuron:
        """max(epsilon, x); the gradient passes where the output exceeds epsilon."""
        return _ReLU(epsilon=epsilon)

    @staticmethod
    def LReLU() -> Neuron:
        """x for x > 0, else 0.01 x."""
        return Neuron("relu", 0.01)

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
        return Neuron("exponential")
