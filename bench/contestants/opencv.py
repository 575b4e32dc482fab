"""OpenCV's reader of Caffe's files, window by window: the described patch net as prototxt and caffemodel."""

import struct
from pathlib import Path

import numpy as np

from ..description import Json
from ..description import load as load_description
from . import Options, Run


def load(folder: Path, threads: int, form: list[str], options: Options) -> Run:
    import cv2

    cv2.setNumThreads(threads)
    net, weights = load_description(folder)
    files = (prototxt(net).encode(), caffemodel(net, weights))
    judge = cv2.dnn.readNetFromCaffe(*(np.frombuffer(file, np.uint8) for file in files))

    def run(image: np.ndarray) -> np.ndarray:
        judge.setInput(image)
        return np.array(judge.forward()).reshape(net["output_shape"])

    return run


def prototxt(net: Json) -> str:
    """The steps as Caffe's layers; the names are the values' numbers."""
    dims = " ".join(f"dim: {n}" for n in net["input_shape"])
    lines = [
        f'name: "net" layer {{ name: "in" type: "Input" top: "v{net["input"]}" input_param {{ shape {{ {dims} }} }} }}'
    ]
    for i, step in enumerate(net["steps"]):
        top = f"v{step['write']}"
        ends = f'bottom: "v{step["read"]}" top: "{top}"'
        if _is_inner_product(step):
            outputs = step["shape"][1]
            lines.append(
                f'layer {{ name: "s{i}" type: "InnerProduct" {ends} inner_product_param {{ num_output: {outputs} }} }}'
            )
        elif step["op"] == "conv":
            one = {key: step[key][0] for key in ("kernel", "stride", "pad", "dilation")}
            assert all(set(step[key]) == {n} for key, n in one.items()), "square windows only"
            lines.append(
                f'layer {{ name: "s{i}" type: "Convolution" {ends} convolution_param {{ num_output: {step["shape"][1]} '
                f"kernel_size: {one['kernel']} stride: {one['stride']} pad: {one['pad']} dilation: {one['dilation']} "
                f"group: {step['group']} }} }}"
            )
        elif step["op"] == "max_pool" and set(step["dilation"]) == {1}:
            kernel, stride = step["kernel"][0], step["stride"][0]
            lines.append(
                f'layer {{ name: "s{i}" type: "Pooling" {ends} pooling_param {{ pool: MAX kernel_size: {kernel} stride: {stride} }} }}'
            )
        elif step["op"] == "softmax":
            lines.append(f'layer {{ name: "s{i}" type: "Softmax" {ends} }}')
        else:
            raise NotImplementedError(
                f"OpenCV gets patch nets only; step {step['op']} (layer {step['layer']}) is none of theirs"
            )
        if step.get("relu"):
            lines.append(f'layer {{ name: "r{i}" type: "ReLU" bottom: "{top}" top: "{top}" }}')
    return "\n".join(lines)


def caffemodel(net: Json, weights: dict[str, np.ndarray]) -> bytes:
    """NetParameter: of each layer its name, type and blobs."""
    model = b""
    for i, step in enumerate(net["steps"]):
        if "w" not in step:
            continue
        arrays = [weights[step[role]] for role in ("w", "b") if role in step]
        if _is_inner_product(step):
            arrays[0] = arrays[0].reshape(len(arrays[0]), -1)
        kind = "InnerProduct" if _is_inner_product(step) else "Convolution"
        layer = _field(1, f"s{i}".encode()) + _field(2, kind.encode())
        for array in arrays:
            shape = _field(7, _field(1, b"".join(_varint(n) for n in array.shape)))
            layer += _field(7, shape + _field(5, array.astype("<f4").tobytes()))
        model += _field(100, layer)
    return model


def _is_inner_product(step: Json) -> bool:
    return step["op"] == "conv" and step["read_shape"][2:] == [1, 1]


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    groups = []
    while value > 127:
        groups.append(value & 127 | 128)
        value >>= 7
    return struct.pack(f"{len(groups) + 1}B", *groups, value)
