"""ONNX graphs on the command line: written from a net, and named as one."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

import fullmocha as fm

from .conftest import Run, build

pytest.importorskip("onnx", reason="onnx is not installed (extra onnx)")


def test_there_and_back(run: Run, folder: Path, sections: np.ndarray) -> None:
    done = run("convert", "mynet:tiny", "tiny.onnx", "-w", "tiny.h5")
    assert (done.status, done.out) == (0, "wrote tiny.onnx: opset 17, for one patch\n")
    assert run("predict", "tiny.onnx", "--backend", "reference", "in.tif", "-o", "out.tif").status == 0
    net = build("tiny")
    fm.load_network("tiny.h5", net)
    expected = fm.predict(net, sections[0])
    np.testing.assert_allclose(tifffile.imread("out.tif")[0], expected, atol=1e-6)


def test_a_dense_graph_says_its_window_by_its_name(run: Run, folder: Path) -> None:
    assert run("convert", "mynet:tiny", "tiny.onnx", "-w", "tiny.h5", "--dense").status == 0
    done = run("info", "tiny.onnx")
    assert done.status == 2 and "tiny.onnx: its input 'data' is ['open', 1, 'open', 'open']" in done.err
    done = run("info", "tiny.onnx:21x18")
    assert done.status == 0 and "1x18x21" in done.out


def test_mistakes(run: Run, folder: Path) -> None:
    done = run("convert", "mynet:tiny", "tiny.caffemodel", "-w", "tiny.h5", "--dense")
    assert done.status == 2 and "--dense is for ONNX graphs alone" in done.err
    Path("cut.onnx").write_bytes(b"\x08\x08no graph")
    done = run("info", "cut.onnx")
    assert done.status == 2 and "cut.onnx: cannot be decoded" in done.err
    assert not Path("tiny.caffemodel").exists()


def test_one_of_several_outputs_is_chosen(run: Run, folder: Path) -> None:
    onnx = pytest.importorskip("onnx")
    Path("two.prototxt").write_text(
        'layer { name: "in" type: "Input" top: "data" input_param { shape { dim: 1 dim: 1 dim: 5 dim: 6 } } }\n'
        'layer { name: "a" type: "AbsVal" bottom: "data" top: "a" }\n'
        'layer { name: "b" type: "TanH" bottom: "data" top: "b" }\n'
    )
    done = run("convert", "two.prototxt", "two.onnx")
    assert done.status == 2 and "has 2 outputs" in done.err
    assert run("convert", "two.prototxt", "two.onnx", "--output", "b").status == 0
    assert [node.op_type for node in onnx.load("two.onnx").graph.node] == ["Tanh"]
    done = run("convert", "two.prototxt", "again.prototxt", "--output", "b")
    assert done.status == 2 and "--output is for ONNX graphs, and goes with --deploy" in done.err


def test_a_patch_that_is_not_the_graphs_own(run: Run, folder: Path) -> None:
    assert run("convert", "mynet:tiny", "tiny.onnx", "-w", "tiny.h5").status == 0
    done = run("convert", "tiny.onnx:29x29", "tiny.onnx")
    assert done.status == 2 and "tiny.onnx: is the input, too" in done.err
    done = run("info", "tiny.onnx:40x41")
    assert done.status == 2 and "tiny.onnx: layer" in done.err and "the patch asked for" in done.err
