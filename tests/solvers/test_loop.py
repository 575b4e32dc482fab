"""The loop: the order of things, driving it by hand, and what it refuses."""

import math
from pathlib import Path

import numpy as np
import pytest

from fullmocha.backend import ReferenceBackend
from fullmocha.coffee import Coffee, Snapshot, add_coffee_break
from fullmocha.errors import SolverError, TopologyError
from fullmocha.net import Net
from fullmocha.solvers import (
    METHODS,
    SGD,
    LRPolicy,
    Method,
    MomPolicy,
    Solver,
    finalize_solve,
    init_solve,
    make_solver_parameters,
    onestep_solve,
    solve,
)

from .nets import bits, memory_data, solver, training, trunk


class Diary(Coffee):
    """Writes down what happens, in order."""

    def __init__(self, net: Net) -> None:
        self.lines: list[str] = []
        for name in ("forward", "backward", "check_bp_topology"):
            self._tell(net, name)

    def _tell(self, net: Net, name: str) -> None:
        original = getattr(net, name)

        def told(*args: object) -> object:
            self.lines.append(name)
            return original(*args)

        setattr(net, name, told)

    def init(self, net: Net) -> None:
        self.lines.append("coffee init")

    def enjoy(self, lounge: object, net: Net, state: object) -> None:
        self.lines.append(f"coffee {state.iter}")

    def destroy(self, net: Net) -> None:
        self.lines.append("coffee destroy")


def test_order_of_things() -> None:
    net, s = training(memory_data()), solver(max_iter=2)
    diary = Diary(net)
    add_coffee_break(s, diary, every_n_iter=1)
    solve(s, net)
    assert diary.lines == [
        "check_bp_topology", "forward", "coffee init", "coffee 0",
        "backward", "forward", "coffee 1",
        "backward", "forward", "coffee 2",
        "coffee destroy",
    ]  # fmt: skip


def test_by_hand_is_the_same_to_the_bit() -> None:
    whole, pieces = training(memory_data()), training(memory_data())
    first = solve(solver(max_iter=7), whole)
    s = solver()
    second = init_solve(s, pieces)
    while second.iter < 7:
        onestep_solve(s, pieces, second)
    finalize_solve(s, pieces, second)
    assert bits(whole, first) == bits(pieces, second)


def test_max_iter_updates_and_one_batch_more() -> None:
    """The objective after n updates is that of batch n + 1: 4 batches of 4 from 13 samples end in the second epoch."""
    net = training(memory_data(batch_size=4))
    state = solve(solver(max_iter=3), net)
    assert state.iter == 3
    assert net.get_epoch() == 1
    assert state.losses == {"loss": state.obj_val}


def test_loss_falls() -> None:
    net = training(memory_data(batch_size=13, shuffle=False), dropout=False)
    s = solver(max_iter=60, lr_policy=LRPolicy.Fixed(0.05))
    assert solve(s, net).obj_val < 0.2 * math.log(3)


def test_regularizer_is_not_in_the_objective() -> None:
    values = [solve(solver(max_iter=0, regu_coef=c), training(memory_data())).obj_val for c in (0.0, 9.0)]
    assert values[0] == values[1]


def test_versions_grow_with_every_update() -> None:
    net, s = training(memory_data()), solver()
    state = init_solve(s, net)
    before = [p.version for p in net.parameters]
    onestep_solve(s, net, state)
    assert all(p.version > v for p, v in zip(net.parameters, before, strict=True))


def test_net_without_a_loss_is_refused() -> None:
    net = Net("no loss", ReferenceBackend(1), [memory_data(), *trunk()])
    with pytest.raises(TopologyError, match="no loss depends"):
        solve(solver(), net)


