"""Operators that slide over rows and columns."""

import math
from typing import Any

import numpy as np

from ... import layers
from ...initializers import ConstantInitializer
from ...layers.pooling import PoolingFunction
from ...regularizers import NoRegu
from ..load import Attributes, Reader

_MOST_FILTERS = 2**24


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
    if math.prod((shape[1], *factors)) > _MOST_FILTERS:
        raise to.refuse(node, f"{shape[1]} channels by {factors} are more than {_MOST_FILTERS} weights of ones")
    to.add(
        node, layers.DeconvolutionLayer, [bottom], [np.ones((shape[1], 1, *factors))], kernel=tuple(factors[::-1]),
        stride=tuple(factors[::-1]), n_filter=shape[1], n_group=shape[1], bias=False, filter_lr=0.0, filter_regu=NoRegu(),
        filter_init=ConstantInitializer(1.0),
    )  # fmt: skip


def reduce(to: Reader, node: Any, given: Attributes) -> None:
    """Means and maxima over all rows and columns are pooled; of the last axes there are sums and means."""
    bottom, known = to.blob(node), to.constant(node, 1)
    shape = to.shapes[bottom]
    rank, kind = len(shape), node.op_type
    asked = given.get("axes") or (None if known is None else known.tolist()) or range(rank)
    axes = sorted(a % rank for a in asked)
    last = all(i in axes or shape[i] == 1 for i in range(axes[0], rank))
    kept = bool(given.get("keepdims", 1))
    if kind in ("ReduceMax", "ReduceMean") and last and axes[0] == 2:
        pooling = layers.Pooling.Max() if kind == "ReduceMax" else layers.Pooling.Mean()
        fields: Attributes = {"pooling": pooling, "whole": True}
        _and_then(to, node, layers.PoolingLayer, fields, None if kept else (layers.FlattenLayer, {}))
    elif kind == "ReduceMax" and len(axes) == 1 and kept:
        to.add(node, layers.ArgmaxLayer, [bottom], axis=axes[0], output="value")
    elif kind in _SUMS and last and axes[0] > 0:
        again = (layers.ReshapeLayer, {"dims": (*(0,) * axes[0], *(1,) * (rank - axes[0]))}) if kept else None
        _and_then(to, node, layers.ReductionLayer, {"operation": _SUMS[kind], "axis": axes[0]}, again)
    else:
        raise to.refuse(
            node, f"over axes {axes} of {shape}; only the last axes are read (of a maximum: rows and columns)"
        )


_SUMS = {"ReduceSum": "sum", "ReduceL1": "asum", "ReduceSumSquare": "sumsq", "ReduceMean": "mean"}


def _and_then(to: Reader, node: Any, kind: type[layers.Layer], fields: Attributes, then: Any) -> None:
    """One layer, or two."""
    if then is None:
        to.add(node, kind, [to.blob(node)], **fields)
        return
    between, name = f"{node.output[0]}_before", to.layer_name(node)
    to.add(node, kind, [to.blob(node)], tops=[between], name=name, **fields)
    second, more = then
    to.add(node, second, [between], name=f"{name}_shape", **more)


def arg_max(to: Reader, node: Any, given: Attributes) -> None:
    bottom = to.blob(node)
    axis = int(given.get("axis", 0)) % len(to.shapes[bottom])
    fields: Attributes = {"axis": axis, "ties": "last" if given.get("select_last_index", 0) else "first"}
    sizes = tuple(n if i else 0 for i, n in enumerate(to.shapes[bottom]) if i != axis)
    kept = bool(given.get("keepdims", 1)) or axis == 0
    _and_then(to, node, layers.ArgmaxLayer, fields, None if kept else (layers.ReshapeLayer, {"dims": sizes}))
