"""Caffe's losses and scores."""

from collections.abc import Callable
from typing import Any

from ... import layers
from ...layers.loss import LossLayer, Normalization
from ..layertext import Config, LayerText
from ..schema import Message
from ..wording import Wording

_NORMALIZATIONS: tuple[Normalization, ...] = ("full", "valid", "batch_size", "none")  # as Caffe numbers them


def _counting(text: LayerText, default: Normalization) -> dict[str, Any]:
    """The fields that loss_param sets; the older `normalize` counts where `normalization` is left out."""
    block = text.block("loss_param")
    older: Normalization = ("valid" if block.normalize else "batch_size") if block.has("normalize") else default
    return {
        "normalization": _NORMALIZATIONS[block.normalization] if block.has("normalization") else older,
        "ignore_label": int(block.ignore_label) if block.has("ignore_label") else None,
    }


def _loss(text: LayerText) -> dict[str, Any]:
    return {**text.wiring, "weight": text.loss_weight()}


def softmax_with_loss(text: LayerText) -> Config:
    axis = int(text.block("softmax_param").axis)
    return layers.SoftmaxLossLayer(**_loss(text), axis=axis, **_counting(text, "valid"))


def sigmoid_cross_entropy_loss(text: LayerText) -> Config:
    text.block("sigmoid_param")
    return layers.SigmoidCrossEntropyLossLayer(**_loss(text), **_counting(text, "batch_size"))


def euclidean_loss(text: LayerText) -> Config:
    return layers.SquareLossLayer(**_loss(text))


def hinge_loss(text: LayerText) -> Config:
    block = text.block("hinge_loss_param")
    return layers.HingeLossLayer(**_loss(text), norm="L2" if block.norm == block.L2 else "L1", labels="classes")


def multinomial_logistic_loss(text: LayerText) -> Config:
    return layers.MultinomialLogisticLossLayer(**_loss(text), axis=1)


def infogain_loss(text: LayerText) -> Config:
    """The matrix is the third bottom, or read now from the file; a file beside a third bottom is not read, as in Caffe."""
    block = text.block("infogain_loss_param")
    file = block.source
    if len(text.bottoms) < 3 and not file:
        raise text.wrong("has neither a third bottom nor infogain_loss_param source; expected one of them")
    return layers.InfogainLossLayer(
        **_loss(text),
        axis=int(block.axis),
        infogain=() if len(text.bottoms) > 2 else _matrix(text, file),
        **_counting(text, "valid"),
    )


def _matrix(text: LayerText, file: str) -> list[list[float]]:
    matrix = text.blob(file, "infogain_loss_param source")
    if matrix.ndim < 2 or matrix.size != matrix.shape[-1] ** 2 or matrix.shape[-1] != matrix.shape[-2]:
        raise text.wrong(f"infogain_loss_param source: {file} is {matrix.shape}; expected one square matrix")
    rows: list[list[float]] = matrix.reshape(matrix.shape[-2:]).tolist()
    return rows


def contrastive_loss(text: LayerText) -> Config:
    block = text.block("contrastive_loss_param")
    margin, legacy = text.number(block, "margin"), bool(block.legacy_version)
    return layers.ContrastiveLossLayer(**_loss(text), margin=margin, legacy_version=legacy)


def accuracy(text: LayerText) -> Config:
    block = text.block("accuracy_param")
    return layers.AccuracyLayer(
        **text.wiring,
        axis=int(block.axis),
        top_k=int(block.top_k),
        ignore_label=int(block.ignore_label) if block.has("ignore_label") else None,
        ties="miss",
    )


def _say_loss(layer: LossLayer, to: Wording, kind: str, name: str = "") -> Message:
    """Type and loss_weight; returns the block of parameters."""
    block = to.block(kind, name)
    if layer.weight != 1 or len(layer.tops) > 1:
        to.message.loss_weight.extend([layer.weight, *[0.0] * (len(layer.tops) - 1)])
    return block


def _say_counting(layer: Any, to: Wording, default: str) -> None:
    """normalization and ignore_label; "mocha" counts as "full" does, and differs only in where it cuts a loss off."""
    normalization = "full" if layer.normalization == "mocha" else layer.normalization
    if normalization != default:
        to.message.loss_param.normalization = _NORMALIZATIONS.index(normalization)
    if layer.ignore_label is not None:
        to.message.loss_param.ignore_label = layer.ignore_label


