"""What single layers refuse, and by which words; and the dense forms of fields that few nets set."""

from typing import Any

import numpy as np
import pytest

import fullmocha as fm
from fullmocha.fully import training_net
from fullmocha.layers import Layer
from fullmocha.neurons import Neuron


def image(h: int = 12, w: int = 12, c: int = 1, n: int = 1, **fields: Any) -> fm.InputLayer:
    return fm.InputLayer(tops=["data"], shapes=[(n, c, h, w)], **fields)


def conv(name: str, bottom: str, **fields: Any) -> fm.ConvolutionLayer:
    return fm.ConvolutionLayer(name=name, bottoms=[bottom], tops=[name], **({"n_filter": 2, "kernel": 3} | fields))


def pool(name: str, bottom: str, kernel: Any, **fields: Any) -> fm.PoolingLayer:
    return fm.PoolingLayer(name=name, bottoms=[bottom], tops=[name], **({"kernel": kernel, "stride": kernel} | fields))


def ip(bottom: str, name: str = "ip", outputs: Any = 2, **fields: Any) -> fm.InnerProductLayer:
    return fm.InnerProductLayer(name=name, bottoms=[bottom], tops=[name], output_dim=outputs, **fields)


def build(*layers: Layer, backend: fm.Backend | None = None) -> fm.Net:
    net = fm.Net("rules", backend or fm.ReferenceBackend(1), list(layers))
    net.init()
    return net


def assert_dense_as_sliding(net: fm.Net, rng: np.random.Generator, h: int, w: int) -> None:
    """On the reference both engines give the sliding window's bits."""
    x = rng.normal(size=(1, 1, h, w)).astype(np.float32)
    expected = fm.densify(net, "sliding").forward(x)
    assert np.ptp(expected) > 0
    for engine in ("strided", "fragments"):
        np.testing.assert_array_equal(fm.densify(net, engine).forward(x), expected)


# ------------------------------------------------------------------------------------------------------------ MergeCrop
def merge(**fields: Any) -> fm.MergeCropLayer:
    return fm.MergeCropLayer(name="m", bottoms=["b", "a"], tops=["m"], **fields)


@pytest.mark.parametrize("offset", [(0, 0), (0, 2), None])
def test_merge_crop_keeps_its_offset_densely(offset: tuple[int, int] | None, rng: np.random.Generator) -> None:
    layers = [image(14, 16), pool("p", "data", 2), conv("a", "p"), conv("b", "a", kernel=(3, 2)), merge(offset=offset)]
    assert_dense_as_sliding(build(*layers, ip("m")), rng, 17, 18)


@pytest.mark.parametrize("offset", [(3, 0), (0, 3), (-1, 0), (1,), (0.0, 1), 1])
def test_merge_crop_refuses_an_offset_outside(offset: Any) -> None:
    with pytest.raises(fm.ShapeError, match=r"m \(MergeCropLayer\): offset"):
        build(image(9, 9), conv("a", "data"), conv("b", "a"), merge(offset=offset))


# ----------------------------------------------------------------------------------------------------------------- Crop
@pytest.mark.parametrize(("axis", "offset"), [(2, (1, 2)), (-2, (0, 3)), (3, (1,)), (-1, (3,)), (-2, ()), (3, ())])
def test_crop_cuts_densely_from_its_axis_on(axis: int, offset: tuple[int, ...], rng: np.random.Generator) -> None:
    crop = fm.CropLayer(name="c", bottoms=["a", "b"], tops=["c"], axis=axis, offset=offset)
    layers = [
        image(18, 20),
        pool("p", "data", 2),
        conv("a", "p", kernel=2),
        conv("b", "a", kernel=(4, 2)),
        crop,
        ip("c"),
    ]
    assert_dense_as_sliding(build(*layers), rng, 21, 22)


def test_crop_of_channels_has_no_dense_form() -> None:
    crop = fm.CropLayer(name="c", bottoms=["a", "b"], tops=["c"], axis=-3)
    net = build(image(), conv("a", "data", n_filter=3), conv("b", "a"), crop, ip("c"))
    with pytest.raises(fm.NotDenseError, match=r"c \(CropLayer\): axis=-3 also crops channels"):
        fm.densify(net)


