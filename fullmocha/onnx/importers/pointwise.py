"""Operators that meet each element, or each channel, by itself; products with constants."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ... import layers
from ..reader import Attributes, Reader
from .composed import minimum


def gemm(to: Reader, node: Any, given: Attributes) -> None:
    w, b = to.needed(node, 1), to.constant(node, 2)
    if given.get("transA", 0):
        raise to.refuse(node, "transA=1 is not read; a sample is a row")
    turned = not given.get("transB", 0)
    alpha, beta = float(given.get("alpha", 1.0)), float(given.get("beta", 1.0))
    plain = not turned and alpha == beta == 1
    w = (w.T if turned else w) * w.dtype.type(alpha)
    if b is not None:
        if b.size not in (1, b.shape[-1]):
            raise to.refuse(node, f"its term is {b.shape}; only one number for each of {len(w)} outputs is read")
        b = np.broadcast_to(b.reshape(-1) * b.dtype.type(beta), (len(w),))
    _inner_product(to, node, w, b, to.shared(node, 1, 2) if plain else ())


def matmul(to: Reader, node: Any, given: Attributes) -> None:
    w = to.needed(node, 1)
    rank = len(to.shapes[to.blob(node)])
    if w.ndim != 2:
        raise to.refuse(node, f"only the product with a constant matrix is read; the constant is {w.shape}")
    _inner_product(to, node, w.T, None, (), axis=rank - 1)


def _inner_product(
    to: Reader, node: Any, w: np.ndarray, b: np.ndarray | None, shared: tuple[str, ...], axis: int = 1
) -> None:
    to.add(
        node, layers.InnerProductLayer, [to.blob(node)], [w, *([] if b is None else [b])], output_dim=len(w),
        bias=b is not None, axis=axis, param_names=shared,
    )  # fmt: skip


def pointwise(kind: type[layers.Layer], **fields: str) -> Callable[[Reader, Any, Attributes], None]:
    """A layer that takes attributes under other names: field="attribute:default"."""

    def importer(to: Reader, node: Any, given: Attributes) -> None:
        values: Attributes = {}
        for field, source in fields.items():
            name, _, default = source.partition(":")
            values[field] = float(given.get(name, default))
        to.add(node, kind, [to.blob(node)], **values)

    return importer


def clip(to: Reader, node: Any, given: Attributes) -> None:
    bounds = []
    for place, name, default in ((1, "min", -math.inf), (2, "max", math.inf)):
        known = to.constant(node, place)
        bounds.append(float(given.get(name, default) if known is None else known.reshape(())))
    low, high = bounds
    bottom = to.blob(node)
    if (low, high) == (0.0, math.inf):
        to.add(node, layers.ReLULayer, [bottom])
        return
    to.add(node, layers.ClipLayer, [bottom], least=low, most=high)


def prelu(to: Reader, node: Any, given: Attributes) -> None:
    slope = to.needed(node, 1)
    bottom = to.blob(node)
    _, channels, *size = to.shapes[bottom]
    if slope.size != 1 and slope.shape[-1 - len(size) :] != (channels, *(1,) * len(size)):
        raise to.refuse(node, f"its slope is {slope.shape}; expected one, or one for each of {channels} channels")
    shared = slope.size == 1 and channels != 1
    to.add(node, layers.PReLULayer, [bottom], [slope.reshape(() if shared else (channels,))], channel_shared=shared)


def softmax(to: Reader, node: Any, given: Attributes) -> None:
    bottom, order = to.turned.get(to.tensor(node), ("", ()))
    axis = int(given.get("axis", 1 if to.opset < 13 else -1))
    if order and order[axis] > 0 and (to.opset >= 13 or axis % len(order) == len(order) - 1):
        to.turned[node.output[0]] = to.step(node, layers.SoftmaxLayer, bottom, axis=order[axis]), order
        return
    to.add(node, layers.SoftmaxLayer, [to.blob(node)], axis=softmax_axis(to, node, given))


def softmax_axis(to: Reader, node: Any, given: Attributes) -> int:
    shape = to.shapes[to.blob(node)]
    axis = int(given.get("axis", 1 if to.opset < 13 else -1)) % len(shape)
    if to.opset < 13 and math.prod(shape[axis + 1 :]) > 1:
        raise to.refuse(
            node,
            f"before opset 13 it runs over axes {axis} to {len(shape) - 1} together; export with opset 13 or later",
        )
    if axis == 0:
        raise to.refuse(
            node, "runs over the batch; export a net that keeps its batch: dim=1, and no squeeze() in front"
        )
    return axis


def greater(to: Reader, node: Any, given: Attributes) -> None:
    level = to.needed(node, 1)
    if level.size != 1:
        raise to.refuse(node, f"a level for each of {level.size} elements is not read; only one number")
    to.add(node, layers.ThresholdLayer, [to.blob(node)], threshold=float(level.reshape(())))


def power(to: Reader, node: Any, given: Attributes) -> None:
    exponent = to.needed(node, 1)
    if exponent.size != 1:
        raise to.refuse(node, f"powers of {exponent.size} elements are not read; only one number")
    to.add(node, layers.PowerLayer, [to.blob(node)], power=float(exponent.reshape(())))


def reciprocal(to: Reader, node: Any, given: Attributes) -> None:
    to.add(node, layers.PowerLayer, [to.blob(node)], power=-1.0)


def root(to: Reader, node: Any, given: Attributes) -> None:
    to.add(node, layers.PowerLayer, [to.blob(node)], power=0.5)


def negate(to: Reader, node: Any, given: Attributes) -> None:
    to.add(node, layers.PowerLayer, [to.blob(node)], scale=-1.0)


def batch_normalization(to: Reader, node: Any, given: Attributes) -> None:
    """Stored statistics, then a factor and a term per channel, as in Caffe."""
    gamma, beta, mean, variance = (to.needed(node, i) for i in range(1, 5))
    if given.get("training_mode", 0):
        raise to.refuse(node, "is exported for training; export the model in evaluation mode")
    name = to.layer_name(node)
    between = to.step(
        node, layers.BatchNormLayer, to.blob(node), values=[mean, variance, np.ones(1)], name=f"{name}_norm",
        use_global_stats=True, eps=float(given.get("epsilon", 1e-5)),
    )  # fmt: skip
    to.add(node, layers.ScaleLayer, [between], [gamma, beta], name=name, bias=True)


def lrn(to: Reader, node: Any, given: Attributes) -> None:
    to.add(
        node, layers.LRNLayer, [to.blob(node)], kernel=int(given["size"]), scale=float(given.get("alpha", 1e-4)),
        power=float(given.get("beta", 0.75)), shift=float(given.get("bias", 1.0)), mode=layers.LRNMode.AcrossChannel(),
    )  # fmt: skip


def arithmetic(to: Reader, node: Any, given: Attributes) -> None:
    """Two blobs, or a blob and a constant: one number, or one for each channel."""
    kind = node.op_type
    constants = [to.tensor(node, place) in to.constants for place in range(2)]
    if not any(constants):
        _between_blobs(to, node)
        return
    place = constants.index(False)
    bottom, value = to.blob(node, place), to.constants[node.input[1 - place]]
    if place == 1 and kind in ("Sub", "Div"):  # the image is the second operand
        turned: Attributes = {"scale": -1.0} if kind == "Sub" else {"power": -1.0}
        kind = {"Sub": "Add", "Div": "Mul"}[kind]
        bottom = to.step(node, layers.PowerLayer, bottom, **turned)
    with np.errstate(divide="ignore"):  # infinite weights are refused later, as everywhere
        value = {"Sub": lambda v: -v, "Div": lambda v: 1 / v}.get(kind, lambda v: v)(np.asarray(value, np.float64))
    product = kind in ("Mul", "Div")
    if value.size == 1:
        number = float(value.reshape(()))
        fields: Attributes = {"scale": number} if product else {"shift": number}
        to.add(node, layers.PowerLayer, [bottom], **fields)
        return
    axis, shape = _placed(to, node, to.shapes[bottom], value)
    layer = layers.ScaleLayer if product else layers.BiasLayer
    to.add(node, layer, [bottom], [value.reshape(shape)], axis=axis, num_axes=len(shape))


_TURNED: dict[str, Attributes] = {"Sub": {"scale": -1.0}, "Div": {"power": -1.0}}


def _placed(to: Reader, node: Any, bottom: Any, value: np.ndarray) -> tuple[int, Any]:
    """The first axis along which a constant runs, and its sizes from there, by numpy's rule of broadcasting."""
    full = (1,) * (len(bottom) - value.ndim) + value.shape
    runs = [axis for axis, n in enumerate(full) if n != 1]
    part = full[runs[0] : runs[-1] + 1]
    if len(full) != len(bottom) or runs[0] == 0 or part != tuple(bottom[runs[0] : runs[-1] + 1]):
        raise to.refuse(node, f"a constant of {value.shape} does not lie along axes of {bottom}")
    return runs[0], part


