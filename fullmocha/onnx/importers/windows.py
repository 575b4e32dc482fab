"""Operators that slide over rows and columns."""

from typing import Any

import numpy as np

from ... import layers
from ...blob import Shape
from ...layers.pooling import PoolingFunction
from ..padding import FIXED, even, surround, trimmed
from ..reader import Attributes, Reader


def conv(to: Reader, node: Any, given: Attributes) -> None:
    w, b = to.needed(node, 1), to.constant(node, 2)
    bottom, waiting = to.padded.get(to.tensor(node), ("", ()))
    if not bottom or min(waiting) < 0:
        bottom, waiting = to.blob(node), (0,) * (2 * (w.ndim - 2))
    _slide(
        to, node, given, layers.ConvolutionLayer, bottom, waiting, w.shape[2:], [w, *([] if b is None else [b])],
        n_filter=len(w), n_group=given.get("group", 1), bias=b is not None, param_names=to.shared(node, 1, 2),
    )  # fmt: skip


def conv_transpose(to: Reader, node: Any, given: Attributes) -> None:
    """What the padding takes away, and `output_padding` gives back, of all places that the filters reach."""
    w, b = to.needed(node, 1), to.constant(node, 2)
    bottom, group, axes = to.blob(node), given.get("group", 1), w.ndim - 2
    pads, stride, dilation = _given(to, node, given, axes)
    more = given.get("output_padding", (0,) * axes)
    size, auto = to.shapes[bottom][2:], given.get("auto_pad", "NOTSET")
    wanted = given.get("output_shape") or (
        [n * s for n, s in zip(size, stride, strict=True)] if "SAME" in auto else None
    )
    reach = [(n - 1) * s + (k - 1) * d + 1 for n, s, k, d in zip(size, stride, w.shape[2:], dilation, strict=True)]
    if wanted:
        pads = _halves(auto == "SAME_UPPER", [r + m - n for r, m, n in zip(reach, more, wanted, strict=True)])
    ends = [*pads[:axes], *(e - m for e, m in zip(pads[axes:], more, strict=True))]
    pad = [min(pair) for pair in zip(ends[:axes], ends[axes:], strict=True)]
    if min(pad) < 0:
        raise to.refuse(
            node, f"its output_padding {list(more)} lies beyond all that its filters reach; use a larger kernel"
        )
    before = tuple(p - q for p, q in zip(ends[:axes], pad, strict=True))
    kept = tuple(r - p - q for r, p, q in zip(reach, ends[:axes], ends[axes:], strict=True))
    trimmed(
        to, node, layers.DeconvolutionLayer, bottom, before, kept, [w, *([] if b is None else [b])],
        n_filter=w.shape[1] * group, n_group=group, bias=b is not None, param_names=to.shared(node, 1, 2),
        **window(w.shape[2:], stride, dilation, pad),
    )  # fmt: skip


def _given(to: Reader, node: Any, given: Attributes, axes: int) -> tuple[list[int], Any, Any]:
    """Pads, stride and dilation as the node says them."""
    if given.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"):
        raise to.wrong(node, f"auto_pad is {given['auto_pad']!r}")
    return list(given.get("pads", (0,) * (2 * axes))), *(given.get(k, (1,) * axes) for k in ("strides", "dilations"))