@pytest.mark.parametrize(
    ("fields", "bottoms", "message"),
    [
        ({"crop_size": 3}, [], r"takes 1 bottom, got 0"),
        ({}, [], r"takes 2 bottoms, got 0"),
        ({"crop_size": 3}, ["data", "data"], r"takes 1 bottom, got 2"),
        ({"crop_size": 3, "offset": (1, 1)}, ["data"], r"crop_size cuts the centre, so offset=\(1, 1\)"),
        ({"random_crop": True, "offset": (1,)}, ["data", "data"], r"random_crop draws the place, so offset=\(1,\)"),
        ({"offset": 2}, ["data", "data"], r"offset must be integers >= 0, one, or one per cropped axis; got 2"),
        ({"offset": (-1,)}, ["data", "data"], r"offset must be integers >= 0"),
    ],
)
def test_crop_refuses(fields: dict[str, Any], bottoms: list[str], message: str) -> None:
    with pytest.raises(fm.ShapeError, match=r"c \(CropLayer\): " + message):
        build(image(), fm.CropLayer(name="c", bottoms=bottoms, tops=["c"], **fields))


# -------------------------------------------------------------------------------------------------------------- sources
def memory(*arrays: Any, batch_size: Any = 2, **fields: Any) -> fm.MemoryDataLayer:
    return fm.MemoryDataLayer(
        batch_size=batch_size, data=list(arrays), **({"tops": ["data", "label"][: len(arrays)]} | fields)
    )


@pytest.mark.parametrize("fed", [(1, 1, 12, 4), (2, 1, 4, 6), (2, 6, 4, 1), (4, 1, 6, 4), (2, 1, 6)])
def test_a_batch_of_another_shape_is_not_reshaped(fed: tuple[int, ...]) -> None:
    net = build(memory(np.zeros((2, 1, 6, 4))), fm.IdentityLayer(bottoms=["data"], tops=["y"]))
    net.reshape({"data": fed})
    node = net.node("memory-data")
    with pytest.raises(fm.ShapeError) as refused:
        node.layer.forward(net.backend.ops, node)
    assert f'delivers (2, 1, 6, 4) for "data", the net takes {fed}' in str(refused.value)
    assert "solve_fully" not in str(refused.value)


def test_a_batch_larger_than_the_patch_is_for_solve_fully() -> None:
    net = fm.Net("rules", "reference", [memory(np.zeros((2, 1, 6, 4))), conv("a", "data")], patch=(4, 5))
    with pytest.raises(fm.ShapeError, match=r"delivers \(2, 1, 6, 4\) .* takes \(2, 1, 5, 4\)\. .*solve_fully"):
        net.forward()


@pytest.mark.parametrize("trailing", [(), (1,), (1, 1, 1)])
def test_trailing_axes_of_length_one_come_and_go(trailing: tuple[int, ...], rng: np.random.Generator) -> None:
    labels = rng.integers(0, 9, (3, *trailing)).astype(float)
    net = build(memory(rng.normal(size=(3, 1, 2, 2)), labels, batch_size=3), fm.SilenceLayer(bottoms=["data", "label"]))
    net.reshape({"label": (3, 1, 1)})
    node = net.node("memory-data")
    node.layer.forward(net.backend.ops, node)
    np.testing.assert_array_equal(net.output_blobs["label"].data, labels.reshape(3, 1, 1))


