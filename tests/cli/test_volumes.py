"""Nets of volumes on the command line: shown, and refused by name where images are labelled."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

import fullmocha as fm
from fullmocha import flops
from fullmocha.caffe.writing import write_caffemodel

from .conftest import Run

NET = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: [1, 1, 6, 8, 9] } } }
layer { name: "c1" type: "Convolution" bottom: "data" top: "c1" convolution_param { num_output: 3 kernel_size: 3 } }
layer { name: "p" type: "Pooling" bottom: "c1" top: "p" pooling_param { kernel_size: [2, 2, 1] stride: [2, 2, 1] } }
layer { name: "ip" type: "InnerProduct" bottom: "p" top: "ip" inner_product_param { num_output: 2 } }
"""


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    (tmp_path / "vol.prototxt").write_text(NET)
    return tmp_path / "vol.prototxt"


def test_info_shows_three_axes_and_no_plan(volume: Path, run: Run) -> None:
    done = run("info", str(volume))
    assert done.status == 0
    for shown in (
        "3 maps, 3x3x3",
        "max 2x2x1, stride 2x2x1",
        "3x4x6x7",
        "2x2x1",
        "patch    6x8x9",
        "context  5x7x8",
        "no plan: ",
    ):
        assert shown in done.out


@pytest.mark.parametrize("command", ["predict", "check"])
def test_images_are_not_labelled_with_it(command: str, volume: Path, run: Run) -> None:
    net = fm.load_caffe(volume, backend="reference")
    net.init()
    write_caffemodel(volume.with_name("w.caffemodel"), net)
    tifffile.imwrite(volume.with_name("in.tif"), np.zeros((9, 20, 22), np.uint8))
    output = ["-o", str(volume.with_name("out.tif"))] if command == "predict" else []
    done = run(
        command,
        str(volume),
        "--weights",
        str(volume.with_name("w.caffemodel")),
        str(volume.with_name("in.tif")),
        *output,
    )
    assert done.status == 2
    assert "takes arrays of 3 spatial axes; only images, which have 2, are labelled" in done.err
    assert "densify(net).forward(x)" in done.err and not volume.with_name("out.tif").exists()


@pytest.mark.parametrize("engine", ["strided", "fragments"])
def test_operations_are_those_of_the_program(engine: str, volume: Path) -> None:
    net = fm.load_caffe(volume, backend="reference")
    windows = (4, 6, 5)
    dense = fm.densify(net, engine)
    counted = sum(work.total for work in flops.dense(net, windows, engine))
    assert counted == dense.program(dense.input_shape(windows)).flops > 0
    # 3 maps of 4 x 6 x 7 positions, 27 products each; 2 outputs of 126 products
    assert flops.patchwise(net, (1, 1, 1)) == 2 * 3 * 27 * 4 * 6 * 7
    assert sum(w.total for w in flops.dense(net, (1, 1, 1), "sliding")) == 2 * 3 * 27 * 4 * 6 * 7 + 2 * 2 * 126
