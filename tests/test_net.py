"""Wiring, sharing, freezing, and looking inside."""

import io
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fullmocha as fm
from fullmocha.wiring import wire


def data(*tops: str, shape: tuple[int, ...] = (2, 3, 5, 4)) -> fm.InputLayer:
    return fm.InputLayer(tops=list(tops), shapes=[shape] * len(tops))


def ip(name: str, bottom: str, top: str | None = None, **fields: object) -> fm.InnerProductLayer:
    return fm.InnerProductLayer(name=name, bottoms=[bottom], tops=[top or name], output_dim=3, **fields)


def relu(blob: str, name: str = "relu") -> fm.ReLULayer:
    return fm.ReLULayer(name=name, bottoms=[blob], tops=[blob])


def order(net: fm.Net) -> list[str]:
    return [node.layer.name for node in net.nodes]


def test_layers_run_in_the_order_of_their_blobs() -> None:
    net = fm.Net("net", "reference", [ip("c", "b"), ip("b", "a"), [ip("a", "x"), [data("x")]]])
    assert order(net) == ["input", "a", "b", "c"]


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([data("x"), ip("a", "x", "y"), ip("b", "x", "y")], r'"y" is a top of a \(InnerProductLayer\) and of b'),
        ([data("x"), ip("a", "nothing")], r'a \(InnerProductLayer\): its bottom "nothing" is no layer\'s top'),
        ([data("x"), ip("a", "b", "c"), ip("b", "c", "b")], r"loop: a \(InnerProductLayer\), b"),
        ([data("x"), fm.InnerProductLayer(name="a", bottoms=["x"], output_dim=2)], "as many tops as bottoms"),
        ([data("x"), fm.SplitLayer(bottoms=["x"], tops=[])], "names no tops"),
    ],
)
def test_what_is_no_net_is_refused_by_name(layers: list, message: str) -> None:
    with pytest.raises(fm.TopologyError, match=message):
        fm.Net("net", "reference", layers)


def test_in_place_layers_run_before_other_readers_and_keep_what_backward_needs(rng: np.random.Generator) -> None:
    reader = ip("reader", "x", "z")
    twice = fm.SigmoidLayer(name="again", bottoms=["x"], tops=["x"])
    net = fm.Net("net", "reference", [reader, relu("x"), twice, data("x")], dtype="float64")
    net.init()
    assert order(net) == ["input", "relu", "again", "reader"]
    x = rng.normal(size=(2, 3, 5, 4))
    net.forward_backward(inputs={"x": x}, seeds={"z": np.ones((2, 3))})
    s = 1 / (1 + np.exp(-np.maximum(x, 0)))
    np.testing.assert_allclose(net.output_blobs["x"].data, s, rtol=1e-15)  # the last value
    w = net.params["reader"][0].values()
    expected = w.sum(0).reshape(1, 3, 5, 4) * s * (1 - s) * (x > 0)
    np.testing.assert_allclose(net.diff_blobs["x"].data, expected, rtol=1e-13, atol=1e-16)  # the first one's gradient


def test_a_blob_with_several_readers_gets_the_sum_of_their_gradients(rng: np.random.Generator) -> None:
    net = fm.Net("net", "reference", [data("x"), ip("a", "x"), ip("b", "x")], dtype="float64")
    net.init()
    ga, gb = rng.normal(size=(2, 2, 3))
    net.forward_backward(inputs={"x": rng.normal(size=(2, 3, 5, 4))}, seeds={"a": ga, "b": gb})
    expected = ga @ net.params["a"][0].values() + gb @ net.params["b"][0].values()
    np.testing.assert_allclose(net.diff_blobs["x"].data.reshape(2, -1), expected, rtol=1e-12, atol=1e-14)


def test_a_shared_parameter_is_one_with_one_summed_gradient(rng: np.random.Generator) -> None:
    net = fm.Net(
        "net", "reference", [data("x", "y"), ip("a", "x", param_key="w"), ip("b", "y", param_key="w")], dtype="float64"
    )
    net.init()
    assert net.params["a"][0] is net.params["b"][0]
    assert len(net.parameters) == 2
    x, y = rng.normal(size=(2, 2, 3, 5, 4))
    ga, gb = rng.normal(size=(2, 2, 3))
    net.forward_backward(inputs={"x": x, "y": y}, seeds={"a": ga, "b": gb})
    expected = ga.T @ x.reshape(2, -1) + gb.T @ y.reshape(2, -1)
    np.testing.assert_allclose(net.params["a"][0].gradient, expected, rtol=1e-12, atol=1e-14)


