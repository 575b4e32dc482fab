"""The pointwise layers in nets: dense as sliding, fields that are refused, and names that backends know."""

from typing import Any, get_args

import numpy as np
import pytest
from fullmocha.backends.protocol import Activation

import fullmocha as fm
from fullmocha.neurons import PARAMETERS, Neuron

from .neurons import NEURONS

POINTWISE: list[tuple[Any, dict[str, float]]] = [
    (fm.ELULayer, {"alpha": 0.7}),
    (fm.BNLLLayer, {}),
    (fm.AbsValLayer, {}),
    (fm.PowerLayer, {"power": 2, "scale": 0.5, "shift": -0.25}),
    (fm.PowerLayer, {"power": 1.5, "scale": 0.25, "shift": 4}),
    (fm.ExpLayer, {"base": 2, "scale": 0.5}),
    (fm.LogLayer, {"base": 10, "scale": 0.25, "shift": 4}),
    (fm.SwishLayer, {"beta": 1.5}),
    (fm.ClipLayer, {"least": -1, "most": 0.5}),
    (fm.ThresholdLayer, {"threshold": 0.3}),
]


def patch_net(kind: Any, fields: dict[str, float], backend: fm.Backend, dtype: str) -> fm.Net:
    """Windows of 8 x 10; the layer stands in place, in front of a stride and behind it."""
    layers = [
        fm.InputLayer(tops=["data"], shapes=[(1, 2, 10, 8)]),
        fm.ConvolutionLayer(name="conv1", bottoms=["data"], tops=["conv1"], n_filter=5, kernel=3),
        kind(name="f1", bottoms=["conv1"], tops=["conv1"], **fields),
        fm.PoolingLayer(name="pool", bottoms=["conv1"], tops=["pool"], kernel=2, stride=2),
        kind(name="f2", bottoms=["pool"], tops=["f2"], **fields),
        fm.ConvolutionLayer(name="conv2", bottoms=["f2"], tops=["conv2"], n_filter=4, kernel=(2, 3)),
        fm.InnerProductLayer(name="ip", bottoms=["conv2"], tops=["ip"], output_dim=3),
    ]
    net = fm.Net("net", backend, layers, dtype=dtype)
    net.init()
    return net


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("kind", "fields"), POINTWISE, ids=[f"{k.__name__} {f}" for k, f in POINTWISE])
def test_dense_is_sliding(rng: np.random.Generator, kind: Any, fields: dict[str, float], dtype: str) -> None:
    """Bit for bit on the reference; on cpu float32 sums and neurons err as those of tests/test_dense.py do, on scores of about 1."""
    net = patch_net(kind, fields, fm.ReferenceBackend(3), dtype)
    x = rng.normal(size=(2, 2, 15, 14)).astype(dtype)
    sliding = fm.densify(net, "sliding").forward(x)
    assert sliding.shape == (2, 3, 6, 7) and np.isfinite(sliding).all() and np.ptp(sliding) > 0
    for engine in ("strided", "fragments"):
        np.testing.assert_array_equal(fm.densify(net, engine).forward(x), sliding)
    if kind is fm.ThresholdLayer and dtype == "float32":
        return  # a jump, on either side of which a number may come to lie
    fast = patch_net(kind, fields, fm.CPUBackend(3), dtype)
    fast.load_params({name: [p.values() for p in params] for name, params in net.params.items()})
    for engine in ("strided", "fragments"):
        error = np.abs(fm.densify(fast, engine).forward(x) - sliding).max() / np.abs(sliding).max()
        assert error <= {"float32": 5e-6, "float64": 1e-13}[dtype]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: fm.ELULayer(name="l", alpha="1"), r"l \(ELULayer\): alpha must be a finite number, got '1'"),  # type: ignore[arg-type]
        (lambda: fm.ELULayer(name="l", alpha=True), "alpha must be a finite number, got True"),
        (lambda: fm.PowerLayer(name="l", shift=np.inf), "shift must be a finite number, got inf"),
        (lambda: fm.SwishLayer(name="l", beta=np.nan), "beta must be a finite number, got nan"),
        (lambda: fm.ClipLayer(name="l", least=1, most=0), "least 1 lies above most 0; exchange them"),
        (lambda: fm.ClipLayer(name="l", most=np.nan), "most must be a number, got nan"),
        (lambda: fm.LogLayer(name="l", base=1), "base 1 has no logarithm"),
        (lambda: fm.ExpLayer(name="l", base=0), "base must be above 0, or -1 for e; got 0"),
        (lambda: fm.NeuronLayer(name="l", function=Neuron("relu")), r"'relu' takes 1 parameters \(slope\), got \(\)"),
        (lambda: fm.NeuronLayer(name="l", function=Neuron("tanh", (1.0,))), r"'tanh' takes 0 parameters \(none\)"),
    ],
)
def test_fields_that_no_input_could_make_right(make: Any, message: str) -> None:
    with pytest.raises(fm.ShapeError, match=message):
        make()


def test_every_kind_has_names_for_its_parameters() -> None:
    assert tuple(PARAMETERS) == get_args(Activation)
    assert all(len(PARAMETERS[kind]) == len(parameters) for kind, parameters in NEURONS)


def test_listings_name_the_parameters() -> None:
    assert fm.ReLULayer(name="l").describe() == "relu"
    assert fm.ReLULayer(name="l", negative_slope=0.1).describe() == "relu, slope 0.1"
    assert fm.PowerLayer(name="l", power=2).describe() == "power, power 2, scale 1, shift 0"
    assert fm.NeuronLayer(name="l").describe() == "identity"
