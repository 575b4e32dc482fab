"""`fullmocha predict` writes the values of `fm.predict`, whatever the formats, tiles, engines and borders."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile
from PIL import Image

import fullmocha as fm
from fullmocha.memory import resident
from fullmocha.models import n4

from .conftest import Run, build, names

COMMAND = [sys.executable, "-c", "from fullmocha.cli import main; main()"]
REFERENCE = ("--backend", "reference")

SCALED = """
layer { name: "data" type: "MemoryData" top: "data" memory_data_param { batch_size: 1 channels: 1 height: 6 width: 6 }
  transform_param { scale: 0.00390625 } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param { num_output: 2 kernel_size: 6 } }
"""


def expected(name: str, image: np.ndarray, **options: Any) -> np.ndarray:
    """(K, H, W) by the library."""
    return fm.predict(build(name), image, **options)


def test_tiff_stack_to_tiff_section_by_section_then_class(run: Run, folder: Path, sections: np.ndarray) -> None:
    done = run("predict", "mynet:tiny", "-w", "tiny.h5", *REFERENCE, "in.tif", "-o", "out.tif")
    assert done.status == 0, done.err
    assert re.match(r"plan: 2 sections, each one tile of 37x45; \d+ MiB of .*; .*FLOP, about .* s\n", done.out)
    pages = tifffile.imread(folder / "out.tif", key=range(4))
    assert pages.dtype == np.float32
    both = [expected("tiny", section) for section in sections]
    np.testing.assert_array_equal(pages, np.concatenate(both))
    assert np.ptp(pages[1]) > 0.1  # else nothing is compared


def test_several_inputs_are_sections_in_order(run: Run, folder: Path, sections: np.ndarray) -> None:
    tifffile.imwrite(folder / "b.tif", sections[0, ::-1])
    done = run("predict", "mynet:tiny", "-w", "tiny.h5", *REFERENCE, "b.tif", "in.tif", "-o", "out.h5:/maps/prob")
    assert done.status == 0, done.err
    with h5py.File(folder / "out.h5") as file:
        found = file["maps/prob"][...]
        assert file["maps/prob"].attrs["axes"] == "SCHW"
    np.testing.assert_array_equal(found, [expected("tiny", s) for s in (sections[0, ::-1], *sections)])


def test_hdf5_to_hdf5_of_sixteen_bits(run: Run, folder: Path) -> None:
    image = np.random.default_rng(4).integers(0, 2**16, (3, 30, 33)).astype(np.uint16)
    with h5py.File(folder / "in.h5", "w") as file:
        file["raw"] = image
        file["other"] = image[:1]
    done = run("predict", "mynet:tiny", "-w", "tiny.h5", *REFERENCE, "in.h5:/raw", "-o", "out.h5", "--scale", "0.001")
    assert done.status == 0, done.err
    with h5py.File(folder / "out.h5") as file:
        found = file["data"][...]
    scaled = (image.astype(np.float32) - np.float32(0)) * np.float32(0.001)
    np.testing.assert_array_equal(found, [expected("tiny", section) for section in scaled])


def test_png_to_png_one_class_in_eight_bits(run: Run, folder: Path, sections: np.ndarray) -> None:
    Image.fromarray(sections[0]).save(folder / "in.png")
    done = run("predict", "mynet:one", "-w", "one.h5", *REFERENCE, "in.png", "-o", "out.png", "--class", "2")
    assert done.status == 0, done.err
    found = np.asarray(Image.open(folder / "out.png"))
    np.testing.assert_array_equal(found, np.rint(expected("one", sections[0])[2] * 255).astype(np.uint8))


def test_classes_in_the_order_asked_for(run: Run, folder: Path, sections: np.ndarray) -> None:
    run("predict", "mynet:one", "-w", "one.h5", *REFERENCE, "in.tif", "-o", "out.tif", "--class", "2", "--class", "0")
    pages = tifffile.imread(folder / "out.tif", key=range(4))
    wanted = [expected("one", section)[[2, 0]] for section in sections]
    np.testing.assert_array_equal(pages, np.concatenate(wanted))
    every = ("--class", "2", "--class", "0", "--class", "1")
    run("predict", "mynet:one", "-w", "one.h5", *REFERENCE, "in.tif", "-o", "out.tif", *every)
    pages = tifffile.imread(folder / "out.tif", key=range(6))
    np.testing.assert_array_equal(pages, np.concatenate([expected("one", s)[[2, 0, 1]] for s in sections]))
    done = run("predict", "mynet:one", "-w", "one.h5", *REFERENCE, "in.tif", "-o", "x.tif", "--class", "3")
    assert (done.status, done.err) == (2, "error: --class 3: the net has classes 0 to 2\n")
    done = run("predict", "mynet:one", "-w", "one.h5", *REFERENCE, "in.tif", "-o", "x.tif", *every, "--class", "0")
    assert (done.status, done.err) == (2, "error: --class 0: is named twice; name every class once\n")


@pytest.mark.parametrize("border", ["symmetric", "reflect", "zero", "valid"])
@pytest.mark.parametrize("engine", ["strided", "fragments", "sliding"])
def test_borders_and_engines(run: Run, folder: Path, sections: np.ndarray, border: str, engine: str) -> None:
    done = run(
        "predict", "mynet:tiny", "-w", "tiny.h5", *REFERENCE, "in.tif", "-o", "out.tif", "--border", border, "--engine", engine
    )  # fmt: skip
    assert done.status == 0, done.err
    pages = tifffile.imread(folder / "out.tif", key=range(4))
    np.testing.assert_array_equal(pages[:2], expected("tiny", sections[0], border=border))


def test_tiles_do_not_show(run: Run, folder: Path) -> None:
    image = np.random.default_rng(2).integers(0, 256, (260, 333)).astype(np.uint8)
    tifffile.imwrite(folder / "large.tif", image)
    weights = ("mynet:tiny", "-w", "tiny.h5", *REFERENCE, "large.tif")
    whole = run("predict", *weights, "-o", "whole.tif")
    assert "one tile of 260x333" in whole.out
    needed = float(re.search(r"; (\d+) MiB of", whole.out)[1])  # type: ignore[index]
    budget = int((needed * 2**20 + 3 * resident()) / 4)  # a quarter of what the one tile takes on top of the process
    tiled = run("predict", *weights, "-o", "tiled.tif", "--memory", budget)
    assert tiled.status == 0, tiled.err
    assert int(re.search(r"plan: (\d+) tiles", tiled.out)[1]) > 1  # type: ignore[index]
    pages = [tifffile.imread(folder / name, key=range(2)) for name in ("whole.tif", "tiled.tif")]
    np.testing.assert_array_equal(pages[1], pages[0])
    np.testing.assert_array_equal(pages[0], expected("tiny", image))


def test_what_is_read_and_written_counts_against_the_budget(folder: Path) -> None:
    """A budget that the planner's own figure meets, and the tile's further copies do not, makes smaller tiles."""
    from fullmocha.labelling import plan_labelling

    dense = fm.densify(build("tiny"))
    image = (1, 600, 700)
    budget = plan_labelling(dense, image, pixel_bytes=1).plan.peak + 2**20
    tight = plan_labelling(dense, image, memory=budget, pixel_bytes=8).plan
    assert len(tight.tiles) > 1 and tight.peak <= budget


def test_grey_values(run: Run, folder: Path, sections: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    options = ("predict", "mynet:tiny", "-w", "tiny.h5", *REFERENCE, "in.tif", "-o", "out.tif")
    done = run(*options, "--mean", "120.5", "--scale", "0.02")
    assert done.status == 0, done.err
    changed = (sections.astype(np.float32) - np.float32(120.5)) * np.float32(0.02)
    pages = tifffile.imread(folder / "out.tif", key=range(4))
    np.testing.assert_array_equal(pages, np.concatenate([expected("tiny", s) for s in changed]))

    sections[1] = sections[1] // 2 + 30  # its own range, which no single band of rows has
    monkeypatch.setattr("fullmocha.cli.images._BLOCK_BYTES", 8 * 45 * 4)
    sections[1, 2, 3], sections[1, 30, 4] = 1, 255
    tifffile.imwrite(folder / "in.tif", sections, photometric="minisblack")
    run(*options, "--normalize")
    pages = tifffile.imread(folder / "out.tif", key=range(4))
    low, high = (f(sections, (1, 2), keepdims=True).astype(np.float64) for f in (np.min, np.max))
    stretched = ((sections - low) / (high - low) * 2 - 1).astype(np.float32)
    # the same formula in another order of float32 roundings, through a net of weights around 1
    np.testing.assert_allclose(pages, np.concatenate([expected("tiny", s) for s in stretched]), atol=2e-6)


@pytest.mark.filterwarnings("default")
def test_a_scale_that_the_net_has_too_is_applied_twice_with_a_warning(
    run: Run, folder: Path, sections: np.ndarray
) -> None:
    (folder / "scaled.prototxt").write_text(SCALED)
    rng = np.random.default_rng(5)
    with h5py.File(folder / "scaled.h5", "w") as file:
        file["conv___filter"] = rng.normal(0, 0.5, (2, 1, 6, 6)).astype(np.float32)
        file["conv___bias"] = rng.normal(0, 0.5, 2).astype(np.float32)
    options = ("predict", "scaled.prototxt", "-w", "scaled.h5", *REFERENCE, "in.tif", "-o")
    plain, twice = run(*options, "plain.tif"), run(*options, "twice.tif", "--scale", "0.5")
    assert (plain.status, plain.err, twice.status) == (0, "", 0)
    assert re.fullmatch(r"warning: --scale and Scale of layer 'data' are both applied, .*\n", twice.err)
    assert "both applied" in run("check", *options[1:-1], "--mean", "3").err
    found, halved = (tifffile.imread(folder / name, key=range(4)) for name in ("plain.tif", "twice.tif"))
    bias = found - 2 * (found - halved)  # what is left of an image of zeros
    np.testing.assert_allclose(bias[::2], bias[0, 0, 0], atol=1e-5)  # sums of 36 products near 1, in float32
    assert np.ptp(found[0]) > 0.1


def test_a_grey_image_for_a_net_of_three_channels(run: Run, folder: Path, sections: np.ndarray) -> None:
    options = ("predict", "mynet:colour", "-w", "colour.h5", *REFERENCE, "in.tif", "-o", "out.tif")
    refused = run(*options)
    assert (refused.status, names(folder).count("out.tif")) == (2, 0)
    assert "in.tif, section 0: has 1 channel, the net takes 3; use --repeat-grey" in refused.err
    done = run(*options, "--repeat-grey", "--mean", "1,2,3")
    assert done.status == 0, done.err
    three = np.repeat(sections[0][None], 3, axis=0).astype(np.float32) - np.array([1, 2, 3], np.float32)[:, None, None]
    np.testing.assert_array_equal(tifffile.imread(folder / "out.tif", key=range(2)), expected("colour", three))


def test_a_net_that_the_user_builds_on_the_backend_asked_for(run: Run, folder: Path, sections: np.ndarray) -> None:
    done = run("predict", "mynet:net", "-w", "tiny.h5", *REFERENCE, "in.tif", "-o", "out.tif")
    assert done.status == 0, done.err
    np.testing.assert_array_equal(tifffile.imread(folder / "out.tif", key=range(2)), expected("tiny", sections[0]))


@pytest.mark.filterwarnings("default")
def test_a_net_with_values_of_its_own_keeps_them_on_another_backend(
    run: Run, folder: Path, sections: np.ndarray
) -> None:
    with h5py.File(folder / "tiny.h5") as whole, h5py.File(folder / "part.h5", "w") as part:
        for name in set(whole) - {"ip1___bias"}:
            whole.copy(name, part)
    done = run("predict", "mynet:fixed", "-w", "part.h5", *REFERENCE, "in.tif", "-o", "out.tif")
    assert done.status == 0, done.err
    assert re.fullmatch(r"warning: \S*part.h5: has no ip1___bias; .*\n", done.err)
    net = build("tiny")
    net.params["ip1"][1].data = [3.0, -3.0]
    np.testing.assert_array_equal(tifffile.imread(folder / "out.tif", key=range(2)), fm.predict(net, sections[0]))


def test_weights_of_caffe_for_a_net_of_ours(run: Run, folder: Path, sections: np.ndarray) -> None:
    for suffix in ("caffemodel", "caffemodel.h5"):
        assert run("convert", "tiny.h5", f"w.{suffix}").status == 0
        done = run("predict", "mynet:tiny", "-w", f"w.{suffix}", *REFERENCE, "in.tif", "-o", "out.tif")
        assert done.status == 0, done.err
        pages = tifffile.imread(folder / "out.tif", key=range(2))
        np.testing.assert_array_equal(pages, expected("tiny", sections[0]))


def test_an_error_in_the_middle_leaves_nothing(
    run: Run, folder: Path, sections: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fullmocha.cli import jobs

    for error, status in ((KeyboardInterrupt(), 130), (MemoryError(), 2), (fm.FormatError("cut"), 2)):
        once = iter([(0, 0, np.zeros((2, 5, 45), np.float32))])

        def blocks(*_: object, once: Any = once, error: BaseException = error) -> Any:
            yield from once
            raise error

        monkeypatch.setattr(jobs.DenseJob, "blocks", blocks)
        before = names(folder)
        done = run("predict", "mynet:tiny", "-w", "tiny.h5", *REFERENCE, "in.tif", "-o", "out.tif")
        assert (done.status, names(folder)) == (status, before)
        assert done.err.strip().count("\n") == 0


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_real_process_that_is_interrupted(folder: Path, number: int, status: int) -> None:
    tifffile.imwrite(folder / "large.tif", np.zeros((1500, 1500), np.uint8))
    (folder / "out.tif").write_bytes(b"what was there before")
    before = names(folder)
    options = [
        "predict",
        "fullmocha.models:n4",
        "--backend",
        "reference",
        "--allow-missing",
        "large.tif",
        "-o",
        "out.tif",
    ]  # minutes
    with subprocess.Popen([*COMMAND, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("plan: ")
        time.sleep(0.2)
        assert len(names(folder)) == len(before) + 1  # the hidden file beside out.tif
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, names(folder)) == (status, before)
    assert (folder / "out.tif").read_bytes() == b"what was there before"
    assert "nothing half-written" in err and "Traceback" not in err


def test_peak_memory_is_what_was_said(folder: Path, data_dir: Path) -> None:
    """A whole section through N4 on cpu, in a process of its own: within a tenth of info's figure, and under the budget."""
    section = tifffile.imread(data_dir / "ds1" / "test-raw.tif", key=0)
    tifffile.imwrite(folder / "section.tif", section)
    net = fm.Net("n4", fm.ReferenceBackend(5), n4())
    net.init()
    fm.save_network(net, folder / "n4.h5")
    budget = 600 * 2**20
    common = ["fullmocha.models:n4", "-w", "n4.h5", "--backend", "cpu", "--memory", "600MiB"]
    shape = f"{section.shape[0]}x{section.shape[1]}"
    info = [*COMMAND, "info", *common, "--image", shape]
    subprocess.run(
        info, capture_output=True, check=True, cwd=folder
    )  # compiles, which takes memory that predict will not
    said = subprocess.run(info, capture_output=True, text=True, check=True, cwd=folder).stdout
    predicted = int(re.search(r"memory +(\d+) MiB at most", said)[1]) * 2**20  # type: ignore[index]
    # The process says it itself: what POSIX tells a parent of its children can be the parent's own figure, taken over by vfork.
    asked = "import atexit; from fullmocha import memory; atexit.register(lambda: print(memory.peak())); "
    watched = [sys.executable, "-c", asked + "from fullmocha.cli import main; main()", "predict", *common]
    done = subprocess.run(
        [*watched, "section.tif", "-o", "out.tif"], capture_output=True, text=True, check=True, cwd=folder
    )
    measured = int(done.stdout.splitlines()[-1])
    assert measured < budget
    assert abs(measured - predicted) < predicted / 10
    pages = tifffile.imread(folder / "out.tif", key=range(2))
    assert pages.shape == (2, *section.shape)
    np.testing.assert_allclose(pages.sum(axis=0), 1, atol=1e-5)
