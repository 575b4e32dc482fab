"""Sliding is the definition; fragments and strided kernels must give its bits, and the fast backend its values."""

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import fullmocha as fm
from fullmocha.conversion import rewrite
from fullmocha.models import lenet, n4, u

from .strategies import PatchNet, patch_nets

_SETTINGS = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def build(spec: PatchNet, backend: str, dtype: str, seed: int = 1) -> fm.Net:
    net = fm.Net(
        "random", fm.ReferenceBackend(seed) if backend == "reference" else fm.CPUBackend(seed), spec.layers, dtype=dtype
    )
    net.init()
    return net


def image(spec: PatchNet, extra: tuple[int, int], dtype: str, seed: int = 2) -> np.ndarray:
    size = tuple(p + e for p, e in zip(spec.patch, extra, strict=True))
    return np.random.default_rng(seed).normal(size=(2, spec.channels, *size)).astype(dtype)


def three_ways(spec: PatchNet, extra: tuple[int, int], dtype: str) -> None:
    net = build(spec, "reference", dtype)
    x = image(spec, extra, dtype)
    sliding = fm.densify(net, "sliding").forward(x)
    assert sliding.shape == (2, spec.classes, extra[0] + 1, extra[1] + 1)
    assume(np.ptp(sliding) > 0)  # every unit dead: nothing would be compared
    for engine in ("strided", "fragments"):
        dense = fm.densify(net, engine).forward(x)
        np.testing.assert_array_equal(dense, sliding, err_msg=engine)


@_SETTINGS
@given(patch_nets(), st.tuples(st.integers(0, 7), st.integers(0, 7)), st.sampled_from(["float32", "float64"]))
def test_sliding_equals_fragments_equals_strided_bit_for_bit(
    spec: PatchNet, extra: tuple[int, int], dtype: str
) -> None:
    three_ways(spec, extra, dtype)


@pytest.mark.slow
@settings(max_examples=1000, deadline=None, suppress_health_check=list(HealthCheck))
@given(patch_nets(6), st.tuples(st.integers(0, 9), st.integers(0, 9)), st.sampled_from(["float32", "float64"]))
def test_sliding_equals_fragments_equals_strided_many(spec: PatchNet, extra: tuple[int, int], dtype: str) -> None:
    three_ways(spec, extra, dtype)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(patch_nets(), st.tuples(st.integers(0, 7), st.integers(0, 7)), st.sampled_from(["strided", "fragments"]))
def test_cpu_within_its_bounds(spec: PatchNet, extra: tuple[int, int], engine: str) -> None:
    """Class probabilities within 5e-5 of the float64 reference in float32, and 1e-12 in float64 (DESIGN section 4)."""
    x = image(spec, extra, "float64")
    exact = fm.densify(build(spec, "reference", "float64"), "strided").forward(x)
    for dtype, bound in (("float32", 5e-5), ("float64", 1e-12)):
        net = build(spec, "cpu", dtype)
        reference = build(spec, "reference", "float64")
        net.load_params({name: [p.values() for p in params] for name, params in reference.params.items()})
        y = fm.densify(net, engine).forward(x.astype(dtype))
        assert y.dtype == dtype
        assert np.abs(y - exact).max() <= bound


@pytest.mark.parametrize("engine", ["strided", "fragments"])
@pytest.mark.parametrize(("layers", "patch"), [(n4(3, 5), 95), (lenet(), 28)])
def test_the_reports_nets(layers: list, patch: int, engine: str, rng: np.random.Generator) -> None:
    net = fm.Net("net", fm.ReferenceBackend(3), layers, dtype="float64")
    net.init()
    x = rng.normal(size=(1, 1, patch + 5, patch + 8))
    dense = fm.densify(net, engine)
    assert dense.context == (patch - 1, patch - 1)
    np.testing.assert_array_equal(dense.forward(x), fm.densify(net, "sliding").forward(x))


def test_dense_follows_the_parameters(rng: np.random.Generator) -> None:
    net = fm.Net("net", fm.ReferenceBackend(3), n4(4, 8))
    net.init()
    dense = fm.densify(net)
    x = rng.normal(size=(1, 1, 97, 96)).astype(np.float32)
    before = dense.forward(x)
    net.params["conv3"][0].data *= 2
    after = dense.forward(x)
    assert np.abs(after - before).max() > 0
    np.testing.assert_array_equal(after, fm.densify(net, "sliding").forward(x))


def strip(*layers: fm.InputLayer, size: tuple[int, int] = (12, 12)) -> list:
    return [fm.InputLayer(tops=["data"], shapes=[(1, 1, *size)]), *layers]


def conv(name: str, bottom: str, **fields: object) -> fm.ConvolutionLayer:
    return fm.ConvolutionLayer(name=name, bottoms=[bottom], tops=[name], n_filter=2, **fields)


