"""`fullmocha info`: the figures that it prints are those of the net, the formulas and the planner."""

import re
from pathlib import Path

import pytest

from .conftest import Run

REFERENCE = ("--backend", "reference")
PADDED = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 1 dim: 12 dim: 12 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param { num_output: 2 kernel_size: 3 pad: 1 } }
layer { name: "ip" type: "InnerProduct" bottom: "conv" top: "ip" inner_product_param { num_output: 2 } }
"""


def row(text: str, *begin: str) -> list[str]:
    """The cells of the first line that begins with these."""
    lines = [re.split(r" {2,}", line.strip()) for line in text.splitlines()]
    return next(line for line in lines if line[: len(begin)] == list(begin))


def test_n4_on_512_prints_the_reports_figures(run: Run) -> None:
    done = run("info", "fullmocha.models:n4", *REFERENCE, "--image", "512x512")
    assert done.status == 0, done.err
    assert row(done.out, "as the reports count")[1:] == ["63,636.9 GFLOP", "81.6 GFLOP", "779.8 x"]
    assert row(done.out, "exactly")[2] == "134.0 GFLOP"
    assert row(done.out, "conv3", "Convolution")[2:] == ["48 maps, 4x4, relu", "48x18x18", "4x4", "36,912"]
    assert row(done.out, "pool4", "Pooling")[2:] == ["max 2x2, stride 2x2", "48x3x3", "16x16", "0"]
    assert row(done.out, "context") == ["context", "94x94: the border is 47 above, 47 below, 47 left, 47 right"]
    # per layer: conv2 runs on (42 - 1) 2 + 512 = 594 a side
    gflop = [2 * 48 * 48 * 25 * n / 1e9 for n in (512**2, 594**2 - 512**2, 594**2)]
    assert row(done.out, "conv2", f"{gflop[0]:.1f} GFLOP")[2::2] == [f"{n:.1f} GFLOP" for n in gflop[1:]]
    assert "one tile of 512x512" in done.out


def test_steps_and_tiles(run: Run, folder: Path) -> None:
    whole = run("info", "mynet:tiny", "-w", "tiny.h5", *REFERENCE, "--image", "400x300")
    mebibytes = int(row(whole.out, "memory")[1].split()[0])
    assert row(whole.out, "conv2", "conv") == row(whole.out, "conv2", "conv", "reference", "4x5x203x153")
    tiled = run(
        "info", "mynet:tiny", "-w", "tiny.h5", *REFERENCE, "--image", "400x300", "--memory", f"{mebibytes - 8}MiB"
    )
    count, rows, columns = map(int, re.search(r"work +(\d+) tiles \((\d+)x(\d+)\)", tiled.out).groups())  # type: ignore[union-attr]
    assert count == rows * columns > 1
    assert re.search(rf"steps of a \d+x\d+ tile \(\d+ of them", tiled.out)  # noqa: F541


def test_dense_as_it_stands(run: Run) -> None:
    done = run("info", "fullmocha.models:sk", *REFERENCE)
    assert "128x128 outputs, as Greentea counts them: 694.6 GFLOP" in done.out
    assert "128x128 outputs, exactly: 694.6 GFLOP" in done.out
    assert "51 above, 50 below" in done.out


def test_what_has_no_dense_form_is_told_and_planned_by_sliding(run: Run, tmp_path: Path) -> None:
    (tmp_path / "padded.prototxt").write_text(PADDED)
    done = run("info", tmp_path / "padded.prototxt", *REFERENCE, "--image", "20x30")
    assert done.status == 0, done.err
    assert "not dense: conv (ConvolutionLayer): pad 1x1" in done.out
    assert "600 windows of 12x12, one by one" in done.out


@pytest.mark.parametrize("engine", ["fragments", "strided"])
def test_engines(run: Run, folder: Path, engine: str) -> None:
    done = run("info", "mynet:tiny", *REFERENCE, "--engine", engine)
    assert f"dense    by {engine}" in done.out
    assert ("fragment" in [line.split()[1] for line in done.out.splitlines() if "~fragments" in line]) == (
        engine == "fragments"
    )
