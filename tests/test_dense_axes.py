"""Rows and volumes: sliding is the definition over any number of axes, and the engines give its bits."""

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from scipy import ndimage

import fullmocha as fm

_FEW = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
RELU, TANH = fm.Neurons.ReLU(), fm.Neurons.Tanh()


@st.composite
def patch_nets(draw: st.DrawFn) -> tuple[list, tuple[int, ...]]:
    """Convolutions and pools with strides and dilations of their own along every axis, crops and branches; made backwards."""
    axes = draw(st.sampled_from([1, 3]))
    sizes = lambda low, high: tuple(draw(st.integers(low, high)) for _ in range(axes))  # noqa: E731
    size = sizes(1, 2)
    steps: list[dict] = []
    for kind in draw(
        st.lists(st.sampled_from(["conv", "max", "mean", "crop", "branch", "columns"]), min_size=1, max_size=3)
    ):
        kernel, stride = sizes(1, 3 if axes == 1 else 2), sizes(1, 3 if axes == 1 else 2)
        if kind in ("crop", "branch"):
            stride = (1,) * axes
        dilation = sizes(1, 2) if kind != "mean" else (1,) * axes
        extent = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True))
        if kind in ("max", "mean"):
            stride = tuple(map(min, stride, extent))
        steps.append(
            {"kind": kind, "to": size, "kernel": kernel[::-1], "stride": stride[::-1], "dilation": dilation[::-1]}
        )
        left = sizes(0, 1) if kind == "crop" else (0,) * axes
        if kind == "crop":
            size = tuple(n + e for n, e in zip(size, left, strict=True))
        else:
            size = tuple((n - 1) * s + e for n, s, e in zip(size, stride, extent, strict=True))
    assume(math.prod(size) <= 250)
    layers: list = [fm.InputLayer(tops=["data"], shapes=[(2, 2, *size)])]
    bottom = "data"
    for i, step in enumerate(reversed(steps)):
        name, window = f"{step['kind']}{i}", {k: step[k] for k in ("kernel", "stride", "dilation")}
        wired = {"name": name, "bottoms": [bottom], "tops": [name]}
        if step["kind"] == "conv":
            layers.append(fm.ConvolutionLayer(**wired, **window, n_filter=3, neuron=TANH))
        elif step["kind"] == "columns":
            layers.append(fm.Im2colLayer(**wired, **window))
        elif step["kind"] == "crop":
            layers.append(fm.CropLayer(**wired, crop_size=step["to"][::-1]))
        elif step["kind"] == "branch":
            layers.append(
                fm.ConvolutionLayer(name=f"{name}a", bottoms=[bottom], tops=[f"{name}a"], **window, n_filter=2)
            )
            layers.append(fm.MergeCropLayer(name=name, bottoms=[f"{name}a", bottom], tops=[name]))
        else:
            pooling = fm.Pooling.Max() if step["kind"] == "max" else fm.Pooling.Mean()
            layers.append(fm.PoolingLayer(**wired, **window, pooling=pooling))
        bottom = name
    layers += [
        fm.InnerProductLayer(name="ip1", bottoms=[bottom], tops=["ip1"], output_dim=3, neuron=TANH),
        fm.ConvolutionLayer(name="ip2", bottoms=["ip1"], tops=["ip2"], n_filter=2),
        fm.SoftmaxLayer(name="prob", bottoms=["ip2"], tops=["prob"]),
    ]
    return layers, size


def made(layers: list, backend: str, dtype: str) -> fm.Net:
    net = fm.Net("net", fm.ReferenceBackend(3) if backend == "reference" else fm.CPUBackend(3), layers, dtype=dtype)
    net.init()
    return net


