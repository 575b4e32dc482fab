"""What `fullmocha convert` does with weights alone, which are layers' names and their arrays."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ..errors import FormatError, UnsupportedError, WeightsError

if TYPE_CHECKING:
    import numpy as np

    from ..caffe.binary import Blobs

WEIGHTS = (".caffemodel", ".caffemodel.h5", ".h5")
_IN_HDF5 = re.compile(r"(?!solver_state/).*___(filter|weight|bias)|data/.+/\d+", re.DOTALL)  # ours, or Caffe's


def convert_weights(source: str, target: str) -> str:
    """Copies every layer's arrays; returns what to tell the user."""
    import numpy as np

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
    return f"wrote {target}: {len(blobs)} layers, {values:,} values"


def _read(path: str) -> Blobs:
    """Layer name -> weights, then bias, whatever the file is."""
    from ..caffe.binary import SHARED
    from ..caffe.weights import read_weights
    from .nets import is_ours

    if not is_ours(path):
        stored = read_weights(path)
        for layer, arrays in stored.items():
            if any(array is SHARED for array in arrays):
                raise UnsupportedError(
                    f"{path}: layer '{layer}' shares parameters with another layer, and only the net says with which; convert the "
                    f"net: fullmocha convert NET.prototxt OUT --weights {path}"
                )
        return stored
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
    from ..beside import hdf5_beside
    from ..caffe.writing import write_caffemodel, write_caffemodel_h5

    refuse_loss(path)
    if path.lower().endswith(".caffemodel"):
        write_caffemodel(path, blobs)
        return
    if path.lower().endswith(".caffemodel.h5"):
        write_caffemodel_h5(path, blobs)
        return

    named = {name: array for layer, arrays in blobs.items() for name, array in _named(path, layer, arrays).items()}
    with hdf5_beside(path, sum(array.nbytes for array in named.values())) as file:
        for name, array in named.items():
            file[name] = array


def refuse_loss(path: str) -> None:
    """Weights replace weights, but no HDF5 file that holds anything else."""
    import h5py

    others: list[str] = []

    def visit(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset) and not _IN_HDF5.fullmatch(name):
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
