"""`fullmocha convert`: weights between Caffe's formats and ours, images between formats."""

from __future__ import annotations

import os
import re
import struct
from typing import TYPE_CHECKING

import click

from ..errors import FormatError, UnsupportedError, WeightsError

if TYPE_CHECKING:
    import numpy as np

    from ..caffe.binary import Blobs

WEIGHTS = (".caffemodel", ".caffemodel.h5", ".h5")
IMAGES = (".tif", ".tiff", ".png", ".h5:/dataset")
NOT_YET = {".jld": "Mocha's Julia files", ".npz": "numpy archives", ".pth": "PyTorch's files", ".pt": "PyTorch's files",
           ".onnx": "ONNX", ".solverstate": "Caffe's solver states", ".zarr": "Zarr", ".binaryproto": "Caffe's mean images"}  # fmt: skip
WEIGHTS_IN_HDF5 = re.compile(r"(?!solver_state/).*___(filter|weight|bias)|data/.+/\d+", re.DOTALL)  # ours, or Caffe's
_BAND_BYTES = 2**24  # of an image that is copied


@click.command(short_help="Convert weights or images to another format.")
@click.argument("source", metavar="IN")
@click.argument("target", metavar="OUT")
def convert(source: str, target: str) -> None:
    """Convert weights (.caffemodel, .caffemodel.h5, our .h5) or images (TIFF, PNG, HDF5 as file.h5:/dataset) from IN to OUT.

    The suffix of OUT says what is written; it appears whole or not at all. Our .h5 has a dataset layer___filter or layer___weight,
    and layer___bias, for each layer; a .caffemodel is written without the net, which stays in its prototxt.
    """
    import numpy as np

    from ..imaging.hdf5 import split_location

    for name in (source, target):
        _refuse_unknown(name)
    files = [split_location(name)[0] for name in (source, target)]
    if all(map(os.path.exists, files)) and os.path.samefile(*files):
        raise FormatError(f"{target}: is the input, too; name another file for the result")
    if _is_image(source):
        click.echo(_copy_image(source, target))
        return
    blobs = _read(source)
    if not target.lower().endswith(WEIGHTS):
        raise FormatError(f"{target}: its suffix names no format of weights; use one of {', '.join(WEIGHTS)}")
    for layer, arrays in blobs.items():
        if not all(np.isfinite(a).all() for a in arrays):
            raise WeightsError(
                f"{source}: layer '{layer}' holds NaN or infinity; use weights from before the training diverged"
            )
    _write(target, blobs)
    values = sum(array.size for arrays in blobs.values() for array in arrays)
    click.echo(f"wrote {target}: {len(blobs)} layers, {values:,} values")


def _refuse_unknown(name: str) -> None:
    suffix = os.path.splitext(name)[1].lower()
    if suffix in NOT_YET:
        known = f"weights in {', '.join(WEIGHTS)}, images in {', '.join(IMAGES)}"
        raise UnsupportedError(
            f"{name}: {NOT_YET[suffix]} ({suffix}) are not converted yet; this version knows {known}"
        )


def _is_image(name: str) -> bool:
    """Whether it is a file that holds an image: by what it begins with, or because it names a dataset."""
    from ..imaging import png, tiff
    from ..imaging.door import check_input, first_bytes
    from ..imaging.hdf5 import split_location

    file, dataset = split_location(name)
    check_input(file)
    return dataset is not None or first_bytes(file).startswith((*png.MAGIC, *tiff.MAGIC))


