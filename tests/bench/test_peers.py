"""What the peers are given is our net: their answers equal the reference backend's, in every form."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import fullmocha as fm
from bench import nets, onnx_file
from bench.contestants import load
from bench.describe import describe
from bench.description import Json, save
from bench.description import load as load_description
from fullmocha.layers import Layer

TOLERANCE = (
    1e-5  # of probabilities: seven layers of sums of some hundred terms in float32, each program in its own order
)
TORCH = [f"pytorch {kernels} {layout}" for kernels in ("dilated", "fragments") for layout in ("channels_last", "nchw")]


def skipping() -> list[Layer]:
    """A small USK: strided pool, strided kernels, upsampling by ones, a cropped skip, and a deconvolution that learns."""
    relu = fm.Neurons.ReLU()

    def conv(name: str, bottom: str, maps: int, kernel: int, dilation: int = 1, neuron: fm.Neurons = relu) -> Layer:
        return fm.ConvolutionLayer(
            name=name, bottoms=[bottom], tops=[name], kernel=kernel, dilation=dilation, n_filter=maps, neuron=neuron
        )

    def up(name: str, bottom: str, maps: int, group: int, stride: int, rate: float) -> Layer:
        return fm.DeconvolutionLayer(
            name=name,
            bottoms=[bottom],
            tops=[name],
            kernel=2,
            stride=stride,
            n_filter=maps,
            n_group=group,
            bias=rate > 0,
            filter_init=fm.ConstantInitializer(1.0),
            filter_lr=rate,
        )

    return [
        fm.InputLayer(tops=["data"], shapes=[(1, 2, 54, 54)]),
        conv("c1", "data", 4, 3),
        fm.PoolingLayer(name="p1", bottoms=["c1"], tops=["p1"], kernel=2, stride=2),
        conv("c2", "p1", 4, 2),
        fm.PoolingLayer(name="p2", bottoms=["c2"], tops=["p2"], kernel=2, stride=1),
        conv("c3", "p2", 6, 3, dilation=2),
        fm.PoolingLayer(name="p3", bottoms=["c3"], tops=["p3"], kernel=2, stride=1, dilation=2),
        conv("c4", "p3", 6, 2, dilation=4),
        conv("c5", "c4", 5, 1),
        up("u1", "c5", 5, 5, 2, 0.0),
        fm.MergeCropLayer(name="m1", bottoms=["u1", "c1"], tops=["m1"]),
        conv("c6", "m1", 4, 3),
        up("u2", "c6", 3, 1, 1, 1.0),
        conv("c7", "u2", 2, 1, neuron=fm.Neurons.Identity()),
        fm.SoftmaxLayer(name="prob", bottoms=["c7"], tops=["prob"]),
    ]


def build(layers: list[Layer]) -> fm.Net:
    net = fm.Net("net", fm.ReferenceBackend(0), layers)
    nets.draw(net)
    return net


def write(dense: fm.DenseNet, image: np.ndarray, folder: Path) -> np.ndarray:
    """The described net in the folder; what it should answer."""
    save(folder, *describe(dense.program(image.shape)))
    return dense.forward(image)


CASES = {
    "n4": (lambda: fm.models.n4(maps=4, hidden=8), (2, 1, 94 + 13, 94 + 18)),
    "n337": (lambda: fm.models.znni("n337", maps=5), (1, 1, 84 + 9, 84 + 11)),
    "skipping": (skipping, (1, 2, 54, 54)),
}


@pytest.fixture(params=CASES)
def written(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, np.ndarray, np.ndarray]:
    """Folder, image and expected answer."""
    layers, shape = CASES[request.param]
    image = nets.image(shape)
    expected = write(fm.densify(build(layers()), "strided"), image, tmp_path)
    assert np.ptp(expected, axis=(0, 2, 3)).max() > 0.02, "pixels must differ, or equality would say little"
    return tmp_path, image, expected


@pytest.mark.parametrize("name", TORCH)
def test_pytorch_answers_alike(written: tuple[Path, np.ndarray, np.ndarray], name: str, one_thread: None) -> None:
    pytest.importorskip("torch", reason="torch, of the peers extra, is not installed")
    folder, image, expected = written
    answer = load(name, folder, 1, {})(image)
    assert answer.flags.c_contiguous
    np.testing.assert_allclose(answer, expected, rtol=0, atol=TOLERANCE)


@pytest.fixture
def one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The number of threads is the process's, and may be set once: these tests leave it alone."""
    torch = pytest.importorskip("torch", reason="torch, of the peers extra, is not installed")
    monkeypatch.setattr(torch, "set_num_threads", lambda n: None)
    monkeypatch.setattr(torch, "set_num_interop_threads", lambda n: None)
    yield