@_FEW
@given(
    patch_nets(),
    st.tuples(st.integers(0, 4), st.integers(0, 2), st.integers(0, 3)),
    st.sampled_from(["float32", "float64"]),
)
def test_sliding_equals_fragments_equals_strided_bit_for_bit(
    spec: tuple[list, tuple[int, ...]], extra: tuple[int, ...], dtype: str
) -> None:
    layers, patch = spec
    net = made(layers, "reference", dtype)
    size = tuple(p + e for p, e in zip(patch, extra, strict=False))
    x = np.random.default_rng(1).normal(size=(2, 2, *size)).astype(dtype)
    sliding = fm.densify(net, "sliding").forward(x)
    assert sliding.shape == (2, 2, *(e + 1 for e in extra[: len(patch)]))
    # The first and the last window, run by hand.
    for corner in (
        tuple(slice(0, p) for p in patch),
        tuple(slice(e, e + p) for p, e in zip(patch, extra, strict=False)),
    ):
        net.forward({"data": x[:, :, *corner]})
        at = tuple(s.start for s in corner)
        np.testing.assert_array_equal(sliding[:, :, *at], net.output_blobs["prob"].data)
    for engine in ("strided", "fragments"):
        np.testing.assert_array_equal(fm.densify(net, engine).forward(x), sliding, err_msg=engine)
    if dtype == "float64":
        fast = made(layers, "cpu", "float32")
        fast.load_params({name: [p.values() for p in params] for name, params in net.params.items()})
        for engine in ("strided", "fragments"):
            y = fm.densify(fast, engine).forward(x.astype("float32"))
            assert np.abs(y - sliding).max() <= 5e-5  # DESIGN section 4, class probabilities


def everything(axes: int) -> list:
    """Strides, dilations, crops and taps as channels that differ along every axis, on a patch that fits: 26, or 8 x 11 x 26."""
    conv = {1: {"kernel": 2, "stride": 3}, 3: {"kernel": (2, 3, 2), "stride": (3, 2, 1)}}[axes]
    columns = {1: {"kernel": 2, "dilation": 2}, 3: {"kernel": (2, 1, 2), "dilation": (2, 1, 1)}}[axes]
    pool = {1: {"kernel": 2, "stride": 2}, 3: {"kernel": 2, "stride": (2, 1, 2)}}[axes]
    return [
        fm.InputLayer(tops=["data"], shapes=[(1, 2, *{1: (26,), 3: (8, 11, 26)}[axes])]),
        fm.ConvolutionLayer(name="conv", bottoms=["data"], tops=["conv"], n_filter=3, neuron=TANH, **conv),
        fm.Im2colLayer(name="cols", bottoms=["conv"], tops=["cols"], **columns),  # 7, or 6 x 5 x 7
        fm.CropLayer(name="crop", bottoms=["cols"], tops=["crop"], crop_size={1: 4, 3: (4, 3, 4)}[axes]),
        fm.PoolingLayer(name="pool", bottoms=["crop"], tops=["pool"], **pool),
        fm.InnerProductLayer(name="ip", bottoms=["pool"], tops=["ip"], output_dim=2),
        fm.SoftmaxLayer(name="prob", bottoms=["ip"], tops=["prob"]),
    ]


@pytest.mark.parametrize("axes", [1, 3])
def test_everything_that_has_a_place(axes: int, rng: np.random.Generator) -> None:
    net, fast = (made(everything(axes), backend, "float64") for backend in ("reference", "cpu"))
    fast.load_params({name: [p.values() for p in params] for name, params in net.params.items()})
    extra = (2, 3, 5)[-axes:]
    x = rng.normal(size=(2, 2, *(n + e for n, e in zip(net.blobs["data"].shape[2:], extra, strict=True))))
    sliding = fm.densify(net, "sliding").forward(x)
    assert sliding.shape[2:] == tuple(e + 1 for e in extra) and np.ptp(sliding) > 0.1
    for engine in ("strided", "fragments"):
        np.testing.assert_array_equal(fm.densify(net, engine).forward(x), sliding, err_msg=engine)
        y = fm.densify(fast, engine).forward(x)
        np.testing.assert_allclose(y, sliding, rtol=0, atol=1e-12, err_msg=engine)  # DESIGN section 4


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_a_convolution_of_volumes_is_scipys(backend: str, rng: np.random.Generator) -> None:
    conv = fm.ConvolutionLayer(
        name="c", bottoms=["data"], tops=["c"], kernel=(2, 3, 4), stride=(1, 2, 1), dilation=(2, 1, 1), n_filter=2
    )
    net = made([fm.InputLayer(tops=["data"], shapes=[(2, 3, 6, 7, 8)]), conv], backend, "float64")
    x, (w, b) = rng.normal(size=(2, 3, 6, 7, 8)), (rng.normal(size=p.shape) for p in net.params["c"])
    assert w.shape == (2, 3, 4, 3, 2)  # planes, rows, columns
    net.load_params({"c": [w, b]})
    net.forward({"data": x})
    spread = np.zeros((2, 3, 4, 3, 3))
    spread[..., ::2] = w
    for n in range(2):
        for o in range(2):
            full = sum(ndimage.correlate(x[n, c], spread[o, c], mode="constant", origin=(-2, -1, -1)) for c in range(3))
            wanted = full[:3, :5:2, :6] + b[o]
            # sums of 72 products in two orders
            np.testing.assert_allclose(
                net.output_blobs["c"].data[n, o], wanted, rtol=0, atol=1e-13 * np.abs(full).max()
            )