def test_single_parameters_are_shared_by_name(rng: np.random.Generator) -> None:
    layers = [data("x"), ip("a", "x", param_names=["w"]), ip("b", "x", param_names=["w", "own"])]
    net = fm.Net("net", "reference", layers, dtype="float64")
    net.init()
    assert net.params["a"][0] is net.params["b"][0] and net.params["a"][1] is not net.params["b"][1]
    assert len(net.parameters) == 3
    x, ga, gb = rng.normal(size=(2, 3, 5, 4)), rng.normal(size=(2, 3)), rng.normal(size=(2, 3))
    net.forward_backward(inputs={"x": x}, seeds={"a": ga, "b": gb})
    np.testing.assert_allclose(net.params["b"][0].gradient, (ga + gb).T @ x.reshape(2, -1), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(net.params["a"][1].gradient, ga.sum(0), rtol=1e-12)
    np.testing.assert_allclose(net.params["b"][1].gradient, gb.sum(0), rtol=1e-12)


def test_propagate_down_keeps_a_gradient_back(rng: np.random.Generator) -> None:
    layers = [data("x"), ip("a", "x"), ip("b", "a", propagate_down=[False]), ip("c", "a")]
    net = fm.Net("net", "reference", layers, dtype="float64")
    net.init()
    gb, gc = rng.normal(size=(2, 2, 3))
    net.forward_backward(inputs={"x": rng.normal(size=(2, 3, 5, 4))}, seeds={"b": gb, "c": gc})
    np.testing.assert_allclose(net.diff_blobs["a"].data, gc @ net.params["c"][0].values(), rtol=1e-12)
    assert np.abs(net.params["b"][0].gradient).max() > 0  # the layer itself still learns
    labels = fm.InputLayer(name="labels", tops=["y"], shapes=[(2, 1)])
    loss = fm.SoftmaxLossLayer(name="loss", bottoms=["b", "y"])
    with pytest.raises(fm.TopologyError, match=r"a .*no loss depends"):
        fm.Net("cut", "reference", [labels, *layers[:3], loss]).check_bp_topology()


def test_nets_share_parameters_through_one_backend_object_only() -> None:
    backend = fm.ReferenceBackend()
    one, two, other = (fm.Net("net", b, [data("x"), ip("a", "x")]) for b in (backend, backend, fm.ReferenceBackend()))
    assert one.params["a"][0] is two.params["a"][0]
    assert one.params["a"][0] is not other.params["a"][0]
    one.init()
    kept = one.params["a"][0].values()
    two.init()  # an initialiser runs once per parameter
    np.testing.assert_array_equal(one.params["a"][0].values(), kept)
    with pytest.raises(fm.ShapeError, match=r"a \(InnerProductLayer\).*\(3, 2\).*\(3, 60\).*param_key"):
        fm.Net("clash", backend, [data("x", shape=(1, 2)), ip("a", "x")])
    fm.registry_reset(backend)
    fm.Net("free", backend, [data("x", shape=(1, 2)), ip("a", "x")])


def test_frozen_layers_have_no_gradient_but_pass_it_on(rng: np.random.Generator) -> None:
    net = fm.Net("net", "reference", [data("x"), ip("a", "x"), ip("b", "a")], dtype="float64")
    net.init()
    net.freeze("b")
    assert {p.name for p in net.trainable} == {"a weight", "a bias"}
    net.forward_backward(inputs={"x": rng.normal(size=(2, 3, 5, 4))}, seeds={"b": rng.normal(size=(2, 3))})
    assert np.abs(net.params["a"][0].gradient).max() > 0
    net.unfreeze("b")
    net.forward_backward(seeds={"b": rng.normal(size=(2, 3))})
    assert np.abs(net.params["b"][0].gradient).max() > 0


def test_every_write_bumps_the_version() -> None:
    net = fm.Net("net", "reference", [data("x"), ip("a", "x")])
    (weight, _), versions = net.params["a"], []
    for write in (
        net.init,
        lambda: setattr(weight, "data", np.ones(weight.shape)),
        lambda: weight.data.fill(2),
        weight.touch,
    ):
        write()
        versions.append(weight.version)
    assert versions == sorted(set(versions))
    weight.values(), weight.array
    assert weight.version == versions[-1]


def test_loading_is_all_or_nothing() -> None:
    net = fm.Net("net", "reference", [data("x"), ip("a", "x"), ip("b", "a")])
    net.init()
    before = [p.values() for p in net.parameters]
    good = [np.ones((3, 60)), np.ones(3)]
    for bad, message in (
        ({"a": good, "b": [np.ones((3, 4)), np.ones(3)]}, r"'b'.*\(3, 4\).*\(3, 3\)"),
        ({"a": good, "b": [np.full((3, 3), np.nan), np.ones(3)]}, "'b': its weight holds NaN"),
        ({"a": good, "c": good}, "no layer 'c'"),
    ):
        with pytest.raises(fm.WeightsError, match=message):
            net.load_params(bad)
    for parameter, kept in zip(net.parameters, before, strict=True):
        np.testing.assert_array_equal(parameter.values(), kept)
    net.load_params({"a": good})
    net.init()
    np.testing.assert_array_equal(net.params["a"][0].values(), 1)


def test_a_trained_layer_without_a_loss_is_refused() -> None:
    loss = fm.SoftmaxLossLayer(bottoms=["a", "label"])
    labels = fm.InputLayer(name="labels", tops=["label"], shapes=[(2, 1)])
    net = fm.Net("net", "reference", [data("x"), labels, ip("a", "x"), ip("dangling", "x"), loss])
    with pytest.raises(fm.TopologyError, match=r"dangling .*no loss depends on its top 'dangling'"):
        net.check_bp_topology()
    net.freeze("dangling")
    net.check_bp_topology()


def test_a_loss_of_a_loss_is_refused() -> None:
    labels = fm.InputLayer(name="labels", tops=["label"], shapes=[(2, 1)])
    loss = fm.SoftmaxLossLayer(name="loss", bottoms=["a", "label"], tops=["loss"])
    tripled = fm.PowerLayer(name="tripled", bottoms=["loss"], tops=["tripled"], scale=3.0)
    total = fm.SumLossLayer(name="total", bottoms=["tripled"])
    layers = [data("x"), labels, ip("a", "x"), loss, tripled]
    with pytest.raises(fm.TopologyError, match=r"loss \(SoftmaxLossLayer\): another loss depends on its top 'loss'"):
        fm.Net("net", "reference", [*layers, total]).check_bp_topology()
    both = loss.copy(tops=["loss", "prob"])
    with pytest.raises(fm.TopologyError, match=r"loss \(SoftmaxLossLayer\): another loss depends on its top 'prob'"):
        fm.Net("net", "reference", [*layers[:3], both, total.copy(bottoms=["prob"])]).check_bp_topology()
    fm.Net("net", "reference", layers).check_bp_topology()  # to be looked at only
    fm.Net("net", "reference", [*layers, total.copy(propagate_down=[False])]).check_bp_topology()


def test_feeding_another_size_reshapes_what_can_be(rng: np.random.Generator) -> None:
    conv = fm.ConvolutionLayer(name="conv", bottoms=["x"], tops=["conv"], kernel=3, n_filter=2)
    net = fm.Net("net", "reference", [data("x"), conv])
    net.init()
    net.forward({"x": rng.normal(size=(1, 3, 8, 9))})
    assert net.output_blobs["conv"].data.shape == (1, 2, 6, 7)
    with pytest.raises(fm.ShapeError, match=r"conv .*\(2, 4, 3, 3\)"):
        net.forward({"x": rng.normal(size=(1, 4, 8, 9))})
    with pytest.raises(fm.ShapeError, match=r"no input 'z'.*\['x'\]"):
        net.forward({"z": np.zeros(3)})


def test_print_lists_layers_and_shapes() -> None:
    text = str(fm.Net("net", "reference", [data("x"), ip("a", "x"), relu("a")]))
    assert text.startswith("NAME: net\nBACKEND: ReferenceBackend()\nARCHITECTURE: 3 layers")
    assert "InnerProduct(a): 3 outputs" in text and "Blob(2 x 3 x 5 x 4)" in text


def test_net2dot_is_a_graph_of_all_layers() -> None:
    out = io.StringIO()
    fm.net2dot(out, fm.Net('say "net"', "reference", [data("x"), ip("a", "x"), ip("b", "a")]))
    text = out.getvalue()
    assert text.startswith('digraph "say \\"net\\"" {') and text.rstrip().endswith("}")
    assert re.findall(r"(n\d) -> (n\d)", text) == [("n0", "n1"), ("n1", "n2")]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: fm.ConvolutionLayer(name="c", bottoms=["x"], tops=["c"], kernel=0),
            r"c \(ConvolutionLayer\): kernel must be an integer >= 1",
        ),
        (
            lambda: fm.ConvolutionLayer(name="c", bottoms=["x"], tops=["c"], kernel=(2, 3), stride=(1, 2, 3)),
            r"kernel \(2, 3\), stride \(1, 2, 3\) are for different numbers of axes",
        ),
        (
            lambda: fm.Net(
                "n",
                "reference",
                [data("x"), fm.ConvolutionLayer(name="c", bottoms=["x"], tops=["c"], kernel=(1, 2, 1))],
            ),
            r"kernel \(1, 2, 1\) has 3 sizes, but its bottom has 2 spatial axes",
        ),
        (
            lambda: fm.ConvolutionLayer(name="c", bottoms=["x"], tops=["c"], n_filter=4, n_group=3),
            "n_group=3, n_filter=4",
        ),
        (lambda: fm.PoolingLayer(name="p", bottoms=["x"], tops=["p"], kernel=2, pad=2), "pad"),
        (lambda: fm.DropoutLayer(bottoms=["x"], ratio=1.0), "between 0 and 1"),
        (lambda: fm.MemoryDataLayer(batch_size=0, data=[np.ones((2, 1)), np.ones((2, 1))]), "batch_size"),
        (lambda: fm.Net("n", "cray", [data("x")]), "backend 'cray' is unknown"),
        (
            lambda: fm.Net(
                "n", "reference", [data("x"), fm.ConvolutionLayer(name="c", bottoms=["x"], tops=["c"], kernel=9)]
            ),
            "spans 9x9.*5x4",
        ),
    ],
)
def test_bad_configs_are_refused_at_the_door(make: object, message: str) -> None:
    with pytest.raises((fm.ShapeError, fm.UnsupportedError), match=message):
        make()


