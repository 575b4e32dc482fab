"""Layers that move numbers or make one of several: densely, on their own, and where they refuse."""

import numpy as np
import pytest

import fullmocha as fm
from fullmocha.fully import training_net

from .cases.moves import CASES

F = fm.ElementWiseFunctors


def conv(name: str, bottom: str, **fields: object) -> fm.ConvolutionLayer:
    return fm.ConvolutionLayer(name=name, bottoms=[bottom], tops=[name], **{"n_filter": 4, "kernel": 3, **fields})


def pool(name: str, bottom: str) -> fm.PoolingLayer:
    return fm.PoolingLayer(name=name, bottoms=[bottom], tops=[name], kernel=2, stride=2)


def ip(name: str, bottom: str, output_dim: int = 3, **fields: object) -> fm.InnerProductLayer:
    return fm.InnerProductLayer(name=name, bottoms=[bottom], tops=[name], output_dim=output_dim, **fields)


def named(kind: type, top: str, *bottoms: str, **fields: object) -> fm.layers.Layer:
    return kind(name=top, bottoms=bottoms, tops=[top], **fields)


def build(*layers: fm.layers.Layer, size: tuple[int, int] = (12, 14), backend: str = "reference") -> fm.Net:
    made = fm.ReferenceBackend(5) if backend == "reference" else fm.CPUBackend(5)
    data = fm.InputLayer(tops=["data"], shapes=[(2, 2, *size)])
    net = fm.Net("net", made, [data, *layers], dtype="float64")
    net.init()
    return net


FRONT = [conv("c1", "data"), pool("p1", "c1"), conv("c2", "p1", kernel=2)]  # (4, 4, 5) per patch
END = [fm.SoftmaxLayer(bottoms=["ip"], tops=["prob"])]
RESIDUAL = [
    conv("a", "c2", kernel=1, neuron=fm.Neurons.ReLU()),
    conv("b", "a", kernel=1),
    named(fm.ElementWiseLayer, "sum", "b", "c2", "a", coefficients=[1, 0.5, -2]),
]
SLICED = [
    fm.SliceLayer(bottoms=["c2"], tops=["s", "t"], points=[1]),
    named(fm.TileLayer, "sss", "s", tiles=3),
    named(fm.ElementWiseLayer, "m", "sss", "t", operation=F.Maximum()),
]
NETS = {
    "residual": [*FRONT, *RESIDUAL, ip("ip", "sum"), *END],
    "slice, tile": [*FRONT, *SLICED, ip("ip", "m"), *END],
    "flatten": [*FRONT, named(fm.FlattenLayer, "f", "c2"), ip("ip", "f", neuron=fm.Neurons.Tanh()), *END],
    "flatten, then neurons and joins": [
        *FRONT, conv("c3", "p1", kernel=2), named(fm.FlattenLayer, "f", "c2"), named(fm.FlattenLayer, "g", "c3"),
        fm.ReLULayer(name="r", bottoms=["f"], tops=["f"]), named(fm.ConcatLayer, "fg", "f", "g", axis=1),
        named(fm.ElementWiseLayer, "twice", "fg", "fg"), ip("ip", "twice"), *END,
    ],
    "flatten one pixel": [*FRONT, ip("i0", "c2"), named(fm.FlattenLayer, "f", "i0"), ip("ip", "f"), *END],
    "reshape one pixel": [*FRONT, ip("i0", "c2"), named(fm.ReshapeLayer, "r", "i0", dims=[0, -1, 1, 1]), conv("c4", "r", kernel=1),
                          ip("ip", "c4"), *END],
    "reshape as mocha": [*FRONT, ip("i0", "c2"), named(fm.ReshapeLayer, "r", "i0", shape=[1, 1, 3]), ip("ip", "r"), *END],
    "sum of channels": [*FRONT, ip("ip", "c2"), named(fm.ReductionLayer, "y", "ip", operation="sumsq", axis=1)],
    "mean of channels": [*FRONT, conv("c3", "c2", kernel=(5, 4)), named(fm.ReductionLayer, "y", "c3", operation="mean", axis=1)],
    "argmax": [*FRONT, ip("ip", "c2", 5), named(fm.ArgmaxLayer, "y", "ip", top_k=2)],
    "argmax of all": [*FRONT, ip("ip", "c2", 5), named(fm.ArgmaxLayer, "y", "ip", whole=True)],
}  # fmt: skip


