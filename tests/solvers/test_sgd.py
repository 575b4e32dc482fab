"""SGD step by step, against the equations written down in numpy."""

from dataclasses import replace

import numpy as np
import pytest

from fullmocha.backend import ReferenceBackend
from fullmocha.constraints import L2Cons
from fullmocha.layers import InnerProductLayer, MemoryDataLayer, SoftmaxLossLayer
from fullmocha.net import Net
from fullmocha.regularizers import L1Regu, L2Regu, NoRegu, Regularizer
from fullmocha.solvers import LRPolicy, MomPolicy, init_solve, onestep_solve, solve

from .nets import CLASSES, memory_data, samples, solver, training

# A handful of float64 operations on values of order 1, in another order than the net's: some hundred eps at most.
CLOSE = {"rtol": 1e-13, "atol": 1e-14}
RATE, MOMENTUM, REGU = LRPolicy.Exp(0.3, 0.7), MomPolicy.Linear(0.5, 0.1, 2, 0.9), 0.04


def gradients(w: np.ndarray, b: np.ndarray, x: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Of the mean cross entropy of softmax(x w' + b), and that."""
    scores = x @ w.T + b
    p = np.exp(scores - scores.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    rows, classes = np.arange(len(x)), label[:, 0].astype(int)
    loss = -np.log(p[rows, classes]).mean()
    p[rows, classes] -= 1
    return p.T @ x / len(x), p.sum(0) / len(x), loss


def linear(regu: Regularizer, backend: ReferenceBackend | None = None) -> Net:
    data = memory_data(batch_size=5, shuffle=False)
    ip = InnerProductLayer(name="ip", bottoms=["data"], tops=["ip"], output_dim=CLASSES, weight_regu=regu)
    loss = SoftmaxLossLayer(name="loss", bottoms=["ip", "label"])
    return Net("linear", backend or ReferenceBackend(5), [data, ip, loss])


@pytest.mark.parametrize("convention", ["mocha", "caffe"])
@pytest.mark.parametrize("regu", [L2Regu(1.5), L2Regu(1.5, convention="caffe"), L1Regu(0.7), NoRegu()], ids=repr)
def test_four_updates(convention: str, regu: Regularizer) -> None:
    net = linear(regu)
    net.init()
    w, b = (p.values() for p in net.params["ip"])
    b = b.reshape(-1)
    vw, vb, used = np.zeros_like(w), np.zeros_like(b), MOMENTUM(0)
    x, label = (a.reshape(len(a), -1) for a in samples())

    def batch(i: int) -> tuple[np.ndarray, np.ndarray]:
        at = np.arange(5 * i, 5 * i + 5) % len(x)
        return x[at], label[at]

    s = solver(lr_policy=RATE, mom_policy=MOMENTUM, regu_coef=REGU, convention=convention)
    state = init_solve(s, net)
    assert state.obj_val == pytest.approx(gradients(w, b, *batch(0))[2], rel=1e-13)
    for t in (1, 2, 3, 4):
        gw, gb, _ = gradients(w, b, *batch(t - 1))
        gw += {
            "mocha": 2 * 1.5 * REGU * w,  # the gradient of coef |w|^2
            "caffe": 1.5 * REGU * w,
        }[regu.convention] if isinstance(regu, L2Regu) else 0  # fmt: skip
        gw += 0.7 * REGU * np.sign(w) if isinstance(regu, L1Regu) else 0
        k = t if convention == "mocha" else t - 1
        momentum = used if convention == "mocha" else MOMENTUM(k)  # Mocha: of the update before
        used = MOMENTUM(k)
        vw = momentum * vw - RATE(k) * gw
        vb = momentum * vb - 2 * RATE(k) * gb  # a bias learns at twice the rate
        w, b = w + vw, b + vb
        onestep_solve(s, net, state)
        np.testing.assert_allclose(net.params["ip"][0].values(), w, **CLOSE)
        np.testing.assert_allclose(net.params["ip"][1].values().reshape(-1), b, **CLOSE)
        assert state.obj_val == pytest.approx(gradients(w, b, *batch(t))[2], rel=1e-12)
        assert (state.iter, state.learning_rate, state.momentum) == (t, RATE(k), MOMENTUM(k))


def test_mocha_uses_the_momentum_of_the_update_before() -> None:
    """A momentum that jumps from 0 to 0.5 at iteration 2 acts from iteration 3 on in Mocha, at once in Caffe."""
    jump = MomPolicy.Staged((2, MomPolicy.Fixed(0.0)), (1, MomPolicy.Fixed(0.5)))
    seen = {}
    for convention in ("mocha", "caffe"):
        s, net = solver(mom_policy=jump, convention=convention), linear(NoRegu())
        state = init_solve(s, net)
        seen[convention] = []
        for _ in range(4):
            onestep_solve(s, net, state)
            seen[convention].append((state.momentum, state.used_momentum))
    assert seen["mocha"] == [(0.0, 0.0), (0.5, 0.0), (0.5, 0.5), (0.5, 0.5)]
    assert seen["caffe"] == [(0.0, 0.0), (0.0, 0.0), (0.5, 0.5), (0.5, 0.5)]


def test_constraint_is_imposed_every_so_many_updates() -> None:
    net = training(memory_data(), filter_cons=L2Cons(0.01, every_n_iter=2), dropout=False)
    s = solver()
    state = init_solve(s, net)

    def norm() -> float:
        return np.sqrt((net.params["conv1"][0].values() ** 2).sum((1, 2, 3))).max()

    limited = []
    for _ in range(5):
        version = net.params["conv1"][0].version
        onestep_solve(s, net, state)
        assert net.params["conv1"][0].version > version
        limited.append(norm() <= 0.01 * (1 + 1e-12))
    assert limited == [False, True, False, True, False]


def test_frozen_layer_stays_and_the_rest_learns() -> None:
    net = training(memory_data())
    net.init()
    net.freeze("conv1")
    before = {p.name: p.values() for p in net.parameters}
    state = solve(solver(regu_coef=0.1), net)
    for p in net.parameters:
        assert np.array_equal(p.values(), before[p.name]) == p.name.startswith("conv1"), p.name
    assert {p.name for p in state.memories} == {"ip1 weight", "ip1 bias"}


def test_layer_unfrozen_between_steps_learns_from_then_on() -> None:
    net, s = training(memory_data()), solver()
    net.freeze("conv1")
    state = init_solve(s, net)
    onestep_solve(s, net, state)
    kept = net.params["conv1"][0].values()
    net.unfreeze("conv1")
    onestep_solve(s, net, state)
    assert np.abs(net.params["conv1"][0].values() - kept).max() > 0


def test_shared_parameter_is_updated_once_by_the_summed_gradient() -> None:
    """a -> w -> w -> loss: one update, by the sum of both layers' gradients, as finite differences have it."""
    x, label = samples(4)
    x = x.reshape(4, -1)[:, :CLASSES]
    same = {"output_dim": CLASSES, "param_key": "w", "weight_regu": NoRegu()}

    def build() -> Net:
        layers = [
            MemoryDataLayer(batch_size=4, data=[x, label]),
            InnerProductLayer(name="first", bottoms=["data"], tops=["a"], **same),
            InnerProductLayer(name="second", bottoms=["a"], tops=["b"], **same),
            SoftmaxLossLayer(bottoms=["b", "label"]),
        ]
        net = Net("shared", ReferenceBackend(2), layers)
        net.init()
        return net

    net = build()
    w = net.params["first"][0]
    assert net.params["second"][0] is w
    start, step, slope = w.values(), 1e-6, np.zeros((CLASSES, CLASSES))
    for at in np.ndindex(*slope.shape):
        losses = []
        for sign in (1, -1):
            moved = start.copy()
            moved[at] += sign * step
            w.data = moved
            losses.append(net.forward())
        slope[at] = (losses[0] - losses[1]) / (2 * step)
    net = build()
    solve(solver(max_iter=1, lr_policy=LRPolicy.Fixed(0.5)), net)
    # central differences: step^2 f''' / 6 + eps f / step ~ 1e-10
    np.testing.assert_allclose(net.params["first"][0].values(), start - 0.5 * slope, atol=1e-9)


def test_float32_net_keeps_float32_memories() -> None:
    data = replace(memory_data(), data=[a.astype(np.float32) for a in samples()])
    net = training(data)
    state = solve(solver(), net)
    assert {a.dtype for arrays in state.memories.values() for a in arrays} == {np.dtype(np.float32)}
