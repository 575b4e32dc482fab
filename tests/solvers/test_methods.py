"""Every method through the loop, step by step, against its equations in numpy; and what the loop does to gradients before."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fullmocha.backend import CPUBackend, ReferenceBackend
from fullmocha.coffee import Coffee, Snapshot, add_coffee_break
from fullmocha.errors import SolverError
from fullmocha.net import Net
from fullmocha.regularizers import NoRegu
from fullmocha.solvers import (
    METHODS,
    SGD,
    Adadelta,
    Adagrad,
    Adam,
    LRPolicy,
    Method,
    MomPolicy,
    Nesterov,
    RMSProp,
    Solver,
    SolverState,
    init_solve,
    make_solver_parameters,
    onestep_solve,
    solve,
)

from .nets import bits, memory_data, samples, training
from .test_sgd import gradients, linear

# A handful of float64 operations on values of order 1, in another order than the net's. AdaDelta and the like divide by roots of small
# numbers, which multiplies the errors by some hundreds.
CLOSE = {"rtol": 1e-11, "atol": 1e-12}
RATE = LRPolicy.Exp(0.1, 0.7)
Step = Callable[[np.ndarray, int, float], np.ndarray]


def nesterov(momentums: list[float]) -> Step:
    """momentums: before, and of updates 1, 2, ..."""
    v: Any = 0.0

    def step(g: np.ndarray, t: int, rate: float) -> np.ndarray:
        nonlocal v
        new = momentums[t - 1] * v - rate * g
        moved = -momentums[t - 1] * v + (1 + momentums[t]) * new
        v = new
        return moved

    return step


def adagrad(g2: Any = 0.0) -> Step:
    def step(g: np.ndarray, t: int, rate: float) -> np.ndarray:
        nonlocal g2
        g2 = g2 + g * g
        return -0.5 * rate * g / (np.sqrt(g2) + 1e-8)

    return step


def rmsprop(h: Any = 0.0) -> Step:
    def step(g: np.ndarray, t: int, rate: float) -> np.ndarray:
        nonlocal h
        h = 0.9 * h + 0.1 * g * g
        return -rate * g / (np.sqrt(h) + 1e-8)

    return step


def adadelta(h: Any = 0.0, d: Any = 0.0) -> Step:
    def step(g: np.ndarray, t: int, rate: float) -> np.ndarray:
        nonlocal h, d
        h = 0.95 * h + 0.05 * g * g
        u = g * np.sqrt((d + 1e-6) / (h + 1e-6))
        d = 0.95 * d + 0.05 * u * u
        return -rate * u

    return step


def adam(m: Any = 0.0, s: Any = 0.0) -> Step:
    def step(g: np.ndarray, t: int, rate: float) -> np.ndarray:
        nonlocal m, s
        m, s = 0.9 * m + 0.1 * g, 0.999 * s + 0.001 * g * g
        return -rate * (m / (1 - 0.9**t)) / (np.sqrt(s / (1 - 0.999**t)) + 1e-8 / math.sqrt(1 - 0.999**t))

    return step


MOMENTUM = MomPolicy.Staged((2, MomPolicy.Fixed(0.5)), (1, MomPolicy.Fixed(0.8)))
# method, what it is given, its equations, whether Mocha has local rates for it
TABLE: list[tuple[Method, dict[str, Any], Callable[[str], Step], bool]] = [
    (Nesterov(), {"mom_policy": MOMENTUM},
     lambda convention: nesterov([0.5, 0.5, 0.8, 0.8, 0.8]) if convention == "mocha" else nesterov_of_caffe(), True),
    (Adagrad(), {"gamma": 0.5}, lambda _: adagrad(), False),
    (RMSProp(), {"rms_decay": 0.9}, lambda _: rmsprop(), False),
    (Adadelta(), {}, lambda _: adadelta(), False),
    (Adam(), {}, lambda _: adam(), False),
]  # fmt: skip


def nesterov_of_caffe() -> Step:
    """Both momentums are of the same update: 0.5, 0.5, 0.8, 0.8."""
    v: Any = 0.0

    def step(g: np.ndarray, t: int, rate: float) -> np.ndarray:
        nonlocal v
        mu = (0.5, 0.5, 0.8, 0.8)[t - 1]
        new = mu * v - rate * g
        moved = (1 + mu) * new - mu * v
        v = new
        return moved

    return step


def by(method: Method, **params: Any) -> Solver:
    return Solver(method, make_solver_parameters(method, **params))


@pytest.mark.parametrize("convention", ["mocha", "caffe"])
@pytest.mark.parametrize("backend", [ReferenceBackend, CPUBackend])
@pytest.mark.parametrize(("method", "given", "make", "local"), TABLE, ids=[row[0].name for row in TABLE])
def test_four_updates(
    method: Method, given: dict[str, Any], make: Callable[[str], Step], local: bool, convention: str, backend: Any
) -> None:
    net = linear(NoRegu(), backend(5))
    net.init()
    w, b = (p.values() for p in net.params["ip"])
    b = b.reshape(-1)
    steps = make(convention), make(convention)
    x, label = (a.reshape(len(a), -1) for a in samples())
    s = by(method, lr_policy=RATE, convention=convention, regu_coef=0.0, **given)
    state = init_solve(s, net)
    twice = 2 if local or convention == "caffe" else 1  # a bias learns at twice the rate where rates are local
    for t in (1, 2, 3, 4):
        at = np.arange(5 * (t - 1), 5 * t) % len(x)
        gw, gb, _ = gradients(w, b, x[at], label[at])
        rate = RATE(t if convention == "mocha" else t - 1)
        w, b = w + steps[0](gw, t, rate), b + steps[1](gb, t, twice * rate)
        onestep_solve(s, net, state)
        np.testing.assert_allclose(net.params["ip"][0].values(), w, **CLOSE)
        np.testing.assert_allclose(net.params["ip"][1].values().reshape(-1), b, **CLOSE)


def test_mochas_defaults() -> None:
    """From Mocha's source, by name."""
    of = {type(m).__name__: make_solver_parameters(m) for m in (Adam(), Adadelta(), Adagrad())}
    adam_ = of["Adam"]
    assert (adam_["beta1"], adam_["beta2"], adam_["epsilon"]) == (0.9, 0.999, 1e-8)
    assert adam_["lr_policy"] == LRPolicy.Inv(0.003, 0.0001, 0.5)
    assert (of["Adadelta"]["rho"], of["Adadelta"]["eps"]) == (0.95, 1e-6)
    assert (of["Adagrad"]["gamma"], of["Adagrad"]["epsilon"]) == (1.0, 1e-8)


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_resumed_by_our_snapshot(tmp_path: Path, method: type[Method]) -> None:
    """Same bits, with dropout and two batches per update."""
    given = {"max_iter": 7, "iter_size": 2, "clip_gradients": 0.5}
    unbroken, s = training(memory_data(), ReferenceBackend(1)), by(method(), **given)
    add_coffee_break(s, Snapshot(tmp_path), every_n_iter=3)
    wanted = bits(unbroken, solve(s, unbroken))
    resumed = training(memory_data(), ReferenceBackend(9))
    state = solve(by(method(), **given, load_from=tmp_path / "snapshot-000003.h5"), resumed)
    assert bits(resumed, state) == wanted


