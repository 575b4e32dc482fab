"""How N4's speed and memory grow with the image, from 256 x 256 to 8192 x 8192 pixels, under one budget of memory.

    python -m bench.growth [--only 1024,2048] [--memory 2GiB] [--rounds 5] [--quick]

`fullmocha.predict` labels every pixel of an 8-bit image (symmetric border) in a process that is fresh for each size. The first
run, which also loads the kernels, is kept apart. Memory is VmHWM of that process: interpreter, kernels, weights, image and
answer. A size that takes over ten seconds has two rounds. bench/results/growth.json.
"""

import statistics
import time
from typing import Any

import numpy as np

import fullmocha as fm
from fullmocha.memory import parse_bytes

from . import nets, options
from .turns import PAUSE, SLOW, SLOW_ROUNDS, Absent, Worker, peak_flops

SIZES = (256, 512, 1024, 2048, 4096, 8192)
QUICK = (48, 64)
TOLERANCE = 0.2  # px/s from 1024 up, against the best


def main(words: list[str] | None = None) -> None:
    made = options.parser(__doc__, "sizes")
    made.add_argument("--memory", default="2GiB", help="budget of the whole process (2GiB)")
    asked = options.read(made, words)
    sizes = [int(s) for s in options.chosen(map(str, QUICK if asked.quick else SIZES), asked.only)]
    drawn = nets.find("n4-quick" if asked.quick else "n4").drawn()
    before = peak_flops(asked.threads, 0.05 if asked.quick else 0.5)
    rows = {}
    for size in sizes:
        try:
            rows[str(size)] = row = _measure(drawn, size, asked)
        except Absent as why:
            raise SystemExit(f"{size} x {size}: {why}") from None
        print(
            f"{size:5} {row['px/s']:12.0f} px/s {row['median s']:9.3f} s  peak {row['peak MiB']:7.0f} MiB", flush=True
        )
    best = max(row["px/s"] for row in rows.values())
    budget = parse_bytes(asked.memory) / 2**20
    large = [row["px/s"] for size, row in rows.items() if int(size) >= 1024]
    result = {
        "kind": "growth",
        "what": f"N4, {drawn.params['conv1'][0].shape[0]} maps, border symmetric, uint8 image",
        "memory budget": asked.memory,
        "sizes": rows,
        "peak within the budget": all(row["peak MiB"] <= budget for row in rows.values()),
        f"px/s from 1024 up within {TOLERANCE:.0%} of the best": bool(large) and min(large) >= (1 - TOLERANCE) * best,
        "FMA peak GFLOP/s": {"before": before, "after": peak_flops(asked.threads, 0.05 if asked.quick else 0.5)},
    }
    print(f"-> {options.keep(asked, 'growth', result)}")


def _measure(drawn: fm.Net, size: int, asked: Any) -> dict[str, Any]:
    """One size, in a fresh process."""
    with options.workplace() as folder, Worker("fullmocha predict", asked.threads) as worker:
        image = folder / "image.npy"
        np.save(image, np.random.default_rng(8).integers(0, 256, (1, size, size), np.uint8))
        nets.keep(drawn, folder)
        told = {"net": drawn.name, "memory": asked.memory}
        loaded = worker.ask(do="load", folder=str(folder), threads=asked.threads, options=told)
        first = worker.ask(do="run", image=str(image), answer=None)
        seconds = []
        for _ in range(asked.rounds if first["seconds"] <= SLOW else min(asked.rounds, SLOW_ROUNDS)):
            time.sleep(PAUSE)
            ran = worker.ask(do="run", image=str(image), answer=None)
            seconds.append(ran["seconds"])
    median = statistics.median(seconds)
    return {
        "px/s": round(size * size / median),
        "median s": round(median, 4),
        "seconds": [round(s, 4) for s in seconds],
        "first run s": round(first["seconds"], 4),
        "loaded MiB": round((loaded["peak"] or 0) / 2**20, 1),
        "peak MiB": round((ran["peak"] or 0) / 2**20, 1),
    }


if __name__ == "__main__":
    main()