@pytest.mark.parametrize("layers", NETS.values(), ids=NETS)
def test_sliding_is_dense_bit_for_bit(layers: list, rng: np.random.Generator) -> None:
    net = build(*layers)
    x = rng.normal(size=(2, 2, 15, 19))
    sliding = fm.densify(net, "sliding").forward(x)
    assert sliding.shape[2:] == (4, 6) and np.ptp(sliding) > 0
    for engine in ("strided", "fragments"):
        np.testing.assert_array_equal(fm.densify(net, engine).forward(x), sliding, err_msg=engine)
    fast = build(*layers, backend="cpu")
    fast.load_params({name: [p.values() for p in params] for name, params in net.params.items()})
    np.testing.assert_allclose(fm.densify(fast).forward(x), sliding, rtol=1e-11, atol=1e-11)


REFUSED = [
    ([named(fm.FlattenLayer, "y", "c2", axis=2)], "joining axes 2 to 3 mixes windows"),
    ([named(fm.ReshapeLayer, "y", "c2", dims=[0, -1])], "remove it in front of an inner product"),
    ([named(fm.TileLayer, "y", "c2", axis=3, tiles=2)], "repeat channels"),
    ([fm.SliceLayer(bottoms=["c2"], tops=["y", "z"], axis=2)], "cut channels"),
    ([named(fm.ReductionLayer, "y", "c2", axis=1)], r"4x5 window; .*PoolingLayer\(whole=True\)"),
    ([named(fm.ArgmaxLayer, "y", "c2", axis=2)], "axis 2 runs over windows"),
    ([named(fm.ArgmaxLayer, "y", "c2", whole=True)], "set axis=1"),
    ([named(fm.FlattenLayer, "f", "c2"), named(fm.SoftmaxLayer, "y", "f")], "reads flattened windows"),
    ([named(fm.FlattenLayer, "f", "c2"), fm.SliceLayer(bottoms=["f"], tops=["y", "z"])], "reads flattened windows"),
    ([named(fm.FlattenLayer, "y", "c2")], "'y' holds flattened windows of 4 x 5 pixels"),
    ([fm.ParameterBlobLayer(name="w", tops=["w"], dims=(2, 4, 4, 5)), named(fm.ElementWiseLayer, "y", "c2", "w")],
     "which have no common place"),
]  # fmt: skip


@pytest.mark.parametrize(("layers", "message"), REFUSED, ids=[r[1][:24] for r in REFUSED])
def test_what_mixes_windows_is_refused_with_a_way_out(layers: list, message: str) -> None:
    net = build(*FRONT, *layers)
    with pytest.raises(fm.NotDenseError, match=message) as error:
        fm.densify(net, "strided", output="y")
    assert 'engine="sliding"' in str(error.value) or "no common place" in str(error.value)
    sizes = [s for s in net.output_blobs["y"].shape[2:] if s > 1]
    if not sizes:  # one answer per window: there is always the definition
        assert fm.densify(net, "sliding", output="y").forward(np.zeros((1, 2, 13, 14))).shape[2:] == (2, 1)


@pytest.mark.parametrize(
    "layer",
    [
        named(fm.FlattenLayer, "y", "c2", axis=2),
        named(fm.ReshapeLayer, "y", "c2", shape=[4, 5, 4]),
        named(fm.TileLayer, "y", "c2", axis=3, tiles=2),
        named(fm.ConcatLayer, "y", "c2", "c2", axis=2),
        named(fm.ArgmaxLayer, "y", "c2", whole=True, top_k=3),
        named(fm.ArgmaxLayer, "y", "c2", axis=2, top_k=3),
    ],
    ids=lambda layer: layer.describe(),
)
def test_pixels_that_were_moved_have_no_place_in_a_map(layer: fm.layers.Layer) -> None:
    """Not even by sliding: one window gives several answers, which belong to no pixels."""
    with pytest.raises(fm.NotDenseError, match="sliding needs whole distances"):
        fm.densify(build(*FRONT, layer), "sliding", output="y")


def test_a_piece_of_a_window_keeps_its_place(rng: np.random.Generator) -> None:
    net = build(conv("c", "data"), fm.SliceLayer(bottoms=["c"], tops=["y", "z"], axis=2, points=[3]))
    x = rng.normal(size=(1, 2, 15, 16))
    whole = fm.densify(net, output="c").forward(x)
    np.testing.assert_array_equal(fm.densify(net, output="z").forward(x), whole[:, :, 3:])