# --------------------------------------------------------------------------------------------------------------- fields


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: pool("p", "data", 2, round="Ceil"), r"p \(PoolingLayer\): round must be one of 'ceil', 'floor'; got 'Ceil'"),
        (lambda: pool("p", "data", 2, divisor="Caffe"), r"divisor must be one of 'mocha', 'caffe'; got 'Caffe'"),
        (lambda: pool("p", "data", 2, pooling="max"), r"pooling must be an instance of PoolingFunction, got 'max'$"),
        (lambda: pool("p", "data", 2, pooling=fm.Pooling.Max), r"pooling must be an .*; write Pooling\.Max\(\)"),
        (lambda: pool("p", "data", 2, neuron=fm.Neurons.ReLU), r"neuron must be an instance of Neuron, .*; write Neurons\.ReLU\(\)"),
        (lambda: fm.AccuracyLayer(bottoms=["a", "b"], ties="Miss"), r"ties must be one of 'index', 'miss'; got 'Miss'"),
        (lambda: fm.SoftmaxLossLayer(normalization=None), r"normalization must be one of .*'none'; got None"),
        (lambda: merge(operation=["add"]), r"operation must be one of 'stack', 'add'; got \['add'\]"),
        (lambda: ip("data", neuron="relu"), r"ip \(InnerProductLayer\): neuron must be an instance of Neuron, got 'relu'"),
        (lambda: ip("data", bias_init=fm.XavierInitializer), r"bias_init must be an .*; write XavierInitializer\(\)"),
        (lambda: ip("data", weight_regu=fm.L2Regu), r"weight_regu must be an instance of Regularizer"),
        (lambda: ip("data", bias_cons=fm.L2Cons), r"bias_cons must be an instance of Constraint"),
        (lambda: conv("a", "data", neuron=fm.Neurons.ReLU), r"neuron must be an instance of Neuron"),
        (lambda: conv("a", "data", filter_init=0.1), r"filter_init must be an instance of Initializer, got 0\.1$"),
        (lambda: conv("a", "data", filter_regu=0.1), r"filter_regu must be an instance of Regularizer, got 0\.1"),
        (lambda: conv("a", "data", bias_cons=fm.NoCons), r"bias_cons must be an instance of Constraint"),
        (lambda: fm.NeuronLayer(name="n", function=fm.Neurons.Tanh), r"function must be an instance of Neuron"),
        (lambda: fm.NeuronLayer(name="n", function=Neuron("gelu")), r"no backend has the neuron 'gelu'"),
        (lambda: image(transformers=[("dta", fm.DataTransformers.Scale(3))]), r"transformers name 'dta', .* tops \['data'\]"),
        (lambda: image(transformers=[("data", fm.DataTransformers.Scale)]), r'the transformer of "data" must be a Transformer'),
        (lambda: memory(np.zeros((2, 3)), transformers=[("x", fm.DataTransformers.Scale(3))]), r"transformers name 'x'"),
        (lambda: fm.InputLayer(tops=["d"], shapes=[(1, 1, "a", 3)]), r"a shape is a tuple of integers >= 1; got \(1, 1, 'a', 3\)"),
        (lambda: fm.InputLayer(tops=["d"], shapes=[(1, 3.0)]), r"a shape is a tuple of integers >= 1; got \(1, 3\.0\)"),
        (lambda: fm.InputLayer(tops=["d"], shapes=[5]), r"a shape is a tuple of integers >= 1; got 5"),
    ],
)  # fmt: skip
def test_a_field_of_another_kind_is_refused(make: Any, message: str) -> None:
    with pytest.raises(fm.ShapeError, match=message):
        make()


@pytest.mark.parametrize("value", [True, 2.0, "2", None, 0, -1, np.float32(2), np.True_])
@pytest.mark.parametrize(
    ("field", "make"),
    [
        ("n_filter", lambda v: conv("l", "data", n_filter=v)),
        ("n_group", lambda v: conv("l", "data", n_group=v)),
        ("n_filter", lambda v: fm.DeconvolutionLayer(name="l", bottoms=["a"], tops=["b"], n_filter=v)),
        ("output_dim", lambda v: ip("data", "l", v)),
        ("top_k", lambda v: fm.AccuracyLayer(name="l", bottoms=["a", "b"], top_k=v)),
        ("batch_size", lambda v: memory(np.zeros((2, 3)), name="l", batch_size=v)),
        ("batch_size", lambda v: fm.HDF5DataLayer(name="l", source="list.txt", batch_size=v)),
        ("kernel", lambda v: conv("l", "data", kernel=v)),
        ("stride", lambda v: conv("l", "data", stride=(1, v))),
    ],
)
def test_counts_are_integers(field: str, make: Any, value: Any) -> None:
    with pytest.raises(fm.ShapeError, match=rf"l \(\w+\): {field} must be an integer >= 1") as refused:
        make(value)
    assert repr(value) in str(refused.value)


