"""An ONNX graph as a net: each node becomes one or two of our layers, `importers` says which."""

import os
from typing import Any

import numpy as np

from ..backend import Backend
from ..errors import FormatError, FullMochaError, ShapeError, UnsupportedError, WeightsError
from ..files import read_bytes
from ..layers import IdentityLayer, InputLayer
from ..layers.checks import Sizes, sizes
from ..net import Net
from .folding import fold
from .graph import IR_VERSION, alive
from .importers import ADVICE, IMPORTERS
from .reader import Reader, attributes

Path = str | os.PathLike[str]


def load(path: Path, backend: str | Backend, patch: Sizes | None, dtype: str) -> Net:
    """`fullmocha.onnx.load_onnx`."""
    from onnx import helper

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
        if output.name not in reader.shapes:  # another name for a blob, or what no node has asked for as one
            node = helper.make_node("Identity", [output.name], [output.name], name=output.name)
            reader.add(node, IdentityLayer, [reader.blob(node)])
    net = Net(graph.name or "onnx", backend, reader.layers, dtype=dtype)
    try:
        net.load_params(reader.values)
    except WeightsError as problem:
        size = "" if patch is None else "; the patch asked for is another than that of the graph's own weights"
        raise WeightsError(f"{source}: {problem}{size}") from problem
    net.init()
    return net


def _take(reader: Reader, node: Any) -> None:
    """Makes layers, or constants, of one node."""
    from onnx import checker

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
            asked = (asked,) * (len(shape) - 2) if isinstance(asked, int) else asked[::-1]
            if len(asked) != len(shape) - 2:
                raise ShapeError(
                    f"{reader.source}: its input {value.name!r} has {len(shape) - 2} axes of pixels; patch is {patch}"
                )
            shape[2:] = asked
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
    reader.check_sizes(f"its inputs {tops}", shapes)
    reader.layers.append(InputLayer(name="input", tops=tops, shapes=shapes))
    reader.shapes |= dict(zip(tops, shapes, strict=True))
