"""Caffe's layers that slide over the spatial axes, or join and crop there."""

from collections.abc import Callable
from typing import Any, Literal

from ... import layers
from ..layertext import Config, LayerText, Parameters
from ..wording import Wording


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
        "n_filter": text.num_output(block),
        "n_group": int(block.group),
        **text.weight_and_bias("filter", block),
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


def write_convolution(layer: layers.ConvolutionLayer, to: Wording) -> None:
    _write_windowed("Convolution", layer, to)


def write_deconvolution(layer: layers.DeconvolutionLayer, to: Wording) -> None:
    _write_windowed("Deconvolution", layer, to)


def _write_windowed(kind: str, layer: layers.ConvolutionLayer | layers.DeconvolutionLayer, to: Wording) -> None:
    block, window = to.block(kind, "convolution_param"), layer.window
    to.say(block, num_output=layer.n_filter, group=layer.n_group, bias_term=layer.bias)
    to.sizes(block, "kernel_size", window.kernel)
    to.sizes(block, "stride", window.stride, 1)
    to.sizes(block, "pad", window.pad, 0)
    to.sizes(block, "dilation", window.dilation, 1)
    to.filler(block.weight_filler, layer.filter_init)
    if layer.bias:
        to.filler(block.bias_filler, layer.bias_init)
    to.parameters(*("filter", "bias")[: 1 + layer.bias])


READERS: dict[str, Callable[[LayerText], Config]] = {
    "Convolution": convolution,
    "Crop": crop,
    "Deconvolution": deconvolution,
    "MergeCrop": merge_crop,
    "Pooling": pooling,
}

WRITERS: dict[type[layers.Layer], Callable[[Any, Wording], None]] = {
    layers.ConvolutionLayer: write_convolution,
    layers.DeconvolutionLayer: write_deconvolution,
}