def test_training_densely_is_training_on_every_window(rng: np.random.Generator) -> None:
    """Gradients of the dense pass over a tile are those of all its windows as one batch."""
    layers = [*FRONT, *RESIDUAL, *SLICED, named(fm.ConcatLayer, "all", "sum", "m", axis=1),
              named(fm.FlattenLayer, "f", "all"), ip("ip", "f"), fm.SoftmaxLossLayer(bottoms=["ip", "label"])]  # fmt: skip
    tile, labels = rng.normal(size=(1, 2, 13, 16)), rng.integers(0, 3, (1, 1, 2, 3)).astype(float)
    data = fm.MemoryDataLayer(batch_size=1, data=[tile, labels])
    net = fm.Net("net", fm.ReferenceBackend(5), [data, *layers], patch=(14, 12))
    net.init()
    dense = training_net(net)
    loss = dense.forward_backward()
    found = {p.name: p.gradient.copy() for p in dense.trainable}
    windows = np.stack([tile[0, :, i : i + 12, j : j + 14] for i in range(2) for j in range(3)])
    batch = fm.MemoryDataLayer(batch_size=6, data=[windows, labels.reshape(6, 1)])
    patches = fm.Net("patches", net.backend, [batch, *layers])
    assert patches.forward_backward() == pytest.approx(loss, rel=1e-12)
    for parameter in patches.trainable:
        scale = np.abs(parameter.gradient).max()
        assert scale > 0
        np.testing.assert_allclose(found[parameter.name], parameter.gradient, atol=1e-12 * scale)


def test_labels_may_be_sliced_and_joined(rng: np.random.Generator) -> None:
    """Two labels for each window in one blob: densely they are two maps in one, and no image."""
    losses = [fm.SoftmaxLossLayer(name=f"loss{t}", bottoms=[f"ip{t}", t]) for t in "st"]
    layers = [*FRONT, ip("ips", "c2"), ip("ipt", "c2"), fm.SliceLayer(bottoms=["label"], tops=["s", "t"]), *losses]
    tile, labels = rng.normal(size=(1, 2, 13, 16)), rng.integers(0, 3, (1, 2, 2, 3)).astype(float)
    data = fm.MemoryDataLayer(batch_size=1, data=[tile, labels])
    net = fm.Net("net", fm.ReferenceBackend(5), [data, *layers], patch=(14, 12))
    net.init()
    dense = training_net(net)
    windows = np.stack([tile[0, :, i : i + 12, j : j + 14] for i in range(2) for j in range(3)])
    batch = fm.MemoryDataLayer(batch_size=6, data=[windows, labels[0].reshape(2, 6).T])
    patches = fm.Net("patches", net.backend, [batch, *layers])
    assert dense.forward() == pytest.approx(patches.forward(), rel=1e-12)


# ---- against PyTorch, where Caffe's golden data do not reach


TORCH = {
    "eltwise subtract": lambda torch, a, b: a - b,
    "eltwise divide": lambda torch, a, b: a / b,
    "eltwise unstable": lambda torch, a, b, c: a * b * c,
    "eltwise maximum of three": lambda torch, a, b, c: torch.maximum(torch.maximum(a, b), c),
    "slice axis": lambda torch, a: tuple(torch.tensor_split(a, [5], dim=-1)),
    "slice batch": lambda torch, a: tuple(torch.chunk(a, 2, dim=0)),
    "flatten axes": lambda torch, a: torch.flatten(a, -3, 2),
    "reshape mocha": lambda torch, a: a.reshape(2, 14, 10),
    "reshape window": lambda torch, a: a.reshape(2, 2, 2, 1, 5, 7),
    "tile axis": lambda torch, a: a.repeat(1, 1, 1, 2),
    "reduction tail": lambda torch, a: 1.0 * a.mean(dim=(2, 3)),
    "reduction sumsq": lambda torch, a: 0.5 * a.square().sum(dim=(1, 2, 3)),
}


