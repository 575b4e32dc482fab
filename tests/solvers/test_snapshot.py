"""Snapshots: a resumed training has the bits of one that never stopped, and nothing else is resumed."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from fullmocha.backend import CPUBackend, ReferenceBackend
from fullmocha.coffee import Snapshot, TrainingSummary, ValidationPerformance, add_coffee_break
from fullmocha.errors import FormatError, FullMochaError, SolverError
from fullmocha.fully import solve_fully
from fullmocha.layers import (
    BatchNormLayer,
    ConvolutionLayer,
    DropoutLayer,
    InnerProductLayer,
    Layer,
    MemoryDataLayer,
    SoftmaxLossLayer,
)
from fullmocha.net import Net
from fullmocha.neurons import Neurons
from fullmocha.solvers import (
    LRPolicy,
    MomPolicy,
    SolverState,
    init_solve,
    load_snapshot,
    onestep_solve,
    save_snapshot,
    solve,
)

from .nets import CLASSES, SAMPLES, bits, hdf5_data, memory_data, samples, solver, training, trunk, validation

END = 11
POLICIES = {"lr_policy": LRPolicy.Inv(0.05, 0.1, 0.75), "mom_policy": MomPolicy.Linear(0.5, 0.1, 2, 0.9)}
DATA: dict[str, Callable[[Path], Layer]] = {
    "memory": lambda folder: memory_data(),
    "memory, in order": lambda folder: memory_data(shuffle=False),
    "one file": lambda folder: hdf5_data(folder, (13,)),
    "three files": lambda folder: hdf5_data(folder, (5, 1, 7)),
    "three files, in order": lambda folder: hdf5_data(folder, (5, 1, 7), shuffle=False),
    "a batch that is a file": lambda folder: hdf5_data(folder, (4, 8)),
}


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("stop", [0, 1, 5, 8])
def test_resumed_training_has_the_same_bits(tmp_path: Path, data: str, stop: int) -> None:
    """With shuffle, dropout and momentum, over several epochs (4 of 13 samples a batch); the seeds differ."""
    layer = DATA[data](tmp_path)
    unbroken = training(layer, ReferenceBackend(1))
    s = solver(END, **POLICIES)
    add_coffee_break(s, Snapshot(tmp_path), every_n_iter=1)
    wanted = bits(unbroken, solve(s, unbroken))

    resumed = training(layer, ReferenceBackend(999))
    state = solve(solver(END, load_from=tmp_path / f"snapshot-{stop:06d}.h5", **POLICIES), resumed)
    assert bits(resumed, state) == wanted
    assert unbroken.get_epoch() >= 2, "an epoch must end on the way"


@pytest.mark.parametrize("batch", [SAMPLES, 5])  # 5 does not divide the samples: validation begins elsewhere each time
def test_validation_on_the_same_backend_does_not_break_it(batch: int, tmp_path: Path) -> None:
    """Validation is on the same backend, and shuffles too; its breaks are taken again where a run is resumed."""

    def run(folder: str, seed: int, end: int, **load: object) -> tuple[Net, SolverState]:
        backend = ReferenceBackend(seed)
        net, test = training(memory_data(), backend), validation(backend, shuffle=True, batch_size=batch)
        s = solver(end, **POLICIES, **load)
        add_coffee_break(s, Snapshot(tmp_path / folder), every_n_iter=3)
        add_coffee_break(s, ValidationPerformance(test), every_n_iter=2)
        add_coffee_break(s, ValidationPerformance(test), every_n_epoch=1)
        return net, solve(s, net)

    wanted = bits(*run("a", 1, END))
    run("b", 1, 9)  # its last batch ends an epoch, so the break that goes by epochs is taken again as well
    assert bits(*run("b", 77, END, load_from=tmp_path / "b")) == wanted


def test_resumed_on_the_cpu_backend(tmp_path: Path) -> None:
    layer = replace(memory_data(), data=[a.astype(np.float32) for a in samples()])
    unbroken, s = training(layer, CPUBackend(1)), solver(6)
    add_coffee_break(s, Snapshot(tmp_path), every_n_iter=3)
    wanted = bits(unbroken, solve(s, unbroken))
    resumed = training(layer, CPUBackend(2))
    state = solve(solver(6, load_from=tmp_path / "snapshot-000003.h5"), resumed)
    assert bits(resumed, state) == wanted


def test_resumed_dense_training(tmp_path: Path) -> None:
    """`solve_fully` has the same snapshots: tiles of 7 x 9 with a label for each of the 3 x 5 windows of 5 x 5."""
    rng = np.random.default_rng(4)
    tiles = [rng.normal(size=(7, 1, 7, 9)), rng.integers(0, 2, (7, 1, 3, 5)).astype(float)]
    data = MemoryDataLayer(batch_size=2, data=tiles, shuffle=True)
    conv = ConvolutionLayer(name="conv1", bottoms=["data"], tops=["conv1"], kernel=(3, 3), n_filter=3)
    drop = DropoutLayer(name="drop", bottoms=["conv1"])
    ip = InnerProductLayer(name="ip1", bottoms=["conv1"], tops=["ip1"], output_dim=2)
    layers = [data, conv, drop, ip, SoftmaxLossLayer(bottoms=["ip1", "label"])]

    def run(seed: int, **load: object) -> tuple[Net, dict[str, float]]:
        net = Net("dense", ReferenceBackend(seed), layers, patch=5)
        s = solver(9, **POLICIES, **load)
        add_coffee_break(s, TrainingSummary(), every_n_iter=1)
        add_coffee_break(s, Snapshot(tmp_path), every_n_iter=1)
        solve_fully(s, net)
        return net, s.lounge.get_statistics("obj_val")

    unbroken, losses = run(1)
    resumed, again = run(2, load_from=tmp_path / "snapshot-000005.h5")
    assert [again[i] for i in range(5, 10)] == [losses[i] for i in range(5, 10)]
    for a, b in zip(unbroken.parameters, resumed.parameters, strict=True):
        assert np.array_equal(a.values(), b.values()), a.name


def test_folder_means_the_highest_number(tmp_path: Path) -> None:
    net, s = training(memory_data()), solver(12)
    add_coffee_break(s, Snapshot(tmp_path), every_n_iter=1)
    solve(s, net)
    (tmp_path / "snapshot-000012.h5").rename(tmp_path / "snapshot-1000012.h5")
    (tmp_path / "snapshot-000011.h5").touch()  # newer by date
    (tmp_path / ".snapshot-2000000.h5.abc.part").write_bytes(b"half")
    (tmp_path / "snapshot-3000000.h5.bak").write_bytes(b"other")
    state = solve(solver(12, load_from=tmp_path), training(memory_data()))
    assert state.last_snapshot == tmp_path / "snapshot-1000012.h5"


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A snapshot of `training(memory_data())` at iteration 3."""
    s, net = solver(), training(memory_data())
    save_snapshot(net, solve(s, net), tmp_path / "snapshot-000003.h5")
    return tmp_path / "snapshot-000003.h5"


