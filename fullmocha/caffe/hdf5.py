"""Weights from .caffemodel.h5 files: the datasets ``/data/<layer>/<i>``."""

import os
from typing import TYPE_CHECKING

import numpy as np

from ..errors import FormatError
from ..stored import open_hdf5, stored_array
from .binary import SHARED, Blobs

if TYPE_CHECKING:
    import h5py

# With a block of the user's own in front, the signature stands at a power of two from 512 on.
_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_OFFSETS = (0, 512, 1024, 2048)
_KINDS = (np.dtype(np.float32), np.dtype(np.float64))


def is_hdf5(head: bytes) -> bool:
    """Whether a file that begins with ``head`` is HDF5."""
    return any(head[at : at + 8] == _SIGNATURE for at in _OFFSETS)


def read_caffemodel_h5(path: str | os.PathLike[str]) -> Blobs:
    """Layer name -> its blobs, for the layers that have any; `SHARED` where numbers are left out.

    Caffe writes a group per layer. A layer name with slashes becomes nested groups, so a layer is any group that holds
    datasets named 0, 1, ...; a parameter that two layers share is stored with the first of them only. Gradients (/diff) and
    whatever else there may be are not looked at.
    """
    import h5py

    found: dict[str, dict[int, np.ndarray]] = {}

    def visit(name: str, item: object) -> None:  # follows neither soft nor external links
        layer, _, index = name.rpartition("/")
        if isinstance(item, h5py.Dataset) and layer and _is_index(index):
            found.setdefault(layer, {})[int(index)] = dataset_array(item, f"{path}: layer '{layer}', blob {index}")

    with open_hdf5(path, "a .caffemodel.h5") as file:
        data = file.get("data")
        if isinstance(data, h5py.Dataset):
            raise FormatError(
                f"{path} holds no weights: /data is a dataset of shape {data.shape}, where Caffe has a group of "
                f"layers; if it is an image, name it {path}:/data"
            )
        if not isinstance(data, h5py.Group):
            raise FormatError(
                f"{path} is HDF5 but has no group /data, where Caffe puts the weights; it holds "
                f"{', '.join(sorted(file)[:8]) or 'nothing'}"
            )
        data.visititems(visit)
    return {layer: [blobs.get(i, SHARED) for i in range(max(blobs) + 1)] for layer, blobs in found.items()}


def integer_named(group: "h5py.Group") -> list[str]:
    """The names of a group's members that are whole numbers, by value."""
    return sorted(filter(_is_index, group), key=int)


def dataset_array(item: object, where: str) -> np.ndarray:
    """A dataset of float32 or float64 that is wholly in the file."""
    import h5py

    if not isinstance(item, h5py.Dataset):
        raise FormatError(f"{where} is no dataset; the file is corrupt, or not Caffe's")
    if item.dtype not in _KINDS:
        raise FormatError(f"{where} is {item.dtype}; expected float32 or float64")
    return stored_array(item, where)


def _is_index(name: str) -> bool:
    return name.isascii() and name.isdigit() and len(name) < 6  # the largest real layer has a handful of blobs
