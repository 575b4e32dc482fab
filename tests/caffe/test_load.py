"""load_caffe from end to end: weights into nets, real Caffe's answers, OpenCV's, and what must stop."""

import h5py
import numpy as np
import pytest

from fullmocha import layers
from fullmocha.backend import ReferenceBackend
from fullmocha.caffe import load_caffe
from fullmocha.caffe.load import load as load_undrawn
from fullmocha.errors import BudgetError, FormatError, ShapeError, TopologyError, WeightsError

NET = """name: "small"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: [2, 3, 5, 4] } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
        convolution_param { num_output: 2 kernel_h: 2 kernel_w: 3 weight_filler { type: "gaussian" } } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "ip" type: "InnerProduct" bottom: "conv" top: "ip" inner_product_param { num_output: 4 } }
"""
SHAPES = {"conv": [(2, 3, 2, 3), (2,)], "ip": [(4, 16), (4,)]}


@pytest.fixture
def files(tmp_path, rng):
    """Writes a prototxt and weights; gives both paths."""

    def write(weights, text=NET):
        (tmp_path / "net.prototxt").write_text(text)
        with h5py.File(tmp_path / "w.h5", "w") as file:
            for layer, blobs in weights.items():
                for i, blob in enumerate(blobs):
                    file[f"data/{layer}/{i}"] = blob
        return tmp_path / "net.prototxt", tmp_path / "w.h5"

    return write


@pytest.fixture
def weights(rng):
    return {name: [rng.normal(size=s).astype("f4") for s in shapes] for name, shapes in SHAPES.items()}


def load(paths, **options):
    return load_caffe(*paths, backend="reference", **options)


def held(net):
    return {name: [p.values() for p in params] for name, params in net.params.items()}


def assert_equal(got, want):
    assert got.keys() == want.keys()
    for name in want:
        for a, b in zip(got[name], want[name], strict=True):
            np.testing.assert_array_equal(a, b)


def test_weights_go_to_the_layer_of_their_name(files, weights):
    net = load(files(weights | {"unknown": [np.ones(7)]}))
    assert_equal(held(net), weights)
    assert net.name == "small" and net.dtype == np.float32
    net.init()  # draws nothing anew
    assert_equal(held(net), weights)


def test_without_weights_the_fillers_speak(files):
    net = load_caffe(files({})[0], backend="reference")
    values = held(net)
    # 36 draws of N(0, 1): the standard deviation is off by 0.12, the mean by 0.17; four of them.
    assert 0.5 < values["conv"][0].std() < 1.5 and abs(values["conv"][0].mean()) < 0.7
    assert not values["conv"][1].any() and not values["ip"][0].any()


def test_old_shapes_with_leading_ones(files, weights):
    old = {
        "conv": [weights["conv"][0], weights["conv"][1].reshape(1, 1, 1, 2)],
        "ip": [weights["ip"][0].reshape(1, 1, 4, 16), weights["ip"][1].reshape(1, 4)],
    }
    assert_equal(held(load(files(old))), weights)


def test_an_inner_product_becomes_a_convolution_and_back(files, weights):
    conv, ip = weights["conv"], weights["ip"]
    for shape in [(2, 18), (1, 1, 2, 18)]:
        assert_equal(held(load(files({"conv": [conv[0].reshape(shape), conv[1]], "ip": ip}))), weights)
    assert_equal(held(load(files({"conv": conv, "ip": [ip[0].reshape(4, 2, 4, 2), ip[1]]}))), weights)
    grouped = NET.replace("num_output: 2", "num_output: 3 group: 3").replace(
        "kernel_h: 2 kernel_w: 3", "kernel_size: 2"
    )
    wrong = {"conv": [np.ones((3, 4), "f4"), np.ones(3, "f4")], "ip": ip}
    with pytest.raises(WeightsError, match=r"layer 'conv', blob 0 has shape \(3, 4\), the net wants \(3, 1, 2, 2\)"):
        load(files(wrong, grouped))


def test_a_transposed_inner_product_is_turned(files, weights):
    text = NET.replace("num_output: 4", "num_output: 4 transpose: true")
    turned = {"conv": weights["conv"], "ip": [weights["ip"][0].T.copy(), weights["ip"][1]]}
    assert_equal(held(load(files(turned, text))), weights)
    with pytest.raises(WeightsError, match=r"'ip', blob 0 has shape \(4, 16\), the net wants \(16, 4\)"):
        load(files(weights, text))


def test_float64(files, weights):
    weights = {name: [blob.astype("f8") * np.pi for blob in blobs] for name, blobs in weights.items()}
    net = load(files(weights), dtype="float64")
    assert net.dtype == np.float64
    assert_equal(held(net), weights)


def change(weights, layer, i, value):
    blobs = list(weights[layer])
    blobs[i] = value
    return weights | {layer: blobs}


