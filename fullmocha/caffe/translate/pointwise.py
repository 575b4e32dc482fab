"""Caffe's layers that meet each element by itself."""

from collections.abc import Callable
from typing import Any

from ... import layers
from ..layertext import Config, LayerText
from ..wording import Wording


def relu(text: LayerText) -> Config:
    return layers.ReLULayer(**text.wiring, negative_slope=text.number(text.block("relu_param"), "negative_slope"))


def sigmoid(text: LayerText) -> Config:
    text.block("sigmoid_param")
    return layers.SigmoidLayer(**text.wiring)


def tanh(text: LayerText) -> Config:
    text.block("tanh_param")
    return layers.TanHLayer(**text.wiring)


def dropout(text: LayerText) -> Config:
    """Drops in training only; like Caffe, nothing where the ratio is 0."""
    ratio = text.number(text.block("dropout_param"), "dropout_ratio", 0)
    if text.phase == "test" or ratio == 0:
        return layers.IdentityLayer(**text.wiring)
    return layers.DropoutLayer(**text.wiring, ratio=ratio)


def write_relu(layer: layers.ReLULayer, to: Wording) -> None:
    to.say(to.block("ReLU", "relu_param"), negative_slope=layer.negative_slope)


READERS: dict[str, Callable[[LayerText], Config]] = {
    "Dropout": dropout,
    "ReLU": relu,
    "Sigmoid": sigmoid,
    "TanH": tanh,
}

WRITERS: dict[type[layers.Layer], Callable[[Any, Wording], None]] = {layers.ReLULayer: write_relu}
