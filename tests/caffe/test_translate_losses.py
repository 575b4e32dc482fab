"""Caffe's losses, scores and recurrent layers to our configs and back, and what is refused by name."""

import numpy as np
import pytest

from fullmocha import layers
from fullmocha.caffe import load_caffe
from fullmocha.caffe.layertext import LayerText
from fullmocha.caffe.schema import text_message
from fullmocha.caffe.translate import WRITERS, translate
from fullmocha.caffe.wording import Wording
from fullmocha.caffe.writing import write_blob
from fullmocha.errors import FormatError, ShapeError, UnsupportedError
from fullmocha.initializers import ConstantInitializer, GaussianInitializer, XavierInitializer
from fullmocha.regularizers import L2Regu, NoRegu

TWO = 'bottom: "a" bottom: "l" top: "loss"'
THREE = 'bottom: "a" bottom: "b" bottom: "c" top: "loss"'


@pytest.fixture
def one(read):
    """The config of one layer, given its type and the rest of its text."""

    def made(kind, rest="", wiring=TWO):
        (layer,) = read(f'layer {{ name: "l" type: "{kind}" {wiring} {rest} }}')
        return layer

    return made


WIRED = {"name": "l", "bottoms": ["a", "l"], "tops": ["loss"]}
SPOKEN = [
    ("EuclideanLoss", "loss_weight: 0.5", layers.SquareLossLayer(**WIRED, weight=0.5)),
    ("SigmoidCrossEntropyLoss", "", layers.SigmoidCrossEntropyLossLayer(**WIRED)),
    ("SigmoidCrossEntropyLoss", "loss_param { normalize: true ignore_label: 0 }",
     layers.SigmoidCrossEntropyLossLayer(**WIRED, normalization="valid", ignore_label=0)),
    ("SigmoidCrossEntropyLoss", "loss_param { normalize: false }", layers.SigmoidCrossEntropyLossLayer(**WIRED)),
    ("SigmoidCrossEntropyLoss", "loss_param { normalize: true normalization: NONE }",
     layers.SigmoidCrossEntropyLossLayer(**WIRED, normalization="none")),
    ("HingeLoss", "", layers.HingeLossLayer(**WIRED, labels="classes")),
    ("HingeLoss", "hinge_loss_param { norm: L2 }", layers.HingeLossLayer(**WIRED, labels="classes", norm="L2")),
    ("MultinomialLogisticLoss", "", layers.MultinomialLogisticLossLayer(**WIRED, axis=1)),
    ("SoftmaxWithLoss", "softmax_param { axis: 2 } loss_param { normalization: FULL ignore_label: -1 }",
     layers.SoftmaxLossLayer(**WIRED, axis=2, normalization="full", ignore_label=-1)),
    ("Accuracy", "accuracy_param { top_k: 3 axis: 2 ignore_label: 0 }",
     layers.AccuracyLayer(**WIRED, axis=2, top_k=3, ignore_label=0, ties="miss")),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "text", "layer"), SPOKEN, ids=[f"{s[0]} {s[1]}" for s in SPOKEN])
def test_reading(one, kind, text, layer):
    assert one(kind, text) == layer


def test_reading_losses_of_three_bottoms(one):
    wired = WIRED | {"bottoms": ["a", "b", "c"]}
    text = "infogain_loss_param { axis: 2 } loss_param { normalization: BATCH_SIZE }"
    assert one("InfogainLoss", text, THREE) == layers.InfogainLossLayer(**wired, axis=2, normalization="batch_size")
    text = "contrastive_loss_param { margin: 2.5 legacy_version: true }"
    expected = layers.ContrastiveLossLayer(**wired, margin=2.5, legacy_version=True)
    assert one("ContrastiveLoss", text, THREE) == expected
    assert expected.epsilon == 1e-4


# ------------------------------------------------------------------------------------------------------- infogain's file
def test_infogain_reads_its_matrix_when_it_loads(one, tmp_path):
    matrix = np.array([[1, 0.25], [3, 2]], np.float32)
    write_blob(tmp_path / "h.binaryproto", matrix)
    layer = one("InfogainLoss", f'infogain_loss_param {{ source: "{tmp_path / "h.binaryproto"}" }}')
    assert layer.infogain == ((1.0, 0.25), (3.0, 2.0))
    assert (layer.axis, layer.normalization) == (1, "valid")


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (None, "does not exist"),
        (np.ones((2, 3), np.float32), r"is \(1, 1, 2, 3\); expected one square matrix"),
        (np.ones((4, 2, 2), np.float32), r"is \(1, 4, 2, 2\); expected one square matrix"),
        (np.full((2, 2), np.nan, np.float32), "holds NaN or infinity"),
    ],
)
def test_infogain_refuses_a_file_without_a_matrix(one, tmp_path, matrix, message):
    file = tmp_path / "h.binaryproto"
    if matrix is not None:
        write_blob(file, matrix)
    with pytest.raises(FormatError, match=rf"net\.prototxt: layer 'l' .*infogain_loss_param source.*{message}"):
        one("InfogainLoss", f'infogain_loss_param {{ source: "{file}" }}')


