"""Caffe's pointwise layers to our configs and back, what is refused by name, and where Caffe's gradient is wrong."""

import textwrap

import numpy as np
import pytest

import fullmocha as fm
from fullmocha import layers
from fullmocha.caffe import load_caffe
from fullmocha.caffe.writing import describe_net, write_prototxt
from fullmocha.errors import FormatError, ShapeError, UnsupportedError
from fullmocha.neurons import Neuron

from ..neurons import NEURONS, name_of

WIRED = {"name": "l", "bottoms": ["a"], "tops": ["b"]}
SPOKEN = [
    ("ReLU", "", layers.ReLULayer(**WIRED)),
    ("ReLU", "relu_param { negative_slope: 0.25 }", layers.ReLULayer(**WIRED, negative_slope=0.25)),
    ("Sigmoid", "", layers.SigmoidLayer(**WIRED)),
    ("TanH", "", layers.TanHLayer(**WIRED)),
    ("ELU", "", layers.ELULayer(**WIRED, alpha=1)),
    ("ELU", "elu_param { alpha: -0.5 }", layers.ELULayer(**WIRED, alpha=-0.5)),
    ("BNLL", "", layers.BNLLLayer(**WIRED)),
    ("AbsVal", "", layers.AbsValLayer(**WIRED)),
    ("Power", "", layers.PowerLayer(**WIRED, power=1, scale=1, shift=0)),
    ("Power", "power_param { power: 0 scale: 3 shift: 2 }", layers.PowerLayer(**WIRED, power=0, scale=3, shift=2)),
    ("Exp", "", layers.ExpLayer(**WIRED, base=-1, scale=1, shift=0)),
    ("Exp", "exp_param { base: 2 scale: 1.5 shift: -0.5 }", layers.ExpLayer(**WIRED, base=2, scale=1.5, shift=-0.5)),
    ("Log", "", layers.LogLayer(**WIRED, base=-1, scale=1, shift=0)),
    ("Log", "log_param { base: 10 scale: 2 shift: 1 }", layers.LogLayer(**WIRED, base=10, scale=2, shift=1)),
    ("Threshold", "", layers.ThresholdLayer(**WIRED, threshold=0)),
    ("Threshold", "threshold_param { threshold: 0.5 }", layers.ThresholdLayer(**WIRED, threshold=0.5)),
    ("Swish", "", layers.SwishLayer(**WIRED, beta=1)),
    ("Swish", "swish_param { beta: 1.75 }", layers.SwishLayer(**WIRED, beta=1.75)),
    ("Clip", "clip_param { min: -0.5 max: 0 }", layers.ClipLayer(**WIRED, least=-0.5, most=0)),
    ("Clip", "clip_param { min: -inf max: 6 }", layers.ClipLayer(**WIRED, most=6)),
]


def written(*ours, shape=(2, 3)):
    """The layers behind an input "a" as Caffe's, without that input."""
    net = fm.Net("net", "reference", [fm.InputLayer(tops=["a"], shapes=[shape]), *ours])
    return list(describe_net(net).layer)[1:]


@pytest.mark.parametrize(("kind", "text", "layer"), SPOKEN, ids=[f"{s[0]} {s[1]}" for s in SPOKEN])
def test_both_ways(one, kind, text, layer):
    """Read as it should be; and what is written says no more than was read."""
    assert one(kind, text) == layer
    (message,) = written(layer)
    block = [str(value) for field, value in message.ListFields() if field.name.endswith("_param")]
    assert message.type == kind
    assert " ".join(" ".join(block).split()) == text.partition("{")[2].strip(" }")


REFUSED = [
    ("Exp", "exp_param { base: 0 }", ShapeError, "base must be above 0, or -1 for e; got 0"),
    ("Exp", "exp_param { base: -2 }", ShapeError, "base must be above 0, or -1 for e; got -2"),
    ("Exp", "exp_param { base: 10 shift: 400 }", ShapeError, r"base\^shift, with base 10.0 and shift 400.0, exceeds"),
    ("Log", "log_param { base: 1 }", ShapeError, "base 1 has no logarithm"),
    ("Log", "log_param { base: 0 }", ShapeError, "base must be above 0, or -1 for e; got 0"),
    ("Log", "log_param { shift: inf }", FormatError, "shift is inf; expected a finite number"),
    ("Power", "power_param { power: nan }", FormatError, "power is nan; expected a finite number"),
    ("ELU", "elu_param { alpha: inf }", FormatError, "alpha is inf; expected a finite number"),
    ("Clip", "", FormatError, "clip_param must give both min and max"),
    ("Clip", "clip_param { min: 2 max: 1 }", ShapeError, "least 2 lies above most 1; exchange them"),
    ("Clip", "clip_param { min: nan max: 1 }", ShapeError, "least must be a number, got nan"),
    ("BNLL", "relu_param { negative_slope: 1 }", UnsupportedError, "relu_param has no meaning for this type"),
    ("AbsVal", "elu_param { alpha: 1 }", UnsupportedError, "elu_param has no meaning for this type"),
]


@pytest.mark.parametrize(("kind", "text", "error", "why"), REFUSED, ids=[f"{r[0]} {r[1]}" for r in REFUSED])
def test_refusals_name_file_and_layer(one, kind, text, error, why):
    with pytest.raises(error, match=why) as refusal:
        one(kind, text)
    assert "net.prototxt: " in str(refusal.value) and " l" in str(refusal.value).replace("'", " ")