@pytest.mark.parametrize("case", TORCH)
def test_against_torch(case: str, rng: np.random.Generator) -> None:
    """Forward and gradients in float64: sums of at most forty products, in whatever order."""
    torch = pytest.importorskip("torch", reason="PyTorch is an extra, [peers]")
    (chosen,) = (c for c in CASES if c.name == case)
    net = chosen.net(fm.ReferenceBackend(3), "float64")
    inputs = chosen.draw(rng)
    net.forward(inputs)
    seeds = {t: rng.normal(size=net.output_blobs[t].shape) for t in chosen.layer.tops}
    net.forward_backward(inputs=inputs, seeds=seeds)
    leaves = {name: torch.tensor(value, requires_grad=True) for name, value in inputs.items()}
    tops = TORCH[case](torch, *leaves.values())
    tops = tops if isinstance(tops, tuple) else (tops,)
    sum((y * torch.tensor(seeds[name])).sum() for name, y in zip(chosen.layer.tops, tops, strict=True)).backward()
    for name, y in zip(chosen.layer.tops, tops, strict=True):
        np.testing.assert_allclose(net.output_blobs[name].data, y.detach().numpy(), rtol=1e-13, atol=1e-13)
    for name, leaf in leaves.items():
        np.testing.assert_allclose(net.diff_blobs[name].data, leaf.grad.numpy(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_a_filter_fits_the_net_to_what_it_keeps(backend: str, rng: np.random.Generator) -> None:
    """Batch after batch of another size, none among them, and two filters behind each other."""
    keep = fm.FilterLayer(bottoms=["ip", "label", "sel"], tops=["some", "labels"])
    again = fm.FilterLayer(name="again", bottoms=["some", "labels"], tops=["fewer"])  # where the label is not 0
    net = fm.Net(
        "net", backend,
        [fm.InputLayer(tops=["data", "label", "sel"], shapes=[(5, 4), (5,), (5, 1)]), ip("ip", "data"), keep,
         ip("ip2", "some"), again],
        dtype="float64",
    )  # fmt: skip
    net.init()
    for sel in ([1, 0, 1, 1, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1], [0, -2, 0, 0, 0.5]):
        kept = np.flatnonzero(sel)
        x, label = rng.normal(size=(5, 4)), np.array([0.0, 1, 2, 0, 1])
        seed = rng.normal(size=(5, 3))[kept]
        inputs = {"data": x, "label": label, "sel": np.array(sel, float).reshape(5, 1)}
        net.forward(inputs)
        net.forward_backward(inputs=inputs, seeds={"ip2": seed})
        w, w2 = net.params["ip"][0].values(), net.params["ip2"][0].values()
        hidden = x @ w.T
        np.testing.assert_allclose(net.output_blobs["some"].data, hidden[kept], rtol=1e-12)
        np.testing.assert_array_equal(net.output_blobs["labels"].data, label[kept])
        np.testing.assert_allclose(net.output_blobs["ip2"].data, hidden[kept] @ w2.T, rtol=1e-12)
        np.testing.assert_allclose(net.output_blobs["fewer"].data, hidden[kept][label[kept] != 0], rtol=1e-12)
        gradient = np.zeros((5, 3))
        gradient[kept] = seed @ w2
        np.testing.assert_allclose(net.diff_blobs["data"].data, gradient @ w, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_behind_a_filter_parameters_still_have_to_fit(backend: str) -> None:
    """A factor for each sample of a full batch; on the cpu it was read beyond a smaller one."""
    data = fm.InputLayer(tops=["a", "sel"], shapes=[(3, 40), (3,)])
    keep = fm.FilterLayer(bottoms=["a", "sel"], tops=["some"])
    net = fm.Net("net", backend, [data, keep, fm.ScaleLayer(name="s", bottoms=["some"], tops=["y"], axis=0)])
    net.init()
    net.forward({"a": np.ones((3, 40)), "sel": np.ones(3)})
    with pytest.raises(fm.ShapeError, match=r"s \(ScaleLayer\): parameters would change from \[\(3,\)\] to \[\(2,\)\]"):
        net.forward({"a": np.ones((3, 40)), "sel": np.array([1, 0, 1])})


def test_numbers_that_are_no_rows_name_the_layer() -> None:
    data = fm.InputLayer(tops=["a", "i"], shapes=[(3, 2), (2,)])
    net = fm.Net("net", "reference", [data, fm.BatchReindexLayer(name="pick", bottoms=["a", "i"], tops=["y"])])
    with pytest.raises(fm.ShapeError, match=r"pick \(BatchReindexLayer\): index 3 is none of the 3 rows"):
        net.forward({"i": np.array([0, 3.0])})
    words = fm.EmbedLayer(name="words", bottoms=["i"], tops=["y"], input_dim=4, output_dim=2)
    net = fm.Net("net", "cpu", [data, words])
    net.init()
    with pytest.raises(fm.ShapeError, match=r"words \(EmbedLayer\): index -1 is none of the 4 rows"):
        net.forward({"i": np.array([0, -1.0])})


WRONG = [
    (fm.ElementWiseLayer, [(2, 3), (2, 4)], {}, r"one shape; got \(2, 3\) and \(2, 4\)"),
    (fm.ElementWiseLayer, [(2, 3)], {}, "at least two bottoms"),
    (fm.ElementWiseLayer, [(2, 3)] * 3, {"operation": F.Divide()}, "takes two bottoms to divide, got 3"),
    (fm.ElementWiseLayer, [(2, 3)] * 3, {"coefficients": [1, 2]}, "2 coefficients for 3 bottoms"),
    (fm.SliceLayer, [(2, 7)], {"tops": "yz"}, "cannot cut 7 into 2 equal pieces"),
    (fm.SliceLayer, [(2, 7)], {"tops": "yz", "points": [7]}, "must ascend strictly between 0 and the axis's length 7"),
    (fm.SliceLayer, [(2, 7)], {"tops": "yz", "axis": 2}, "axis 2 is outside 0 .. 1"),
    (fm.FlattenLayer, [(2, 7)], {"axis": 1, "end_axis": 0}, "cannot join axes 1 to 0"),
    (fm.ReshapeLayer, [(2, 7)], {"shape": [2, 3]}, r"the bottom \(2, 7\) has 7 elements to reshape, \(3, 2\) has 6"),
    (fm.ReshapeLayer, [(2, 7)], {"dims": [3, -1]}, "no multiple of the 3"),
    (fm.ReshapeLayer, [(2, 7)], {"dims": [2, 7, 0]}, "copy axis 2"),
    (fm.TileLayer, [(2, 7)], {"tiles": 2, "axis": -3}, "axis -3 is outside"),
    (fm.ReductionLayer, [(2, 7)], {"axis": 2}, "axis 2 is outside"),
    (fm.ArgmaxLayer, [(2, 7)], {"top_k": 8}, "top_k=8 of 7 elements"),
    (fm.BatchReindexLayer, [(2, 7), (3, 1)], {}, "must have one axis"),
    (fm.FilterLayer, [(2, 7), (3,)], {}, r"selector \(3,\) needs one number for each sample"),
    (fm.FilterLayer, [(2, 7)], {}, "names a top for each"),
]


@pytest.mark.parametrize(("kind", "bottoms", "fields", "message"), WRONG, ids=[w[3][:24] for w in WRONG])
def test_shapes_that_break_a_rule(kind: type, bottoms: list, fields: dict, message: str) -> None:
    fields = {"name": "l", "bottoms": "abc"[: len(bottoms)], "tops": "y"} | fields
    layer = kind(**{k: list(v) if k in ("bottoms", "tops") else v for k, v in fields.items()})
    with pytest.raises(fm.ShapeError, match=rf"l \({kind.__name__}\): .*{message}"):
        layer.shape(bottoms)


FIELDS = [
    (fm.ElementWiseLayer, {"operation": F.Multiply(), "coefficients": [1, 2]}, "coefficients belong to a sum"),
    (fm.ElementWiseLayer, {"operation": F.Add}, r"write ElementWiseFunctors.Add\(\)"),
    (fm.ElementWiseLayer, {"coefficients": [np.nan, 1]}, "must be finite"),
    (fm.SliceLayer, {"points": [1, 2]}, "2 points for 1 tops"),
    (fm.ReshapeLayer, {"dims": [-1, -1]}, "one -1 at most"),
    (fm.ReshapeLayer, {"dims": [1], "shape": [1]}, "both shape"),
    (fm.TileLayer, {"tiles": 0}, "tiles must be an integer >= 1"),
    (fm.ReductionLayer, {"operation": "max"}, "operation must be one of"),
    (fm.ArgmaxLayer, {"output": "both"}, "whole=True"),
    (fm.ParameterBlobLayer, {"bottoms": [], "dims": [2, 0]}, "at least 1"),
    (fm.ParameterBlobLayer, {"dims": [2]}, "no bottoms and one top"),
]


@pytest.mark.parametrize(("kind", "fields", "message"), FIELDS, ids=[f[2][:24] for f in FIELDS])
def test_fields_that_no_input_could_make_right(kind: type, fields: dict, message: str) -> None:
    with pytest.raises(fm.ShapeError, match=rf"l \({kind.__name__}\): .*{message}"):
        kind(**{"name": "l", "bottoms": ["a"], "tops": ["y"]} | fields)
