"""Solver files: what each field makes of the training, when it tests and saves, and what is refused."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from fullmocha.backend import ReferenceBackend
from fullmocha.caffe import load_caffe_solver
from fullmocha.caffe.schema import text_message
from fullmocha.caffe.state import CaffeState, read_state, write_state
from fullmocha.caffe.weights import read_weights
from fullmocha.caffe.writing import write_caffemodel
from fullmocha.errors import FormatError, FullMochaError, SolverError, UnsupportedError
from fullmocha.fully import solve_fully
from fullmocha.regularizers import L1Regu, L2Regu
from fullmocha.solvers import LRPolicy, MomPolicy, init_solve, onestep_solve

from .test_state import theirs as schema  # SolverState as Caffe's schema has it

SAMPLES, CLASSES = 11, 3
BASE = 'base_lr: 0.1 lr_policy: "fixed" max_iter: 5 '
NET = """
name: "small"
layer { name: "d" type: "HDF5Data" top: "data" top: "label" include { phase: TRAIN }
        hdf5_data_param { source: "train.txt" batch_size: 4 shuffle: true } }
layer { name: "d" type: "HDF5Data" top: "data" top: "label" include { phase: TEST }
        hdf5_data_param { source: "test.txt" batch_size: 3 } }
layer { name: "c" type: "Convolution" bottom: "data" top: "c" param { lr_mult: 1 decay_mult: 2 } param { lr_mult: 2 }
        convolution_param { num_output: 4 kernel_h: 2 kernel_w: 3 weight_filler { type: "xavier" } } }
layer { name: "r" type: "ReLU" bottom: "c" top: "c" }
layer { name: "drop" type: "Dropout" bottom: "c" top: "c" dropout_param { dropout_ratio: 0.3 } include { not_stage: "still" } }
layer { name: "ip" type: "InnerProduct" bottom: "c" top: "ip" inner_product_param { num_output: 5 transpose: true
        weight_filler { type: "xavier" } } }
layer { name: "twice" type: "InnerProduct" bottom: "ip" top: "t" param { name: "w" } param { lr_mult: 0 } inner_product_param {
        num_output: 5 weight_filler { type: "xavier" } } }
layer { name: "again" type: "InnerProduct" bottom: "t" top: "s" param { name: "w" } param { lr_mult: 3 } inner_product_param {
        num_output: 5 weight_filler { type: "xavier" } } }
layer { name: "out" type: "InnerProduct" bottom: "s" top: "out" inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
layer { name: "acc" type: "Accuracy" bottom: "out" bottom: "label" top: "acc" include { phase: TEST } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "out" bottom: "label" top: "loss" }
"""
METHODS = {
    "SGD": "momentum: 0.9", "Nesterov": "momentum: 0.9", "AdaGrad": "delta: 1e-6", "RMSProp": "rms_decay: 0.9 delta: 1e-3",
    "AdaDelta": "momentum: 0.95 delta: 1e-5", "Adam": "momentum: 0.9 momentum2: 0.99 delta: 1e-4",
}  # fmt: skip


def samples(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, 2, 5, 6)).astype(np.float32), rng.integers(0, CLASSES, count).astype(np.float32)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a net that has data to train and to test on, dropout, and all sorts of parameters."""
    monkeypatch.chdir(tmp_path)
    for name, count, seed in (("train", SAMPLES, 1), ("test", 7, 2)):
        with h5py.File(f"{name}.h5", "w") as file:
            file["data"], file["label"] = samples(count, seed)
        Path(f"{name}.txt").write_text(f"{name}.h5\n")
    Path("net.prototxt").write_text(NET)
    return tmp_path


def load(text: str = "", net: str = 'net: "net.prototxt"', **options: Any) -> Any:
    Path("solver.prototxt").write_text(f"{BASE if 'base_lr' not in text else ''} {text} {net}")
    return load_caffe_solver("solver.prototxt", options.pop("backend", "reference"), **options)


def files(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if "iter" in p.name)


# ----------------------------------------------------------------------------------------------------------- the fields
def test_methods_and_their_numbers(folder: Path) -> None:
    found = {kind: load(f'type: "{kind}" {text}').solver for kind, text in METHODS.items()}
    names = {kind: s.method.name for kind, s in found.items()}
    assert names == {
        "SGD": "SGD", "Nesterov": "Nesterov", "AdaGrad": "Adagrad", "RMSProp": "RMSProp", "AdaDelta": "Adadelta", "Adam": "Adam",
    }  # fmt: skip
    assert all(s.params["convention"] == "caffe" for s in found.values())

    def number(kind: str, *keys: str) -> list[float]:
        return [pytest.approx(found[kind].params[key], rel=1e-6) for key in keys]

    for kind in ("SGD", "Nesterov"):
        assert found[kind].params["mom_policy"](7) == pytest.approx(0.9)
    assert number("AdaGrad", "epsilon", "gamma") == [1e-6, 1.0]
    assert number("RMSProp", "rms_decay", "epsilon") == [0.9, 1e-3]
    assert number("AdaDelta", "rho", "eps") == [0.95, 1e-5]
    assert number("Adam", "beta1", "beta2", "epsilon") == [0.9, 0.99, 1e-4]


def test_defaults_are_caffes(folder: Path) -> None:
    params = load().solver.params
    told = {name: params[name] for name in ("regu_coef", "iter_size", "clip_gradients", "max_iter", "mom_policy")}
    assert told == {
        "regu_coef": 0,
        "iter_size": 1,
        "clip_gradients": np.inf,
        "max_iter": 5,
        "mom_policy": MomPolicy.Fixed(0),
    }


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ('base_lr: 0.5 lr_policy: "step" gamma: 0.25 stepsize: 3 max_iter: 9', LRPolicy.Step(0.5, 0.25, 3)),
        ('base_lr: 0.5 lr_policy: "exp" gamma: 0.25 max_iter: 9', LRPolicy.Exp(0.5, 0.25)),
        ('base_lr: 0.5 lr_policy: "inv" gamma: 0.25 power: 2 max_iter: 9', LRPolicy.Inv(0.5, 0.25, 2)),
        ('base_lr: 0.5 lr_policy: "multistep" gamma: 0.25 stepvalue: [2, 4] max_iter: 9', LRPolicy.MultiStep(0.5, 0.25, (2, 4))),
        ('base_lr: 0.5 lr_policy: "poly" power: 2 max_iter: 9', LRPolicy.Poly(0.5, 2, 9)),
        ('base_lr: 0.5 lr_policy: "sigmoid" gamma: -0.25 stepsize: 3 max_iter: 9', LRPolicy.Sigmoid(0.5, -0.25, 3)),
    ],
)  # fmt: skip
def test_policies(folder: Path, text: str, policy: object) -> None:
    assert load(text).solver.params["lr_policy"] == policy


