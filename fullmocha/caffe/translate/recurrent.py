"""Caffe's recurrent layers."""

from collections.abc import Callable
from typing import Any, TypeVar

from ... import layers
from ...layers.recurrent import RecurrentLayer
from ..layertext import Config, LayerText
from ..wording import Wording

R = TypeVar("R", bound=RecurrentLayer)


def rnn(text: LayerText) -> Config:
    return _recurrent(text, layers.RNNLayer)


def lstm(text: LayerText) -> Config:
    return _recurrent(text, layers.LSTMLayer)


def _recurrent(text: LayerText, kind: type[R]) -> R:
    """One filler for all weights and one for all biases; `param` blocks go to the parameters in Caffe's order."""
    block = text.block("recurrent_param")
    block.has("debug_info")  # what Caffe prints
    plain = kind(**text.wiring, output_dim=text.num_output(block), expose_hidden=bool(block.expose_hidden))
    fillers = {role: block.bias_filler if role.startswith("bias") else block.weight_filler for role in plain.roles}
    return plain.copy(**text.parameters(fillers))


def write_rnn(layer: layers.RNNLayer, to: Wording) -> None:
    _write(layer, to, "RNN")


def write_lstm(layer: layers.LSTMLayer, to: Wording) -> None:
    _write(layer, to, "LSTM")


def _write(layer: RecurrentLayer, to: Wording, kind: str) -> None:
    block = to.block(kind, "recurrent_param")
    to.say(block, num_output=layer.output_dim, expose_hidden=layer.expose_hidden)
    for name, filler in (("bias", block.bias_filler), ("weight", block.weight_filler)):
        found = {role: getattr(layer, f"{role}_init") for role in layer.roles if role.startswith(name)}
        if len({repr(initializer) for initializer in found.values()}) > 1:
            raise to.refuse(
                f"Caffe has one {name}_filler, this layer starts them apart ({found}); give all of them one"
            )
        to.filler(filler, next(iter(found.values())))
    to.parameters(*layer.roles)


READERS: dict[str, Callable[[LayerText], Config]] = {"LSTM": lstm, "RNN": rnn}

WRITERS: dict[type[layers.Layer], Callable[[Any, Wording], None]] = {
    layers.LSTMLayer: write_lstm,
    layers.RNNLayer: write_rnn,
}