def test_unknown_keywords_are_an_error() -> None:
    with pytest.raises(TypeError, match="kernal"):
        fm.ConvolutionLayer(name="c", bottoms=["x"], tops=["c"], kernal=3)


def test_tuples_are_width_height() -> None:
    conv = fm.ConvolutionLayer(name="c", bottoms=["x"], tops=["c"], kernel=(5, 2), stride=(3, 1), pad=(1, 0))
    assert conv.shape([(1, 1, 10, 13)]) == [(1, 1, 9, 4)]
    assert conv.copy(n_filter=2).window == conv.window


def test_layers_may_stay_unnamed() -> None:
    """Losses, data and states are found by name, so layers of one name get names of their own."""
    x, labels = np.random.default_rng(1).normal(size=(4, 3, 2, 2)), np.zeros((4, 1))
    layers = [
        fm.MemoryDataLayer(batch_size=2, tops=["x", "label"], data=[x, labels]),
        fm.MemoryDataLayer(batch_size=2, tops=["y"], data=[10 + x]),
        ip("a", "x"),
        ip("softmax-loss-2", "y", "b"),
        fm.SoftmaxLossLayer(bottoms=["a", "label"]),
        fm.SoftmaxLossLayer(bottoms=["b", "label"], weight=3.0),
        fm.MemoryOutputLayer(bottoms=["x"]),
        fm.MemoryOutputLayer(bottoms=["y"]),
    ]
    net = fm.Net("net", "reference", layers)
    names = ["memory-data", "memory-data-2", "softmax-loss", "softmax-loss-2", "softmax-loss-3", "memory-output-2"]
    assert sorted([*names, "a", "memory-output"]) == sorted(order(net))
    net.init()
    loss = net.forward()
    assert loss == net.node("softmax-loss").state.loss + net.node("softmax-loss-3").state.loss
    for name, blob in (("memory-output", "x"), ("memory-output-2", "y")):
        np.testing.assert_array_equal(net.node(name).state.outputs[0][0], net.output_blobs[blob].data)


