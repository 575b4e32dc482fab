"""RNN and LSTM against PyTorch's: cuts, states carried from pass to pass, exposed states; and a static input by hand."""

from typing import Any

import numpy as np
import pytest

import fullmocha as fm

BACKENDS = ["reference", "cpu"]
T, N, F, D = 6, 3, 4, 5
# Sums of some dozen float64 terms of size 1, through six steps, in another order.
CLOSE: dict[str, Any] = {"rtol": 1e-12, "atol": 1e-14}


def torch_or_skip() -> Any:
    return pytest.importorskip("torch", reason="PyTorch is the outsider here")


def layer_of(kind: type, **fields: Any) -> Any:
    wiring: dict[str, Any] = {"name": "l", "bottoms": ["x", "cont"], "tops": ["y"]}
    return kind(**wiring | {"output_dim": D} | fields)


def build(
    layer: Any, inputs: dict[str, np.ndarray], backend: str, rng: np.random.Generator, dtype: str = "float64"
) -> fm.Net:
    data = fm.InputLayer(tops=list(inputs), shapes=[v.shape for v in inputs.values()])
    net = fm.Net("sequences", backend, [data, layer], dtype=dtype)
    for parameter in net.parameters:
        parameter.data = rng.normal(size=parameter.shape) * 0.6
    return net


