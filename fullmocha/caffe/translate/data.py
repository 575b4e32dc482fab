"""Caffe's layers that bring data."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ... import layers
from ...errors import ShapeError
from ...layers.data import SourceLayer
from ...transformers import DataTransformers, Transformer
from ..layertext import Config, LayerText, Parameters
from ..schema import Message
from ..wording import Wording

_MAX_COUNT = 2**31 - 1  # numbers in one of Caffe's blobs


def input_(text: LayerText) -> Config:
    shapes = [tuple(int(n) for n in shape.dim) for shape in text.block("input_param").shape]
    if len(shapes) not in (1, len(text.tops)):
        raise text.wrong(f"has {len(shapes)} shapes for {len(text.tops)} tops; expected one each")
    _check_shapes(text, shapes)
    return layers.InputLayer(name=text.name, tops=text.tops, shapes=(shapes * len(text.tops))[: len(text.tops)])


def _check_shapes(text: LayerText, shapes: Sequence[tuple[int, ...]]) -> None:
    if any(n < 1 for shape in shapes for n in shape):
        raise text.wrong(f"shape is {shapes}; expected sizes of at least 1")
    for shape in shapes:
        _check_count(text, shape)


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
    for name in ("mirror", "crop_size", "force_color", "force_gray"):
        if getattr(text.block("transform_param"), name):
            raise text.refuse(
                f"transform_param {name} is not built here, where the caller feeds blobs; do it to them, and remove it"
            )
    shapes = [shape, shape[:1]][: len(text.tops)]
    steps = transformers(text)
    try:
        for _, step in steps:
            step(np.empty((0, *(shape[1:] or (1,)))))  # a batch of none: only the shapes meet
    except ShapeError as error:
        raise text.wrong(f"transform_param's mean does not fit the shape {shape}: {error}") from error
    return layers.InputLayer(name=text.name, tops=text.tops, shapes=shapes, transformers=steps)


def transformers(text: LayerText) -> list[tuple[str, Transformer]]:
    """What transform_param asks of the first top's values: (x - mean) * scale."""
    block = text.block("transform_param")
    steps: list[Transformer] = []
    means, file = text.numbers(block, "mean_value"), block.mean_file
    if means and file:
        raise text.wrong("has both mean_file and mean_value; expected one of them")
    if means:
        steps.append(DataTransformers.SubMean(mean_blob=np.array(means)))
    elif file:
        steps.append(DataTransformers.SubMean(mean_blob=text.blob(file, "transform_param mean_file"), source=file))
    scale = text.number(block, "scale")
    if scale != 1:
        steps.append(DataTransformers.Scale(scale))
    return [(text.tops[0], step) for step in steps]


def image_data(text: LayerText) -> Config:
    block = text.block("image_data_param")
    return layers.ImageDataLayer(
        source=_source(text, block),
        root_folder=block.root_folder,
        new_height=int(block.new_height),
        new_width=int(block.new_width),
        is_color=bool(block.is_color),
        shuffle=bool(block.shuffle),
        **_images(text, block),
    )


def database(text: LayerText) -> Config:
    block, transform = text.block("data_param"), text.block("transform_param")
    block.has("prefetch")  # only how far Caffe reads ahead
    if block.backend == block.LEVELDB:
        raise text.refuse(
            "backend LEVELDB, which is also what stands for none, is not read; convert the database to LMDB with Caffe's "
            "convert_imageset or to HDF5, or load the net's deploy prototxt"
        )
    return layers.DataLayer(
        source=_source(text, block),
        force_color=bool(transform.force_color or block.force_encoded_color),
        force_gray=bool(transform.force_gray),
        **_images(text, block),
    )


def _source(text: LayerText, block: Parameters) -> str:
    if not block.source:
        raise text.wrong("source is missing")
    return str(block.source)


def _images(text: LayerText, block: Parameters) -> dict[str, Any]:
    """What both kinds of images have: crops at random places are for training."""
    transform = text.block("transform_param")
    return {
        "name": text.name,
        "tops": text.tops,
        "batch_size": int(block.batch_size),
        "rand_skip": int(block.rand_skip),
        "crop_size": int(transform.crop_size),
        "crop": "random" if text.phase == "train" else "centre",
        "mirror": bool(transform.mirror),
        "transformers": transformers(text),
    }


def write_image_data(layer: layers.ImageDataLayer, to: Wording) -> None:
    block = to.block("ImageData", "image_data_param")
    to.say(block, root_folder=layer.root_folder, new_height=layer.new_height, new_width=layer.new_width)
    to.say(block, is_color=layer.is_color, shuffle=layer.shuffle)
    _write_images(layer, block, to)