def test_the_layer_with_parameters_keeps_a_repeated_name() -> None:
    """Caffe files repeat names; weights are looked up under the file's."""
    net = fm.Net("net", "reference", [data("x"), fm.ReLULayer(name="a", bottoms=["x"], tops=["r"]), ip("a", "r", "y")])
    assert order(net) == ["input", "a-2", "a"]
    assert [p.shape for p in net.params["a"]] == [(3, 60), (3,)]


def test_two_layers_with_parameters_of_one_name_are_refused() -> None:
    conv = fm.ConvolutionLayer(name="a", bottoms=["x"], tops=["c"], kernel=1)
    message = r"^a \(ConvolutionLayer\) and a \(InnerProductLayer\): .* name them apart.* param_key"
    with pytest.raises(fm.TopologyError, match=message):
        fm.Net("net", "reference", [data("x"), conv, ip("a", "c")])


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (lambda: [data("x"), "conv"], r"'conv' \(str\) is no layer"),
        (lambda: "conv", r"'conv' \(str\) is no layer"),
        (lambda: [data("x"), [None]], r"None \(NoneType\) is no layer"),
        (lambda: [data("x"), 3], r"3 \(int\) is no layer"),
        (lambda: {"data": data("x")}, r"\(dict\) is no layer"),
        (lambda: [fm.ReLULayer], r"ReLULayer.* \(type\) is no layer"),
        (lambda: data("x"), r"got the one layer input \(InputLayer\): put it into a list"),
        (lambda: [], "there are no layers"),
        (lambda: [[], ()], "there are no layers"),
    ],
)
def test_what_is_no_layer_is_said(layers: Callable[[], Any], message: str) -> None:
    with pytest.raises(fm.TopologyError, match=message):
        wire(layers())


