"""Padding, of which our layers have the same before and behind: the rest is cut off again."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import layers
from ..blob import Shape
from ..initializers import ConstantInitializer
from ..layers import Layer
from ..layers.crop import TrimLayer
from ..regularizers import NoRegu

if TYPE_CHECKING:
    from .reader import Reader

FIXED: dict[str, Any] = {
    "bias": False,
    "filter_lr": 0.0,
    "filter_regu": NoRegu(),
    "filter_init": ConstantInitializer(1.0),
}
"""Fields of a convolution whose filter stands for something that is not trained."""


def surround(to: "Reader", node: Any, bottom: str, pads: Sequence[int]) -> str:
    """A blob of zeros with the bottom in it: so many per axis before, then behind; of a negative number, that many less."""
    axes = len(pads) // 2
    wide = [max(0, *pair) for pair in zip(pads[:axes], pads[axes:], strict=True)]
    if any(wide):
        channels = to.shapes[bottom][1]
        ones = np.ones((channels, 1, *(1,) * axes))
        bottom = to.step(
            node, layers.ConvolutionLayer, bottom, values=[ones], kernel=1, pad=tuple(wide[::-1]), n_filter=channels,
            n_group=channels, **FIXED,
        )  # fmt: skip
    before, after = ([w - p for w, p in zip(wide, side, strict=True)] for side in (pads[:axes], pads[axes:]))
    if any(before) or any(after):
        bottom = to.step(node, TrimLayer, bottom, before=tuple(before), after=tuple(after))
    return bottom


def even(pads: Sequence[int], stride: Sequence[int]) -> tuple[Shape, Shape]:
    """One padding for both sides, and how many places more there are before the first one that is wanted."""
    axes = len(pads) // 2
    more = tuple(max(0, -((b - e) // s)) for b, e, s in zip(pads[:axes], pads[axes:], stride, strict=True))
    return tuple(b + m * s for b, m, s in zip(pads[:axes], more, stride, strict=True)), more


def trimmed(
    to: "Reader",
    node: Any,
    kind: type[Layer],
    bottom: str,
    before: Shape,
    wanted: Shape,
    values: Any = (),
    **fields: Any,
) -> None:
    """A layer of which only so many places are wanted, from `before` on."""
    name = to.layer_name(node)
    _, (shape,) = to.fit(node, kind, [bottom], node.output[:1], name=name, **fields)
    after = tuple(n - b - w for n, b, w in zip(shape[2:], before, wanted, strict=True))
    if not any(before) and not any(after):
        to.add(node, kind, [bottom], values, **fields)
        return
    top = to.step(node, kind, bottom, values=values, name=name, **fields)
    to.add(node, TrimLayer, [top], before=before, after=after, name=f"{name}_trim")
