"""Caffe's layer types as ours: one short function each, all in `TRANSLATIONS`.

Caffe's sizes are rows before columns, our constructors take (width, height): each function turns them once. Whatever a
file sets and a function does not ask for is refused by `LayerText.finish`, never ignored.
"""

import difflib
import math
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from .. import layers
from ..errors import FormatError, ShapeError
from ..transformers import DataTransformers, Transformer
from .layertext import LayerText, Parameters

Normalization = Literal["full", "valid", "batch_size", "none"]

_MAX_COUNT = 2**31 - 1  # numbers in one of Caffe's blobs

Config = Any  # a layer config of fullmocha.layers


# ---------------------------------------------------------------------------------------------------------------- data
def input_(text: LayerText) -> Config:
    shapes = [tuple(int(n) for n in shape.dim) for shape in text.block("input_param").shape]
    if len(shapes) not in (1, len(text.tops)):
        raise text.wrong(f"has {len(shapes)} shapes for {len(text.tops)} tops; expected one each")
    if any(n < 1 for shape in shapes for n in shape):
        raise text.wrong(f"shape is {shapes}; expected sizes of at least 1")
    for shape in shapes:
        _check_count(text, shape)
    return layers.InputLayer(name=text.name, tops=text.tops, shapes=(shapes * len(text.tops))[: len(text.tops)])


def _check_count(text: LayerText, shape: tuple[int, ...]) -> None:
    if math.prod(shape) > _MAX_COUNT:
        raise text.wrong(f"shape {shape} has {math.prod(shape)} numbers; Caffe's blobs hold at most {_MAX_COUNT}")


def memory_data(text: LayerText) -> Config:
    """The data come from the caller; a second top is one label per sample."""
    block = text.block("memory_data_param")
    old = [block.batch_size, block.channels, block.height, block.width]
    shape = tuple(int(n) for n in (list(block.dim) or old))
    if min(shape) < 1:
        raise text.wrong(f"shape is {shape}; expected batch_size, channels, height and width of at least 1, or dim")
    _check_count(text, shape)
    if len(text.tops) not in (1, 2):
        raise text.wrong(f"has {len(text.tops)} tops; expected data, or data and labels")
    shapes = [shape, shape[:1]][: len(text.tops)]
    return layers.InputLayer(name=text.name, tops=text.tops, shapes=shapes, transformers=transformers(text, shape))


def transformers(text: LayerText, shape: tuple[int, ...]) -> list[tuple[str, Any]]:
    """What transform_param asks of the first top, of this shape: (x - mean) * scale."""
    block = text.block("transform_param")
    steps: list[Transformer] = []
    means, file = text.numbers(block, "mean_value"), block.mean_file
    if means and file:
        raise text.wrong("has both mean_file and mean_value; expected one of them")
    for name in ("mirror", "crop_size", "force_color", "force_gray"):
        if getattr(block, name):
            raise text.refuse(f"transform_param {name} is not built; remove it, and do it to the images beforehand")
    if means or file:
        steps.append(_mean(text, _mean_file(text, file) if file else np.array(means), shape))
    scale = text.number(block, "scale")
    if scale != 1:
        steps.append(DataTransformers.Scale(scale))
    return [(text.tops[0], step) for step in steps]


def _mean_file(text: LayerText, file: str) -> np.ndarray:
    from .binary import read_blob

    try:
        mean = read_blob(file)
    except FormatError as error:
        raise text.wrong(f"transform_param mean_file: {error}") from error
    if not np.isfinite(mean).all():
        raise text.wrong(f"transform_param mean_file: {file} holds NaN or infinity")
    return mean


def _mean(text: LayerText, mean: np.ndarray, shape: tuple[int, ...]) -> Transformer:
    """Subtracts a mean that fits samples of the top's shape."""
    step = DataTransformers.SubMean(mean_blob=mean)
    try:
        step(np.empty((0, *(shape[1:] or (1,)))))  # a batch of none: only the shapes meet
    except ShapeError as error:
        raise text.wrong(f"transform_param's mean does not fit the shape {shape}: {error}") from error
    return step


def hdf5_data(text: LayerText) -> Config:
    block = text.block("hdf5_data_param")
    if not block.source:
        raise text.wrong("source is missing")
    return layers.HDF5DataLayer(
        name=text.name,
        tops=text.tops,
        source=block.source,
        batch_size=int(block.batch_size),
        shuffle=bool(block.shuffle),
    )


