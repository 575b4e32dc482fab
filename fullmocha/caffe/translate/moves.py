"""Caffe's layers that pass blobs on, join them, or take them apart."""

from collections.abc import Callable
from typing import Any

from ... import layers
from ..layertext import Config, LayerText
from ..wording import Wording


def concat(text: LayerText) -> Config:
    block = text.block("concat_param")
    if block.has("axis") and block.has("concat_dim"):
        raise text.wrong("has both axis and concat_dim; expected one of them")
    return layers.ConcatLayer(**text.wiring, axis=int(block.concat_dim if block.has("concat_dim") else block.axis))


def split(text: LayerText) -> Config:
    return layers.SplitLayer(**text.wiring)


def silence(text: LayerText) -> Config:
    return layers.SilenceLayer(name=text.name, bottoms=text.bottoms)


READERS: dict[str, Callable[[LayerText], Config]] = {
    "Concat": concat,
    "Silence": silence,
    "Split": split,
}

WRITERS: dict[type[layers.Layer], Callable[[Any, Wording], None]] = {}
