"""Every layer: gradients against finite differences, and the fast backend against the reference."""

import numpy as np
import pytest

import fullmocha as fm
from fullmocha.layers import LAYERS

from .cases import CASES, ELSEWHERE, Case

_STEP = 1e-5  # central differences err by step^2 f''' / 6 ~ 1e-11 and by eps f / step ~ 1e-11
BOUND = 1e-6


def test_every_layer_has_a_case() -> None:
    covered = {type(case.layer).__name__ for case in CASES} | ELSEWHERE
    assert {layer.__name__ for layer in LAYERS} == covered


def reseed(net: fm.Net) -> None:
    """The next draws of dropout are those of the last time."""
    net.backend.seed(5)
    for node in net.nodes:
        if hasattr(node.state, "rng"):
            node.state.rng = net.backend.rng


def outputs(net: fm.Net, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The tops, and the loss, with the same random draws each time."""
    reseed(net)
    loss = net.forward(inputs)
    names = [name for node in net.nodes[1:] for name in node.layer.tops]
    tops = {name: net.output_blobs[name].data.copy() for name in names if net.output_blobs[name].shape}
    return tops | {"loss": np.array(loss)}


def seeds_for(net: fm.Net, rng: np.random.Generator) -> dict[str, np.ndarray]:
    tops = [t for node in net.nodes[1:] if not node.layer.is_sink for t in node.layer.tops]
    return {name: rng.normal(size=net.output_blobs[name].shape) for name in dict.fromkeys(tops)}


def numeric(f: object, x: np.ndarray) -> np.ndarray:
    """df/dx by central differences."""
    gradient = np.zeros_like(x)
    for i in np.ndindex(x.shape):
        kept = x[i]
        x[i] = kept + _STEP
        high = f()
        x[i] = kept - _STEP
        gradient[i] = (high - f()) / (2 * _STEP)
        x[i] = kept
    return gradient


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_gradients_against_finite_differences(case: Case, rng: np.random.Generator) -> None:
    if not case.layer.differentiable:
        pytest.skip("the layer has no gradient")
    net = case.net(fm.ReferenceBackend(3), "float64")
    inputs = case.draw(rng)
    outputs(net, inputs)
    seeds = seeds_for(net, rng)
    reseed(net)
    net.forward_backward(inputs=inputs, seeds=seeds)

    def objective() -> float:
        tops = outputs(net, inputs)
        return float(tops["loss"] + sum((tops[name] * seed).sum() for name, seed in seeds.items()))

    gradients = {name: net.diff_blobs[name].data.copy() for name in inputs if name not in case.labels}
    trained = [p for p in net.parameters if p.local_rate]  # running sums have no gradient
    gradients |= {p.name: p.gradient.copy() for p in trained}
    variables = {name: inputs[name] for name in gradients if name in inputs} | {p.name: p.data for p in trained}
    for name, gradient in gradients.items():
        expected = numeric(objective, variables[name])
        if isinstance(case.layer, fm.CropLayer) and name == "b":  # gives its size, nothing else
            np.testing.assert_array_equal(gradient, 0)
            continue
        assert np.abs(expected).max() > 0, f"{name} must matter"
        assert np.abs(gradient - expected).max() / np.abs(expected).max() < BOUND, name


_EMPTIED = [c for c in CASES if len({s[:1] for s in c.inputs.values()}) == 1 and next(iter(c.inputs.values()))]
_KEEPS_ITS_BATCH = {"scale batch", "slice batch"}


@pytest.mark.parametrize("backend", [fm.ReferenceBackend, fm.CPUBackend])
@pytest.mark.parametrize("case", [c for c in _EMPTIED if c.name not in _KEEPS_ITS_BATCH], ids=lambda c: c.name)
def test_a_batch_of_nothing(case: Case, backend: type, rng: np.random.Generator) -> None:
    """What a FilterLayer may leave: no answers, no loss, no gradients, and running sums as they were."""
    count = len(next(iter(case.draw(rng).values())))
    kept = {name: f"{name} kept" for name in case.inputs}
    layers = [
        fm.InputLayer(tops=[*kept, "selector"], shapes=[*case.inputs.values(), (count,)]),
        fm.FilterLayer(bottoms=[*kept, "selector"], tops=list(kept.values())),
        case.layer.copy(bottoms=[kept[b] for b in case.layer.bottoms], tops=[kept.get(t, t) for t in case.layer.tops]),
    ]
    net = fm.Net("empty", backend(3), layers, dtype="float64")
    net.init()
    before = [p.values() for p in net.parameters]
    inputs = case.draw(rng) | {"selector": np.zeros(count)}
    assert net.forward(inputs) == 0
    seeds = {top: np.zeros(net.diff_blobs[top].shape) for top in layers[2].tops if top in net.diff_blobs}
    assert net.forward_backward(inputs=inputs, seeds=seeds) == 0
    for parameter, values in zip(net.parameters, before, strict=True):
        np.testing.assert_array_equal(parameter.values(), values)
        np.testing.assert_array_equal(parameter.gradient, 0)


# Forward and backward of one layer are sums of at most a few hundred products: a few units in the last place of the largest term,
# which cancellation can hold against a smaller result. DESIGN section 4 asks 4e-6 and 1e-13 relative to the RMS of a convolution.
_PARITY = {"float32": 4e-6, "float64": 2e-14}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_cpu_equals_the_reference(case: Case, dtype: str, rng: np.random.Generator) -> None:
    inputs = case.draw(rng)
    answers = []
    seeds = None
    values = None
    for backend in (fm.ReferenceBackend(3), fm.CPUBackend(3)):
        net = case.net(backend, dtype)
        if values is None:
            values = {name: [p.values() for p in params] for name, params in net.params.items()}
            outputs(net, inputs)
            seeds = seeds_for(net, rng)
        net.load_params(values)
        tops = outputs(net, inputs)
        outputs(net, inputs)
        if case.layer.differentiable:
            reseed(net)
            net.forward_backward(0.1, inputs=inputs, seeds=seeds)
            tops |= {f"d{name}": blob.data.copy() for name, blob in net.diff_blobs.items()}
            tops |= {f"d{p.name}": p.gradient.copy() for p in net.parameters}
        answers.append(tops)
    reference, fast = answers
    assert reference.keys() == fast.keys()
    for name, expected in reference.items():
        scale = np.sqrt(np.mean(expected.astype(float) ** 2)) or 1.0
        assert np.abs(fast[name] - expected).max() <= _PARITY[dtype] * scale, name
