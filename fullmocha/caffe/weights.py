"""Weights of a file for a net: by layer name, all of them checked before any is written."""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import WeightsError
from .binary import Blobs, decode_caffemodel
from .files import read_bytes
from .hdf5 import is_hdf5, read_caffemodel_h5

Shape = tuple[int, ...]


def read_weights(path: str | os.PathLike[str]) -> Blobs:
    """Layer name -> its blobs, from a .caffemodel or .caffemodel.h5 file; the content says which it is."""
    raw = read_bytes(path, "a file of weights")
    if is_hdf5(raw[:4096]):
        return read_caffemodel_h5(Path(path))
    return decode_caffemodel(raw, os.fspath(path))


@dataclass(frozen=True)
class Wanted:
    """What one layer of the net wants from a file.

    Attributes
    ----------
    shapes : list of shapes
        Of its parameters: weights, then bias.
    names : list of str
        The layers of the file that may hold them: its own, then those that share them.
    reshapes : bool
        Whether the weights may come as an inner product's for a convolution, or the other way round.
    transposed : bool
        Whether an inner product's weights stand in the file as (inputs, outputs).
    """

    shapes: Sequence[Shape]
    names: Sequence[str]
    reshapes: bool = False
    transposed: bool = False


def fit(
    weights: Blobs, wanted: Mapping[str, Wanted], source: str, dtype: np.dtype, allow_missing: bool = False
) -> dict[str, list[np.ndarray]]:
    """For each layer of the net its arrays, in exactly the shapes that it has and in its type.

    Raises
    ------
    WeightsError
        If a layer is missing (unless allowed), or has other blobs, other shapes or values that are not finite.
    """
    fitted, missing = {}, []
    for layer, want in wanted.items():
        name = next((name for name in want.names if name in weights), None)
        if name is None:
            missing.append(layer)
            continue
        blobs = weights[name]
        if len(blobs) != len(want.shapes):
            raise WeightsError(
                f"{source}: layer '{name}' has {_blobs(blobs)}; the net's has {_shapes(want.shapes)}. Check bias_term, "
                "and whether the prototxt belongs to these weights"
            )
        fitted[layer] = [
            _fit_one(blob, i, want, f"{source}: layer '{name}', blob {i}", dtype) for i, blob in enumerate(blobs)
        ]
    if missing and (not allow_missing or not fitted):
        raise WeightsError(
            f"{source} has no weights for layer{'s' * (len(missing) > 1)} {', '.join(missing)} of the net; it has them "
            f"for {', '.join(weights) or 'none'}. Rename the layers to match"
            + (", or let them keep their initial values with allow_missing (--allow-missing)" if fitted else "")
        )
    return fitted


def _fit_one(blob: np.ndarray, index: int, want: Wanted, where: str, dtype: np.dtype) -> np.ndarray:
    shape = want.shapes[index]
    turn = want.transposed and index == 0 and len(_core(blob.shape)) < 3
    expected = shape[::-1] if turn else shape
    if not _same(blob.shape, expected) and not (index == 0 and want.reshapes and _unrolled(blob.shape, shape)):
        raise WeightsError(
            f"{where} has shape {blob.shape}, the net wants {expected}; check num_output, kernel_size and the input's "
            "size in the prototxt, or rename the layer to give it fresh weights with allow_missing"
        )
    with np.errstate(over="ignore"):  # checked below, in the type that the net will compute in
        array = np.ascontiguousarray(blob.reshape(expected).T if turn else blob.reshape(shape), dtype)
    if not np.isfinite(array).all():
        bad = int(array.size - np.isfinite(array).sum())
        raise WeightsError(
            f"{where} holds {bad} of {array.size} values that are not finite in {array.dtype} (NaN or infinity), so "
            "the net cannot compute anything; use weights from before the training diverged"
        )
    return array


def _core(shape: Shape) -> Shape:
    """Without leading ones: old files have 1 x 1 x 1 x N for a bias of N."""
    for at, n in enumerate(shape):
        if n != 1:
            return tuple(shape[at:])
    return ()


def _same(a: Shape, b: Shape) -> bool:
    return _core(a) == _core(b)


def _unrolled(found: Shape, wanted: Shape) -> bool:
    """Whether one is an inner product's (N, C h w) and the other the convolution's (N, C, h, w)."""
    flat, full = (found, wanted) if len(wanted) == 4 else (wanted, found)
    core = _core(flat)
    return len(full) == 4 and len(core) <= 2 and (1, 1, *core)[-2:] == (full[0], math.prod(full[1:]))


def _shapes(shapes: Sequence[Shape]) -> str:
    return f"{len(shapes)} ({', '.join(map(str, shapes))})"


def _blobs(blobs: Sequence[np.ndarray]) -> str:
    return f"{len(blobs)} blobs ({', '.join(str(b.shape) for b in blobs)})"
