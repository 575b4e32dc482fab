"""Data and output layers at the door: what is no data, files that vanish or exist, batches of another shape."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import fullmocha as fm

from .test_layer_rules import build, image, ip, memory


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (np.array([["a", "b"]]), r'the data of "data" are of type <U1; give integers or floats'),
        (np.array([[None, {}]]), r"are of type object"),
        (np.array([["2026-11-20"]], "M8[D]"), r"are of type datetime64"),
        (np.ones((2, 3), complex), r"are complex \(complex128\), and their imaginary part would be lost"),
        (np.array(3.0), r"need samples along their first axis; got the single value array\(3\.\)"),
        (3.0, r"need samples along their first axis"),
        ([[1.0, 2.0], [3.0]], r"are no array"),
    ],
)
def test_data_that_are_no_numbers_are_refused(data: Any, message: str) -> None:
    with pytest.raises(fm.ShapeError, match=r"memory-data \(MemoryDataLayer\): .*" + message):
        memory(data)


def test_lists_of_numbers_are_data_and_arrays_are_not_copied() -> None:
    array = np.array([[[1.5, 2.0], [3.0, 4.0]]])
    net = build(memory([[[1.5, 2.0], [3.0, 4.0]]], array, batch_size=1), fm.SilenceLayer(bottoms=["data", "label"]))
    net.forward()
    np.testing.assert_array_equal(net.output_blobs["data"].data, array)
    array[0, 0, 0] = 7
    net.forward()
    np.testing.assert_array_equal(net.output_blobs["label"].data, array)
    for kind in ("?", "i1", "u8", "f2", ">f8"):
        assert memory(np.ones((2, 3), kind)).delivers() == [(2, 3)]


def listed(folder: Path, *contents: Any) -> fm.HDF5DataLayer:
    """A data layer of files a.h5, b.h5, ... whose dataset "data" holds these; None makes a group."""
    files = [folder / f"{letter}.h5" for letter in "ab"[: len(contents)]]
    for path, values in zip(files, contents, strict=True):
        with h5py.File(path, "w") as file:
            if values is None:
                file.create_group("data")
            else:
                file["data"] = values
    (folder / "list.txt").write_text("".join(f"{path}\n" for path in files))
    return fm.HDF5DataLayer(source=folder / "list.txt", batch_size=2, tops=["data"])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.array([[b"ab"], [b"cd"]]), r'a\.h5: "data" is of type \|S2; give integers or floats'),
        (np.ones((2, 3), complex), r'a\.h5: "data" is complex .* imaginary part would be lost'),
        (None, r'a\.h5: "data" is a group; name a dataset'),
    ],
)
def test_hdf5_data_that_are_no_numbers_are_refused(values: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(fm.FormatError, match=message):
        listed(tmp_path, values)


def test_a_file_that_vanishes_or_changes_is_named(tmp_path: Path) -> None:
    net = build(listed(tmp_path, np.ones((2, 3)), np.ones((2, 3))), ip("data"))
    net.forward()
    (tmp_path / "b.h5").unlink()
    with pytest.raises(fm.FormatError, match=r"b\.h5 \(listed in .*list\.txt\): can no longer be read"):
        net.forward()
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["data"] = np.ones((1, 3))
    with pytest.raises(fm.FormatError, match=r"b\.h5: was \[\(2, 3\)\] when the net was made, and is \[\(1, 3\)\] now"):
        net.forward()


def test_an_output_file_that_exists_is_found_before_work(tmp_path: Path) -> None:
    (tmp_path / "out.h5").write_text("mine")
    with pytest.raises(fm.FormatError, match=r"out\.h5: exists already; set force_overwrite=True"):
        build(image(), fm.HDF5OutputLayer(bottoms=["data"], filename=tmp_path / "out.h5"))
    layer = fm.HDF5OutputLayer(bottoms=["data"], filename=tmp_path / "out.h5", force_overwrite=True)
    net = build(image(), layer)
    net.forward({"data": np.ones((1, 1, 12, 12))})
    net.destroy()
    with h5py.File(tmp_path / "out.h5") as file:
        assert file["data"].shape == (1, 1, 12, 12)


def test_output_batches_of_any_number_but_one_shape(tmp_path: Path, rng: np.random.Generator) -> None:
    net = build(image(4, 5), fm.HDF5OutputLayer(bottoms=["data"], filename=tmp_path / "out.h5"))
    batches = [rng.normal(size=(n, 1, 4, 5)).astype(np.float32) for n in (0, 2, 0, 3)]
    for batch in batches:
        net.forward({"data": batch})
    with pytest.raises(
        fm.FormatError, match=r'out\.h5: dataset "data" holds samples of \(1, 4, 5\), .* of \(1, 5, 4\)'
    ):
        net.forward({"data": np.zeros((1, 1, 5, 4))})
    net.destroy()
    with h5py.File(tmp_path / "out.h5") as file:
        np.testing.assert_array_equal(file["data"], np.concatenate(batches))


def test_single_values_are_output_too_and_datasets_have_names_of_their_own(tmp_path: Path) -> None:
    score = fm.AccuracyLayer(bottoms=["data", "label"], tops=["share"])
    output = fm.HDF5OutputLayer(bottoms=["share"], filename=tmp_path / "out.h5")
    net = build(memory(np.eye(3)[:2], np.array([[0], [2]])), score, output)
    net.forward()
    net.forward()
    net.destroy()
    with h5py.File(tmp_path / "out.h5") as file:
        np.testing.assert_array_equal(file["share"], [0.5, 0.5])
    with pytest.raises(
        fm.ShapeError, match=r"hdf5-output \(HDF5OutputLayer\): .* name \['a', 'a'\] apart with datasets"
    ):
        fm.HDF5OutputLayer(bottoms=["a", "a"], filename="out.h5")


# --------------------------------------------------------------------------------------------------- HDF5, batch by batch
@pytest.mark.parametrize("shuffle", [False, True])
def test_batches_across_files_hold_the_right_samples(tmp_path: Path, shuffle: bool) -> None:
    """In the same order however the files are laid out, and so read: row by row, or whole."""
    orders = []
    for chunks in (None, 1, 4):
        paths = [tmp_path / f"{chunks} {i}.h5" for i in range(3)]
        first = 0
        for path, count in zip(paths, (4, 7, 2), strict=True):
            with h5py.File(path, "w") as file:
                numbers = np.arange(first, first + count, dtype=np.float32)
                data = numbers[:, None, None] * np.ones((2, 3), np.float32)
                file.create_dataset("data", data=data, chunks=(min(chunks, count), 2, 3) if chunks else None)
                file["label"] = numbers * 10
            first += count
        (tmp_path / "list.txt").write_text("".join(f"{path}\n" for path in paths))
        layer = fm.HDF5DataLayer(source=tmp_path / "list.txt", batch_size=5, shuffle=shuffle)
        net = build(layer, fm.SilenceLayer(bottoms=["data", "label"]))
        seen: list[float] = []
        for _ in range(13):  # five epochs of 13 samples
            net.forward()
            data, label = (net.output_blobs[name].data for name in ("data", "label"))
            np.testing.assert_array_equal(data * 10, np.broadcast_to(label[:, None, None], (5, 2, 3)))
            seen += data[:, 0, 0].tolist()
        assert net.get_epoch() == 5
        orders.append(seen)
    epochs = [orders[0][i : i + 13] for i in range(0, 65, 13)]
    assert all(sorted(epoch) == list(range(13)) for epoch in epochs)
    assert all((epoch == sorted(epoch)) != shuffle for epoch in epochs)
    assert orders[1:] == orders[:1] * 2


def test_only_what_a_batch_needs_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of 2 GiB that is nearly all hole: the batches come, and nothing of that size is held."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        big = file.create_dataset("data", (2**14, 2**15), np.float32, chunks=(1, 2**15))
        big[0], big[1] = 1, 2
    (tmp_path / "list.txt").write_text(f"{tmp_path / 'a.h5'}\n")
    for shuffle in (False, True):
        layer = fm.HDF5DataLayer(source=tmp_path / "list.txt", batch_size=2, tops=["data"], shuffle=shuffle)
        net = build(layer, fm.SilenceLayer(bottoms=["data"]))
        net.forward()
        assert net.nodes[0].state.held is None
        if not shuffle:
            assert net.output_blobs["data"].data[:, 5].tolist() == [1, 2]


# ------------------------------------------------------------------------------------------------------------- DummyData
def test_dummy_data_draws_anew_and_repeats_from_a_place() -> None:
    from fullmocha.solvers.place import go_to_place, take_place

    fillers = [fm.ConstantInitializer(2.5), fm.GaussianInitializer(1.0, 0.5)]
    layer = fm.DummyDataLayer(tops=["a", "b"], shapes=[(2, 3), (2000,)], fillers=fillers)
    net = build(layer, fm.SilenceLayer(bottoms=["a", "b"]))
    net.forward()
    first = net.output_blobs["b"].data.copy()
    place = take_place(net)
    net.forward()
    second = net.output_blobs["b"].data.copy()
    assert (net.output_blobs["a"].data == 2.5).all() and not np.array_equal(first, second)
    # mean of 2000: deviation 0.011; standard deviation: 0.008
    assert abs(second.mean() - 1) < 0.07 and abs(second.std() - 0.5) < 0.05
    go_to_place(net, place)
    net.forward()
    np.testing.assert_array_equal(net.output_blobs["b"].data, second)
    assert net.get_epoch() == 2


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"shapes": [(1, 2)]}, "needs one shape per top; got 1 shapes"),
        ({"shapes": [(1, 2), (0,)]}, r"a shape is a tuple of integers >= 1; got \(0,\)"),
        ({"shapes": [(1,), (1,)], "fillers": [fm.ConstantInitializer()] * 3}, "one filler, or one per top; got 3"),
        ({"shapes": [(1,), (1,)], "fillers": [3]}, "a filler is an Initializer; got 3"),
    ],
)
def test_dummy_data_that_do_not_fit(fields: Any, message: str) -> None:
    with pytest.raises(fm.ShapeError, match=rf"dummy-data \(DummyDataLayer\): .*{message}"):
        fm.DummyDataLayer(tops=["a", "b"], **fields)