def u_net(size: tuple[int, ...]) -> list:
    """One level down and up over volumes, and the skip around it: dense as it stands, in steps of 2."""
    return [
        fm.InputLayer(tops=["data"], shapes=[(1, 1, *size)]),
        fm.ConvolutionLayer(name="c1", bottoms=["data"], tops=["c1"], kernel=(3, 3, 1), n_filter=4, neuron=RELU),
        fm.PoolingLayer(name="down", bottoms=["c1"], tops=["down"], kernel=2, stride=2),
        fm.ConvolutionLayer(name="c2", bottoms=["down"], tops=["c2"], kernel=(2, 3, 2), n_filter=4, neuron=RELU),
        fm.DeconvolutionLayer(
            name="up", bottoms=["c2"], tops=["up"], kernel=2, stride=2, n_filter=4, n_group=4, bias=False
        ),
        fm.MergeCropLayer(name="merge", bottoms=["up", "c1"], tops=["merge"], backward_of=(True, True)),
        fm.ConvolutionLayer(name="c3", bottoms=["merge"], tops=["c3"], n_filter=2),
        fm.SoftmaxLayer(name="prob", bottoms=["c3"], tops=["prob"]),
    ]


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_a_u_net_of_volumes_is_dense_as_it_stands(backend: str, rng: np.random.Generator) -> None:
    net = made(u_net((6, 10, 12)), backend, "float64")
    dense = fm.densify(net)
    assert (dense.native, dense.patch, dense.context, dense.align) == (True, (6, 10, 12), (2, 6, 4), (2, 2, 2))
    assert dense.fit((5, 7, 9)) == (6, 8, 10)
    x = rng.normal(size=(2, 1, 9, 13, 16))
    y = dense.forward(x)
    assert y.shape == (2, 2, 7, 7, 12)
    larger = made(u_net((10, 14, 16)), "reference", "float64")
    larger.load_params({name: [p.values() for p in params] for name, params in net.params.items()})
    padded = np.pad(x, [(0, 0), (0, 0), (0, 1), (0, 1), (0, 0)])
    larger.forward({"data": padded})
    wanted = larger.output_blobs["prob"].data[:, :, :7, :7, :12]
    assert np.ptp(wanted) > 0.01
    np.testing.assert_allclose(y, wanted, rtol=0, atol=1e-12)  # class probabilities in float64, DESIGN section 4


def strided_kernels(size: tuple[int, ...]) -> list:
    """Dense as it stands, by dilation: 1 and then 2."""
    return [
        fm.InputLayer(tops=["data"], shapes=[(1, 2, *size)]),
        fm.ConvolutionLayer(name="c1", bottoms=["data"], tops=["c1"], kernel=2, n_filter=3, neuron=RELU),
        fm.PoolingLayer(name="p1", bottoms=["c1"], tops=["p1"], kernel=2),
        fm.ConvolutionLayer(name="c2", bottoms=["p1"], tops=["c2"], kernel=2, dilation=2, n_filter=3, neuron=RELU),
        fm.ConvolutionLayer(name="c3", bottoms=["c2"], tops=["c3"], n_filter=2),
        fm.SoftmaxLayer(name="prob", bottoms=["c3"], tops=["prob"]),
    ]