@pytest.mark.parametrize(("form", "most"), [("dilated", 16), ("fragments", 1)])
def test_fragments_have_no_dilation_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_thread: None, form: str, most: int
) -> None:
    import torch

    seen = []
    genuine = torch.nn.functional.conv2d

    def spy(x, w, b, stride, pad, dilation, group):  # type: ignore[no-untyped-def]
        seen.append(max(dilation))
        return genuine(x, w, b, stride, pad, dilation, group)

    image = nets.image((1, 1, 94 + 16, 94 + 16))
    write(fm.densify(build(fm.models.n4(maps=3, hidden=4)), "strided"), image, tmp_path)
    run = load(f"pytorch {form} nchw", tmp_path, 1, {})
    monkeypatch.setattr(torch.nn.functional, "conv2d", spy)
    run(image)
    assert len(seen) >= 5 and max(seen) == most  # the last layer, 1 x 1, is an inner product on fragments of one pixel


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_the_onnx_file_answers_alike(written: tuple[Path, np.ndarray, np.ndarray], name: str) -> None:
    for library in ("onnx", name):
        pytest.importorskip(library, reason=f"{library}, of the peers extra, is not installed")
    folder, image, expected = written
    onnx_file.write(folder / "net.onnx", *load_description(folder))
    answer = load(name, folder, 1, {})(image)
    assert answer.flags.c_contiguous
    np.testing.assert_allclose(answer, expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("name", ["pytorch dilated nchw", "pytorch dilated channels_last", "opencv"])
@pytest.mark.parametrize("case", ["seven-layers-quick", "sw-102-quick"])
def test_window_by_window_answers_alike(case: str, name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    if name == "opencv":
        pytest.importorskip("cv2", reason="opencv-python-headless<5, of the test extra, is not installed")
    else:
        request.getfixturevalue("one_thread")
    net = build(nets.find(case).layers())
    patch = net.output_blobs["data"].shape[1:]
    windows = nets.image((5, *patch))
    program = fm.densify(net, "sliding").program(windows.shape)
    save(tmp_path, *describe(program))
    expected = np.concatenate([fm.densify(net).forward(w[None])[0, :, 0, 0][None] for w in windows])
    answer = load(name, tmp_path, 1, {})(windows).reshape(expected.shape)
    assert np.ptp(expected, axis=0).max() > 1e-3, "the windows must differ"
    np.testing.assert_allclose(answer, expected, rtol=0, atol=TOLERANCE)


def test_the_description_folds_and_keeps_counts() -> None:
    dense = fm.densify(build(skipping()), "strided")
    program = dense.program((1, 2, 54, 54))
    net, weights = describe(program)
    ops = [step["op"] for step in net["steps"]]
    assert ops.count("upsample") == 1 and ops.count("deconv") == 1 and ops.count("concat") == 1
    assert "relu" not in ops and sum(step.get("relu", False) for step in net["steps"]) == 6
    assert net["flops"] == program.flops
    assert sorted(weights) == sorted(step[role] for step in net["steps"] for role in ("w", "b") if role in step)


def test_what_peers_lack_is_refused_by_name() -> None:
    layers: list[Layer] = [
        fm.InputLayer(tops=["data"], shapes=[(1, 1, 5, 5)]),
        fm.ConvolutionLayer(name="c", bottoms=["data"], tops=["c"], kernel=5, n_filter=2, neuron=fm.Neurons.Tanh()),
    ]
    net = fm.Net("net", "reference", layers)
    net.init()
    with pytest.raises(NotImplementedError, match=r"tanh.*layer c"):
        describe(fm.densify(net).program((1, 1, 6, 6)))


def test_a_concat_that_leaves_maps_unwritten_is_refused() -> None:
    part: Json = {
        "read": 0,
        "read_shape": (1, 2, 4, 4),
        "source": (0, 0, 0, 0),
        "target": (0, 0, 0, 0),
        "size": (1, 2, 4, 4),
    }
    from bench.describe import _check_concat

    whole = {"op": "concat", "layer": "m", "write": 1, "parts": [part]}
    _check_concat({**whole, "shape": (1, 2, 4, 4)})
    with pytest.raises(NotImplementedError, match="unwritten"):
        _check_concat({**whole, "shape": (1, 3, 4, 4)})
    with pytest.raises(NotImplementedError, match="whole maps"):
        _check_concat({**whole, "shape": (1, 2, 5, 4)})
