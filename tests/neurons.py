"""One set of parameters, or several, for every kind of neuron that the op `activate` has."""

from typing import Any, get_args

from fullmocha.backends.protocol import Activation

NEURONS: list[tuple[Any, tuple[float, ...]]] = [
    ("relu", (0.0,)),
    ("relu", (0.25,)),
    ("at_least", (0.5,)),
    ("sigmoid", ()),
    ("tanh", ()),
    ("exponential", (1.0, 1.0)),
    ("exponential", (1.5, -0.7)),
    ("elu", (1.0,)),
    ("elu", (-0.3,)),
    ("bnll", ()),
    ("absval", ()),
    ("power", (0.0, 2.0, 1.0)),
    ("power", (1.0, -0.5, 0.25)),
    ("power", (2.0, 0.5, -0.25)),
    ("power", (3.0, 0.5, 0.25)),
    ("power", (-1.5, 0.25, 9.0)),
    ("power", (2.5, 0.0, 1.5)),
    ("log", (1.0, 1.0, 9.0)),
    ("log", (0.5, -0.25, 8.0)),
    ("threshold", (0.26,)),
    ("swish", (1.0,)),
    ("swish", (-1.5,)),
    ("clip", (-0.52, 0.77)),
]

assert {kind for kind, _ in NEURONS} == set(get_args(Activation))


def name_of(neuron: tuple[str, tuple[float, ...]]) -> str:
    """For the names of tests."""
    kind, parameters = neuron
    return " ".join([kind, *map(str, parameters)])
