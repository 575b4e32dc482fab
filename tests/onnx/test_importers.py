"""Single operators, against what onnxruntime, or PyTorch, makes of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fullmocha as fm

from .test_load import answer, from_torch

onnx = pytest.importorskip("onnx", reason="onnx is not installed (extra onnx)")
torch = pytest.importorskip("torch", reason="PyTorch is not installed (extra peers)")
nn = torch.nn

Run = Callable[[Path, np.ndarray], np.ndarray]
RNG = np.random.default_rng(0)
SHAPE = (2, 3, 8, 7)
# Sums of at most some hundred float32 terms in another order, of values about 1.
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


def node(kind: str, *inputs: str, out: str = "y", **attributes: Any) -> Any:
    return onnx.helper.make_node(kind, ["x", *inputs], [out], **attributes)


def saved(path: Path, nodes: list, constants: dict[str, Any], shape: tuple[int, ...] = SHAPE, opset: int = 17) -> None:
    helper, kinds = onnx.helper, onnx.TensorProto
    x, y = helper.make_tensor_value_info("x", kinds.FLOAT, shape), helper.make_tensor_value_info("y", kinds.FLOAT, None)
    held = [onnx.numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()]
    model = helper.make_model(
        helper.make_graph(nodes, "g", [x], [y], held), opset_imports=[helper.make_opsetid("", opset)]
    )
    model.ir_version = 8
    onnx.save(onnx.shape_inference.infer_shapes(model), path)


def f32(*shape: int) -> np.ndarray:
    return (np.random.default_rng(sum(shape)).normal(size=shape) + 1).astype(np.float32)


PADS = [[0, 0, 1, 1], [1, 1, 0, 0], [1, 0, 2, 1], [2, 2, 0, 1]]
STRIDES = [[1, 1], [2, 2], [3, 2]]
WINDOWED = [
    *({"pads": pads, "strides": strides} for pads in PADS for strides in STRIDES),
    *({"auto_pad": f"SAME_{way}", "strides": strides} for way in ("UPPER", "LOWER") for strides in STRIDES),
]
NODES: dict[str, tuple[list, dict]] = {}
for i, given in enumerate(WINDOWED):
    NODES[f"conv{i}"] = [node("Conv", "w", **given)], {"w": f32(4, 3, 3, 2)}
    if "pads" in given:  # onnxruntime has no SAME with holes
        NODES[f"conv{i} with holes"] = [node("Conv", "w", dilations=[2, 1], **given)], {"w": f32(4, 3, 3, 3)}
    NODES[f"deconv{i}"] = [node("ConvTranspose", "w", **given)], {"w": f32(3, 4, 4, 3)}
    NODES[f"mean{i}"] = [node("AveragePool", kernel_shape=[3, 3], **given)], {}
    NODES[f"mean{i} with padding"] = [node("AveragePool", kernel_shape=[3, 3], count_include_pad=1, **given)], {}
    if not (i in (5, 7, 8, 11) or given["strides"] == [3, 2]):
        NODES[f"max{i}"] = [node("MaxPool", kernel_shape=[3, 3], **given)], {}
for grown in ([1, 0], [0, 1]):
    given = {"pads": [1, 1, 1, 1], "strides": [2, 2], "output_padding": grown}
    NODES[f"deconv and {grown}"] = [node("ConvTranspose", "w", **given)], {"w": f32(3, 2, 3, 3)}
around = np.array([0, 0, 1, 0, 0, 0, 2, 1])
for kind, more in {"Relu": {}, "Conv": {"w": f32(2, 3, 3, 3)}, "ConvTranspose": {"w": f32(3, 2, 3, 3)}}.items():
    for name, pads in {"around": around, "within": -around, "both": around * [1, 1, -1, 1, 1, 1, 1, 1]}.items():
        NODES[f"{kind} {name}"] = (
            [node("Pad", "p", out="q"), onnx.helper.make_node(kind, ["q", *more], ["y"])],
            {"p": pads, **more},
        )
for grid, rounding in {
    "half_pixel": "round_prefer_floor",
    "asymmetric": "floor",
    "pytorch_half_pixel": "round_prefer_ceil",
}.items():
    for f in (1, 2, 3):
        scales = {"s": np.array([1, 1, f, 2], np.float32)}
        given = {"coordinate_transformation_mode": grid}
        NODES[f"{grid} {f}"] = [node("Resize", "", "s", nearest_mode=rounding, **given)], scales
        if grid != "asymmetric":
            NODES[f"lines {grid} {f}"] = [node("Resize", "", "s", mode="linear", **given)], scales
for kind in ("Selu", "Celu", "HardSigmoid", "HardSwish", "Softsign", "Reciprocal", "LogSoftmax"):
    NODES[kind] = [node(kind)], {}
NODES |= {
    "instance": ([node("InstanceNormalization", "a", "b", epsilon=0.1)], {"a": f32(3), "b": f32(3)}),
    "layer": ([node("LayerNormalization", "a", "b", axis=2, epsilon=0.1)], {"a": f32(8, 7), "b": f32(8, 7)}),
    "gather one": ([node("Gather", "i", axis=1)], {"i": np.array(1)}),
    "gather last": ([node("Gather", "i", axis=2)], {"i": np.array([-1])}),
    "tile": ([node("Tile", "n")], {"n": np.array([1, 2, 1, 3])}),
    "padding last": ([node("Pad", "p")], {"p": around}),
    "another name": ([node("Tanh", out="t"), onnx.helper.make_node("Identity", ["t"], ["y"])], {}),
    "padding handed on": (
        [node("Pad", "p", out="q"), onnx.helper.make_node("Identity", ["q"], ["r"]), onnx.helper.make_node("Relu", ["r"], ["a"]),
         onnx.helper.make_node("Neg", ["r"], ["b"]), onnx.helper.make_node("Sub", ["a", "b"], ["c"]),
         onnx.helper.make_node("Add", ["c", "q"], ["y"])], {"p": around}),
    "at least": ([node("Max", "c")], {"c": np.float32(0.5)}),
    "at most": ([onnx.helper.make_node("Min", ["c", "x"], ["y"])], {"c": np.float32(0.5)}),
    "divided by": ([onnx.helper.make_node("Div", ["c", "x"], ["y"])], {"c": f32(3, 1, 1)}),
    "less by": ([onnx.helper.make_node("Sub", ["c", "x"], ["y"])], {"c": f32(3, 1, 1)}),
    "mean of channels": ([node("ReduceMean", axes=[1], keepdims=0)], {}),
    "blocks": ([node("Pad", "p", out="q"), onnx.helper.make_node("SpaceToDepth", ["q"], ["d"], blocksize=2),
                onnx.helper.make_node("DepthToSpace", ["d"], ["s"], blocksize=2, mode="CRD"),
                onnx.helper.make_node("DepthToSpace", ["d"], ["t"], blocksize=2), onnx.helper.make_node("Sub", ["s", "t"], ["y"])],
               {"p": np.array([0, 0, 0, 0, 0, 0, 0, 1])}),
    "largest channel": ([node("ReduceMax", axes=[1], keepdims=0)], {}),
    "smallest": ([node("Tanh", out="t"), node("Min", "t")], {}),
    "turned": ([node("Transpose", out="t", perm=[0, 2, 3, 1]), onnx.helper.make_node("Softmax", ["t"], ["s"]),
                onnx.helper.make_node("Transpose", ["s"], ["y"], perm=[0, 3, 1, 2])], {}),
}  # fmt: skip
for kind in ("Add", "Sub", "Mul", "Div"):
    NODES[f"{kind} of means"] = [node("GlobalAveragePool", out="m"), onnx.helper.make_node(kind, ["m", "x"], ["y"])], {}


@pytest.mark.parametrize("name", NODES)
def test_an_operator(name: str, run: Run, tmp_path: Path) -> None:
    nodes, constants = NODES[name]
    saved(tmp_path / "net.onnx", nodes, constants)
    x = f32(*SHAPE)
    np.testing.assert_allclose(
        answer(fm.load_onnx(tmp_path / "net.onnx", "reference"), x), run(tmp_path / "net.onnx", x), **CLOSE
    )


@pytest.mark.parametrize(
    ("nodes", "constants", "said"),
    [
        ([node("Resize", "", "s", nearest_mode="ceil")], {"s": np.array([1, 1, 2, 2], np.float32)}, "nearest with half_pixel"),
        ([node("Resize", "", "s", mode="linear", coordinate_transformation_mode="align_corners")],
         {"s": np.array([1, 1, 2, 2], np.float32)}, "bilinear with align_corners=False"),
        ([node("PRelu", "s")], {"s": f32(7)}, r"its slope is \(7,\)"),
        ([node("Cast", to=onnx.TensorProto.INT64, out="i"), onnx.helper.make_node("Cast", ["i"], ["y"], to=1)], {}, "whole numbers"),
        ([node("Dropout", "r", "t")], {"r": np.float32(0.5), "t": np.array(True)}, "exported for training"),
        ([node("Softmax", axis=0)], {}, "runs over the batch"),
        ([node("Erf")], {}, r'use nn\.GELU\("tanh"\)'),
        ([node("Pad", "p", mode="reflect")], {"p": around}, "pads by 'reflect', and only zeros"),
        ([node("Transpose", out="t", perm=[0, 2, 3, 1]), onnx.helper.make_node("Relu", ["t"], ["y"])], {}, "keep the channels in axis 1"),
        ([node("Transpose", perm=[0, 2, 3, 1])], {}, "keep the channels in axis 1"),
    ],
)  # fmt: skip
def test_what_would_be_wrong_is_refused(nodes: list, constants: dict, said: str, tmp_path: Path) -> None:
    saved(tmp_path / "net.onnx", nodes, constants)
    with pytest.raises(fm.UnsupportedError, match=said):
        fm.load_onnx(tmp_path / "net.onnx", "reference")


def test_what_does_not_fit_is_a_shape_error(tmp_path: Path) -> None:
    saved(tmp_path / "net.onnx", [node("Conv", "w")], {"w": f32(2, 3, 9, 9)})
    with pytest.raises(fm.ShapeError, match=r"node 'y' \(Conv\): y"):
        fm.load_onnx(tmp_path / "net.onnx", "reference")


class Gate(nn.Module):
    """Squeeze and excitation."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(4, 2, 1), nn.Conv2d(2, 4, 1)

    def forward(self, x: object) -> object:
        return x * torch.sigmoid(self.b(torch.relu(self.a(nn.functional.adaptive_avg_pool2d(x, 1)))))


