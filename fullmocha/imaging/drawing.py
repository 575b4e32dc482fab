"""Pictures for people: a probability map as grey, and predicted membranes drawn over the micrograph."""

from __future__ import annotations

import os

import numpy as np
import numpy.typing as npt

from fullmocha.beside import Beside
from fullmocha.errors import FormatError, ShapeError
from fullmocha.imaging.png import encode, to_grey
from fullmocha.imaging.sources import Array

# Told apart by people with any colour vision: cyan and orange differ in lightness and in blue against yellow.
MEMBRANE = (0, 190, 230)
MISSED = (255, 80, 0)
INVENTED = (250, 225, 30)
OPACITY = 0.65


def probability_png(prob: npt.ArrayLike) -> Array:
    """Probabilities (H, W) in [0, 1] as uint8 (H, W): 0 is black, 1 is white.

    >>> probability_png([[0.0, 0.5, 1.0]])
    array([[  0, 128, 255]], dtype=uint8)
    """
    values = np.asarray(prob, np.float64)
    _check_plane("probabilities", values.shape)
    return to_grey("probabilities", values)


def overlay(image: npt.ArrayLike, prob: npt.ArrayLike, labels: npt.ArrayLike | None = None) -> Array:
    """Predicted membranes in colour over the grey picture, as uint8 (H, W, 3).

    Parameters
    ----------
    image
        (H, W), any real type; uint8 as it is, anything else stretched from its least to its greatest value.
    prob
        (H, W), the probability of cell interior; membrane is where it is below one half.
    labels
        (H, W), cell interior where > 0. With them, a predicted membrane is drawn in ``MEMBRANE`` where it is one, in
        ``INVENTED`` where it is not, and a membrane that was not found in ``MISSED``. Without them the colour grows
        with the probability of membrane.
    """
    grey = np.asarray(image)
    interior = np.asarray(prob, np.float64)
    _check_plane("image", grey.shape)
    truth = None if labels is None else np.asarray(labels) > 0
    for name, other in (("probabilities", interior), ("labels", truth)):
        if other is not None and other.shape != grey.shape:
            raise ShapeError(f"overlay: {name} {other.shape} on an image of {grey.shape}; crop one to the other")
    to_grey("overlay: probabilities", interior)  # for its check of the range
    if grey.dtype != np.uint8:
        low, high = float(grey.min()), float(grey.max())
        if not np.isfinite(high - low):
            raise FormatError(f"overlay: the image holds values from {low} to {high}; replace what is not finite")
        grey = np.rint((grey - low) * (255 / (high - low) if high > low else 0)).astype(np.uint8)
    picture = np.repeat(grey[:, :, None], 3, axis=2)
    if truth is None:
        _blend(picture, MEMBRANE, OPACITY * np.clip(1 - 2 * interior, 0, 1))
        return picture
    membrane = interior < 0.5
    _blend(picture, MEMBRANE, OPACITY * (membrane & ~truth))
    _blend(picture, INVENTED, OPACITY * (membrane & truth))
    _blend(picture, MISSED, OPACITY * (~membrane & ~truth))
    return picture


def _blend(picture: Array, colour: tuple[int, int, int], opacity: Array) -> None:
    """Draw a colour over an RGB picture in place."""
    over = opacity[:, :, None] * (np.array(colour) - picture.astype(np.float64))
    picture[:] = np.rint(picture + over).astype(np.uint8)


def _check_plane(what: str, shape: tuple[int, ...]) -> None:
    if len(shape) != 2 or 0 in shape:
        raise ShapeError(f"drawing: {what} of shape {shape}, expected (height, width); choose one section and class")


def save_png(path: str | os.PathLike[str], array: npt.ArrayLike) -> None:
    """Write uint8 (H, W) or (H, W, 3) as PNG; the file appears whole or not at all."""
    picture = np.asarray(array)
    if (
        picture.dtype != np.uint8
        or picture.ndim not in (2, 3)
        or picture.shape[2:] not in ((), (3,))
        or not picture.size
    ):
        raise ShapeError(
            f"{os.fspath(path)}: a picture of shape {picture.shape} and type {picture.dtype}, "
            "expected uint8 (height, width) or (height, width, 3)"
        )
    with Beside(path) as beside:
        encode(beside.path, np.ascontiguousarray(picture))