def draw(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """A sequence whose streams are cut at different steps; the first step goes on from before."""
    cont = np.ones((T, N))
    cont[2, 0] = cont[4, 1] = cont[5, 0] = 0
    return {"x": rng.normal(size=(T, N, F)), "cont": cont}


class Torch:
    """The same recurrence by torch.nn, one step at a time, with our parameters."""

    def __init__(self, net: fm.Net) -> None:
        torch = self.torch = torch_or_skip()
        self.ours = {p.role: torch.tensor(p.values(), requires_grad=True) for p in net.params["l"]}
        self.is_lstm = isinstance(net.node("l").layer, fm.LSTMLayer)
        zeros = torch.zeros(N, D, dtype=torch.float64)
        self.states = [zeros] * (2 if self.is_lstm else 1)

    def rows(self, weight: Any) -> Any:
        """Our gates are i, f, o, g; PyTorch's are i, f, g, o."""
        if not self.is_lstm:
            return weight
        i, f, o, g = weight.split(D)
        return self.torch.cat([i, f, g, o])

    def run(self, x: Any, cont: np.ndarray) -> Any:
        torch, w = self.torch, self.ours
        nothing = torch.zeros_like(w["bias"])
        step = torch._VF.lstm_cell if self.is_lstm else torch._VF.rnn_tanh_cell
        outputs = []
        for t in range(len(x)):
            states = [torch.tensor(cont[t])[:, None] * state for state in self.states]
            given = tuple(states) if self.is_lstm else states[0]
            found = step(x[t], given, self.rows(w["weight_x"]), self.rows(w["weight_h"]), self.rows(w["bias"]), nothing)
            self.states = list(found) if self.is_lstm else [found]
            outputs.append(self.states[0])
        h = torch.stack(outputs)
        return h if self.is_lstm else torch.tanh(h @ w["weight_o"].T + w["bias_o"])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", [fm.RNNLayer, fm.LSTMLayer], ids=lambda k: k.__name__)
def test_against_pytorch_over_three_passes(kind: type, backend: str, rng: np.random.Generator) -> None:
    """A pass goes on where the one before it ended, and its gradients end where it began."""
    net = build(layer_of(kind), draw(rng), backend, rng)
    theirs = Torch(net)
    for _ in range(3):
        inputs, seed = draw(rng), rng.normal(size=(T, N, D))
        net.forward_backward(inputs=inputs, seeds={"y": seed})
        x = theirs.torch.tensor(inputs["x"], requires_grad=True)
        theirs.states = [state.detach() for state in theirs.states]
        y = theirs.run(x, inputs["cont"])
        np.testing.assert_allclose(net.output_blobs["y"].data, y.detach(), **CLOSE)
        roles = list(theirs.ours)
        grads = theirs.torch.autograd.grad(y, [x, *theirs.ours.values()], theirs.torch.tensor(seed))
        np.testing.assert_allclose(net.diff_blobs["x"].data, grads[0], **CLOSE)
        for role, parameter, grad in zip(roles, net.params["l"], grads[1:], strict=True):
            assert np.abs(parameter.gradient).max() > 0.1
            np.testing.assert_allclose(parameter.gradient, grad, **CLOSE, err_msg=role)


@pytest.mark.parametrize("kind", [fm.RNNLayer, fm.LSTMLayer], ids=lambda k: k.__name__)
def test_exposed_states(kind: type, rng: np.random.Generator) -> None:
    """Gradients pass through them in both directions; in Caffe they do not."""
    names = ["h", "c"] if kind is fm.LSTMLayer else ["h"]
    layer = layer_of(kind, expose_hidden=True, bottoms=["x", "cont", *names], tops=["y", *(f"{n}T" for n in names)])
    states = {name: rng.normal(size=(1, N, D)) for name in names}
    inputs = draw(rng) | states
    net = build(layer, inputs, "reference", rng)
    theirs = Torch(net)
    theirs.states = [theirs.torch.tensor(states[name][0], requires_grad=True) for name in names]
    leaves = list(theirs.states)
    seeds = {"y": rng.normal(size=(T, N, D))} | {f"{name}T": rng.normal(size=(1, N, D)) for name in names}
    net.forward_backward(inputs=inputs, seeds=seeds)
    net.forward_backward(inputs=inputs, seeds=seeds)  # nothing is carried from the first to the second
    y = theirs.run(theirs.torch.tensor(inputs["x"]), inputs["cont"])
    last = [state[None] for state in theirs.states]
    for name, value in zip(["y", *(f"{n}T" for n in names)], [y, *last], strict=True):
        np.testing.assert_allclose(net.output_blobs[name].data, value.detach(), **CLOSE)
    wanted = theirs.torch.autograd.grad([y, *last], leaves, [theirs.torch.tensor(s) for s in seeds.values()])
    for name, grad in zip(names, wanted, strict=True):
        assert np.abs(net.diff_blobs[name].data).max() > 0
        np.testing.assert_allclose(net.diff_blobs[name].data[0], grad, **CLOSE)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_static_input_unrolled_by_hand(backend: str, rng: np.random.Generator) -> None:
    """Every step of every stream written out, without a matrix product."""
    inputs = draw(rng) | {"s": rng.normal(size=(N, 2, 1))}
    for kind in (fm.RNNLayer, fm.LSTMLayer):
        net = build(layer_of(kind, bottoms=["x", "cont", "s"]), inputs, backend, rng)
        net.forward(inputs)
        w = {p.role: p.values() for p in net.params["l"]}
        for n in range(N):
            h, c = np.zeros(D), np.zeros(D)
            for t in range(T):
                k = inputs["cont"][t, n]
                z = (
                    (w["weight_x"] * inputs["x"][t, n]).sum(1)
                    + w["bias"]
                    + (w["weight_static"] * inputs["s"][n].ravel()).sum(1)
                    + (w["weight_h"] * (k * h)).sum(1)
                )
                if kind is fm.RNNLayer:
                    h = np.tanh(z)
                    y = np.tanh((w["weight_o"] * h).sum(1) + w["bias_o"])
                else:
                    i, f, o, g = z[:D], z[D : 2 * D], z[2 * D : 3 * D], z[3 * D :]
                    c = sigmoid(f) * k * c + sigmoid(i) * np.tanh(g)
                    y = h = sigmoid(o) * np.tanh(c)
                np.testing.assert_allclose(net.output_blobs["y"].data[t, n], y, **CLOSE)


def test_a_first_pass_begins_with_zeros_and_forget_begins_anew(rng: np.random.Generator) -> None:
    inputs = draw(rng)
    net = build(layer_of(fm.LSTMLayer), inputs, "reference", rng)
    answers = []
    for _ in range(2):
        net.forward(inputs)
        answers.append(net.output_blobs["y"].data.copy())
    node = net.node("l")
    node.layer.forget(node.state)
    net.forward(inputs)
    np.testing.assert_array_equal(net.output_blobs["y"].data, answers[0])
    assert np.abs(answers[1] - answers[0]).max() > 1e-3
    cut = inputs | {"cont": inputs["cont"] * (np.arange(T) > 0)[:, None]}  # whatever came before
    net.forward(cut)
    np.testing.assert_array_equal(net.output_blobs["y"].data, answers[0])


def test_a_cut_is_a_cut_even_behind_a_state_that_is_not_finite(rng: np.random.Generator) -> None:
    inputs = draw(rng)
    for kind in (fm.RNNLayer, fm.LSTMLayer):
        net = build(layer_of(kind), inputs, "reference", rng)
        net.forward(inputs | {"x": np.full((T, N, F), np.nan)})
        assert np.isnan(net.output_blobs["y"].data).all()
        net.forward(inputs | {"cont": np.zeros((T, N))})
        assert np.isfinite(net.output_blobs["y"].data).all()


def test_another_number_of_streams_or_steps(rng: np.random.Generator) -> None:
    """Other streams have nothing to go on from; other steps go on. (Caffe keeps the number of steps for ever.)"""
    inputs = draw(rng)
    net, fresh = (build(layer_of(fm.RNNLayer), inputs, "reference", np.random.default_rng(1)) for _ in range(2))
    net.forward(inputs)
    fewer = {"x": inputs["x"][:, :2], "cont": inputs["cont"][:, :2]}
    for each in (net, fresh):
        each.forward(fewer)
    np.testing.assert_array_equal(net.output_blobs["y"].data, fresh.output_blobs["y"].data)

    whole, halves = (build(layer_of(fm.LSTMLayer), inputs, "reference", np.random.default_rng(1)) for _ in range(2))
    whole.forward(inputs)
    parts = []
    for steps in (slice(0, 2), slice(2, T)):
        halves.forward({name: value[steps] for name, value in inputs.items()})
        parts.append(halves.output_blobs["y"].data.copy())
    np.testing.assert_allclose(np.concatenate(parts), whole.output_blobs["y"].data, **CLOSE)


def test_learning_to_remember(rng: np.random.Generator) -> None:
    """An LSTM learns to hold a bit for five steps: chance is a mean square of 1."""
    steps, streams = 6, 16
    bits = rng.choice([-1.0, 1.0], (64, streams))
    x = rng.normal(size=(64 * steps, streams, 2)) * 0.1
    x[::steps, :, 0] = bits
    cont = np.ones((64 * steps, streams))
    cont[::steps] = 0
    target = np.repeat(bits, steps, axis=0)[:, :, None]
    data = fm.MemoryDataLayer(batch_size=steps * 4, tops=["x", "cont", "target"], data=[x, cont, target])
    lstm = fm.LSTMLayer(name="lstm", bottoms=["x", "cont"], tops=["h"], output_dim=6)
    read = fm.InnerProductLayer(name="read", bottoms=["h"], tops=["y"], output_dim=1, axis=2)
    loss = fm.SquareLossLayer(bottoms=["y", "target"])
    net = fm.Net("memory", fm.ReferenceBackend(3), [data, lstm, read, loss], dtype="float64")
    params = fm.make_solver_parameters(
        fm.SGD(), max_iter=150, lr_policy=fm.LRPolicy.Fixed(0.03), mom_policy=fm.MomPolicy.Fixed(0.9), regu_coef=0.0
    )
    fm.solve(fm.Solver(fm.SGD(), params), net)
    net.forward()
    assert np.square(net.output_blobs["y"].data - net.output_blobs["target"].data).mean() < 0.1


SHAPES = {"x": (T, N, F), "cont": (T, N), "s": (N, 2), "h": (1, N, D), "c": (1, N, D)}
REFUSED = [
    (fm.RNNLayer, ["x"], False, {}, "takes x, cont, perhaps what every step sees: 2 or 3 bottoms; got 1"),
    (fm.LSTMLayer, ["x", "cont", "h"], True, {}, "the initial states: 4 or 5 bottoms; got 3"),
    (fm.LSTMLayer, ["x", "cont"], False, {"x": (T,), "cont": (T,)}, r"needs a sequence \(T, N, ...\)"),
    (fm.RNNLayer, ["x", "cont"], False, {"cont": (N, T)}, r"cont must be \(6, 3\).*got \(3, 6\)"),
    (fm.RNNLayer, ["x", "cont", "s"], False, {"s": (2, N)}, r"\(N, ...\) with N = 3 streams; got \(2, 3\)"),
    (fm.LSTMLayer, ["x", "cont", "h", "c"], True, {"c": (N, D)}, r"an initial state must be \(1, 3, 5\); got \(3, 5\)"),
]


@pytest.mark.parametrize(("kind", "bottoms", "exposed", "shapes", "message"), REFUSED, ids=[r[4][:20] for r in REFUSED])
def test_what_does_not_fit_is_refused(
    kind: type, bottoms: list[str], exposed: bool, shapes: dict, message: str
) -> None:
    layer = layer_of(kind, bottoms=bottoms, expose_hidden=exposed)
    with pytest.raises(fm.ShapeError, match=rf"l \({kind.__name__}\): .*{message}"):
        layer.shape([(SHAPES | shapes)[b] for b in bottoms])


def test_fields_and_a_dense_pass() -> None:
    with pytest.raises(fm.ShapeError, match=r"l \(RNNLayer\): output_dim must be an integer >= 1, got 0"):
        layer_of(fm.RNNLayer, output_dim=0)
    with pytest.raises(fm.ShapeError, match="bias_o_init must be an instance of Initializer"):
        layer_of(fm.RNNLayer, bias_o_init=3)
    with pytest.raises(fm.NotDenseError, match=r"l \(LSTMLayer\): goes through a sequence step by step"):
        layer_of(fm.LSTMLayer).dense([None, None])
