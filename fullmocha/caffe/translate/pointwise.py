"""Caffe's layers that meet each element by itself."""

import math
from collections.abc import Callable
from typing import Any

from ... import layers
from ...neurons import Neuron
from ..layertext import Config, LayerText
from ..wording import Wording


def relu(text: LayerText) -> Config:
    return layers.ReLULayer(**text.wiring, negative_slope=text.number(text.block("relu_param"), "negative_slope"))


def write_relu(layer: layers.ReLULayer, to: Wording) -> None:
    to.say(to.block("ReLU", "relu_param"), negative_slope=layer.negative_slope)


def sigmoid(text: LayerText) -> Config:
    text.block("sigmoid_param")
    return layers.SigmoidLayer(**text.wiring)


def write_sigmoid(layer: layers.SigmoidLayer, to: Wording) -> None:
    to.block("Sigmoid")


def tanh(text: LayerText) -> Config:
    text.block("tanh_param")
    return layers.TanHLayer(**text.wiring)


def write_tanh(layer: layers.TanHLayer, to: Wording) -> None:
    to.block("TanH")


def elu(text: LayerText) -> Config:
    return layers.ELULayer(**text.wiring, alpha=text.number(text.block("elu_param"), "alpha"))


def write_elu(layer: layers.ELULayer, to: Wording) -> None:
    to.say(to.block("ELU", "elu_param"), alpha=layer.alpha)


def bnll(text: LayerText) -> Config:
    return layers.BNLLLayer(**text.wiring)


def write_bnll(layer: layers.BNLLLayer, to: Wording) -> None:
    to.block("BNLL")


def absval(text: LayerText) -> Config:
    return layers.AbsValLayer(**text.wiring)


def write_absval(layer: layers.AbsValLayer, to: Wording) -> None:
    to.block("AbsVal")


def power(text: LayerText) -> Config:
    return layers.PowerLayer(**text.wiring, **_numbers(text, "power_param", "power", "scale", "shift"))


def write_power(layer: layers.PowerLayer, to: Wording) -> None:
    to.say(to.block("Power", "power_param"), power=layer.power, scale=layer.scale, shift=layer.shift)


def exp(text: LayerText) -> Config:
    return layers.ExpLayer(**text.wiring, **_numbers(text, "exp_param", "base", "scale", "shift"))


def write_exp(layer: layers.ExpLayer, to: Wording) -> None:
    to.say(to.block("Exp", "exp_param"), base=layer.base, scale=layer.scale, shift=layer.shift)


def log(text: LayerText) -> Config:
    return layers.LogLayer(**text.wiring, **_numbers(text, "log_param", "base", "scale", "shift"))


def write_log(layer: layers.LogLayer, to: Wording) -> None:
    to.say(to.block("Log", "log_param"), base=layer.base, scale=layer.scale, shift=layer.shift)


def threshold(text: LayerText) -> Config:
    return layers.ThresholdLayer(**text.wiring, **_numbers(text, "threshold_param", "threshold"))


def write_threshold(layer: layers.ThresholdLayer, to: Wording) -> None:
    to.say(to.block("Threshold", "threshold_param"), threshold=layer.threshold)


def swish(text: LayerText) -> Config:
    return layers.SwishLayer(**text.wiring, **_numbers(text, "swish_param", "beta"))


def write_swish(layer: layers.SwishLayer, to: Wording) -> None:
    to.say(to.block("Swish", "swish_param"), beta=layer.beta)


def clip(text: LayerText) -> Config:
    """One bound may be infinite, as it is where a floor alone was written."""
    block = text.block("clip_param")
    if not (block.has("min") and block.has("max")):
        raise text.wrong("clip_param must give both min and max")
    return layers.ClipLayer(**text.wiring, least=float(block.min), most=float(block.max))


def write_clip(layer: layers.ClipLayer, to: Wording) -> None:
    _say_clip(to, layer.least, layer.most)