def test_decay_is_l2_or_l1_for_all_parameters(folder: Path) -> None:
    assert [type(p.regularizer) for p in load("weight_decay: 0.25").net.parameters] == [L2Regu] * 9
    found = load('weight_decay: 0.25 regularization_type: "L1"')
    assert found.solver.params["regu_coef"] == 0.25
    assert [p.regularizer for p in found.net.params["c"]] == [L1Regu(2.0), L1Regu(1.0)]


def test_seed_makes_the_same_start(folder: Path) -> None:
    first, second, third = (
        load(f"random_seed: {seed}", backend=ReferenceBackend(i)) for i, seed in enumerate((3, 3, 4))
    )
    a, b, c = (t.net.params["ip"][0].values() for t in (first, second, third))
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)


def test_greenteas_device_and_what_changes_nothing(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    text = (
        "device: 1 solver_mode: GPU layer_wise_reduce: false test_compute_loss: true debug_info: true solver_type: ADAM"
    )
    assert load(text).solver.method.name == "Adam"
    assert "debug_info is left aside" in caplog.text


# ------------------------------------------------------------------------------------------------------------- the nets
TESTED = "test_iter: 3 test_interval: 2"


@pytest.mark.parametrize(
    ("text", "net", "tests"),
    [
        (TESTED, 'net: "net.prototxt"', 1),
        ("test_iter: [3, 2] test_interval: 2", 'net: "net.prototxt"', 2),
        (TESTED, "net_param { %s }", 1),
        ("", 'train_net: "net.prototxt"', 0),
        (TESTED, 'train_net: "net.prototxt" test_net: "net.prototxt"', 1),
        (TESTED, "train_net_param { %s } test_net_param { %s }", 1),
        ("test_iter: [3, 2] test_interval: 2", 'net: "net.prototxt" test_net: "net.prototxt"', 2),
    ],
)
def test_nets(folder: Path, text: str, net: str, tests: int) -> None:
    training = load(text, net.replace("%s", NET))
    assert [n.layer.name for n in training.net.nodes].count("acc") == 0
    assert len(training.test_nets) == tests
    for test in training.test_nets:
        assert [n.layer.name for n in test.nodes].count("acc") == 1
        assert all(a is b for a, b in zip(test.params["out"], training.net.params["out"], strict=True))


def test_states_choose_layers_by_stage(folder: Path) -> None:
    def dropout(training: Any) -> list[bool]:
        return [any(n.layer.name == "drop" for n in net.nodes) for net in (training.net, *training.test_nets)]

    assert dropout(load(TESTED + ' train_state { stage: "still" }')) == [False, True]
    assert dropout(load(TESTED + ' test_state { stage: "still" level: 1 }')) == [True, False]


def test_net_beside_the_solver_file_is_found_and_said(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    (folder / "nets").mkdir()
    (folder / "net.prototxt").rename(folder / "nets" / "net.prototxt")
    (folder / "nets" / "solver.prototxt").write_text(BASE + 'net: "net.prototxt"')
    training = load_caffe_solver("nets/solver.prototxt", "reference")
    assert "not in the working directory" in caplog.text and "nets/net.prototxt" in caplog.text
    assert training.snapshots.prefix == "nets/solver"  # Caffe's default: the file's own name


@pytest.mark.parametrize(
    ("prefix", "name"), [("a/b", "a/b"), ("made/", "made/solver"), ("there", "there/solver"), ("new", "new")]
)
def test_prefix(folder: Path, prefix: str, name: str) -> None:
    (folder / "there").mkdir()
    assert load(f'snapshot_prefix: "{prefix}"').snapshots.prefix == name


# ------------------------------------------------------------------------------------------------------------ the tests
def test_tests_are_means_over_batches_at_caffes_times(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Before the update of iterations 0, 2 and 4, on 3 batches of 3 from 7 samples, which go on from test to test."""
    caplog.set_level(logging.INFO)
    training = load(TESTED + ' snapshot_after_train: false display: 2 train_state { stage: "still" } max_iter: 5'
                    ' base_lr: 0.1 lr_policy: "fixed"')  # fmt: skip
    x, label = samples(7, 2)
    at, wanted = 0, []
    losses: dict[int, float] = {}
    state = init_solve(training.solver, training.net)

    def test() -> tuple[float, float]:
        nonlocal at
        found = []
        other = load('test_iter: 1 test_interval: 1 train_state { stage: "still" }').test_nets[0]
        for name, params in training.net.params.items():
            for mine, theirs in zip(other.params[name], params, strict=True):
                mine.data = theirs.values()
        for _ in range(3):
            rows = np.arange(at, at + 3) % 7
            at += 3
            loss = other.forward({"data": x[rows], "label": label[rows]})
            found.append((float(other.output_blobs["acc"].data), loss))
        return tuple(np.mean(found, axis=0))

    wanted.append((0, *test()))
    while state.iter < 5:
        losses[state.iter] = state.obj_val
        onestep_solve(training.solver, training.net, state)
        if state.iter % 2 == 0:
            wanted.append((state.iter, *test()))
    statistics = training.solver.lounge.statistics
    for i, accuracy, loss in wanted:
        assert statistics["test 0 acc"][i] == pytest.approx(accuracy, abs=1e-6)
        assert statistics["test 0 loss"][i] == pytest.approx(loss, rel=1e-5)
    assert list(statistics["test 0 acc"]) == [0, 2, 4]
    assert statistics["loss"] == {i: losses[i] for i in (0, 2, 4)}
    assert "Iteration 2, testing net #0" in caplog.text


def test_tests_have_no_gradients(folder: Path) -> None:
    training = load(TESTED)
    assert not training.test_nets[0].diff_blobs and training.net.diff_blobs
    before = training.net.params["c"][0].values()
    training.solve()
    assert not np.array_equal(training.net.params["c"][0].values(), before)  # the trained one is not frozen


def test_first_test_can_be_left_out(folder: Path) -> None:
    training = load(TESTED + " test_initialization: false snapshot_after_train: false")
    training.solve()
    assert list(training.solver.lounge.statistics["test 0 acc"]) == [2, 4]


def test_outputs_of_several_numbers_are_told_one_by_one(folder: Path) -> None:
    """The mean of each; maps of more than a hundred numbers are left out, and so is what another layer reads."""
    more = """
        layer { name: "prob" type: "Softmax" bottom: "out" top: "prob" include { phase: TEST } }
        layer { name: "map" type: "Convolution" bottom: "data" top: "map" include { phase: TEST }
                convolution_param { num_output: 2 kernel_size: 1 } }"""
    Path("net.prototxt").write_text(NET + more)
    training = load("test_iter: 2 test_interval: 9 snapshot_after_train: false")
    state = init_solve(training.solver, training.net)
    assert state.iter == 0
    test = training.test_nets[0]
    found = training.solver.lounge.statistics
    assert set(found) == {"test 0 acc", "test 0 loss", *(f"test 0 prob[{i}]" for i in range(9))}
    x, _ = samples(7, 2)
    probs = []
    for rows in ([0, 1, 2], [3, 4, 5]):
        test.forward({"data": x[rows], "label": np.zeros(3)})
        probs.append(test.output_blobs["prob"].data.ravel().copy())
    assert [found[f"test 0 prob[{i}]"][0] for i in range(9)] == pytest.approx(np.mean(probs, axis=0).tolist(), rel=1e-5)


def test_display_averages_the_last_losses(folder: Path) -> None:
    said: list[str] = []
    from fullmocha.caffe.solver import load_solver

    Path("solver.prototxt").write_text(
        BASE + 'average_loss: 3 display: 4 snapshot_after_train: false net: "net.prototxt"'
    )
    training = load_solver("solver.prototxt", "reference", say=said.append)
    state = init_solve(training.solver, training.net)
    losses = [state.obj_val]
    while state.iter < 4:
        onestep_solve(training.solver, training.net, state)
        losses.append(state.obj_val)
    assert training.solver.lounge.statistics["loss"] == pytest.approx({0: losses[0], 4: np.mean(losses[-3:])})
    assert said[0] == f"Iteration 0, loss = {losses[0]:g}, lr = 0.1"
    assert said[-1].startswith("Iteration 4 (") and said[-1].endswith(f"loss = {np.mean(losses[-3:]):g}, lr = 0.1")


@pytest.mark.parametrize("top", ['top: "side"', ""])
def test_a_weighed_loss_is_told_without_its_weight_too(folder: Path, top: str) -> None:
    """As Caffe does, and the test by the same measure; whether its top has a name or not."""
    from fullmocha.caffe.solver import load_solver

    side = f'layer {{ name: "side" type: "SoftmaxWithLoss" bottom: "out" bottom: "label" {top} loss_weight: 0.25 }}'
    Path("net.prototxt").write_text(NET + side)
    said: list[str] = []
    Path("solver.prototxt").write_text(f'{BASE} {TESTED} display: 1 net: "net.prototxt"')
    training = load_solver("solver.prototxt", "reference", say=said.append)
    state = init_solve(training.solver, training.net)
    loss = state.losses["loss"]
    assert state.losses == pytest.approx({"loss": loss, "side": loss / 4})
    assert said[-2:] == [
        f"    Train net output: loss = {loss:g}",
        f"    Train net output: side = {loss:g} (* 0.25 = {loss / 4:g} loss)",
    ]
    tested = training.solver.lounge.statistics
    assert tested["test 0 side"][0] == pytest.approx(tested["test 0 loss"][0], rel=1e-6)


# -------------------------------------------------------------------------------------------------------- the snapshots
def test_names_and_times_of_snapshots(folder: Path) -> None:
    load('snapshot: 2 snapshot_prefix: "s"').solve()
    assert files(folder) == [f"s_iter_{i}.{kind}" for i in (2, 4, 5) for kind in ("caffemodel", "solverstate")]


def test_no_snapshot_after_training_and_hdf5(folder: Path) -> None:
    load('snapshot: 4 snapshot_prefix: "s" snapshot_after_train: false snapshot_format: HDF5').solve()
    assert files(folder) == ["s_iter_4.caffemodel.h5", "s_iter_4.solverstate.h5"]


def test_snapshot_as_protobuf_and_caffes_schema_read_it(folder: Path) -> None:
    training = load('snapshot_prefix: "s" momentum: 0.5')
    state = training.solve()
    theirs = schema().FromString(Path("s_iter_5.solverstate").read_bytes())
    assert (theirs.iter, theirs.learned_net, theirs.current_step) == (5, "s_iter_5.caffemodel", 0)
    shapes = [list(blob.shape.dim) for blob in theirs.history]
    # c, ip (transposed in the file), twice, again (its weights are twice's), out
    assert shapes == [[4, 2, 2, 3], [4], [64, 5], [5], [5, 5], [5], [5], [3, 5], [3]]
    velocity = training.net.backend.ops.to_host(state.memories_of(training.net.params["ip"][0])[0])
    np.testing.assert_array_equal(np.reshape(theirs.history[2].data, (64, 5)), -velocity.T)
    net = text_message("NetParameter").FromString(Path("s_iter_5.caffemodel").read_bytes())
    blobs = {layer.name: [list(b.shape.dim) for b in layer.blobs] for layer in net.layer}
    assert blobs == {
        "c": shapes[:2], "ip": shapes[2:4], "twice": [[5, 5], [5]], "again": [[5, 5], [5]], "out": shapes[7:],
    }  # fmt: skip
    np.testing.assert_array_equal(read_weights("s_iter_5.caffemodel")["ip"][0], training.net.params["ip"][0].values().T)


def bits(training: Any, state: Any) -> dict[str, bytes]:
    found = {
        "random": repr(training.net.backend.rng.bit_generator.state).encode(),
        "step": str(state.current_step).encode(),
    }
    for p in training.net.parameters:
        found[p.name] = p.values().tobytes()
        for i, array in enumerate(state.memories_of(p)):
            found[f"{p.name} {i}"] = np.asarray(training.net.backend.ops.to_host(array) + 0.0).tobytes()  # -0 is 0
    return found


@pytest.mark.parametrize("hdf5", [False, True])
@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize("kind", METHODS)
def test_resumed_training_has_the_same_bits(folder: Path, kind: str, backend: str, hdf5: bool) -> None:
    """Over two epochs, with shuffle, dropout, running sums, tests, several batches per update; the seeds differ."""
    norm = (
        'layer { name: "n" type: "BatchNorm" bottom: "c" top: "c" batch_norm_param { moving_average_fraction: 0.8 } }'
    )
    Path("net.prototxt").write_text(NET.replace('layer { name: "r"', norm + 'layer { name: "r"'))
    given = (
        f'base_lr: 0.1 lr_policy: "multistep" gamma: 0.5 stepvalue: [2, 2, 4] max_iter: 6 type: "{kind}" {METHODS[kind]} iter_size: 2 '
        f'weight_decay: 0.01 clip_gradients: 0.3 snapshot: 3 snapshot_prefix: "s" {TESTED} {"snapshot_format: HDF5" if hdf5 else ""}'
    )
    whole = load(given + " random_seed: 1", backend=backend)
    wanted = bits(whole, whole.solve())
    again = load(given + " random_seed: 2", backend=backend, resume="s_iter_3.solverstate" + ".h5" * hdf5)
    state = again.solve()
    assert state.iter == 6
    assert bits(again, state) == wanted
    for name, values in again.solver.lounge.statistics.items():
        assert values == {i: whole.solver.lounge.statistics[name][i] for i in values}
        assert set(values) == {4, 6}


@pytest.mark.parametrize("hdf5", [False, True])
@pytest.mark.parametrize("kind", ["RNN", "LSTM"])
def test_resumed_training_goes_on_with_what_recurrent_layers_carry(folder: Path, kind: str, hdf5: bool) -> None:
    x, _ = samples(8, 5)
    with h5py.File("train.h5", "w") as file:
        file["x"], file["cont"], file["y"] = (
            x.reshape(8, 5, -1)[..., :3],
            np.ones((8, 5)),
            x.reshape(8, 5, -1)[..., 3:7],
        )
    Path("net.prototxt").write_text(f'''
        layer {{ name: "d" type: "HDF5Data" top: "x" top: "cont" top: "y" hdf5_data_param {{ source: "train.txt" batch_size: 2 }} }}
        layer {{ name: "r" type: "{kind}" bottom: "x" bottom: "cont" top: "r" recurrent_param {{ num_output: 4
                weight_filler {{ type: "uniform" min: -0.9 max: 0.9 }} }} }}
        layer {{ name: "loss" type: "EuclideanLoss" bottom: "r" bottom: "y" top: "loss" }}''')
    given = f'momentum: 0.9 snapshot: 2 iter_size: 2 snapshot_prefix: "s" {"snapshot_format: HDF5" if hdf5 else ""}'
    whole = load(given)
    wanted = bits(whole, whole.solve())
    again = load(given, resume="s_iter_2.solverstate" + ".h5" * hdf5)
    assert bits(again, again.solve()) == wanted


def test_converted_state_goes_on_at_the_same_place(folder: Path) -> None:
    from fullmocha.cli.convert_states import convert_state

    given = 'momentum: 0.9 snapshot: 2 snapshot_prefix: "s"'
    whole = load(given)
    wanted = bits(whole, whole.solve())
    convert_state("s_iter_2.solverstate", "s_iter_2.solverstate.h5")
    again = load(given, resume="s_iter_2.solverstate.h5", weights="s_iter_2.caffemodel")
    assert bits(again, again.solve()) == wanted


@pytest.mark.parametrize("hdf5", [False, True])
def test_resumed_in_float64(folder: Path, hdf5: bool) -> None:
    given = f'momentum: 0.9 snapshot: 2 snapshot_prefix: "s" {"snapshot_format: HDF5" if hdf5 else ""}'
    whole = load(given, dtype="float64")
    wanted = bits(whole, whole.solve())
    again = load(given, dtype="float64", resume="s_iter_2.solverstate" + ".h5" * hdf5)
    assert bits(again, again.solve()) == wanted
    assert read_state("s_iter_2.solverstate" + ".h5" * hdf5).history[0].dtype == np.float64


def test_resumed_from_elsewhere_and_with_other_weights(folder: Path) -> None:
    training = load('snapshot_prefix: "s"')
    training.solve()
    (folder / "kept").mkdir()
    for name in ("s_iter_5.caffemodel", "s_iter_5.solverstate"):
        (folder / name).rename(folder / "kept" / name)
    again = load(resume="kept/s_iter_5.solverstate")
    assert init_solve(again.solver, again.net).iter == 5
    assert np.array_equal(again.net.params["c"][0].values(), training.net.params["c"][0].values())
    (folder / "kept" / "s_iter_5.caffemodel").rename(folder / "w.caffemodel")
    missing = load(resume="kept/s_iter_5.solverstate")
    with pytest.raises(
        FormatError, match=r"its weights are not there; looked for .*kept/s_iter_5\.caffemodel.*--weights"
    ):
        init_solve(missing.solver, missing.net)
    other = load(resume="kept/s_iter_5.solverstate", weights="w.caffemodel")
    assert init_solve(other.solver, other.net).iter == 5


def test_state_of_caffe_says_that_data_begin_anew(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Caffe's own file has no field of ours: taken away, it is Caffe's."""
    caplog.set_level(logging.INFO)
    load('snapshot_prefix: "s"').solve()
    theirs = schema().FromString(Path("s_iter_5.solverstate").read_bytes())
    theirs.DiscardUnknownFields()
    Path("s_iter_5.solverstate").write_bytes(theirs.SerializeToString())
    again = load(resume="s_iter_5.solverstate")
    assert init_solve(again.solver, again.net).iter == 5
    assert "begin with the first sample" in caplog.text


def test_weights_of_the_file_and_of_the_caller(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    load('snapshot_prefix: "s"').solve()
    theirs = read_weights("s_iter_5.caffemodel")
    for training in (load('weights: "s_iter_5.caffemodel"'), load(weights="s_iter_5.caffemodel")):
        assert np.array_equal(training.net.params["c"][0].values(), theirs["c"][0])
    Path("net.prototxt").write_text(NET.replace('name: "out"', 'name: "new"'))
    load('weights: "s_iter_5.caffemodel"')
    assert "has no weights for new, which keep their initial values" in caplog.text


def test_weights_of_layers_that_only_a_test_has(folder: Path) -> None:
    head = """layer { name: "head" type: "InnerProduct" bottom: "ip" top: "head" include { phase: TEST }
                      inner_product_param { num_output: 2 weight_filler { type: "xavier" } } }"""
    Path("net.prototxt").write_text(NET + head)
    weight = np.arange(10, dtype=np.float32).reshape(2, 5)
    parts = {"c": [np.ones((4, 2, 2, 3), np.float32), np.ones(4, np.float32)], "head": [weight, np.ones(2, np.float32)]}
    write_caffemodel("head.caffemodel", parts)
    training = load(TESTED, weights="head.caffemodel")
    np.testing.assert_array_equal(training.test_nets[0].params["head"][0].values(), weight)


def test_stopping_saves_and_ends(folder: Path) -> None:
    training = load('snapshot_prefix: "s" snapshot_after_train: false')
    training.snapshots.stopping = True
    state = training.solve()
    assert (state.iter, state.stop, state.last_snapshot) == (1, True, "s_iter_1.solverstate")
    assert files(folder) == ["s_iter_1.caffemodel", "s_iter_1.solverstate"]


def test_stopping_gives_up_a_test(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A test may take minutes; what it has so far is no score."""
    caplog.set_level(logging.INFO)
    training = load('test_iter: 1000 test_interval: 1 snapshot_prefix: "s"')
    test, batches = training.test_nets[0], []
    forward = test.forward

    def counted() -> float:
        batches.append(1)
        training.snapshots.stopping = len(batches) == 3
        return forward()

    test.forward = counted
    state = training.solve()
    assert (state.iter, len(batches), files(folder)) == (1, 3, ["s_iter_1.caffemodel", "s_iter_1.solverstate"])
    assert "Test interrupted" in caplog.text and "test 0 acc" not in training.solver.lounge.statistics


def test_folder_that_cannot_be_is_refused_before_the_first_iteration(folder: Path) -> None:
    training = load('snapshot_prefix: "net.prototxt/s"')
    with pytest.raises(FormatError, match="cannot be written"):
        training.solve()
    assert "loss" not in training.solver.lounge.statistics


def test_nan_is_not_saved(folder: Path) -> None:
    training = load('snapshot: 1 snapshot_prefix: "s"')
    state = init_solve(training.solver, training.net)
    onestep_solve(training.solver, training.net, state)
    training.net.params["out"][1].data[0] = np.nan
    state.iter = 2
    with pytest.raises(SolverError, match=r"layer 'out' holds NaN.*s_iter_1\.solverstate"):
        training.snapshots.save(state)
    assert files(folder) == ["s_iter_1.caffemodel", "s_iter_1.solverstate"]


# -------------------------------------------------------------------------------------------------------------- refused
def spoil(edit: Callable[[Any], None]) -> None:
    theirs = schema().FromString(Path("s_iter_5.solverstate").read_bytes())
    edit(theirs)
    Path("s_iter_5.solverstate").write_bytes(theirs.SerializeToString())


def drop_last(state: Any) -> None:
    del state.history[-1]


def reshape(state: Any) -> None:
    del state.history[0].shape.dim[:]
    state.history[0].shape.dim.extend([2, 4, 2, 3])


@pytest.mark.parametrize(
    ("text", "edit", "error", "said"),
    [
        ('type: "Adam"', None, SolverError, "holds 9 arrays of history, but Adam on net 'small' keeps 2 for each of 9"),
        ("", drop_last, SolverError, "holds 8 arrays of history"),
        ("", reshape, SolverError, r"velocity of: layer 'c', blob 0 has shape \(2, 4, 2, 3\).*another net"),
    ],
)
def test_state_of_another_training(folder: Path, text: str, edit: Any, error: type[Exception], said: str) -> None:
    load('snapshot_prefix: "s"').solve()
    if edit:
        spoil(edit)
    training = load(text, resume="s_iter_5.solverstate")
    before = training.net.params["c"][0].values()
    with pytest.raises(error, match=said):
        init_solve(training.solver, training.net)
    assert np.array_equal(training.net.params["c"][0].values(), before)


def test_names_that_no_file_can_have(folder: Path) -> None:
    for name in ("x" * 5000, "a\0b"):
        write_state("bad.solverstate", CaffeState(2, name))
        training = load(resume="bad.solverstate")
        with pytest.raises(
            FormatError, match=r"bad.solverstate: its weights are not there; looked for .*bad\.caffemodel"
        ):
            init_solve(training.solver, training.net)


def test_state_with_other_data(folder: Path) -> None:
    load('snapshot_prefix: "s"').solve()
    with h5py.File("train.h5", "w") as file:
        file["data"], file["label"] = samples(6, 5)
    training = load(resume="s_iter_5.solverstate")
    with pytest.raises(SolverError, match=r"was saved with other data than net 'small' has: .*has 6 samples"):
        init_solve(training.solver, training.net)


@pytest.mark.parametrize(
    "place",
    [b"{}", b"[", b"[[]]", b'[{"random": 1, "layers": []}]', b"\xff", b'[{"random": {}, "layers": [{"at": "x"}]}]'],
)
def test_damaged_place(folder: Path, place: bytes) -> None:
    from fullmocha.caffe.state import PLACE
    from fullmocha.caffe.wire import put_bytes

    load('snapshot_prefix: "s"').solve()
    with open("s_iter_5.solverstate", "ab") as file:
        file.write(put_bytes(PLACE, place))
    training = load(resume="s_iter_5.solverstate")
    with pytest.raises(FullMochaError, match=r"s_iter_5\.solverstate"):
        init_solve(training.solver, training.net)


@pytest.mark.parametrize(
    ("text", "net", "error", "said"),
    [
        ("base_lr: 1 max_iter: 3", None, FormatError, "solver.prototxt: lr_policy is missing"),
        ('lr_policy: "fixed" base_lr: 1', None, FormatError, "max_iter is missing"),
        ('lr_policy: "cosine" base_lr: 1 max_iter: 3', None, UnsupportedError, "lr_policy is 'cosine'; expected one of fixed, step"),
        ('type: "LBFGS"', None, UnsupportedError, "type is 'LBFGS'; expected one of SGD, Nesterov"),
        ('regularization_type: "L3"', None, UnsupportedError, "regularization_type is 'L3'; expected one of L1, L2"),
        ('type: "AdaGrad" momentum: 0.9', None, FormatError, r"momentum is 0\.9, but AdaGrad has none"),
        ("snapshot_diff: true", None, UnsupportedError, "snapshot_diff is not built"),
        ("iter_size: 0", None, SolverError, "solver.prototxt: iter_size must be an integer of at least 1, got 0"),
        ('lr_policy: "step" base_lr: 1 max_iter: 3', None, SolverError, "solver.prototxt: stepsize must be at least 1"),
        ("snapshot: -1", None, FormatError, "snapshot is -1; expected at least 0"),
        ("solver_type: ADAM type: 'Adam'", None, FormatError, "both type and the older solver_type"),
        ("", "", FormatError, "names none to train; expected one of net, net_param"),
        ("", 'net: "net.prototxt" train_net: "net.prototxt"', FormatError, "names train_net, net to train"),
        ("test_iter: 2 test_interval: 2", 'train_net: "net.prototxt"', FormatError, "has 1 test_iter for 0 test nets"),
        ("test_iter: 2", None, FormatError, "has test_iter, but no test_interval"),
        ("test_iter: 0 test_interval: 2", None, FormatError, r"test_iter \[0\]; expected at least 1"),
        (TESTED + " test_state {} test_state {}", None, FormatError, "has 2 test_state for 1 tests"),
        ("", 'net: "nowhere.prototxt"', FormatError, "names nowhere.prototxt, which is neither in .* nor beside the solver file"),
        ("", f'net: "{"x" * 5000}"', FormatError, "names x+, which is neither in"),
        ("stepsizes: 3", None, FormatError, "has no field 'stepsizes'"),
        ("type: 'Adam' momentum: 1", None, SolverError, "solver.prototxt: momentum must be at least 0 and below 1, got 1"),
        ("type: 'AdaDelta' momentum: 0.9 delta: -1", None, SolverError, "solver.prototxt: delta must be a number of at least 0"),
        ("weight_decay: nan", None, SolverError, "solver.prototxt: weight_decay must be a number of at least 0, got nan"),
    ],
)  # fmt: skip
def test_refused(folder: Path, text: str, net: str | None, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        load(text, 'net: "net.prototxt"' if net is None else net)


def test_every_state_reads_back(folder: Path) -> None:
    """Through our own reader, in both forms."""
    for suffix, text in (("", ""), (".h5", "snapshot_format: HDF5")):
        load(f'snapshot_prefix: "s" momentum: 0.9 {text}').solve()
        state = read_state(f"s_iter_5.solverstate{suffix}")
        assert (state.iter, state.learned_net, len(state.history)) == (5, f"s_iter_5.caffemodel{suffix}", 9)


# ----------------------------------------------------------------------------------------------------------- real files
# Solver of Greentea's models -> the folder that it is to be run in (its own by default), and why it is refused
GREENTEA = {
    "dataset_06/net/solver.prototxt": ("dataset_06", "names net/net_train.prototxt, which is neither"),
    "dataset_08/net/solver.prototxt": ("dataset_08", r"layer type '\w+' is not built"),  # Turaga's loss
    "net_old/neuraltissue_solver.prototxt": ("", "backend LEVELDB"),
    **{f"net_{kind}/neuraltissue_solver.prototxt": ("", "") for kind in
       ("sk_2out", "sk_9out", "u_2out", "u_9out", "u_small", "usk_2out", "usk_3out", "usk_9out")},
}  # fmt: skip


@pytest.mark.parametrize("name", GREENTEA)
def test_greenteas_solvers(data_dir: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    path = data_dir / "greentea_nets" / name
    place, refused = GREENTEA[name]
    monkeypatch.chdir(data_dir / "greentea_nets" / place if place else path.parent)
    if refused:
        with pytest.raises(FullMochaError, match=refused):
            load_caffe_solver(path, "reference")
        return
    training = load_caffe_solver(path, "reference")
    assert training.solver.params["max_iter"] >= 10000
    assert any(node.layer.has_loss for node in training.net.nodes)


def test_dense_training_by_a_solver_file(folder: Path) -> None:
    """`solve_fully` takes the same solver and net, on tiles with a label for each window; snapshots and resuming work there too."""
    rng = np.random.default_rng(4)
    with h5py.File("train.h5", "w") as file:
        file["data"] = rng.normal(size=(5, 2, 7, 9)).astype(np.float32)
        file["label"] = rng.integers(0, 3, (5, 1, 3, 4)).astype(np.float32)
    net = """
        layer { name: "d" type: "HDF5Data" top: "data" top: "label" hdf5_data_param { source: "train.txt" batch_size: 2 } }
        layer { name: "ip" type: "Convolution" bottom: "data" top: "ip" convolution_param { num_output: 3 kernel_h: 5 kernel_w: 6
                weight_filler { type: "xavier" } } }
        layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" }"""
    given = 'base_lr: 0.1 lr_policy: "fixed" max_iter: 6 momentum: 0.9 snapshot: 3 snapshot_prefix: "s" random_seed: %d'
    whole = load(given % 1, f"net_param {{ {net} }}")
    wanted = bits(whole, solve_fully(whole.solver, whole.net))
    again = load(given % 2, f"net_param {{ {net} }}", resume="s_iter_3.solverstate")
    assert bits(again, solve_fully(again.solver, again.net)) == wanted
