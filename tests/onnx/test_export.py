"""Written ONNX graphs, run by onnxruntime, against our own answers."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

import fullmocha as fm
from fullmocha import models

from ..strategies import PatchNet, patch_nets

onnx = pytest.importorskip("onnx", reason="onnx is not installed (extra onnx)")

Run = Callable[[Path, np.ndarray], np.ndarray]

# Two float32 programs with sums of at most some thousand terms in other orders: the reports' probabilities agree to 5e-5 (DESIGN
# section 4); small nets of unit-sized values to a tenth of it.
BOUND = 5e-6


def kinds(path: Path) -> list[str]:
    return [node.op_type for node in onnx.load(path).graph.node]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=patch_nets())
def test_random_nets_for_a_patch_and_dense(case: PatchNet, run: Run, tmp_path: Path) -> None:
    net = fm.Net("net", fm.ReferenceBackend(1), case.layers)
    net.init()
    rng = np.random.default_rng(2)
    patch, dense = tmp_path / "patch.onnx", tmp_path / "dense.onnx"
    fm.save_onnx(net, patch)
    x = rng.normal(size=(3, case.channels, *case.patch)).astype(np.float32)
    net.forward(inputs={"data": x})
    np.testing.assert_allclose(run(patch, x), net.output_blobs["prob"].data, atol=BOUND)
    fm.save_onnx(net, dense, dense=True)
    for grown in ((1, 4), (6, 3)):  # other sizes than those that were recorded
        x = rng.normal(size=(2, case.channels, *(n + g for n, g in zip(case.patch, grown, strict=True)))).astype(
            np.float32
        )
        np.testing.assert_allclose(run(dense, x), fm.densify(net, "strided").forward(x), atol=BOUND)


def test_lenet_is_written_as_a_person_would(run: Run, tmp_path: Path) -> None:
    net = fm.Net("lenet", "reference", models.lenet())
    net.init()
    fm.save_onnx(net, tmp_path / "patch.onnx")
    fm.save_onnx(net, tmp_path / "dense.onnx", dense=True)
    assert kinds(tmp_path / "patch.onnx") == [
        "Conv",
        "MaxPool",
        "Conv",
        "MaxPool",
        "Reshape",
        "Gemm",
        "Relu",
        "Gemm",
        "Softmax",
    ]
    assert kinds(tmp_path / "dense.onnx") == ["Conv", "MaxPool", "Conv", "MaxPool", "Conv", "Relu", "Conv", "Softmax"]
    graph = onnx.load(tmp_path / "dense.onnx").graph
    assert [d.dim_param or d.dim_value for d in graph.input[0].type.tensor_type.shape.dim] == ["N", 1, "H", "W"]
    assert {i.name for i in graph.initializer} >= {"conv1.filter", "conv1.bias", "ip2.weight"}


def test_a_u_net_goes_up_and_joins(run: Run, tmp_path: Path) -> None:
    net = fm.Net("u", "reference", models.u(maps=2, softmax=False))
    net.backend.seed(3)
    net.init()
    fm.save_onnx(net, tmp_path / "u.onnx", dense=True)
    dense = fm.densify(net)
    x = np.random.default_rng(0).normal(size=(1, dense.channels, 204, 220)).astype(np.float32)
    y = dense.forward(x)
    np.testing.assert_allclose(run(tmp_path / "u.onnx", x), y, atol=BOUND * np.abs(y).max())


def test_what_the_data_layer_does_to_an_image_comes_first(run: Run, tmp_path: Path) -> None:
    mean = np.array([0.5, -2.0, 3.0])
    steps = [("data", fm.DataTransformers.SubMean(mean_blob=mean)), ("data", fm.DataTransformers.Scale(0.25))]
    data = fm.InputLayer(tops=["data"], shapes=[(1, 3, 5, 4)], transformers=steps)
    net = fm.Net("net", "reference", [data, fm.ReLULayer(name="r", bottoms=["data"], tops=["y"], negative_slope=0.5)])
    fm.save_onnx(net, tmp_path / "net.onnx")
    x = np.random.default_rng(0).normal(size=(2, 3, 5, 4)).astype(np.float32)
    scaled = (x - mean[:, None, None]) / 4
    np.testing.assert_allclose(
        run(tmp_path / "net.onnx", x), np.where(scaled > 0, scaled, scaled / 2), rtol=1e-6, atol=1e-7
    )
    assert kinds(tmp_path / "net.onnx") == ["Mul", "Add", "LeakyRelu"]


def test_a_mean_of_whole_images_is_for_one_patch_alone(run: Run, tmp_path: Path) -> None:
    mean = np.random.default_rng(1).normal(size=(2, 5, 4))
    steps = [("data", fm.DataTransformers.SubMean(mean_blob=mean))]
    data = fm.InputLayer(tops=["data"], shapes=[(1, 2, 5, 4)], transformers=steps)
    net = fm.Net("net", "reference", [data, fm.AbsValLayer(name="a", bottoms=["data"], tops=["y"])])
    fm.save_onnx(net, tmp_path / "patch.onnx")
    x = np.random.default_rng(0).normal(size=(3, 2, 5, 4)).astype(np.float32)
    np.testing.assert_allclose(run(tmp_path / "patch.onnx", x), np.abs(x - mean), rtol=1e-5, atol=1e-6)
    with pytest.raises(fm.ShapeError, match="a mean of whole images fits no other size"):
        fm.save_onnx(net, tmp_path / "dense.onnx", dense=True)
    assert not (tmp_path / "dense.onnx").exists()


@pytest.mark.parametrize("divisor", ["mocha", "caffe"])
@pytest.mark.parametrize(
    "window", [{"kernel": 3, "stride": 2, "pad": 1}, {"kernel": (3, 2), "stride": 2}, {"kernel": 2, "dilation": 2}]
)
def test_means_at_the_edge(divisor: str, window: dict, run: Run, tmp_path: Path) -> None:
    data = fm.InputLayer(tops=["data"], shapes=[(1, 2, 10, 7)])
    pool = fm.PoolingLayer(name="p", bottoms=["data"], tops=["y"], pooling=fm.Pooling.Mean(), divisor=divisor, **window)
    net = fm.Net("net", "reference", [data, pool])
    fm.save_onnx(net, tmp_path / "net.onnx")
    x = np.random.default_rng(0).normal(size=(2, 2, 10, 7)).astype(np.float32)
    net.forward(inputs={"data": x})
    np.testing.assert_allclose(run(tmp_path / "net.onnx", x), net.output_blobs["y"].data, rtol=1e-5, atol=1e-6)


def test_sums_of_branches(run: Run, tmp_path: Path) -> None:
    data = fm.InputLayer(tops=["data"], shapes=[(1, 2, 9, 8)])
    conv = fm.ConvolutionLayer(name="c", bottoms=["data"], tops=["c"], kernel=3, n_filter=2)
    add = fm.MergeCropLayer(name="m", bottoms=["c", "data"], tops=["y"], operation="add")
    net = fm.Net("net", "reference", [data, conv, add])
    net.init()
    fm.save_onnx(net, tmp_path / "net.onnx")
    x = np.random.default_rng(0).normal(size=(2, 2, 9, 8)).astype(np.float32)
    net.forward(inputs={"data": x})
    np.testing.assert_allclose(run(tmp_path / "net.onnx", x), net.output_blobs["y"].data, rtol=1e-5, atol=1e-6)


def test_what_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fullmocha.onnx import operators

    monkeypatch.delitem(operators.OPERATORS, "softmax")
    net = fm.Net("lenet", "reference", models.lenet())
    net.init()
    with pytest.raises(fm.UnsupportedError, match=r"layer 'prob': the operation 'softmax' has no ONNX form"):
        fm.save_onnx(net, tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())


def test_more_weights_than_a_file_may_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = fm.Net("lenet", "reference", models.lenet())
    net.init()
    monkeypatch.setattr("fullmocha.onnx._MOST_BYTES", 4 * 431_080)
    fm.save_onnx(net, tmp_path / "net.onnx", dense=True)
    monkeypatch.setattr("fullmocha.onnx._MOST_BYTES", 4 * 431_080 - 1)
    with pytest.raises(fm.WeightsError, match=r"net\.onnx: 1,724,320 bytes of weights exceed the 1,724,319"):
        fm.save_onnx(net, tmp_path / "net.onnx", dense=True)
