"""Weights of a file into a net: by layer name, all of them checked before any is written."""

import os
from pathlib import Path

from .binary import Blobs, decode_caffemodel
from .files import read_bytes
from .hdf5 import is_hdf5, read_caffemodel_h5


def read_weights(path: str | os.PathLike[str]) -> Blobs:
    """Layer name -> its blobs, from a .caffemodel or .caffemodel.h5 file; the content says which it is."""
    raw = read_bytes(path, "a file of weights")
    if is_hdf5(raw[:4096]):
        return read_caffemodel_h5(Path(path))
    return decode_caffemodel(raw, os.fspath(path))