def write_database(layer: layers.DataLayer, to: Wording) -> None:
    block = to.block("Data", "data_param")
    block.backend = block.LMDB
    to.say(to.message.transform_param, force_color=layer.force_color, force_gray=layer.force_gray)
    _write_images(layer, block, to)


def _write_images(layer: layers.ImageDataLayer | layers.DataLayer, block: Message, to: Wording) -> None:
    _check_whole(layer, to)
    to.say(block, source=str(layer.source), batch_size=layer.batch_size, rand_skip=layer.rand_skip)
    to.say(to.message.transform_param, crop_size=layer.crop_size, mirror=layer.mirror)
    if layer.crop_size:  # where a crop lies is in Caffe a matter of the phase
        to.message.phase = ("random", "centre").index(layer.crop)
    write_transformers(layer, to)
    if not to.message.transform_param.ListFields():
        to.message.ClearField("transform_param")


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
    _check_shapes(text, shapes)
    fillers = [text.initializer(filler) for filler in block.data_filler]
    if len(fillers) not in (0, 1, tops):
        raise text.wrong(f"has {len(fillers)} data_filler for {tops} tops; expected one for all, or one each")
    shapes = shapes if len(shapes) == tops else shapes * tops
    return layers.DummyDataLayer(name=text.name, tops=text.tops, shapes=shapes, fillers=fillers)


def write_dummy_data(layer: layers.DummyDataLayer, to: Wording) -> None:
    _check_whole(layer, to)
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
    return layers.HDF5DataLayer(
        name=text.name,
        tops=text.tops,
        source=_source(text, block),
        batch_size=int(block.batch_size),
        shuffle=bool(block.shuffle),
    )


def _check_whole(layer: SourceLayer, to: Wording) -> None:
    """A Caffe net takes what its data layers deliver; ours may be written for a smaller patch."""
    if to.tops != layer.delivers():
        raise to.refuse(
            f"delivers {layer.delivers()} to a net whose patch makes that {to.tops}, for which Caffe has no words; put an "
            "InputLayer in its place"
        )


def write_hdf5_data(layer: layers.HDF5DataLayer, to: Wording) -> None:
    _check_whole(layer, to)
    if layer.transformers:
        raise to.refuse("has transformers, which Caffe's HDF5Data has not; transform the files")
    block = to.block("HDF5Data", "hdf5_data_param")
    to.say(block, source=str(layer.source), batch_size=layer.batch_size, shuffle=layer.shuffle)


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


def write_transformers(layer: SourceLayer, to: Wording) -> None:
    """(x - mean) * scale of the first top as a transform_param."""
    block = to.message.transform_param
    for name, step in layer.transformers:
        if name != layer.tops[0]:
            raise to.refuse(f'transforms "{name}"; Caffe transforms a data layer\'s first top alone')
        if isinstance(step, DataTransformers.Scale):
            to.say(block, scale=block.scale * step.scale)
        elif (
            isinstance(step, DataTransformers.SubMean)
            and block.scale == 1
            and not len(block.mean_value)
            and not block.mean_file
        ):
            _write_mean(step, to)
        else:
            raise to.refuse(f"{step!r} has no place in Caffe's transform_param, which is one mean, and then one scale")


def _write_mean(step: Any, to: Wording) -> None:
    if step.source:
        to.message.transform_param.mean_file = step.source
    elif step.mean.size in (1, to.tops[0][1]):
        to.message.transform_param.mean_value.extend(float(v) for v in step.mean.ravel())
    else:
        raise to.refuse(
            f"subtracts a mean of {step.mean.shape}; only one value per channel fits into a prototxt: take "
            "mean.mean(axis=(1, 2))"
        )


def windows_of_images(text: LayerText) -> Config:
    raise text.refuse("windows of listed images are not read; cut them out into images, and use ImageData or HDF5Data")


def python(text: LayerText) -> Config:
    raise text.refuse(
        "runs a class of a Python module that the file names, which is never done here; write that layer as a class of "
        "fullmocha.Layer, and the net in Python"
    )


REFUSED = (windows_of_images, python)


READERS: dict[str, Callable[[LayerText], Config]] = {
    "Data": database,
    "DummyData": dummy_data,
    "HDF5Data": hdf5_data,
    "HDF5Output": hdf5_output,
    "ImageData": image_data,
    "Input": input_,
    "MemoryData": memory_data,
    "Python": python,
    "WindowData": windows_of_images,
}

WRITERS: dict[type[layers.Layer], Callable[[Any, Wording], None]] = {
    layers.DataLayer: write_database,
    layers.DummyDataLayer: write_dummy_data,
    layers.HDF5DataLayer: write_hdf5_data,
    layers.HDF5OutputLayer: write_hdf5_output,
    layers.ImageDataLayer: write_image_data,
    layers.InputLayer: write_input,
    layers.MemoryDataLayer: write_input,
    layers.MemoryOutputLayer: leave_out,
}
