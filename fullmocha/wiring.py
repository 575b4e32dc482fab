"""From a list of layers to an order in which they can run.

Layers name blobs; a layer in place reads and writes the same name. Here every written value gets a name of its own:
of the values that share a user's name the last keeps it, earlier ones become "conv1#1", "conv1#2". So nothing is ever
overwritten, backward rules always find the values that forward saw, and what that costs in memory an inference
program wins back by sharing buffers.
"""

import reprlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from .errors import TopologyError
from .layers.activation import NeuronLayer
from .layers.base import Layer, ParameterLayer
from .neurons import Neurons


@dataclass(frozen=True)
class Link:
    """One layer in running order, with the unique names of what it reads and writes."""

    layer: Layer
    bottoms: tuple[str, ...]
    tops: tuple[str, ...]


@dataclass(frozen=True)
class Wiring:
    """The links in running order; for a user's name, its first value (where gradients end) and its last (what it holds)."""

    links: tuple[Link, ...]
    first: dict[str, str]
    last: dict[str, str]


def wire(layers: Any) -> Wiring:
    """Orders the layers so that every blob is written before it is read, keeping the declared order where it is free.

    Layers in place run right behind the blob's producer, before its other readers, as in Mocha.

    Raises
    ------
    TopologyError
        If something is no layer, two layers with parameters have one name, a blob has two producers or none, or layers
        wait for each other in a loop.
    """
    pending = [piece for layer in distinct(flatten(layers)) for piece in pieces(layer)]
    producers = Counter(t for layer in pending if not layer.in_place for t in layer.tops)
    for name, makers in producers.items():
        if makers > 1:
            culprits = [layer.label for layer in pending if name in layer.tops and not layer.in_place]
            raise TopologyError(
                f'blob "{name}" is a top of {" and of ".join(culprits)}; give each top a name of its own'
            )
        taken = next((other for other in producers if name.startswith(f"{other}~")), None)
        if taken is not None:
            raise TopologyError(
                f'blob "{name}": "~" behind the name of another blob, "{taken}", is kept for what a dense net inserts '
                "there; name it otherwise"
            )
    for layer in pending:
        for name in layer.bottoms:
            if name not in producers:
                raise TopologyError(
                    f'{layer.label}: its bottom "{name}" is no layer\'s top; the blobs are {sorted(producers)}'
                )

    written: Counter[str] = Counter()  # how many values a name has had so far
    order: list[tuple[Layer, list[tuple[str, int]], list[tuple[str, int]]]] = []
    while pending:
        changed_later = {t for layer in pending if layer.in_place for t in layer.tops}

        def ready(layer: Layer, blocked: set[str] = changed_later) -> bool:
            return all(written[b] and (layer.in_place or b not in blocked) for b in layer.bottoms)

        chosen = next((layer for layer in pending if ready(layer)), None)
        if chosen is None:
            raise TopologyError(f"layers wait for each other in a loop: {', '.join(layer.label for layer in pending)}")
        pending.remove(chosen)
        reads = [(b, written[b]) for b in chosen.bottoms]
        written.update(chosen.tops)
        order.append((chosen, reads, [(t, written[t]) for t in chosen.tops]))

    mark = "#"
    while any(mark in name for name in written):  # a blob of the user's may be called "x#1"
        mark += "#"

    def unique(name: str, version: int) -> str:
        return name if version == written[name] else f"{name}{mark}{version}"

    links = tuple(
        Link(layer, tuple(unique(*b) for b in reads), tuple(unique(*t) for t in writes))
        for layer, reads, writes in order
    )
    return Wiring(links, {name: unique(name, 1) for name in written}, {name: name for name in written})


def flatten(layers: Any) -> list[Layer]:
    """Layers from arbitrarily nested lists, or whatever else can be walked through.

    Raises
    ------
    TopologyError
        If something else is found, or nothing.
    """
    if isinstance(layers, Layer):
        raise TopologyError(f"a net is made of a list of layers; got the one layer {layers.label}: put it into a list")
    if not (found := list(_walk(layers))):
        raise TopologyError("there are no layers; a net needs at least one")
    return found


def _walk(item: Any) -> Iterator[Layer]:
    if isinstance(item, Layer):
        yield item
    elif isinstance(item, Iterable) and not isinstance(item, str | bytes | Mapping):
        for inner in item:
            yield from _walk(inner)
    else:
        raise TopologyError(
            f"{reprlib.repr(item)} ({type(item).__name__}) is no layer; a net is made of layers and lists of them"
        )


def distinct(layers: Sequence[Layer]) -> list[Layer]:
    """The layers under names of their own, because parameters, states and losses are found by name.

    Of several layers with one name the one with parameters keeps it, else the first; the others become "loss-2",
    "loss-3". So layers may stay unnamed, and Caffe's nets may repeat "silence", as they do.
    """
    taken = {layer.name for layer in layers}
    keepers: dict[str, Layer] = {}
    for layer in layers:
        keeper = keepers.setdefault(layer.name, layer)
        if keeper is not layer and trained(layer):
            if trained(keeper):
                raise TopologyError(
                    f"{keeper.label} and {layer.label}: two layers with parameters have the name {layer.name!r}; name them "
                    "apart, and give both the same param_key if they are to share the parameters"
                )
            keepers[layer.name] = layer

    def named_apart(layer: Layer) -> Layer:
        if layer is keepers[layer.name]:
            return layer
        name = next(name for i in count(2) if (name := f"{layer.name}-{i}") not in taken)
        taken.add(name)
        return layer.copy(name=name)

    return [named_apart(layer) for layer in layers]


def trained(layer: Layer) -> bool:
    """Whether it is of a class that has parameters."""
    return isinstance(layer, ParameterLayer)


def pieces(layer: Layer) -> list[Layer]:
    """One layer per bottom where it does the same to each, and its neuron as a layer in place behind it."""
    if not layer.per_bottom:
        singles = [layer]
    elif len(layer.bottoms) != len(layer.tops) or not layer.bottoms:
        raise TopologyError(
            f"{layer.label}: needs as many tops as bottoms, at least one; got bottoms {list(layer.bottoms)}, tops {list(layer.tops)}"
        )
    else:
        singles = [
            layer.copy(bottoms=[b], tops=[t], propagate_down=layer.propagate_down[i : i + 1])
            for i, (b, t) in enumerate(zip(layer.bottoms, layer.tops, strict=True))
        ]
    if not layer.is_sink and not layer.tops:
        raise TopologyError(f"{layer.label}: names no tops, so nothing can read what it makes")
    neuron = getattr(layer, "neuron", Neurons.Identity())
    if neuron == Neurons.Identity():
        return singles
    return [
        part
        for single in singles
        for part in (
            single.copy(neuron=Neurons.Identity()),
            NeuronLayer(name=layer.name, bottoms=single.tops, tops=single.tops, function=neuron),
        )
    ]
