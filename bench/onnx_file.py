"""A described net as an ONNX file: the dense net with dilated kernels, for onnxruntime and OpenVINO."""

from pathlib import Path
from typing import Any

import numpy as np

from .description import Json

OPSET = 17


def write(path: Path, net: Json, weights: dict[str, np.ndarray]) -> None:
    """One node per step (two where ReLU is folded), static shapes, opset 17; input "image", output "answer"."""
    from onnx import TensorProto, checker, helper, numpy_helper, save_model

    shapes: dict[str, tuple[int, ...]] = {}
    nodes: list[Any] = []
    constants = [numpy_helper.from_array(np.ascontiguousarray(array), key) for key, array in weights.items()]

    def constant(key: str, values: Any, kind: type) -> str:
        constants.append(numpy_helper.from_array(np.array(values, kind), key))
        return key

    def read(value: int, shape: Any, at: str) -> str:
        """The value's name, under the shape that a step sees it in."""
        name = f"v{value}"
        if tuple(shape) == shapes[name]:
            return name
        target = constant(f"{at}_shape", shape, np.int64)
        nodes.append(helper.make_node("Reshape", [name, target], [f"{at}_{name}"]))
        return f"{at}_{name}"

    def add(kind: str, inputs: list[str], output: str, **attributes: Any) -> None:
        nodes.append(helper.make_node(kind, inputs, [output], **attributes))

    shapes[f"v{net['input']}"] = tuple(net["input_shape"])
    for i, step in enumerate(net["steps"]):
        op, out, at = step["op"], f"v{step['write']}", f"s{i}"
        shapes[out] = tuple(step["shape"])
        if op == "concat":
            parts = []
            for k, part in enumerate(step["parts"]):
                name = read(part["read"], part["read_shape"], f"{at}_{k}")
                if tuple(part["size"]) != tuple(part["read_shape"]):
                    starts = constant(f"{at}_{k}_from", part["source"], np.int64)
                    ends = constant(f"{at}_{k}_to", np.add(part["source"], part["size"]), np.int64)
                    add("Slice", [name, starts, ends], f"{at}_{k}_part")
                    name = f"{at}_{k}_part"
                parts.append(name)
            add("Concat", parts, out, axis=1)
            continue
        x = read(step["read"], step["read_shape"], at)
        if op in ("conv", "deconv"):
            inputs = [x, step["w"], *([step["b"]] if "b" in step else [])]
            kind, target = ("Conv" if op == "conv" else "ConvTranspose"), f"{at}_sum" if step["relu"] else out
            add(kind, inputs, target, group=step["group"], **_attributes(step))
            if step["relu"]:
                add("Relu", [target], out)
        elif op == "max_pool":
            add("MaxPool", [x], out, **_attributes(step))
        elif op == "upsample":
            scales = constant(f"{at}_scales", [1, 1, *step["factor"]], np.float32)
            add(
                "Resize",
                [x, "", scales],
                out,
                mode="nearest",
                coordinate_transformation_mode="asymmetric",
                nearest_mode="floor",
            )
        else:
            add({"softmax": "Softmax", "relu": "Relu"}[op], [x], out, **({"axis": 1} if op == "softmax" else {}))
    add("Identity", [f"v{net['output']}"], "answer")
    for node in nodes:  # the image's value has a name that says so
        node.input[:] = ["image" if name == f"v{net['input']}" else name for name in node.input]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, net["input_shape"])],
        [helper.make_tensor_value_info("answer", TensorProto.FLOAT, net["output_shape"])],
        constants,
    )
    # IR 8 goes with opset 17, so that older runtimes read the file too
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8, producer_name="bench"
    )
    checker.check_model(model)
    save_model(model, str(path))


def _attributes(step: Json) -> Json:
    named = {"kernel_shape": step["kernel"], "strides": step["stride"], "dilations": step["dilation"]}
    return named | {"pads": [*step["pad"], *step["pad"]]}
