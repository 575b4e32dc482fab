"""Weights from .caffemodel.h5 files: the datasets ``/data/<layer>/<i>``."""

import os
from typing import TYPE_CHECKING

import numpy as np

from ..errors import FormatError
from .binary import Blobs

if TYPE_CHECKING:
    import h5py

# With a block of the user's own in front, the signature stands at a power of two from 512 on.
_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_OFFSETS = (0, 512, 1024, 2048)


def is_hdf5(head: bytes) -> bool:
    """Whether a file that begins with ``head`` is HDF5."""
    return any(head[at : at + 8] == _SIGNATURE for at in _OFFSETS)


def read_caffemodel_h5(path: str | os.PathLike[str]) -> Blobs:
    """Layer name -> its blobs, for the layers that have any.

    Caffe writes a group per layer. A layer name with slashes becomes nested groups, so a layer is any group that holds
    datasets named 0, 1, ...; a parameter that two layers share is stored with the first of them only.
    """
    import h5py

    found: dict[str, dict[int, np.ndarray]] = {}

    def visit(name: str, item: object) -> None:  # follows neither soft nor external links
        layer, _, index = name.rpartition("/")
        if isinstance(item, h5py.Dataset) and layer and index.isascii() and index.isdigit():
            found.setdefault(layer, {})[int(index)] = _array(item, f"{path}: layer '{layer}', blob {index}")

    try:
        with h5py.File(path, "r") as file:
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
    except FormatError:
        raise
    except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:  # what h5py raises for broken files
        raise FormatError(f"{path} cannot be read as HDF5; the file is cut or corrupt ({error})") from None
    for layer, blobs in found.items():
        if sorted(blobs) != list(range(len(blobs))):
            raise FormatError(f"{path}: layer '{layer}' has blobs {sorted(blobs)}; expected 0 to {len(blobs) - 1}")
    return {layer: [blobs[i] for i in range(len(blobs))] for layer, blobs in found.items()}


def _array(dataset: "h5py.Dataset", where: str) -> np.ndarray:
    if dataset.dtype not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise FormatError(f"{where} is {dataset.dtype}; expected float32 or float64")
    if dataset.shape is None or dataset.external or dataset.is_virtual:
        raise FormatError(f"{where} has no numbers in this file")
    if dataset.size and not dataset.id.get_storage_size():
        raise FormatError(f"{where} of shape {dataset.shape} was never written; the file is cut or corrupt")
    return np.asarray(dataset[()])
