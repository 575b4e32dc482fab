"""Caffe's pointwise layers; the numbers of a case lie between -2 and 2."""

from typing import Any

import fullmocha as fm

from .case import Case

_IMAGE = {"a": (2, 4, 9, 11)}


def _case(name: str, kind: Any, top: str = "y", **fields: Any) -> Case:
    return Case(name, kind(name="l", bottoms=["a"], tops=[top], **fields), _IMAGE)


CASES = [
    _case("elu", fm.ELULayer),
    _case("elu in place", fm.ELULayer, "a", alpha=-0.4),
    _case("bnll", fm.BNLLLayer),
    _case("bnll in place", fm.BNLLLayer, "a"),
    _case("absval", fm.AbsValLayer),
    _case("absval in place", fm.AbsValLayer, "a"),
    _case("power 1", fm.PowerLayer, scale=-0.5, shift=3),
    _case("power 2 in place", fm.PowerLayer, "a", power=2, scale=0.7, shift=-0.3),
    _case("power 3", fm.PowerLayer, power=3, scale=0.5),
    _case("power half", fm.PowerLayer, power=0.5, scale=-2, shift=5),
    _case("power -2 in place", fm.PowerLayer, "a", power=-2, shift=-3.5),
    _case("exp", fm.ExpLayer),
    _case("exp base in place", fm.ExpLayer, "a", base=2, scale=1.5, shift=-0.5),
    _case("log", fm.LogLayer, shift=2.5),
    _case("log base in place", fm.LogLayer, "a", base=10, scale=-0.5, shift=1.5),
    _case("threshold", fm.ThresholdLayer, threshold=-0.25),
    _case("swish", fm.SwishLayer),
    _case("swish in place", fm.SwishLayer, "a", beta=-1.7),
    _case("clip", fm.ClipLayer, least=-0.5, most=1),
    _case("clip in place", fm.ClipLayer, "a", most=0.3),
]