def test_contents(saved: Path) -> None:
    net = training(memory_data())
    state = solve(solver(), net)
    with h5py.File(saved) as file:
        assert set(file) == {"conv1___filter", "conv1___bias", "ip1___weight", "ip1___bias", "solver_state"}
        group = file["solver_state"]
        assert (group["iteration"][()], group["obj_val"][()], group["momentum"][()]) == (3, state.obj_val, 0.9)
        assert group["method"].asstr()[()] == "SGD"
        for name, parameter in zip(("filter", "bias"), net.params["conv1"], strict=True):
            assert np.array_equal(file[f"conv1___{name}"][()], parameter.values())
            assert np.array_equal(group[f"velocity/conv1___{name}"][()], state.memories[parameter][0])


def test_weights_only(saved: Path) -> None:
    """Without a state: a net without the classifier takes what it has, and its random numbers are left alone."""
    source, target = training(memory_data()), validation(ReferenceBackend(50))
    solve(solver(), source)
    draws = target.backend.rng.bit_generator.state
    assert load_snapshot(target, saved) is None
    target.init()
    assert target.backend.rng.bit_generator.state == draws
    for a, b in zip(source.parameters, target.parameters, strict=True):
        assert np.array_equal(a.values(), b.values())


def test_shared_parameter_is_saved_under_both_names(tmp_path: Path) -> None:
    def build(seed: int) -> Net:
        ip = InnerProductLayer(name="a", bottoms=["data"], tops=["a"], output_dim=CLASSES, param_key="k")
        layers = [memory_data(), ip, ip.copy(name="b", tops=["b"]), SoftmaxLossLayer(bottoms=["a", "label"])]
        layers.append(SoftmaxLossLayer(name="other", bottoms=["b", "label"]))
        return Net("shared", ReferenceBackend(seed), layers)

    net = build(1)
    s = solver(4)
    add_coffee_break(s, Snapshot(tmp_path), every_n_iter=2)
    wanted = bits(net, solve(s, net))
    with h5py.File(tmp_path / "snapshot-000002.h5") as file:
        assert {"a___weight", "b___weight"} <= set(file)
    again = build(2)
    state = solve(solver(4, load_from=tmp_path / "snapshot-000002.h5"), again)
    assert bits(again, state) == wanted


