"""Mocha's files on the command line: a real .jld snapshot, and the same arrays as a Mocha HDF5 model."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from fullmocha.caffe.weights import read_weights

from .conftest import Run

# Creel's net over an image: its 40 inputs are a window of 5 x 8.
PROTOTXT = """input: "x" input_shape { dim: 1 dim: 1 dim: 5 dim: 8 }
layer { name: "ip1" type: "InnerProduct" bottom: "x" top: "ip1" inner_product_param { num_output: 300 } }
layer { name: "t1" type: "TanH" bottom: "ip1" top: "ip1" }
layer { name: "ip2" type: "InnerProduct" bottom: "ip1" top: "ip2" inner_product_param { num_output: 40 } }
layer { name: "t2" type: "TanH" bottom: "ip2" top: "ip2" }
layer { name: "aggregator" type: "InnerProduct" bottom: "ip2" top: "y" inner_product_param { num_output: 9 } }"""


@pytest.fixture
def arrays(data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[np.ndarray]]:
    """What the snapshot holds, read without our reader; net.prototxt and an image in the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.prototxt").write_text(PROTOTXT)
    (tmp_path / "x.jld").write_bytes((data_dir / "mocha_jld" / "snapshot-200000.jld").read_bytes())
    with h5py.File("in.h5", "w") as file:
        file["image"] = np.random.default_rng(5).normal(size=(9, 14)).astype(np.float32)
    with h5py.File("x.jld") as file:
        keys, values = (file[file["params_all"][()][field]][()] for field in ("keys_", "values_"))
        return {file[k][()].decode(): [file[r][()] for r in file[v][()]] for k, v in zip(keys, values, strict=True)}


def expected(arrays: dict[str, list[np.ndarray]]) -> np.ndarray:
    with h5py.File("in.h5") as file:
        x = np.lib.stride_tricks.sliding_window_view(file["image"][()].astype(float), (5, 8)).reshape(5, 7, 40)
    for name in ("ip1", "ip2"):
        x = np.tanh(x @ arrays[name][0].T + arrays[name][1][0])
    y = x @ arrays["aggregator"][0].T + arrays["aggregator"][1][0]
    return np.moveaxis(y, -1, 0)


def as_model(arrays: dict[str, list[np.ndarray]], path: str) -> None:
    """A Mocha HDF5 model, as its dump_network_hdf5 lays it out: flat, and old Caffe's axes of 1 in front."""
    with h5py.File(path, "w") as file:
        for name, (weight, bias) in arrays.items():
            file[f"{name}___weight"], file[f"{name}___bias"] = weight[None, None], bias


@pytest.mark.parametrize("weights", ["x.jld", "model.hdf5", "out.h5", "out.caffemodel", "out.caffemodel.h5"])
def test_predict_takes_them_and_what_convert_makes_of_them(run: Run, arrays: dict, weights: str) -> None:
    as_model(arrays, "model.hdf5")
    if weights.startswith("out"):
        done = run("convert", "x.jld", weights)
        assert (done.status, done.out) == (0, f"wrote {weights}: 3 layers, 24,709 values\n"), done.err
    done = run(
        "predict",
        "net.prototxt",
        "-w",
        weights,
        "--backend",
        "reference",
        "--border",
        "valid",
        "in.h5:/image",
        "-o",
        "y.h5",
    )
    assert done.status == 0, done.err
    with h5py.File("y.h5") as file:
        (name,) = file
        ours = file[name][()].reshape(9, 5, 7)
    want = expected(arrays)
    assert np.ptp(want) > 0.1
    np.testing.assert_allclose(ours, want, atol=2e-5 * np.abs(want).max())  # float32, 300 terms


def test_info_and_the_shapes_that_caffe_wants(run: Run, arrays: dict) -> None:
    done = run("info", "net.prototxt", "--weights", "x.jld")
    assert done.status == 0 and "ip1" in done.out, done.err
    run("convert", "x.jld", "out.caffemodel")
    assert [b.shape for b in read_weights("out.caffemodel")["ip1"]] == [(300, 40), (300,)]


def test_weights_that_only_the_net_can_tell_apart_are_not_converted_alone(run: Run, arrays: dict) -> None:
    with h5py.File("w.caffemodel.h5", "w") as file:
        file["data/a/0"], file["data/a/1"], file["data/b/1"] = np.ones((2, 2)), np.ones(2), np.ones(2)
    done = run("convert", "w.caffemodel.h5", "w.caffemodel")
    assert done.status == 2 and "layer 'b' shares parameters" in done.err and "--weights w.caffemodel.h5" in done.err


def test_they_are_not_written_and_broken_ones_are_named(run: Run, arrays: dict) -> None:
    done = run("convert", "x.jld", "y.jld")
    assert done.status == 2 and "y.jld: Mocha's Julia files (.jld) are not written" in done.err
    Path("cut.jld").write_bytes(Path("x.jld").read_bytes()[:5000])
    for command in (("info", "net.prototxt", "-w", "cut.jld"), ("convert", "cut.jld", "y.h5")):
        done = run(*command)
        assert done.status == 2 and "cut.jld" in done.err
