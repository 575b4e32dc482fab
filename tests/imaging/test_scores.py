"""The pixel error by hand, and where the challenge's script is peculiar."""

import numpy as np
import pytest

from fullmocha.errors import FormatError, ShapeError
from fullmocha.imaging.scores import THRESHOLDS, pixel_error


def test_thresholds_are_accumulated_in_double_precision():
    assert len(THRESHOLDS) == 11
    assert THRESHOLDS[3] == 0.1 + 0.1 + 0.1 != 0.3
    assert THRESHOLDS[-1] < 1


def test_worked_by_hand():
    """2 x 3 pixels, foreground where the label is not 0.

    ========= ============================ ==== ==== ==== ==========================
    threshold predicted                    tp   fp   fn   F1
    ========= ============================ ==== ==== ==== ==========================
    0 .. .2   .95 .85 .45 .25 (and .35)    3    2    0    P 3/5, R 1: 3/4
    .3        .95 .85 .45 .35              3    1    0    P 3/4, R 1: 6/7
    .4        .95 .85 .45                  2    1    1    P 2/3, R 2/3: 2/3
    .5 .. .8  .95 .85                      1    1    2    P 1/2, R 1/3: 2/5
    .9        .95                          1    0    2    P 1, R 1/3: 1/2
    ========= ============================ ==== ==== ==== ==========================
    """
    prob = [[0.95, 0.85, 0.45], [0.35, 0.25, 0.0]]
    labels = [[255, 0, 1], [7, 0, 0]]
    error, threshold = pixel_error(prob, labels)
    assert error == pytest.approx(1 - 6 / 7, abs=1e-15)  # three divisions in double precision
    assert threshold == THRESHOLDS[3]


def test_counts_are_summed_over_sections_before_the_ratio(rng):
    prob = rng.random((3, 11, 7)).astype(np.float32)
    labels = rng.random((3, 11, 7)) < prob  # better than chance
    together = pixel_error(prob, labels)
    assert together == pixel_error(prob.reshape(33, 7), labels.reshape(33, 7))
    assert together.error != np.mean([pixel_error(p, t).error for p, t in zip(prob, labels, strict=True)])
    best = 1.0
    for threshold in THRESHOLDS:  # as the script says it, pixel by pixel
        pairs = [(float(p) > threshold, bool(t)) for p, t in zip(prob.ravel(), labels.ravel(), strict=True)]
        tp, fp, fn = (sum(pair == kind for pair in pairs) for kind in ((True, True), (True, False), (False, True)))
        if tp:
            best = min(best, 1 - 2 * tp / (2 * tp + fp + fn))
    assert together.error == pytest.approx(best, abs=1e-14)  # the same ratio by another formula


def test_a_float32_tenth_exceeds_the_double_tenth():
    prob = np.array([[np.float32(0.1), 0.0]], np.float32)
    assert pixel_error(prob, [[1, 0]]) == (0.0, 0.0)
    prob = np.array([[np.float32(0.1), 0.05]], np.float32)
    assert pixel_error(prob, [[1, 0]]) == (0.0, THRESHOLDS[1])  # only if .1f > .1


def test_without_foreground_or_without_hits_the_error_is_one():
    assert pixel_error(np.full((2, 2), 0.7), np.zeros((2, 2))) == (1.0, 0.0)
    assert pixel_error(np.zeros((2, 2)), np.ones((2, 2))) == (1.0, 0.0)


@pytest.mark.parametrize(
    ("prob", "labels", "error", "reason"),
    [
        (np.zeros((2, 3)), np.zeros((3, 2)), ShapeError, r"probabilities \(2, 3\) and labels \(3, 2\)"),
        (np.zeros((1, 2, 3, 4)), np.zeros((1, 2, 3, 4)), ShapeError, "one class"),
        (np.zeros((0, 3)), np.zeros((0, 3)), ShapeError, r"\(0, 3\)"),
        (np.zeros((2, 3), np.uint8), np.zeros((2, 3)), FormatError, "divide 8-bit values by 255"),
        (np.full((2, 3), 1.5), np.zeros((2, 3)), FormatError, r"from 1.5 to 1.5, expected \[0, 1\]"),
        (np.full((2, 3), np.nan), np.zeros((2, 3)), FormatError, "nan"),
    ],
)
def test_refusals(prob, labels, error, reason):
    with pytest.raises(error, match=reason):
        pixel_error(prob, labels)
