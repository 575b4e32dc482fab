"""Caffe's layers that treat channels, or whole samples, each in a way of its own: products, factors, statistics."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ... import layers
from ...initializers import ConstantInitializer, Initializer
from ...layers.checks import axis_of
from ..layertext import Config, LayerText, Parameters
from ..schema import Message
from ..wording import Wording

_UNIT, _QUARTER = ConstantInitializer(1.0), ConstantInitializer(0.25)  # what Scale and PReLU begin with


def inner_product(text: LayerText) -> Config:
    block = text.block("inner_product_param")
    text.transposed = bool(block.transpose)  # the weights are turned when they are read
    parameters = text.weight_and_bias("weight", block)
    return layers.InnerProductLayer(
        **text.wiring, output_dim=text.num_output(block), axis=int(block.axis), **parameters
    )


def write_inner_product(layer: layers.InnerProductLayer, to: Wording) -> None:
    block = to.block("InnerProduct", "inner_product_param")
    to.say(block, num_output=layer.output_dim, axis=layer.axis)
    to.weight_and_bias(block, "weight")


def softmax(text: LayerText) -> Config:
    return layers.SoftmaxLayer(**text.wiring, axis=int(text.block("softmax_param").axis))


def write_softmax(layer: layers.SoftmaxLayer, to: Wording) -> None:
    axis = axis_of(layer, layer.dim, layer.axis, len(to.bottoms[0]))
    to.say(to.block("Softmax", "softmax_param"), axis=axis)


def scale(text: LayerText) -> Config:
    block = text.block("scale_param")
    bias, own = bool(block.bias_term), len(text.bottoms) == 1
    fillers: dict[str, Message | Initializer] = {"scale": _filler(block, _UNIT)} if own else {}
    if bias:
        fillers["bias"] = block.bias_filler
    for name in ("filler", "bias_filler"):
        block.has(name)  # harmless where nothing begins with it, as in Caffe
    return layers.ScaleLayer(
        **text.wiring, axis=int(block.axis), num_axes=int(block.num_axes), bias=bias, **text.parameters(fillers)
    )


def write_scale(layer: layers.ScaleLayer, to: Wording) -> None:
    block, own = to.block("Scale", "scale_param"), len(layer.bottoms) == 1
    to.say(block, axis=layer.axis, num_axes=layer.num_axes, bias_term=layer.bias)
    if own:
        _write_filler(block.filler, layer.scale_init, _UNIT, to)
    if layer.bias:
        to.filler(block.bias_filler, layer.bias_init)
    to.parameters(*["scale"] * own, *["bias"] * layer.bias)


def bias(text: LayerText) -> Config:
    block = text.block("bias_param")
    block.has("filler")  # as above
    fillers = {"bias": block.filler} if len(text.bottoms) == 1 else {}
    return layers.BiasLayer(
        **text.wiring, axis=int(block.axis), num_axes=int(block.num_axes), **text.parameters(fillers)
    )


def write_bias(layer: layers.BiasLayer, to: Wording) -> None:
    block = to.block("Bias", "bias_param")
    to.say(block, axis=layer.axis, num_axes=layer.num_axes)
    if len(layer.bottoms) == 1:
        to.filler(block.filler, layer.bias_init)
        to.parameters("bias")


def _filler(block: Parameters, otherwise: Initializer) -> Message | Initializer:
    """The block's filler, or what the layer begins with where the file has none."""
    return block.filler if block.has("filler") else otherwise


def _write_filler(to: Message, initializer: Initializer, otherwise: Initializer, wording: Wording) -> None:
    if initializer != otherwise:
        to.SetInParent()  # a filler that says nothing is a constant 0
        wording.filler(to, initializer)


def batch_norm(text: LayerText) -> Config:
    """By stored statistics in the test phase, by the batch's in training, unless the file says which."""
    block = text.block("batch_norm_param")
    stored = bool(block.use_global_stats) if block.has("use_global_stats") else text.phase == "test"
    if len(text.specs) > 3:
        raise text.wrong(
            f"has {len(text.specs)} param blocks for 3 parameters: sums of means and variances, and factor"
        )
    if any(text.number(spec, "lr_mult") for spec in text.specs):
        raise text.wrong("has a param block whose lr_mult is not 0; statistics are not trained, so remove the block")
    names = [str(spec.name) for spec in text.specs]
    return layers.BatchNormLayer(
        **text.wiring,
        use_global_stats=stored,
        moving_average_fraction=text.number(block, "moving_average_fraction"),
        eps=text.number(block, "eps", 0),
        param_names=names if any(names) else (),
    )