def wrong_weights(w):
    nan, huge = w["ip"][0].copy(), w["ip"][0].astype("f8")
    nan[1, 2] = np.nan
    huge[0, 0] = 1e300
    return {
        "shape": (
            change(w, "ip", 0, np.ones((4, 15))),
            r"layer 'ip', blob 0 has shape \(4, 15\), the net wants \(4, 16\)",
        ),
        "turned": (
            change(w, "conv", 0, np.ones((2, 3, 3, 2))),
            r"'conv', blob 0 .*\(2, 3, 3, 2\).* wants \(2, 3, 2, 3\)",
        ),
        "bias": (change(w, "conv", 1, np.ones(3)), r"layer 'conv', blob 1 has shape \(3,\), the net wants \(2,\)"),
        "no bias": (w | {"ip": w["ip"][:1]}, r"'ip' has 1 blobs \(\(4, 16\)\); the net's has 2 \(\(4, 16\), \(4,\)\)"),
        "three": (w | {"ip": [*w["ip"], np.ones(1)]}, "'ip' has 3 blobs"),
        "nan": (change(w, "ip", 0, nan), "layer 'ip', blob 0 holds 1 of 64 values that are not finite"),
        "infinite": (change(w, "ip", 1, np.full(4, -np.inf)), "blob 1 holds 4 of 4 values"),
        "too large": (change(w, "ip", 0, huge), "holds 1 of 64 values that are not finite in float32"),
        "missing": ({"conv": w["conv"]}, "no weights for layer ip of the net; it has them for conv.*--allow-missing"),
        "all missing": ({"conv1": w["conv"]}, "no weights for layers conv, ip of the net; it has them for conv1"),
    }


@pytest.mark.parametrize("case", wrong_weights({n: [np.ones(s) for s in v] for n, v in SHAPES.items()}))
def test_wrong_weights_stop_with_their_name_and_change_nothing(files, weights, case):
    wrong, message = wrong_weights(weights)[case]
    backend = ReferenceBackend(seed=1)
    right = load_caffe(*files(weights), backend=backend)  # a net on the same backend shares the parameters
    with pytest.raises(WeightsError, match=message) as error:
        load_caffe(*files(wrong), backend=backend)
    assert "w.h5" in str(error.value)
    assert_equal(held(right), weights)
    with pytest.raises(WeightsError):  # nor is anything left behind on a backend that knew none of it
        load_caffe(*files(wrong), backend=(fresh := ReferenceBackend()))
    assert not fresh.registry


def test_allow_missing_keeps_the_initial_values(files, weights):
    net = load(files({"ip": weights["ip"]}), allow_missing=True)
    assert_equal({"ip": held(net)["ip"]}, {"ip": weights["ip"]})
    assert held(net)["conv"][0].std() > 0.5
    with pytest.raises(WeightsError, match="no weights for layers conv, ip"):  # then it is another net's file
        load(files({"other": weights["ip"]}), allow_missing=True)
    with pytest.raises(WeightsError, match="blob 0 has shape"):
        load(files({"ip": weights["conv"], "conv": weights["conv"]}), allow_missing=True)


def test_without_drawing_it_shows_which_layers_have_no_weights(files, weights):
    def undrawn(*paths):
        net = load_undrawn(*paths, "reference", "test", "float32", True, draw=False)
        return net, [name for name, params in net.params.items() if not all(p.initialised for p in params)]

    prototxt, partial = files({"ip": weights["ip"]})
    assert undrawn(prototxt, None)[1] == ["conv", "ip"]
    net, missing = undrawn(prototxt, partial)
    assert missing == ["conv"]
    net.init()
    assert held(net)["conv"][0].std() > 0.5
    assert_equal({"ip": held(net)["ip"]}, {"ip": weights["ip"]})


SIAMESE = """
layer { name: "data" type: "Input" top: "a" top: "b" input_param { shape { dim: [2, 3] } } }
layer { name: "one" type: "InnerProduct" bottom: "a" top: "c" param { name: "w" } param { name: "v" }
        inner_product_param { num_output: 4 } }
layer { name: "two" type: "InnerProduct" bottom: "b" top: "d" param { name: "w" } param { name: "v" }
        inner_product_param { num_output: 4 } }
"""


@pytest.mark.parametrize("holders", [["one"], ["two"], ["one", "two"]])
def test_shared_parameters(files, rng, holders):
    """HDF5 files hold them under the first layer only, binary ones under both."""
    blobs = [rng.normal(size=(4, 3)).astype("f4"), rng.normal(size=4).astype("f4")]
    net = load(files(dict.fromkeys(holders, blobs), SIAMESE))
    assert net.params["one"][0] is net.params["two"][0] and len(net.parameters) == 2
    assert_equal(held(net), {"one": blobs, "two": blobs})
    x = rng.normal(size=(2, 3)).astype("f4")
    net.forward(inputs={"a": x, "b": x})
    np.testing.assert_array_equal(net.output_blobs["c"].data, net.output_blobs["d"].data)