# -------------------------------------------------------------------------------------------------------------- refused
def refuse(path: Path, net: Net, kind: type[FullMochaError], said: str) -> None:
    """Resuming raises, says so with the file's name, and leaves the weights alone."""
    net.init()
    before = [p.values() for p in net.parameters]
    with pytest.raises(kind, match=said) as caught:
        solve(solver(load_from=path), net)
    assert str(path) in str(caught.value)
    assert all(np.array_equal(p.values(), b) for p, b in zip(net.parameters, before, strict=True))


def test_another_method(saved: Path) -> None:
    with h5py.File(saved, "r+") as file:
        del file["solver_state/method"]
        file["solver_state/method"] = "Adam"
    refuse(saved, training(memory_data()), SolverError, r"saved by Adam, this training is by SGD.*use Adam\(\)")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda: training(memory_data(), name="conv2"), "has no 'conv1___"),
        (lambda: training(memory_data(), bias=False), "has no 'conv1___bias'"),
        (lambda: training(replace(memory_data(), data=[a[:12] for a in samples()])), "has 12 samples.* order of 13"),
        (lambda: training(replace(memory_data(), data=[a.astype("f4") for a in samples()])), "float64, the net float32"),
    ],
)  # fmt: skip
def test_another_net(saved: Path, change: Callable[[], Net], said: str) -> None:
    refuse(saved, change(), SolverError, f"of another training.*{said}")


def test_other_shapes(saved: Path) -> None:
    ip = InnerProductLayer(name="ip1", bottoms=["data"], tops=["ip1"], output_dim=CLASSES + 1)
    with h5py.File(saved, "r+") as file:
        del file["conv1___filter"], file["conv1___bias"]
    net = Net("other", ReferenceBackend(1), [memory_data(), ip, SoftmaxLossLayer(bottoms=["ip1", "label"])])
    refuse(saved, net, SolverError, r"ip1___weight is \(3, 60\), the net's is \(4, 60\)")


def test_one_data_layer_more(saved: Path, tmp_path: Path) -> None:
    with h5py.File(saved, "r+") as file:
        file.copy("solver_state/data/0", "solver_state/data/1")
    refuse(saved, training(memory_data()), SolverError, "1 of its layers move through data, in the saved place 2 do")


def test_missing_file_in_the_list(tmp_path: Path) -> None:
    layer = hdf5_data(tmp_path, (5, 1, 7))
    net = training(layer)
    state = solve(solver(), net)
    save_snapshot(net, state, tmp_path / "s.h5")
    refuse(tmp_path / "s.h5", training(hdf5_data(tmp_path, (5, 8))), SolverError, "has 2 files")


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_cut_file(saved: Path, share: float) -> None:
    raw = saved.read_bytes()
    saved.write_bytes(raw[: int(share * len(raw))])
    refuse(saved, training(memory_data()), FormatError, "snapshot")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("random", "{"),
        ("random", "[]"),
        ("random", '{"bit_generator": "PCG64"}'),
        ("random", '{"bit_generator": "PCG64", "state": {"state": -1, "inc": 1}, "has_uint32": 0, "uinteger": 0}'),
        ("random", 7),
        ("data/0/at", "soon"),
        ("data/0/at", [1, 2]),
        ("data/x", 3),
        ("iteration", [1, 2]),
        ("velocity/conv1___filter", [1.0, 2.0]),
    ],
)
def test_nonsense_in_the_state(saved: Path, name: str, value: object) -> None:
    with h5py.File(saved, "r+") as file:
        if name in file["solver_state"]:
            del file["solver_state"][name]
        file["solver_state"][name] = value
    refuse(saved, training(memory_data()), FormatError, "solver_state|snapshot")


