"""`fullmocha convert`: weights come back bit for bit, images as they were, and other programs read what is written."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile

import fullmocha as fm
from fullmocha.caffe.weights import read_weights

from .conftest import Run, build


def datasets(path: Path) -> dict[str, np.ndarray]:
    with h5py.File(path) as file:
        return {name: file[name][...] for name in file}


@pytest.mark.parametrize("through", ["t.caffemodel", "t.caffemodel.h5"])
def test_there_and_back(run: Run, folder: Path, through: str) -> None:
    assert run("convert", "tiny.h5", through).out == f"wrote {through}: 3 layers, 267 values\n"
    assert run("convert", through, "back.h5").status == 0
    assert run("convert", through, "back.h5").status == 0  # weights replace weights
    assert run("convert", "back.h5", through).status == 0
    before, after = datasets(folder / "tiny.h5"), datasets(folder / "back.h5")
    assert sorted(after) == sorted(before) and len(after) == 6
    for name, array in before.items():
        np.testing.assert_array_equal(after[name], array)
        assert (after[name].shape, after[name].dtype) == (array.shape, array.dtype)


def test_opencv_reads_the_caffemodel(run: Run, folder: Path, data_dir: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    model = data_dir / "caffemodels" / "lenet_v2"
    assert run("convert", model / "lenet_iter_10000.caffemodel", "a.h5").status == 0
    assert run("convert", "a.h5", "b.caffemodel").status == 0
    prototxt = str(model / "lenet.prototxt")
    digit = np.random.default_rng(6).random((1, 1, 28, 28), np.float32)
    answers = []
    for weights in (str(model / "lenet_iter_10000.caffemodel"), "b.caffemodel"):
        net = cv2.dnn.readNetFromCaffe(prototxt, weights)
        net.setInput(digit)
        answers.append(net.forward())
    np.testing.assert_array_equal(answers[1], answers[0])
    assert answers[0].max() > 0.2


def test_old_shapes_of_four_axes(run: Run, folder: Path) -> None:
    """Files from before 2015 have four axes for everything; ours have those of the layer."""
    rng = np.random.default_rng(2)
    stored = {
        "data/conv/0": rng.normal(size=(1, 1, 3, 3)),
        "data/conv/1": rng.normal(size=(1, 1, 1, 1)),
        "data/ip/0": rng.normal(size=(1, 1, 4, 6)),
        "data/ip/1": rng.normal(size=(1, 1, 1, 4)),
    }
    with h5py.File(folder / "old.caffemodel.h5", "w") as file:
        for name, array in stored.items():
            file[name] = array
    assert run("convert", "old.caffemodel.h5", "new.h5").status == 0
    found = datasets(folder / "new.h5")
    assert {name: a.shape for name, a in found.items()} == {
        "conv___filter": (1, 1, 3, 3), "conv___bias": (1,), "ip___weight": (4, 6), "ip___bias": (4,),
    }  # fmt: skip
    np.testing.assert_array_equal(found["ip___weight"], stored["data/ip/0"][0, 0])


def test_other_layers_go_between_caffes_formats_alone(run: Run, folder: Path) -> None:
    with h5py.File(folder / "bn.caffemodel.h5", "w") as file:
        for i, shape in enumerate([(3,), (3,), (1,)]):
            file[f"data/bn/{i}"] = np.full(shape, i + 0.5, np.float32)
    assert run("convert", "bn.caffemodel.h5", "bn.caffemodel").status == 0
    assert [a.tolist() for a in read_weights("bn.caffemodel")["bn"]] == [[0.5] * 3, [1.5] * 3, [2.5]]
    done = run("convert", "bn.caffemodel.h5", "ours.h5")
    assert done.status == 2 and "layer 'bn' has 3 blobs" in done.err and not (folder / "ours.h5").exists()


def test_nan_is_not_passed_on(run: Run, folder: Path) -> None:
    with h5py.File(folder / "nan.h5", "w") as file:
        file["ip___weight"] = np.array([[1, np.nan]], np.float32)
    done = run("convert", "nan.h5", "out.caffemodel")
    assert done.status == 2 and "layer 'ip' holds NaN" in done.err and not (folder / "out.caffemodel").exists()


def test_images(run: Run, folder: Path, sections: np.ndarray) -> None:
    assert run("convert", "in.tif", "stack.h5:/raw").status == 0
    with h5py.File(folder / "stack.h5") as file:
        np.testing.assert_array_equal(file["raw"][:, 0], sections)
        assert file["raw"].dtype == np.uint8
    assert run("convert", "stack.h5:/raw", "back.tif").status == 0
    np.testing.assert_array_equal(tifffile.imread(folder / "back.tif", key=range(2)), sections)


# ------------------------------------------------------------------------------------------------------------------ nets
def same_answers(prototxt: str, weights: str) -> None:
    """The files describe mynet:tiny with the weights of tiny.h5."""
    import fullmocha as fm

    image = np.random.default_rng(5).random((1, 1, 14, 14), np.float32) * 255
    ours, theirs = build("tiny"), fm.load_caffe(prototxt, weights, backend="reference")
    for net in (ours, theirs):
        net.forward({"data": image})
    np.testing.assert_array_equal(theirs.output_blobs["prob"].data, ours.output_blobs["prob"].data)


def test_a_net_of_python_becomes_a_prototxt_and_weights(run: Run, folder: Path) -> None:
    done = run("convert", "mynet:tiny", "net.prototxt", "--weights", "tiny.h5")
    assert done.out == "wrote net.prototxt: 7 layers\nwrote net.caffemodel: 3 layers, 267 values\n"
    same_answers("net.prototxt", "net.caffemodel")
    assert run("convert", "mynet:tiny", "alone.prototxt").out == "wrote alone.prototxt: 7 layers\n"
    assert (folder / "alone.prototxt").read_text() == (folder / "net.prototxt").read_text()
    assert not (folder / "alone.caffemodel").exists()
    assert run("convert", "net.prototxt", "again.prototxt").status == 0
    assert (folder / "again.prototxt").read_text() == (folder / "net.prototxt").read_text()
    for target in ("w.caffemodel", "w.caffemodel.h5"):
        assert run("convert", "net.prototxt", target, "-w", "tiny.h5").out == f"wrote {target}: 3 layers, 267 values\n"
        same_answers("net.prototxt", target)
    assert run("convert", "net.prototxt", "w.h5", "-w", "w.caffemodel").status == 0
    assert sorted(datasets(folder / "w.h5")) == sorted(datasets(folder / "tiny.h5"))


def test_opencv_reads_a_model_of_the_package(run: Run, folder: Path) -> None:
    """The trained net that the package brings: its grey values are shifted and scaled by a transform_param."""
    cv2 = pytest.importorskip("cv2")
    from fullmocha.models.membrane import trained_membrane

    assert run("convert", "fullmocha.models.membrane:trained_membrane", "m.prototxt").status == 0
    assert run("convert", "fullmocha.models.membrane:trained_membrane", "m.caffemodel").status == 0
    text = (folder / "m.prototxt").read_text()
    assert 'type: "MemoryData"' in text and "scale: 0.015625" in text and "mean_value: 128" in text
    # OpenCV takes inputs, not a caller's memory
    start, end = text.index("layer {"), text.index("layer {", text.index("layer {") + 1)
    fed = text[:start] + 'input: "data" input_dim: [1, 1, 45, 45]\n' + text[end:]
    (folder / "fed.prototxt").write_text(fed)
    theirs = cv2.dnn.readNetFromCaffe("fed.prototxt", "m.caffemodel")
    image = np.random.default_rng(1).normal(size=(1, 1, 45, 45)).astype(np.float32)
    net = trained_membrane("reference")
    net.forward({"data": image})
    theirs.setInput(image)
    assert np.abs(theirs.forward() - net.output_blobs["prob"].data).max() < 1e-5


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (("mynet:tiny", "out.caffemodel"), "layers conv1, conv2, ip1 have no weights; name them by --weights"),
        (("mynet:tiny", "out.tif"), r"out.tif: its suffix names no format of nets; use one of .prototxt, .caffemodel"),
        (("mynet:tiny", "no/out.prototxt"), "no/out.prototxt: cannot be written, its folder"),
        (("tiny.h5", "out.caffemodel", "-w", "one.h5"), "tiny.h5: is no net .*takes none of --weights"),
        (("none.prototxt", "out.prototxt"), "none.prototxt does not exist"),
        (("mynet:tiny", "stack.h5", "-w", "tiny.h5"), "stack.h5: holds /raw, which would be lost"),
    ],
)
def test_nets_that_cannot_be_written(run: Run, folder: Path, command: tuple[str, ...], message: str) -> None:
    import re

    with h5py.File(folder / "stack.h5", "w") as file:
        file["raw"] = np.zeros((3, 4))
    before = sorted(folder.iterdir())
    done = run("convert", *command)
    assert done.status == 2 and re.search(message, done.err), done.err
    assert [p for p in sorted(folder.iterdir()) if p.name != "__pycache__"] == [
        p for p in before if p.name != "__pycache__"
    ]


# ----------------------------------------------------------------------------------------------------------------- means
@pytest.mark.parametrize("through", ["m.npy", "m.h5", "m.tif", "m.h5:/mean"])
def test_mean_images_there_and_back(run: Run, folder: Path, through: str, rng: np.random.Generator) -> None:
    import fullmocha as fm
    from fullmocha.caffe.blobs import read_blob
    from fullmocha.caffe.writing import write_blob

    mean = rng.random((3, 5, 7), np.float32)
    write_blob("mean.binaryproto", mean)
    done = run("convert", "mean.binaryproto", through)
    assert done.out == f"wrote {through}: 3 x 5 x 7 float32 (channels, rows, columns)\n", done.err
    assert run("convert", through, "back.binaryproto").status == 0
    assert (folder / "back.binaryproto").read_bytes() == (folder / "mean.binaryproto").read_bytes()
    np.testing.assert_array_equal(read_blob("back.binaryproto")[0], mean)
    if through == "m.npy":
        np.testing.assert_array_equal(np.load("m.npy"), mean)
    if through == "m.h5":
        np.testing.assert_array_equal(fm.DataTransformers.SubMean(mean_file="m.h5").mean, mean)


def test_means_that_are_none(run: Run, folder: Path) -> None:
    np.save("text.npy", np.array(["a"]))
    np.save("flat.npy", np.zeros(5))
    (folder / "cut.npy").write_bytes((folder / "flat.npy").read_bytes()[:90])
    for source, message in (
        ("text.npy", "text.npy: holds <U1, no real numbers"),
        ("flat.npy", "flat.npy: a mean image has channels, rows and columns; this array is (5,)"),
        ("cut.npy", "cut.npy: cannot be read as an array of numpy's"),
        ("tiny.h5", "/mean"),
    ):
        done = run("convert", source, "out.binaryproto")
        assert done.status == 2 and message in done.err, done.err
        assert not (folder / "out.binaryproto").exists()
    (folder / "mean.binaryproto").write_bytes(b"\xff\xff")
    assert "mean.binaryproto cannot be decoded" in run("convert", "mean.binaryproto", "out.npy").err


# ---------------------------------------------------------------------------------------------------------------- states
def test_solver_states_there_and_back(run: Run, folder: Path, data_dir: Path) -> None:
    stored = data_dir / "caffemodels" / "lenet_v1_2014" / "lenet_iter_10000.solverstate"
    done = run("convert", stored, "s.solverstate.h5")
    assert done.out.startswith("wrote s.solverstate.h5: iteration 10000, 8 arrays, 431,080 values"), done.err
    assert run("convert", "s.solverstate.h5", "back.solverstate").status == 0
    from fullmocha.caffe.state import read_state

    ours, theirs = read_state("back.solverstate"), read_state(stored)
    assert (ours.iter, ours.learned_net, ours.current_step) == (theirs.iter, theirs.learned_net, theirs.current_step)
    for a, b in zip(ours.history, theirs.history, strict=True):
        assert a.tobytes() == b.tobytes() and a.shape == b.shape
    done = run("convert", stored, "s.caffemodel")
    assert done.status == 2 and "s.caffemodel: its suffix names no format of solver states" in done.err


@pytest.mark.parametrize("target", ["net.caffemodel", "net.prototxt", "sub/../net.caffemodel"])
def test_the_weights_of_the_net_are_not_written_over(run: Run, folder: Path, target: str) -> None:
    """A prototxt takes a .caffemodel beside it, which may be the one that was read."""
    (folder / "sub").mkdir()
    assert run("convert", "tiny.h5", "net.caffemodel").status == 0
    before = (folder / "net.caffemodel").read_bytes()
    done = run("convert", "mynet:tiny", target, "-w", "net.caffemodel")
    assert done.status == 2 and "net.caffemodel: is the input, too; name another file" in done.err
    assert (folder / "net.caffemodel").read_bytes() == before and not (folder / "net.prototxt").exists()


TRAINING = """
layer { name: "set" type: "DummyData" top: "data" top: "label" dummy_data_param { shape { dim: [2, 1, 14, 14] } shape { dim: 2 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param { num_output: 3 kernel_size: 14 } }
layer { name: "prob" type: "Softmax" bottom: "conv" top: "prob" }
layer { name: "acc" type: "Accuracy" bottom: "prob" bottom: "label" top: "acc" }
"""


def test_deploy_writes_what_answers(run: Run, folder: Path) -> None:
    Path("net.prototxt").write_text(TRAINING)
    done = run("convert", "net.prototxt", "whole.prototxt")
    assert done.status == 0 and 'type: "Accuracy"' in Path("whole.prototxt").read_text()
    done = run("convert", "net.prototxt", "deploy.prototxt", "--deploy")
    assert (done.status, done.out) == (0, "wrote deploy.prototxt: 3 layers\n")
    net = fm.load_caffe("deploy.prototxt", backend="reference")
    assert [type(layer).__name__ for layer in net.layers] == ["InputLayer", "ConvolutionLayer", "SoftmaxLayer"]
    assert net.layers[0].shapes == ((1, 1, 14, 14),)
    done = run("convert", "net.prototxt", "scores.prototxt", "--deploy", "--output", "conv")
    assert done.status == 0 and "Softmax" not in Path("scores.prototxt").read_text()
