"""Weights of a file for a net: by layer name, all of them checked before any is written."""

import math
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import WeightsError
from ..files import read_bytes
from .binary import SHARED, Blobs, decode_caffemodel
from .hdf5 import is_hdf5, read_caffemodel_h5

Shape = tuple[int, ...]


def read_weights(path: str | os.PathLike[str]) -> Blobs:
    """Layer name -> its blobs, from a .caffemodel or .caffemodel.h5 file; the content says which it is."""
    raw = read_bytes(path, "a file of weights")
    if is_hdf5(raw[:4096]):
        del raw  # h5py reads the file again: never both in memory
        return read_caffemodel_h5(Path(path))
    return decode_caffemodel(raw, os.fspath(path))


Place = tuple[str, int]
"""A layer of the file, and which of its blobs."""


@dataclass(frozen=True)
class Wanted:
    """What one layer of the net wants from a file.

    Attributes
    ----------
    name : str
        What the file calls it.
    shapes : list of shapes
        Of its parameters: weights, then bias.
    shared : list of lists of Place
        For each parameter where else the file may have it: under the layers that share it, for Caffe's HDF5 has it once.
    reshapes : bool
        Whether the weights may come as an inner product's for a convolution, or the other way round.
    transposed : bool
        Whether an inner product's weights stand in the file as (inputs, outputs).
    statistics : bool
        Whether its parameters are BatchNorm's mean, variance and the factor that they are multiplied by.
    """

    name: str
    shapes: Sequence[Shape]
    shared: Sequence[Sequence[Place]] = ()
    reshapes: bool = False
    transposed: bool = False
    statistics: bool = False


def fit(
    weights: Blobs, wanted: Mapping[str, Wanted], source: str, dtype: np.dtype, allow_missing: bool = False
) -> dict[str, list[np.ndarray]]:
    """For each layer of the net its arrays, in exactly the shapes that it has and in its type.

    Raises
    ------
    WeightsError
        If a layer is missing (unless allowed), or has other blobs, other shapes or values that are not finite.

    Warns
    -----
    UserWarning
        If BatchNorm's statistics are those of a fork, or count as zero.
    """
    fitted, missing = {}, []
    for layer, want in wanted.items():
        places = _places(weights, want, source)
        if places is None:
            missing.append(layer)
            continue
        blobs = [
            _fit_one(weights[name][j], i, want, f"{source}: layer '{name}', blob {j}", dtype)
            for i, (name, j) in enumerate(places)
        ]
        if want.statistics and len(blobs) == 3:
            _settle_statistics(blobs, weights[places[0][0]][3:], f"{source}: layer '{want.name}' (BatchNorm)")
        fitted[layer] = blobs
    if missing and (not allow_missing or not fitted):
        raise WeightsError(
            f"{source} has no weights for layer{'s' * (len(missing) > 1)} {', '.join(missing)} of the net; it has them "
            f"for {', '.join(weights) or 'none'}. Rename the layers to match"
            + (", or let them keep their initial values with allow_missing (--allow-missing)" if fitted else "")
        )
    return fitted


def _places(weights: Blobs, want: Wanted, source: str) -> list[Place] | None:
    """Where the file has each of a layer's parameters; None where it knows nothing of the layer, or not all."""
    own = weights.get(want.name, [])
    count = len(want.shapes)
    extra = 2 if want.statistics else 0  # NVIDIA's BatchNorm has scale and bias behind its statistics
    places: list[Place | None] = []
    for i in range(count):
        candidates = [(want.name, i), *(want.shared[i] if i < len(want.shared) else ())]
        places.append(next((place for place in candidates if _has(weights, place)), None))
    if own and (len(own) > count + extra or None in places):
        raise WeightsError(
            f"{source}: layer '{want.name}' has {_blobs(own)}; the net's has {_shapes(want.shapes)}. Check bias_term, "
            "and whether the prototxt belongs to these weights"
        )
    found = [place for place in places if place is not None]
    return found if len(found) == count else None


def _has(weights: Blobs, place: Place) -> bool:
    name, index = place
    return name in weights and index < len(weights[name]) and weights[name][index] is not SHARED


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
    return array.reshape(shape)  # ascontiguousarray gives a scalar an axis


def _settle_statistics(blobs: list[np.ndarray], scale_and_bias: Sequence[np.ndarray], where: str) -> None:
    """BatchNorm's mean, variance and factor as Caffe takes them, where a fork wrote them.

    NVIDIA's Caffe stores the statistics themselves with a factor of 0, and behind them scale and bias, which are a layer of their
    own in BVLC's.
    """
    mean, variance, factor = blobs
    if len(scale_and_bias):
        scale, bias = [*scale_and_bias, np.zeros(0)][:2]
        if (scale != 1).any() or (bias != 0).any():
            raise WeightsError(
                f"{where} has a scale and a bias of its own ({3 + len(scale_and_bias)} blobs, as NVIDIA's Caffe writes them), which BVLC's "
                "BatchNorm has not; add a Scale layer with bias_term behind it, and store them as that layer's blobs"
            )
    if factor.any() or not (mean.any() or variance.any()):
        return
    if len(scale_and_bias):
        blobs[2] = np.ones_like(factor)
        warnings.warn(
            f"{where}: its factor is 0, as NVIDIA's Caffe writes it; its statistics are taken as they are", stacklevel=2
        )
    else:
        warnings.warn(
            f"{where}: its factor is 0, so its mean and variance count as 0, as in BVLC's Caffe; if a fork wrote this file, set the "
            "third blob to 1",
            stacklevel=2,
        )


def _core(shape: Shape) -> Shape:
    """Without leading ones: old files have 1 x 1 x 1 x N for a bias of N."""
    for at, n in enumerate(shape):
        if n != 1:
            return tuple(shape[at:])
    return ()


def _same(a: Shape, b: Shape) -> bool:
    return _core(a) == _core(b)


def _unrolled(found: Shape, wanted: Shape) -> bool:
    """Whether one is an inner product's (N, C h w) and the other the convolution's (N, C, h, w), of any number of axes."""
    for flat, full in ((found, wanted), (wanted, found)):
        core = _core(flat)
        if len(full) > 2 and len(core) <= 2 and (1, 1, *core)[-2:] == (full[0], math.prod(full[1:])):
            return True
    return False


def _shapes(shapes: Sequence[Shape]) -> str:
    return f"{len(shapes)} ({', '.join(map(str, shapes))})"


def _blobs(blobs: Sequence[np.ndarray]) -> str:
    return f"{len(blobs)} blobs ({', '.join(str(b.shape) for b in blobs)})"
