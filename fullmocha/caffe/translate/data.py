"""Caffe's layers that bring data."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ... import layers
from ...errors import FormatError, ShapeError
from ...transformers import DataTransformers, Transformer
from ..layertext import Config, LayerText
from ..wording import Wording

_MAX_COUNT = 2**31 - 1  # numbers in one of Caffe's blobs


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
    from ..blobs import read_blob

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


def dummy_data(text: LayerText) -> Config:
    block = text.block("dummy_data_param")
    shapes = [tuple(int(n) for n in shape.dim) for shape in block.shape]
    old = [[int(n) for n in getattr(block, name)] for name in ("num", "channels", "height", "width")]
    tops = len(text.tops)
    if shapes and any(old):
        raise text.wrong("has both shape and num, channels, height, width; expected one kind of them")
    if any(old):
        if any(len(sizes) not in (1, tops) for sizes in old):
            raise text.wrong(
                f"has {[len(s) for s in old]} of num, channels, height and width for {tops} tops; expected one each"
            )
        shapes = list(zip(*(sizes if len(sizes) == tops else sizes * tops for sizes in old), strict=True))
    if len(shapes) not in (1, tops):
        raise text.wrong(f"has {len(shapes)} shapes for {tops} tops; expected one each")
    if any(n < 1 for shape in shapes for n in shape):
        raise text.wrong(f"shape is {shapes}; expected sizes of at least 1")
    for shape in shapes:
        _check_count(text, shape)
    fillers = [text.initializer(filler) for filler in block.data_filler]
    if len(fillers) not in (0, 1, tops):
        raise text.wrong(f"has {len(fillers)} data_filler for {tops} tops; expected one for all, or one each")
    shapes = shapes if len(shapes) == tops else shapes * tops
    return layers.DummyDataLayer(name=text.name, tops=text.tops, shapes=shapes, fillers=fillers)


def write_dummy_data(layer: layers.DummyDataLayer, to: Wording) -> None:
    block = to.block("DummyData", "dummy_data_param")
    for shape, filler in zip(to.tops, layer.fillers, strict=True):
        block.shape.add(dim=shape)
        to.filler(block.data_filler.add(), filler)


def hdf5_output(text: LayerText) -> Config:
    """Caffe stores its first bottom as "data" and its second as "label", in a file that it replaces."""
    block = text.block("hdf5_output_param")
    if not block.file_name:
        raise text.wrong("file_name is missing")
    if len(text.bottoms) != 2:
        raise text.wrong(f"has {len(text.bottoms)} bottoms; expected two, data and labels")
    return layers.HDF5OutputLayer(
        name=text.name, bottoms=text.bottoms, filename=block.file_name, datasets=_STORED, force_overwrite=True
    )


_STORED = ("data", "label")


def write_hdf5_output(layer: layers.HDF5OutputLayer, to: Wording) -> None:
    if tuple(layer.names) != _STORED:
        raise to.refuse(f"stores datasets {list(layer.names)}; Caffe's HDF5Output stores two, {list(_STORED)}")
    to.block("HDF5Output", "hdf5_output_param").file_name = str(layer.filename)


def leave_out(layer: layers.MemoryOutputLayer, to: Wording) -> None:
    """In Caffe every blob that nobody reads is an output."""


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


def write_input(layer: layers.InputLayer | layers.MemoryDataLayer, to: Wording) -> None:
    """What a caller feeds: Caffe's Input, or its MemoryData, which alone can have a mean and a scale."""
    if not layer.transformers:
        for shape in to.tops:
            to.block("Input", "input_param").shape.add(dim=shape)
        return
    block, shape = to.block("MemoryData", "memory_data_param"), to.tops[0]
    if len(shape) == 4:
        block.batch_size, block.channels, block.height, block.width = shape
    else:
        block.dim.extend(shape)
    if len(to.tops) > 2 or any(math.prod(s) != shape[0] for s in to.tops[1:]):
        raise to.refuse(
            f"has transformers and tops of {to.tops}; Caffe's MemoryData has images and one label for each, and its Input no "
            "transformers: give the other tops a layer of their own"
        )
    write_transformers(layer, to)


def write_transformers(layer: layers.InputLayer | layers.MemoryDataLayer, to: Wording) -> None:
    """(x - mean) * scale of the first top as a transform_param."""
    block = to.message.transform_param
    for name, step in layer.transformers:
        if name != layer.tops[0]:
            raise to.refuse(f'transforms "{name}"; Caffe transforms a data layer\'s first top alone')
        if isinstance(step, DataTransformers.Scale):
            to.say(block, scale=block.scale * step.scale)
        elif isinstance(step, DataTransformers.SubMean) and block.scale == 1 and not len(block.mean_value):
            block.mean_value.extend(_per_channel(step, to))
        else:
            raise to.refuse(f"{step!r} has no place in Caffe's transform_param, which is one mean, and then one scale")


def _per_channel(step: Any, to: Wording) -> list[float]:
    if max(step.mean.shape[1:] or (1,), default=1) > 1 and step.mean.size > 1 and step.mean.size != to.tops[0][1]:
        raise to.refuse(
            f"subtracts a mean of {step.mean.shape}; only one value per channel fits into a prototxt: take "
            "mean.mean(axis=(1, 2))"
        )
    return [float(v) for v in step.mean.ravel()]


def write_hdf5_data(layer: layers.HDF5DataLayer, to: Wording) -> None:
    if layer.transformers:
        raise to.refuse("has transformers, which Caffe's HDF5Data has not; transform the files")
    block = to.block("HDF5Data", "hdf5_data_param")
    to.say(block, source=str(layer.source), batch_size=layer.batch_size, shuffle=layer.shuffle)


READERS: dict[str, Callable[[LayerText], Config]] = {
    "Data": database,
    "DummyData": dummy_data,
    "HDF5Data": hdf5_data,
    "HDF5Output": hdf5_output,
    "ImageData": database,
    "Input": input_,
    "MemoryData": memory_data,
    "WindowData": database,
}

WRITERS: dict[type[layers.Layer], Callable[[Any, Wording], None]] = {
    layers.DummyDataLayer: write_dummy_data,
    layers.HDF5DataLayer: write_hdf5_data,
    layers.HDF5OutputLayer: write_hdf5_output,
    layers.InputLayer: write_input,
    layers.MemoryDataLayer: write_input,
    layers.MemoryOutputLayer: leave_out,
}
