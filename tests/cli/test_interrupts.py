"""Ctrl-C and --threads, on the backend whose kernels cannot be stopped half-way."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile

from fullmocha.cli.program import Interrupted, _signals

from .conftest import Run, names

COMMAND = [sys.executable, "-c", "from fullmocha.cli import main; main()"]
posix = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")


@posix
@pytest.mark.parametrize(("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Interrupted)])
def test_a_signal_that_meets_a_callback_of_c_is_not_lost(number: int, error: type[BaseException]) -> None:
    """As those of LLVM, in which Python drops every exception; most of a first start is spent beneath them."""
    callback = ctypes.CFUNCTYPE(None)(lambda: signal.raise_signal(number))
    with pytest.raises(error), _signals():
        callback()
        time.sleep(5)


@posix
def test_other_errors_in_callbacks_are_shown_as_ever(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "unraisablehook", sys.__unraisablehook__)
    with _signals():
        ctypes.CFUNCTYPE(None)(lambda: [][1])()
    assert "IndexError" in capsys.readouterr().err
    assert sys.unraisablehook is sys.__unraisablehook__


@posix
def test_an_interrupt_ends_a_long_predict_within_a_tile(folder: Path) -> None:
    tifffile.imwrite("large.tif", np.zeros((2500, 2500), np.uint8))  # some ten seconds
    before = names(folder)
    options = ["--backend", "cpu", "--allow-missing", "--memory", "1GiB", "large.tif", "-o", "out.tif"]
    command = [*COMMAND, "predict", "fullmocha.models:n4", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("plan: ")
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, names(folder)) == (130, "", before)
    assert "interrupted; nothing half-written is left" in err and "Traceback" not in err


@pytest.fixture
def larger(folder: Path) -> list[str]:
    """in.tif: large enough for two threads; and the command that labels it on two."""
    rng = np.random.default_rng(4)
    tifffile.imwrite(folder / "in.tif", rng.integers(0, 256, (190, 203)).astype(np.uint8))
    return ["predict", "mynet:tiny", "-w", "tiny.h5", "--backend", "cpu", "in.tif", "-o"]


def test_threads_do_not_change_a_bit(larger: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_NUM_THREADS", "2")
    for count in ("1", "2"):
        command = [*COMMAND, *larger, f"{count}.tif", "--threads", count]
        assert subprocess.run(command, capture_output=True, text=True).returncode == 0
    one, two = (tifffile.imread(f"{count}.tif", key=range(2)) for count in ("1", "2"))
    assert np.ptp(one[1]) > 0.1  # else nothing is compared
    np.testing.assert_array_equal(one, two)


def test_more_threads_than_cores_are_noted_and_fewer_than_one_refused(run: Run, larger: list[str]) -> None:
    done = run(*larger, "out.tif", "--threads", "4000")
    assert done.status == 0
    assert "note: 4000 threads were asked for, and there are cores for " in done.err
    done = run(*larger, "out.tif", "--threads", "0")
    assert done.status == 2
    assert done.err.startswith("error: Invalid value for '--threads': 0 is not in the range 1<=x<=4096; see '")
