"""What a graph computes from shapes and constants alone is computed when it is read."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from .reader import Reader

# Exporters spell sizes out with these; none makes much of little.
_ARITHMETIC = {
    "Add", "Cast", "Concat", "ConstantOfShape", "Div", "Equal", "Floor", "Gather", "Identity", "Mul", "Neg", "Pow", "ReduceL2",
    "ReduceSum", "Reshape", "Slice", "Sqrt", "Squeeze", "Sub", "Transpose", "Unsqueeze", "Where",
}  # fmt: skip
_MOST = 2**27


def fold(reader: "Reader", node: Any) -> bool:
    """Whether the node's outputs are constants now."""
    if node.op_type == "Constant":
        reader.constants[node.output[0]] = _constant(reader, node)
        return True
    if node.op_type == "Shape":
        given = {a.name: a.i for a in node.attribute}
        known = reader.constants.get(node.input[0])
        shape = reader.shapes[reader.blob(node)] if known is None else known.shape
        reader.constants[node.output[0]] = np.array(
            shape[given.get("start", 0) : given.get("end", len(shape))], np.int64
        )
        return True
    if node.op_type not in _ARITHMETIC or not all(not i or i in reader.constants for i in node.input):
        return False
    reader.constants |= dict(zip(node.output, _evaluate(reader, node), strict=True))
    return True


def _most(node: Any, arrays: list[np.ndarray]) -> int:
    """How many numbers the outputs can have, at most."""
    sizes = [a.size for a in arrays]
    if node.op_type == "ConstantOfShape":
        return math.prod(map(int, arrays[0].reshape(-1)))
    if node.op_type == "Gather" and len(arrays) == 2:
        return sizes[0] * sizes[1]
    if node.op_type in ("Add", "Div", "Equal", "Mul", "Pow", "Sub", "Where"):
        try:
            return math.prod(np.broadcast_shapes(*(a.shape for a in arrays)))
        except ValueError:  # which evaluating them will say
            return 0
    return sum(sizes)


def _constant(reader: "Reader", node: Any) -> np.ndarray:
    from onnx import helper, numpy_helper

    if len(node.attribute) != 1:
        raise reader.wrong(node, f"has {len(node.attribute)} attributes; expected its value alone")
    (attribute,) = node.attribute
    value = helper.get_attribute_value(attribute)
    return numpy_helper.to_array(value) if attribute.name == "value" else np.asarray(value)


def _evaluate(reader: "Reader", node: Any) -> list[np.ndarray]:
    """The outputs, by onnx's own definition of the operator."""
    from onnx import helper
    from onnx.reference import ReferenceEvaluator

    arrays = {name: reader.constants[name] for name in node.input if name}
    if _most(node, [arrays[name] for name in node.input if name]) > _MOST:
        raise reader.refuse(node, f"makes more than {_MOST} numbers of constants; fold it before the export")

    def info(name: str, array: np.ndarray | None) -> Any:
        kind = 0 if array is None else helper.np_dtype_to_tensor_dtype(array.dtype)
        return helper.make_tensor_value_info(name, kind, None if array is None else array.shape)

    inputs, outputs = [info(*item) for item in arrays.items()], [info(name, None) for name in node.output]
    graph = helper.make_graph([node], "fold", inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", reader.opset)])
    try:
        return [np.asarray(value) for value in ReferenceEvaluator(model).run(None, arrays)]
    except Exception as problem:  # whatever a malformed node makes of it
        raise reader.wrong(node, f"cannot be computed: {problem}") from None
