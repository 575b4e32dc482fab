"""Windows of the virtual bordered image against numpy.pad, which builds the whole of it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fullmocha.errors import ShapeError, UnsupportedError
from fullmocha.imaging import ArraySource, BorderedImage, split_context
from fullmocha.imaging.borders import MODES

NUMPY_NAME = {"symmetric": "symmetric", "reflect": "reflect", "zero": "constant"}


class Counting:
    """A source that remembers how many pixels were asked of it."""

    def __init__(self, array):
        self._inner = ArraySource(array)
        self.shape, self.dtype = self._inner.shape, self._inner.dtype
        self.largest = 0

    def read(self, y, x, h, w):
        self.largest = max(self.largest, h * w)
        return self._inner.read(y, x, h, w)


def padded(array, before, after, mode):
    return np.pad(array, ((0, 0), (before[0], after[0]), (before[1], after[1])), NUMPY_NAME[mode])


@settings(max_examples=300, deadline=None)
@given(
    data=st.data(),
    mode=st.sampled_from(sorted(NUMPY_NAME)),
    channels=st.integers(1, 3),
    height=st.integers(1, 7),
    width=st.integers(1, 7),
    border=st.tuples(*[st.integers(0, 25)] * 4),
)
def test_any_window_equals_numpy_pad(data, mode, channels, height, width, border):
    image = np.random.default_rng(0).integers(1, 255, (channels, height, width), np.uint8)
    before, after = border[:2], border[2:]
    bordered = BorderedImage(image, before, after, mode)
    whole = padded(image, before, after, mode)
    assert bordered.shape == whole.shape
    y = data.draw(st.integers(0, whole.shape[1] - 1))
    x = data.draw(st.integers(0, whole.shape[2] - 1))
    h = data.draw(st.integers(1, whole.shape[1] - y))
    w = data.draw(st.integers(1, whole.shape[2] - x))
    got = bordered.read(y, x, h, w)
    assert got.dtype == np.uint8
    np.testing.assert_array_equal(got, whole[:, y : y + h, x : x + w])


@pytest.mark.parametrize("mode", sorted(NUMPY_NAME))
def test_a_window_reads_no_more_of_the_source_than_it_has_pixels(mode, rng):
    source = Counting(rng.integers(0, 255, (60, 50), np.uint8))
    bordered = BorderedImage(source, (90, 70), (80, 130), mode)
    for y in range(0, bordered.shape[1] - 9, 7):
        for x in range(0, bordered.shape[2] - 8, 5):
            bordered.read(y, x, 9, 8)
    assert 0 < source.largest <= 9 * 8


def test_hand_worked_borders():
    row = np.array([[1, 2, 3]], np.int16)
    assert BorderedImage(row, (0, 4), (0, 4), "symmetric").read(0, 0, 1, 11)[0, 0].tolist() == [
        3, 3, 2, 1, 1, 2, 3, 3, 2, 1, 1,
    ]  # fmt: skip
    assert BorderedImage(row, (0, 3), (0, 3), "reflect").read(0, 0, 1, 9)[0, 0].tolist() == [2, 3, 2, 1, 2, 3, 2, 1, 2]
    assert BorderedImage(row, (0, 1), (1, 2), "zero").read(0, 0, 2, 6)[0].tolist() == [[0, 1, 2, 3, 0, 0], [0] * 6]


def test_reflect_on_a_single_pixel_repeats_it_as_numpy_does():
    image = np.array([[[4.0], [7.0]]], np.float32)  # one column
    np.testing.assert_array_equal(
        BorderedImage(image, (1, 2), (2, 3), "reflect").read(0, 0, 5, 6), padded(image, (1, 2), (2, 3), "reflect")
    )


def test_valid_has_no_border(rng):
    image = rng.normal(size=(2, 4, 5))
    bordered = BorderedImage(image, (3, 3), (2, 2), "valid")
    assert bordered.shape == (2, 4, 5)
    np.testing.assert_array_equal(bordered.read(1, 2, 3, 3), image[:, 1:, 2:])


def test_a_border_of_a_border_works_because_it_is_a_source_again(rng):
    image = rng.integers(0, 9, (5, 4))
    twice = BorderedImage(BorderedImage(image, (1, 2), (0, 1), "symmetric"), (2, 0), (1, 3), "zero")
    whole = padded(padded(image[None], (1, 2), (0, 1), "symmetric"), (2, 0), (1, 3), "zero")
    np.testing.assert_array_equal(twice.read(0, 0, *twice.shape[1:]), whole)


@pytest.mark.parametrize(("context", "expected"), [(0, (0, 0)), (1, (1, 0)), (94, (47, 47)), (101, (51, 50))])
def test_split_context(context, expected):
    assert split_context(context) == expected


def test_refusals_name_both_sides():
    image = np.zeros((3, 4))
    with pytest.raises(UnsupportedError, match="'mirror' is unknown; choose one of " + ", ".join(MODES)):
        BorderedImage(image, (1, 1), (1, 1), "mirror")
    with pytest.raises(ShapeError, match="0 or more"):
        BorderedImage(image, (1, -1), (1, 1))
    with pytest.raises(ShapeError, match="context -1"):
        split_context(-1)
    for window in ((-1, 0, 1, 1), (0, 0, 6, 1), (0, 5, 1, 2), (0, 0, 0, 1)):
        with pytest.raises(ShapeError, match="image of 5 x 6"):
            BorderedImage(image, (1, 1), (1, 1)).read(*window)
    with pytest.raises(ShapeError, match=r"shape \(3, 0\)"):
        BorderedImage(np.zeros((3, 0)), (1, 1), (1, 1))
    with pytest.raises(ShapeError, match="one section at a time"):
        ArraySource(np.zeros((1, 2, 3, 4)))


def test_what_is_read_belongs_to_the_reader(rng):
    image = rng.integers(0, 9, (1, 4, 4))
    before = image.copy()
    BorderedImage(image, (0, 0), (0, 0)).read(0, 0, 4, 4)[:] = -1
    np.testing.assert_array_equal(image, before)