def test_a_window_over_the_patch_edge_is_refused_with_sizes_that_fit() -> None:
    pool = fm.PoolingLayer(name="pool2", bottoms=["conv1"], tops=["pool2"], kernel=2, stride=2)
    ip = fm.InnerProductLayer(name="ip", bottoms=["pool2"], tops=["ip"], output_dim=2)
    net = fm.Net("odd", "reference", strip(conv("conv1", "data", kernel=2), pool, ip))
    with pytest.raises(
        fm.NotDenseError,
        match=r"pool2 \(PoolingLayer\).*hangs \(1, 1\).*Patch sizes near 12x12 that fit: 11x11 and 13x13",
    ):
        fm.densify(net)


@pytest.mark.parametrize(
    ("layer", "rule"),
    [
        (conv("c", "data", kernel=3, pad=1), "pad 1x1"),
        (fm.PoolingLayer(name="c", bottoms=["data"], tops=["c"], kernel=3, stride=3, pad=1), "pad"),
        (fm.DeconvolutionLayer(name="c", bottoms=["data"], tops=["c"], kernel=2, stride=2, n_filter=2), "upsampling"),
        (fm.SoftmaxLayer(name="c", bottoms=["data"], tops=["c"], axis=2), "axis 2"),
    ],
)
def test_what_has_no_dense_form_is_refused_by_name(layer: fm.InputLayer, rule: str) -> None:
    ip = fm.InnerProductLayer(name="ip", bottoms=["c"], tops=["ip"], output_dim=2)
    net = fm.Net("padded", "reference", strip(layer, ip))
    net.init()
    with pytest.raises(fm.NotDenseError, match=rf"c \(\w+\): .*{rule}.*sliding"):
        fm.densify(net)
    assert fm.densify(net, "sliding").forward(np.zeros((1, 1, 14, 13), np.float32)).shape == (1, 2, 3, 2)


def test_branches_of_unequal_stride_are_refused_unless_single_elements() -> None:
    branches = [conv("a", "data", kernel=4, stride=2), conv("b", "data", kernel=8)]  # both leave 5 x 5 of 12 x 12
    join = fm.ConcatLayer(name="join", bottoms=["a", "b"], tops=["join"])
    ip = fm.InnerProductLayer(name="ip", bottoms=["join"], tops=["ip"], output_dim=2)
    net = fm.Net("fork", "reference", strip(*branches, join, ip))
    with pytest.raises(fm.NotDenseError, match=r"join .*strides 2x2 and 1x1"):
        fm.densify(net)

    deep = [conv("a", "data", kernel=4, stride=2), conv("a2", "a", kernel=5), conv("b", "data", kernel=12)]
    join = fm.ConcatLayer(name="join", bottoms=["a2", "b"], tops=["join"])
    net = fm.Net("fork", "reference", strip(*deep, join, ip))
    net.init()
    x = np.random.default_rng(0).normal(size=(2, 1, 17, 15)).astype(np.float32)
    expected = fm.densify(net, "sliding").forward(x)
    for engine in ("strided", "fragments"):
        np.testing.assert_array_equal(fm.densify(net, engine).forward(x), expected)


def test_crops_keep_their_place(rng: np.random.Generator) -> None:
    """A skip around a pool: both branches come back to one size by cropping, with odd margins."""
    layers = [
        fm.InputLayer(tops=["data"], shapes=[(1, 2, 13, 14)]),
        conv("a", "data", kernel=(2, 3), stride=2),  # 6 x 7
        conv("b", "a", kernel=3),  # 4 x 5
        fm.CropLayer(name="crop", bottoms=["a", "b"], tops=["skip"], offset=(1, 2)),
        fm.MergeCropLayer(name="merge", bottoms=["b", "a"], tops=["merged"]),
        fm.ConcatLayer(name="all", bottoms=["merged", "skip"], tops=["all"]),
        fm.InnerProductLayer(name="ip", bottoms=["all"], tops=["ip"], output_dim=3),
    ]
    net = fm.Net("skip", "reference", layers, dtype="float64")
    net.init()
    x = rng.normal(size=(2, 2, 20, 18))
    expected = fm.densify(net, "sliding").forward(x)
    for engine in ("strided", "fragments"):
        np.testing.assert_array_equal(fm.densify(net, engine).forward(x), expected)


def test_a_crop_sits_where_its_first_bottom_does(rng: np.random.Generator) -> None:
    """The blob that only gives a size has a lattice of its own, which must not matter; two answers per patch."""
    layers = [
        fm.InputLayer(tops=["data"], shapes=[(1, 1, 9, 13)]),
        conv("a", "data", kernel=2, stride=2),
        conv("b", "a", kernel=3, stride=2),
        fm.CropLayer(name="crop", bottoms=["a", "b"], tops=["c"], offset=(1, 0)),
    ]
    net = fm.Net("crop", "reference", layers, dtype="float64")
    net.init()
    x = rng.normal(size=(1, 1, 12, 16))
    expected = fm.densify(net, "sliding", output="c").forward(x)
    assert fm.densify(net, output="c").context == (8, 10)
    for engine in ("strided", "fragments"):
        np.testing.assert_array_equal(fm.densify(net, engine, output="c").forward(x), expected)


