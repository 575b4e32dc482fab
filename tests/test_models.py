"""The nets of ZNNi: fields of view as published, and the dense form answers like the window."""

import numpy as np
import pytest

import fullmocha as fm
from fullmocha.models import MODELS, znni


@pytest.mark.parametrize(("name", "patch"), [("n337", 85), ("n537", 163), ("n726", 117), ("n926", 155)])
def test_znnis_nets_see_what_is_published(name: str, patch: int) -> None:
    """The published field of view is the patch that leaves one answer, and the dense form's context follows."""
    net = fm.Net(name, "reference", MODELS[name](maps=2))
    assert net.output_blobs["data"].shape == (1, 1, patch, patch)
    assert net.output_blobs["prob"].shape == (1, 3, 1, 1)
    assert fm.densify(net).context == (patch - 1, patch - 1)


def test_znnis_nets_are_dense(rng: np.random.Generator) -> None:
    net = fm.Net("n337", fm.ReferenceBackend(3), znni("n337", maps=3))
    net.init()
    image = rng.normal(size=(1, 1, 86, 87)).astype(np.float32)
    dense = fm.densify(net).forward(image)
    assert np.ptp(dense, axis=(2, 3)).max() > 1e-3, "the windows must differ"
    np.testing.assert_array_equal(dense, fm.densify(net, "sliding").forward(image))


def test_an_unknown_name_is_told_with_the_known_ones() -> None:
    with pytest.raises(fm.UnsupportedError, match=r"'n7'.*n337, n537, n726, n926"):
        znni("n7")
