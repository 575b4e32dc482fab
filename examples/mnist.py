"""Mocha's hello world, line by line: LeNet learns to read digits.

    python examples/mnist.py FOLDER [--iterations 2000] [--seed 0] [--backend cpu] [--work DIR]

FOLDER has the four files of MNIST, train-images-idx3-ubyte.gz and so on; by default mnist/ in $FULLMOCHA_DATA. They are written
as HDF5 into the work folder, where snapshots go as well: called again with the same --work, training goes on from the newest.
With FULLMOCHA_SMALL=1 it does a few iterations, on made-up digits if there are no real ones.
"""

import argparse
import gzip
import os
import tempfile
from pathlib import Path

import h5py
import numpy as np

from fullmocha import (
    SGD,
    AccuracyLayer,
    ConvolutionLayer,
    CPUBackend,
    GPUBackend,
    HDF5DataLayer,
    InnerProductLayer,
    LRPolicy,
    MomPolicy,
    Net,
    Neurons,
    PoolingLayer,
    ReferenceBackend,
    Snapshot,
    SoftmaxLossLayer,
    Solver,
    TrainingSummary,
    ValidationPerformance,
    add_coffee_break,
    destroy,
    forward_epoch,
    make_solver_parameters,
    reset_statistics,
    setup_coffee_lounge,
    shutdown,
    solve,
)

SMALL = os.environ.get("FULLMOCHA_SMALL") == "1"
BACKENDS = {"cpu": CPUBackend, "cuda": GPUBackend, "reference": ReferenceBackend}
FILES = {"train": "train", "test": "t10k"}
SEGMENTS = ("012456", "25", "02346", "02356", "1235", "01356", "013456", "025", "0123456", "012356")


def train(work: Path, iterations: int, seed: int, backend_name: str) -> tuple[float, int]:
    """What Mocha's README has, and the accuracy on the test set."""
    data = HDF5DataLayer(name="train-data", source=work / "train.txt", batch_size=64, shuffle=True)
    conv = ConvolutionLayer(name="conv1", n_filter=20, kernel=(5, 5), bottoms=["data"], tops=["conv1"])
    pool = PoolingLayer(name="pool1", kernel=(2, 2), stride=(2, 2), bottoms=["conv1"], tops=["pool1"])
    conv2 = ConvolutionLayer(name="conv2", n_filter=50, kernel=(5, 5), bottoms=["pool1"], tops=["conv2"])
    pool2 = PoolingLayer(name="pool2", kernel=(2, 2), stride=(2, 2), bottoms=["conv2"], tops=["pool2"])
    fc1 = InnerProductLayer(name="ip1", output_dim=500, neuron=Neurons.ReLU(), bottoms=["pool2"], tops=["ip1"])
    fc2 = InnerProductLayer(name="ip2", output_dim=10, bottoms=["ip1"], tops=["ip2"])
    loss = SoftmaxLossLayer(name="loss", bottoms=["ip2", "label"])

    backend = BACKENDS[backend_name](seed)
    common_layers = [conv, pool, conv2, pool2, fc1, fc2]
    net = Net("MNIST-train", backend, [data, *common_layers, loss])
    print(net)

    exp_dir = work / f"snapshots-{seed}"
    exp_dir.mkdir(exist_ok=True)
    method = SGD()
    params = make_solver_parameters(
        method,
        max_iter=iterations,
        regu_coef=0.0005,
        mom_policy=MomPolicy.Fixed(0.9),
        lr_policy=LRPolicy.Inv(0.01, 0.0001, 0.75),
        load_from=exp_dir,
    )
    solver = Solver(method, params)

    setup_coffee_lounge(solver, save_into=exp_dir / "statistics.json", every_n_iter=1000)

    # report training progress every 100 iterations
    add_coffee_break(solver, TrainingSummary(), every_n_iter=5 if SMALL else 100)

    # save snapshots every 5000 iterations, and at the end of shorter runs
    add_coffee_break(solver, Snapshot(exp_dir), every_n_iter=min(5000, iterations))

    # show performance on test data every 1000 iterations
    data_test = HDF5DataLayer(name="test-data", source=work / "test.txt", batch_size=100)
    accuracy = AccuracyLayer(name="test-accuracy", bottoms=["ip2", "label"])
    test_net = Net("MNIST-test", backend, [data_test, *common_layers, accuracy])
    if not SMALL:
        add_coffee_break(solver, ValidationPerformance(test_net), every_n_iter=1000)

    done = solve(solver, net).iter

    reset_statistics(test_net)
    forward_epoch(test_net)
    share = test_net.statistics()["test-accuracy-accuracy"]

    destroy(net)
    destroy(test_net)
    shutdown(backend)
    return share, done