def _say_clip(to: Wording, least: float, most: float) -> None:
    block = to.block("Clip", "clip_param")
    block.min, block.max = least, most  # both are required, so said whatever they are


def dropout(text: LayerText) -> Config:
    """Drops in training only; like Caffe, nothing where the ratio is 0."""
    ratio = text.number(text.block("dropout_param"), "dropout_ratio", 0)
    if text.phase == "test" or ratio == 0:
        return layers.IdentityLayer(**text.wiring)
    return layers.DropoutLayer(**text.wiring, ratio=ratio)


def write_dropout(layer: layers.DropoutLayer, to: Wording) -> None:
    if not layer.auto_scale:
        raise to.refuse("auto_scale=False has no words in Caffe, whose Dropout scales what stays by 1 / (1 - ratio)")
    to.say(to.block("Dropout", "dropout_param"), dropout_ratio=layer.ratio)


def write_neuron(layer: layers.NeuronLayer, to: Wording) -> None:
    """A neuron that a layer names, as the layer of Caffe that computes it."""
    match layer.function:
        case Neuron("", _):
            if not layer.in_place:
                to.block("Split")
        case Neuron("relu", (slope,)):
            to.say(to.block("ReLU", "relu_param"), negative_slope=slope)
        case Neuron("at_least", (floor,)):  # the gradient at the floor itself differs: it passes in Caffe
            _say_clip(to, floor, math.inf)
        case Neuron("exponential", (factor, rate)) if factor > 0:
            to.say(to.block("Exp", "exp_param"), scale=rate, shift=math.log(factor))
        case Neuron("log", (1.0, scale, shift)):
            to.say(to.block("Log", "log_param"), scale=scale, shift=shift)
        case Neuron("elu", (alpha,)):
            to.say(to.block("ELU", "elu_param"), alpha=alpha)
        case Neuron("power", (power, scale, shift)):
            to.say(to.block("Power", "power_param"), power=power, scale=scale, shift=shift)
        case Neuron("threshold", (level,)):
            to.say(to.block("Threshold", "threshold_param"), threshold=level)
        case Neuron("swish", (beta,)):
            to.say(to.block("Swish", "swish_param"), beta=beta)
        case Neuron("clip", (least, most)):
            _say_clip(to, least, most)
        case Neuron(kind, ()) if kind in _PLAIN:
            to.block(_PLAIN[kind])
        case other:
            raise to.refuse(f"the neuron '{other}' has no words in Caffe; write the weights alone (.caffemodel)")


_PLAIN = {"sigmoid": "Sigmoid", "tanh": "TanH", "bnll": "BNLL", "absval": "AbsVal"}


def _numbers(text: LayerText, block: str, *names: str) -> dict[str, Any]:
    return {name: text.number(text.block(block), name) for name in names}


READERS: dict[str, Callable[[LayerText], Config]] = {
    "AbsVal": absval,
    "BNLL": bnll,
    "Clip": clip,
    "Dropout": dropout,
    "ELU": elu,
    "Exp": exp,
    "Log": log,
    "Power": power,
    "ReLU": relu,
    "Sigmoid": sigmoid,
    "Swish": swish,
    "TanH": tanh,
    "Threshold": threshold,
}

WRITERS: dict[type[layers.Layer], Callable[[Any, Wording], None]] = {
    layers.AbsValLayer: write_absval,
    layers.BNLLLayer: write_bnll,
    layers.ClipLayer: write_clip,
    layers.DropoutLayer: write_dropout,
    layers.ELULayer: write_elu,
    layers.ExpLayer: write_exp,
    layers.LogLayer: write_log,
    layers.NeuronLayer: write_neuron,
    layers.PowerLayer: write_power,
    layers.ReLULayer: write_relu,
    layers.SigmoidLayer: write_sigmoid,
    layers.SwishLayer: write_swish,
    layers.TanHLayer: write_tanh,
    layers.ThresholdLayer: write_threshold,
}