def write_batch_norm(layer: layers.BatchNormLayer, to: Wording) -> None:
    block = to.block("BatchNorm", "batch_norm_param")
    block.use_global_stats = layer.use_global_stats  # Caffe's default differs between the phases
    to.say(block, moving_average_fraction=_single(layer.moving_average_fraction), eps=_single(layer.eps))
    if any(layer.param_names):
        for name in layer.shared_names(3):
            to.say(to.message.param.add(), name=name, lr_mult=0.0, decay_mult=0.0)


def prelu(text: LayerText) -> Config:
    block = text.block("prelu_param")
    parameters = text.parameters({"slope": _filler(block, _QUARTER)})
    return layers.PReLULayer(**text.wiring, channel_shared=bool(block.channel_shared), **parameters)


def write_prelu(layer: layers.PReLULayer, to: Wording) -> None:
    block = to.block("PReLU", "prelu_param")
    to.say(block, channel_shared=layer.channel_shared)
    _write_filler(block.filler, layer.slope_init, _QUARTER, to)
    to.parameters("slope")


def lrn(text: LayerText) -> Config:
    """Within a channel Caffe takes no notice of k: its constant is 1."""
    block = text.block("lrn_param")
    if block.local_size % 2 == 0:
        raise text.wrong(f"local_size is {block.local_size}; expected an odd number")
    within = block.norm_region == block.WITHIN_CHANNEL
    k = text.number(block, "k")
    return layers.LRNLayer(
        **text.wiring,
        kernel=int(block.local_size),
        scale=text.number(block, "alpha"),
        shift=1.0 if within else k,
        power=text.number(block, "beta"),
        mode=layers.LRNMode.WithinChannel() if within else layers.LRNMode.AcrossChannel(),
    )


def write_lrn(layer: layers.LRNLayer, to: Wording) -> None:
    block = to.block("LRN", "lrn_param")
    if layer.kernel % 2 == 0:
        raise to.refuse(f"Caffe's windows are odd, and this one has {layer.kernel} channels; use another kernel")
    to.say(block, local_size=layer.kernel, alpha=_single(layer.scale), beta=_single(layer.power))
    if layer.within:
        if layer.shift != 1:
            raise to.refuse(f"within a channel Caffe adds 1, and this one shift={layer.shift:g}; use shift=1")
        block.norm_region = block.WITHIN_CHANNEL
        return
    if axis_of(layer, layer.channel_dim, None, len(to.bottoms[0])) != 1:
        raise to.refuse(f"Caffe's window runs over channels, not over channel_dim={layer.channel_dim}")
    to.say(block, k=_single(layer.shift))


def mvn(text: LayerText) -> Config:
    block = text.block("mvn_param")
    return layers.MVNLayer(
        **text.wiring,
        normalize_variance=bool(block.normalize_variance),
        across_channels=bool(block.across_channels),
        eps=text.number(block, "eps", 0),
    )


def write_mvn(layer: layers.MVNLayer, to: Wording) -> None:
    fields = {"normalize_variance": layer.normalize_variance, "across_channels": layer.across_channels}
    to.say(to.block("MVN", "mvn_param"), **fields, eps=_single(layer.eps))


def _single(value: float) -> float:
    """As the file holds it, so that Caffe's defaults are known as such."""
    return float(np.float32(value))


READERS: dict[str, Callable[[LayerText], Config]] = {
    "BatchNorm": batch_norm,
    "Bias": bias,
    "InnerProduct": inner_product,
    "LRN": lrn,
    "MVN": mvn,
    "PReLU": prelu,
    "Scale": scale,
    "Softmax": softmax,
}

WRITERS: dict[type[layers.Layer], Callable[[Any, Wording], None]] = {
    layers.BatchNormLayer: write_batch_norm,
    layers.BiasLayer: write_bias,
    layers.InnerProductLayer: write_inner_product,
    layers.LRNLayer: write_lrn,
    layers.MVNLayer: write_mvn,
    layers.PReLULayer: write_prelu,
    layers.ScaleLayer: write_scale,
    layers.SoftmaxLayer: write_softmax,
}