# ----------------------------------------------------------------------------------------------------------- loss_weight
def test_a_loss_weight_makes_a_sum_of_any_top(read):
    layer, total = read('layer { name: "r" type: "ReLU" bottom: "a" top: "b" loss_weight: -0.5 }')
    assert isinstance(layer, layers.ReLULayer)
    assert total == layers.SumLossLayer(name="r-loss", bottoms=["b"], weight=-0.5)


def test_every_top_has_a_weight_of_its_own(read):
    text = 'layer {{ name: "s" type: "Split" bottom: "a" top: "b" top: "c" top: "d" {} }}'
    weights = "loss_weight: 2 loss_weight: 0 loss_weight: 3"
    _, b, d = read(text.format(weights))
    assert [(b.bottoms, b.weight), (d.bottoms, d.weight)] == [(("b",), 2), (("d",), 3)]
    assert len(read(text.format(""))) == 1
    with pytest.raises(FormatError, match="has 1 loss_weight for 3 tops; expected none, or one each"):
        read(text.format("loss_weight: 2"))


def test_the_second_top_of_a_loss(read):
    text = 'layer {{ name: "l" type: "SoftmaxWithLoss" bottom: "a" bottom: "l" top: "loss" top: "prob" {} }}'
    (plain,) = read(text.format(""))
    assert (plain.weight, plain.tops) == (1, ("loss", "prob"))
    loss, total = read(text.format("loss_weight: 0 loss_weight: 3"))
    assert loss.weight == 0
    assert total == layers.SumLossLayer(name="l-loss", bottoms=["prob"], weight=3.0)
    with pytest.raises(FormatError, match="has 1 loss_weight for 2 tops"):
        read(text.format("loss_weight: 1"))


def test_a_loss_may_leave_its_top_out(one):
    layer = one("EuclideanLoss", "loss_weight: 2", 'bottom: "a" bottom: "b"')
    assert (layer.tops, layer.weight) == ((), 2)


def test_loss_weight_is_refused_where_it_has_no_meaning(read):
    with pytest.raises(UnsupportedError, match=r"'l' \(Accuracy\): loss_weight has no meaning here"):
        read(f'layer {{ name: "l" type: "Accuracy" {TWO} loss_weight: 1 }}')
    with pytest.raises(FormatError, match="has 1 loss_weight for 0 tops"):
        read('layer { name: "l" type: "Silence" bottom: "a" loss_weight: 1 }')
    changed = 'layer {{ name: "r" type: "ReLU" bottom: "{0}" top: "{0}" }}'
    text = 'layer { name: "t" type: "TanH" bottom: "a" top: "b" loss_weight: 1 }'
    with pytest.raises(UnsupportedError, match=r"'t' \(TanH\): loss_weight is on top 'b', which a later layer changes"):
        read(text + changed.format("b"))
    assert len(read(text + changed.format("a"))) == 3
    assert len(read(text.replace('top: "b"', 'top: "a"') + changed.format("c"))) == 3  # in place itself


LOADED = """
layer {{ name: "a" type: "Input" top: "a" input_param {{ shape {{ dim: [4, 3] }} }} }}
layer {{ name: "l" type: "Input" top: "l" input_param {{ shape {{ dim: 4 }} }} }}
layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "a" bottom: "l" {} }}
"""


def test_the_probabilities_at_which_caffe_stops(tmp_path, rng):
    """Caffe's master aborts on SoftmaxWithLoss with a second top. Here it is the softmax, whatever the loss weighs."""
    file = tmp_path / "net.prototxt"
    file.write_text(LOADED.format('top: "v" top: "prob" loss_weight: 0.5 loss_weight: 2'))
    net = load_caffe(file, backend="reference", dtype="float64")
    x, label = rng.normal(size=(4, 3)), np.array([0, 2, 1, 1])
    loss = net.forward_backward(inputs={"a": x, "l": label})
    p = np.exp(x) / np.exp(x).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(net.output_blobs["prob"].data, p, rtol=1e-14)
    value = -np.log(p[np.arange(4), label]).mean()
    assert net.output_blobs["v"].data == pytest.approx(value, rel=1e-14)
    assert loss == pytest.approx(
        0.5 * value + 2 * 4, rel=1e-14
    )  # probabilities sum to 1, so their weight has no gradient
    np.testing.assert_allclose(net.diff_blobs["a"].data, 0.5 * (p - np.eye(3)[label]) / 4, rtol=1e-12)


