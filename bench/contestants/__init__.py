"""Who takes part: one module each. `CONTESTANTS` maps a name to the module's `load`, which returns a callable image -> answer.

A module imports its library inside `load`, so that nobody's process holds another one's code, and raises ImportError where
it is not installed. `folder` holds what `describe.py` and `onnx_file.py` wrote.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Run = Callable[[np.ndarray], np.ndarray]
Options = dict[str, Any]


def load(name: str, folder: Path, threads: int, options: Options) -> Run:
    """The contestant's callable for the net in `folder`."""
    library, *form = name.split()
    if library == "fullmocha":
        from . import ours

        return ours.load(folder, threads, form, options)
    if library == "pytorch":
        from . import pytorch

        return pytorch.load(folder, threads, form, options)
    if library == "onnxruntime":
        from . import onnx_runtime

        return onnx_runtime.load(folder, threads, form, options)
    if library == "openvino":
        from . import open_vino

        return open_vino.load(folder, threads, form, options)
    if library == "opencv":
        from . import opencv

        return opencv.load(folder, threads, form, options)
    raise ValueError(f"there is no contestant {name!r}")


__all__ = ["Options", "Run", "load"]
