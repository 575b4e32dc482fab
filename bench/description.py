"""A net as plain data, which peers rebuild: this module imports nothing of ours, so neither do they.

A folder with `net.json` and `weights.npz`. Every step reads and writes numbered values; `read_shape` and `shape` are the
shapes under which it does so. `op` is conv, deconv, max_pool (each with kernel, stride, pad, dilation), relu, softmax (over
the channels), upsample (by whole factors, each element repeated), or concat (`parts`, each a box of a value).
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

Json = dict[str, Any]


def save(folder: Path, net: Json, weights: dict[str, np.ndarray]) -> None:
    """Writes the two files."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "net.json").write_text(json.dumps(net))
    np.savez(folder / "weights.npz", **weights)  # type: ignore[arg-type]


def load(folder: Path) -> tuple[Json, dict[str, np.ndarray]]:
    """Reads the two files."""
    with np.load(folder / "weights.npz", allow_pickle=False) as file:
        return json.loads((folder / "net.json").read_text()), {key: file[key] for key in file.files}


def reads(step: Json) -> list[int]:
    """The values that a step reads."""
    return [part["read"] for part in step["parts"]] if step["op"] == "concat" else [step["read"]]


def last_readers(net: Json) -> list[set[int]]:
    """For each step, the values that nobody reads after it."""
    last: dict[int, int] = {}
    for i, step in enumerate(net["steps"]):
        last |= dict.fromkeys(reads(step), i)
    last.pop(net["output"], None)
    return [{v for v, at in last.items() if at == i} for i in range(len(net["steps"]))]
