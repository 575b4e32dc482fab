"""One contestant in a process of its own: `python -m bench.worker NAME`, spoken to in lines of JSON.

    {"do": "load", "folder": ..., "threads": 2, "options": {}}  ->  {"seconds": ..., "peak": ...}
    {"do": "run", "image": FILE, "answer": FILE or null}        ->  {"seconds": ..., "peak": ...}
    anything that fails                                         ->  {"error": ..., "missing": whether a library is}

`peak` is VmHWM, the most that the process ever held in memory: interpreter, library, weights, image and answer included.
"""

import contextlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from . import contestants


def peak() -> int | None:
    """Bytes; None where the system does not say."""
    try:
        with open("/proc/self/status") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        return None


class Contestant:
    """What the commands act on."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.run: contestants.Run | None = None
        self.image: tuple[str, np.ndarray] | None = None

    def load(self, folder: str, threads: int, options: dict[str, Any]) -> float:
        start = time.perf_counter()
        self.run = contestants.load(self.name, Path(folder), threads, options)
        return time.perf_counter() - start

    def once(self, image: str, answer: str | None) -> float:
        if self.image is None or self.image[0] != image:
            self.image = image, np.load(image, allow_pickle=False)
        assert self.run is not None, "load comes first"
        start = time.perf_counter()
        result = self.run(self.image[1])
        seconds = time.perf_counter() - start
        assert result.dtype == np.float32 and result.flags.c_contiguous, (
            f"{self.name} answers {result.dtype}, {result.flags}"
        )
        if answer is not None:
            np.save(answer, result)
        return seconds


def main() -> None:
    (name,) = sys.argv[1:]
    # whatever a library prints goes to stderr, so that the answers stay alone
    answers: TextIO = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    with contextlib.suppress(OSError):  # if memory runs out, the system should end this process and not the coordinator
        Path("/proc/self/oom_score_adj").write_text("1000")
    contestant = Contestant(name)
    for line in sys.stdin:
        command = json.loads(line)
        reply: dict[str, Any]
        try:
            load = command.pop("do") == "load"
            seconds = contestant.load(**command) if load else contestant.once(**command)
            reply = {"seconds": seconds, "peak": peak()}
        except Exception as problem:  # the coordinator decides what a failure means
            reply = {"error": f"{type(problem).__name__}: {problem}", "missing": isinstance(problem, ImportError)}
        print(json.dumps(reply), file=answers, flush=True)


if __name__ == "__main__":
    main()
