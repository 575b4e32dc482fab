"""The networks of the reports, each a short function that returns layers; `data` is the layer that feeds them."""

from collections.abc import Callable
from functools import partial

from ..layers import Layer
from .greentea import sk, u, usk
from .lenet import lenet
from .n4 import n4
from .znni import LAYERS, znni

MODELS: dict[str, Callable[..., list[Layer]]] = {"n4": n4, "lenet": lenet, "sk": sk, "u": u, "usk": usk}
MODELS |= {name: partial(znni, name) for name in LAYERS}

__all__ = ["MODELS", "lenet", "n4", "sk", "u", "usk", "znni"]