# ------------------------------------------------------------------------------------------------------------------ data
def convert(folder: Path, work: Path) -> None:
    """MNIST's files as HDF5: data in 0 .. 255/256, and a text file with the list of HDF5 files."""
    for name, prefix in FILES.items():
        images = read_idx(folder / f"{prefix}-images-idx3-ubyte.gz", 3)
        write(work, name, images, read_idx(folder / f"{prefix}-labels-idx1-ubyte.gz", 1))


def read_idx(path: Path, axes: int) -> np.ndarray:
    """An array of bytes in the format of MNIST: 0 0 8 axes, big-endian sizes, the bytes."""
    raw = gzip.decompress(path.read_bytes())
    shape = tuple(np.frombuffer(raw, ">u4", axes, 4).tolist())
    if raw[:4] != bytes((0, 0, 8, axes)) or len(raw) != 4 + 4 * axes + np.prod(shape):
        raise SystemExit(f"{path}: not a whole file of {axes} axes in the format of MNIST")
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * axes).reshape(shape)


def write(work: Path, name: str, images: np.ndarray, labels: np.ndarray) -> None:
    with h5py.File(work / f"{name}.h5", "w") as file:
        file["data"] = images[:, None].astype(np.float32) / 256
        file["label"] = labels[:, None].astype(np.float32)
    (work / f"{name}.txt").write_text(f"{work / name}.h5\n")


def make_up(work: Path, seed: int) -> None:
    """Digits as clocks show them, moved about and noisy: segments 0, 3, 6 lie, 1 2 and 4 5 stand."""
    rng = np.random.default_rng(seed)
    for name, count in (("train", 1000), ("test", 200)):
        labels = rng.integers(0, 10, count)
        images = rng.integers(0, 60, (count, 28, 28))
        for image, label, y, x in zip(images, labels, *rng.integers(2, 10, (2, count)), strict=True):
            for segment in map(int, SEGMENTS[label]):
                row, column = divmod(segment, 3)
                top, left = y + 8 * row, x + 8 * (column == 2)
                height, width = (10, 2) if column else (2, 10)
                image[top : top + height, left : left + width] = 250
        write(work, name, images, labels)


def main() -> None:
    data = Path(os.environ.get("FULLMOCHA_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    parser = argparse.ArgumentParser(description="Trains LeNet on MNIST as Mocha's README does.")
    parser.add_argument("folder", nargs="?", type=Path, default=data / "mnist", help="has the four .gz files of MNIST")
    parser.add_argument("--iterations", type=int, default=10 if SMALL else 2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--backend", choices=sorted(BACKENDS), default="cpu")
    parser.add_argument("--work", type=Path, help="folder for HDF5 files and snapshots; a temporary one by default")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = (options.work or Path(temporary)).resolve()
        work.mkdir(parents=True, exist_ok=True)
        if (work / "test.txt").exists():
            print(f"Using the HDF5 files in {work}")
        elif options.folder.is_dir():
            convert(options.folder, work)
        elif SMALL:
            print(f"No MNIST in {options.folder}: using made-up digits")
            make_up(work, options.seed)
        else:
            parser.error(
                f"no MNIST in {options.folder}; name the folder that has {FILES['train']}-images-idx3-ubyte.gz"
            )
        share, done = train(work, options.iterations, options.seed, options.backend)
    print(f"Test accuracy after {done} iterations: {100 * share:.2f} %")


if __name__ == "__main__":
    main()
