"""Mocha's own snapshots: real ones into a net, made ones, broken ones."""

import logging

import h5py
import numpy as np
import pytest

import fullmocha as fm
from fullmocha.errors import FormatError, FullMochaError, WeightsError
from fullmocha.solvers import load_network
from fullmocha.solvers.jld import read_jld_params, read_jld_state
from fullmocha.solvers.model import reading
from fullmocha.solvers.snapshot import load_snapshot

REAL = {"snapshot-190000": (190000, 0.8489896441812368, 40, 9), "snapshot-200000": (200000, 0.8226075541558426, 40, 9),
        "TrainedNetAll": (200000, 3.3536291914736927, 56, 10)}  # fmt: skip


def tanh_net(inputs, outputs, batch=3):
    """Creel's net, as the snapshots' README describes it."""
    tanh = fm.Neurons.Tanh()
    return fm.Net(
        "creel",
        "reference",
        [
            fm.InputLayer(tops=["x"], shapes=[(batch, inputs)]),
            fm.InnerProductLayer(name="ip1", bottoms=["x"], tops=["ip1"], output_dim=300, neuron=tanh),
            fm.InnerProductLayer(name="ip2", bottoms=["ip1"], tops=["ip2"], output_dim=40, neuron=tanh),
            fm.InnerProductLayer(name="aggregator", bottoms=["ip2"], tops=["y"], output_dim=outputs),
        ],
        dtype="float64",
    )


def by_hand(path, x):
    """The same net from the file's arrays, found by their shapes and the order in which names stand."""
    with h5py.File(path) as file:
        keys, values = (file[file["params_all"][()][field]][()] for field in ("keys_", "values_"))
        arrays = {
            file[key][()].decode(): [file[r][()] for r in file[value][()]]
            for key, value in zip(keys, values, strict=True)
        }
    for name in ("ip1", "ip2"):
        x = np.tanh(x @ arrays[name][0].T + arrays[name][1][0])
    return x @ arrays["aggregator"][0].T + arrays["aggregator"][1][0]


@pytest.mark.parametrize("name", REAL)
def test_a_real_snapshot_computes_what_its_arrays_say(data_dir, rng, name):
    path, (_, _, inputs, outputs) = data_dir / "mocha_jld" / f"{name}.jld", REAL[name]
    net = tanh_net(inputs, outputs)
    load_network(path, net)
    net.init()  # must not draw anew what was loaded
    x = rng.normal(size=(3, inputs))
    net.forward(inputs={"x": x})
    want = by_hand(path, x)
    assert want.shape == (3, outputs) and np.ptp(want) > 0.1
    np.testing.assert_allclose(net.output_blobs["y"].data, want, rtol=1e-11, atol=1e-12)  # 300 terms in float64


@pytest.mark.parametrize("name", REAL)
def test_how_far_it_was(data_dir, name):
    with reading(data_dir / "mocha_jld" / f"{name}.jld") as file:
        state = read_jld_state(file)
    assert (state.iter, state.obj_val, state.learning_rate, state.momentum) == (*REAL[name][:2], 0.01, 0.9)


def test_another_net_is_refused(data_dir):
    with pytest.raises(
        WeightsError, match=r"snapshot-200000\.jld: ip1___weight is \(300, 40\), the net's is \(300, 41\)"
    ):
        load_network(data_dir / "mocha_jld" / "snapshot-200000.jld", tanh_net(41, 9))


def test_training_goes_on_where_mochas_stopped(data_dir, rng, tmp_path, caplog):
    path = data_dir / "mocha_jld" / "snapshot-200000.jld"
    x, y = rng.normal(size=(6, 40)), rng.normal(size=(6, 9))
    layers = [
        fm.MemoryDataLayer(name="data", tops=["x", "t"], data=[x, y], batch_size=6),
        *tanh_net(40, 9).layers[1:],
        fm.SquareLossLayer(name="loss", bottoms=["y", "t"]),
    ]
    net = fm.Net("more", "reference", layers, dtype="float64")
    method = fm.SGD()
    params = fm.make_solver_parameters(method, max_iter=200001, load_from=str(path), lr_policy=fm.LRPolicy.Fixed(0.0))
    with caplog.at_level(logging.INFO):
        fm.solve(fm.Solver(method, params), net)
    assert "Resuming from Mocha's" in caplog.text and "at iteration 200000" in caplog.text
    with reading(path) as file:
        weights = read_jld_params(file)["ip1"][0]
    np.testing.assert_array_equal(net.params["ip1"][0].data, weights)  # the rate is 0


