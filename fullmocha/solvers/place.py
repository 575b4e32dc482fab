"""Where in its data and random numbers a training stands, so that a forward pass can be repeated bit for bit.

A place is taken before every forward pass, which costs a few references: layers hand out arrays that they never change.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import SolverError
from ..layers.base import Node
from ..net import Net


@dataclass(frozen=True)
class Place:
    """The random generator's state, and for each layer that moves through data where it is, in running order."""

    random: Mapping[str, Any]
    layers: Sequence[Mapping[str, Any]]


def moving(net: Net) -> list[tuple[Node, Mapping[str, Any]]]:
    """The nodes that move through data, each with its place."""
    found = [(node, node.layer.place(node.state)) for node in net.nodes]
    return [(node, place) for node, place in found if place]


def take_place(net: Net) -> Place:
    """The place of a net; nets on the same backend share its random generator."""
    return Place(net.backend.rng.bit_generator.state, [place for _, place in moving(net)])


def go_to_place(net: Net, place: Place) -> None:
    """Puts a net back to a place."""
    nodes = [node for node, _ in moving(net)]
    if len(nodes) != len(place.layers):
        raise SolverError(f"{len(nodes)} of its layers move through data, in the saved place {len(place.layers)} do")
    for node, saved in zip(nodes, place.layers, strict=True):
        node.layer.restore(node.state, saved)
    bits = net.backend.rng.bit_generator  # last, because restoring a layer may draw
    kind = type(bits).__name__
    if place.random.get("bit_generator") != kind:
        raise SolverError(f"the backend draws from {kind}, the saved place from {place.random.get('bit_generator')}")
    bits.state = place.random
