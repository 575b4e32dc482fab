"""A graph being read: the tensors that are known so far, and the layers made of its nodes."""

from collections import Counter
from collections.abc import Collection, Sequence
from math import prod
from typing import Any

import numpy as np

from ..blob import Shape
from ..errors import FormatError, ShapeError, UnsupportedError
from ..layers import Layer
from .padding import surround

Attributes = dict[str, Any]

_MOST_NUMBERS = 2**31 - 1  # in a blob, as in Caffe
_MOST_CHANNELS = 2**22


class Reader:
    """Turns the nodes into layers, one after the other.

    Attributes
    ----------
    constants : dict
        Tensors whose values are known: initializers, and what is computed from shapes.
    shapes : dict
        Of every blob, for the patch and the declared batch.
    layers, values
        What has been made so far, and each layer's parameters.
    names : dict
        The blob that stands for a tensor, where a node only hands one on.
    padded : dict
        Tensors that are a blob with zeros around it, as long as only convolutions have read them: the blob, and how many per
        axis before, then behind.
    turned : dict
        Tensors that are a blob with its axes in another order: the blob, and which of its axes each of theirs is.
    uses : Counter
        How many nodes read a tensor.
    """

    def __init__(self, source: str, opset: int) -> None:
        self.source, self.opset = source, opset
        self.constants: dict[str, np.ndarray] = {}
        self.shapes: dict[str, Shape] = {}
        self.layers: list[Layer] = []
        self.values: dict[str, list[np.ndarray]] = {}
        self.names: dict[str, str] = {}
        self.padded: dict[str, tuple[str, tuple[int, ...]]] = {}
        self.turned: dict[str, tuple[str, tuple[int, ...]]] = {}
        self.uses: Counter[str] = Counter()

    # ---- tensors
    def tensor(self, node: Any, place: int = 0) -> str:
        """An input's name, or that of what stands for it: a tensor handed on, which may have been padded since."""
        name = self.names.get(node.input[place], node.input[place])
        return self.names.get(name, name)

    def blob(self, node: Any, place: int = 0) -> str:
        """The blob that an input is."""
        tensor = self.tensor(node, place)
        if tensor in self.constants:
            raise self.refuse(node, f"its input {tensor!r} is a constant, where an image is expected")
        if tensor in self.padded:
            bottom, pads = self.padded.pop(tensor)
            self.names[tensor] = tensor = surround(self, node, bottom, pads)
        if tensor in self.turned:
            raise self.refuse(
                node,
                f"its input {tensor!r} has its axes in the order {self.turned[tensor][1]}, and only Softmax and a Transpose back are "
                "read then; keep the channels in axis 1, with convolutions of kernel 1 where a Linear runs over the last axis",
            )
        if tensor not in self.shapes:
            raise FormatError(f"{self.source}: node {label(node)} reads {tensor!r}, which nothing before it makes")
        return tensor

    def blobs(self, node: Any) -> list[str]:
        return [self.blob(node, place) for place in range(len(node.input))]

    def constant(self, node: Any, place: int) -> np.ndarray | None:
        """The value of an input that has to be known; None where it is left out."""
        if place >= len(node.input) or not node.input[place]:
            return None
        name = node.input[place]
        if name not in self.constants:
            raise self.refuse(node, f"its input {name!r} depends on the image; only constants are read there")
        return self.constants[name]

    def needed(self, node: Any, place: int) -> np.ndarray:
        """The same, and it must be there."""
        found = self.constant(node, place)
        if found is None:
            raise self.wrong(node, f"has {len(node.input)} inputs; number {place + 1} is missing")
        return found

    def hand_on(self, node: Any) -> None:
        """The output is the first input under another name."""
        tensor = self.tensor(node)
        self.names[node.output[0]] = tensor if tensor in self.padded else self.blob(node)

    # ---- layers
    def add(
        self, node: Any, kind: type[Layer], bottoms: Sequence[str], values: Sequence[Any] = (), **fields: Any
    ) -> None:
        """A layer named after the node, with the node's output as its top, unless `name` or `tops` say otherwise."""
        tops = fields.pop("tops", node.output[:1])
        name = self.layer_name(node, fields.pop("name", ""))
        layer, shapes = self.fit(node, kind, bottoms, tops, name=name, **fields)
        self.shapes |= dict(zip(tops, shapes, strict=True))
        self.layers.append(layer)
        if values:
            self.values[name] = [np.asarray(v) for v in values]

    def fit(
        self, node: Any, kind: type[Layer], bottoms: Sequence[str], tops: Sequence[str], **fields: Any
    ) -> tuple[Layer, list[Shape]]:
        """The layer, not added yet, and the shapes of its tops."""
        try:
            layer = kind(bottoms=list(bottoms), tops=list(tops), **fields)
            shapes = layer.shape([self.shapes[b] for b in bottoms])
        except ShapeError as problem:
            raise ShapeError(f"{self.source}: node {label(node)}: {problem}") from problem
        if not all(n for shape in shapes for n in shape):
            raise self.wrong(node, f"leaves nothing of {[self.shapes[b] for b in bottoms]}")
        self.check_sizes(f"node {label(node)}", shapes)
        return layer, shapes

    def check_sizes(self, what: str, shapes: Sequence[Shape]) -> None:
        """Refuses blobs that nobody means, before anything is made for each of their channels."""
        for shape in shapes:
            if prod(shape) > _MOST_NUMBERS or prod(shape[1:2] if len(shape) > 2 else ()) > _MOST_CHANNELS:
                raise UnsupportedError(
                    f"{self.source}: {what}: a blob of {shape}; at most {_MOST_NUMBERS} numbers, {_MOST_CHANNELS} channels are read"
                )

    def step(self, node: Any, kind: type[Layer], *bottoms: str, values: Sequence[Any] = (), **fields: Any) -> str:
        """A layer in front of the one that makes the node's output; returns its top, a name that no tensor has."""
        top = free(f"{node.output[0]}_{kind.__name__.removesuffix('Layer').lower()}", {*self.shapes, *self.uses})
        name = top.strip("/").replace("/", ".")
        self.add(node, kind, bottoms, values, **{"tops": [top], "name": name, **fields})
        return top

    def layer_name(self, node: Any, wish: str = "") -> str:
        """That, or after its weights, as PyTorch and we name them, else after the node."""
        stems = (tensor.rpartition(".") for tensor in node.input[1:] if tensor in self.constants)
        named = (stem for stem, _, role in stems if role in ("weight", "filter", "bias"))
        wish = wish or next(named, "") or (node.name or node.output[0]).strip("/").replace("/", ".")
        return free(wish, {layer.name for layer in self.layers})

    def shared(self, node: Any, *places: int) -> tuple[str, ...]:
        """Names for parameters that several nodes read."""
        names = [node.input[p] for p in places if p < len(node.input) and node.input[p]]
        return tuple(n if self.uses[n] > 1 else "" for n in names) if any(self.uses[n] > 1 for n in names) else ()

    def refuse(self, node: Any, why: str) -> UnsupportedError:
        return UnsupportedError(f"{self.source}: node {label(node)}: {why}")

    def wrong(self, node: Any, why: str) -> FormatError:
        return FormatError(f"{self.source}: node {label(node)}: {why}")


def free(wish: str, taken: Collection[str]) -> str:
    """The name, or the first of name_2, name_3, ... that is not taken."""
    found, i = wish, 1
    while found in taken:
        i += 1
        found = f"{wish}_{i}"
    return found


def label(node: Any) -> str:
    """How messages call a node: 'conv1' (Conv)."""
    return f"{node.name or ', '.join(node.output)!r} ({node.op_type})"


def attributes(node: Any) -> Attributes:
    """A node's attributes as Python values; strings are str."""
    from onnx import helper

    found = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    return {k: v.decode("utf-8", "replace") if isinstance(v, bytes) else v for k, v in found.items()}
