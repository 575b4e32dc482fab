"""A net as an ONNX graph, made of the program that its layers' forward rules record.

The program is recorded twice, for inputs of two sizes: what is equal in both is fixed, what grows with the input is an open
dimension of the graph. So a patch net has an open batch, and a dense net also open rows and columns.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fullmocha.backends.program import Program, Step, Weight

from ..blob import Shape
from ..conversion import find_output, find_source
from ..dense import DenseNet
from ..errors import ShapeError, UnsupportedError
from ..forms import densify
from ..net import Net
from ..sketch import needed
from ..tracing import record
from .graph import IR_VERSION, OPSET, Graph, alive
from .operators import OPERATORS

_LAST = 2**63 - 1  # the end of an axis, however long


@dataclass(frozen=True)
class Held:
    """A tensor of the graph that holds a buffer of the program, and the buffer's shape in it, for both input sizes."""

    name: str
    shape: Shape
    larger: Shape


class Exporter:
    """Turns the steps into nodes, one after the other.

    Attributes
    ----------
    held : dict
        The tensor that holds each buffer by now.
    """

    def __init__(self, program: Program, larger: Program, source: str, output: str) -> None:
        self.graph = Graph(program.dtype)
        self.program, self.larger = program, larger
        self.held: dict[int, Held] = {}
        self.source, self.output = self.graph.name(source), output
        self.filled: dict[int, float] = {}  # buffers that hold one value so far
        self.parts: dict[int, list[tuple[Shape, Shape, str]]] = {}  # boxes of a buffer that is not complete yet

    def run(self, transform: Callable[[str], str]) -> str:
        """All nodes; returns the name of the answer."""
        program, larger = self.program, self.larger
        self.held[program.input.buffer] = Held(transform(self.source), program.input.shape, larger.input.shape)
        for step, twin in zip(program.steps, larger.steps, strict=True):
            if step.op not in OPERATORS:
                raise self.refuse(step, f"the operation {step.op!r} has no ONNX form")
            OPERATORS[step.op](self, step, twin)
        (answer,), (larger_answer,) = program.outputs, larger.outputs
        return self.read(answer, larger_answer, self.output)

    def refuse(self, step: Step, why: str) -> UnsupportedError:
        return UnsupportedError(f"layer {step.layer!r}: {why}; export a net without it, or another output")

    # ---- operands
    def read(self, value: Any, twin: Any, wish: str) -> str:
        """The tensor of an operand, under the shape that the step sees."""
        if isinstance(value, Weight):
            return self.weight(value)
        held = self.held[value.buffer]
        return held.name if held.shape == value.shape else self.reshape(held, value.shape, twin.shape, wish)

    def operand(self, step: Step, twin: Step, place: int = 0) -> str:
        """The tensor of what the step reads in that place."""
        return self.read(step.operand(place), twin.operand(place), step.layer)

    def operands(self, step: Step, twin: Step) -> list[str]:
        """Those of all that it reads; what is left out stands last."""
        return [self.operand(step, twin, place) for place, read in enumerate(step.reads) if read is not None]

    def reshape(self, held: Held, shape: Shape, larger: Shape, wish: str) -> str:
        """A Reshape that holds for both sizes."""
        target = []
        for i, (a, b) in enumerate(zip(shape, larger, strict=True)):
            same = i < len(held.shape) and (held.shape[i], held.larger[i]) == (a, b)
            target.append(a if a == b else 0 if same else -1)
        if target.count(-1) > 1:
            raise UnsupportedError(
                f"tensor {held.name!r}: {held.shape} cannot become {shape} for every size of the input"
            )
        return self.graph.node("Reshape", [held.name, self.graph.integers("shape", target)], f"{wish}_as")

    def weight(self, weight: Weight, shape: Shape | None = None) -> str:
        """The initializer of a parameter under that shape, or as the step sees it."""
        shape = weight.shape if shape is None else shape
        parameter: Any = weight.parameter
        wish = parameter.name.replace(" ", ".")
        return self.graph.constant(wish, parameter.values().reshape(shape), key=(id(parameter), shape))

    def floats(self, name: str, wish: str) -> str:
        """A tensor of places or of truth as numbers."""
        from onnx import helper

        return self.graph.node("Cast", [name], wish, to=helper.np_dtype_to_tensor_dtype(self.graph.dtype))

    def integers(self, name: str, wish: str) -> str:
        """A tensor of numbers as places."""
        from onnx import TensorProto

        return self.graph.node("Cast", [name], f"{wish}_places", to=TensorProto.INT64)

    def write(self, step: Step, twin: Step, name: str) -> None:
        """A tensor holds the whole of the step's buffer from now on."""
        self.hold(step, name, step.write.shape, twin.write.shape)

    def hold(self, step: Step, name: str, shape: Shape, larger: Shape) -> None:
        """The same, under another shape."""
        self.held[step.write.buffer] = Held(name, shape, larger)

    def simple(self, step: Step, twin: Step, kind: str, inputs: list[str], **attributes: Any) -> None:
        """One node for the step."""
        self.write(step, twin, self.graph.node(kind, inputs, step.layer, **attributes))

    # ---- boxes
    def cut(self, step: Step, twin: Step, name: str, bottom: Shape, larger: Shape) -> str:
        """The box of a `move`'s source, as a Slice where it is not the whole."""
        axes, starts, ends = [], [], []
        boxes = zip(step.options["source"], step.options["size"], bottom, strict=True)
        others = zip(twin.options["source"], twin.options["size"], larger, strict=True)
        for axis, ((at, size, n), (other_at, other_size, m)) in enumerate(zip(boxes, others, strict=True)):
            if (at, size) == (0, n) and (other_at, other_size) == (0, m):
                continue
            axes.append(axis)
            starts.append(self.bound(step, at, other_at, n, m))
            ends.append(self.bound(step, at + size, other_at + other_size, n, m))
        if not axes:
            return name
        bounds = [self.graph.integers(wish, v) for wish, v in (("starts", starts), ("ends", ends), ("axes", axes))]
        return self.graph.node("Slice", [name, *bounds], f"{step.layer}_cut")

    def bound(self, step: Step, at: int, other: int, n: int, m: int) -> int:
        """A place along an axis that holds for both sizes: counted from the front, or else from the end."""
        if at == other:
            return at
        if n - at == m - other:
            return at - n if at < n else _LAST
        raise self.refuse(step, f"a cut at {at} of {n} is one at {other} of {m}, so it is at no fixed place")


