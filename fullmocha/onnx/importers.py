"""What each ONNX operator is in our layers; opsets 7 to 21, as far as exporters use them.

ONNX has rows before columns, our constructors (width, height): each function turns them once.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import layers
from ..initializers import ConstantInitializer
from ..layers.crop import TrimLayer
from ..layers.pooling import PoolingFunction
from ..regularizers import NoRegu
from .load import Reader

Attributes = dict[str, Any]


# ------------------------------------------------------------------------------------------------------------- windows
def conv(to: Reader, node: Any, given: Attributes) -> None:
    w, b = to.needed(node, 1), to.constant(node, 2)
    window = _window(to, node, given, w.shape[2:])
    to.add(
        node, layers.ConvolutionLayer, [_source(to, node)], [w, *([] if b is None else [b])],
        n_filter=len(w), n_group=given.get("group", 1), bias=b is not None, param_names=to.shared(node, 1, 2), **window,
    )  # fmt: skip


def conv_transpose(to: Reader, node: Any, given: Attributes) -> None:
    w, b = to.needed(node, 1), to.constant(node, 2)
    group = given.get("group", 1)
    if any(given.get("output_padding", ())) or given.get("output_shape"):
        raise to.refuse(node, "output_padding and output_shape are not read; export with a kernel that needs neither")
    to.add(
        node, layers.DeconvolutionLayer, [to.blob(node)], [w, *([] if b is None else [b])],
        n_filter=w.shape[1] * group, n_group=group, bias=b is not None, param_names=to.shared(node, 1, 2),
        **_window(to, node, given, w.shape[2:]),
    )  # fmt: skip


def _source(to: Reader, node: Any) -> str:
    """The blob in front of a Pad, if there is one: the window takes the padding along."""
    padded = to.padded.get(to.tensor(node))
    return padded[0] if padded else to.blob(node)


def _window(to: Reader, node: Any, given: Attributes, kernel: Any) -> Attributes:
    """Kernel, stride, pad and dilation, turned to our order."""
    axes = len(kernel)
    pads = list(given.get("pads", (0,) * (2 * axes)))
    if to.tensor(node) in to.padded:
        pads = [p + q for p, q in zip(pads, to.padded[to.tensor(node)][1], strict=True)]
    stride, dilation = (given.get(name, (1,) * axes) for name in ("strides", "dilations"))
    auto = given.get("auto_pad", "NOTSET")
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        size = to.shapes[_source(to, node)][2:]
        pads = _same(auto, size, kernel, stride, dilation)
    elif auto not in ("NOTSET", "VALID"):
        raise to.wrong(node, f"auto_pad is {auto!r}")
    if pads[:axes] != pads[axes:]:
        raise to.refuse(node, f"pads {pads[:axes]} before and {pads[axes:]} behind; only equal ones are read")
    sizes = {"kernel": kernel, "stride": stride, "dilation": dilation, "pad": pads[:axes]}
    return {name: tuple(int(n) for n in reversed(values)) for name, values in sizes.items()}


def _same(auto: str, size: Any, kernel: Any, stride: Any, dilation: Any) -> list[int]:
    """The padding with which there are ceil(size / stride) places."""
    total = [
        max(0, (-(-n // s) - 1) * s + (k - 1) * d + 1 - n)
        for n, k, s, d in zip(size, kernel, stride, dilation, strict=True)
    ]
    less, more = [t // 2 for t in total], [t - t // 2 for t in total]
    return [*less, *more] if auto == "SAME_UPPER" else [*more, *less]


def pad(to: Reader, node: Any, given: Attributes) -> None:
    """Zeros around rows and columns wait for the window that reads them."""
    amounts = given.get("pads", given.get("paddings"))
    value = given.get("value", 0.0)
    if amounts is None:
        amounts = to.needed(node, 1).tolist()
        filling = to.constant(node, 2)
        value = 0.0 if filling is None else float(filling.reshape(()))
    if not any(amounts):
        to.hand_on(node)
        return
    axes = len(amounts) // 2
    if given.get("mode", "constant") != "constant" or value != 0 or any(amounts[:2]) or any(amounts[axes : axes + 2]):
        raise to.refuse(
            node,
            f"only zeros around rows and columns are read; got {amounts} of {value}, {given.get('mode', 'constant')}",
        )
    to.padded[node.output[0]] = to.blob(node), (*amounts[2:axes], *amounts[axes + 2 :])


def max_pool(to: Reader, node: Any, given: Attributes) -> None:
    if len(node.output) > 1 and to.uses[node.output[1]]:
        raise to.refuse(node, "its second output, the places of the maxima, is not read")
    _pool(to, node, given, layers.Pooling.Max())


def average_pool(to: Reader, node: Any, given: Attributes) -> None:
    if any(given.get("pads", ())) and not given.get("count_include_pad", 0):
        raise to.refuse(
            node, "its mean leaves the padding out (count_include_pad=0), which no layer here does; pad by 0"
        )
    _pool(to, node, given, layers.Pooling.Mean())


def _pool(to: Reader, node: Any, given: Attributes, pooling: PoolingFunction) -> None:
    kernel, bottom = given["kernel_shape"], _source(to, node)
    axes = len(kernel)
    pads, rounding = list(given.get("pads", (0,) * (2 * axes))), "ceil" if given.get("ceil_mode", 0) else "floor"
    if rounding == "floor" and pads[:axes] != pads[axes:]:
        stride = given.get("strides", (1,) * axes)
        hang = zip(pads[:axes], pads[axes:], stride, strict=True)
        if pooling.kind == "max" and all(before <= behind < before + s for before, behind, s in hang):
            given, rounding = given | {"pads": [*pads[:axes], *pads[:axes]]}, "ceil"  # what hangs over the edge
    window = _window(to, node, given, kernel)
    to.add(node, layers.PoolingLayer, [bottom], pooling=pooling, round=rounding, divisor="caffe", **window)


def global_pool(to: Reader, node: Any, given: Attributes) -> None:
    pooling = layers.Pooling.Max() if node.op_type == "GlobalMaxPool" else layers.Pooling.Mean()
    to.add(node, layers.PoolingLayer, [to.blob(node)], pooling=pooling, whole=True)


def resize(to: Reader, node: Any, given: Attributes) -> None:
    """Every element becomes a block of equal ones: a deconvolution with a filter of ones for each channel."""
    place = 1 if node.op_type == "Upsample" else 2
    scales = np.asarray(given["scales"]) if "scales" in given else to.constant(node, place)
    bottom = to.blob(node)
    shape = to.shapes[bottom]
    if (scales is None or not scales.size) and len(node.input) > 3:
        scales = to.needed(node, 3) / np.array(shape)
    if (
        given.get("mode", "nearest") != "nearest"
        or scales is None
        or np.any(scales[:2] != 1)
        or np.any(scales % 1 != 0)
    ):
        raise to.refuse(
            node, f"only whole factors by the nearest element are read; got {given.get('mode')} by {scales}"
        )
    factors = [int(s) for s in scales[2:]]
    to.add(
        node, layers.DeconvolutionLayer, [bottom], [np.ones((shape[1], 1, *factors))], kernel=tuple(factors[::-1]),
        stride=tuple(factors[::-1]), n_filter=shape[1], n_group=shape[1], bias=False, filter_lr=0.0, filter_regu=NoRegu(),
        filter_init=ConstantInitializer(1.0),
    )  # fmt: skip


# ------------------------------------------------------------------------------------------------------------ products
def gemm(to: Reader, node: Any, given: Attributes) -> None:
    w, b = to.needed(node, 1), to.constant(node, 2)
    if given.get("transA", 0):
        raise to.refuse(node, "transA=1 is not read; a sample is a row")
    turned = not given.get("transB", 0)
    alpha, beta = float(given.get("alpha", 1.0)), float(given.get("beta", 1.0))
    plain = not turned and alpha == beta == 1
    w = (w.T if turned else w) * w.dtype.type(alpha)
    if b is not None:
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


# ----------------------------------------------------------------------------------------------------------- pointwise
def pointwise(kind: type[layers.Layer], **fields: str) -> Callable[[Reader, Any, Attributes], None]:
    """A layer that takes attributes under other names: field="attribute:default"."""

    def importer(to: Reader, node: Any, given: Attributes) -> None:
        values = {}
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
    channels = to.shapes[bottom][1]
    if slope.size not in (1, channels):
        raise to.refuse(node, f"its slope is {slope.shape}; expected one, or one for each of {channels} channels")
    shared = slope.size == 1 and channels != 1
    to.add(node, layers.PReLULayer, [bottom], [slope.reshape(() if shared else (channels,))], channel_shared=shared)


def softmax(to: Reader, node: Any, given: Attributes) -> None:
    bottom = to.blob(node)
    shape = to.shapes[bottom]
    axis = int(given.get("axis", 1 if to.opset < 13 else -1)) % len(shape)
    if to.opset < 13 and math.prod(shape[axis + 1 :]) > 1:
        raise to.refuse(
            node,
            f"before opset 13 it runs over axes {axis} to {len(shape) - 1} together; export with opset 13 or later",
        )
    to.add(node, layers.SoftmaxLayer, [bottom], axis=axis)


# ------------------------------------------------------------------------------------------------------------ channels
def batch_normalization(to: Reader, node: Any, given: Attributes) -> None:
    """Stored statistics, then a factor and a term per channel, as in Caffe."""
    gamma, beta, mean, variance = (to.needed(node, i) for i in range(1, 5))
    if given.get("training_mode", 0):
        raise to.refuse(node, "is exported for training; export the model in evaluation mode")
    between = f"{node.output[0]}_normalised"
    name = to.layer_name(node)
    to.add(
        node, layers.BatchNormLayer, [to.blob(node)], [mean, variance, np.ones(1)], tops=[between], name=f"{name}_norm",
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
        if value.size != 1 or (kind == "Div" and value.reshape(()) != 1):
            raise to.refuse(
                node, "a constant less an image, or divided by one, is read where it is one number (1 to divide)"
            )
        fields = {"scale": -1.0, "shift": float(value.reshape(()))} if kind == "Sub" else {"power": -1.0}
        to.add(node, layers.PowerLayer, [bottom], **fields)
        return
    value = {"Sub": lambda v: -v, "Div": lambda v: 1 / v}.get(kind, lambda v: v)(np.asarray(value, np.float64))
    product = kind in ("Mul", "Div")
    if value.size == 1:
        number = float(value.reshape(()))
        fields = {"scale": number} if product else {"shift": number}
        to.add(node, layers.PowerLayer, [bottom], **fields)
        return
    axis, shape = _placed(to, node, to.shapes[bottom], value)
    layer = layers.ScaleLayer if product else layers.BiasLayer
    to.add(node, layer, [bottom], [value.reshape(shape)], axis=axis, num_axes=len(shape))


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
    bottoms = to.blobs(node)
    shapes = {to.shapes[b] for b in bottoms}
    if len(shapes) > 1:
        raise to.refuse(node, f"combines blobs of {' and '.join(map(str, sorted(shapes)))}; only equal shapes are read")
    means = (1 / len(bottoms),) * len(bottoms) if node.op_type == "Mean" else ()
    to.add(node, layers.ElementWiseLayer, bottoms, operation=_FUNCTIONS[node.op_type], coefficients=means)


def several(to: Reader, node: Any, given: Attributes) -> None:
    if len(node.input) == 1:
        to.hand_on(node)
    else:
        _between_blobs(to, node)


# --------------------------------------------------------------------------------------------------------------- moves
def hand_on(to: Reader, node: Any, given: Attributes) -> None:
    to.hand_on(node)


def concat(to: Reader, node: Any, given: Attributes) -> None:
    to.add(node, layers.ConcatLayer, to.blobs(node), axis=int(given["axis"]))


def split(to: Reader, node: Any, given: Attributes) -> None:
    bottom = to.blob(node)
    axis, known = int(given.get("axis", 0)), to.constant(node, 1)
    sizes = given.get("split") or (None if known is None else known.tolist())
    points = () if sizes is None else tuple(int(n) for n in np.cumsum(sizes)[:-1])
    to.add(node, layers.SliceLayer, [bottom], tops=list(node.output), axis=axis, points=points)


def flatten(to: Reader, node: Any, given: Attributes) -> None:
    if int(given.get("axis", 1)) != 1:
        raise to.refuse(node, f"axis {given['axis']} is not read; only 1, which keeps the samples")
    _flatten(to, node)


def _flatten(to: Reader, node: Any) -> None:
    """(N, K); in front of an inner product it takes nothing from a dense pass."""
    if len(to.shapes[to.blob(node)]) == 2:
        to.hand_on(node)
    else:
        to.add(node, layers.FlattenLayer, [to.blob(node)])


def reshape(to: Reader, node: Any, given: Attributes) -> None:
    target = [int(n) for n in given.get("shape") or to.needed(node, 1)]
    bottom = to.blob(node)
    batch, *sample = to.shapes[bottom]
    if len(target) == 2 and (target[0] in (0, batch) or target == [-1, math.prod(sample)]):
        _flatten(to, node)
        return
    if target and target[0] in (-1, batch) and (target[0] == batch or -1 not in target[1:]):
        target[0] = 0  # the batch, which may be another one later
    to.add(node, layers.ReshapeLayer, [bottom], dims=tuple(target))


def squeeze(to: Reader, node: Any, given: Attributes) -> None:
    known = to.constant(node, 1)
    bottom = to.blob(node)
    shape = to.shapes[bottom]
    axes = given.get("axes") or (
        known.tolist() if known is not None else [i for i, n in enumerate(shape) if n == 1 and i]
    )
    kept = [i for i in range(len(shape)) if i not in {a % len(shape) for a in axes}]
    if kept == [0, 1]:
        _flatten(to, node)
        return
    to.add(node, layers.ReshapeLayer, [bottom], dims=tuple(0 if i == 0 else shape[i] for i in kept))


def unsqueeze(to: Reader, node: Any, given: Attributes) -> None:
    known = to.constant(node, 1)
    bottom = to.blob(node)
    shape = list(to.shapes[bottom])
    axes = given.get("axes") or (known.tolist() if known is not None else [])
    rank = len(shape) + len(axes)
    for axis in sorted(a % rank for a in axes):
        shape.insert(axis, 1)
    to.add(node, layers.ReshapeLayer, [bottom], dims=(0, *shape[1:]))


def slice_(to: Reader, node: Any, given: Attributes) -> None:
    """Rows and columns are trimmed, channels sliced."""
    bottom = to.blob(node)
    shape = to.shapes[bottom]
    if "starts" in given:
        starts, ends = given["starts"], given["ends"]
        axes, steps = given.get("axes", range(len(starts))), [1] * len(starts)
    else:
        found = [to.constant(node, i) for i in range(1, 5)]
        starts, ends = (v.tolist() for v in found[:2] if v is not None)
        axes = range(len(starts)) if found[2] is None else found[2].tolist()
        steps = [1] * len(starts) if found[3] is None else found[3].tolist()
    if any(s != 1 for s in steps):
        raise to.refuse(node, f"steps {steps} are not read; only whole boxes")
    box = [slice(0, n) for n in shape]
    for axis, start, end in zip(axes, starts, ends, strict=True):
        box[axis % len(shape)] = slice(*slice(start, end).indices(shape[axis])[:2])
    if box[0] != slice(0, shape[0]):
        raise to.refuse(node, "cuts the batch, which is not read")
    changed = [i for i, (b, n) in enumerate(zip(box, shape, strict=True)) if b != slice(0, n)]
    if not changed:
        to.hand_on(node)
    elif min(changed) >= 2:
        before = tuple(b.start for b in box[2:])
        after = tuple(n - b.stop for b, n in zip(box[2:], shape[2:], strict=True))
        to.add(node, TrimLayer, [bottom], before=before, after=after)
    elif changed == [1]:
        _slice_channels(to, node, bottom, box[1].start, box[1].stop, shape[1])
    else:
        raise to.refuse(node, "cuts channels together with rows or columns, which is not read; export two slices")


def _slice_channels(to: Reader, node: Any, bottom: str, start: int, stop: int, channels: int) -> None:
    bounds = sorted({0, start, stop, channels})
    tops = [node.output[0] if b == start else f"{node.output[0]}_rest{i}" for i, b in enumerate(bounds[:-1])]
    to.add(node, layers.SliceLayer, [bottom], tops=tops, axis=1, points=tuple(bounds[1:-1]))
    rest = [t for t in tops if t != node.output[0]]
    to.add(node, layers.SilenceLayer, rest, tops=[], name=f"{tops[0]}_silence")


def reduce(to: Reader, node: Any, given: Attributes) -> None:
    """Sums and means over all rows and columns, or over the last axes."""
    bottom, known = to.blob(node), to.constant(node, 1)
    shape = to.shapes[bottom]
    axes = sorted(
        a % len(shape) for a in (given.get("axes") or ([] if known is None else known.tolist()) or range(len(shape)))
    )
    if axes != [2, 3] or len(shape) != 4 or node.op_type == "ReduceSum":
        raise to.refuse(node, f"only means and maxima over rows and columns are read; got axes {axes} of {shape}")
    pooling = layers.Pooling.Max() if node.op_type == "ReduceMax" else layers.Pooling.Mean()
    if given.get("keepdims", 1):
        to.add(node, layers.PoolingLayer, [bottom], pooling=pooling, whole=True)
        return
    whole = f"{node.output[0]}_whole"
    to.add(node, layers.PoolingLayer, [bottom], tops=[whole], pooling=pooling, whole=True)
    to.add(node, layers.FlattenLayer, [whole], name=f"{to.layer_name(node)}_flat")


IMPORTERS: dict[str, Callable[[Reader, Any, Attributes], None]] = {
    "Abs": pointwise(layers.AbsValLayer),
    "Add": arithmetic,
    "AveragePool": average_pool,
    "BatchNormalization": batch_normalization,
    "Clip": clip,
    "Concat": concat,
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "Div": arithmetic,
    "Dropout": hand_on,
    "Elu": pointwise(layers.ELULayer, alpha="alpha:1"),
    "Exp": pointwise(layers.ExpLayer),
    "Flatten": flatten,
    "Gemm": gemm,
    "GlobalAveragePool": global_pool,
    "GlobalMaxPool": global_pool,
    "Identity": hand_on,
    "LRN": lrn,
    "LeakyRelu": pointwise(layers.ReLULayer, negative_slope="alpha:0.01"),
    "Log": pointwise(layers.LogLayer),
    "MatMul": matmul,
    "Max": several,
    "MaxPool": max_pool,
    "Mean": several,
    "Mul": arithmetic,
    "PRelu": prelu,
    "Pad": pad,
    "ReduceMax": reduce,
    "ReduceMean": reduce,
    "Relu": pointwise(layers.ReLULayer),
    "Reshape": reshape,
    "Resize": resize,
    "Sigmoid": pointwise(layers.SigmoidLayer),
    "Slice": slice_,
    "Softmax": softmax,
    "Softplus": pointwise(layers.BNLLLayer),
    "Split": split,
    "Squeeze": squeeze,
    "Sub": arithmetic,
    "Sum": several,
    "Tanh": pointwise(layers.TanHLayer),
    "Unsqueeze": unsqueeze,
    "Upsample": resize,
}
