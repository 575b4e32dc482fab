"""Caffe's layer types as ours, and ours as Caffe's: for each type one short function there, and one back.

Caffe's sizes are rows before columns, our constructors take (width, height): each function turns them once. Whatever a
file sets and a function does not ask for is refused by `LayerText.finish`, never ignored.
"""

import difflib
from collections.abc import Callable
from typing import Any

from ...errors import ShapeError
from ...layers import SumLossLayer
from ...layers.base import Layer
from ..layertext import Config, LayerText
from ..wording import Wording
from . import channels, data, losses, moves, pointwise, recurrent, windows

_PARTS = (data, windows, channels, pointwise, moves, recurrent, losses)

TRANSLATIONS: dict[str, Callable[[LayerText], Config]] = {k: f for part in _PARTS for k, f in part.READERS.items()}
WRITERS: dict[type[Layer], Callable[[Any, Wording], None]] = {k: f for part in _PARTS for k, f in part.WRITERS.items()}


def translate(text: LayerText) -> list[Config]:
    """Our configs for one layer of a prototxt: the layer, then a sum for each top that `loss_weight` makes a loss."""
    kind = text.message.type
    if kind not in TRANSLATIONS:
        known = sorted(name for name, function in TRANSLATIONS.items() if function not in data.REFUSED)
        near = difflib.get_close_matches(kind, known, 3, 0.6)
        hint = f"near to it: {', '.join(near)}" if near else f"types that are: {', '.join(known)}"
        raise text.refuse(f"layer type '{kind}' is not built; {hint}")
    try:
        config = TRANSLATIONS[kind](text)
    except ShapeError as error:
        raise ShapeError(f"{text.source}: {error}") from error
    config = config.copy(propagate_down=_propagate_down(text))
    sums = _sums(text, config)
    text.finish()
    return [config, *sums]


def _propagate_down(text: LayerText) -> list[bool]:
    """To which bottoms a gradient may pass."""
    flags = list(text.message.propagate_down)
    if flags and len(flags) != len(text.bottoms):
        raise text.wrong(f"has {len(flags)} propagate_down for {len(text.bottoms)} bottoms; expected one each")
    return flags


def _sums(text: LayerText, config: Config) -> list[Config]:
    """The losses that `loss_weight` makes of tops which are none by themselves: weight * (sum of the top)."""
    weights, own = text.numbers(text.message, "loss_weight"), int(config.has_loss)
    if len(weights) not in (0, max(own, len(text.tops))):
        raise text.wrong(f"has {len(weights)} loss_weight for {len(text.tops)} tops; expected none, or one each")
    weighed = [(top, w) for top, w in zip(text.tops[own:], weights[own:], strict=True) if w] if weights else []
    if weighed and not config.differentiable:
        raise text.refuse("loss_weight has no meaning here, because no gradient passes through this type; remove it")
    return [SumLossLayer(name=f"{text.name}-loss", bottoms=[top], weight=weight) for top, weight in weighed]
