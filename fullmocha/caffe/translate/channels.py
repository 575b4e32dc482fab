"""Caffe's layers that treat channels, or whole samples, each in a way of its own: products, sums, statistics."""

from collections.abc import Callable
from typing import Any

from ... import layers
from ..layertext import Config, LayerText
from ..wording import Wording


def inner_product(text: LayerText) -> Config:
    block = text.block("inner_product_param")
    text.transposed = bool(block.transpose)  # the weights are turned when they are read
    parameters = text.weight_and_bias("weight", block)
    return layers.InnerProductLayer(
        **text.wiring, output_dim=text.num_output(block), axis=int(block.axis), **parameters
    )


def softmax(text: LayerText) -> Config:
    return layers.SoftmaxLayer(**text.wiring, axis=int(text.block("softmax_param").axis))


def write_inner_product(layer: layers.InnerProductLayer, to: Wording) -> None:
    block = to.block("InnerProduct", "inner_product_param")
    to.say(block, num_output=layer.output_dim, axis=layer.axis, bias_term=layer.bias)
    to.filler(block.weight_filler, layer.weight_init)
    if layer.bias:
        to.filler(block.bias_filler, layer.bias_init)
    to.parameters(*("weight", "bias")[: 1 + layer.bias])


READERS: dict[str, Callable[[LayerText], Config]] = {
    "InnerProduct": inner_product,
    "Softmax": softmax,
}

WRITERS: dict[type[layers.Layer], Callable[[Any, Wording], None]] = {layers.InnerProductLayer: write_inner_product}