# ----------------------------------------------------------------------------------------------------------- divergence
def test_divergence_names_iteration_rate_and_snapshot(tmp_path: Path) -> None:
    net = training(memory_data(), dropout=False)
    growing = LRPolicy.Staged((3, LRPolicy.Fixed(0.01)), (9, LRPolicy.Fixed(1e200)))
    s = solver(max_iter=50, lr_policy=growing, regu_coef=1.0)
    add_coffee_break(s, Snapshot(tmp_path), every_n_iter=1)
    with np.errstate(all="ignore"), pytest.raises(SolverError) as caught:
        solve(s, net)
    last = max(tmp_path.glob("*.h5"))
    text = str(caught.value)
    assert "1e+200" in text and "lr_policy" in text and str(last) in text
    # what was saved can be gone on from
    again = training(memory_data(), dropout=False)
    state = solve(solver(max_iter=4, load_from=tmp_path / "snapshot-000002.h5"), again)
    assert math.isfinite(state.obj_val)


def test_nan_in_the_data_is_found_before_the_first_update() -> None:
    data = memory_data(shuffle=False)
    data.data[0][0, 1, 2, 3] = np.nan
    net = training(data)
    net.init()
    before = [p.values() for p in net.parameters]
    with pytest.raises(SolverError, match=r"nan at iteration 0.*no snapshot"):
        solve(solver(), net)
    assert all(np.array_equal(p.values(), b) for p, b in zip(net.parameters, before, strict=True))


def test_snapshot_of_nan_weights_is_refused(tmp_path: Path) -> None:
    net, s = training(memory_data()), solver()
    state = init_solve(s, net)
    state.save(net, tmp_path / "good.h5")
    net.params["ip1"][0].data[0, 0] = np.nan
    with pytest.raises(SolverError, match=r"ip1___weight holds NaN.*good\.h5"):
        state.save(net, tmp_path / "bad.h5")
    assert [f.name for f in tmp_path.iterdir()] == ["good.h5"]


# ----------------------------------------------------------------------------------------------------------- parameters
@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_defaults(method: type[Method]) -> None:
    params = make_solver_parameters(method())
    common = {name: params[name] for name in ("max_iter", "regu_coef", "load_from", "convention")}
    assert common == {"max_iter": math.inf, "regu_coef": 0.0005, "load_from": "", "convention": "mocha"}
    assert isinstance(params, dict)


def test_sgd_defaults() -> None:
    params = make_solver_parameters(SGD())
    assert (params["lr_policy"], params["mom_policy"]) == (LRPolicy.Fixed(0.01), MomPolicy.Fixed(0.0))


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_every_method_finds_the_bottom_of_a_bowl(method: type[Method]) -> None:
    """A method that is registered must train: the loss of a linear net falls far below where it began."""
    net = training(memory_data(batch_size=13, shuffle=False), dropout=False)
    s = Solver(method(), make_solver_parameters(method(), max_iter=150, regu_coef=0.0))
    start = init_solve(s, training(memory_data(batch_size=13, shuffle=False), dropout=False)).obj_val
    assert solve(s, net).obj_val < 0.7 * start


def test_unknown_parameter_warns_with_the_nearest_name() -> None:
    with pytest.warns(UserWarning, match=r"no parameter 'momentum_policy'.*did you mean 'mom_policy'"):
        params = make_solver_parameters(SGD(), momentum_policy=MomPolicy.Fixed(0.9))
    assert params["mom_policy"] == MomPolicy.Fixed(0.0)


def test_missing_load_from_warns_and_training_starts_afresh(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="is not there: training starts from the beginning"):
        s = solver(max_iter=1, load_from=tmp_path / "nothing")
    assert solve(s, training(memory_data())).iter == 1


def test_empty_folder_to_load_from_is_fine(tmp_path: Path) -> None:
    assert solve(solver(max_iter=2, load_from=tmp_path), training(memory_data())).iter == 2


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"lr_policy": 0.01}, "lr_policy must be a policy"),
        ({"max_iter": -1}, "max_iter must be at least 0"),
        ({"max_iter": math.nan}, "max_iter must be at least 0"),
        ({"regu_coef": -0.1}, "regu_coef must be"),
        ({"convention": "torch"}, "convention must be one of"),
    ],
)
def test_wrong_parameters_are_refused(params: dict, said: str) -> None:
    with pytest.raises(SolverError, match=said):
        make_solver_parameters(SGD(), **params)


def test_plain_dict_will_do() -> None:
    s = Solver(SGD(), {"max_iter": 1})
    assert (s.params["regu_coef"], s.params["max_iter"]) == (0.0005, 1)
