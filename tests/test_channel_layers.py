"""Layers by channel: BatchNorm's running sums, training beside PyTorch, and what a dense pass takes or refuses."""

from collections.abc import Callable

import numpy as np
import pytest

import fullmocha as fm
from fullmocha import flops
from fullmocha.fully import training_net

GAUSS, POSITIVE = fm.GaussianInitializer(std=0.5), fm.UniformInitializer(0.5, 2.0)
STORED = {
    "use_global_stats": True,
    "mean_init": GAUSS,
    "variance_init": POSITIVE,
    "factor_init": fm.ConstantInitializer(1.7),
}


def data(*shape: int) -> fm.InputLayer:
    return fm.InputLayer(tops=["data"], shapes=[shape])


def norm(name: str, bottom: str, **fields: object) -> fm.BatchNormLayer:
    return fm.BatchNormLayer(name=name, bottoms=[bottom], tops=[bottom], **fields)


def scale(name: str, bottom: str, **fields: object) -> fm.ScaleLayer:
    places = {"bottoms": [bottom], "tops": [bottom], "scale_init": POSITIVE, "bias_init": GAUSS, "bias": True}
    return fm.ScaleLayer(name=name, **places | fields)


def conv(name: str, bottom: str, maps: int, **fields: object) -> fm.ConvolutionLayer:
    return fm.ConvolutionLayer(name=name, bottoms=[bottom], tops=[name], n_filter=maps, **{"kernel": 3, **fields})


def prelu(name: str, bottom: str, **fields: object) -> fm.PReLULayer:
    return fm.PReLULayer(name=name, bottoms=[bottom], tops=[bottom], slope_init=GAUSS, **fields)


def inner(name: str, bottom: str, outputs: int) -> fm.InnerProductLayer:
    return fm.InnerProductLayer(name=name, bottoms=[bottom], tops=[name], output_dim=outputs)


# ---- training


@pytest.mark.parametrize("backend", [fm.ReferenceBackend, fm.CPUBackend])
def test_training_is_pytorchs(backend: Callable[[int], fm.Backend], rng: np.random.Generator) -> None:
    """Convolution, BatchNorm, Scale, PReLU and an inner product, five steps of descent, in float64.

    With a fraction of 1 the stored sums are those of PyTorch's cumulative average.
    """
    torch = pytest.importorskip("torch", reason="PyTorch is an extra, [peers]")
    layers = [data(4, 2, 9, 7), conv("conv", "data", 5), norm("bn", "conv", moving_average_fraction=1.0), scale("scale", "conv"),
              prelu("prelu", "conv"), inner("ip", "conv", 3)]  # fmt: skip
    net = fm.Net("net", backend(3), layers, dtype="float64")
    net.init()

    def tensor(name: str, i: int) -> "torch.nn.Parameter":
        return torch.nn.Parameter(torch.tensor(net.params[name][i].values()))

    theirs = torch.nn.Sequential(
        torch.nn.Conv2d(2, 5, 3), torch.nn.BatchNorm2d(5, momentum=None), torch.nn.PReLU(5), torch.nn.Flatten(), torch.nn.Linear(5 * 35, 3)
    ).double()  # fmt: skip
    for module, name in ((theirs[0], "conv"), (theirs[1], "scale"), (theirs[4], "ip")):
        module.weight, module.bias = tensor(name, 0), tensor(name, 1)
    theirs[2].weight = tensor("prelu", 0)
    trained = {"conv": theirs[0], "scale": theirs[1], "prelu": theirs[2], "ip": theirs[4]}
    descent = torch.optim.SGD(theirs.parameters(), lr=0.05)
    for step in range(5):
        x, seed = rng.normal(size=(4, 2, 9, 7)), rng.normal(size=(4, 3))
        net.forward_backward(inputs={"data": x}, seeds={"ip": seed})
        there = torch.tensor(x, requires_grad=True)
        y = theirs(there)
        descent.zero_grad()
        y.backward(torch.tensor(seed))
        descent.step()
        np.testing.assert_allclose(net.output_blobs["ip"].data, y.detach().numpy(), rtol=1e-10, err_msg=f"step {step}")
        np.testing.assert_allclose(net.diff_blobs["data"].data, there.grad.numpy(), rtol=1e-8, atol=1e-11)
        for name in trained:
            for p in net.params[name]:
                p.data -= 0.05 * p.gradient
    for name, module in trained.items():
        np.testing.assert_allclose(net.params[name][0].values(), module.weight.detach().numpy(), rtol=1e-9, atol=1e-12)
    mean, variance, factor = (p.values() for p in net.params["bn"])
    assert factor == 5
    np.testing.assert_allclose(mean / factor, theirs[1].running_mean.numpy(), rtol=1e-10)
    np.testing.assert_allclose(variance / factor, theirs[1].running_var.numpy(), rtol=1e-10)

    test = fm.Net("test", net.backend, [norm("bn", "conv", use_global_stats=True) if layer.name == "bn" else layer for layer in layers],
                  dtype="float64")  # fmt: skip
    test.forward(inputs={"data": x})
    theirs.eval()
    np.testing.assert_allclose(test.output_blobs["ip"].data, theirs(torch.tensor(x)).detach().numpy(), rtol=1e-9)