def test_integers_of_numpy_count() -> None:
    layers = [
        conv("a", "data", n_filter=np.int64(4), n_group=np.uint8(1), kernel=np.int32(3)),
        ip("a", outputs=np.int16(3)),
    ]
    net = build(memory(np.zeros((5, 1, 4, 4)), batch_size=np.int64(2)), *layers)
    net.forward()
    assert net.output_blobs["ip"].shape == (2, 3) and type(net.node("a").layer.n_filter) is int


@pytest.mark.parametrize("backend", [fm.ReferenceBackend, fm.CPUBackend])
def test_the_identity_neuron_is_the_identity(backend: Any, rng: np.random.Generator) -> None:
    x, seed = rng.normal(size=(2, 2, 1, 5, 3)).astype(np.float32)
    net = build(image(5, 3, n=2), fm.NeuronLayer(name="n", bottoms=["data"], tops=["y"]), backend=backend(1))
    net.forward_backward(inputs={"data": x}, seeds={"y": seed})
    np.testing.assert_array_equal(net.output_blobs["y"].data, x)
    np.testing.assert_array_equal(net.diff_blobs["data"].data, seed)
    np.testing.assert_array_equal(fm.densify(build(image(5, 3), fm.NeuronLayer(name="n", bottoms=["data"], tops=["y"]),
                                                   backend=backend(1))).forward(x), x)  # fmt: skip
    assert "identity" in str(net)


# ------------------------------------------------------------------------------------------- axes of (N, K) and N, C, H, W
def two(kind: Any, **fields: Any) -> list[Layer]:
    """A net whose two branches end in inner products, and a layer behind both."""
    return [
        image(9, 8),
        conv("a", "data"),
        ip("a", "i"),
        ip("a", "j", 3),
        kind(bottoms=["i", "j"], tops=["z"], **fields),
    ]


@pytest.mark.parametrize("axis", [{"dim": 1}, {"axis": 1}, {"axis": -1}])
def test_axes_behind_an_inner_product_count_as_in_the_patch(axis: dict[str, int], rng: np.random.Generator) -> None:
    softmax = fm.SoftmaxLayer(bottoms=["z"], tops=["p"], **axis)
    assert_dense_as_sliding(build(*two(fm.ConcatLayer, **axis), softmax), rng, 11, 12)
    last = ip("n", "last", axis=axis.get("axis", 1))
    neuron = fm.NeuronLayer(name="n", bottoms=["z"], tops=["n"], function=fm.Neurons.Tanh())
    assert_dense_as_sliding(build(*two(fm.ConcatLayer, **axis), neuron, last), rng, 11, 12)


@pytest.mark.parametrize("axis", [{"dim": 3}, {"axis": 1}, {"axis": -3}])
def test_axes_of_maps_count_as_in_the_patch(axis: dict[str, int], rng: np.random.Generator) -> None:
    layers = [image(9, 8), conv("a", "data", kernel=(8, 9)), conv("b", "data", kernel=(8, 9))]
    concat = fm.ConcatLayer(bottoms=["a", "b"], tops=["z"], **axis)
    softmax = fm.SoftmaxLayer(bottoms=["z"], tops=["p"], **axis)
    assert_dense_as_sliding(build(*layers, concat, softmax), rng, 11, 12)
    assert_dense_as_sliding(build(image(9, 8), pool("p", "data", 2, stride=1), ip("p", axis=-3)), rng, 11, 12)


def test_an_axis_of_pixels_has_no_dense_form() -> None:
    softmax = fm.SoftmaxLayer(name="s", bottoms=["a"], tops=["p"], dim=1)
    with pytest.raises(fm.NotDenseError, match=r"s \(SoftmaxLayer\): axis 3 runs over pixels"):
        fm.densify(build(image(9, 8), conv("a", "data"), softmax, ip("p")))


