"""Data layers count epochs as Mocha's do, and deliver every sample once per epoch."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from fullmocha.backend import ReferenceBackend
from fullmocha.layers import HDF5DataLayer, Layer, MemoryDataLayer
from fullmocha.net import Net


def numbered(count: int) -> np.ndarray:
    return np.arange(float(count)).reshape(count, 1, 1, 1)


def in_files(folder: Path, sizes: tuple[int, ...], **fields: object) -> HDF5DataLayer:
    """Samples 0, 1, ... in files of these sizes."""
    names = []
    for i, part in enumerate(np.split(numbered(sum(sizes)), np.cumsum(sizes)[:-1])):
        names.append(str(folder / f"{i}.h5"))
        with h5py.File(names[-1], "w") as file:
            file["data"] = part
    (folder / "list.txt").write_text("\n".join([*names, "", "  "]))
    return HDF5DataLayer(source=folder / "list.txt", tops=["data"], **fields)


def in_memory(count: int, **fields: object) -> MemoryDataLayer:
    return MemoryDataLayer(tops=["data"], data=[numbered(count)], **fields)


def run(layer: Layer, batches: int, seed: int = 0) -> tuple[np.ndarray, list[int]]:
    """All delivered samples in order, and the epoch after each batch."""
    net, seen, epochs = Net("data", ReferenceBackend(seed), [layer]), [], []
    for _ in range(batches):
        net.forward()
        seen.append(net.output_blobs["data"].data.ravel().astype(int))
        epochs.append(net.get_epoch())
    return np.concatenate(seen), epochs


def test_eight_samples_in_three_files_by_three(tmp_path: Path) -> None:
    """Mocha's own case. The epoch counts as soon as its last sample is taken, also in the middle of a batch."""
    for layer in (in_files(tmp_path, (5, 1, 2), batch_size=3), in_memory(8, batch_size=3)):
        seen, epochs = run(layer, 8)
        assert seen.tolist() == [i % 8 for i in range(24)]
        assert epochs == [0, 0, 1, 1, 1, 2, 2, 3]


@pytest.mark.parametrize("sizes", [(8,), (5, 1, 2), (2, 2, 2, 2)])
@pytest.mark.parametrize("batch", [1, 3, 8, 11])
def test_shuffle_delivers_every_sample_once_per_epoch(tmp_path: Path, sizes: tuple[int, ...], batch: int) -> None:
    for layer in (
        in_files(tmp_path, sizes, batch_size=batch, shuffle=True),
        in_memory(8, batch_size=batch, shuffle=True),
    ):
        seen, epochs = run(layer, 24)
        whole = seen[: len(seen) // 8 * 8].reshape(-1, 8)
        assert (np.sort(whole, axis=1) == np.arange(8)).all()
        assert epochs == [batch * (i + 1) // 8 for i in range(24)]
        # 8 samples in 8 / n batches of n: that no epoch differs from the first has a chance below (1/2)^(epochs - 1)
        if len(whole) > 10 and sizes != (2, 2, 2, 2):
            assert len({tuple(row) for row in whole}) > 1


def test_shuffled_files_keep_their_samples_together(tmp_path: Path) -> None:
    """The order of files is drawn once; inside a file it is drawn at every visit."""
    seen, _ = run(in_files(tmp_path, (5, 1, 2), batch_size=8, shuffle=True), 20)
    files = np.array([0, 0, 0, 0, 0, 1, 2, 2])[seen].reshape(20, 8)
    assert (files == files[0]).all()
    assert len({tuple(row) for row in seen.reshape(20, 8)}) > 5


def test_seed_decides_the_order() -> None:
    a, b, c = (run(in_memory(50, batch_size=5, shuffle=True), 20, seed)[0] for seed in (1, 1, 2))
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)


def test_forward_epoch_goes_to_the_next_end(tmp_path: Path) -> None:
    """8 samples by 3: epochs take 3, 3 and 2 passes, because a batch that straddles the end serves both."""
    net = Net("data", ReferenceBackend(0), [in_files(tmp_path, (5, 1, 2), batch_size=3)])
    passes, forward = [], net.forward

    def counted() -> float:
        passes.append(net.get_epoch())
        return forward()

    net.forward = counted
    for _ in range(3):
        net.forward_epoch()
    assert [passes.count(epoch) for epoch in range(3)] == [3, 3, 2]
