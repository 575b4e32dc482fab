"""Layer by layer what BVLC Caffe computes: outputs, gradients and parameter gradients of every case that is built."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from fullmocha.caffe import load_caffe

# The limit that the golden data's README gives: with another BLAS kernel Caffe itself differs by 7e-7.
LIMIT = 1e-5

SPECIAL = [
    "dropout_train",
    "hdf5data",
    "mvn_eps",
]  # a random mask, several steps, a wrong gradient: tests of their own below

# Caffe stores these weights as (inputs, outputs); we turn them when they are read.
TRANSPOSED = {"ip_transpose": ["l/0"], "ip_axis_neg1": ["l/0"]}

GOLDEN = (
    Path(os.environ.get("FULLMOCHA_DATA", Path(__file__).resolve().parents[3] / "shared" / "data")) / "caffe_golden"
)
INDEX = GOLDEN / "layers" / "index.json"
NAMES = sorted(json.loads(INDEX.read_text())) if INDEX.is_file() else []
CASES = [name for name in NAMES if name not in SPECIAL]


@pytest.fixture(scope="module")
def index(data_dir):
    return json.loads((data_dir / "caffe_golden" / "layers" / "index.json").read_text())


def load(data_dir, index, name, backend):
    folder = data_dir / "caffe_golden" / "layers" / name
    weights = folder / "weights.caffemodel"
    phase = index[name]["phase"].lower()
    net = load_caffe(folder / "net.prototxt", weights if weights.exists() else None, backend=backend, phase=phase)
    groups = {}
    with np.load(folder / "golden.npz") as golden:
        for key in golden.files:
            group, _, rest = key.partition("/")
            groups.setdefault(group, {})[rest] = golden[key]
    return net, groups


def difference(a, b):
    assert np.shape(a) == np.shape(b)
    return np.abs(np.asarray(a, np.float64) - b).max(initial=0) / (np.abs(b).max(initial=0) + 1e-3)


@pytest.mark.filterwarnings("ignore:.*its factor is 0")  # bn_test_factor0, on purpose
@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize("name", CASES)
def test_case(data_dir, index, name, backend, monkeypatch):
    monkeypatch.chdir(data_dir / "caffe_golden" / "layers" / name)  # files are named relative to the working directory
    net, golden = load(data_dir, index, name, backend)
    # A loss seeds itself with its loss_weight.
    losses = index[name].get("loss_weight", {})
    seeds = {top: seed for top, seed in golden.get("topdiff", {}).items() if top not in losses}
    if golden.keys() & {"bottomdiff", "paramdiff"}:
        net.forward_backward(inputs=golden.get("in"), seeds=seeds)
    else:
        net.forward(inputs=golden.get("in"))
    compared = 0
    for top, want in golden["out"].items():
        assert difference(net.output_blobs[top].data, want) < LIMIT, f"out/{top}"
        compared += 1
    for blob, want in golden.get("bottomdiff", {}).items():
        assert difference(net.diff_blobs[blob].data, want) < LIMIT, f"bottomdiff/{blob}"
        compared += 1
    for key, want in golden.get("paramdiff", {}).items():
        layer, _, i = key.rpartition("/")
        parameter = net.params[layer][int(i)]
        got = parameter.diff.data.T if key in TRANSPOSED.get(name, ()) else parameter.diff.data
        if name == "net_frozen" and key == "ip/1":  # Caffe leaves 0 where lr_mult is 0, we a gradient that nothing uses
            assert parameter.local_rate == 0
        elif name == "net_inplace_chain" and key == "conv/1":  # a bias before BatchNorm; 0 but for rounding, README
            assert max(np.abs(got).max(), np.abs(want).max()) < 1e-6
        elif name == "net_siamese" and not want.any():  # both branches' shares cancel, up to the rounding of sums
            assert np.abs(got).max() < 4 * np.finfo(np.float32).eps
        else:
            assert difference(got, want) < LIMIT, f"paramdiff/{key}"
        compared += 1
    for key, want in golden.get("param_after", {}).items():
        layer, _, i = key.rpartition("/")
        assert difference(net.params[layer][int(i)].values(), want) < LIMIT, f"param_after/{key}"
        compared += 1
    groups = ("out", "bottomdiff", "paramdiff", "param_after")
    assert compared == sum(len(golden.get(group, ())) for group in groups) > 0


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_dropout_in_training(data_dir, index, backend):
    net, golden = load(data_dir, index, "dropout_train", backend)
    x, seed = golden["in"]["a"], golden["topdiff"]["out"]
    net.forward_backward(inputs={"a": x}, seeds={"out": seed})
    y = net.output_blobs["out"].data
    kept = y != 0
    # 360 draws that keep 60 %: mean 216, standard deviation 9.3; six of them on each side.
    assert x.all() and 160 < kept.sum() < 272
    assert difference(y, kept * x / 0.6) < LIMIT
    assert difference(net.diff_blobs["a"].data, kept * seed / 0.6) < LIMIT


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_mvn_with_a_large_eps(data_dir, index, backend):
    """Caffe's output is right; its gradient lacks the factor (std + eps) / std of one term, ours is that of the output."""
    net, golden = load(data_dir, index, "mvn_eps", backend)
    x, dy, eps = golden["in"]["a"].astype(float), golden["topdiff"]["out"].astype(float), 0.1
    net.forward_backward(inputs={"a": x}, seeds={"out": dy})
    assert difference(net.output_blobs["out"].data, golden["out"]["out"]) < LIMIT

    def mean(values):
        return values.mean(axis=(2, 3), keepdims=True)

    std = np.sqrt(mean((x - mean(x)) ** 2))
    y = (x - mean(x)) / (std + eps)
    caffes, right = ((dy - mean(dy) - y * mean(dy * y) * f) / (std + eps) for f in (1, (std + eps) / std))
    assert difference(golden["bottomdiff"]["a"], caffes) < LIMIT
    assert difference(net.diff_blobs["a"].data, right) < LIMIT
    assert difference(right, caffes) > 0.01


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_hdf5_data(data_dir, index, backend, monkeypatch):
    monkeypatch.chdir(
        data_dir / "caffe_golden" / "layers" / "hdf5data"
    )  # sources are relative to the working directory
    net, golden = load(data_dir, index, "hdf5data", backend)
    steps = sorted(group for group in golden if group.startswith("step"))
    assert len(steps) > 3
    for step in steps:
        net.forward()
        for blob, want in golden[step].items():
            np.testing.assert_array_equal(net.output_blobs[blob].data, want, err_msg=f"{step}/{blob}")


def test_every_case_is_run(index):
    assert {*CASES, *SPECIAL} == set(index)