@pytest.mark.parametrize("size", [(11,), (6, 7, 9)])
def test_strided_kernels_run_on_fragments(size: tuple[int, ...], rng: np.random.Generator) -> None:
    net = made(strided_kernels(size), "reference", "float64")
    x = rng.normal(size=(2, 2, *(n + 3 for n in size)))
    fragments, strided = fm.densify(net, "fragments"), fm.densify(net, "strided")
    assert fragments.native and fragments.grain == (2,) * len(size)
    y = fragments.forward(x)
    np.testing.assert_array_equal(y, strided.forward(x))
    fast = made(strided_kernels(size), "cpu", "float64")
    fast.load_params({name: [p.values() for p in params] for name, params in net.params.items()})
    assert np.ptp(y) > 0.01
    np.testing.assert_allclose(fm.densify(fast).forward(x), y, rtol=0, atol=1e-12)


def patch_net(*layers: object, size: tuple[int, ...] = (4, 5, 6)) -> list:
    return [fm.InputLayer(tops=["data"], shapes=[(1, 1, *size)]), *layers]


def test_sliding_runs_what_has_no_dense_form(rng: np.random.Generator) -> None:
    """A pyramid, and the places of maxima, are refused by name and slide."""
    spp = fm.SPPLayer(name="spp", bottoms=["data"], tops=["spp"], pyramid_height=2)
    ip = fm.InnerProductLayer(name="ip", bottoms=["spp"], tops=["ip"], output_dim=2)
    net = made(patch_net(spp, ip, size=(4, 5)), "cpu", "float64")
    with pytest.raises(fm.NotDenseError, match=r"spp \(SPPLayer\): its grids divide one patch.*sliding"):
        fm.densify(net)
    x = rng.normal(size=(1, 1, 6, 6))
    y = fm.densify(net, "sliding").forward(x)
    for i, j in np.ndindex(3, 2):
        part = x[0, 0, i : i + 4, j : j + 5]
        pooled = np.array([part.max(), part[:2, :2].max(), part[:2, 2:].max(), part[2:, :2].max(), part[2:, 2:].max()])
        w, b = (p.values() for p in net.params["ip"])
        np.testing.assert_allclose(y[0, :, i, j], w @ pooled + b, rtol=1e-12)

    pool = fm.PoolingLayer(name="p", bottoms=["data"], tops=["p", "where"], kernel=2, stride=2, places=True)
    net = made(patch_net(pool, size=(4, 6)), "reference", "float64")
    with pytest.raises(fm.NotDenseError, match="places of maxima are counted in one patch"):
        fm.densify(net, output="where")


def test_places_are_flat_indices_and_pass_no_gradient(rng: np.random.Generator) -> None:
    pool = fm.PoolingLayer(
        name="p", bottoms=["data"], tops=["p", "where"], kernel=(2, 3, 2), stride=2, pad=(1, 0, 1), places=True
    )
    for backend in ("reference", "cpu"):
        net = made(patch_net(pool, size=(5, 7, 6)), backend, "float64")
        x = rng.normal(size=(2, 1, 5, 7, 6))
        net.forward_backward(inputs={"data": x}, seeds={"where": np.full((2, 1, 3, 3, 4), 9.0)})
        values, where = net.output_blobs["p"].data, net.output_blobs["where"].data.astype(int)
        np.testing.assert_array_equal(x.reshape(2, -1)[[[0]], where[0].ravel()].ravel(), values[0].ravel())
        assert len(np.unique(where[0])) > 10
        np.testing.assert_array_equal(net.diff_blobs["data"].data, 0)
    alone = made(patch_net(fm.PoolingLayer(name="p", bottoms=["data"], tops=["p", "w"], kernel=2, stride=2, places=True), size=(2, 4)),
                 "reference", "float64")  # fmt: skip
    alone.forward({"data": np.array([[[[np.nan, np.nan, 5, 7], [np.nan, np.nan, 7, 0]]]])})
    assert alone.output_blobs["w"].data.ravel().tolist() == [-1, 3]
    alone.forward({"data": np.array([[[[np.nan, -np.inf, 0, -1], [-np.inf, np.nan, -1, 0]]]])})
    assert alone.output_blobs["w"].data.ravel().tolist() == [1, 2]


