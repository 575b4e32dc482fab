"""Caffe's losses and scores."""

from collections.abc import Callable
from typing import Any, Literal

from ... import layers
from ..layertext import Config, LayerText
from ..wording import Wording

Normalization = Literal["full", "valid", "batch_size", "none"]


def softmax_with_loss(text: LayerText) -> Config:
    block = text.block("loss_param")
    if len(text.tops) > 1:
        raise text.refuse("a second top, the probabilities, is not built; add a layer of type Softmax")
    normalization: Normalization = ("full", "valid", "batch_size", "none")[block.normalization]
    if block.has("normalize") and not block.has("normalization"):
        normalization = "valid" if block.normalize else "batch_size"
    return layers.SoftmaxLossLayer(
        **text.wiring,
        weight=text.loss_weight(),
        axis=int(text.block("softmax_param").axis),
        ignore_label=int(block.ignore_label) if block.has("ignore_label") else None,
        normalization=normalization,
    )


def accuracy(text: LayerText) -> Config:
    block = text.block("accuracy_param")
    if len(text.tops) > 1:
        raise text.refuse("a second top, the accuracy per class, is not built; remove it")
    return layers.AccuracyLayer(
        **text.wiring,
        axis=int(block.axis),
        top_k=int(block.top_k),
        ignore_label=int(block.ignore_label) if block.has("ignore_label") else None,
        ties="miss",
    )


READERS: dict[str, Callable[[LayerText], Config]] = {
    "Accuracy": accuracy,
    "SoftmaxWithLoss": softmax_with_loss,
}

WRITERS: dict[type[layers.Layer], Callable[[Any, Wording], None]] = {}