@pytest.mark.parametrize("name", ["random", "method", "iteration", "data/0/order", "data/0/epoch"])
def test_missing_in_the_state(saved: Path, name: str) -> None:
    with h5py.File(saved, "r+") as file:
        del file["solver_state"][name]
    refuse(saved, training(memory_data()), FormatError, "solver_state|snapshot")


@pytest.mark.parametrize(("name", "value", "said"), [("at", 13, "number 13"), ("at", -1, "number -1")])
def test_places_outside_of_the_data(saved: Path, name: str, value: int, said: str) -> None:
    with h5py.File(saved, "r+") as file:
        file[f"solver_state/data/0/{name}"][...] = value if value > 0 else 0
        if value < 0:
            del file[f"solver_state/data/0/{name}"]
            file[f"solver_state/data/0/{name}"] = value
    refuse(saved, training(memory_data()), SolverError, said)


def test_order_that_is_no_permutation(saved: Path) -> None:
    with h5py.File(saved, "r+") as file:
        file["solver_state/data/0/order"][0] = file["solver_state/data/0/order"][1]
    refuse(saved, training(memory_data()), SolverError, "order of 13")


def test_nan_weights(saved: Path) -> None:
    with h5py.File(saved, "r+") as file:
        file["conv1___filter"][0, 0, 0, 0] = np.nan
    refuse(saved, training(memory_data()), SolverError, "NaN or infinity")


def test_numbers_in_another_file_are_not_followed(saved: Path, tmp_path: Path) -> None:
    with h5py.File(saved, "r+") as file, h5py.File(tmp_path / "other.h5", "w") as other:
        other["w"] = file["ip1___weight"][()]
        del file["ip1___weight"]
        file["ip1___weight"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "w")
    refuse(saved, training(memory_data()), SolverError, "snapshot has no 'ip1___weight'")


def test_unwritable_folder_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    s, net = solver(), training(memory_data())
    add_coffee_break(s, Snapshot(tmp_path / "file"), every_n_iter=1)
    with pytest.raises(FormatError, match="cannot be written"):
        solve(s, net)


def test_failure_while_writing_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    s, net = solver(), training(memory_data())
    state = init_solve(s, net)
    path = tmp_path / "snapshot-000000.h5"
    state.save(net, path)
    raw = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("fullmocha.solvers.snapshot._write_state", full)
    onestep_solve(s, net, state)
    with pytest.raises(FormatError, match="no space left"):
        state.save(net, path)
    assert path.read_bytes() == raw
    assert [f.name for f in tmp_path.iterdir()] == [path.name]


FULL = """
import resource
import numpy as np
import fullmocha as fm
from fullmocha.caffe.state import CaffeState, write_state
from fullmocha.caffe.writing import write_caffemodel_h5

ip = fm.InnerProductLayer(name="ip", bottoms=["x"], tops=["y"], output_dim=999)
net = fm.Net("n", "reference", [fm.InputLayer(tops=["x"], shapes=[(1, 9)]), ip])
net.init()
state = CaffeState(1, "w", 0, [np.ones(9999, np.float32)])
data = fm.MemoryDataLayer(batch_size=50, tops=["x"], data=[np.ones((9999, 9))])

def output():
    net = fm.Net("out", "reference", [data, fm.HDF5OutputLayer(bottoms=["x"], filename="d.h5")])
    net.forward_epoch()
    net.destroy()

writers = [output, lambda: fm.save_network(net, "a.h5"), lambda: write_caffemodel_h5("b.h5", net), lambda: write_state("c.h5", state)]
for size in (0, 999, 40_000, 42_000):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    for write in writers:
        try:
            write()
        except fm.FormatError as error:
            assert "cannot be written, File too large" in str(error), error
        else:
            raise SystemExit("was written")
"""


