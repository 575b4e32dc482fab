"""How well a probability map agrees with labels: the pixel error of the ISBI 2012 challenge.

The definition is that of the challenge's own script, quirks included: positive is the foreground (label > 0), the
counts are summed over all sections before the ratio is taken, the comparison is strict, and the thresholds are the
sums 0 + .1 + .1 ... in double precision, whose last is 0.99...9 rather than 1.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fullmocha.errors import FormatError, ShapeError

THRESHOLDS = tuple(float(th) for th in np.add.accumulate([0.0] + [0.1] * 10))


class PixelError(NamedTuple):
    """``error`` is 1 - the best F1 score, ``threshold`` where it is reached first."""

    error: float
    threshold: float


def pixel_error(prob: npt.ArrayLike, labels: npt.ArrayLike) -> PixelError:
    """1 - max over thresholds of F1, with F1 = 2 P R / (P + R), P = tp / (tp + fp), R = tp / (tp + fn).

    Parameters
    ----------
    prob
        Probability of foreground, floats in [0, 1], (H, W) or (S, H, W).
    labels
        Of the same shape; foreground where > 0.

    Notes
    -----
    Without any true positive F1 counts as 0, so labels without foreground give an error of 1.

    Examples
    --------
    >>> error, threshold = pixel_error([[0.85, 0.75, 0.3]], [[1, 0, 0]])
    >>> round(error, 3), round(threshold, 1)
    (0.0, 0.8)
    """
    prob, labels = np.asarray(prob), np.asarray(labels)
    if prob.shape != labels.shape or prob.ndim not in (2, 3) or prob.size == 0:
        raise ShapeError(
            f"pixel error: probabilities {prob.shape} and labels {labels.shape}; expected the same (height, width) or "
            "(sections, height, width), so choose one class of the prediction"
        )
    if prob.dtype.kind != "f":
        raise FormatError(
            f"pixel error: probabilities of type {prob.dtype}, expected floats in [0, 1]; divide 8-bit values by 255"
        )
    if not (prob.min() >= 0 and prob.max() <= 1):  # written so that NaN is refused, too
        raise FormatError(
            f"pixel error: probabilities from {prob.min():g} to {prob.max():g}, expected [0, 1]; "
            "pass the net's probabilities, not its scores"
        )
    true = np.zeros(len(THRESHOLDS), np.int64)
    false = np.zeros_like(true)
    foreground = 0
    planes = (-1, *prob.shape[-2:])  # one section at a time keeps the temporaries small
    for section, truth in zip(prob.reshape(planes), labels.reshape(planes), strict=True):
        positive = truth > 0
        foreground += int(positive.sum())
        for at, threshold in enumerate(THRESHOLDS):
            # A double on the right, as in the script: a float32 of .1 exceeds the double .1.
            above = section > np.float64(threshold)
            true[at] += np.count_nonzero(above & positive)
            false[at] += np.count_nonzero(above & ~positive)
    precision = true / np.maximum(true + false, 1)
    recall = true / max(foreground, 1)
    f1 = 2 * precision * recall / np.where(true > 0, precision + recall, 1)
    best = int(f1.argmax())
    return PixelError(float(1 - f1[best]), THRESHOLDS[best])
