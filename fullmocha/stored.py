"""Whether the numbers that an HDF5 dataset promises are in its file, asked before memory is given to them.

A header of a hundred bytes can promise terabytes: chunks that were never written read as zeros, and filters unpack.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from .errors import FormatError

if TYPE_CHECKING:
    import h5py

# How much one stored byte can become: deflate's limit is 1032. Below the second number nobody needs to ask.
MOST_PER_BYTE, ALWAYS_FINE = 1100, 1 << 20


def check_stored(dataset: h5py.Dataset, where: str) -> None:
    """Refuse a dataset whose numbers are not all in its own file.

    Raises
    ------
    FormatError
        If it is empty of numbers, lies in other files, or was never (wholly) written.
    """
    if dataset.shape is None:
        raise FormatError(f"{where} has no numbers; the file is cut or corrupt")
    if dataset.external or dataset.is_virtual:
        raise FormatError(f"{where} has its numbers in another file; copy them into this one")
    if not dataset.size:
        return
    stored, wanted = dataset.id.get_storage_size(), math.prod(dataset.shape) * dataset.dtype.itemsize
    missing = not stored
    if dataset.chunks is None:
        missing |= stored < wanted
    else:
        chunks = math.prod(-(-n // c) for n, c in zip(dataset.shape, dataset.chunks, strict=True))
        missing |= dataset.id.get_num_chunks() < chunks
        # A chunk is unpacked whole, also where little of it lies within the dataset.
        wanted = max(wanted, math.prod(dataset.chunks) * dataset.dtype.itemsize)
    if missing or wanted > max(ALWAYS_FINE, stored * MOST_PER_BYTE):
        raise FormatError(
            f"{where} of shape {dataset.shape} should have {wanted} bytes, but was never written, or only in part (it takes "
            f"{stored} bytes of the file); the file is cut or corrupt"
        )


def stored_array(dataset: h5py.Dataset, where: str) -> np.ndarray:
    """All numbers of a dataset, once they are known to be there."""
    check_stored(dataset, where)
    return np.asarray(dataset[()])