class Fitted(nn.Module):
    """Pads what came up to the size of what went down, as U-Nets do for odd sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(2, 3, 2, stride=2), nn.ConvTranspose2d(3, 2, 2, stride=2)

    def forward(self, x: object) -> object:
        y = self.up(self.down(x))
        rows, columns = x.size(2) - y.size(2), x.size(3) - y.size(3)
        y = nn.functional.pad(y, [columns // 2, columns - columns // 2, rows // 2, rows - rows // 2])
        return torch.cat([x, y], 1)


MODULES: dict[str, Callable[[], Any]] = {
    "gate": lambda: nn.Sequential(nn.Conv2d(2, 4, 3), Gate(), nn.Flatten(), nn.Linear(4 * 5 * 6, 2)),
    "groups": lambda: nn.Sequential(nn.Conv2d(2, 4, 3), nn.GroupNorm(2, 4), nn.SiLU(), nn.InstanceNorm2d(4, affine=True)),
    "layer norm": lambda: nn.Sequential(nn.Flatten(), nn.LayerNorm(112), nn.Linear(112, 3), nn.LogSoftmax(1)),
    "shuffle": lambda: nn.Sequential(nn.Conv2d(2, 8, 3), nn.PixelShuffle(2), nn.Hardswish()),
    "zeros in front of maxima": lambda: nn.Sequential(nn.LogSigmoid(), nn.ZeroPad2d((0, 1, 2, 1)), nn.MaxPool2d(2)),
    "zeros in front of means": lambda: nn.Sequential(nn.ZeroPad2d((0, 1, 2, 1)), nn.AvgPool2d(2, 1)),
    "bilinear": lambda: nn.Sequential(nn.Conv2d(2, 3, 3, padding="same"), nn.Upsample(scale_factor=(2, 3), mode="bilinear")),
    "padded to fit": lambda: Fitted(),
    "weight norm": lambda: nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Conv2d(2, 3, 3)), nn.Softmax(1)),
}  # fmt: skip


@pytest.mark.parametrize("opset", [11, 17, 20])
@pytest.mark.parametrize("name", MODULES)
def test_a_module_of_pytorch(name: str, opset: int, tmp_path: Path) -> None:
    x, expected = from_torch(MODULES[name](), (2, 2, 7, 8), tmp_path / "net.onnx", opset_version=opset)
    np.testing.assert_allclose(answer(fm.load_onnx(tmp_path / "net.onnx", "reference"), x), expected, **CLOSE)


def test_sizes_that_the_graph_works_out_itself(tmp_path: Path) -> None:
    axes = {"image": {0: "n", 2: "h", 3: "w"}}
    x, expected = from_torch(
        Fitted(), (2, 2, 7, 9), tmp_path / "net.onnx", opset_version=17, input_names=["image"], dynamic_axes=axes
    )
    net = fm.load_onnx(tmp_path / "net.onnx", "reference", patch=(9, 7))
    np.testing.assert_allclose(answer(net, x), expected, **CLOSE)


def test_slopes_and_gates_of_pytorch_slide(tmp_path: Path) -> None:
    """Everything pointwise keeps a net dense."""
    module = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.Hardswish(), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3), nn.SELU(), nn.Mish(), nn.Flatten(),
        nn.Linear(16, 2), nn.LogSoftmax(-1),
    )  # fmt: skip
    from_torch(module, (1, 1, 10, 10), tmp_path / "net.onnx", opset_version=17)
    image = torch.randn(1, 1, 15, 13)
    windows = image.unfold(2, 10, 1).unfold(3, 10, 1).permute(0, 2, 3, 1, 4, 5).reshape(-1, 1, 10, 10)
    with torch.no_grad():
        expected = module(windows).reshape(6, 4, 2).permute(2, 0, 1).numpy()
    net = fm.load_onnx(tmp_path / "net.onnx", "cpu")
    np.testing.assert_allclose(fm.predict(net, image[0].numpy(), border="valid"), expected, rtol=1e-5, atol=1e-5)


def test_an_image_that_grows_beyond_all_bounds_is_refused(tmp_path: Path) -> None:
    saved(tmp_path / "net.onnx", [node("Resize", "", "s")], {"s": np.array([1, 1, 2**19, 1], np.float32)})
    with pytest.raises(fm.UnsupportedError, match="are more than is read"):
        fm.load_onnx(tmp_path / "net.onnx", "reference")


def test_layers_of_torchs_scopes_have_names_that_every_format_takes(tmp_path: Path) -> None:
    """A scope is a path, /0/Pad_output_0, which HDF5 would shorten."""
    saved(
        tmp_path / "net.onnx",
        [
            onnx.helper.make_node("Pad", ["x", "p"], ["/0/Pad_output_0"], name="/0/Pad"),
            onnx.helper.make_node("Abs", ["/0/Pad_output_0"], ["/1/Abs_output_0"], name="/1/Abs"),
            onnx.helper.make_node("Relu", ["/1/Abs_output_0"], ["y"], name="/2/Relu"),
        ],
        {"p": around},
    )
    names = [layer.name for layer in fm.load_onnx(tmp_path / "net.onnx", "reference").layers]
    assert "1.Abs_output_0_convolution" in names and not any("/" in name for name in names)


@pytest.mark.parametrize("shape", [(1, 2**40, 4, 4), (1, 1, 2**17, 2**17)])
def test_declared_sizes_that_nobody_means_are_refused(shape: tuple[int, ...], tmp_path: Path) -> None:
    saved(tmp_path / "net.onnx", [node("Pad", "p")], {"p": around}, shape)
    with pytest.raises(fm.UnsupportedError, match=r"its inputs \['x'\]: a blob of .*; at most 2147483647 numbers"):
        fm.load_onnx(tmp_path / "net.onnx", "reference")


def test_a_patch_of_other_axes(tmp_path: Path) -> None:
    saved(tmp_path / "net.onnx", [node("Relu")], {}, (1, 1, 4, 5, 6))
    with pytest.raises(fm.ShapeError, match=r"'x' has 3 axes of pixels; patch is \(8, 9\)"):
        fm.load_onnx(tmp_path / "net.onnx", "reference", patch=(8, 9))
    net = fm.load_onnx(tmp_path / "net.onnx", "reference", patch=7)
    assert net.declared["x"] == (1, 1, 7, 7, 7)


@pytest.mark.filterwarnings("error")
def test_a_division_by_zero_is_refused_as_infinite_weights_are(tmp_path: Path) -> None:
    saved(tmp_path / "net.onnx", [node("Div", "c")], {"c": np.array([2, 0, 1], np.float32)[:, None, None]})
    with pytest.raises(fm.WeightsError, match=r"net\.onnx: layer 'y': its scale holds NaN or infinity"):
        fm.load_onnx(tmp_path / "net.onnx", "reference")


def test_a_part_of_the_channels_is_written_in_hdf5_too(tmp_path: Path) -> None:
    from fullmocha.caffe.writing import write_caffemodel_h5

    places = {"a": np.array([1]), "b": np.array([2]), "c": np.array([1])}
    cut = onnx.helper.make_node("Slice", ["x", *places], ["/0/Slice_output_0"], name="/0/Slice")
    saved(tmp_path / "net.onnx", [cut, onnx.helper.make_node("Relu", ["/0/Slice_output_0"], ["y"])], places)
    net = fm.load_onnx(tmp_path / "net.onnx", "reference")
    write_caffemodel_h5(tmp_path / "net.caffemodel.h5", net)
    x = f32(*SHAPE)
    np.testing.assert_array_equal(answer(net, x), np.maximum(x[:, 1:2], 0))


def test_a_classifier_of_pytorch_runs_in_opencv(tmp_path: Path) -> None:
    """By way of Caffe's files, whose readers do not know in which way a pool that fits is rounded."""
    cv2 = pytest.importorskip("cv2")
    from fullmocha.caffe.writing import write_caffemodel, write_prototxt

    module = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 5, 3), nn.SiLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(20, 3), nn.Softmax(1),
    )  # fmt: skip
    x, expected = from_torch(module, (1, 1, 14, 14), tmp_path / "net.onnx", opset_version=17)
    net = fm.load_onnx(tmp_path / "net.onnx", "reference")
    write_prototxt(tmp_path / "net.prototxt", net)
    write_caffemodel(tmp_path / "net.caffemodel", net)
    theirs = cv2.dnn.readNetFromCaffe(str(tmp_path / "net.prototxt"), str(tmp_path / "net.caffemodel"))
    theirs.setInput(x)
    np.testing.assert_allclose(theirs.forward(), expected, atol=1e-5)