def test_disk_that_fills_while_hdf5_is_written(tmp_path: Path) -> None:
    """HDF5 itself would end the process; what is not there yet is not half there."""
    pytest.importorskip("resource", reason="file sizes are limited by POSIX only")
    done = subprocess.run([sys.executable, "-c", FULL], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert not list(tmp_path.iterdir())


def test_snapshot_is_replaced_at_once(tmp_path: Path) -> None:
    """Who reads the old one while it is replaced goes on reading the old one."""
    s, net = solver(), training(memory_data())
    state = init_solve(s, net)
    path = tmp_path / "s.h5"
    state.save(net, path)
    raw = path.read_bytes()
    with path.open("rb") as reader:
        onestep_solve(s, net, state)
        state.save(net, path)
        assert reader.read() == raw
    assert path.read_bytes() != raw


def test_interrupted_training_keeps_its_statistics(tmp_path: Path) -> None:
    class Interrupt(TrainingSummary):
        def enjoy(self, lounge: object, net: object, state: object) -> None:
            super().enjoy(lounge, net, state)
            if state.iter == 2:
                raise KeyboardInterrupt

    s = solver(9)
    s.lounge.configure(tmp_path / "statistics.json", every_n_iter=0, file_exists="merge")
    add_coffee_break(s, Interrupt(), every_n_iter=1)
    with pytest.raises(KeyboardInterrupt):
        solve(s, training(memory_data()))
    assert '"2":' in (tmp_path / "statistics.json").read_text()


@pytest.mark.parametrize("backend", [ReferenceBackend, CPUBackend])
def test_resumed_training_has_the_same_running_sums(tmp_path: Path, backend: type[ReferenceBackend]) -> None:
    """A forward pass adds to BatchNorm's sums; the one that is repeated after loading must not add twice."""

    def build(seed: int) -> Net:
        conv, ip = trunk(neuron=Neurons.Identity())
        norm = BatchNormLayer(name="norm", bottoms=["conv1"], tops=["normed"], moving_average_fraction=0.8)
        layers = [memory_data(), conv, norm, ip.copy(bottoms=["normed"]), SoftmaxLossLayer(bottoms=["ip1", "label"])]
        return Net("normed", backend(seed), layers)

    unbroken, s = build(1), solver(9, iter_size=2)
    add_coffee_break(s, Snapshot(tmp_path), every_n_iter=2)
    wanted = bits(unbroken, solve(s, unbroken))
    for stop in (0, 2, 6):
        resumed = build(9)
        state = solve(solver(9, iter_size=2, load_from=tmp_path / f"snapshot-{stop:06d}.h5"), resumed)
        assert bits(resumed, state) == wanted
    assert unbroken.params["norm"][2].values()[0] == pytest.approx(5 * (1 - 0.8**20))  # 1 + 0.8 + ... of 20 passes


def test_snapshot_of_version_0_1_0_has_no_step(tmp_path: Path) -> None:
    net, s = training(memory_data()), solver(2)
    add_coffee_break(s, Snapshot(tmp_path), every_n_iter=2)
    wanted = bits(net, solve(s, net))
    with h5py.File(tmp_path / "snapshot-000002.h5", "a") as file:
        del file["solver_state/current_step"]
    again = training(memory_data(), ReferenceBackend(5))
    state = solve(solver(2, load_from=tmp_path), again)
    assert bits(again, state) == wanted and state.current_step == 0


def test_steps_of_a_multistep_are_resumed(tmp_path: Path) -> None:
    """The second run has other stepvalues: the step goes on from where it was, not from where they would have it."""
    first = LRPolicy.MultiStep(0.1, 0.5, (1, 2, 3))
    s = solver(3, lr_policy=first)
    add_coffee_break(s, Snapshot(tmp_path), every_n_iter=3)
    solve(s, training(memory_data()))
    state = solve(
        solver(5, lr_policy=LRPolicy.MultiStep(0.1, 0.5, (9, 9, 9, 4)), load_from=tmp_path), training(memory_data())
    )
    assert (state.current_step, state.learning_rate) == (4, 0.1 / 16)
