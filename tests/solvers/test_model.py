"""Weights in HDF5 under Mocha's names."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from fullmocha.backend import ReferenceBackend
from fullmocha.errors import FormatError, WeightsError
from fullmocha.net import Net
from fullmocha.solvers import load_network, save_network, solve

from .nets import memory_data, solver, training

Values = dict[str, np.ndarray]


@pytest.fixture
def values(rng: np.random.Generator) -> Values:
    """One model for `training`: conv1 (4, 2, 3, 2), ip1 (3, 60)."""
    shapes = {"conv1___filter": (4, 2, 3, 2), "conv1___bias": (4,), "ip1___weight": (3, 60), "ip1___bias": (3,)}
    return {name: rng.normal(size=shape) for name, shape in shapes.items()}


def write(path: Path, values: dict[str, Any]) -> Path:
    with h5py.File(path, "w") as file:
        for name, value in values.items():
            file[name] = value
    return path


def assert_has(net: Net, values: Values) -> None:
    for name, value in values.items():
        layer, role = name.split("___")
        (parameter,) = (p for p in net.params[layer] if p.role == role)
        assert np.array_equal(parameter.values().ravel(), value.ravel()), name


def test_loaded_values_stay_at_init(tmp_path: Path, values: Values) -> None:
    net = training(memory_data())
    load_network(write(tmp_path / "m.h5", values), net)
    net.init()
    assert_has(net, values)


def test_open_file_and_what_else_it_holds(tmp_path: Path, values: Values) -> None:
    net = training(memory_data())
    write(tmp_path / "m.h5", values | {"conv9___filter": np.ones(3), "mean": np.ones(2), "note": "text"})
    with h5py.File(tmp_path / "m.h5") as file:
        load_network(file, net)
        assert file.id.valid, "the caller's file stays open"
    assert_has(net, values)


def test_round_trip(tmp_path: Path) -> None:
    net = training(memory_data())
    solve(solver(), net)
    save_network(net, tmp_path / "m.h5")
    other = training(memory_data(), ReferenceBackend(99))
    load_network(tmp_path / "m.h5", other)
    for a, b in zip(net.parameters, other.parameters, strict=True):
        assert np.array_equal(a.values(), b.values())


def test_ones_at_the_ends_of_shapes_do_not_matter(tmp_path: Path, values: Values) -> None:
    """Old Caffe's blobs all have four axes, Mocha's bias of an inner product two."""
    old = values | {
        "conv1___bias": values["conv1___bias"].reshape(1, 1, 1, 4),
        "ip1___weight": values["ip1___weight"].reshape(1, 1, 3, 60),
        "ip1___bias": values["ip1___bias"].reshape(1, 3),
    }
    net = training(memory_data())
    load_network(write(tmp_path / "m.h5", old), net)
    assert_has(net, values)


def test_float32_file_in_a_float64_net(tmp_path: Path, values: Values) -> None:
    single = {name: value.astype(np.float32) for name, value in values.items()}
    net = training(memory_data())
    load_network(write(tmp_path / "m.h5", single), net)
    assert_has(net, single)


def test_missing_bias_warns_and_keeps_its_initializer(tmp_path: Path, values: Values) -> None:
    del values["conv1___bias"]
    net = training(memory_data())
    with pytest.warns(UserWarning, match="has no conv1___bias; they keep"):
        load_network(write(tmp_path / "m.h5", values), net)
    net.init()
    assert_has(net, values | {"conv1___bias": np.zeros(4)})


def test_missing_weight(tmp_path: Path, values: Values) -> None:
    del values["ip1___weight"]
    path, net = write(tmp_path / "m.h5", values), training(memory_data())
    with pytest.raises(WeightsError, match=r"has no ip1___weight for net 'train'.*die_if_not_found=False"):
        load_network(path, net)
    assert not any(p.initialised for p in net.parameters), "all or nothing"
    with pytest.warns(UserWarning, match="has no ip1___weight"):
        load_network(path, net, die_if_not_found=False)
    assert_has(net, values)
    assert not net.params["ip1"][0].initialised


def test_file_for_another_net(tmp_path: Path) -> None:
    path = write(tmp_path / "m.h5", {"fc8___weight": np.ones((2, 3))})
    for die in (True, False):
        with pytest.raises(WeightsError, match=r"but \['fc8___weight'\]"):
            load_network(path, training(memory_data()), die)


def test_file_without_weights_says_what_would_be_weights(tmp_path: Path) -> None:
    path = write(tmp_path / "g.h5", {"image": np.ones((2, 3))})
    said = "g.h5: holds no weights, which are datasets named layer___role; net 'train' would take conv1___filter, conv1"
    for die in (True, False):
        with pytest.raises(WeightsError, match=said):
            load_network(path, training(memory_data()), die)


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("ip1___weight", lambda a: a.T, r"ip1___weight is \(60, 3\), the net's is \(3, 60\)"),
        ("conv1___filter", lambda a: a.transpose(0, 1, 3, 2), r"is \(4, 2, 2, 3\), the net's is \(4, 2, 3, 2\)"),
        ("conv1___bias", lambda a: a * np.nan, "conv1___bias holds NaN"),
        ("conv1___bias", lambda a: a / 0, "conv1___bias holds NaN or infinity"),
    ],
)
def test_wrong_values(tmp_path: Path, values: Values, name: str, change: Callable[[Any], Any], said: str) -> None:
    with np.errstate(divide="ignore"):
        values[name] = change(values[name])
    net = training(memory_data())
    with pytest.raises(WeightsError, match=said):
        load_network(write(tmp_path / "m.h5", values), net)
    assert not any(p.initialised for p in net.parameters)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x89HDF\r\n\x1a\n" + bytes(100)])
def test_no_hdf5(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.h5").write_bytes(content)
    with pytest.raises(FormatError, match=r"m\.h5"):
        load_network(tmp_path / "m.h5", training(memory_data()))


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"m\.h5: is no file"):
        load_network(tmp_path / "m.h5", training(memory_data()))


def test_numbers_outside_of_the_file_are_refused(tmp_path: Path, values: Values) -> None:
    (tmp_path / "raw.bin").write_bytes(values["ip1___weight"].tobytes())
    del values["ip1___weight"]
    with h5py.File(write(tmp_path / "m.h5", values), "r+") as file:
        file.create_dataset(
            "ip1___weight", (3, 60), "f8", external=[(str(tmp_path / "raw.bin"), 0, h5py.h5f.UNLIMITED)]
        )
    with pytest.raises(FormatError, match="ip1___weight has its numbers in another file"):
        load_network(tmp_path / "m.h5", training(memory_data()))


def test_model_to_start_from(tmp_path: Path, values: Values) -> None:
    """A file without a solver's state gives the weights; the training begins at iteration 0."""
    path, net = write(tmp_path / "m.h5", values), training(memory_data())
    state = solve(solver(0, load_from=path), net)
    assert state.iter == 0
    assert_has(net, values)