def test_a_patch_of_a_volume_trains_as_its_windows_do(rng: np.random.Generator) -> None:
    """One dense update on a tile, and one on all windows of it."""
    x, labels = rng.normal(size=(1, 1, 5, 6, 7)), rng.integers(0, 2, (1, 1, 3, 2, 3)).astype(float)
    windows = np.lib.stride_tricks.sliding_window_view(x[0, 0], (3, 5, 5)).reshape(18, 1, 3, 5, 5).copy()

    def net(data: np.ndarray, label: np.ndarray, batch: int, **fields: object) -> fm.Net:
        layers = [
            fm.MemoryDataLayer(batch_size=batch, data=[data, label]),
            fm.ConvolutionLayer(name="c", bottoms=["data"], tops=["c"], kernel=(2, 2, 1), n_filter=3, neuron=TANH),
            fm.PoolingLayer(
                name="p", bottoms=["c"], tops=["p"], kernel=(2, 2, 1), stride=(2, 2, 1), pooling=fm.Pooling.Mean()
            ),
            fm.InnerProductLayer(name="ip", bottoms=["p"], tops=["ip"], output_dim=2),
            fm.SoftmaxLossLayer(bottoms=["ip", "label"]),
        ]
        made = fm.Net("n", fm.ReferenceBackend(5), layers, dtype="float64", **fields)
        made.init()
        return made

    def solver() -> fm.Solver:
        return fm.Solver(fm.SGD(), fm.make_solver_parameters(fm.SGD(), max_iter=3, lr_policy=fm.LRPolicy.Fixed(0.5)))

    tiles = net(x, labels, 1, patch=(5, 5, 3))
    assert tiles.blobs["data"].shape == (1, 1, 3, 5, 5) and tiles.blobs["label"].shape == (1, 1, 1, 1, 1)
    fm.solve_fully(solver(), tiles)
    one_by_one = net(windows, labels.reshape(18, 1), 18)
    fm.solve(solver(), one_by_one)
    start = net(windows, labels.reshape(18, 1), 18)
    for name, params in tiles.params.items():
        for a, b, c in zip(params, one_by_one.params[name], start.params[name], strict=True):
            assert name == "ip" or np.abs(a.values() - c.values()).max() > 1e-3
            np.testing.assert_allclose(a.values(), b.values(), rtol=0, atol=1e-12)  # gradients, DESIGN section 4


def test_patches_and_inputs_of_other_axes_are_refused() -> None:
    data = fm.MemoryDataLayer(batch_size=1, tops=["data"], data=[np.zeros((2, 1, 5, 6, 7))])
    ip = fm.InnerProductLayer(name="ip", bottoms=["data"], tops=["ip"], output_dim=2)
    with pytest.raises(fm.ShapeError, match=r"patch=\(3, 3\) has 2 sizes.*3 spatial axes, 5x6x7"):
        fm.Net("n", "reference", [data, ip], patch=(3, 3))
    with pytest.raises(fm.ShapeError, match=r"patch=6 \(width, height\) exceeds the 5x6x7"):
        fm.Net("n", "reference", [data, ip], patch=6)
    net = fm.Net("n", "reference", [data, ip], patch=3)
    net.init()
    dense = fm.densify(net)
    assert dense.patch == (3, 3, 3)
    with pytest.raises(fm.ShapeError, match=r"takes images \(N, 1, D, H, W\); got \(1, 1, 5, 6\)"):
        dense.forward(np.zeros((1, 1, 5, 6)))
    with pytest.raises(fm.ShapeError, match=r"the 2x6x7 image is smaller .* at least 3x3x3"):
        dense.forward(np.zeros((1, 1, 2, 6, 7)))


@pytest.mark.parametrize("engine", ["auto", "sliding"])
def test_predict_refuses_volumes_with_the_way_out(engine: str) -> None:
    ip = fm.InnerProductLayer(name="ip", bottoms=["data"], tops=["ip"], output_dim=2)
    net = made(patch_net(ip), "reference", "float64")
    with pytest.raises(
        fm.ShapeError,
        match=r"takes arrays of 3 spatial axes; only images.*densify\(net\)\.forward\(x\).*\(N, 1, at least 4, at least 5",
    ):
        fm.predict(net, np.zeros((8, 9, 9)), engine=engine)
    with pytest.raises(fm.ShapeError, match=r"at once by fm\.densify"):
        fm.predict(net, np.zeros((1, 8, 9, 9)))