def test_the_running_sums(rng: np.random.Generator) -> None:
    """Frozen or not; and stored statistics stay as they are."""
    net = fm.Net(
        "net", "reference", [data(2, 3, 4, 5), norm("bn", "data", moving_average_fraction=0.5)], dtype="float64"
    )
    net.init()
    versions = [p.version for p in net.params["bn"]]
    net.freeze("bn")
    batches = rng.normal(size=(2, 2, 3, 4, 5))
    for x in batches:
        net.forward(inputs={"data": x})
    means, variances = batches.mean(axis=(1, 3, 4)), batches.var(axis=(1, 3, 4), ddof=1)
    mean, variance, factor = (p.values() for p in net.params["bn"])
    np.testing.assert_allclose(mean, 0.5 * means[0] + means[1], rtol=1e-13)
    np.testing.assert_allclose(variance, 0.5 * variances[0] + variances[1], rtol=1e-13)
    assert factor == 1.5
    assert all(p.version > before for p, before in zip(net.params["bn"], versions, strict=True))

    test = fm.Net("test", net.backend, [data(2, 3, 4, 5), norm("bn", "data", use_global_stats=True)], dtype="float64")
    test.forward(inputs={"data": batches[0]})
    for p, kept in zip(test.params["bn"], (mean, variance, factor), strict=True):
        np.testing.assert_array_equal(p.values(), kept)
    want = (batches[0] - (mean / 1.5).reshape(3, 1, 1)) / np.sqrt((variance / 1.5).reshape(3, 1, 1) + 1e-5)
    np.testing.assert_allclose(test.output_blobs["data"].data, want, rtol=1e-12)


def test_one_number_per_channel_has_no_unbiased_variance() -> None:
    net = fm.Net("net", "reference", [data(1, 3), norm("bn", "data")])
    net.init()
    net.forward(inputs={"data": np.array([[1, 2, 3]], np.float32)})
    np.testing.assert_array_equal(net.params["bn"][1].values(), 0)