@pytest.mark.parametrize("neuron", NEURONS, ids=name_of)
def test_neurons_that_layers_name(tmp_path, rng, neuron):
    """As layers of Caffe's that compute the same; the file holds floats of 32 bits."""
    kind, parameters = neuron
    shape, file = (2, 3, 5), tmp_path / "net.prototxt"
    given = [fm.InputLayer(tops=["a"], shapes=[shape]), fm.NeuronLayer(**WIRED, function=Neuron(kind, parameters))]
    net = fm.Net("net", "reference", given, dtype="float64")
    if kind == "log" and parameters[0] != 1:  # to base e only
        with pytest.raises(UnsupportedError, match=r"the neuron 'log, factor 0\.5, .*has no words in Caffe"):
            describe_net(net)
        return
    write_prototxt(file, net)
    again = load_caffe(file, backend="reference", dtype="float64")
    x, dy = rng.normal(size=shape), rng.normal(size=shape)
    for both in (net, again):
        if kind == "threshold":  # no gradient
            both.forward(inputs={"a": x})
        else:
            both.forward_backward(inputs={"a": x}, seeds={"b": dy})
    # Parameters are off by 2^-24 of themselves, times at most some 9 for the log's argument or the power's.
    np.testing.assert_allclose(again.output_blobs["b"].data, net.output_blobs["b"].data, rtol=1e-6, atol=1e-6)
    if kind != "threshold":
        np.testing.assert_allclose(again.diff_blobs["a"].data, net.diff_blobs["a"].data, rtol=1e-6, atol=1e-6)


def test_neurons_that_caffe_has_no_words_for():
    with pytest.raises(UnsupportedError, match=r"l \(NeuronLayer\): the neuron 'exponential, factor -1, rate 2'"):
        written(fm.NeuronLayer(**WIRED, function=Neuron("exponential", (-1.0, 2.0))))


def test_the_identity_needs_a_layer_only_where_it_renames():
    assert [m.type for m in written(fm.NeuronLayer(**WIRED))] == ["Split"]
    assert written(fm.NeuronLayer(name="l", bottoms=["a"], tops=["a"])) == []


def test_dropout_both_ways(one):
    layer = one("Dropout", "dropout_param { dropout_ratio: 0.25 }", "train")
    assert layer == layers.DropoutLayer(**WIRED, ratio=0.25)
    (message,) = written(layer)
    assert (message.type, message.dropout_param.dropout_ratio) == ("Dropout", 0.25)
    (message,) = written(layers.DropoutLayer(name="l", bottoms=["a"]))
    assert list(message.bottom) == list(message.top) == ["a"] and not message.HasField("dropout_param")
    with pytest.raises(UnsupportedError, match="auto_scale=False has no words in Caffe"):
        written(layers.DropoutLayer(**WIRED, auto_scale=False))


IN_PLACE = """
    layer {{ name: "in" type: "Input" top: "a" input_param {{ shape {{ dim: [2, 3, 5] }} }} }}
    layer {{ name: "l" type: "{kind}" bottom: "a" top: "{top}" {text} }}
"""
WRONG_IN_CAFFE = [
    ("BNLL", ""),
    ("Log", "log_param { scale: 0.25 shift: 2 }"),
    ("Clip", "clip_param { min: -0.5 max: 0.5 }"),
    ("Power", "power_param { power: 2 scale: 0.5 shift: 0.25 }"),
    ("Power", "power_param { power: 1.5 shift: 5 }"),
    ("ReLU", "relu_param { negative_slope: -0.5 }"),
    ("ELU", "elu_param { alpha: -0.7 }"),
    ("AbsVal", ""),
    ("Swish", ""),
]


@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize(("kind", "text"), WRONG_IN_CAFFE, ids=[f"{k} {t}" for k, t in WRONG_IN_CAFFE])
def test_in_place_the_gradient_is_right_where_caffes_is_not(tmp_path, rng, backend, kind, text):
    """Caffe computes it from the values that the layer has overwritten (for AbsVal it stops); our nets keep them all."""
    x, dy, grads = rng.normal(size=(2, 3, 5)), rng.normal(size=(2, 3, 5)), {}
    for top in ("a", "b"):
        file = tmp_path / f"{top}.prototxt"
        file.write_text(textwrap.dedent(IN_PLACE.format(kind=kind, top=top, text=text)))
        net = load_caffe(file, backend=backend, dtype="float64")
        net.forward_backward(inputs={"a": x}, seeds={top: dy})
        grads[top] = net.diff_blobs["a"].data.copy()
        if top == "b":
            high, low = (_forward(net, x + step) for step in (1e-6, -1e-6))
    np.testing.assert_array_equal(grads["a"], grads["b"])
    # Central differences over 1e-6: rounding leaves 1e-10 of values below 30; curvature less.
    np.testing.assert_allclose(grads["b"], dy * (high - low) / 2e-6, rtol=1e-7, atol=1e-8)


def _forward(net, x):
    net.forward(inputs={"a": x})
    return net.output_blobs["b"].data.copy()


def test_powers_of_zero_have_the_functions_gradient(tmp_path):
    """Where Caffe divides 0 by 0."""
    file = tmp_path / "net.prototxt"
    file.write_text(textwrap.dedent(IN_PLACE.format(kind="Power", top="b", text="power_param { power: 3 }")))
    net = load_caffe(file, backend="reference")
    net.forward_backward(inputs={"a": np.zeros((2, 3, 5))}, seeds={"b": np.ones((2, 3, 5))})
    np.testing.assert_array_equal(net.diff_blobs["a"].data, 0)