def test_what_is_not_trained_is_frozen(files, weights):
    still = NET.replace("convolution_param", "param { lr_mult: 0 } param { lr_mult: 0 } convolution_param")
    assert load(files(weights, still)).node("conv").frozen
    assert not load(files(weights, "force_backward: true\n" + still)).node("conv").frozen
    half = NET.replace("convolution_param", "param { lr_mult: 0 } convolution_param")  # the bias still learns
    assert not load(files(weights, half)).node("conv").frozen


def test_a_net_larger_than_memory(files):
    # 1.7 PB: more than an address space holds, so that no system even tries.
    text = """layer { name: "data" type: "Input" top: "a" input_param { shape { dim: [1, 100000] } } }
              layer { name: "l" type: "InnerProduct" bottom: "a" top: "b"
                      inner_product_param { num_output: 4294967295 } }"""
    with pytest.raises(BudgetError, match=r"net\.prototxt: the net's parameters do not fit into memory"):
        load_caffe(files({}, text)[0], backend="reference")


def test_errors_of_the_net_name_the_file(files):
    with pytest.raises(TopologyError, match=r'net\.prototxt: ip .*"cnv"'):
        load_caffe(
            files({}, NET.replace('bottom: "conv" top: "ip"', 'bottom: "cnv" top: "ip"'))[0], backend="reference"
        )
    with pytest.raises(ShapeError, match=r"net\.prototxt: conv "):
        load_caffe(files({}, NET.replace("kernel_h: 2", "kernel_h: 6"))[0], backend="reference")
    with pytest.raises(FormatError, match=r"net\.prototxt:7:1: "):
        load_caffe(files({}, NET + "}")[0], backend="reference")


# --- real Caffe's nets


def window_batch(golden, patch):
    image = golden["image"]
    return np.stack([image[:, y : y + patch, x : x + patch] for y, x in golden["positions"]])


@pytest.mark.parametrize(("name", "patch"), [("lenet", 28), ("n4", 95), ("sk102", 102)])
def test_golden_patch_nets(data_dir, name, patch):
    folder = data_dir / "caffe_golden" / "nets" / name
    golden = np.load(folder / "golden.npz")
    net = load_caffe(folder / "deploy.prototxt", folder / "weights.caffemodel", backend="reference")
    net.forward(inputs={"data": window_batch(golden, patch)})
    # The limit of the data's README; Caffe with another BLAS differs by 5e-6.
    assert np.abs(net.output_blobs["prob"].data - golden["prob"]).max() < 2e-5


@pytest.mark.parametrize("suffix", ["caffemodel", "caffemodel.h5"])
def test_golden_tile_net(data_dir, suffix):
    folder = data_dir / "caffe_golden" / "nets" / "unet"
    golden = np.load(folder / "golden.npz")
    net = load_caffe(folder / "deploy.prototxt", folder / f"weights.{suffix}", backend="reference")
    tiles = sorted(key for key in golden.files if key.endswith("/box"))
    assert len(tiles) == 5
    for key in tiles:
        y, x, h, w = golden[key]
        net.forward(inputs={"data": golden["image"][None, :, y : y + h, x : x + w]})
        want = golden[key.replace("box", "prob")]
        assert np.abs(net.output_blobs["prob"].data - want.reshape(net.output_blobs["prob"].shape)).max() < 2e-5


def test_golden_training_pass_over_windows(data_dir):
    patch, side, folder = 28, 12, data_dir / "caffe_golden" / "nets" / "lenet"
    golden = np.load(folder / "golden.npz")
    net = load_caffe(folder / "train.prototxt", folder / "weights.caffemodel", backend="reference", phase="train")
    y0, x0 = golden["block/position"]
    windows = [
        golden["image"][:, y : y + patch, x : x + patch] for y in range(y0, y0 + side) for x in range(x0, x0 + side)
    ]
    label = golden["block/label"].reshape(net.output_blobs["label"].shape)
    loss = net.forward_backward(inputs={"data": np.stack(windows), "label": label})
    assert abs(loss - golden["block/loss"]) < 1e-5 * golden["block/loss"]
    assert_gradients(net, golden, "block/paramdiff/")