@pytest.mark.parametrize("behind", [[], [prelu("prelu", "conv")]])
def test_no_variance_and_no_eps(behind: list, rng: np.random.Generator) -> None:
    """A division by 0 is infinite, or no number, everywhere alike, and nobody warns of it."""
    layers = [conv("conv", "data", 3), *behind, norm("bn", "conv", use_global_stats=True, eps=0.0), scale("scale", "conv"),
              fm.ReLULayer(name="relu", bottoms=["conv"], tops=["conv"])]  # fmt: skip
    answers, x = [], rng.normal(size=(1, 2, 5, 6)).astype(np.float32)
    for backend in (fm.ReferenceBackend(3), fm.CPUBackend(3)):
        net = fm.Net("net", backend, [data(1, 2, 5, 6), *layers])
        net.init()
        net.params["bn"][2].data[...] = 1
        dense = fm.densify(net).forward(x)
        net.forward(inputs={"data": x})
        answers += [dense, net.output_blobs["conv"].data.copy()]
    for answer in answers:
        np.testing.assert_array_equal(np.isfinite(answer), np.isfinite(answers[0]))
    assert not np.isfinite(answers[0]).any() or (answers[0][np.isfinite(answers[0])] == 0).all()


# ---- dense


def mixed(backend: fm.Backend, dtype: str) -> fm.Net:
    """Every one of them that a dense pass takes: in front, behind convolutions and pools, on flat blobs, in place and not."""
    layers = [
        data(1, 2, 17, 15), norm("bn0", "data", **STORED), prelu("prelu0", "data"),
        conv("conv1", "data", 19), norm("bn1", "conv1", **STORED), scale("scale1", "conv1"),
        fm.ReLULayer(name="relu1", bottoms=["conv1"], tops=["conv1"]),
        fm.PoolingLayer(name="pool1", bottoms=["conv1"], tops=["pool1"], kernel=(1, 1), stride=2),
        scale("scale2", "pool1", tops=["scale2"]), prelu("prelu2", "scale2"),
        fm.LRNLayer(name="lrn", bottoms=["scale2"], tops=["lrn"], kernel=3, scale=0.7),
        conv("conv2", "lrn", 33, bias=False), prelu("prelu3", "conv2", channel_shared=True), norm("bn2", "conv2", **STORED),
        fm.ScaleLayer(name="square", bottoms=["conv2", "conv2"], tops=["square"], axis=0),
        fm.BiasLayer(name="shift", bottoms=["square"], tops=["shift"], num_axes=0, bias_init=GAUSS),
        inner("ip", "shift", 20), norm("bn3", "ip", **STORED), scale("scale3", "ip", axis=-1), prelu("prelu4", "ip"),
        fm.LRNLayer(name="lrn2", bottoms=["ip"], tops=["lrn2"], kernel=4, power=0.6),
        inner("ip2", "lrn2", 4), scale("scale4", "ip2"), fm.SoftmaxLayer(name="prob", bottoms=["ip2"], tops=["prob"]),
    ]  # fmt: skip
    net = fm.Net("mixed", backend, layers, dtype=dtype)
    net.init()
    return net


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dense_is_sliding_bit_for_bit(dtype: str, rng: np.random.Generator) -> None:
    net = mixed(fm.ReferenceBackend(1), dtype)
    x = rng.normal(size=(2, 2, 20, 19)).astype(dtype)
    sliding = fm.densify(net, "sliding").forward(x)
    assert np.ptp(sliding) > 0.1
    for engine in ("strided", "fragments"):
        np.testing.assert_array_equal(fm.densify(net, engine).forward(x), sliding)


@pytest.mark.parametrize("engine", ["strided", "fragments"])
def test_dense_on_the_cpu_follows_the_parameters(engine: str, rng: np.random.Generator) -> None:
    """Probabilities within 5e-5, or 1e-12 in float64 (DESIGN section 4), before and after each kind of parameter has changed."""
    x = rng.normal(size=(2, 2, 20, 19))
    exact = mixed(fm.ReferenceBackend(1), "float64")
    judge = fm.densify(exact, "strided")
    for dtype, bound in (("float32", 5e-5), ("float64", 1e-12)):
        net = mixed(fm.CPUBackend(1), dtype)
        net.load_params({name: [p.values() for p in params] for name, params in exact.params.items()})
        dense, before = fm.densify(net, engine), judge.forward(x)
        assert np.abs(dense.forward(x.astype(dtype)) - before).max() <= bound
        for name in ("conv1", "bn1", "scale1", "prelu2", "bn2", "shift"):
            for of in (net, exact):
                of.params[name][0].data *= 1.25
            after = judge.forward(x)
            assert np.abs(after - before).max() > 1e-3, name
            assert np.abs(dense.forward(x.astype(dtype)) - after).max() <= bound, name
            before = after


