"""What initializers draw: where the numbers lie, and how they are spread."""

import numpy as np
import pytest

import fullmocha as fm


def test_sparse_gaussians_keep_so_many_weights_per_input(rng: np.random.Generator) -> None:
    drawn = fm.GaussianInitializer(mean=3.0, std=0.5, sparse=2).draw((50, 40, 5, 5), rng)
    kept = drawn != 0
    # 50000 draws that keep 1 in 25: mean 2000, standard deviation 43.8; five of them on each side
    assert abs(kept.sum() - 2000) < 219
    assert abs(drawn[kept].mean() - 3) < 5 * 0.5 / np.sqrt(kept.sum())
    assert not fm.GaussianInitializer(sparse=0).draw((4, 3), rng).any()
    assert fm.GaussianInitializer(sparse=4).draw((4, 3), rng).all()
    with pytest.raises(fm.ShapeError, match=r"sparse must lie in 0 \.\. 4, .*; got 5"):
        fm.GaussianInitializer(sparse=5).draw((4, 3), rng)


def test_rows_of_the_positive_unitball_add_up_to_one(rng: np.random.Generator) -> None:
    drawn = fm.PositiveUnitballInitializer().draw((7, 3, 4), rng)
    assert drawn.shape == (7, 3, 4) and (drawn > 0).all()
    np.testing.assert_allclose(drawn.reshape(7, -1).sum(1), 1, rtol=1e-14)
    assert np.ptp(drawn[0]) > 0.05  # uniform numbers, not equal shares