def test_a_generator_of_layers_is_a_net() -> None:
    wiring = wire(layer for layer in (data("x"), [ip("a", "x")]))
    assert [link.layer.name for link in wiring.links] == ["input", "a"]


def test_a_blob_may_be_called_like_an_earlier_value(rng: np.random.Generator) -> None:
    """Of the values named x the first is called x#1 inside, unless a blob of the user's has that name."""
    layers = [
        data("data"),
        fm.SplitLayer(bottoms=["data"], tops=["x"]),
        relu("x"),
        fm.SigmoidLayer(name="sigmoid", bottoms=["data"], tops=["x#1"]),
    ]
    net = fm.Net("net", "reference", layers, dtype="float64")
    x = rng.normal(size=(2, 3, 5, 4))
    net.forward({"data": x})
    np.testing.assert_array_equal(net.output_blobs["x"].data, np.maximum(x, 0))
    np.testing.assert_allclose(net.output_blobs["x#1"].data, 1 / (1 + np.exp(-x)), rtol=1e-15)
    assert sorted(net.blobs) == ["data", "x", "x##1", "x#1"]
    assert sorted(fm.Net("net", "reference", layers[:-1]).blobs) == ["data", "x", "x#1"]


def test_names_of_inserted_values_are_refused() -> None:
    with pytest.raises(fm.TopologyError, match=r'blob "x~y~whole".* "x~y", is kept'):
        fm.Net("net", "reference", [data("x~y"), ip("a", "x~y", "x~y~whole")])


