"""Colours where they belong, and pictures that are written whole."""

import numpy as np
import pytest

from fullmocha.errors import FormatError, ShapeError
from fullmocha.imaging import open_sections
from fullmocha.imaging.drawing import INVENTED, MEMBRANE, MISSED, OPACITY, overlay, probability_png, save_png


def over(grey, colour, opacity=OPACITY):
    return [round(grey + opacity * (part - grey)) for part in colour]


def test_probabilities_as_grey():
    grey = probability_png(np.array([[0, 0.25, 1]], np.float32))
    assert grey.dtype == np.uint8
    assert grey.tolist() == [[0, 64, 255]]  # 63.75 is nearer to 64
    with pytest.raises(FormatError, match=r"\[0, 1\]"):
        probability_png([[2.0]])
    with pytest.raises(ShapeError, match="choose one section and class"):
        probability_png(np.zeros((2, 3, 3)))


def test_the_overlay_without_labels_grows_with_the_probability_of_membrane():
    picture = overlay(np.array([[100, 100, 100, 40]], np.uint8), [[1.0, 0.5, 0.25, 0.0]])
    assert picture.dtype == np.uint8
    assert picture.tolist() == [[[100] * 3, [100] * 3, over(100, MEMBRANE, OPACITY / 2), over(40, MEMBRANE)]]


def test_the_overlay_marks_errors():
    """Right about the cell, right about the membrane, invented, missed; 2 rows, so that axes cannot be swapped."""
    image = np.array([[10, 20], [30, 200]], np.uint8)
    picture = overlay(image, [[0.9, 0.2], [0.2, 0.9]], [[1, 0], [255, 0]])
    assert picture.tolist() == [[[10] * 3, over(20, MEMBRANE)], [over(30, INVENTED), over(200, MISSED)]]


def test_other_types_of_image_are_stretched():
    image = np.array([[1000.0, 1500.0, 2000.0]])
    assert overlay(image, np.ones((1, 3)))[0, :, 0].tolist() == [0, 128, 255]
    assert overlay(np.full((1, 3), 7), np.ones((1, 3)))[0, :, 0].tolist() == [0, 0, 0]
    with pytest.raises(FormatError, match="not finite"):
        overlay(np.array([[np.nan]]), np.ones((1, 1)))


def test_sizes_must_agree():
    with pytest.raises(ShapeError, match=r"probabilities \(4, 3\) on an image of \(3, 4\)"):
        overlay(np.zeros((3, 4), np.uint8), np.ones((4, 3)))
    with pytest.raises(ShapeError, match=r"labels \(4, 3\) on an image of \(3, 4\)"):
        overlay(np.zeros((3, 4), np.uint8), np.ones((3, 4)), np.ones((4, 3)))


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3)])
def test_pictures_are_saved(tmp_path, rng, shape):
    array = rng.integers(0, 256, shape, np.uint8)
    save_png(tmp_path / "x.png", array)
    with open_sections(tmp_path / "x.png") as sections:
        got = sections[0].read(0, 0, 5, 7).transpose(1, 2, 0)
    np.testing.assert_array_equal(got, array.reshape(5, 7, -1))


def test_a_picture_is_saved_whole_or_not_at_all(tmp_path, monkeypatch):
    with pytest.raises(FormatError, match="does not exist"):
        save_png(tmp_path / "missing" / "x.png", np.zeros((2, 2), np.uint8))
    for bad in (np.zeros((2, 2)), np.zeros((2, 2, 4), np.uint8), np.zeros((0, 2), np.uint8), np.zeros(3, np.uint8)):
        with pytest.raises(ShapeError, match="expected uint8"):
            save_png(tmp_path / "x.png", bad)

    def fail(path, picture):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr("fullmocha.imaging.drawing.encode", fail)
    with pytest.raises(KeyboardInterrupt):
        save_png(tmp_path / "x.png", np.zeros((2, 2), np.uint8))
    assert not list(tmp_path.iterdir())