def _axis(layer: Any) -> int:
    """Caffe's axis for ours, or for Mocha's dim, which counts from the last axis."""
    if layer.axis is not None:
        return int(layer.axis)
    return -layer.dim if layer.dim > 0 else -layer.dim - 1


def write_softmax_loss(layer: layers.SoftmaxLossLayer, to: Wording) -> None:
    axis = _axis(layer)
    block = _say_loss(layer, to, "SoftmaxWithLoss", "softmax_param")
    to.say(block, axis=axis)
    _say_counting(layer, to, "valid")


def write_sigmoid_cross_entropy_loss(layer: layers.SigmoidCrossEntropyLossLayer, to: Wording) -> None:
    _say_loss(layer, to, "SigmoidCrossEntropyLoss")
    _say_counting(layer, to, "batch_size")


def write_square_loss(layer: layers.SquareLossLayer, to: Wording) -> None:
    _say_loss(layer, to, "EuclideanLoss")


def write_hinge_loss(layer: layers.HingeLossLayer, to: Wording) -> None:
    if layer.labels != "classes":
        raise to.refuse("labels='signs' has no words in Caffe, whose labels are class numbers; use labels='classes'")
    block = _say_loss(layer, to, "HingeLoss", "hinge_loss_param")
    to.say(block, norm=block.L2 if layer.norm == "L2" else block.L1)


def write_multinomial_logistic_loss(layer: layers.MultinomialLogisticLossLayer, to: Wording) -> None:
    if _axis(layer) != 1:
        raise to.refuse(f"axis {_axis(layer)} has no words in Caffe, where classes lie along axis 1; move them there")
    _say_loss(layer, to, "MultinomialLogisticLoss")


def write_infogain_loss(layer: layers.InfogainLossLayer, to: Wording) -> None:
    if layer.infogain:
        raise to.refuse("Caffe reads the matrix from a file of its own; feed it as a third bottom instead")
    to.say(_say_loss(layer, to, "InfogainLoss", "infogain_loss_param"), axis=_axis(layer))
    _say_counting(layer, to, "valid")


def write_contrastive_loss(layer: layers.ContrastiveLossLayer, to: Wording) -> None:
    if layer.epsilon != 1e-4:
        raise to.refuse(f"epsilon {layer.epsilon:g} has no words in Caffe, where it is 1e-4; use that")
    block = _say_loss(layer, to, "ContrastiveLoss", "contrastive_loss_param")
    to.say(block, margin=layer.margin, legacy_version=layer.legacy_version)


def write_sum_loss(layer: layers.SumLossLayer, to: Wording) -> None:
    """A sum over everything, weighed: in Caffe a layer of its own says it without touching the one below."""
    to.block("Reduction")
    if not layer.tops:  # only Caffe's own losses may leave it out
        to.message.top.append(layer.name)
    to.message.loss_weight.append(layer.weight)


def write_accuracy(layer: layers.AccuracyLayer, to: Wording) -> None:
    """How ties count is not a field there: Caffe 1.0 counts as `ties="index"`, its master as "miss"."""
    block = to.block("Accuracy", "accuracy_param")
    to.say(block, axis=_axis(layer), top_k=layer.top_k)
    if layer.ignore_label is not None:
        block.ignore_label = layer.ignore_label
    if not layer.tops:
        to.message.top.append(layer.name)


READERS: dict[str, Callable[[LayerText], Config]] = {
    "Accuracy": accuracy,
    "ContrastiveLoss": contrastive_loss,
    "EuclideanLoss": euclidean_loss,
    "HingeLoss": hinge_loss,
    "InfogainLoss": infogain_loss,
    "MultinomialLogisticLoss": multinomial_logistic_loss,
    "SigmoidCrossEntropyLoss": sigmoid_cross_entropy_loss,
    "SoftmaxWithLoss": softmax_with_loss,
}

WRITERS: dict[type[layers.Layer], Callable[[Any, Wording], None]] = {
    layers.AccuracyLayer: write_accuracy,
    layers.ContrastiveLossLayer: write_contrastive_loss,
    layers.HingeLossLayer: write_hinge_loss,
    layers.InfogainLossLayer: write_infogain_loss,
    layers.MultinomialLogisticLossLayer: write_multinomial_logistic_loss,
    layers.SigmoidCrossEntropyLossLayer: write_sigmoid_cross_entropy_loss,
    layers.SoftmaxLossLayer: write_softmax_loss,
    layers.SquareLossLayer: write_square_loss,
    layers.SumLossLayer: write_sum_loss,
}