def database(text: LayerText) -> Config:
    raise text.refuse(
        "databases and lists of images are not read; load the net's deploy prototxt, or replace this layer by one of "
        "type Input or HDF5Data"
    )


# ------------------------------------------------------------------------------------------------- layers with weights
def convolution(text: LayerText) -> Config:
    return layers.ConvolutionLayer(**_windowed(text))


def deconvolution(text: LayerText) -> Config:
    return layers.DeconvolutionLayer(**_windowed(text))


def _windowed(text: LayerText) -> dict[str, Any]:
    block = text.block("convolution_param")
    text.channels_only(block)
    return {
        **text.wiring,
        **_window(text, block),
        "n_filter": _num_output(text, block),
        "n_group": int(block.group),
        **text.parameters("filter", bool(block.bias_term), block),
    }


def _window(text: LayerText, block: Parameters) -> dict[str, tuple[int, int]]:
    """Kernel, stride, pad and dilation, turned to (width, height)."""
    kernel = text.sizes(block, "kernel_size", 1, "kernel")
    if kernel is None:
        raise text.wrong("kernel_size is missing")
    sizes = {
        "kernel": kernel,
        "stride": text.sizes(block, "stride", 1, "stride") or (1, 1),
        "pad": text.sizes(block, "pad", 0, "pad") or (0, 0),
        "dilation": text.sizes(block, "dilation", 1) or (1, 1),
    }
    return {name: (w, h) for name, (h, w) in sizes.items()}


def _num_output(text: LayerText, block: Parameters) -> int:
    if block.num_output < 1:
        raise text.wrong("num_output is missing")
    return int(block.num_output)


def inner_product(text: LayerText) -> Config:
    block = text.block("inner_product_param")
    text.transposed = bool(block.transpose)  # the weights are turned when they are read
    parameters = text.parameters("weight", bool(block.bias_term), block)
    return layers.InnerProductLayer(
        **text.wiring, output_dim=_num_output(text, block), axis=int(block.axis), **parameters
    )


# ---------------------------------------------------------------------------------------------- layers without weights
def pooling(text: LayerText) -> Config:
    block = text.block("pooling_param")
    text.channels_only(block)
    if len(text.tops) != len(text.bottoms):
        raise text.refuse("a second top, the places of the maxima, is not built; remove it")
    if block.pool == block.STOCHASTIC:
        raise text.refuse("pool: STOCHASTIC is not built; choose MAX or AVE")
    kind = layers.Pooling.Max() if block.pool == block.MAX else layers.Pooling.Mean()
    if block.global_pooling:
        _check_whole(text, block)
        return layers.PoolingLayer(**text.wiring, pooling=kind, whole=True)
    floor = block.round_mode == block.FLOOR or not block.ceil_mode
    rounding: Literal["floor", "ceil"] = "floor" if floor else "ceil"
    fields: dict[str, Any] = {**text.wiring, **_window(text, block)}
    return layers.PoolingLayer(**fields, pooling=kind, round=rounding, divisor="caffe")


def _check_whole(text: LayerText, block: Parameters) -> None:
    """Global pooling takes no kernel; a pad of 0 and a stride of 1 may be spelled out."""
    if text.sizes(block, "kernel_size", 1, "kernel"):
        raise text.wrong("has both global_pooling and a kernel; expected one of them")
    for name, plain in (("pad", 0), ("stride", 1), ("dilation", 1)):
        sizes = text.sizes(block, name, plain, name if name != "dilation" else "")
        if sizes not in (None, (plain, plain)):
            raise text.wrong(f"global_pooling takes only {name} {plain}; got {sizes}")
    for name in ("round_mode", "ceil_mode"):
        block.has(name)  # one window needs no rounding


def relu(text: LayerText) -> Config:
    return layers.ReLULayer(**text.wiring, negative_slope=text.number(text.block("relu_param"), "negative_slope"))


def sigmoid(text: LayerText) -> Config:
    text.block("sigmoid_param")
    return layers.SigmoidLayer(**text.wiring)


def tanh(text: LayerText) -> Config:
    text.block("tanh_param")
    return layers.TanHLayer(**text.wiring)