def patch_net(*layers: fm.layers.Layer) -> fm.Net:
    """One answer per patch of 6 x 7."""
    last = layers[-1].tops[0]
    net = fm.Net("net", "reference", [data(1, 2, 6, 7), *layers, inner("ip", last, 3)], dtype="float64")
    net.init()
    return net


REFUSED = [
    ([norm("l", "data")], r"l \(BatchNormLayer\): windows of one image share pixels.*use_global_stats=True"),
    ([fm.MVNLayer(name="l", bottoms=["data"], tops=["y"])], r'l \(MVNLayer\): every patch has a mean.*engine="sliding"'),
    ([fm.LRNLayer(name="l", bottoms=["data"], tops=["y"], kernel=3, mode=fm.LRNMode.WithinChannel())],
     r'l \(LRNLayer\): its window meets zeros at the patch\'s edge.*engine="sliding"'),
    ([fm.LRNLayer(name="l", bottoms=["data"], tops=["y"], kernel=3, channel_dim=2)], r"l \(LRNLayer\): axis 2 runs over pixels"),
    ([scale("l", "data", axis=1, num_axes=-1)], r'l \(ScaleLayer\): its numbers run over 3 axes .*engine="sliding"'),
    ([fm.BiasLayer(name="l", bottoms=["data"], tops=["y"], axis=2)], r"l \(BiasLayer\): its numbers run over 1 axes .* axis 2"),
    ([conv("conv", "data", 2), fm.PoolingLayer(name="pool", bottoms=["conv"], tops=["pool"], whole=True),
      fm.ReshapeLayer(name="flat", bottoms=["pool"], tops=["flat"], dims=[0, -1]),
      fm.ScaleLayer(name="l", bottoms=["conv", "flat"], tops=["y"], axis=0)], r"l \(ScaleLayer\): its bottoms .* must be of one shape"),
    ([fm.ScaleLayer(name="l", bottoms=["data", "data"], tops=["y"], axis=0, bias=True)], r"l \(ScaleLayer\): its terms have the patch"),
]  # fmt: skip


@pytest.mark.parametrize(("layers", "why"), REFUSED)
def test_what_cannot_be_dense_is_refused_by_name(layers: list, why: str) -> None:
    with pytest.raises(fm.NotDenseError, match=why):
        fm.densify(patch_net(*layers), "strided")


@pytest.mark.parametrize("layers", [layers for layers, why in REFUSED if "sliding" in why])
def test_sliding_does_what_dense_refuses(layers: list, rng: np.random.Generator) -> None:
    net = patch_net(*layers)
    x = rng.normal(size=(1, 2, 7, 9))
    y = fm.densify(net, "sliding").forward(x)
    for i, j in np.ndindex(2, 3):
        net.forward(inputs={"data": x[:, :, i : i + 6, j : j + 7]})
        np.testing.assert_array_equal(y[0, :, i, j], net.output_blobs["ip"].data[0])


def dense_already(*layers: fm.layers.Layer) -> fm.Net:
    """Answers side by side, with dilated kernels: a strided-kernel net."""
    before = [data(1, 1, 16, 17), conv("conv1", "data", 4), conv("conv2", "conv1", 6, dilation=2)]
    net = fm.Net("net", "reference", [*before, *layers, conv("conv3", "conv2", 2, dilation=2)], dtype="float64")
    net.init()
    return net


