"""ONNX graphs read as nets: our own come back, and PyTorch's answer as PyTorch does."""

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

import fullmocha as fm
from fullmocha import models

from ..cases import CASES, Case
from ..strategies import PatchNet, patch_nets

onnx = pytest.importorskip("onnx", reason="onnx is not installed (extra onnx)")

Run = Callable[[Path, np.ndarray], np.ndarray]
BOUND = 5e-6  # see test_export


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=patch_nets())
def test_what_we_write_we_read(case: PatchNet, tmp_path: Path) -> None:
    net = fm.Net("net", fm.ReferenceBackend(1), case.layers)
    net.init()
    fm.save_onnx(net, tmp_path / "net.onnx")
    again = fm.load_onnx(tmp_path / "net.onnx", "reference")
    rng = np.random.default_rng(2)
    x = rng.normal(size=(1, case.channels, *(n + 3 for n in case.patch))).astype(np.float32)
    np.testing.assert_allclose(fm.densify(again).forward(x), fm.densify(net).forward(x), atol=BOUND)


# Layers that only train, or whose tops only training wants, and data: what no answering graph holds.
_NO_ANSWER = {"Loss", "Accuracy", "Data", "Input", "Output", "Silence", "Dropout", "RNN", "LSTM"}


def answering(case: Case) -> bool:
    kind = type(case.layer).__name__
    return not any(word in kind for word in _NO_ANSWER)


@pytest.mark.parametrize("case", [c for c in CASES if answering(c)], ids=lambda c: c.name)
def test_every_layer_is_written_or_refused_by_name(
    case: Case, run: Run, tmp_path: Path, rng: np.random.Generator
) -> None:
    """Of one input: the graph answers in onnxruntime as the layer does here."""
    if len(case.inputs) > 1:
        pytest.skip("a graph has one input")
    net = case.net(fm.ReferenceBackend(3), "float32")
    inputs = case.draw(rng)
    net.forward(inputs=inputs)
    (top, *_) = case.layer.tops
    try:
        fm.save_onnx(net, tmp_path / "net.onnx", output=top)
    except (fm.UnsupportedError, fm.NotDenseError) as refusal:
        assert "layer 'l'" in str(refusal) or "l (" in str(refusal) or "depends on 0 inputs" in str(refusal)
        pytest.skip(str(refusal))
    (x,) = inputs.values()
    expected = net.output_blobs[top].data
    got = run(tmp_path / "net.onnx", x.astype(np.float32))
    np.testing.assert_allclose(got, expected, atol=1e-5 * max(1, np.abs(expected).max()))
    try:
        again = fm.load_onnx(tmp_path / "net.onnx", "reference")
    except fm.UnsupportedError as refusal:
        pytest.skip(str(refusal))
    again.forward(inputs={again.data_nodes[0].layer.tops[0]: x})
    read = again.output_blobs[onnx.load(tmp_path / "net.onnx").graph.output[0].name].data
    np.testing.assert_allclose(read, got, atol=1e-5 * max(1, np.abs(expected).max()))