def test_no_redundant_work() -> None:
    """The dense N4 does 2 k^2 C K for every element of every map, maps as large as the outputs and the remaining context need."""
    net = fm.Net("n4", "reference", n4())
    flops = fm.densify(net).program((1, 1, 606, 606)).flops
    per_layer = [(603, 1, 48, 16), (598, 48, 48, 25), (584, 48, 48, 16), (560 - 4 + 4, 48, 48, 16)]
    sizes = [603, 606 - 3 - 1 - 8, 606 - 3 - 1 - 8 - 2 - 12, 606 - 3 - 1 - 8 - 2 - 12 - 4 - 24]
    convs = sum(2 * s * s * c * k * area for s, (_, c, k, area) in zip(sizes, per_layer, strict=True))
    tail = 2 * 512 * 512 * (48 * 9 * 200 + 200 * 2)
    assert flops == convs + tail


def test_fragments_do_the_same_work_when_they_are_equal() -> None:
    net = fm.Net("n4", "reference", n4(4, 5))
    shape = (1, 1, 94 + 32, 94 + 48)  # multiples of all 8 x 8 fragments
    assert fm.densify(net, "fragments").program(shape).flops == fm.densify(net, "strided").program(shape).flops


def test_several_outputs_want_a_choice() -> None:
    layers = [*n4(2, 3), fm.SoftmaxLayer(name="other", bottoms=["ip1"], tops=["other"])]
    net = fm.Net("two", "reference", layers)
    with pytest.raises(fm.ShapeError, match=r"2 outputs, \['other', 'prob'\]"):
        fm.densify(net)
    assert fm.densify(net, output="other").classes == 3


def test_lattice_of_every_blob() -> None:
    """Hand-worked for N4: where each blob sits when kernels are strided."""
    lattices = rewrite(fm.Net("n4", "reference", n4(2, 3)).sketch, "prob", fragments=False).places
    strides = {name: lattices[name].stride[0] for name in ("conv1", "pool1", "conv2", "pool2", "pool3", "pool4", "ip1")}
    assert strides == {"conv1": 1, "pool1": 2, "conv2": 2, "pool2": 4, "pool3": 8, "pool4": 16, "ip1": 1}
    assert lattices["pool4"].patch == (3, 3)
    assert lattices["pool4"].size((512, 512)) == (544, 544)


def strided_kernels() -> list:
    """Like SK: dense as it stands, 31 x 33 to 10 x 12, by dilations 1, 2 and 4."""
    relu = fm.Neurons.ReLU()
    layers: list = [fm.InputLayer(tops=["data"], shapes=[(1, 2, 31, 33)])]
    bottom = "data"
    for i, (kernel, dilation) in enumerate([(3, 1), (3, 2)]):
        layers.append(
            fm.ConvolutionLayer(
                name=f"conv{i}",
                bottoms=[bottom],
                tops=[f"conv{i}"],
                kernel=kernel,
                dilation=dilation,
                n_filter=4,
                neuron=relu,
            )
        )
        bottom = f"pool{i}"
        layers.append(fm.PoolingLayer(name=bottom, bottoms=[f"conv{i}"], tops=[bottom], kernel=2, dilation=dilation))
    ip = {"kernel": 4, "dilation": 4, "n_filter": 5}
    layers.append(fm.ConvolutionLayer(name="ip1", bottoms=[bottom], tops=["ip1"], neuron=relu, **ip))
    layers.append(fm.ConvolutionLayer(name="ip2", bottoms=["ip1"], tops=["ip2"], kernel=1, n_filter=3))
    return [*layers, fm.SoftmaxLayer(name="prob", bottoms=["ip2"], tops=["prob"])]


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_a_net_that_is_dense_already_runs_on_fragments(backend: str, rng: np.random.Generator) -> None:
    net = fm.Net(
        "sk", fm.ReferenceBackend(3) if backend == "reference" else fm.CPUBackend(3), strided_kernels(), dtype="float64"
    )
    net.init()
    auto, strided = fm.densify(net), fm.densify(net, "strided")
    assert [(d.native, d.engine, d.context) for d in (auto, strided)] == [
        (True, "fragments", (21, 21)),
        (True, "strided", (21, 21)),
    ]
    x = rng.normal(size=(2, 2, 37, 42))
    on_fragments, as_it_stands = auto.forward(x), strided.forward(x)
    assert np.ptp(as_it_stands) > 0.01
    if backend == "reference":
        np.testing.assert_array_equal(on_fragments, as_it_stands)
    else:
        assert (
            np.abs(on_fragments - as_it_stands).max() <= 1e-12
        )  # the bound for probabilities in float64, DESIGN section 4
    steps = [dense.program(x.shape).steps for dense in (auto, strided)]
    ops = [[step.op for step in some if step.op in ("fragment", "stitch")] for some in steps]
    assert ops == [["fragment", "fragment", "stitch"], []]
    assert {step.options["window"].dilation for step in steps[0] if "window" in step.options} == {(1, 1)}


def test_a_net_without_dilations_has_nothing_to_split() -> None:
    net = fm.Net("u", "reference", u(maps=2))
    shape = fm.densify(net).input_shape((20, 36))
    assert fm.densify(net, "fragments").program(shape) == fm.densify(net, "strided").program(shape)
