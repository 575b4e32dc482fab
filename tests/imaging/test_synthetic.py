"""The made-up micrographs: repeatable, labelled truly, and no task for a threshold."""

import numpy as np
import pytest
from scipy import ndimage

from fullmocha.errors import ShapeError
from fullmocha.imaging.scores import pixel_error
from fullmocha.imaging.synthetic import em_picture


@pytest.fixture(scope="module")
def pictures():
    rng = np.random.default_rng(8)
    return [em_picture(256, 300, rng) for _ in range(6)]


@pytest.mark.parametrize("size", [(1, 1), (3, 130), (77, 51)])
def test_any_size_and_the_same_seed_gives_the_same_picture(size):
    image, labels = em_picture(*size, np.random.default_rng(4))
    again, labels_again = em_picture(*size, np.random.default_rng(4))
    assert image.shape == labels.shape == size
    assert image.dtype == labels.dtype == np.uint8
    np.testing.assert_array_equal(image, again)
    np.testing.assert_array_equal(labels, labels_again)
    if min(size) > 1:
        assert not np.array_equal(image, em_picture(*size, np.random.default_rng(5))[0])
    assert set(np.unique(labels)) <= {0, 1}


def test_membranes_are_dark_connected_and_three_to_six_pixels_wide(pictures):
    for image, labels in pictures:
        assert 0.15 < np.mean(labels == 0) < 0.32
        assert image[labels == 0].mean() < image[labels == 1].mean() - 35
        # Twice the depth on the centre line is the width; the ends of the range are those of the task.
        depth = ndimage.distance_transform_edt(labels == 0)
        ridge = (depth == ndimage.maximum_filter(depth, 5)) & (depth > 0)
        assert 3 <= 2 * np.median(depth[ridge]) <= 6
        cells, count = ndimage.label(labels)
        assert count > 30
        assert np.bincount(cells.ravel())[1:].max() < labels.size / 4  # no leak joins the cells


def test_the_darkest_place_for_the_labels_is_where_they_are(pictures):
    """Shifted by a few pixels, the labels lie on brighter ground: picture and labels are aligned."""
    image, labels = pictures[0]
    inner = (slice(8, -8), slice(8, -8))
    means = {
        (dy, dx): np.roll(image, (dy, dx), (0, 1))[inner][labels[inner] == 0].mean()
        for dy in range(-3, 4)
        for dx in range(-3, 4)
    }
    assert min(means, key=lambda shift: means[shift]) == (0, 0)


def test_a_threshold_fails(pictures):
    """No threshold on the grey, smoothed or not, finds the membranes; DS1 and ISBI give 0.25 to 0.43."""
    image = np.stack([image for image, _ in pictures]).astype(np.float64)
    labels = np.stack([labels for _, labels in pictures])
    for sigma in (0, 1, 2):
        smooth = ndimage.gaussian_filter(image, (0, sigma, sigma))
        ranks = (smooth.ravel().argsort().argsort() / smooth.size).reshape(smooth.shape)
        # As ranks, eleven thresholds are the deciles; finer ones around the best would gain little.
        assert pixel_error(1 - ranks, 1 - labels).error > 0.3
        assert pixel_error(ranks, labels).error > 0.08


def test_organelles_are_as_dark_as_membranes_and_labelled_interior(pictures):
    """Blobs of dark pixels far inside cells: mitochondria and their like."""
    found = 0
    for image, labels in pictures:
        inside = ndimage.distance_transform_edt(labels) > 6
        smooth = ndimage.gaussian_filter(image.astype(float), 1.5)
        dark = inside & (smooth < smooth[labels == 0].mean() + 10)
        found += np.sum(np.bincount(ndimage.label(dark)[0].ravel())[1:] > 40)
    assert found >= 2 * len(pictures)


def test_a_picture_has_pixels():
    with pytest.raises(ShapeError, match="0 x 5"):
        em_picture(0, 5, np.random.default_rng(0))
