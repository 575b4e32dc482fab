"""Python threads may share nets; a forked child is told what it cannot have; a number of threads is no more than there are."""

import logging
import os
import threading
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import pytest
from fullmocha.backends.cpu import Ops

import fullmocha as fm
from fullmocha.models import lenet

RunPython = Callable[..., str]

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

FORK = """
import os, signal, sys, threading, time
import numpy as np
from fullmocha.backends.cpu import Ops, jit

x = np.ones(10**6, np.float32)

def work(ops=Ops()):
    y = np.empty_like(x)
    ops.activate(x, y, kind="relu", parameters=(0.0,))
    return y.sum()

def child():  # what a forked child says of its work; -14 where it hangs
    reader, writer = os.pipe()
    if (pid := os.fork()) == 0:
        signal.alarm(20)
        try:
            said = f"done {work():.0f}"
        except RuntimeError as error:
            said = f"{type(error).__name__}: {error}"
        os.write(writer, said.encode())
        os._exit(0)
    os.close(writer)
    said = os.read(reader, 9999).decode()
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), said)

"""


@needs_fork
@pytest.mark.parametrize("layer", ["default", "workqueue"])
def test_a_child_forked_after_work_is_refused(run_python: RunPython, layer: str) -> None:
    said = run_python(FORK + "work(); print(os.getpid()); child()", NUMBA_THREADING_LAYER=layer, NUMBA_NUM_THREADS="2")
    parent, answer = said.splitlines()
    assert answer.startswith("0 ForkError: process ") and f"was forked from process {parent} after" in answer
    assert "spawn" in answer and "forkserver" in answer


@needs_fork
def test_a_child_forked_while_another_thread_computes_does_not_hang(run_python: RunPython) -> None:
    held = """
begun, end = threading.Event(), threading.Event()
def hold():
    work()
    with jit.REGION:
        begun.set(), end.wait()
threading.Thread(target=hold).start()
begun.wait()
child()
end.set()
"""
    assert run_python(FORK + held).startswith("0 ForkError")


@needs_fork
def test_a_child_forked_before_any_work_computes_and_so_does_its_parent(run_python: RunPython) -> None:
    assert run_python(FORK + "child(); print(int(work()))").split() == ["0", "done", "1000000", "1000000"]


def spawned(size: int) -> float:
    y = np.ones(size, np.float32)
    Ops().activate(y, y, kind="relu", parameters=(0.0,))
    return float(y.sum())


SPAWN = """
import multiprocessing as m, sys
sys.path.insert(0, {folder!r})
from test_threads import spawned
if __name__ == "__main__":
    print(spawned(10**6), m.get_context({method!r}).Pool(1).map(spawned, [10**6]))
"""


@needs_fork
def test_spawned_workers_compute(run_python: RunPython) -> None:
    """The way out that the message names."""
    said = run_python(SPAWN.format(folder=os.path.dirname(__file__), method="spawn"))
    assert said.split() == ["1000000.0", "[1000000.0]"]


def at_once(jobs: list[Callable[[], Any]], times: int) -> list[str]:
    """What goes wrong when every job runs in a thread of its own, so many times."""
    wrong: list[str] = []
    start = threading.Barrier(len(jobs))

    def work(job: Callable[[], Any]) -> None:
        start.wait()
        try:
            for _ in range(times):
                job()
        except Exception as error:
            wrong.append(repr(error)[:200])

    threads = [threading.Thread(target=work, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return wrong


def check(compute: Callable[[], np.ndarray]) -> Callable[[], None]:
    """A job that computes the same once more; the expected answer is computed at once, alone."""
    expected = compute()
    return lambda: np.testing.assert_array_equal(compute(), expected)


def make(seed: int) -> fm.Net:
    net = fm.Net("lenet", fm.CPUBackend(seed), lenet())
    net.init()
    return net


def test_threads_may_predict_with_one_net_and_with_two(rng: np.random.Generator) -> None:
    one, other = make(1), make(2)
    images = rng.random((2, 70, 81)).astype(np.float32)
    jobs = [check(lambda net=net, image=image: fm.predict(net, image)) for net in (one, other) for image in images]
    assert at_once(jobs, 4) == []


def test_more_threads_than_cores_are_noted(ops: Ops, caplog: Any) -> None:
    caplog.set_level(logging.INFO, "fullmocha")
    most = numba.config.NUMBA_NUM_THREADS
    ops.set_threads(most)
    assert caplog.text == ""
    ops.set_threads(most + 3)
    assert f"{most + 3} threads were asked for" in caplog.text and f"using {most}" in caplog.text


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_threads_may_share_a_dense_net(rng: np.random.Generator, backend: str) -> None:
    """Also with images of one size, for which one compiled program with one set of buffers is kept."""
    net = fm.Net("lenet", backend, lenet())
    net.init()
    dense = fm.densify(net)
    images = rng.random((3, 1, 1, 30, 41)).astype(np.float32)
    jobs = [check(lambda image=image: dense.forward(image)) for image in images]
    assert at_once(jobs, 30) == []


@needs_fork
def test_a_child_forked_while_its_net_is_at_work_does_not_hang(run_python: RunPython) -> None:
    held = """
import fullmocha as fm
from fullmocha.models import lenet
net = fm.Net("lenet", "cpu", lenet())
net.init()
dense, x = fm.densify(net), np.ones((1, 1, 30, 41), np.float32)
work = lambda: dense.forward(x)
work()
begun, end, run = threading.Event(), threading.Event(), jit.Threads.run
def hold(*arguments):
    begun.set(), end.wait()
    return run(*arguments)
jit.Threads.run = hold
threading.Thread(target=work).start()
begun.wait()
jit.Threads.run = run
child()
end.set()
"""
    assert run_python(FORK + held).startswith("0 ForkError")
