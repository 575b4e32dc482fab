"""N4 labelling 512 x 512 pixels: the cpu backend against PyTorch on the same threads, in turns, in one process.

    python bench/n4_against_pytorch.py [--rounds 5] [--size 512] [--save]

PyTorch runs the same strided kernels (dilated convolutions and pools) on the same weights, in both of its memory formats. Every
round times each contestant once; reported are medians, and the median of the ratios of each round, because shared machines drift.
`--save` writes bench/results/n4_against_pytorch.json.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np

import fullmocha as fm
from fullmocha.models import n4


def pytorch(net: fm.Net, memory_format: str) -> Callable[[np.ndarray], np.ndarray]:
    """The dense N4 in PyTorch, with the net's weights."""
    import torch
    from torch.nn import functional as F

    layout = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}[memory_format]
    weights = {name: [torch.from_numpy(p.values()) for p in params] for name, params in net.params.items()}
    filters = {name: w.to(memory_format=layout) for name, (w, _) in weights.items() if w.ndim == 4}
    filters["ip1"] = weights["ip1"][0].reshape(200, 48, 3, 3).to(memory_format=layout)
    filters["ip2"] = weights["ip2"][0][:, :, None, None]

    def run(image: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            x, d = torch.from_numpy(image).to(memory_format=layout), 1
            for i in range(1, 5):
                name = f"conv{i}"
                x = F.relu_(F.conv2d(x, filters[name], weights[name][1], dilation=d))
                x = F.max_pool2d(x, 2, stride=1, dilation=d)
                d *= 2
            x = F.relu_(F.conv2d(x, filters["ip1"], weights["ip1"][1], dilation=d))
            x = F.conv2d(x, filters["ip2"], weights["ip2"][1])
            return torch.softmax(x, 1).contiguous().numpy()

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=int, default=512, help="outputs per side")
    parser.add_argument("--save", action="store_true")
    options = parser.parse_args()

    import torch

    net = fm.Net("n4", fm.CPUBackend(0), n4())
    net.init()
    image = np.random.default_rng(0).normal(size=(1, 1, options.size + 94, options.size + 94)).astype(np.float32)
    contestants: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        f"fullmocha {engine}": fm.densify(net, engine).forward for engine in ("strided", "fragments")
    }
    contestants |= {f"pytorch {layout}": pytorch(net, layout) for layout in ("channels_last", "contiguous")}
    answers = {name: run(image) for name, run in contestants.items()}  # also compiles and warms up
    expected = answers["pytorch contiguous"]
    worst = {name: float(np.abs(answer - expected).max()) for name, answer in answers.items()}
    assert max(worst.values()) < 5e-5, worst

    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(options.rounds):
        for name, run in contestants.items():
            start = time.perf_counter()
            run(image)
            seconds[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    gflop = fm.densify(net, "strided").program(image.shape).flops / 1e9
    best = min(("fullmocha strided", "fullmocha fragments"), key=medians.__getitem__)
    pairs = zip(seconds[best], seconds["pytorch channels_last"], strict=True)
    ratio = statistics.median(ours / theirs for ours, theirs in pairs)
    for name, median in medians.items():
        print(f"{name:24} {median:7.3f} s  {gflop / median:6.0f} GFLOP/s  max |difference| {worst[name]:.1e}")
    print(f"{best} takes {ratio:.2f} x the time of pytorch channels_last (median of {options.rounds} rounds)")
    if options.save:
        record = {
            "what": f"N4 to {options.size} x {options.size}, {gflop:.1f} GFLOP, float32, {torch.get_num_threads()} threads",
            "seconds": {name: [round(t, 4) for t in times] for name, times in seconds.items()},
            "medians": {name: round(t, 4) for name, t in medians.items()},
            "ratio to pytorch channels_last": round(ratio, 3),
            "machine": {"processor": _processor(), "cores": os.cpu_count(), "system": platform.system()},
            "versions": {name: version(name) for name in ("fullmocha", "numba", "llvmlite", "numpy", "torch")},
            "commit": subprocess.run(
                ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True
            ).stdout.strip(),
        }
        path = Path(__file__).parent / "results" / "n4_against_pytorch.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(record, indent=1) + "\n")
        print(f"saved to {path}")


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


if __name__ == "__main__":
    main()
