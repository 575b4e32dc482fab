"""Caffe's recurrent layers."""

from collections.abc import Callable
from typing import Any

from ... import layers
from ..layertext import Config, LayerText
from ..wording import Wording

READERS: dict[str, Callable[[LayerText], Config]] = {}

WRITERS: dict[type[layers.Layer], Callable[[Any, Wording], None]] = {}