def from_torch(module: object, shape: tuple[int, ...], path: Path, **options: object) -> tuple[np.ndarray, np.ndarray]:
    """What PyTorch exports a module as, and what it answers."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed (extra peers)")
    torch.manual_seed(3)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    for name, buffer in module.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            buffer.copy_(torch.rand_like(buffer) + 0.5)
    module.eval()
    x = torch.randn(*shape)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns of itself
        torch.onnx.export(module, (x,), path, dynamo=False, **options)
    with torch.no_grad():
        return x.numpy(), module(x).numpy()


def answer(net: fm.Net, x: np.ndarray) -> np.ndarray:
    net.forward(inputs={net.data_nodes[0].layer.tops[0]: x})
    return net.output_blobs[list(net.wiring.last)[-1]].data


@pytest.mark.parametrize("opset", [9, 11, 13, 17, 20])
def test_a_classifier_of_pytorch(opset: int, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed (extra peers)")
    nn = torch.nn
    module = nn.Sequential(
        nn.Conv2d(2, 6, 3, bias=False), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3), nn.PReLU(8),
        nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(0.5), nn.Linear(8 * 2 * 3, 5), nn.Tanh(), nn.Linear(5, 3), nn.Softmax(1),
    )  # fmt: skip
    x, expected = from_torch(module, (2, 2, 14, 18), tmp_path / "net.onnx", opset_version=opset, input_names=["image"])
    net = fm.load_onnx(tmp_path / "net.onnx", "reference")
    np.testing.assert_allclose(answer(net, x), expected, atol=1e-6)
    assert {"4", "9", "11"} <= set(net.params)  # its layers keep PyTorch's names
    dense = fm.densify(net).forward(np.random.default_rng(0).normal(size=(1, 2, 20, 21)).astype(np.float32))
    assert dense.shape == (1, 3, 7, 4)


def test_a_u_net_of_pytorch_labels_images(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed (extra peers)")
    nn = torch.nn

    class Small(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.down = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU())
            self.deep = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(4, 6, 3), nn.ELU(0.5))
            self.up = nn.ConvTranspose2d(6, 4, 2, stride=2)
            self.end = nn.Sequential(nn.Conv2d(8, 4, 3), nn.LeakyReLU(0.1), nn.Conv2d(4, 2, 1), nn.Sigmoid())

        def forward(self, x: object) -> object:
            skip = self.down(x)
            up = self.up(self.deep(skip))
            return self.end(torch.cat([up, skip[:, :, 2:-2, 2:-2]], 1))

    axes = {"image": {0: "n", 2: "h", 3: "w"}}
    x, expected = from_torch(
        Small(), (1, 1, 22, 26), tmp_path / "u.onnx", opset_version=17, input_names=["image"], dynamic_axes=axes
    )
    with pytest.raises(
        fm.ShapeError, match=r"its input 'image' is \['open', 1, 'open', 'open'\]; say the window's size"
    ):
        fm.load_onnx(tmp_path / "u.onnx", "reference")
    net = fm.load_onnx(tmp_path / "u.onnx", "reference", patch=(26, 22))
    np.testing.assert_allclose(answer(net, x), expected, atol=1e-6)
    dense = fm.densify(net)
    assert dense.native and dense.align == (2, 2)
    np.testing.assert_allclose(dense.forward(x), expected, atol=1e-6)


@pytest.mark.parametrize("opset", [11, 17])
def test_a_residual_net_of_pytorch(opset: int, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed (extra peers)")
    nn = torch.nn

    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 4, 1)
            self.norm, self.fc = nn.BatchNorm2d(4), nn.Linear(4, 5)

        def forward(self, x: object) -> object:
            y = torch.nn.functional.hardtanh(self.norm(self.a(x)) * 2 - self.b(x) / 3, -1, 1)
            y = torch.nn.functional.avg_pool2d(y, 2) + torch.nn.functional.max_pool2d(-y, 2)
            y = torch.nn.functional.interpolate(y, scale_factor=2, mode="nearest")
            return self.fc(torch.relu(y.mean((2, 3)).view(x.size(0), -1)))

    x, expected = from_torch(Residual(), (2, 3, 8, 6), tmp_path / "r.onnx", opset_version=opset)
    np.testing.assert_allclose(answer(fm.load_onnx(tmp_path / "r.onnx", "reference"), x), expected, atol=2e-6)


def test_what_is_not_read_is_named(tmp_path: Path) -> None:
    helper, kinds = onnx.helper, onnx.TensorProto
    node = helper.make_node("Hardmax", ["x"], ["y"], name="odd one")
    x, y = (helper.make_tensor_value_info(n, kinds.FLOAT, [1, 1, 4, 4]) for n in "xy")
    onnx.save(helper.make_model(helper.make_graph([node], "g", [x], [y])), tmp_path / "net.onnx")
    said = r"net\.onnx: node 'odd one' \(Hardmax\): this operator is not read; those that are: Abs"
    with pytest.raises(fm.UnsupportedError, match=said):
        fm.load_onnx(tmp_path / "net.onnx", "reference")


@pytest.mark.parametrize("cut", [0, 1, 10, 100, -20])
def test_a_cut_file(cut: int, tmp_path: Path) -> None:
    net = fm.Net("lenet", "reference", models.lenet())
    net.init()
    fm.save_onnx(net, tmp_path / "net.onnx")
    raw = (tmp_path / "net.onnx").read_bytes()
    (tmp_path / "cut.onnx").write_bytes(raw[:cut])
    with pytest.raises(fm.FormatError, match=r"cut\.onnx"):
        fm.load_onnx(tmp_path / "cut.onnx", "reference")


def test_weights_in_another_file_are_not_followed(tmp_path: Path) -> None:
    tensor = onnx.numpy_helper.from_array(np.ones((1, 1, 2, 2), np.float32), "w")
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    node = onnx.helper.make_node("Conv", ["x", "w"], ["y"])
    x, y = (onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [1, 1, 4, 4]) for n in "xy")
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "g", [x], [y], [tensor]))
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(fm.UnsupportedError, match="'w' lie in another file; save the model as one file"):
        fm.load_onnx(tmp_path / "net.onnx", "reference")