_FUNCTIONS = {
    "Add": layers.ElementWiseFunctors.Add(),
    "Div": layers.ElementWiseFunctors.Divide(),
    "Max": layers.ElementWiseFunctors.Maximum(),
    "Mean": layers.ElementWiseFunctors.Add(),
    "Mul": layers.ElementWiseFunctors.Multiply(),
    "Sub": layers.ElementWiseFunctors.Subtract(),
    "Sum": layers.ElementWiseFunctors.Add(),
}


def _between_blobs(to: Reader, node: Any) -> None:
    bottoms = _alike(to, node, to.blobs(node))
    if node.op_type == "Min":
        minimum(to, node, bottoms)
        return
    means = (1 / len(bottoms),) * len(bottoms) if node.op_type == "Mean" else ()
    to.add(node, layers.ElementWiseLayer, bottoms, operation=_FUNCTIONS[node.op_type], coefficients=means)


def _alike(to: Reader, node: Any, bottoms: list[str]) -> list[str]:
    """Repeats blobs along axes of 1 until all have one shape."""
    shapes = [to.shapes[b] for b in bottoms]
    ranks = {len(s) for s in shapes}
    wanted = tuple(max(sizes) for sizes in zip(*shapes, strict=False))
    if len(ranks) > 1 or any(n not in (1, w) for s in shapes for n, w in zip(s, wanted, strict=True)):
        raise to.refuse(node, f"combines blobs of {' and '.join(map(str, shapes))}; only equal sizes, or 1, are read")
    spread = []
    for blob in bottoms:
        for axis, n in enumerate(wanted):
            if to.shapes[blob][axis] != n:
                blob = to.step(node, layers.TileLayer, blob, axis=axis, tiles=n)
        spread.append(blob)
    return spread


def several(to: Reader, node: Any, given: Attributes) -> None:
    """Of one, of blobs, or of a blob and a number, which bounds it."""
    numbers = [to.constants[name] for name in node.input if name in to.constants]
    if len(node.input) == 1:
        to.hand_on(node)
    elif len(numbers) == 1 and len(node.input) == 2 and numbers[0].size == 1 and node.op_type in ("Max", "Min"):
        bottom = to.blob(node, int(node.input[0] in to.constants))
        bound: Attributes = {"least" if node.op_type == "Max" else "most": float(numbers[0].reshape(()))}
        to.add(node, layers.ClipLayer, [bottom], **bound)
    else:
        _between_blobs(to, node)
