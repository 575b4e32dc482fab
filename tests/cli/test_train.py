"""`fullmocha train`, from the solver file to weights that OpenCV runs; interrupted and gone on with; and its users' mistakes."""

import gzip
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

import fullmocha as fm
from fullmocha.caffe.weights import read_weights

from .conftest import Run

COMMAND = [sys.executable, "-c", "from fullmocha.cli import main; main()"]
posix = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")

LENET = """
name: "LeNet"
layer { name: "mnist" type: "HDF5Data" top: "data" top: "label" include { phase: TRAIN }
        hdf5_data_param { source: "train.txt" batch_size: 16 shuffle: true } }
layer { name: "mnist" type: "HDF5Data" top: "data" top: "label" include { phase: TEST }
        hdf5_data_param { source: "test.txt" batch_size: 20 } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1" param { lr_mult: 1 } param { lr_mult: 2 }
        convolution_param { num_output: 20 kernel_size: 5 weight_filler { type: "xavier" } } }
layer { name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1" pooling_param { pool: MAX kernel_size: 2 stride: 2 } }
layer { name: "conv2" type: "Convolution" bottom: "pool1" top: "conv2" param { lr_mult: 1 } param { lr_mult: 2 }
        convolution_param { num_output: 50 kernel_size: 5 weight_filler { type: "xavier" } } }
layer { name: "pool2" type: "Pooling" bottom: "conv2" top: "pool2" pooling_param { pool: MAX kernel_size: 2 stride: 2 } }
layer { name: "ip1" type: "InnerProduct" bottom: "pool2" top: "ip1" param { lr_mult: 1 } param { lr_mult: 2 }
        inner_product_param { num_output: 500 weight_filler { type: "xavier" } } }
layer { name: "relu1" type: "ReLU" bottom: "ip1" top: "ip1" }
layer { name: "ip2" type: "InnerProduct" bottom: "ip1" top: "ip2" param { lr_mult: 1 } param { lr_mult: 2 }
        inner_product_param { num_output: 10 weight_filler { type: "xavier" } } }
layer { name: "accuracy" type: "Accuracy" bottom: "ip2" bottom: "label" top: "accuracy" include { phase: TEST } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip2" bottom: "label" top: "loss" }
"""
SOLVER = """
net: "net.prototxt"
test_iter: 5
test_interval: 15
base_lr: 0.01
momentum: 0.9
weight_decay: 0.0005
lr_policy: "inv"
gamma: 0.0001
power: 0.75
display: 5
max_iter: 30
snapshot: 20
snapshot_prefix: "snaps/lenet"
random_seed: 1
"""


def write_data(name: str, data: np.ndarray, label: np.ndarray) -> None:
    with h5py.File(f"{name}.h5", "w") as file:
        file["data"], file["label"] = data, label
    Path(f"{name}.txt").write_text(f"{name}.h5\n")