def _halves(less_before: bool, total: Any) -> list[int]:
    less, more = [t // 2 for t in total], [t - t // 2 for t in total]
    return [*less, *more] if less_before else [*more, *less]


def _pads(to: Reader, node: Any, given: Attributes, bottom: str, waiting: Any, kernel: Any) -> list[int]:
    """All padding before, then behind; SAME is that with which there are ceil(size / stride) places."""
    axes = len(kernel)
    pads, stride, dilation = _given(to, node, given, axes)
    waiting = waiting or (0,) * (2 * axes)
    if "SAME" in given.get("auto_pad", ""):
        size = [n + b + e for n, b, e in zip(to.shapes[bottom][2:], waiting[:axes], waiting[axes:], strict=True)]
        total = [
            max(0, (-(-n // s) - 1) * s + (k - 1) * d + 1 - n)
            for n, k, s, d in zip(size, kernel, stride, dilation, strict=True)
        ]
        pads = _halves(given["auto_pad"] == "SAME_UPPER", total)
    return [p + q for p, q in zip(pads, waiting, strict=True)]


def window(kernel: Any, stride: Any, dilation: Any, pad: Any) -> Attributes:
    """Turned to our order."""
    sizes = {"kernel": kernel, "stride": stride, "dilation": dilation, "pad": pad}
    return {name: tuple(int(n) for n in reversed(values)) for name, values in sizes.items()}


def _slide(
    to: Reader,
    node: Any,
    given: Attributes,
    kind: Any,
    bottom: str,
    waiting: Any,
    kernel: Any,
    values: Any,
    **fields: Any,
) -> None:
    """A window whose padding may differ before and behind."""
    axes = len(kernel)
    pads = _pads(to, node, given, bottom, waiting, kernel)
    _, stride, dilation = _given(to, node, given, axes)
    pad, before = even(pads, stride)
    sizes = zip(to.shapes[bottom][2:], pads[:axes], pads[axes:], kernel, dilation, stride, strict=True)
    wanted = tuple((n + b + e - (k - 1) * d - 1) // s + 1 for n, b, e, k, d, s in sizes)
    trimmed(to, node, kind, bottom, before, wanted, values, **window(kernel, stride, dilation, pad), **fields)


def pad(to: Reader, node: Any, given: Attributes) -> None:
    """Zeros around rows and columns wait for the convolution that reads them."""
    amounts, axes = given.get("pads", given.get("paddings")), None
    value = given.get("value", 0.0)
    if amounts is None:
        amounts, filling, axes = to.needed(node, 1).tolist(), to.constant(node, 2), to.constant(node, 3)
        value = 0.0 if filling is None else float(filling.reshape(()))
    bottom = to.blob(node)
    rank, half = len(to.shapes[bottom]), len(amounts) // 2
    pads = [0] * (2 * rank)
    for i, axis in enumerate(range(rank) if axes is None else axes.tolist()):
        pads[axis % rank], pads[axis % rank + rank] = amounts[i], amounts[i + half]
    if not any(pads):
        to.hand_on(node)
        return
    mode = given.get("mode", "constant")
    if mode != "constant" and max(pads) > 0:
        raise to.refuse(
            node, f'pads by {mode!r}, and only zeros are read; pad by zeros, or not at all: predict(border="symmetric") extends '
            "the image for you"
        )  # fmt: skip
    if (value != 0 and max(pads) > 0) or any(pads[:2]) or any(pads[rank : rank + 2]):
        raise to.refuse(node, f"only zeros around rows and columns are read; got {pads} of {value}")
    to.padded[node.output[0]] = bottom, (*pads[2:rank], *pads[rank + 2 :])


def max_pool(to: Reader, node: Any, given: Attributes) -> None:
    if len(node.output) > 1 and to.uses[node.output[1]]:
        raise to.refuse(node, "its second output, the places of the maxima, is not read")
    _pool(to, node, given, layers.Pooling.Max())


def average_pool(to: Reader, node: Any, given: Attributes) -> None:
    """A mean that leaves the padding out is that of the zeros around the image, divided by that of ones instead of the image."""
    bottom, kernel = to.blob(node), given["kernel_shape"]
    pads = _pads(to, node, given, bottom, (), kernel)
    axes, whole = len(kernel), bool(given.get("count_include_pad", 0))
    if not any(pads) or (whole and pads[:axes] == pads[axes:]):
        _pool(to, node, given, layers.Pooling.Mean())
        return
    if given.get("ceil_mode", 0):
        raise to.refuse(
            node, f"pads by {pads} with ceil_mode, and leaves that out or has it on one side; use one of both"
        )
    _, stride, dilation = _given(to, node, given, axes)
    fields: Attributes = {
        "pooling": layers.Pooling.Mean(),
        "round": "floor",
        **window(kernel, stride, dilation, (0,) * axes),
    }
    image = surround(to, node, bottom, pads)
    if whole:
        to.add(node, layers.PoolingLayer, [image], **fields)
        return
    ones = surround(to, node, ones_like(to, node, bottom), pads)
    means = [to.step(node, layers.PoolingLayer, b, **fields) for b in (image, ones)]
    to.add(node, layers.ElementWiseLayer, means, operation=layers.ElementWiseFunctors.Divide())


def ones_like(to: Reader, node: Any, bottom: str) -> str:
    return to.step(node, layers.PowerLayer, bottom, scale=0.0, shift=1.0)


def _pool(to: Reader, node: Any, given: Attributes, pooling: PoolingFunction) -> None:
    bottom, kernel = to.blob(node), given["kernel_shape"]
    axes = len(kernel)
    fields: Attributes = {"pooling": pooling, "divisor": "caffe"}
    pads = _pads(to, node, given, bottom, (), kernel)
    _, stride, dilation = _given(to, node, given, axes)
    before, behind, ceil = pads[:axes], pads[axes:], bool(given.get("ceil_mode", 0))
    hangs = pooling.kind == "max" and all(b <= e < b + s for b, e, s in zip(before, behind, stride, strict=True))
    if ceil and before != behind:
        raise to.refuse(node, f"pads {before} before and {behind} behind, with ceil_mode; only equal ones are read")
    if ceil or (before != behind and hangs):  # the last window hangs over the edge by itself
        fields |= {"round": "ceil", **window(kernel, stride, dilation, before)}
        to.add(node, layers.PoolingLayer, [bottom], **fields)
    else:
        _slide(to, node, given, layers.PoolingLayer, bottom, (), kernel, (), round="floor", **fields)


def global_pool(to: Reader, node: Any, given: Attributes) -> None:
    pooling = layers.Pooling.Max() if node.op_type == "GlobalMaxPool" else layers.Pooling.Mean()
    to.add(node, layers.PoolingLayer, [to.blob(node)], pooling=pooling, whole=True)


def reduce(to: Reader, node: Any, given: Attributes) -> None:
    """Means and maxima over all rows and columns are pooled; of the last axes there are sums and means."""
    bottom, known = to.blob(node), to.constant(node, 1)
    shape = to.shapes[bottom]
    rank, kind = len(shape), node.op_type
    asked = given.get("axes") or (None if known is None else known.tolist())
    if not asked and given.get("noop_with_empty_axes", 0):
        to.hand_on(node)
        return
    axes = sorted(a % rank for a in asked or range(rank))
    last = all(i in axes or shape[i] == 1 for i in range(axes[0], rank))
    kept = bool(given.get("keepdims", 1))
    if kind in ("ReduceMax", "ReduceMean") and last and axes[0] == 2:
        pooling = layers.Pooling.Max() if kind == "ReduceMax" else layers.Pooling.Mean()
        fields: Attributes = {"pooling": pooling, "whole": True}
        _and_then(to, node, layers.PoolingLayer, fields, None if kept else (layers.FlattenLayer, {}))
    elif kind == "ReduceMax" and len(axes) == 1 and axes[0] > 0:
        again = None if kept else (layers.ReshapeLayer, {"dims": _without(shape, axes[0])})
        _and_then(to, node, layers.ArgmaxLayer, {"axis": axes[0], "output": "value"}, again)
    elif kind in ("ReduceSum", "ReduceMean") and axes == [1] and rank > 2:
        weights = np.full((1, shape[1], *(1,) * (rank - 2)), 1.0 if kind == "ReduceSum" else 1 / shape[1])
        fields = {"values": [weights], "kernel": 1, "n_filter": 1, **FIXED}
        _and_then(
            to,
            node,
            layers.ConvolutionLayer,
            fields,
            None if kept else (layers.ReshapeLayer, {"dims": _without(shape, 1)}),
        )
    elif kind in _SUMS and last and axes[0] > 0:
        again = (layers.ReshapeLayer, {"dims": (*(0,) * axes[0], *(1,) * (rank - axes[0]))}) if kept else None
        _and_then(to, node, layers.ReductionLayer, {"operation": _SUMS[kind], "axis": axes[0]}, again)
    else:
        raise to.refuse(
            node,
            f"over axes {axes} of {shape}; only the last axes are read (of a maximum: rows and columns, or one axis)",
        )


def _without(shape: Shape, axis: int) -> Shape:
    """What a reshape that drops an axis is told; the batch stays open."""
    return tuple(n if i else 0 for i, n in enumerate(shape) if i != axis)


_SUMS = {"ReduceSum": "sum", "ReduceL1": "asum", "ReduceSumSquare": "sumsq", "ReduceMean": "mean"}


def _and_then(to: Reader, node: Any, kind: type[layers.Layer], fields: Attributes, then: Any) -> None:
    """One layer, or two."""
    if then is None:
        to.add(node, kind, [to.blob(node)], **fields)
        return
    name = to.layer_name(node)
    between = to.step(node, kind, to.blob(node), name=name, **fields)
    second, more = then
    to.add(node, second, [between], name=f"{name}_shape", **more)


def arg_max(to: Reader, node: Any, given: Attributes) -> None:
    shape = to.shapes[to.blob(node)]
    axis = int(given.get("axis", 0)) % len(shape)
    fields: Attributes = {"axis": axis, "ties": "last" if given.get("select_last_index", 0) else "first"}
    kept = bool(given.get("keepdims", 1)) or axis == 0
    _and_then(
        to, node, layers.ArgmaxLayer, fields, None if kept else (layers.ReshapeLayer, {"dims": _without(shape, axis)})
    )