def _copy_image(source: str, target: str) -> str:
    """Copies every section by bands of rows."""
    from ..imaging import create_output, open_sections

    with open_sections(source) as sections:
        channels, height, width = sections[0].shape
        dtype = sections[0].dtype
        rows = max(1, _BAND_BYTES // (channels * width * dtype.itemsize))
        with create_output(target, len(sections), channels, height, width, dtype) as result:
            for number, section in enumerate(sections):
                for y in range(0, height, rows):
                    result.write(number, None, y, 0, section.read(y, 0, min(rows, height - y), width))
    return (
        f"wrote {target}: {len(sections)} x {channels} x {height} x {width} {dtype} (sections, channels, rows, columns)"
    )


def _read(path: str) -> Blobs:
    """Layer name -> weights, then bias, whatever the file is."""
    from ..caffe.weights import read_weights
    from .nets import is_ours

    if not is_ours(path):
        return read_weights(path)
    from ..solvers.model import read_model, reading

    with reading(path) as file:
        values = read_model(file)
    blobs: Blobs = {}
    for name in sorted(values, key=lambda name: name.endswith("___bias")):
        layer, _, role = name.rpartition("___")
        if role not in ("filter", "weight", "bias") or (role == "bias") != (layer in blobs):
            raise UnsupportedError(
                f"{path}: {name} is neither a layer's filter or weight, nor the bias that belongs to one"
            )
        blobs.setdefault(layer, []).append(values[name])
    if not blobs:
        raise FormatError(f"{path}: holds no weights, datasets named layer___filter or layer___weight; is it an image?")
    return blobs


def _write(path: str, blobs: Blobs) -> None:
    from ..beside import Beside

    _refuse_loss(path)
    with Beside(path, sum(array.nbytes for arrays in blobs.values() for array in arrays)) as beside:
        if path.lower().endswith(".caffemodel"):
            beside.path.write_bytes(_caffemodel(blobs))
            return
        import h5py

        caffe = path.lower().endswith(".caffemodel.h5")
        with h5py.File(beside.path, "w") as file:
            for layer, arrays in blobs.items():
                named = {f"data/{layer}/{i}": a for i, a in enumerate(arrays)} if caffe else _named(path, layer, arrays)
                for name, array in named.items():
                    file[name] = array


def _refuse_loss(path: str) -> None:
    """Weights replace weights, but no HDF5 file that holds anything else."""
    import h5py

    others: list[str] = []

    def visit(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset) and not WEIGHTS_IN_HDF5.fullmatch(name):
            others.append(f"/{name}")

    try:
        with h5py.File(path, "r") as file:
            file.visititems(visit)
    except (OSError, RuntimeError, ValueError):
        return  # nothing there, or nothing that HDF5 could read
    if others:
        raise FormatError(
            f"{path}: holds {', '.join(others[:5])}, which would be lost: weights replace the file; name a new file"
        )


def _named(path: str, layer: str, arrays: list[np.ndarray]) -> dict[str, np.ndarray]:
    """A layer's arrays under our names and in our shapes."""
    weights, *bias = arrays
    if weights.ndim < 2 or len(bias) > 1 or any(b.size != max(b.shape, default=0) for b in bias):
        shapes = ", ".join(str(a.shape) for a in arrays)
        raise UnsupportedError(
            f"{path}: layer '{layer}' has {len(arrays)} blobs ({shapes}); our .h5 takes convolutions and inner products, weights "
            "and bias. Convert to .caffemodel.h5, or give the file to --weights as it is"
        )
    # (N, C / group, h, w), unless it is the (1, 1, N, K) that files from before 2015 have for an inner product
    outputs = bias[0].size if bias else 0
    is_filter = weights.ndim > 2 and (weights.shape[:2] != (1, 1) or outputs not in (0, weights.shape[2]))
    if is_filter:
        return {f"{layer}___filter": weights} | {f"{layer}___bias": b.ravel() for b in bias}
    if weights.shape[-1] == weights.shape[-2]:
        raise UnsupportedError(
            f"{path}: layer '{layer}' has a square matrix of {weights.shape[-1]} x {weights.shape[-1]} weights, and only the prototxt "
            "says whether it is transposed; convert to .caffemodel.h5, or give the file to --weights as it is"
        )
    return {f"{layer}___weight": weights.reshape(weights.shape[-2:])} | {f"{layer}___bias": b.ravel() for b in bias}


def _caffemodel(blobs: Blobs) -> bytes:
    """NetParameter with its layers' names and blobs (V2): what Caffe copies weights from.

    Written by hand, because the floats should be packed, as Caffe packs them.
    """
    net = b""
    for layer, arrays in blobs.items():
        message = _field(1, layer.encode())
        for array in arrays:
            shape = _field(7, _field(1, b"".join(_varint(n) for n in array.shape)))
            double = array.dtype.itemsize == 8
            message += _field(7, shape + _field(8 if double else 5, array.astype("<f8" if double else "<f4").tobytes()))
        net += _field(100, message)
    return net


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    groups = []
    while value > 127:
        groups.append(value & 127 | 128)
        value >>= 7
    return struct.pack(f"{len(groups) + 1}B", *groups, value)
