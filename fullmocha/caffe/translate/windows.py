"""Caffe's layers that slide over the spatial axes, or join and crop there."""

from collections.abc import Callable
from typing import Any, Literal

from ... import layers
from ...layers.pooling import PoolingFunction
from ...layers.windowed import WindowedLayer
from ..layertext import Config, LayerText, Parameters
from ..wording import Wording


def convolution(text: LayerText) -> Config:
    return layers.ConvolutionLayer(**_windowed(text))


def deconvolution(text: LayerText) -> Config:
    return layers.DeconvolutionLayer(**_windowed(text))


def _windowed(text: LayerText) -> dict[str, Any]:
    block = text.block("convolution_param")
    return {
        **text.wiring,
        **_window(text, block),
        "axis": int(block.axis),
        "n_filter": text.num_output(block),
        "n_group": int(block.group),
        **text.weight_and_bias("filter", block),
    }


def _window(text: LayerText, block: Parameters) -> dict[str, Any]:
    """Kernel, stride, pad and dilation, turned to (width, height)."""
    kernel = text.sizes(block, "kernel_size", 1, "kernel")
    if kernel is None:
        raise text.wrong("kernel_size is missing")
    fields = {
        "kernel": kernel,
        "stride": text.sizes(block, "stride", 1, "stride"),
        "pad": text.sizes(block, "pad", 0, "pad"),
        "dilation": text.sizes(block, "dilation", 1),
    }
    return {name: size[::-1] if isinstance(size, tuple) else size for name, size in fields.items() if size is not None}


def pooling(text: LayerText) -> Config:
    block = text.block("pooling_param")
    text.channels_only(block)
    places = (len(text.bottoms), len(text.tops)) == (1, 2)
    if places and block.pool != block.MAX:
        raise text.wrong("a second top, the places of the maxima, comes with pool: MAX only; remove it")
    fields: dict[str, Any] = {**text.wiring, "pooling": _pool(text, block), "places": places}
    if block.global_pooling:
        _check_whole(text, block)
        return layers.PoolingLayer(**fields, whole=True)
    floor = block.round_mode == block.FLOOR or not block.ceil_mode
    rounding: Literal["floor", "ceil"] = "floor" if floor else "ceil"
    return layers.PoolingLayer(**fields, **_window(text, block), round=rounding, divisor="caffe")


def _pool(text: LayerText, block: Parameters) -> PoolingFunction:
    if block.pool == block.STOCHASTIC:
        raise text.refuse("pool: STOCHASTIC is not built; choose MAX or AVE")
    return layers.Pooling.Max() if block.pool == block.MAX else layers.Pooling.Mean()


def _check_whole(text: LayerText, block: Parameters) -> None:
    """Global pooling takes no kernel; a pad of 0 and a stride of 1 may be spelled out."""
    if text.sizes(block, "kernel_size", 1, "kernel"):
        raise text.wrong("has both global_pooling and a kernel; expected one of them")
    for name, plain in (("pad", 0), ("stride", 1), ("dilation", 1)):
        sizes = text.sizes(block, name, plain, name if name != "dilation" else "")
        if sizes is not None and {plain} != {*(sizes if isinstance(sizes, tuple) else (sizes,))}:
            raise text.wrong(f"global_pooling takes only {name} {plain}; got {sizes}")
    for name in ("round_mode", "ceil_mode"):
        block.has(name)  # one window needs no rounding


def spp(text: LayerText) -> Config:
    block = text.block("spp_param")
    if block.pyramid_height < 1:
        raise text.wrong("pyramid_height is missing")
    return layers.SPPLayer(**text.wiring, pyramid_height=int(block.pyramid_height), pooling=_pool(text, block))


def im2col(text: LayerText) -> Config:
    block = text.block("convolution_param")
    text.channels_only(block)
    return layers.Im2colLayer(**text.wiring, **_window(text, block))


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


# ---- and back


def write_convolution(layer: layers.ConvolutionLayer, to: Wording) -> None:
    _write_windowed("Convolution", layer, to)


def write_deconvolution(layer: layers.DeconvolutionLayer, to: Wording) -> None:
    _write_windowed("Deconvolution", layer, to)


def _write_windowed(kind: str, layer: layers.ConvolutionLayer | layers.DeconvolutionLayer, to: Wording) -> None:
    block = to.block(kind, "convolution_param")
    to.say(block, num_output=layer.n_filter, group=layer.n_group, axis=layer.axis)
    _write_window(layer, block, to)
    to.weight_and_bias(block, "filter")


