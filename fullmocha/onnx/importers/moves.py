"""Operators that hand on, join, cut and reshape."""

import math
from typing import Any

import numpy as np

from ... import layers
from ...layers.crop import TrimLayer
from ..reader import Attributes, Reader, free


def hand_on(to: Reader, node: Any, given: Attributes) -> None:
    to.hand_on(node)


def cast(to: Reader, node: Any, given: Attributes) -> None:
    """Numbers stay as they are, in the net's precision; to whole ones only what is whole by itself."""
    from onnx import TensorProto

    to.hand_on(node)
    made = {top: type(layer) for layer in to.layers for top in layer.tops}
    whole = made.get(to.names[node.output[0]]) in (layers.ArgmaxLayer, layers.ThresholdLayer, layers.ReshapeLayer)
    if (
        given["to"] not in (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16)
        and not whole
    ):
        raise to.refuse(node, "makes whole numbers of an image's, which no layer here does; leave it out of the export")


def dropout(to: Reader, node: Any, given: Attributes) -> None:
    training = to.constant(node, 2)
    if training is not None and training.any():
        raise to.refuse(node, "is exported for training; export the model in evaluation mode")
    to.hand_on(node)


def concat(to: Reader, node: Any, given: Attributes) -> None:
    to.add(node, layers.ConcatLayer, to.blobs(node), axis=int(given["axis"]))


def split(to: Reader, node: Any, given: Attributes) -> None:
    bottom = to.blob(node)
    axis, known = int(given.get("axis", 0)), to.constant(node, 1)
    sizes = given.get("split") or (None if known is None else known.tolist())
    if sizes is None:
        whole = to.shapes[bottom][axis]
        chunk = -(-whole // len(node.output))
        sizes = [min(chunk, whole - start) for start in range(0, whole, chunk)]
    points = tuple(int(n) for n in np.cumsum(sizes)[:-1])
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
    if target and (target[0] == batch or (target[0] == -1 and math.prod(target[1:]) == math.prod(sample))):
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
    if any(b.start >= b.stop for b in box):
        raise to.wrong(node, f"cuts nothing out of {shape}")
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


def gather(to: Reader, node: Any, given: Attributes) -> None:
    """One place along an axis, which is then gone."""
    index, bottom = to.needed(node, 1), to.blob(node)
    shape = to.shapes[bottom]
    axis = int(given.get("axis", 0)) % len(shape)
    if index.size != 1 or index.ndim > 1 or axis == 0:
        raise to.refuse(
            node, f"takes {index.size} places along axis {axis} of {shape}; only one, of another axis than 0, is read"
        )
    at = int(index.reshape(())) % shape[axis]
    if shape[axis] > 1:
        points = tuple(p for p in (at, at + 1) if 0 < p < shape[axis])
        tops = [free(f"{node.output[0]}_{i}", {*to.shapes, *to.uses}) for i in range(len(points) + 1)]
        name = to.layer_name(node)
        to.add(node, layers.SliceLayer, [bottom], tops=tops, axis=axis, points=points, name=f"{name}_slice")
        bottom = tops.pop(int(at > 0))
        to.add(node, layers.SilenceLayer, tops, tops=[], name=f"{name}_silence")
    kept = [n for i, n in enumerate(shape) if i != axis]
    if index.ndim:
        to.add(node, layers.IdentityLayer, [bottom])
    elif len(kept) == 2:
        to.add(node, layers.FlattenLayer, [bottom])
    else:
        to.add(node, layers.ReshapeLayer, [bottom], dims=(0, *kept[1:]))


def transpose(to: Reader, node: Any, given: Attributes) -> None:
    """Only said, until another one turns the axes back: before opset 13 a softmax of channels stands between two of them."""
    tensor = to.tensor(node)
    bottom, order = to.turned.get(tensor) or (to.blob(node), tuple(range(len(to.shapes[to.blob(node)]))))
    order = tuple(order[axis] for axis in given.get("perm", range(len(order))[::-1]))
    if order == tuple(range(len(order))):
        to.names[node.output[0]] = bottom
    else:
        to.turned[node.output[0]] = bottom, order


def expand(to: Reader, node: Any, given: Attributes) -> None:
    bottom = to.blob(node)
    shape = to.shapes[bottom]
    target = to.needed(node, 1).tolist()
    target = [1] * (len(shape) - len(target)) + target
    _repeat(to, node, bottom, [1 if t in (1, n) else t for t, n in zip(target, shape, strict=True)])


def tile(to: Reader, node: Any, given: Attributes) -> None:
    _repeat(to, node, to.blob(node), to.needed(node, 1).tolist())


def _repeat(to: Reader, node: Any, bottom: str, times: list[int]) -> None:
    if times[0] != 1:
        raise to.refuse(node, "repeats the batch, which is not read")
    for axis, n in enumerate(times):
        if n != 1:
            bottom = to.step(node, layers.TileLayer, bottom, axis=axis, tiles=int(n))
    to.add(node, layers.IdentityLayer, [bottom])


def _slice_channels(to: Reader, node: Any, bottom: str, start: int, stop: int, channels: int) -> None:
    bounds = sorted({0, start, stop, channels})
    tops = [node.output[0] if b == start else f"{node.output[0]}_rest{i}" for i, b in enumerate(bounds[:-1])]
    to.add(node, layers.SliceLayer, [bottom], tops=tops, axis=1, points=tuple(bounds[1:-1]))
    rest = [t for t in tops if t != node.output[0]]
    to.add(node, layers.SilenceLayer, rest, tops=[], name=f"{to.layers[-1].name}_silence")
