"""A net's forward pass written down as a program: what the second door of a backend takes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fullmocha.backends.program import Program, Recorder, Weight

from .blob import Shape
from .layers.base import Node
from .net import Net
from .wiring import Link


@dataclass(frozen=True)
class Symbol:
    """Stands for a blob or parameter while a forward rule is recorded."""

    array: Any
    shape: Shape


def record(net: Net, source: str, shape: Shape, outputs: Sequence[str]) -> Program:
    """The steps that lead from one source blob, at this shape, to the outputs, and no others.

    Layers that act in training alone (dropout) are left out, and copies of a value are that value.
    """
    sources = net.source_shapes() | {source: shape}
    links = net.links(sources)
    shapes = {
        t: s for link, tops in zip(links, net.infer(sources), strict=True) for t, s in zip(link.tops, tops, strict=True)
    }
    recorder = Recorder(net.dtype)
    known = {source: recorder.value(shape)}
    for link in needed(links, outputs):
        if link.layer.is_source:
            continue
        reads = [known[b] for b in link.bottoms]
        if link.layer.passes_through:
            known |= dict.fromkeys(link.tops, reads[0])
            continue
        writes = [recorder.value(shapes[t]) for t in link.tops]
        node = Node(link.layer)
        node.bottoms = [Symbol(value, value.shape) for value in reads]
        node.tops = [Symbol(value, value.shape) for value in writes]
        node.params = [Symbol(Weight(p, p.shape), p.shape) for p in net.params.get(link.layer.name, [])]
        if not link.layer.parameters([s.shape for s in node.bottoms]):
            node.params = []
        recorder.layer = link.layer.name
        link.layer.forward(recorder, node)
        known |= dict(zip(link.tops, writes, strict=True))
    return Program(tuple(recorder.steps), known[source], tuple(known[name] for name in outputs), net.dtype)


def needed(links: Sequence[Link], outputs: Sequence[str]) -> list[Link]:
    """The links on which the outputs depend, in order."""
    wanted, kept = set(outputs), []
    for link in reversed(links):
        if any(top in wanted for top in link.tops):
            kept.append(link)
            wanted.update(link.bottoms)
    return kept[::-1]
