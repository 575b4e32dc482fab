"""A net's forward pass written down as a program: what the second door of a backend takes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fullmocha.backends.program import Program, Recorder, Weight

from .blob import Parameter, Shape
from .layers.base import Node
from .sharing import keep_parameters
from .sketch import infer, needed
from .wiring import Link


@dataclass(frozen=True)
class Symbol:
    """Stands for a blob or parameter while a forward rule is recorded."""

    array: Any
    shape: Shape
    dtype: np.dtype


def record(
    links: Sequence[Link],
    params: Mapping[str, Sequence[Parameter]],
    dtype: np.dtype,
    source: tuple[str, Shape],
    outputs: Sequence[str],
) -> Program:
    """The steps that lead from one source value, (name, shape), to the outputs, and no others.

    Layers that act in training alone (dropout) are left out, and copies of a value are that value.
    """
    links = needed(links, outputs)
    shapes = infer(links, {t: source[1] for link in links if link.layer.is_source for t in link.tops})
    recorder = Recorder(dtype)
    known = {source[0]: recorder.value(source[1])}
    for link in links:
        if link.layer.is_source:
            continue
        reads = [known[b] for b in link.bottoms]
        if link.layer.passes_through:
            known |= dict.fromkeys(link.tops, reads[0])
            continue
        writes = [recorder.value(shapes[t]) for t in link.tops]
        node = Node(link.layer)
        node.bottoms = [Symbol(value, value.shape, dtype) for value in reads]
        node.tops = [Symbol(value, value.shape, dtype) for value in writes]
        bottoms = [v.shape for v in reads]
        trained = params.get(link.layer.name, []) if link.layer.parameters(bottoms) else []
        node.params = [Symbol(Weight(p, p.shape), p.shape, dtype) for p in trained]
        keep_parameters(node, link.layer, bottoms)
        recorder.layer = link.layer.name
        link.layer.forward(recorder, node)
        known |= dict(zip(link.tops, writes, strict=True))
    return Program(tuple(recorder.steps), known[source[0]], tuple(known[name] for name in outputs), dtype)