def test_batch_statistics_of_a_net_that_is_dense_itself(rng: np.random.Generator) -> None:
    """They are those of its maps, so it trains as it stands; for labels it wants stored ones, by any engine."""
    net = dense_already(norm("bn", "conv2"))
    tile = rng.normal(size=(1, 1, 20, 19))
    for engine in ("strided", "fragments", "sliding"):
        with pytest.raises(fm.NotDenseError, match=r"bn \(BatchNormLayer\).*use_global_stats=True"):
            fm.densify(net, engine).forward(tile)
    net.forward(inputs={"data": tile})
    before = net.params["bn"][0].values()
    fm.densify(net).forward({"data": tile})
    np.testing.assert_allclose(net.params["bn"][0].values(), before * 1.999, rtol=1e-12)


def test_whole_maps_are_not_cut_into_tiles() -> None:
    local = [norm("l", "conv2", **STORED), fm.LRNLayer(name="l", bottoms=["conv2"], tops=["conv2"])]
    whole = [fm.MVNLayer(name="l", bottoms=["conv2"], tops=["conv2"]),
             fm.LRNLayer(name="l", bottoms=["conv2"], tops=["conv2"], kernel=3, mode=fm.LRNMode.WithinChannel())]  # fmt: skip
    assert [fm.densify(dense_already(layer)).tileable for layer in (*local, *whole)] == [True, True, False, False]


def test_fragments_pass_through(rng: np.random.Generator) -> None:
    """Splits of dilated kernels are not undone for what keeps to pixels, and the count of operations knows it."""
    keeps = [norm("bn", "conv2", **STORED), scale("scale", "conv2"), prelu("prelu", "conv2"),
             fm.LRNLayer(name="lrn", bottoms=["conv2"], tops=["conv2"])]  # fmt: skip
    net = dense_already(*keeps)
    dense = fm.densify(net, "fragments")
    program = dense.program(dense.input_shape((13, 14)))
    assert [s.op for s in program.steps] == [
        "conv", "fragment", "conv", "standardize", "scale", "prelu", "lrn", "conv", "stitch"
    ]  # fmt: skip
    assert program.flops == sum(work.total for work in flops.dense(net, (13, 14), "fragments"))
    x = rng.normal(size=(2, 1, 23, 24))
    np.testing.assert_array_equal(dense.forward(x), fm.densify(net, "strided").forward(x))


def test_dense_training_with_stored_statistics(rng: np.random.Generator) -> None:
    """The gradients of a tile are those of all its windows, through BatchNorm, Scale and PReLU."""
    layers = [conv("conv", "data", 3), norm("bn", "conv", **STORED), scale("scale", "conv"), prelu("prelu", "conv"), inner("ip", "conv", 3),
              fm.SoftmaxLossLayer(name="loss", bottoms=["ip", "label"])]  # fmt: skip

    def made(count: int, size: tuple[int, int], labels: tuple[int, ...]) -> fm.Net:
        source = fm.InputLayer(tops=["data", "label"], shapes=[(count, 2, *size), labels])
        net = fm.Net("net", fm.ReferenceBackend(2), [source, *layers], patch=None, dtype="float64")
        net.init()
        return net

    tile, label = rng.normal(size=(1, 2, 8, 10)), rng.integers(0, 3, (1, 1, 3, 4)).astype(float)
    windows = np.stack([tile[0, :, i : i + 6, j : j + 7] for i, j in np.ndindex(3, 4)])
    patches = made(12, (6, 7), (12, 1))
    loss = patches.forward_backward(inputs={"data": windows, "label": label.reshape(12, 1)})
    one = made(1, (6, 7), (1, 1))
    assert training_net(one).forward_backward(inputs={"data": tile, "label": label}) == pytest.approx(loss, rel=1e-12)
    for name in ("conv", "scale", "prelu", "ip"):
        for ours, theirs in zip(one.params[name], patches.params[name], strict=True):
            np.testing.assert_allclose(ours.gradient, theirs.gradient, rtol=1e-10, atol=1e-13)