def test_a_volume_that_does_not_fit_is_refused_with_sizes_that_do() -> None:
    pool = fm.PoolingLayer(name="pool", bottoms=["data"], tops=["pool"], kernel=2, stride=2)
    ip = fm.InnerProductLayer(name="ip", bottoms=["pool"], tops=["ip"], output_dim=2)
    net = fm.Net("odd", "reference", patch_net(pool, ip, size=(5, 7, 9)))
    with pytest.raises(
        fm.NotDenseError, match=r"hangs \(1, 1, 1\).*5x7x9 patch.*near 5x7x9 that fit: 4x6x8 and 6x8x10"
    ):
        fm.densify(net)


def test_a_kernel_over_no_axes_and_channels_that_are_not_there_are_refused() -> None:

    def conv(**fields: object) -> fm.ConvolutionLayer:
        return fm.ConvolutionLayer(name="c", bottoms=["a"], tops=["c"], n_filter=2, **fields)

    with pytest.raises(fm.ShapeError, match="no axes behind its channels, axis 1, over which 3x3 could slide"):
        conv(kernel=3).shape([(2, 5)])
    with pytest.raises(fm.ShapeError, match=r"axis 4, the channels, is outside 1 \.\. 3"):
        conv(axis=4).shape([(2, 5, 3, 3)])
    with pytest.raises(fm.ShapeError, match="needs spatial axes"):
        fm.PoolingLayer(name="p", bottoms=["a"], tops=["b"]).shape([(2, 5)])
    with pytest.raises(fm.ShapeError, match="too few pixels for 2 windows a side"):
        fm.SPPLayer(name="s", bottoms=["a"], tops=["b"], pyramid_height=3).shape([(1, 1, 1, 9)])
    with pytest.raises(fm.ShapeError, match="only maxima have places"):
        fm.PoolingLayer(name="p", bottoms=["a"], tops=["b", "c"], places=True, pooling=fm.Pooling.Mean())
    layer = fm.ConvolutionLayer(name="c", bottoms=["data"], tops=["c"], n_filter=2, kernel=2, axis=2)
    batched = made([fm.InputLayer(tops=["data"], shapes=[(1, 2, 1, 5, 5)]), layer], "reference", "float64")
    with pytest.raises(fm.NotDenseError, match="axis=2 keeps pixels as batch"):
        fm.densify(batched)


def test_branches_that_cannot_meet_in_a_volume_are_refused_by_name() -> None:
    a = fm.ConvolutionLayer(name="a", bottoms=["data"], tops=["a"], n_filter=2, kernel=2, stride=(2, 2, 1))
    b = fm.ConvolutionLayer(name="b", bottoms=["data"], tops=["b"], n_filter=2, kernel=(3, 3, 2))
    join = fm.ConcatLayer(name="join", bottoms=["a", "b"], tops=["join"], axis=1)
    net = fm.Net("fork", "reference", patch_net(a, b, join, size=(4, 4, 4)))
    with pytest.raises(fm.NotDenseError, match=r"join .*strides 1x2x2 and 1x1x1"):
        fm.densify(net, "strided")
    down = [fm.PoolingLayer(name=f"p{i}{k}", bottoms=[x], tops=[f"p{i}{k}"], kernel=k, stride=k)
            for i, ks in enumerate([(2, 3), (3, 2)]) for x, k in zip(["data", f"p{i}{ks[0]}"], ks, strict=True)]  # fmt: skip
    join = fm.ConcatLayer(name="join", bottoms=["p03", "p12"], tops=["join"], axis=1)
    net = fm.Net("fork", "reference", patch_net(*down, join, size=(12, 12, 12)))
    with pytest.raises(fm.NotDenseError, match=r"another order, 2x2x2, 3x3x3 and 3x3x3, 2x2x2"):
        fm.densify(net, "fragments")
    net.init()
    assert fm.densify(net).forward(np.zeros((1, 1, 13, 12, 14), np.float32)).shape == (1, 2, 8, 7, 9)