# ------------------------------------------------------------------------------------------------- gradients of an update
def test_two_batches_are_one_of_twice_the_size() -> None:
    """Losses are means, so the mean of two batches' gradients is that of both together."""
    nets = []
    for batch, count in ((6, 1), (3, 2), (2, 3)):
        net = training(memory_data(batch_size=batch, shuffle=False), ReferenceBackend(3), dropout=False)
        s = by(SGD(), max_iter=5, iter_size=count, mom_policy=MomPolicy.Fixed(0.9), lr_policy=LRPolicy.Fixed(0.1))
        state = solve(s, net)
        nets.append((net, state))
    for net, state in nets[1:]:
        assert state.obj_val == pytest.approx(nets[0][1].obj_val, rel=1e-12)
        for a, b in zip(net.parameters, nets[0][0].parameters, strict=True):
            np.testing.assert_allclose(a.values(), b.values(), rtol=1e-11, atol=1e-13)


def first_step(net: Net, **params: Any) -> tuple[list[np.ndarray], SolverState]:
    """How far each parameter goes in one update at rate 1, whatever its local rate."""
    net.init()
    before = [p.values() for p in net.parameters]
    state = solve(by(SGD(), max_iter=1, lr_policy=LRPolicy.Fixed(1.0), **params), net)
    return [(a.values() - b) / (a.local_rate or 1) for a, b in zip(net.parameters, before, strict=True)], state


@pytest.mark.parametrize("limit", [0.02, 1e9])
@pytest.mark.parametrize("count", [1, 2])
def test_gradients_are_clipped_together_before_they_are_averaged(limit: float, count: int) -> None:
    def net() -> Net:
        return training(memory_data(batch_size=4, shuffle=False), ReferenceBackend(3), dropout=False)

    plain, _ = first_step(net(), regu_coef=0.0, iter_size=count)
    clipped, _ = first_step(net(), regu_coef=0.0, iter_size=count, clip_gradients=limit)
    norm = count * math.sqrt(sum((a**2).sum() for a in plain))  # of the sum of the batches' gradients
    assert norm > 0.02 * 3, "else nothing is clipped"
    scale = min(1.0, limit / norm)
    for a, b in zip(clipped, plain, strict=True):
        np.testing.assert_allclose(a, scale * b, rtol=1e-10, atol=1e-15)


