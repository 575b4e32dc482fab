"""Five iterations of real Caffe, from its solver files: the same weights, losses and rates; and its own snapshots, gone on from."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from fullmocha.caffe import load_caffe_solver
from fullmocha.coffee import Coffee, Progress
from fullmocha.net import Net
from fullmocha.solvers import init_solve, onestep_solve

METHODS = ("sgd", "nesterov", "adagrad", "rmsprop", "adadelta", "adam")
OPTIONS = (
    "fixed",
    "step",
    "exp",
    "inv",
    "multistep",
    "poly",
    "sigmoid",
    "l2",
    "l1",
    "clip",
    "itersize2",
    "mults",
    "all",
)
OTHERS = [
    "adagrad_delta", "adam_defaults", "adam_frozen_layer", "nesterov_old_enum", "sgd_no_momentum", "sgd_type_missing",
    "sgd_multistep_same_value", "sgd_batchnorm", "sgd_shared_params",
]  # fmt: skip
CASES = [f"{method}_{option}" for method in METHODS for option in OPTIONS] + OTHERS
RESUMED = [
    "sgd_fixed", "sgd_multistep", "sgd_all", "nesterov_fixed", "adagrad_fixed", "rmsprop_fixed", "adadelta_fixed", "adam_fixed",
    "adam_inv", "adam_all", "sgd_batchnorm", "sgd_shared_params",
]  # fmt: skip
# From the data's README: another BLAS moves Caffe's own weights by 1.3e-5 of the largest; it suggests this limit.
LIMIT = 1e-4
PASSED = 5  # iterations


def close(ours: np.ndarray, theirs: np.ndarray) -> bool:
    return bool(np.abs(ours - theirs).max() / (np.abs(theirs).max() + 1e-3) < LIMIT)


class Case:
    """A folder of golden data, and a training that is fed its batches."""

    def __init__(self, data: Path, name: str) -> None:
        self.folder = data / "caffe_golden" / "solvers" / name
        self.about = json.loads((self.folder.parent / "index.json").read_text())[name]
        self.golden = np.load(self.folder / "golden.npz", allow_pickle=False)

    def train(self, backend: str, start: int, golden: str, **options: object) -> None:
        """Goes through the iterations from `start` to the fifth; everything that Caffe wrote down is compared."""
        training = load_caffe_solver(self.folder / "solver.prototxt", backend, **options)
        passes = self.about["iter_size"]
        batches = {name: self.golden[f"batch/{name}"] for name in self.about["inputs"]}
        order = iter([*range(start * passes, PASSED * passes), *[0] * passes])  # the last pass of all is not Caffe's
        forward = training.net.forward

        def fed() -> float:
            i = next(order)
            return forward({name: values[i] for name, values in batches.items()})

        training.net.forward = fed
        compare = Compare(self.golden, golden)
        training.solver.lounge.add(compare, every_n_iter=1)
        state = init_solve(training.solver, training.net)
        assert state.iter == start
        for iteration in range(start + 1, PASSED + 1):
            assert close(np.array(state.obj_val), self.golden["loss"][iteration - 1].mean()), iteration
            onestep_solve(training.solver, training.net, state)
            if "lr" in self.golden.files:  # Caffe's is float32
                assert state.learning_rate == pytest.approx(float(self.golden["lr"][iteration - 1]), rel=1e-6)
        wanted = [key.split("/") for key in self.golden.files if key.startswith(f"{golden}/")]
        assert set(compare.seen) == {"/".join(key) for key in wanted if key[1].isdigit() and int(key[1]) >= start}


class Compare(Coffee):
    """The parameters after each update, before the next pass changes running sums."""

    early = True

    def __init__(self, golden: Mapping[str, np.ndarray], kind: str) -> None:
        self.golden, self.kind = golden, kind
        self.seen: list[str] = []

    def enjoy(self, lounge: object, net: Net, state: Progress) -> None:
        for key in [key for key in self.golden if key.startswith(f"{self.kind}/{state.iter}/")]:
            _, _, layer, i = key.split("/")
            assert close(net.params[layer][int(i)].values(), self.golden[key]), key
            self.seen.append(key)


@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize("name", CASES)
def test_as_caffe(data_dir: Path, name: str, backend: str) -> None:
    case = Case(data_dir, name)
    case.train(backend, 0, "weights", weights=case.folder / "init.caffemodel")


@pytest.mark.parametrize("suffix", ["", ".h5"])
@pytest.mark.parametrize("name", RESUMED)
def test_caffes_own_snapshots_are_gone_on_from(data_dir: Path, name: str, suffix: str) -> None:
    case = Case(data_dir, name)
    kind = "resumed_hdf5" if suffix else "resumed_binaryproto"
    case.train("reference", 3, kind, resume=case.folder / f"snap_iter_3.solverstate{suffix}")


def test_every_case_is_here(data_dir: Path) -> None:
    index = json.loads((data_dir / "caffe_golden" / "solvers" / "index.json").read_text())
    assert set(CASES) == set(index)
    assert set(RESUMED) == {name for name, about in index.items() if about["resume"]}
