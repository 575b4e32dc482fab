"""The coordinator's side: workers, and the order in which they are asked."""

import contextlib
import json
import os
import select
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from .machine import ROOT

PAUSE = 0.2  # seconds between two turns: GNU OpenMP's threads spin for some milliseconds after their work
SLOW, SLOW_ROUNDS = 10.0, 2  # a contestant whose run takes over ten seconds has two rounds
PATIENCE = 1800.0  # seconds until a contestant that does not answer is given up


class Absent(Exception):
    """A contestant does not take part (any more); the text says why."""


class Failed(Exception):
    """A measurement means nothing, and is not kept; the text says why."""


def environment(threads: int) -> dict[str, str]:
    """What workers see: the same thread count for every library, and BLAS free to choose its kernels."""
    counts = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
    kept = {k: v for k, v in os.environ.items() if k != "OPENBLAS_CORETYPE"}
    return kept | dict.fromkeys(counts, str(threads))


class Worker:
    """One contestant's process; used as a context manager, it ends with the block."""

    def __init__(self, name: str, threads: int) -> None:
        self.name = name
        command = [sys.executable, "-m", "bench.worker", name]
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=environment(threads), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, kind: type | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.end()

    def ask(self, **command: Any) -> dict[str, Any]:
        """Sends one command and waits for its reply.

        Raises
        ------
        Absent
            If it fails, dies, or does not answer.
        """
        pipe_in, pipe_out = self.process.stdin, self.process.stdout
        assert pipe_in is not None and pipe_out is not None
        with contextlib.suppress(BrokenPipeError):  # then the empty reply below says how it ended
            pipe_in.write(json.dumps(command).encode() + b"\n")
            pipe_in.flush()
        ready, _, _ = select.select([pipe_out], [], [], PATIENCE)
        line = pipe_out.readline() if ready else b""
        if not line:
            self.end()
            how = f"its process ended with {self.process.returncode}" if ready else f"no answer in {PATIENCE:.0f} s"
            raise Absent(f"{how}{' (out of memory?)' if self.process.returncode == -9 and ready else ''}")
        reply = json.loads(line)
        if "error" in reply:
            raise Absent(("not installed: " if reply["missing"] else "") + reply["error"])
        return reply

    def end(self) -> None:
        """Closes the pipes, which ends the process's loop; kills it where that does not help."""
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@dataclass
class Job:
    """What one contestant is asked to do, and what became of it.

    Attributes
    ----------
    label : str
        Its name in the results.
    contestant : str
        Its name in `contestants`.
    folder, image, answer : Path
        The described net, what it is run on, and where its first answer goes.
    options : dict
    seconds : list of float
        Of the rounds; the first run is kept apart.
    """

    label: str
    contestant: str
    folder: Path
    image: Path
    answer: Path
    options: dict[str, Any] = field(default_factory=dict)
    worker: Worker | None = None
    load: float = 0.0
    first: float = 0.0
    peak: int | None = None
    seconds: list[float] = field(default_factory=list)
    rounds: int = 0
    notes: list[str] = field(default_factory=list)

    def start(self, threads: int) -> None:
        """Starts the process, loads the net, and runs once."""
        self.worker = Worker(self.contestant, threads)
        told = {"folder": str(self.folder), "threads": threads, "options": self.options}
        self.load = self.worker.ask(do="load", **told)["seconds"]
        self.first = self._run(str(self.answer))

    def turn(self) -> None:
        """One run that counts."""
        self.seconds.append(self._run(None))

    def _run(self, answer: str | None) -> float:
        assert self.worker is not None
        reply = self.worker.ask(do="run", image=str(self.image), answer=answer)
        self.peak = reply["peak"]
        return reply["seconds"]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def record(self) -> dict[str, Any]:
        """For the results' file."""
        return {
            "median s": round(self.median, 5),
            "seconds": [round(s, 5) for s in self.seconds],
            "first run s": round(self.first, 4),
            "load s": round(self.load, 4),
            "peak MiB": None if self.peak is None else round(self.peak / 2**20, 1),
        } | ({"notes": self.notes} if self.notes else {})


def take_turns(jobs: Iterable[Job], threads: int, rounds: int, limit: float) -> tuple[list[Job], dict[str, str]]:
    """Starts all, then lets each run once in every round; returns those that ran, and why the others did not.

    A contestant slower than SLOW seconds has SLOW_ROUNDS rounds, one slower than `limit` a single one; its notes say so.
    All processes have ended when this returns.
    """
    jobs, absent, ready = list(jobs), dict[str, str](), list[Job]()
    try:
        for job in jobs:
            try:
                job.start(threads)
                ready.append(job)
            except Absent as why:
                absent[job.label] = str(why)
        for job in ready:
            job.rounds = rounds
        for number in range(rounds):
            for job in list(ready):
                if number >= job.rounds:
                    continue
                time.sleep(PAUSE)
                try:
                    job.turn()
                except Absent as why:
                    ready.remove(job)
                    absent[job.label] = f"in round {number + 1}: {why}"
                    continue
                _shorten(job, rounds, limit)
    finally:
        for job in jobs:
            if job.worker is not None:
                job.worker.end()
    return ready, absent


def _shorten(job: Job, rounds: int, limit: float) -> None:
    if len(job.seconds) > 1 or job.seconds[0] <= SLOW:
        return
    job.rounds = min(rounds, SLOW_ROUNDS if job.seconds[0] <= limit else 1)
    if job.rounds < rounds:
        bound = f"{SLOW:.0f} s" if job.seconds[0] <= limit else f"the limit of {limit:.0f} s"
        job.notes.append(f"{job.rounds} of {rounds} rounds: a run took {job.seconds[0]:.1f} s, over {bound}")


def median_ratio(slower: Job, faster: Job) -> float:
    """The median over rounds of slower / faster, of the rounds that both ran."""
    return statistics.median(a / b for a, b in zip(slower.seconds, faster.seconds, strict=False))


def peak_flops(threads: int, seconds: float) -> dict[str, Any]:
    """`bench.peak` in a process of its own; the workers wait meanwhile."""
    command = [sys.executable, "-m", "bench.peak", "--threads", str(threads), "--seconds", str(seconds)]
    done = subprocess.run(command, cwd=ROOT, env=environment(threads), capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def fresh_peak(contestant: str, threads: int, job: Mapping[str, Any]) -> dict[str, float]:
    """MiB that a fresh process holds at most after loading the net, and after one run."""
    with Worker(contestant, threads) as worker:
        loaded = worker.ask(do="load", folder=str(job["folder"]), threads=threads, options=job["options"])
        ran = worker.ask(do="run", image=str(job["image"]), answer=None)
    return {name: round((reply["peak"] or 0) / 2**20, 1) for name, reply in (("loaded", loaded), ("peak", ran))}