def test_regularizers_are_not_clipped() -> None:
    """With gradients clipped to next to nothing, only the decay is left: Mocha's 2 coef w."""
    net = training(memory_data(shuffle=False), ReferenceBackend(3), dropout=False)
    net.init()
    w = net.params["conv1"][0].values()
    moved, _ = first_step(net, regu_coef=0.25, clip_gradients=1e-12)
    np.testing.assert_allclose(moved[0], -2 * 0.25 * w, rtol=1e-9, atol=1e-11)


def test_what_is_not_trained_does_not_count_in_the_norm() -> None:
    nets = [
        training(memory_data(shuffle=False), ReferenceBackend(3), dropout=False, filter_lr=rate) for rate in (1.0, 0.0)
    ]
    limit = 0.02
    for net, counted in zip(nets, (True, False), strict=True):
        moved, _ = first_step(net, regu_coef=0.0, clip_gradients=limit)
        squares = [(m**2).sum() for m in moved]
        assert (squares[0] > 0) == counted
        assert math.sqrt(sum(squares)) == pytest.approx(limit, rel=1e-9)


@pytest.mark.parametrize(
    ("method", "params", "said"),
    [
        (SGD(), {"clip_gradients": 0.0}, "clip_gradients must be a norm above 0"),
        (SGD(), {"iter_size": 0}, "iter_size must be an integer of at least 1"),
        (SGD(), {"iter_size": 1.5}, "iter_size must be an integer"),
        (Adam(), {"beta1": 1.0}, "beta1 must be at least 0 and below 1"),
        (Adadelta(), {"rho": -0.1}, "rho must be at least 0"),
        (RMSProp(), {"epsilon": math.inf}, "epsilon must be a number"),
    ],
)
def test_refused(method: Method, params: dict[str, Any], said: str) -> None:
    with pytest.raises(SolverError, match=said):
        make_solver_parameters(method, **params)


# -------------------------------------------------------------------------------------------- steps, and early coffees
def test_multistep_goes_on_from_its_own_step() -> None:
    """One step per iteration, from wherever the state is: not from where the iteration alone would have it."""
    policy = LRPolicy.MultiStep(1.0, 0.5, (1, 1, 2))
    net, s = training(memory_data()), by(SGD(), lr_policy=policy, convention="caffe")
    state = init_solve(s, net)
    state.iter, state.current_step = 7, 1
    assert state.coming_rate() == 0.25
    rates = []
    for _ in range(3):
        onestep_solve(s, net, state)
        rates.append((state.learning_rate, state.current_step))
    assert rates == [(0.25, 2), (0.125, 3), (0.125, 3)]


class Early(Coffee):
    early = True

    def __init__(self, stop_at: int) -> None:
        self.seen: list[tuple[int, float]] = []
        self.stop_at = stop_at

    def init(self, net: Net) -> None:
        raise AssertionError("an early coffee comes before the lounge opens")

    def enjoy(self, lounge: Any, net: Net, state: Any) -> None:
        self.seen.append((state.iter, state.obj_val))
        state.stop = state.iter >= self.stop_at


def test_early_coffees_come_before_the_next_batch() -> None:
    """Each sees the loss of the batch before, at every second iteration; the last one stops the training there."""
    losses: dict[int, float] = {}

    class Late(Coffee):
        def enjoy(self, lounge: Any, net: Net, state: Any) -> None:
            losses[state.iter] = state.obj_val

    net, s, early = training(memory_data()), by(SGD(), max_iter=20), Early(stop_at=4)
    passes, forward = [], net.forward

    def counted() -> float:
        passes.append(1)
        return forward()

    net.forward = counted
    add_coffee_break(s, early, every_n_iter=2)
    add_coffee_break(s, Late(), every_n_iter=1)
    state = solve(s, net)
    assert early.seen == [(0, 0.0), (2, losses[1]), (4, losses[3])]
    assert (state.iter, list(losses), len(passes)) == (4, [0, 1, 2, 3], 4)


def test_early_coffees_go_by_iterations() -> None:
    with pytest.raises(SolverError, match="goes by every_n_iter only"):
        add_coffee_break(by(SGD()), Early(0), every_n_epoch=1)