def test_values_set_in_place_before_init_stay(rng: np.random.Generator) -> None:
    """Looking alone does not count: whoever prints an undrawn parameter still gets drawn weights."""
    layers = [data("x"), ip("set", "x"), ip("seen", "x")]
    net = fm.Net("net", "reference", layers)
    w = rng.normal(size=net.params["set"][0].shape).astype(np.float32)
    assert not net.params["set"][0].initialised
    net.params["set"][0].data[...] = w
    assert np.array_equal(net.params["seen"][0].data, np.zeros_like(w))
    assert net.params["set"][0].initialised and not net.params["seen"][0].initialised
    net.init()
    np.testing.assert_array_equal(net.params["set"][0].values(), w)
    assert net.params["seen"][0].values().all()
    net.params["seen"][0].data[...] = 0  # drawn once is drawn
    net.init()
    assert not net.params["seen"][0].values().any()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.ones((3, 1)), r"blob 'a weight' has the shape \(3, 60\), the values \(3, 1\)"),
        (np.ones(60), r"values \(60,\)"),
        (np.ones((1, 3, 60)), r"values \(1, 3, 60\)"),
        (np.ones((60, 3)), r"values \(60, 3\)"),
        (np.ones((3, 60), complex), r"blob 'a weight' holds real numbers, float32; got complex128"),
        (None, r"holds real numbers, float32; got object"),
        ("1", r"holds real numbers, float32; got <U1"),
    ],
)
def test_blobs_take_their_own_shape_and_real_numbers_only(value: object, message: str) -> None:
    net = fm.Net("net", "reference", [data("x"), ip("a", "x")])
    weight = net.params["a"][0]
    with pytest.raises(fm.ShapeError, match=message):
        weight.data = value
    assert not weight.initialised


def test_seeds_have_the_blobs_shape() -> None:
    net = fm.Net("net", "reference", [data("x"), ip("a", "x")])
    with pytest.raises(fm.ShapeError, match=r"'a gradient' has the shape \(2, 3\), the values \(3,\)"):
        net.forward_backward(inputs={"x": np.ones((2, 3, 5, 4))}, seeds={"a": np.ones(3)})


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_blobs_copy_values_of_any_layout_and_number_type(backend: str, rng: np.random.Generator) -> None:
    net = fm.Net("net", backend, [data("x", shape=(2, 3, 5, 4)), ip("a", "x")])
    values = rng.integers(-9, 9, (2, 3, 5, 4))
    read_only = values.astype(np.float32)
    read_only.flags.writeable = False
    wide = np.repeat(values.astype(np.float64), 2, axis=3)[..., ::2]
    expected = values.astype(np.float32)
    for given in (values, values.astype(np.int8), values.tolist(), np.asfortranarray(expected), read_only, wide):
        blob = net.output_blobs["x"]
        blob.data = 7
        assert (blob.data == 7).all()
        blob.data = given
        np.testing.assert_array_equal(blob.data, expected)
    blob.data = backwards = expected[:, :, ::-1, ::-1]
    np.testing.assert_array_equal(blob.data, backwards)
    blob.data = values > 0
    np.testing.assert_array_equal(blob.data, (values > 0).astype(np.float32))


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_an_empty_batch_has_an_empty_answer(backend: str) -> None:
    conv = fm.ConvolutionLayer(name="conv", bottoms=["x"], tops=["conv"], kernel=3, n_filter=2)
    net = fm.Net("net", backend, [data("x"), conv, ip("a", "conv")])
    net.init()
    empty = {"x": np.zeros((0, 3, 5, 4))}
    assert net.forward_backward(inputs=empty, seeds={"a": np.zeros((0, 3))}) == 0.0
    assert net.output_blobs["a"].data.shape == (0, 3)
    assert not net.params["conv"][0].gradient.any()


@pytest.mark.parametrize(
    "make",
    [
        lambda: fm.L2Cons(-1.0),
        lambda: fm.L2Cons(4.5, every_n_iter=-2),
        lambda: fm.L2Regu(-1),
        lambda: fm.L1Regu("1"),
        lambda: fm.L2Regu(1.0, convention="Caffe"),
    ],
)
def test_penalties_and_limits_are_checked_at_the_door(make: object) -> None:
    with pytest.raises(fm.ShapeError, match=r"(L2Cons|L2Regu|L1Regu): \w+ must be"):
        make()


def test_a_shared_parameter_is_trained_in_one_way() -> None:
    backend = fm.ReferenceBackend()
    first, other = ip("a", "x", param_key="w"), ip("b", "x", param_key="w", weight_lr=0.1)
    with pytest.raises(fm.ShapeError, match=r"b \(InnerProductLayer\): asks for .*0\.1\).*another layer of this net"):
        fm.Net("net", backend, [data("x"), first, other])
    fm.registry_reset(backend)
    fm.Net("one", backend, [data("x"), first])
    with pytest.warns(UserWarning, match=r"key 'w' has .*1\.0\), which stays; call registry_reset"):
        fm.Net("two", backend, [data("x"), other])