@pytest.fixture
def mnist(data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Caffe's LeNet and its solver in a working directory, on 300 real digits, 200 of them to train."""
    monkeypatch.chdir(tmp_path)
    folder = data_dir / "mnist"
    images = gzip.decompress((folder / "t10k-images-idx3-ubyte.gz").read_bytes())
    labels = gzip.decompress((folder / "t10k-labels-idx1-ubyte.gz").read_bytes())
    data = np.frombuffer(images, np.uint8, offset=16).reshape(-1, 1, 28, 28)[:300] / np.float32(256)
    label = np.frombuffer(labels, np.uint8, offset=8)[:300].astype(np.float32)
    write_data("train", data[:200], label[:200])
    write_data("test", data[200:], label[200:])
    Path("net.prototxt").write_text(LENET)
    Path("solver.prototxt").write_text(SOLVER)
    return tmp_path


SMALL = """
name: "small"
layer { name: "d" type: "HDF5Data" top: "data" top: "label" hdf5_data_param { source: "train.txt" batch_size: 4 } }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip" inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" }
"""
QUICK = (
    'net: "net.prototxt" base_lr: 0.1 lr_policy: "fixed" max_iter: 4 snapshot_prefix: "s" display: 2 random_seed: 1 '
)


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A net that is trained in no time."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    write_data("train", rng.normal(size=(9, 5)).astype(np.float32), rng.integers(0, 3, 9).astype(np.float32))
    Path("net.prototxt").write_text(SMALL)
    Path("solver.prototxt").write_text(QUICK)
    return tmp_path


# --------------------------------------------------------------------------------------------------------- from end to end
def test_lenet_learns_is_resumed_to_the_bit_and_opencv_runs_it(mnist: Path, run: Run) -> None:
    cv2 = pytest.importorskip("cv2")
    done = run("train", "solver.prototxt", "--backend", "cpu")
    assert done.status == 0 and "error" not in done.err
    lines = done.out.splitlines()
    assert lines[0] == "training 'LeNet' by SGD on cpu, until iteration 30"
    assert lines[-1].startswith("done: iteration 30, loss = ")
    shown = {
        int(i): float(v)
        for i, v in re.findall(r"^Iteration (\d+)(?: \(.* iter/s\))?, loss = (\S+), lr", done.out, re.M)
    }
    assert list(shown) == [0, 5, 10, 15, 20, 25, 30]
    assert shown[0] > 2 and shown[30] < 1.2  # log 10 = 2.3 to begin with
    scores = re.findall(
        r"^Iteration (\d+), testing net #0\n +Test net output: accuracy = (\S+)\n +Test net output: loss",
        done.out,
        re.M,
    )
    assert [i for i, _ in scores] == ["0", "15", "30"] and float(scores[-1][1]) > 0.6
    names = sorted(os.listdir("snaps"))
    assert names == [f"lenet_iter_{i}.{kind}" for i in (20, 30) for kind in ("caffemodel", "solverstate")]

    wanted = {name: Path("snaps", name).read_bytes() for name in names if "30" in name}
    for name in wanted:
        Path("snaps", name).unlink()
    Path("solver.prototxt").write_text(SOLVER.replace("random_seed: 1", "random_seed: 2"))
    again = run(
        "train", "solver.prototxt", "--resume", "snaps/lenet_iter_20.solverstate", "--backend", "cpu", "--threads", "1"
    )
    assert again.status == 0 and "note: Resuming from snaps/lenet_iter_20.solverstate at iteration 20" in again.err
    assert {name: Path("snaps", name).read_bytes() for name in wanted} == wanted

    deploy = (
        'input: "data" input_shape { dim: 7 dim: 1 dim: 28 dim: 28 }' + LENET[LENET.index('layer { name: "conv1"') :]
    )
    deploy = (
        deploy[: deploy.index('layer { name: "accuracy"')]
        + 'layer { name: "prob" type: "Softmax" bottom: "ip2" top: "prob" }'
    )
    Path("deploy.prototxt").write_text(deploy)
    with h5py.File("test.h5") as file:
        digits = file["data"][:7]
    net = fm.load_caffe("deploy.prototxt", "snaps/lenet_iter_30.caffemodel", backend="cpu")
    net.forward({"data": digits})
    ours = net.output_blobs["prob"].data
    theirs = cv2.dnn.readNetFromCaffe("deploy.prototxt", "snaps/lenet_iter_30.caffemodel")
    theirs.setInput(digits)
    np.testing.assert_allclose(ours, theirs.forward(), atol=2e-5)  # both in float32, sums of 800 terms
    assert np.ptp(ours) > 0.3  # else nothing is compared


def test_hdf5_snapshots_and_weights_to_begin_with(small: Path, run: Run) -> None:
    Path("solver.prototxt").write_text(QUICK + "snapshot_format: HDF5")
    assert run("train", "solver.prototxt", "--backend", "reference").status == 0
    assert Path("s_iter_4.solverstate.h5").is_file()
    kept = read_weights("s_iter_4.caffemodel.h5")["ip"][0]
    Path("solver.prototxt").write_text(QUICK.replace("base_lr: 0.1", "base_lr: 0"))
    done = run("train", "solver.prototxt", "-w", "s_iter_4.caffemodel.h5", "--backend", "reference")
    assert done.status == 0
    np.testing.assert_array_equal(read_weights("s_iter_4.caffemodel")["ip"][0], kept)  # at a rate of 0


@posix
def test_ctrl_c_ends_after_the_iteration_with_a_snapshot(small: Path, run: Run) -> None:
    Path("solver.prototxt").write_text(QUICK.replace("max_iter: 4", "max_iter: 100000000"))
    command = [*COMMAND, "train", "solver.prototxt", "--backend", "reference"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while "Iteration 4" not in process.stdout.readline():
            time.sleep(0)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in err
    (said,) = re.findall(
        r"^interrupted after iteration (\d+); go on with: fullmocha train solver.prototxt --resume (\S+)$", err, re.M
    )
    assert said[1] == f"s_iter_{said[0]}.solverstate"
    assert sorted(n for n in os.listdir() if "iter" in n) == [f"s_iter_{said[0]}.caffemodel", said[1]]
    Path("solver.prototxt").write_text(QUICK.replace("max_iter: 4", f"max_iter: {int(said[0]) + 2}"))
    done = run("train", "solver.prototxt", "--backend", "reference", "--resume", said[1])
    assert done.status == 0 and f"done: iteration {int(said[0]) + 2}, " in done.out


def test_bar_on_a_terminal(small: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    done = run("train", "solver.prototxt", "--backend", "reference")
    assert done.status == 0 and "/4 [" in done.err and "loss=" in done.err
    assert "Iteration 2 (" in done.out


# --------------------------------------------------------------------------------------------------------------- mistakes
def mistake(run: Run, *options: str) -> str:
    """What is said, in one line, while nothing is written."""
    before = sorted(os.listdir())
    done = run("train", "solver.prototxt", "--backend", "reference", *options)
    assert done.status == 2
    *_, last = done.err.splitlines()
    assert last.startswith("error: ") and "Traceback" not in done.err
    assert sorted(os.listdir()) == before
    return last


def test_missing_files(small: Path, run: Run) -> None:
    Path("net.prototxt").unlink()
    assert "names net.prototxt, which is neither in the working directory" in mistake(run)
    Path("solver.prototxt").unlink()
    assert "solver.prototxt does not exist" in mistake(run)


def test_missing_data(small: Path, run: Run) -> None:
    Path("train.txt").unlink()
    assert "train.txt" in mistake(run)


def test_labels_that_are_no_class(small: Path, run: Run) -> None:
    rng = np.random.default_rng(0)
    write_data("train", rng.normal(size=(9, 5)).astype(np.float32), np.full(9, 3, np.float32))
    said = mistake(run)
    assert "loss" in said and "3" in said


def test_nan(small: Path, run: Run) -> None:
    write_data("train", np.full((9, 5), np.nan, np.float32), np.zeros(9, np.float32))
    said = mistake(run)
    assert "the loss is nan at iteration 0" in said and "no snapshot has been saved" in said


def test_loss_that_diverges_names_the_last_snapshot(small: Path, run: Run) -> None:
    text = (
        QUICK.replace("base_lr: 0.1", "base_lr: 1e38").replace("max_iter: 4", "max_iter: 50")
        + "snapshot: 1 momentum: 0.99"
    )
    Path("solver.prototxt").write_text(text)
    with np.errstate(all="ignore"):
        done = run("train", "solver.prototxt", "--backend", "reference")
    assert done.status == 2
    assert re.search(r"error: .*(loss is (nan|inf) at iteration|holds NaN or infinity at iteration)", done.err)


def test_full_disk(small: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9 - 20, 20))
    said = mistake(run)
    assert re.search(r"s_iter_4\.caffemodel: needs \d+ bytes, but its disk has 20 left", said)


def test_snapshot_of_another_net_or_solver(small: Path, run: Run) -> None:
    assert run("train", "solver.prototxt", "--backend", "reference").status == 0
    Path("solver.prototxt").write_text(QUICK.replace('s"', 't"') + 'type: "Adam"')
    said = mistake(run, "--resume", "s_iter_4.solverstate")
    assert "s_iter_4.solverstate: holds 2 arrays of history, but Adam" in said
    Path("solver.prototxt").write_text(QUICK.replace('s"', 't"'))
    Path("net.prototxt").write_text(SMALL.replace("num_output: 3", "num_output: 4"))
    said = mistake(run, "--resume", "s_iter_4.solverstate")
    assert "layer 'ip', blob 0 has shape (3, 5), the net wants (4, 5)" in said
    assert "nothing.solverstate does not exist" in mistake(run, "--resume", "nothing.solverstate")
    assert "s_iter_4.caffemodel" in mistake(run, "--resume", "s_iter_4.caffemodel")
    Path("cut.solverstate").write_bytes(Path("s_iter_4.solverstate").read_bytes()[:40])
    assert "cut.solverstate" in mistake(run, "--resume", "cut.solverstate")


def test_net_that_waits_for_data_is_not_trained_on_zeros(small: Path, run: Run) -> None:
    data = 'layer { name: "d" type: "Input" top: "data" top: "label" input_param { shape { dim: 4 dim: 5 } shape { dim: 4 } } }'
    Path("net.prototxt").write_text(SMALL.replace(SMALL.splitlines()[2], data))
    assert "its data come from the calling program" in mistake(run)
