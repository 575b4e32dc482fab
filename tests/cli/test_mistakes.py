"""Every mistake that a user can make: one message that says what to do, status 2, and the folder as it was."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
from PIL import Image

import fullmocha as fm

from .conftest import Run, build, names

PREDICT = ("predict", "mynet:tiny", "-w", "tiny.h5", "--backend", "reference")
PROTOTXT = """name: "small"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 1 dim: 14 dim: 14 } } }
layer {
  name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  convolution_param { num_output: 2 kernel_size: 14 weight_filler { type: "xavier" } }
}
"""


def cut_tiff(folder: Path) -> None:
    raw = (folder / "in.tif").read_bytes()
    (folder / "bad.tif").write_bytes(raw[: len(raw) // 2])


def text_as_tiff(folder: Path) -> None:
    (folder / "bad.tif").write_text("this is no image")


def cut_png(folder: Path) -> None:
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (40, 40)).astype(np.uint8)).save(
        folder / "bad.tif", "PNG"
    )
    raw = (folder / "bad.tif").read_bytes()
    (folder / "bad.tif").write_bytes(raw[:-300])


def colour_image(folder: Path) -> None:
    tifffile.imwrite(folder / "bad.tif", np.zeros((20, 30, 3), np.uint8), photometric="rgb")


def small_image(folder: Path) -> None:
    tifffile.imwrite(folder / "bad.tif", np.zeros((13, 30), np.uint8))


def other_size(folder: Path) -> None:
    tifffile.imwrite(folder / "bad.tif", np.zeros((38, 45), np.uint8))


def nan_weights(folder: Path) -> None:
    with h5py.File(folder / "bad.h5", "w") as file:
        for name, params in build("tiny").params.items():
            for p in params:
                file[f"{name}___{p.role}"] = p.values() + (np.nan if name == "conv2" and p.role == "filter" else 0)


def other_weights(folder: Path) -> None:
    fm.save_network(build("colour"), folder / "bad.h5")


def no_hdf5(folder: Path) -> None:
    (folder / "bad.h5").write_bytes((folder / "tiny.h5").read_bytes()[:1500])


def cut_caffemodel(folder: Path) -> None:
    from fullmocha.caffe.writing import write_caffemodel

    arrays = {name: [p.values() for p in params] for name, params in build("tiny").params.items()}
    write_caffemodel(folder / "bad.caffemodel", arrays)
    (folder / "bad.caffemodel").write_bytes((folder / "bad.caffemodel").read_bytes()[:-150])


def corrupt_caffemodel(folder: Path) -> None:
    (folder / "bad.caffemodel").write_bytes(bytes(range(256)) * 3)


def syntax_error(folder: Path) -> None:
    (folder / "bad.prototxt").write_text(PROTOTXT.replace("kernel_size: 14", "kernel_size 14"))


def unknown_layer(folder: Path) -> None:
    (folder / "bad.prototxt").write_text(PROTOTXT.replace('"Convolution"', '"Convoluted"'))


def good_prototxt(folder: Path) -> None:
    (folder / "good.prototxt").write_text(PROTOTXT)


def modules_that_end(folder: Path) -> None:
    (folder / "ends.py").write_text("import sys\nsys.exit(0)\n")
    (folder / "misspelt.py").write_text("import os\nos.getpwd()\n")


def nan_in_a_late_row(folder: Path) -> None:
    image = np.random.default_rng(1).random((2, 37, 45), np.float32)
    image[1, 20, 7] = np.nan
    tifffile.imwrite(folder / "bad.tif", image, photometric="minisblack")


def image_in_hdf5(folder: Path) -> None:
    with h5py.File(folder / "image.h5", "w") as file:
        file["data"] = np.zeros((30, 40), np.uint8)


def no_folder(folder: Path) -> None:
    pass


nothing = no_folder


def directory(folder: Path) -> None:
    (folder / "bad.tif").mkdir()


CASES: list[tuple[Callable[[Path], None], tuple[str, ...], str]] = [
    # inputs
    (cut_tiff, (*PREDICT, "bad.tif", "-o", "out.tif"), r"bad.tif.*(cut|truncated|beyond|bytes)"),
    (text_as_tiff, (*PREDICT, "bad.tif", "-o", "out.tif"), r"bad.tif: "),
    (cut_png, (*PREDICT, "bad.tif", "-o", "out.tif"), r"bad.tif: .*(cut|trunc|corrupt|broken|ends|IEND)"),
    (nothing, (*PREDICT, "none.tif", "-o", "out.tif"), r"none.tif: no such file"),
    (directory, (*PREDICT, "bad.tif", "-o", "out.tif"), r"bad.tif: is a folder"),
    (colour_image, (*PREDICT, "bad.tif", "-o", "out.tif"), r"bad.tif: has 3 channels, the net takes 1"),
    (small_image, (*PREDICT, "bad.tif", "-o", "out.tif", "--border", "valid"), r"bad.tif: .*13x30 .*at least 14x14"),
    (other_size, (*PREDICT, "in.tif", "bad.tif", "-o", "out.tif"), r"bad.tif: is 38x45 .* in.tif, section 0 is 37x45"),
    (nothing, ("check", "mynet:tiny", "-w", "tiny.h5", "none.tif"), r"none.tif: no such file"),
    # weights
    (nan_weights, ("predict", "mynet:tiny", "-w", "bad.h5", "in.tif", "-o", "out.tif"), r"bad.h5: conv2___filter.*NaN"),
    (other_weights, ("predict", "mynet:tiny", "-w", "bad.h5", "in.tif", "-o", "out.tif"), r"bad.h5: conv1___filter is"),
    (no_hdf5, ("predict", "mynet:tiny", "-w", "bad.h5", "in.tif", "-o", "out.tif"), r"bad.h5: .*cut"),
    (nothing, ("info", "mynet:tiny", "-w", "none.h5"), r"none.h5 does not exist"),
    (directory, ("info", "mynet:tiny", "-w", "bad.tif"), r"bad.tif is a folder"),
    (cut_caffemodel, ("info", "mynet:tiny", "-w", "bad.caffemodel"), r"bad.caffemodel breaks off after layer 'conv\d'"),
    (corrupt_caffemodel, ("info", "mynet:tiny", "-w", "bad.caffemodel"), r"bad.caffemodel .*corrupt"),
    (cut_caffemodel, ("convert", "bad.caffemodel", "out.h5"), r"bad.caffemodel breaks off"),
    # nets
    (syntax_error, ("info", "bad.prototxt"), r"bad.prototxt:5:\d+: "),
    (unknown_layer, ("info", "bad.prototxt"), r"Convoluted"),
    (nothing, ("info", "none.prototxt"), r"none.prototxt does not exist"),
    (nothing, ("info", "mynet:none"), r"mynet:none: .*no attribute 'none'"),
    (nothing, ("info", "nomodule:net"), r"nomodule:net: the module cannot be imported, ModuleNotFoundError"),
    (nothing, ("info", "mynet:broken"), r"mynet:broken: failed with ZeroDivisionError"),
    (nothing, ("info", "mynet:number"), r"mynet:number: is int, no function"),
    (nothing, ("info", "mynet:tiny", "--output", "conv9"), r"has no blob 'conv9'"),
    (
        good_prototxt,
        ("check", "good.prototxt", "in.tif"),
        r"good.prototxt: layer conv1 has no weights; name them by --w",
    ),
    (
        nothing,
        ("predict", "mynet:tiny", "in.tif", "-o", "out.tif"),
        r"mynet:tiny: layers conv1, conv2, ip1 have no weights; name them by --weights FILE",
    ),
    (nothing, ("check", "mynet:fixed", "in.tif"), r"mynet:fixed: layers conv1, conv2, ip1 have no weights"),
    (nothing, ("info", "mynet:leaves"), r"mynet:leaves: failed with SystemExit: bye"),
    (nothing, ("info", "mynet:strings"), r"mynet:strings: .*'a' \(str\) is no layer"),
    (modules_that_end, ("info", "ends:net"), r"ends:net: the module cannot be imported, SystemExit: 0"),
    (
        modules_that_end,
        ("info", "misspelt:net"),
        r"misspelt:net: the module cannot be imported, AttributeError: .*getpwd",
    ),
    # outputs
    (
        nothing,
        (*PREDICT, "in.tif", "-o", "none/out.tif"),
        r"none/out.tif: cannot be written, its folder .* does not exist",
    ),
    (directory, (*PREDICT, "in.tif", "-o", "bad.tif"), r"bad.tif: cannot be written, it is a folder"),
    (nothing, (*PREDICT, "in.tif", "-o", "out.jpg"), r"out.jpg: its suffix"),
    (nothing, (*PREDICT, "in.tif", "-o", "out.png"), r"out.png: a PNG holds 1 section"),
    (nothing, (*PREDICT, "in.tif", "-o", "in.tif"), r"in.tif: is an input, too"),
    (nothing, ("convert", "tiny.h5", "out.onnx"), r"out.onnx: its suffix names no format of weights"),
    (nothing, ("convert", "tiny.h5", "out.tif"), r"out.tif: its suffix names no format of weights"),
    (image_in_hdf5, ("convert", "image.h5:/data", "image.h5:/data"), r"image.h5:/data: is the input, too"),
    (image_in_hdf5, ("convert", "image.h5", "out.tif"), r"image.h5 .*name it image.h5:/data"),
    (image_in_hdf5, ("info", "mynet:tiny", "-w", "image.h5"), r"image.h5 .*name it image.h5:/data"),
    (image_in_hdf5, ("convert", "tiny.h5", "image.h5"), r"image.h5: holds /data, which would be lost"),
    (image_in_hdf5, ("convert", "tiny.h5", "image.h5:/data"), r"image.h5:/data: its suffix names no format of weights"),
    (nothing, ("convert", "tiny.h5", "tiny.h5"), r"tiny.h5: is the input, too"),
    (nothing, ("demo", "-o", "in.tif"), r"in.tif: "),
    # budgets and options
    (
        nothing,
        (*PREDICT, "in.tif", "-o", "out.tif", "--memory", "1MiB"),
        r"budget of 1 MiB is too small: .*needs \d+ MiB",
    ),
    (
        nothing,
        (*PREDICT, "in.tif", "-o", "out.tif", "--memory", "1MiB", "--engine", "sliding"),
        r"budget of 1 MiB is too sm",
    ),
    (nothing, ("info", "mynet:tiny", "--memory", "lots"), r"memory 'lots' is no amount of bytes"),
    (nothing, ("info", "mynet:tiny", "--image", "12"), r"--image '12' is no size"),
    (nothing, ("info", "mynet:tiny", "--image", "0x12"), r"--image '0x12' is no size"),
    (nothing, (*PREDICT, "in.tif", "-o", "out.tif", "--mean", "1,x"), r"'1,x' is no number"),
    (nothing, (*PREDICT, "in.tif", "-o", "out.tif", "--mean", "1,2"), r"--mean has 2 values, the net takes 1 channel"),
    (nothing, (*PREDICT, "in.tif", "-o", "out.tif", "--normalize", "--scale", "2"), r"--normalize sets scale and mean"),
    (nothing, (*PREDICT, "in.tif", "-o", "out.tif", "--mean", "1,nan"), r"'1,nan' is not finite"),
    (nothing, (*PREDICT, "in.tif", "-o", "out.tif", "--scale", "inf"), r"'inf' is not finite"),
    (
        nothing,
        ("check", "mynet:tiny", "-w", "tiny.h5", "in.tif", "--limit", "nan"),
        r"'nan' is not finite",
    ),
    (nothing, ("check", "mynet:tiny", "-w", "tiny.h5", "in.tif", "--limit", "-1"), r"-1.* is not in the range"),
    (nan_in_a_late_row, (*PREDICT, "bad.tif", "-o", "out.tif", "--normalize"), r"bad.tif, section 1: .* rows 20 to 24"),
    (nothing, (*PREDICT, "in.tif", "-o", "out.tif", "--bogus"), r"--bogus"),
    (nothing, (*PREDICT, "-o", "out.tif"), r"INPUT"),
    (nothing, ("frobnicate",), r"frobnicate"),
    (nothing, ("info", "mynet:tiny", "--backend", "abacus"), r"abacus"),
]


@pytest.mark.parametrize(("prepare", "command", "message"), CASES, ids=lambda v: v.__name__ if callable(v) else None)
def test_one_message_status_2_and_nothing_left(
    run: Run,
    folder: Path,
    sections: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
    prepare: Callable[[Path], None],
    command: tuple[str, ...],
    message: str,
) -> None:
    import re

    prepare(folder)
    monkeypatch.setattr("fullmocha.cli.images._BLOCK_BYTES", 5 * 45 * 8)  # five rows
    before = {name: (folder / name).stat().st_mtime_ns for name in names(folder)}
    done = run(*command)
    assert done.status == 2, done
    assert re.search(message, done.err), done.err
    assert done.err.startswith("error: ") and done.err.count("\n") == 1 and "Traceback" not in done.err
    assert {name: (folder / name).stat().st_mtime_ns for name in names(folder)} == before


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_to(run: Run, folder: Path, sections: np.ndarray) -> None:
    closed = folder / "closed"
    closed.mkdir(mode=0o500)
    done = run(*PREDICT, "in.tif", "-o", "closed/out.tif")
    assert done.status == 2 and "closed/out.tif: cannot be written" in done.err


def test_a_mistake_of_ours_keeps_its_traceback(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fullmocha.cli import info, main

    monkeypatch.setattr(info, "_net", lambda net: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(["info", "mynet:tiny", "--backend", "reference"])


def test_a_real_process_says_it_in_one_line(folder: Path, sections: np.ndarray) -> None:
    command = [sys.executable, "-m", "fullmocha", *PREDICT, "in.tif", "-o", "out.tif", "--memory", "2MiB"]
    command[1:3] = ["-c", "from fullmocha.cli import main; main()"]
    before = names(folder)
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    assert (done.returncode, done.stdout, names(folder)) == (2, "", before)
    assert done.stderr.startswith("error: a memory budget of 2 MiB is too small") and done.stderr.count("\n") == 1


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_a_pipe_is_no_file_of_weights(run: Run, folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    done = run("info", "mynet:tiny", "-w", "pipe", "--backend", "reference")
    assert done.status == 2 and "pipe is a pipe or device; a file of weights" in done.err