def export(net: Net, dense: bool, output: str | None) -> Any:
    """The ModelProto of a net."""
    from onnx import helper

    from .. import __version__

    wanted = find_output(net.sketch, output)
    answering = densify(net, "strided", output=output) if dense else net
    source = find_source(net.sketch, wanted) if dense else _only_source(net, wanted)
    small, large = (
        _dense_programs(answering) if isinstance(answering, DenseNet) else _patch_programs(net, source, wanted)
    )
    exporter = Exporter(small, large, source, wanted)
    answer = exporter.run(lambda name: _transformed(net, source, name, exporter.graph, large.input.shape))
    graph = exporter.graph
    if answer == exporter.source or graph.nodes[-1].output[0] != answer:
        answer = graph.node("Identity", [answer], wanted)
    kind = helper.np_dtype_to_tensor_dtype(net.dtype)
    inputs = [helper.make_tensor_value_info(exporter.source, kind, open_shape(small.input.shape, large.input.shape))]
    outputs = [helper.make_tensor_value_info(answer, kind, open_shape(small.outputs[0].shape, large.outputs[0].shape))]
    nodes = alive(graph.nodes, [answer])
    read = {name for node in nodes for name in node.input}
    made = helper.make_graph(nodes, net.name, inputs, outputs, [i for i in graph.initializers if i.name in read])
    model = helper.make_model(
        made, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="fullmocha", producer_version=__version__
    )
    model.ir_version = IR_VERSION
    return model


def _only_source(net: Net, output: str) -> str:
    """What the output depends on, which must be one blob."""
    links = needed(net.wiring.links, [output])
    read = {b for link in links if not link.layer.is_source for b in link.bottoms}
    sources = [top for link in links if link.layer.is_source for top in link.tops if top in read]
    if len(sources) != 1:
        raise UnsupportedError(
            f"net {net.name!r}: {output!r} depends on {len(sources)} inputs, {sources}; an exported graph has one"
        )
    return sources[0]


def _patch_programs(net: Net, source: str, output: str) -> tuple[Program, Program]:
    """The patch net's program for the declared batch, and for one more; where a layer ties it to its batch, the same twice."""
    batch, *sizes = net.declared[source]

    def program(batch: int) -> Program:
        return record(net.wiring.links, net.params, net.dtype, (source, (batch, *sizes)), [output])

    declared = program(batch)
    try:
        return declared, program(batch + 1)
    except ShapeError:
        return declared, declared


def _dense_programs(dense: DenseNet) -> tuple[Program, Program]:
    """A dense net's program for two sizes that differ in batch, rows and columns."""
    windows = dense.fit(dense.declared_windows)
    more = dense.fit(tuple(w + a for w, a in zip(windows, dense.align, strict=True)))
    _, *size = dense.input_shape(windows)
    _, *larger = dense.input_shape(more)
    return dense.program((1, *size)), dense.program((2, *larger))


def _transformed(net: Net, source: str, name: str, graph: Graph, shape: Shape) -> str:
    """What the data layer does to an image before the net sees it: a factor and a term for every element, or channel.

    They are looked up for the larger input, so that what fits one size of image alone is refused for all sizes.
    """
    layer: Any = net.node_of(source).layer
    top = next(k for k, v in net.wiring.first.items() if v == source)
    term = layer.transform({top: np.zeros(shape, net.dtype)})[top]
    factor = layer.transform({top: np.ones(shape, net.dtype)})[top] - term
    for kind, values, neutral in (("Mul", factor, 1.0), ("Add", term, 0.0)):
        if np.any(values != neutral):
            name = graph.node(
                kind, [name, graph.constant(f"{source}_{kind}", _smallest(values[0]))], f"{source}_{kind}"
            )
    return name


def _smallest(values: np.ndarray) -> np.ndarray:
    """One number, or one for each channel, if that is all there is."""
    first = (slice(0, 1),) * (values.ndim - 1)
    for small in (values[(slice(0, 1), *first)], values[(slice(None), *first)]) if values.ndim else ():
        if np.array_equal(np.broadcast_to(small, values.shape), values):
            return small
    return values


def open_shape(shape: Shape, larger: Shape) -> list[int | str]:
    """Sizes, and names for those that are open."""
    names = "NC" + "DHW"[5 - len(shape) :] if len(shape) <= 5 else [f"axis{i}" for i in range(len(shape))]
    return [a if a == b else names[i] for i, (a, b) in enumerate(zip(shape, larger, strict=True))]