def _write_window(layer: WindowedLayer, block: Any, to: Wording) -> None:
    """A field that is one integer here is one there."""
    for field, name, plain in (
        ("kernel", "kernel_size", None),
        ("stride", "stride", 1),
        ("pad", "pad", 0),
        ("dilation", "dilation", 1),
    ):
        value = getattr(layer, field)
        to.sizes(block, name, value[::-1] if isinstance(value, tuple) else (value,), plain)


def write_im2col(layer: layers.Im2colLayer, to: Wording) -> None:
    _write_window(layer, to.block("Im2col", "convolution_param"), to)


def write_pooling(layer: layers.PoolingLayer, to: Wording) -> None:
    block = to.block("Pooling", "pooling_param")
    mean = layer.pooling.kind == "mean"
    to.say(block, pool=block.AVE if mean else block.MAX)
    if layer.whole:
        block.global_pooling = True
        return
    if mean and layer.divisor == "mocha" and _hangs_over(layer, to):
        raise to.refuse(
            "where its last window hangs over the edge, Mocha's mean divides by the whole window and Caffe's by the part inside; "
            'train it with divisor="caffe", or use round="floor"'
        )
    _write_window(layer, block, to)
    for name, short in (("kernel_size", "kernel"), ("stride", "stride"), ("pad", "pad")):
        given = list(getattr(block, name))
        if len(given) == 2:  # Caffe's pooling, unlike Greentea's, has one number here, and these names for two
            block.ClearField(name)
            setattr(block, f"{short}_h", given[0])
            setattr(block, f"{short}_w", given[1])
    size = to.bottoms[0][2:]
    window = layer.over(size)
    if window.slides(size, "floor") != window.slides(
        size, "ceil"
    ):  # else unsaid: Caffe 1.0 and OpenCV do not know the word
        to.say(block, round_mode=block.CEIL if layer.round == "ceil" else block.FLOOR)


def _hangs_over(layer: layers.PoolingLayer, to: Wording) -> bool:
    """Whether the last window reaches beyond the padded bottom."""
    size = to.bottoms[0][2:]
    window = layer.over(size)
    sides = zip(window.slides(size, layer.round), window.stride, window.extent, size, window.pad, strict=True)
    return any((out - 1) * s + e > n + 2 * p for out, s, e, n, p in sides)


def write_spp(layer: layers.SPPLayer, to: Wording) -> None:
    block = to.block("SPP", "spp_param")
    to.say(block, pyramid_height=layer.pyramid_height, pool=block.AVE if layer.pooling.kind == "mean" else block.MAX)


def write_crop(layer: layers.CropLayer, to: Wording) -> None:
    if layer.is_random or layer.crop_size is not None:
        raise to.refuse(
            "Caffe's Crop takes its size from a second bottom; write the net with that form, or cut the data"
        )
    block = to.block("Crop", "crop_param")
    to.say(block, axis=layer.axis)
    block.offset.extend(layer.offset)


def write_merge_crop(layer: layers.MergeCropLayer, to: Wording) -> None:
    if layer.offset is not None:
        raise to.refuse(
            f"offset {layer.offset} has no words in Greentea, whose MergeCrop takes the centre; use CropLayer before"
        )
    block = to.block("MergeCrop", "mergecrop_param")
    to.say(block, operation=block.ADD if layer.operation == "add" else block.STACK)
    for name, flags, plain in (
        ("forward", layer.forward_of, (True, True)),
        ("backward", layer.backward_of, (True, False)),
    ):
        if tuple(flags) != plain:
            getattr(block, name).extend(flags)


READERS: dict[str, Callable[[LayerText], Config]] = {
    "Convolution": convolution,
    "Crop": crop,
    "Deconvolution": deconvolution,
    "Im2col": im2col,
    "MergeCrop": merge_crop,
    "Pooling": pooling,
    "SPP": spp,
}

WRITERS: dict[type[layers.Layer], Callable[[Any, Wording], None]] = {
    layers.ConvolutionLayer: write_convolution,
    layers.CropLayer: write_crop,
    layers.DeconvolutionLayer: write_deconvolution,
    layers.Im2colLayer: write_im2col,
    layers.MergeCropLayer: write_merge_crop,
    layers.PoolingLayer: write_pooling,
    layers.SPPLayer: write_spp,
}