def test_a_loss_of_weight_0_is_shown_and_not_trained(tmp_path, rng):
    file = tmp_path / "net.prototxt"
    file.write_text(LOADED.format('top: "v" loss_weight: 0'))
    net = load_caffe(file, backend="reference")
    assert net.forward_backward(inputs={"a": rng.normal(size=(4, 3)), "l": np.zeros(4)}) == 0
    assert net.output_blobs["v"].data > 0
    assert not net.diff_blobs["a"].data.any()


def test_a_label_outside_the_classes(tmp_path):
    """Caffe's release build reads beyond the array."""
    file = tmp_path / "net.prototxt"
    file.write_text(LOADED.format(""))
    net = load_caffe(file, backend="reference")
    with pytest.raises(ShapeError, match=r"loss \(SoftmaxLossLayer\): label 3 is not one of the 3 classes 0 .. 2"):
        net.forward({"a": np.zeros((4, 3)), "l": np.array([0, 1, 3, 2])})


# ------------------------------------------------------------------------------------------------------------- recurrent
def test_recurrent_layers(one):
    block = (
        'recurrent_param { num_output: 5 weight_filler { type: "xavier" } bias_filler { value: 1 } debug_info: true }'
    )
    for kind, config, roles in (
        ("RNN", layers.RNNLayer, ["weight_x", "bias", "weight_h", "weight_o", "bias_o"]),
        ("LSTM", layers.LSTMLayer, ["weight_x", "bias", "weight_h"]),
    ):
        layer = one(kind, block, 'bottom: "x" bottom: "cont" top: "y"')
        assert type(layer) is config and list(layer.roles) == roles
        assert (layer.output_dim, layer.expose_hidden, layer.static) == (5, False, False)
        for role in roles:
            filler = ConstantInitializer(1.0) if role.startswith("bias") else XavierInitializer("fan_in")
            assert getattr(layer, f"{role}_init") == filler
            assert getattr(layer, f"{role}_regu") == L2Regu(1.0, "caffe")


def test_specs_go_to_the_parameters_in_caffes_order(one):
    specs = "".join(f'param {{ name: "p{i}" lr_mult: {i} decay_mult: {i} }}' for i in range(6))
    layer = one("RNN", f"{specs} recurrent_param {{ num_output: 2 }}", 'bottom: "x" bottom: "c" bottom: "s" top: "y"')
    roles = ("weight_x", "bias", "weight_static", "weight_h", "weight_o", "bias_o")
    assert layer.static and layer.roles == roles
    assert [getattr(layer, f"{role}_lr") for role in roles] == list(range(6))
    assert layer.weight_x_regu == NoRegu() and layer.bias_o_regu == L2Regu(5.0, "caffe")
    assert list(layer.param_names) == [f"p{i}" for i in range(6)]
    with pytest.raises(FormatError, match="6 param blocks for 3 parameters"):
        one("LSTM", f"{specs} recurrent_param {{ num_output: 2 }}", 'bottom: "x" bottom: "c" top: "y"')


@pytest.mark.parametrize(("bottoms", "static"), [(4, False), (5, True)])
def test_exposed_states_and_static_input_are_told_apart_by_their_number(one, bottoms, static):
    wiring = "".join(f'bottom: "b{i}" ' for i in range(bottoms)) + 'top: "y" top: "h" top: "c"'
    layer = one("LSTM", "recurrent_param { num_output: 2 expose_hidden: true }", wiring)
    assert layer.static is static and layer.exposed == 2


# -------------------------------------------------------------------------------------------------------------- refusals
REFUSED = [
    ("InfogainLoss", "", TWO, "neither a third bottom nor infogain_loss_param source"),
    ("ContrastiveLoss", "contrastive_loss_param { margin: nan }", THREE, "margin is nan; expected a finite number"),
    ("EuclideanLoss", "loss_param { normalization: FULL }", TWO, "loss_param has no meaning for this type"),
    ("EuclideanLoss", "loss_weight: inf", TWO, "loss_weight is inf; expected a finite number"),
    ("HingeLoss", "loss_weight: [1, 2]", TWO, "has 2 loss_weight for 1 tops"),
    ("MultinomialLogisticLoss", "softmax_param { axis: 1 }", TWO, "softmax_param has no meaning for this type"),
    ("LSTM", "", TWO, "num_output is missing"),
    ("RNN", "inner_product_param { num_output: 2 }", TWO, "num_output is missing"),
]