@pytest.mark.parametrize("axis", [{"dim": 1}, {"axis": -1}, {}])
def test_losses_and_scores_behind_an_inner_product_train_densely(
    axis: dict[str, int], rng: np.random.Generator
) -> None:
    tiles, labels = rng.normal(size=(1, 1, 10, 9)), rng.integers(0, 3, (1, 1, 3, 4)).astype(float)
    loss = fm.SoftmaxLossLayer(bottoms=["ip", "label"], **axis)
    score = fm.AccuracyLayer(bottoms=["ip", "label"], **axis)
    windows = np.lib.stride_tricks.sliding_window_view(tiles[0, 0], (8, 6)).reshape(12, 1, 8, 6)
    net = fm.Net("tiles", (backend := fm.ReferenceBackend(2)), [memory(tiles, labels, batch_size=1), conv("a", "data"),
                 ip("a", outputs=3), loss, score], patch=(6, 8))  # fmt: skip
    net.init()
    one_by_one = fm.Net("windows", backend, [memory(windows, labels.reshape(12, 1), batch_size=12), conv("a", "data"),
                        ip("a", outputs=3), loss, score])  # fmt: skip
    dense = training_net(net)
    # both are sums of 12 logarithms in another order
    assert dense.forward_backward() == pytest.approx(one_by_one.forward_backward(), rel=1e-13)
    assert dense.statistics() == one_by_one.statistics()


# ------------------------------------------------------------------------------------------------- branches that part
def branches(join: Layer, first: int, second: int) -> fm.Net:
    """a is pooled by 2 and then `first`, b by 3 and then `second`."""
    ways = [pool("a1", "data", 2), pool("a", "a1", first), pool("b1", "data", 3), pool("b", "b1", second)]
    return build(image(), *ways, join, ip(join.tops[0]))


@pytest.mark.parametrize("join", [fm.ConcatLayer(name="m", bottoms=["a", "b"], tops=["m"]), merge()])
def test_fragments_of_another_order_do_not_join(join: Layer, rng: np.random.Generator) -> None:
    net = branches(join, 3, 2)
    with pytest.raises(fm.NotDenseError, match=r"in another order, .*2x2, 3x3.*; engine=\"strided\" does not split"):
        fm.densify(net, "fragments")
    x = rng.normal(size=(1, 1, 15, 14)).astype(np.float32)
    np.testing.assert_array_equal(fm.densify(net).forward(x), fm.densify(net, "sliding").forward(x))


def test_other_strides_do_not_join() -> None:
    layers = [image(), pool("a", "data", 2), pool("b", "data", 4, stride=1), conv("c", "b", kernel=1, stride=2)]
    merged = [fm.MergeCropLayer(name="m", bottoms=["c", "a"], tops=["m"]), ip("m")]
    fm.densify(build(*layers, *merged))  # equal strides
    layers[3] = conv("c", "b", kernel=1, stride=3)
    with pytest.raises(fm.NotDenseError, match=r"m \(MergeCropLayer\): .* strides 3x3 and 2x2.*equal strides"):
        fm.densify(build(*layers, *merged))


# --------------------------------------------------------------------------------------------------------------- labels
JUDGES = [fm.SoftmaxLossLayer(name="l", bottoms=["a", "b"]), fm.AccuracyLayer(name="l", bottoms=["a", "b"])]


@pytest.mark.parametrize("judge", JUDGES, ids=["loss", "accuracy"])
@pytest.mark.parametrize(
    ("scores", "labels", "fits"),
    [
        ((2, 3, 4, 5), (2, 1, 4, 5), True),
        ((2, 3, 4, 5), (2, 4, 5), True),
        ((2, 3, 4, 5), (2, 4, 1, 5), True),
        ((1, 3, 4, 5), (4, 5), True),
        ((2, 3), (2,), True),
        ((2, 3, 1, 1), (2, 1), True),
        ((1, 3), (1, 1, 1, 1), True),
        ((2, 3, 4, 5), (2, 1, 5, 4), False),
        ((2, 3, 4, 5), (2, 20), False),
        ((2, 3, 4, 5), (4, 1, 2, 5), False),
        ((2, 3, 4, 5), (2, 3, 4, 5), False),
        ((2, 3), (3,), False),
        ((2, 3), (1,), False),
    ],
)
def test_one_label_per_window(judge: Layer, scores: tuple[int, ...], labels: tuple[int, ...], fits: bool) -> None:
    if fits:
        assert judge.shape([scores, labels]) == []
    else:
        wanted = (scores[0], 1, *scores[2:])
        with pytest.raises(fm.ShapeError) as refused:
            judge.shape([scores, labels])
        assert f"scores {scores} need one label each, shaped {wanted}; the labels are {labels}" in str(refused.value)