def softmax(text: LayerText) -> Config:
    return layers.SoftmaxLayer(**text.wiring, axis=int(text.block("softmax_param").axis))


def dropout(text: LayerText) -> Config:
    """Drops in training only; like Caffe, nothing where the ratio is 0."""
    ratio = text.number(text.block("dropout_param"), "dropout_ratio", 0)
    if text.phase == "test" or ratio == 0:
        return layers.IdentityLayer(**text.wiring)
    return layers.DropoutLayer(**text.wiring, ratio=ratio)


def concat(text: LayerText) -> Config:
    block = text.block("concat_param")
    if block.has("axis") and block.has("concat_dim"):
        raise text.wrong("has both axis and concat_dim; expected one of them")
    return layers.ConcatLayer(**text.wiring, axis=int(block.concat_dim if block.has("concat_dim") else block.axis))


def crop(text: LayerText) -> Config:
    block = text.block("crop_param")
    return layers.CropLayer(**text.wiring, axis=int(block.axis), offset=tuple(int(o) for o in block.offset))


def merge_crop(text: LayerText) -> Config:
    block = text.block("mergecrop_param")
    operation: Literal["add", "stack"] = "add" if block.operation == block.ADD else "stack"
    return layers.MergeCropLayer(
        **text.wiring,
        operation=operation,
        forward_of=_both(text, "forward", block.forward, (True, True)),
        backward_of=_both(text, "backward", block.backward, (True, False)),  # no gradient to the skip branch
    )


def _both(text: LayerText, name: str, given: Any, default: tuple[bool, bool]) -> tuple[bool, bool]:
    values = [bool(v) for v in given]
    if len(values) not in (0, 2):
        raise text.wrong(f"has {len(values)} values of {name}; expected one for each of its 2 bottoms")
    return (values[0], values[1]) if values else default


def split(text: LayerText) -> Config:
    return layers.SplitLayer(**text.wiring)


def silence(text: LayerText) -> Config:
    return layers.SilenceLayer(name=text.name, bottoms=text.bottoms)


# --------------------------------------------------------------------------------------------------- losses and scores
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


TRANSLATIONS: dict[str, Callable[[LayerText], Config]] = {
    "Accuracy": accuracy,
    "Concat": concat,
    "Convolution": convolution,
    "Crop": crop,
    "Data": database,
    "Deconvolution": deconvolution,
    "Dropout": dropout,
    "HDF5Data": hdf5_data,
    "ImageData": database,
    "InnerProduct": inner_product,
    "Input": input_,
    "MemoryData": memory_data,
    "MergeCrop": merge_crop,
    "Pooling": pooling,
    "ReLU": relu,
    "Sigmoid": sigmoid,
    "Silence": silence,
    "Softmax": softmax,
    "SoftmaxWithLoss": softmax_with_loss,
    "Split": split,
    "TanH": tanh,
    "WindowData": database,
}

_LOSSES = {"SoftmaxWithLoss"}


def translate(text: LayerText) -> Config:
    """Our config for one layer of a prototxt."""
    kind = text.message.type
    if kind not in TRANSLATIONS:
        known = sorted(name for name, function in TRANSLATIONS.items() if function is not database)
        near = difflib.get_close_matches(kind, known, 3, 0.6)
        hint = f"near to it: {', '.join(near)}" if near else f"types that are: {', '.join(known)}"
        raise text.refuse(f"layer type '{kind}' is not built; {hint}")
    try:
        config = TRANSLATIONS[kind](text)
    except ShapeError as error:
        raise ShapeError(f"{text.source}: {error}") from error
    if kind not in _LOSSES and any(text.message.loss_weight):
        raise text.refuse("loss_weight on a layer that is no loss is not built; remove it")
    _check_propagate_down(text, config)
    text.finish()
    return config


def _check_propagate_down(text: LayerText, config: Config) -> None:
    """``propagate_down: false`` where a gradient would pass cannot be had; elsewhere it says what is so anyway."""
    flags = list(text.message.propagate_down)
    if flags and len(flags) != len(text.bottoms):
        raise text.wrong(f"has {len(flags)} propagate_down for {len(text.bottoms)} bottoms; expected one each")
    for i, flag in enumerate(flags):
        if not flag and config.differentiable and i not in config.label_bottoms:
            raise text.refuse(f"propagate_down: false for bottom '{text.bottoms[i]}' is not built; remove it")
