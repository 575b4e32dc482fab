"""The networks of the reports, each a short function that returns layers; `data` is the layer that feeds them."""

from functools import partial

from .greentea import sk, u, usk
from .lenet import lenet
from .n4 import n4
from .znni import LAYERS, znni

MODELS = {"n4": n4, "lenet": lenet, "sk": sk, "u": u, "usk": usk, **{name: partial(znni, name) for name in LAYERS}}

__all__ = ["MODELS", "lenet", "n4", "sk", "u", "usk", "znni"]
