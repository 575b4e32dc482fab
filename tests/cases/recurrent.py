"""Recurrent layers. States are exposed, for else a pass would begin where the one before it ended; `cont` cuts at random."""

import fullmocha as fm

from .case import Case

_START = fm.GaussianInitializer(std=0.6)
_INITS = {f"{role}_init": _START for role in ("weight_x", "bias", "weight_static", "weight_h")}
_RNN = _INITS | {"weight_o_init": _START, "bias_o_init": _START}
_SEQUENCE = {"a": (4, 2, 3), "b": (4, 2)}
_STATE, _CUTS = (1, 2, 5), {"b": 2}


def _rnn(*bottoms: str) -> fm.RNNLayer:
    return fm.RNNLayer(
        name="l", bottoms=["a", "b", *bottoms], tops=["y", "z"], output_dim=5, expose_hidden=True, **_RNN
    )


def _lstm(*bottoms: str) -> fm.LSTMLayer:
    tops = ["y", "z", "u"]
    return fm.LSTMLayer(name="l", bottoms=["a", "b", *bottoms], tops=tops, output_dim=5, expose_hidden=True, **_INITS)


CASES = [
    Case("rnn", _rnn("c"), _SEQUENCE | {"c": _STATE}, _CUTS),
    Case("rnn static", _rnn("c", "d"), {"a": (3, 2, 2, 3), "b": (3, 2), "c": (2, 3, 2), "d": _STATE}, _CUTS),
    Case("lstm", _lstm("c", "d"), _SEQUENCE | {"c": _STATE, "d": _STATE}, _CUTS),
    Case(
        "lstm static", _lstm("c", "d", "e"), {"a": (3, 2, 4), "b": (3, 2), "c": (2, 3), "d": _STATE, "e": _STATE}, _CUTS
    ),
]
