"""What every command shares: help, version, and the demo as a user starts it."""

import errno
import importlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fullmocha as fm
from fullmocha.cli.program import COMMANDS

from .conftest import Run, names


def test_help_names_every_command(run: Run) -> None:
    done = run("--help")
    assert done.status == 0
    assert all(f"\n  {name} " in done.out for name in COMMANDS)
    folder = Path(importlib.import_module("fullmocha.cli").__file__ or "").parent
    found = {
        p.stem for p in folder.glob("*.py") if f"def {p.stem}(" in p.read_text() and "@click.command(" in p.read_text()
    }
    assert found == set(COMMANDS)  # one file per command, and none forgotten


def test_version(run: Run) -> None:
    assert run("--version").out == f"fullmocha, version {fm.__version__}\n"


def test_no_command_prints_the_help(run: Run) -> None:
    done = run()
    assert done.out + done.err == run("--help").out  # where and with which status is click's matter, and changed in 8.2


INFO = [sys.executable, "-c", "from fullmocha.cli import main; main()", "info", "fullmocha.models:n4"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_output_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch, unbuffered: str) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    with open("/dev/full", "w") as full:
        done = subprocess.run([*INFO, "--backend", "reference"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (2, f"error: standard output: {os.strerror(errno.ENOSPC)}\n")


@pytest.mark.skipif(os.name == "nt", reason="pipes of POSIX")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_output_that_nobody_reads(monkeypatch: pytest.MonkeyPatch, unbuffered: str) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([*INFO, "--backend", "reference"], stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module("fullmocha.cli.demo")
    monkeypatch.setattr(module, "SIDE", 96)
    monkeypatch.setattr(module, "SAMPLE", 8)


@pytest.mark.usefixtures("small")
def test_demo_writes_four_pictures_that_fit_together(run: Run, folder: Path) -> None:
    done = run("demo", "-o", "made/here", "--backend", "reference")
    assert done.status == 0, done.err
    assert names(folder / "made" / "here") == ["overlay.png", "picture.png", "probability.png", "truth.png"]
    found = {p.stem: np.asarray(Image.open(p)) for p in (folder / "made" / "here").iterdir()}
    assert {name: a.shape for name, a in found.items()} == dict.fromkeys(
        ("picture", "probability", "truth"), (96, 96)
    ) | {"overlay": (96, 96, 3)}
    net = importlib.import_module("fullmocha.models.membrane").trained_membrane("reference")
    inside = fm.predict(net, found["picture"])[1]
    np.testing.assert_array_equal(found["probability"], np.rint(inside * 255).astype(np.uint8))
    truth = found["truth"] > 0
    assert set(np.unique(found["truth"])) == {0, 255}
    assert ((inside > 0.5) == truth).mean() > 0.9  # the shipped weights are trained
    assert "times faster than sliding" in done.out and "pixel error 0.0" in done.out


@pytest.mark.usefixtures("small")
def test_demo_that_fails_leaves_no_folder(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fullmocha.imaging import drawing

    def overlay(*_: object) -> np.ndarray:
        raise fm.FormatError("no paint")

    monkeypatch.setattr(drawing, "overlay", overlay)
    before = names(folder)
    done = run("demo", "-o", "made", "--backend", "reference")
    assert (done.status, done.err, names(folder)) == (2, "error: no paint\n", before)
