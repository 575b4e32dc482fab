"""Operators that hand on, join, cut and reshape."""

import math
from typing import Any

import numpy as np

from ... import layers
from ...layers.crop import TrimLayer
from ..load import Attributes, Reader


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
