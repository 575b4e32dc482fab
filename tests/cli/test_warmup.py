"""`fullmocha warmup`: afterwards nothing is left to compile; and an interrupt in the middle of it leaves a cache that is whole."""

import importlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile

import fullmocha as fm
from fullmocha import fully, solvers
from fullmocha.models import MODELS

from .conftest import Run, build

warmup = importlib.import_module("fullmocha.cli.warmup")
COMMAND = [sys.executable, "-c", "from fullmocha.cli import main; main()"]
COMPILING = "note: compiling kernels for "
PREDICT = ["predict", "mynet:tiny", "-w", "tiny.h5", "--backend", "cpu", "in.tif", "-o", "out.tif"]


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.usefixtures("sections")
def test_interrupted_then_whole_then_nothing_to_compile(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = folder / "cache"
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(cache))
    with subprocess.Popen([*COMMAND, "warmup", "mynet:tiny"], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        first = process.stderr.readline()
        time.sleep(0.7)  # LLVM is at work most of the time
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
    assert first.startswith(COMPILING) and process.wait() == 130
    assert "interrupted" in rest and "Traceback" not in rest
    assert list(cache.rglob("*.tmp.*")) == []

    done = subprocess.run([*COMMAND, "warmup", "mynet:tiny"], capture_output=True, text=True, check=True)
    assert done.stderr.count(COMPILING) == 1
    counted = re.match(r"compiled (\d+) kernels, found \d+; cpu, float32, in .* s\nkept in (.*)\n$", done.stdout)
    assert counted and int(counted[1]) > 0
    assert all(Path(kept).is_relative_to(cache) for kept in counted[2].split(", "))

    done = subprocess.run([*COMMAND, *PREDICT], capture_output=True, text=True, check=True)
    assert done.stderr == ""  # nothing was compiled
    stack = tifffile.imread("in.tif", key=0)
    pages = tifffile.imread("out.tif", key=range(2))
    np.testing.assert_array_equal(pages, fm.predict(build("tiny", "cpu"), stack))


def test_the_list_has_every_model_and_training() -> None:
    jobs = list(warmup._everything("cpu", "float64"))
    labelled = {job.args[0] for job in jobs if job.func is warmup._label_model}
    assert labelled == {"membrane", *MODELS}
    assert {job.args for job in jobs if job.func is warmup._train} == {("cpu", "float64", 28), ("cpu", "float64", 31)}


@pytest.mark.slow
def test_every_problem_of_the_list_runs(run: Run) -> None:
    done = run("warmup", "--float64")
    assert done.status == 0, done.err
    assert "cpu, float32 and float64, in" in done.out


def test_training_runs_in_both_forms(monkeypatch: pytest.MonkeyPatch) -> None:
    updates = []

    def watched(train: Callable[..., solvers.SolverState]) -> Callable[..., solvers.SolverState]:
        def run(solver: fm.Solver, net: fm.Net) -> solvers.SolverState:
            state = train(solver, net)
            updates.append((train.__name__, state.iter))
            return state

        return run

    for module, train in ((solvers, fm.solve), (fully, fm.solve_fully)):
        monkeypatch.setattr(module, train.__name__, watched(train))
    warmup._train("reference", "float32", 28)
    assert updates == [("solve", 1)]
    warmup._train("reference", "float32", 31)
    assert updates[-1] == ("solve_fully", 1)


def test_a_net_that_is_not_there(run: Run) -> None:
    done = run("warmup", "nowhere.prototxt")
    assert done.status == 2 and done.err.startswith("error: nowhere.prototxt")