@pytest.mark.parametrize(("kind", "text", "wiring", "message"), REFUSED, ids=[f"{r[0]} {r[3][:24]}" for r in REFUSED])
def test_what_cannot_be_had_is_refused_by_name(one, kind, text, wiring, message):
    with pytest.raises(
        (UnsupportedError, FormatError, ShapeError), match=rf"net\.prototxt: .*'l' \({kind}\): .*{message}"
    ):
        one(kind, text, wiring=wiring)


# --------------------------------------------------------------------------------------------------------------- writing
def written(layer):
    """Our layer in Caffe's words."""
    wiring = {"bottom": layer.bottoms, "top": layer.tops}
    message = text_message("LayerParameter")(name=layer.name, **wiring)
    WRITERS[type(layer)](layer, Wording(layer, message))
    return message


_REGU = {f"{r}_regu": L2Regu(1.0, "caffe") for r in ("weight_x", "bias", "weight_static", "weight_h")}
_INIT = {f"{r}_init": GaussianInitializer(0.0, 0.5) for r in ("weight_x", "weight_static", "weight_h")}
ROUND = [
    *(layer for _, _, layer in SPOKEN),
    layers.SoftmaxLossLayer(**WIRED | {"tops": ["loss", "prob"]}, weight=0.5, axis=1, normalization="none"),
    layers.SoftmaxLossLayer(**WIRED | {"tops": ["loss", "prob"]}, axis=1, normalization="valid"),
    layers.SigmoidCrossEntropyLossLayer(**WIRED, weight=0.25, normalization="full", ignore_label=-1),
    layers.InfogainLossLayer(**WIRED | {"bottoms": ["a", "b", "c"]}, axis=2, ignore_label=0),
    layers.ContrastiveLossLayer(**WIRED | {"bottoms": ["a", "b", "c"]}, margin=3.5, weight=2.0, legacy_version=True),
]


@pytest.mark.parametrize("layer", ROUND, ids=lambda layer: type(layer).__name__)
def test_what_is_written_reads_back(layer):
    assert translate(LayerText(written(layer), "test", "net.prototxt")) == [layer]


def test_recurrent_layers_read_back():
    fields = {"output_dim": 5, "bias_init": ConstantInitializer(0.5), "weight_h_lr": 0.25} | _REGU | _INIT
    lstm = layers.LSTMLayer(name="l", bottoms=list("xcshm"), tops=["y", "h", "m"], expose_hidden=True, **fields)
    assert translate(LayerText(written(lstm), "test", "net.prototxt")) == [lstm]
    fields |= {"weight_o_regu": L2Regu(1.0, "caffe"), "bias_o_regu": NoRegu(), "weight_o_init": _INIT["weight_h_init"]}
    fields |= {"bias_o_init": ConstantInitializer(0.5), "param_names": ["", "b", "", "", "o", ""]}
    rnn = layers.RNNLayer(name="l", bottoms=["x", "c", "s"], tops=["y"], **fields)
    (read,) = translate(LayerText(written(rnn), "test", "net.prototxt"))
    assert read.copy(param_names=tuple(read.param_names)) == rnn.copy(param_names=tuple(rnn.param_names))


def test_mochas_words_for_the_same():
    """`dim` counts from the last axis, and "mocha" counts labels as "full" does."""
    (read,) = translate(LayerText(written(layers.SoftmaxLossLayer(**WIRED)), "test", "net.prototxt"))
    assert (read.axis, read.normalization) == (1, "full")
    message = written(layers.AccuracyLayer(name="l", bottoms=["a", "b"], dim=1, report_error=True))
    assert message.accuracy_param.axis == -1
    assert list(message.top) == ["l"]  # Caffe's Accuracy must name one


def test_a_sum_is_written_as_a_layer_of_its_own():
    message = written(layers.SumLossLayer(name="s", bottoms=["a"], weight=0.5))
    assert (message.type, list(message.top), list(message.loss_weight)) == ("Reduction", ["s"], [0.5])


UNSPEAKABLE = [
    (layers.HingeLossLayer(**WIRED), "labels='signs' has no words in Caffe"),
    (layers.MultinomialLogisticLossLayer(**WIRED, axis=2), "axis 2 has no words in Caffe"),
    (layers.InfogainLossLayer(**WIRED, infogain=[[1]]), "feed it as a third bottom"),
    (layers.ContrastiveLossLayer(**WIRED, epsilon=0.0), "epsilon 0 has no words in Caffe"),
    (layers.LSTMLayer(**WIRED, output_dim=2, weight_h_init=ConstantInitializer(0.5)), "one weight_filler"),
]


@pytest.mark.parametrize(("layer", "message"), UNSPEAKABLE, ids=[u[1][:20] for u in UNSPEAKABLE])
def test_what_caffe_has_no_words_for(layer, message):
    with pytest.raises(UnsupportedError, match=rf"l \({type(layer).__name__}\): .*{message}"):
        written(layer)
