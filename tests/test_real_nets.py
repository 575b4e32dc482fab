"""Real nets, run densely: Caffe's windows, OpenCV's windows, the report's tables."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

import fullmocha as fm
from fullmocha.fully import training_net

BACKENDS = ["reference", "cpu"]
# The golden data's README: probabilities 2e-5 absolute; net gradients and losses 1e-4 of max|b| + 1e-3.
PROBABILITY, GRADIENT = 2e-5, 1e-4


def golden(data_dir: Path, name: str) -> tuple[Path, dict[str, np.ndarray]]:
    folder = data_dir / "caffe_golden" / "nets" / name
    with np.load(folder / "golden.npz", allow_pickle=False) as file:
        return folder, {key: file[key] for key in file.files}


def close(ours: np.ndarray, theirs: np.ndarray) -> float:
    return float(np.abs(ours - theirs).max() / (np.abs(theirs).max() + 1e-3))


@pytest.mark.parametrize("engine", ["strided", "fragments"])
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["n4", "sk102", "lenet"])
def test_dense_gives_caffes_answers_for_every_window(data_dir: Path, name: str, backend: str, engine: str) -> None:
    folder, gold = golden(data_dir, name)
    net = fm.load_caffe(folder / "deploy.prototxt", folder / "weights.caffemodel", backend=backend)
    prob = fm.predict(net, gold["image"], border="valid", engine=engine)
    ours = np.stack([prob[:, y, x] for y, x in gold["positions"]])
    assert np.ptp(gold["prob"], axis=0).max() > 0.05, "the windows must differ"
    assert np.abs(ours - gold["prob"]).max() < PROBABILITY


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["n4", "sk102", "lenet"])
def test_dense_training_gives_caffes_gradients_of_a_block(data_dir: Path, name: str, backend: str) -> None:
    folder, gold = golden(data_dir, name)
    net = fm.load_caffe(folder / "train.prototxt", folder / "weights.caffemodel", backend=backend, phase="train")
    dense = training_net(net)
    (y, x), label = gold["block/position"], gold["block/label"]
    b = int(np.sqrt(label.size))
    tile = gold["image"][None, :, y : y + dense.patch[0] + b - 1, x : x + dense.patch[1] + b - 1]
    loss = dense.forward_backward(inputs={"data": tile, "label": label.reshape(1, 1, b, b).astype(np.float32)})
    assert loss == pytest.approx(float(gold["block/loss"]), rel=GRADIENT)
    compared = 0
    for key, theirs in gold.items():
        if key.startswith("block/paramdiff/"):
            _, _, layer, i = key.split("/")
            assert (
                close(net.params[layer][int(i)].gradient, theirs.reshape(net.params[layer][int(i)].shape)) < GRADIENT
            ), key
            compared += 1
    assert compared == sum(map(len, net.params.values()))


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_tile_net_gives_caffes_tiles(data_dir: Path, backend: str) -> None:
    folder, gold = golden(data_dir, "unet")
    net = fm.load_caffe(folder / "deploy.prototxt", folder / "weights.caffemodel", backend=backend)
    dense = fm.densify(net)
    tiles = sorted({key.split("/")[1] for key in gold if key.startswith("tile/")})
    assert len(tiles) == 5
    for i in tiles:
        y, x, h, w = gold[f"tile/{i}/box"]
        prob = dense.forward(gold["image"][None, :, y : y + h, x : x + w])
        assert np.abs(prob - gold[f"tile/{i}/prob"]).max() < PROBABILITY


def test_a_tile_net_trains_as_caffes(data_dir: Path) -> None:
    folder, gold = golden(data_dir, "unet")
    net = fm.load_caffe(folder / "train.prototxt", folder / "weights.caffemodel", backend="reference", phase="train")
    y, x, h, w = gold["tile/0/box"]
    label = gold["train/label"].astype(np.float32)
    shape = net.output_blobs["label"].shape
    loss = net.forward_backward(
        inputs={"data": gold["image"][None, :, y : y + h, x : x + w], "label": label.reshape(shape)}
    )
    assert loss == pytest.approx(float(gold["train/loss"]), rel=GRADIENT)
    assert close(net.diff_blobs["data"].data, gold["train/bottomdiff/data"]) < GRADIENT
    for key, theirs in gold.items():
        if key.startswith("train/paramdiff/"):
            _, _, layer, i = key.split("/")
            assert (
                close(net.params[layer][int(i)].gradient, theirs.reshape(net.params[layer][int(i)].shape)) < GRADIENT
            ), key


def mnist_page(data_dir: Path, rows: int, columns: int) -> np.ndarray:
    """Real digits side by side, as one grey image in 0 .. 1."""
    with gzip.open(data_dir / "mnist" / "t10k-images-idx3-ubyte.gz") as file:
        _, count, height, width = struct.unpack(">4i", file.read(16))
        digits = np.frombuffer(file.read(rows * columns * height * width), np.uint8)
    assert count == 10000
    page = digits.reshape(rows, columns, height, width).transpose(0, 2, 1, 3).reshape(rows * height, columns * width)
    return page.astype(np.float32) / 256


@pytest.mark.parametrize("backend", BACKENDS)
def test_lenet_over_a_page_of_digits_equals_opencv_window_by_window(data_dir: Path, backend: str) -> None:
    cv2 = pytest.importorskip("cv2", reason="opencv-python-headless<5, of the test extra, is not installed")
    folder = data_dir / "caffemodels" / "lenet_v2"
    prototxt, weights = folder / "lenet.prototxt", folder / "lenet_iter_10000.caffemodel"
    page = mnist_page(data_dir, 3, 4)
    prob = fm.predict(fm.load_caffe(prototxt, weights, backend=backend), page, border="valid")
    windows = np.lib.stride_tricks.sliding_window_view(page, (28, 28))
    other = cv2.dnn.readNetFromCaffe(str(prototxt), str(weights))
    theirs = []
    for batch in np.array_split(windows.reshape(-1, 1, 28, 28), 40):
        other.setInput(np.ascontiguousarray(batch))
        theirs.append(other.forward())
    theirs = np.concatenate(theirs).T.reshape(10, *windows.shape[:2])
    assert prob.shape == theirs.shape == (10, 57, 85)
    assert np.abs(prob - theirs).max() < 1e-4
    assert len(set(prob.argmax(0).ravel())) == 10


@pytest.mark.parametrize(
    ("name", "image", "outputs", "stages"),
    [
        ("sk", 229, 128, {"conv1": (48, 223), "pool1": (48, 222), "conv2": (128, 214), "pool3": (192, 200), "ip1": (1024, 128)}),
        ("u", 572, 388, {"conv2": (64, 568), "pool1": (64, 284), "pool4": (512, 32), "mergecrop1": (1024, 56), "mergecrop4": (128, 392)}),
        ("usk", 692, 512, {"conv2": (64, 688), "pool1": (64, 344), "pool4": (128, 314), "ip1": (512, 258), "mergecrop1": (192, 512 + 4)}),
    ],
)  # fmt: skip
def test_greenteas_nets_load_with_the_reports_shapes(
    data_dir: Path, name: str, image: int, outputs: int, stages: dict
) -> None:
    prototxt = data_dir / "greentea_nets" / f"net_{name}_2out" / "neuraltissue_net.prototxt"
    net = fm.load_caffe(prototxt, backend="reference")
    assert net.output_blobs["data"].shape == (1, 3, image, image)
    assert net.output_blobs["prob"].shape == (1, 2, outputs, outputs)
    for blob, (maps, size) in stages.items():
        assert net.output_blobs[blob].shape == (1, maps, size, size), blob
    dense = fm.densify(net)
    assert dense.context == (image - outputs,) * 2
    train = fm.load_caffe(prototxt, backend="reference", phase="train")
    assert train.output_blobs["label"].shape[-1] == outputs
    assert len(train.params) == len(net.params)
