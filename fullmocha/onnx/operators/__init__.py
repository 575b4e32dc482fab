"""The ONNX nodes of every op that a program may hold; opset 17."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from fullmocha.backends.program import Step

from . import moves, pointwise, windows

if TYPE_CHECKING:
    from ..export import Exporter

OPERATORS: dict[str, Callable[["Exporter", Step, Step], None]] = {
    "activate": pointwise.activate,
    "arg_max": pointwise.arg_max,
    "axpby": pointwise.axpby,
    "combine": pointwise.combine,
    "conv": windows.conv,
    "deconv": windows.deconv,
    "fill": moves.fill,
    "gather": moves.gather,
    "lrn": pointwise.lrn,
    "max_pool": windows.max_pool,
    "mean_pool": windows.mean_pool,
    "move": moves.move,
    "multiply": pointwise.multiply,
    "mvn": pointwise.mvn,
    "prelu": pointwise.prelu,
    "reduce": pointwise.reduce,
    "scale": pointwise.scale,
    "softmax": pointwise.softmax,
    "standardize": pointwise.standardize,
    "unfold": windows.unfold,
}
