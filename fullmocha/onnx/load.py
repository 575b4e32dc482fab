"""An ONNX graph as a net: each node becomes one or two of our layers, `importers` says which."""

import os
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from ..backend import Backend
from ..blob import Shape
from ..errors import FormatError, FullMochaError, ShapeError, UnsupportedError
from ..files import read_bytes
from ..layers import IdentityLayer, InputLayer, Layer
from ..layers.base import Sizes, sizes
from ..net import Net
from .folding import fold
from .graph import IR_VERSION, alive
from .padding import surround

Path = str | os.PathLike[str]
Attributes = dict[str, Any]


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
        """An input's name, or that of what stands for it."""
        return self.names.get(node.input[place], node.input[place])

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
        return layer, shapes

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


def load(path: Path, backend: str | Backend, patch: Sizes | None, dtype: str) -> Net:
    """`fullmocha.onnx.load_onnx`."""
    source = os.fspath(path)
    model = _read(source)
    graph = model.graph
    reader = Reader(source, next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0))
    reader.constants |= {tensor.name: _array(tensor, source) for tensor in graph.initializer}
    nodes = alive(graph.node, (output.name for output in graph.output))
    reader.uses.update(name for node in nodes for name in node.input)
    _add_inputs(reader, graph, patch)
    for node in nodes:
        _take(reader, node)
    for output in graph.output:
        if output.name in reader.names:  # a blob under another name
            name = f"{output.name}_blob"
            reader.layers.append(IdentityLayer(name=name, bottoms=[reader.names[output.name]], tops=[output.name]))
    net = Net(graph.name or "onnx", backend, reader.layers, dtype=dtype)
    net.load_params(reader.values)
    net.init()
    return net


def _take(reader: Reader, node: Any) -> None:
    """Makes layers, or constants, of one node."""
    from onnx import checker

    from .importers import ADVICE, IMPORTERS

    if node.domain not in ("", "ai.onnx"):
        raise reader.refuse(node, f"is of the domain {node.domain!r}; only ONNX's own operators are read")
    context = checker.C.CheckerContext()
    context.ir_version, context.opset_imports = IR_VERSION, {"": reader.opset}
    try:
        if any(a.HasField("g") or a.graphs for a in node.attribute):
            raise reader.refuse(node, "chooses between graphs; export the model for fixed sizes, in evaluation mode")
        checker.check_node(node, context)
        if fold(reader, node):
            return
        if node.op_type not in IMPORTERS:
            advice = ADVICE.get(node.op_type, f"those that are: {', '.join(sorted(IMPORTERS))}")
            raise reader.refuse(node, f"this operator is not read; {advice}")
        IMPORTERS[node.op_type](reader, node, attributes(node))
    except checker.ValidationError as problem:
        raise reader.wrong(node, f"breaks ONNX's rules: {str(problem).splitlines()[0]}") from None
    except FullMochaError:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as problem:  # of what does not fit
        raise reader.wrong(
            node, f"cannot be understood ({type(problem).__name__}: {problem}); the file is corrupt"
        ) from problem


def _read(source: str) -> Any:
    """The ModelProto."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load_model_from_string(read_bytes(source, "an ONNX file"))
    except DecodeError:
        raise FormatError(f"{source}: cannot be decoded; the file is cut or corrupt, or no ONNX graph") from None
    graph = model.graph
    if not graph.node:
        raise FormatError(f"{source}: holds no graph; the file is cut, or no ONNX graph")
    names = [item.name for part in (graph.node, graph.initializer, graph.input, graph.output) for item in part]
    for node in graph.node:
        names += [node.op_type, node.domain, *node.input, *node.output, *(a.name for a in node.attribute)]
    if not all(isinstance(name, str) for name in (graph.name, *names)):  # what protobuf makes of other bytes
        raise FormatError(f"{source}: has names that are not UTF-8; the file is corrupt")
    return model


def _array(tensor: Any, source: str) -> np.ndarray:
    """An initializer's values; weights that lie in other files are not followed."""
    from onnx import TensorProto, numpy_helper

    if tensor.data_location == TensorProto.EXTERNAL:
        raise UnsupportedError(
            f"{source}: the values of {tensor.name!r} lie in another file; save the model as one file (onnx.save_model with "
            "save_as_external_data=False)"
        )
    try:
        array = numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError) as problem:
        raise FormatError(
            f"{source}: the values of {tensor.name!r} cannot be read ({problem}); the file is corrupt"
        ) from None
    return array.astype(np.float32) if array.dtype.name in ("float16", "bfloat16") else array


def _add_inputs(reader: Reader, graph: Any, patch: Sizes | None) -> None:
    """An InputLayer for what the graph is fed: a batch of one, and the patch where rows and columns are open."""
    tops, shapes = [], []
    for value in graph.input:
        if value.name in reader.constants:
            continue
        dims = [d.dim_value if d.HasField("dim_value") else 0 for d in value.type.tensor_type.shape.dim]
        if not dims:
            raise FormatError(f"{reader.source}: its input {value.name!r} says no shape")
        shape = [max(1, dims[0]), *dims[1:]]
        if patch is not None and len(shape) > 2:
            asked = sizes(reader.source, "patch", patch, 1)
            shape[2:] = [asked] * (len(shape) - 2) if isinstance(asked, int) else asked[::-1]
        if min(shape) < 1:
            declared = [d or "open" for d in dims]
            raise ShapeError(
                f"{reader.source}: its input {value.name!r} is {declared}; say the window's size with "
                f"patch=(width, height), or {os.path.basename(reader.source)}:WIDTHxHEIGHT on the command line"
            )
        tops.append(value.name)
        shapes.append(tuple(shape))
    if not tops:
        raise FormatError(f"{reader.source}: the graph has no input")
    reader.layers.append(InputLayer(name="input", tops=tops, shapes=shapes))
    reader.shapes |= dict(zip(tops, shapes, strict=True))