def test_mochas_newest_snapshot_of_a_folder(data_dir):
    net = tanh_net(40, 9)
    load_snapshot(net, data_dir / "mocha_jld")
    with reading(data_dir / "mocha_jld" / "snapshot-200000.jld") as file:
        np.testing.assert_array_equal(net.params["ip2"][0].data, read_jld_params(file)["ip2"][0])


# --------------------------------------------------------------------------------------------------------- made by hand
def write(path, layers, state=True, older=False):
    """What Mocha writes, and nothing of what it does not need."""
    refs = h5py.ref_dtype
    with h5py.File(path, "w", userblock_size=512) as file:
        group = file.create_group("_refs")
        keys, values = [], []
        for i, (name, arrays) in enumerate(layers.items()):
            keys.append(group.create_dataset(f"k{i}", data=np.bytes_(name)).ref)
            inner = [group.create_dataset(f"v{i}_{j}", data=array).ref for j, array in enumerate(arrays)]
            values.append(group.create_dataset(f"v{i}", data=np.array(inner, refs), dtype=refs).ref)
        both = [
            group.create_dataset(name, data=np.array(many, refs), dtype=refs).ref
            for name, many in (("k", keys), ("v", values))
        ]
        record = np.zeros((), [("keys_", refs), ("values_", refs)])
        record["keys_"], record["values_"] = both
        file.create_dataset("params_all", data=record)
        if state:
            fields = (
                [("iter_", "i8")]
                if older
                else [("iteration_", "i8"), ("obj_val_", "f8"), ("learning_rate_", "f8"), ("momentum_", "f8")]
            )
            file.create_dataset("solver_state", data=np.array(tuple(range(5, 5 + len(fields))), fields))


def test_filters_and_the_state_of_older_versions(tmp_path, rng):
    arrays = {"conv": [rng.normal(size=(4, 1, 3, 2)), rng.normal(size=(1, 1, 4, 1))]}
    write(tmp_path / "x.jld", arrays, older=True)
    net = fm.Net(
        "c",
        "reference",
        [
            fm.InputLayer(tops=["x"], shapes=[(1, 1, 5, 5)]),
            fm.ConvolutionLayer(name="conv", bottoms=["x"], tops=["y"], kernel=(2, 3), n_filter=4),
        ],
        dtype="float64",
    )
    load_network(tmp_path / "x.jld", net)
    np.testing.assert_array_equal(net.params["conv"][0].data, arrays["conv"][0])
    np.testing.assert_array_equal(net.params["conv"][1].data, arrays["conv"][1].ravel())
    with reading(tmp_path / "x.jld") as file:
        state = read_jld_state(file)
    assert state.iter == 5 and np.isnan([state.obj_val, state.learning_rate, state.momentum]).all()


@pytest.mark.parametrize(
    ("layers", "message"),
    [({"a": ["text"]}, "layer 'a', array 0: is"), ({"a": [np.arange(3)]}, "is int64; expected floating-point")],
)
def test_layers_of_something_else_are_refused(tmp_path, layers, message):
    write(tmp_path / "x.jld", layers)
    with pytest.raises(FormatError, match=message):
        load_network(tmp_path / "x.jld", tanh_net(40, 9))


@pytest.mark.parametrize("break_", ["null", "number", "no state", "group", "lengths"])
def test_broken_files(tmp_path, break_):
    write(tmp_path / "x.jld", {"ip1": [np.ones((300, 40))]}, state=break_ != "no state")
    with h5py.File(tmp_path / "x.jld", "a") as file:
        record = file["params_all"][()]
        if break_ == "null":
            record["keys_"] = h5py.Reference()
        elif break_ == "number":
            record = np.zeros((), [("keys_", "f8"), ("values_", "f8")])
        elif break_ == "group":
            record["keys_"] = file["_refs"].ref
        elif break_ == "lengths":
            record["keys_"] = file["_refs"].create_dataset("none", (0,), h5py.ref_dtype).ref
        del file["params_all"]
        file.create_dataset("params_all", data=record)
    with pytest.raises(FullMochaError, match=r"x\.jld"), reading(tmp_path / "x.jld") as file:
        read_jld_params(file)
        read_jld_state(file)
