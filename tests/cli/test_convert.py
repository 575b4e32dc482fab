"""`fullmocha convert`: weights come back bit for bit, images as they were, and other programs read what is written."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile

from fullmocha.caffe.weights import read_weights

from .conftest import Run


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
