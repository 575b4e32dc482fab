"""Caffe's layer types as ours, and ours as Caffe's: for each type one short function there, and one back.

Caffe's sizes are rows before columns, our constructors take (width, height): each function turns them once. Whatever a
file sets and a function does not ask for is refused by `LayerText.finish`, never ignored.
"""

import difflib
from collections.abc import Callable
from typing import Any

from ...errors import ShapeError
from ...layers.base import Layer
from ..layertext import Config, LayerText
from ..wording import Wording
from . import channels, data, losses, moves, pointwise, recurrent, windows

_PARTS = (data, windows, channels, pointwise, moves, recurrent, losses)

TRANSLATIONS: dict[str, Callable[[LayerText], Config]] = {k: f for part in _PARTS for k, f in part.READERS.items()}
WRITERS: dict[type[Layer], Callable[[Any, Wording], None]] = {k: f for part in _PARTS for k, f in part.WRITERS.items()}


_LOSSES = {"SoftmaxWithLoss"}


def translate(text: LayerText) -> Config:
    """Our config for one layer of a prototxt."""
    kind = text.message.type
    if kind not in TRANSLATIONS:
        known = sorted(name for name, function in TRANSLATIONS.items() if function is not data.database)
        near = difflib.get_close_matches(kind, known, 3, 0.6)
        hint = f"near to it: {', '.join(near)}" if near else f"types that are: {', '.join(known)}"
        raise text.refuse(f"layer type '{kind}' is not built; {hint}")
    try:
        config = TRANSLATIONS[kind](text)
    except ShapeError as error:
        raise ShapeError(f"{text.source}: {error}") from error
    if kind not in _LOSSES and any(text.message.loss_weight):
        raise text.refuse("loss_weight on a layer that is no loss is not built; remove it")
    config = config.copy(propagate_down=_propagate_down(text))
    text.finish()
    return config


def _propagate_down(text: LayerText) -> list[bool]:
    """To which bottoms a gradient may pass."""
    flags = list(text.message.propagate_down)
    if flags and len(flags) != len(text.bottoms):
        raise text.wrong(f"has {len(flags)} propagate_down for {len(text.bottoms)} bottoms; expected one each")
    return flags