@pytest.mark.parametrize("backend", [fm.ReferenceBackend, fm.CPUBackend])
@pytest.mark.parametrize("judge", JUDGES, ids=["loss", "accuracy"])
@pytest.mark.parametrize("label", [3, -1, 0.5, np.nan])
def test_a_label_that_is_no_class_is_refused(backend: Any, judge: Layer, label: float) -> None:
    data = memory(np.zeros((2, 3)), np.array([[2], [label]]), tops=["a", "b"])
    net = build(data, judge, backend=backend(1))
    with pytest.raises(
        fm.ShapeError, match=rf"l \(\w+\): label {label} is not one of the 3 classes 0 \.\. 2; .*ignore_label"
    ):
        net.forward()


# --------------------------------------------------------------------------------------------------------- transformers
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("shape", "sample", "seen"),
    [
        ((3, 5, 4), (3, 5, 4), (3, 5, 4)),
        ((1, 3, 5, 4), (3, 5, 4), (3, 5, 4)),
        ((3,), (3, 5, 4), (3, 1, 1)),
        ((3, 1, 1), (3, 5, 4), (3, 1, 1)),
        ((1, 3, 1, 1), (3, 5, 4), (3, 1, 1)),
        ((5, 4), (1, 5, 4), (1, 5, 4)),
        ((), (3, 5, 4), ()),
        ((1,), (3, 5, 4), ()),
        ((7,), (7,), (7,)),
    ],
)
def test_a_mean_is_subtracted_where_it_belongs(
    shape: Any, sample: Any, seen: Any, dtype: Any, rng: np.random.Generator
) -> None:
    mean, batch = rng.normal(size=shape), rng.normal(size=(2, *sample)).astype(dtype)
    changed = fm.DataTransformers.SubMean(mean_blob=mean)(batch)
    assert changed.dtype == dtype
    np.testing.assert_array_equal(changed, batch - np.reshape(mean, seen).astype(dtype))


@pytest.mark.parametrize(
    ("shape", "size", "message"),
    [
        ((1, 8, 8), (9, 8), r"the mean is \(1, 8, 8\), the samples are \(1, 9, 8\); .* mean\.mean\(axis=\(1, 2\)\)"),
        ((1, 8, 1), (8, 8), r"mean\.mean\(axis=\(1, 2\)\)"),
        ((3,), (8, 8), r"the mean is \(3,\), the samples are \(1, 8, 8\); give one value for each of the 1 channels"),
        ((3, 8, 8), (8, 8), r"give one value for each of the 1 channels"),
        ((2, 1, 8, 8), (8, 8), r"give one value for each of the 1 channels"),
    ],
)
def test_a_mean_of_other_samples_is_refused(shape: tuple[int, ...], size: tuple[int, int], message: str) -> None:
    mean = fm.DataTransformers.SubMean(mean_blob=np.ones(shape))
    layers = [memory(np.zeros((2, 1, *size)), transformers=[("data", mean)]), conv("a", "data")]
    with pytest.raises(
        fm.ShapeError, match=r'memory-data \(MemoryDataLayer\): its transformer of "data": .*' + message
    ):
        build(*layers).forward()


def test_a_mean_of_patches_is_refused_for_images() -> None:
    mean = fm.DataTransformers.SubMean(mean_blob=np.ones((1, 8, 8)))
    net = build(image(8, 8, transformers=[("data", mean)]), conv("a", "data"), ip("a"))
    with pytest.raises(
        fm.ShapeError, match=r'input \(InputLayer\): its transformer of "data": .* one value per channel'
    ):
        fm.predict(net, np.zeros((20, 21)))
