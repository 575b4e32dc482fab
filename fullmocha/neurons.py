"""Mocha's neurons: pointwise functions that a layer applies to its tops."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Neuron:
    """A pointwise function, by the kind and parameters of the backend's `activate`; the identity has no kind."""

    kind: str = ""
    parameters: tuple[float, ...] = ()


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
