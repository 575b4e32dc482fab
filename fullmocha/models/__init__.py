"""The networks of the reports, each a short function that returns layers; `data` is the layer that feeds them."""

from .greentea import sk, u, usk
from .lenet import lenet
from .n4 import n4

MODELS = {"n4": n4, "lenet": lenet, "sk": sk, "u": u, "usk": usk}

__all__ = ["MODELS", "lenet", "n4", "sk", "u", "usk"]
