"""What `fullmocha convert` does with mean images: Caffe's .binaryproto, .npy, and images or datasets that hold one."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ..errors import FormatError

if TYPE_CHECKING:
    import numpy as np


def convert_mean(source: str, target: str) -> str:
    """Copies one image (C, H, W) of floats; returns what to tell the user."""
    mean = _read(source)
    if mean.ndim != 3 or not mean.size:
        raise FormatError(f"{source}: a mean image has channels, rows and columns; this array is {mean.shape}")
    _write(target, mean)
    return f"wrote {target}: {' x '.join(map(str, mean.shape))} {mean.dtype} (channels, rows, columns)"


def _read(source: str) -> np.ndarray:
    import numpy as np

    suffix = os.path.splitext(source)[1].lower()
    if suffix == ".binaryproto":
        from ..caffe.blobs import read_blob

        mean = read_blob(source)
        return mean[0] if mean.ndim == 4 and len(mean) == 1 else mean
    if suffix == ".npy":
        try:
            mean = np.load(source, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise FormatError(f"{source}: cannot be read as an array of numpy's: {error}") from None
        if mean.dtype.kind not in "iuf":
            raise FormatError(f"{source}: holds {mean.dtype}, no real numbers")
        mean = mean[None] if mean.ndim == 2 else mean
        return mean if mean.dtype == np.float64 else mean.astype(np.float32)
    from ..imaging import open_sections

    with open_sections(f"{source}:/mean" if suffix == ".h5" else source) as sections:
        channels = [section.read(0, 0, *section.shape[1:]) for section in sections]  # grey pages are channels
        if len({c.shape[1:] for c in channels}) != 1:
            raise FormatError(
                f"{source}: its pages differ in size, {[c.shape[1:] for c in channels]}; a mean is one image"
            )
        mean = np.concatenate(channels)
    return mean if mean.dtype == np.float64 else mean.astype(np.float32)


def _write(target: str, mean: np.ndarray) -> None:
    import numpy as np

    from ..beside import Beside, hdf5_beside

    suffix = os.path.splitext(target)[1].lower()
    if suffix == ".binaryproto":
        from ..caffe.writing import write_blob

        write_blob(target, mean[None])
    elif suffix == ".npy":
        with Beside(target, mean.nbytes) as beside, open(beside.path, "wb") as file:
            np.save(file, mean, allow_pickle=False)
    elif suffix == ".h5":
        if os.path.exists(target):
            raise FormatError(f"{target}: exists already; name a new file for the dataset 'mean'")
        with hdf5_beside(target, mean.nbytes) as file:
            file["mean"] = mean  # what DataTransformers.SubMean(mean_file=...) reads
    else:
        from ..imaging import create_output

        channels, height, width = mean.shape
        with create_output(target, 1, channels, height, width, mean.dtype) as result:
            result.write(0, None, 0, 0, mean)
