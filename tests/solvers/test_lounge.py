"""The lounge: when breaks are due, and what happens to the statistics."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest

from fullmocha.backend import ReferenceBackend
from fullmocha.coffee import (
    Coffee,
    CoffeeLounge,
    TrainingSummary,
    ValidationPerformance,
    add_coffee_break,
    setup_coffee_lounge,
)
from fullmocha.errors import FormatError, SolverError
from fullmocha.layers import InnerProductLayer, MemoryDataLayer
from fullmocha.net import Net
from fullmocha.solvers import LRPolicy, MomPolicy, solve

from .nets import memory_data, samples, solver, training, trunk, validation


class Count(Coffee):
    """Notes the iterations at which it was taken."""

    def __init__(self) -> None:
        self.taken: list[int] = []

    def enjoy(self, lounge: CoffeeLounge, net: Net, state: object) -> None:
        self.taken.append(state.iter)
        lounge.update_statistics("count", len(self.taken))


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [line for record in caplog.records for line in record.getMessage().split("\n")]


# ------------------------------------------------------------------------------------------------------------------ times
def test_every_n_iterations() -> None:
    coffee, s = Count(), solver(10)
    add_coffee_break(s, coffee, every_n_iter=4)
    solve(s, training(memory_data()))
    assert coffee.taken == [0, 4, 8]


@pytest.mark.parametrize(("every", "taken"), [(1, [3, 6, 9]), (2, [6]), (3, [9])])
def test_every_n_epochs(every: int, taken: list[int]) -> None:
    """13 samples in batches of 4: batches 3, 6 and 9 (counted from 0) hold the last sample of an epoch."""
    coffee, s = Count(), solver(11)
    add_coffee_break(s, coffee, every_n_epoch=every)
    solve(s, training(memory_data()))
    assert coffee.taken == taken


def test_iterations_win_where_both_are_given() -> None:
    coffee, s = Count(), solver(6)
    add_coffee_break(s, coffee, every_n_iter=5, every_n_epoch=1)
    solve(s, training(memory_data()))
    assert coffee.taken == [0, 5]


def test_several_epochs_in_one_batch() -> None:
    """2 samples in batches of 5: two epochs end with batch 0, three with batch 1."""
    few = MemoryDataLayer(batch_size=5, data=list(samples(2)))
    coffee, s = Count(), solver(1)
    add_coffee_break(s, coffee, every_n_epoch=3)
    solve(s, training(few))
    assert coffee.taken == [1]


def test_break_without_a_time_is_refused() -> None:
    with pytest.raises(SolverError, match="every_n_iter or every_n_epoch of at least 1"):
        add_coffee_break(solver(), Count())


# ------------------------------------------------------------------------------------------------------------- statistics
def run(path: Path, file_exists: str, end: int = 4, every: int = 2) -> CoffeeLounge:
    s = solver(end)
    add_coffee_break(s, Count(), every_n_iter=every)
    setup_coffee_lounge(s, save_into=path, every_n_iter=3, file_exists=file_exists)
    solve(s, training(memory_data()))
    return s.lounge


def test_statistics_are_json(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "statistics.json"
    run(path, "merge")
    assert json.loads(path.read_text()) == {"count": {"0": 1.0, "2": 2.0, "4": 3.0}}
    assert [f.name for f in path.parent.iterdir()] == ["statistics.json"]


def test_merge(tmp_path: Path) -> None:
    """What is new wins, what is only in the file stays."""
    path = tmp_path / "statistics.json"
    path.write_text('{"count": {"0": 70, "1": 71, "9": 79}, "older": {"3": 0.5}}')
    lounge = run(path, "merge")
    both = {0: 1.0, 1: 71.0, 2: 2.0, 4: 3.0, 9: 79.0}
    assert lounge.get_statistics("count") == both
    assert json.loads(path.read_text()) == {"count": {str(i): v for i, v in both.items()}, "older": {"3": 0.5}}


def test_what_was_written_down_before_wins_over_the_file(tmp_path: Path) -> None:
    path, s = tmp_path / "statistics.json", solver(0)
    path.write_text('{"mine": {"0": 1, "1": 2}}')
    setup_coffee_lounge(s, save_into=path)
    s.lounge.update_statistics("mine", 7)
    solve(s, training(memory_data()))
    assert s.lounge.get_statistics("mine") == {0: 7.0, 1: 2.0}


def test_overwrite(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "statistics.json"
    path.write_text("not even JSON")
    run(path, "overwrite")
    assert json.loads(path.read_text()) == {"count": {"0": 1.0, "2": 2.0, "4": 3.0}}
    assert [r.levelno for r in caplog.records] == [logging.WARNING]


def test_panic(tmp_path: Path) -> None:
    path = tmp_path / "statistics.json"
    path.write_text("{}")
    with pytest.raises(SolverError, match=r"statistics\.json: exists"):
        run(path, "panic")
    assert path.read_text() == "{}"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"a": 3}', '{"a": {"x": 1}}', '{"a": {"1": "high"}}', "\x89HDF"])
def test_merging_with_something_else_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "statistics.json"
    path.write_text(text)
    with pytest.raises(FormatError, match=r"statistics\.json: cannot be read as statistics"):
        run(path, "merge")
    assert path.read_text() == text


def test_wrong_choice_is_refused() -> None:
    with pytest.raises(SolverError, match="'merge', 'overwrite' or 'panic'"):
        setup_coffee_lounge(solver(), file_exists="append")


def test_setting_up_keeps_the_breaks() -> None:
    coffee, s = Count(), solver(1)
    add_coffee_break(s, coffee, every_n_iter=1)
    setup_coffee_lounge(s, every_n_iter=10)
    solve(s, training(memory_data()))
    assert coffee.taken == [0, 1]


def test_file_is_written_every_n_iterations(tmp_path: Path) -> None:
    path, seen = tmp_path / "statistics.json", []

    class Look(Coffee):
        def enjoy(self, lounge: CoffeeLounge, net: Net, state: object) -> None:
            seen.append(path.exists() and max(map(int, json.loads(path.read_text())["count"])))

    s = solver(5)
    add_coffee_break(s, Count(), every_n_iter=1)
    add_coffee_break(s, Look(), every_n_iter=1)
    setup_coffee_lounge(s, save_into=path, every_n_iter=2)
    solve(s, training(memory_data()))
    assert seen == [False, 0, 0, 2, 2, 4]
    assert max(map(int, json.loads(path.read_text())["count"])) == 5


# ---------------------------------------------------------------------------------------------------------------- coffees
def test_training_summary(caplog: pytest.LogCaptureFixture) -> None:
    s = solver(2)
    add_coffee_break(s, TrainingSummary(), every_n_iter=2)
    state = solve(s, training(memory_data()))
    first = s.lounge.get_statistics("obj_val")[0]
    assert lines(caplog) == [
        f" TRAIN iter=000000 obj_val={first:.8f}",
        f" TRAIN iter=000002 obj_val={state.obj_val:.8f}",
    ]
    assert set(s.lounge.statistics) == {"obj_val"}


def test_training_summary_of_everything(caplog: pytest.LogCaptureFixture) -> None:
    s = solver(1, lr_policy=LRPolicy.Exp(2e-5, 0.5), mom_policy=MomPolicy.Linear(0.5, 0.25, 1, 0.9))
    add_coffee_break(s, TrainingSummary("iter", "loss", "learning_rate", "momentum"), every_n_iter=1)
    state = solve(s, training(memory_data()))
    assert lines(caplog)[-1] == (
        f" TRAIN iter=000001 loss={state.obj_val:.8f} learning_rate=1.00000000e-05 momentum=0.75000000"
    )
    assert s.lounge.get_statistics("momentum") == {0: 0.5, 1: 0.75}
    assert s.lounge.get_statistics("loss")[1] == state.obj_val


def test_training_summary_of_an_unknown_name() -> None:
    s = solver(1)
    add_coffee_break(s, TrainingSummary("iter", "kl-loss"), every_n_iter=1)
    with pytest.raises(SolverError, match=r"'kl-loss' is neither .* those are \['loss'\]"):
        solve(s, training(memory_data()))


def test_validation_performance(caplog: pytest.LogCaptureFixture) -> None:
    backend, heard = ReferenceBackend(3), []
    net, test = training(memory_data(), backend), validation(backend)
    coffee, s = ValidationPerformance(test), solver(4)
    coffee.register(lambda lounge, net, state: heard.append((net.name, state.iter)))
    add_coffee_break(s, coffee, every_n_iter=4)
    solve(s, net)
    # the accuracy by hand, from the weights as they are now
    x, label = samples()
    test.forward({"data": x, "label": label})
    accuracy = (test.output_blobs["ip1"].data.argmax(1) == label[:, 0]).mean()
    assert s.lounge.get_statistics("acc-accuracy")[4] == pytest.approx(accuracy, abs=1e-15)
    shown = lines(caplog)
    assert "## Performance on Validation Set after 0 iterations" in shown
    at = shown.index("## Performance on Validation Set after 4 iterations")
    assert shown[at + 2] == f"  Accuracy (avg over 13) = {100 * accuracy:.4f}%"
    assert heard == [("train", 0), ("train", 4)]


def test_validation_initialises_what_only_it_has() -> None:
    backend = ReferenceBackend(3)
    own = InnerProductLayer(name="own", bottoms=["ip1"], tops=["own"], output_dim=2)
    test = Net("test", backend, [memory_data(name="test-data"), *trunk(), own])
    s = solver(0)
    add_coffee_break(s, ValidationPerformance(test), every_n_iter=1)
    solve(s, training(memory_data(), backend))
    assert np.abs(test.params["own"][0].values()).max() > 0


def test_validation_starts_its_averages_anew() -> None:
    backend = ReferenceBackend(3)
    net, test = training(memory_data(), backend), validation(backend)
    s = solver(3)
    add_coffee_break(s, ValidationPerformance(test), every_n_iter=1)
    solve(s, net)
    assert test.node("acc").state.counted == 13


def test_validation_with_the_net_in_training_is_refused() -> None:
    net = training(memory_data())
    s = solver(1)
    add_coffee_break(s, ValidationPerformance(net), every_n_iter=1)
    with pytest.raises(SolverError, match="takes its data from the one in training"):
        solve(s, net)


def test_validation_on_another_backend_is_refused() -> None:
    s = solver(1)
    add_coffee_break(s, ValidationPerformance(validation(ReferenceBackend(1))), every_n_iter=1)
    with pytest.raises(SolverError, match=r"shares no parameter.*on one backend object"):
        solve(s, training(memory_data()))


def test_plain_script_shows_the_lines(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any logging set up they go to standard output; with it, only there."""
    s = solver(0)
    add_coffee_break(s, TrainingSummary("iter"), every_n_iter=1)
    solve(s, training(memory_data()))
    assert capsys.readouterr().out == "", "pytest has set up logging"
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    solve(s, training(memory_data()))
    assert capsys.readouterr().out == " TRAIN iter=000000\n"