def test_golden_training_pass_over_a_tile(data_dir):
    folder = data_dir / "caffe_golden" / "nets" / "unet"
    golden = np.load(folder / "golden.npz")
    net = load_caffe(folder / "train.prototxt", folder / "weights.caffemodel", backend="reference", phase="train")
    y, x, h, w = golden["tile/0/box"]
    label = golden["train/label"].reshape(net.output_blobs["label"].shape)
    loss = net.forward_backward(inputs={"data": golden["image"][None, :, y : y + h, x : x + w], "label": label})
    assert abs(loss - golden["train/loss"]) < 1e-5 * golden["train/loss"]
    assert_gradients(net, golden, "train/paramdiff/")
    got, want = net.diff_blobs["data"].data, golden["train/bottomdiff/data"]
    assert np.abs(got - want).max() / (np.abs(want).max() + 1e-3) < 1e-4


def assert_gradients(net, golden, prefix):
    keys = [key for key in golden.files if key.startswith(prefix)]
    assert len(keys) >= 8
    for key in keys:
        layer, i = key.removeprefix(prefix).rsplit("/", 1)
        got, want = net.params[layer][int(i)].diff.data, golden[key]
        assert np.abs(got - want).max() / (np.abs(want).max() + 1e-3) < 1e-4, key  # the README's limit for nets


# --- public models, judged by OpenCV


@pytest.mark.parametrize("name", ["lenet_v2", "lenet_v1_2014"])
def test_lenet_against_what_opencv_computed(data_dir, name):
    folder = data_dir / "caffemodels" / name
    net = load_caffe(folder / "lenet.prototxt", folder / "lenet_iter_10000.caffemodel", backend="reference")
    reference = np.load(data_dir / "caffemodels" / "_cv2_reference" / f"{name}.npz")
    net.forward(inputs={"data": reference["input"]})
    assert np.abs(net.output_blobs["prob"].data - reference["out_prob"]).max() < 1e-5


def test_lenet_against_opencv_here(data_dir, rng):
    cv2 = pytest.importorskip("cv2", reason="opencv-python-headless is not installed")
    folder = data_dir / "caffemodels" / "lenet_v2"
    paths = [str(folder / "lenet.prototxt"), str(folder / "lenet_iter_10000.caffemodel")]
    x = rng.random((5, 1, 28, 28), dtype=np.float32)
    judge = cv2.dnn.readNetFromCaffe(*paths)
    judge.setInput(x)
    want = judge.forward()
    net = load_caffe(*paths, backend="reference")
    net.forward(inputs={"data": x})
    assert want.shape == (5, 10) and np.ptp(want) > 0.5
    assert np.abs(net.output_blobs["prob"].data - want).max() < 1e-5


# --- the reports' nets from their own files

REPORT = {"sk": (229, 128), "u": (572, 388), "usk": (692, 512)}


@pytest.mark.parametrize("phase", ["train", "test"])
@pytest.mark.parametrize(("name", "sizes"), REPORT.items())
def test_the_reports_nets_load_with_the_shapes_of_its_tables(data_dir, name, sizes, phase):
    net = load_caffe(
        data_dir / "greentea_nets" / f"net_{name}_2out" / "neuraltissue_net.prototxt", backend="reference", phase=phase
    )
    bottom, top = sizes
    assert net.output_blobs["data"].shape == (1, 3, bottom, bottom)
    if phase == "test":
        assert net.output_blobs["prob"].shape == (1, 2, top, top) and "loss" not in net.output_blobs
    else:
        loss = next(node for node in net.nodes if isinstance(node.layer, layers.SoftmaxLossLayer))
        assert [b.shape for b in loss.bottoms] == [(1, 2, top, top), (1, 1, top, top)]
        assert loss.layer.ignore_label == -1 and loss.layer.normalization == "valid"


def test_the_strided_kernels_of_sk(data_dir):
    net = load_caffe(data_dir / "greentea_nets/net_sk_2out/neuraltissue_net.prototxt", backend="reference")
    # Table of the report: kernel and dilation of each layer with a window.
    windows = {
        n.layer.name: (n.layer.window.kernel[0], n.layer.window.dilation[0])
        for n in net.nodes
        if hasattr(n.layer, "window")
    }
    assert windows == {
        "conv1": (7, 1), "pool1": (2, 1), "conv2": (5, 2), "pool2": (2, 2), "conv3": (3, 4), "pool3": (2, 4),
        "ip1": (10, 8), "ip2": (1, 1), "ip3": (1, 1),
    }  # fmt: skip
    assert net.params["ip1"][0].shape == (1024, 192, 10, 10) and net.params["ip1"][0].local_rate == 1
    assert net.params["ip1"][1].local_rate == 2


def test_us_upsampling_is_fixed(data_dir):
    net = load_caffe(
        data_dir / "greentea_nets/net_u_2out/neuraltissue_net.prototxt", backend="reference", phase="train"
    )
    ups = [node for node in net.nodes if isinstance(node.layer, layers.DeconvolutionLayer)]
    assert len(ups) == 4 and all(node.frozen for node in ups)
    assert all((node.params[0].values() == 1).all() and node.params[0].shape[1:] == (1, 2, 2) for node in ups)
