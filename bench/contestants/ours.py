"""FullMocha: the net rebuilt from its name, with the weights that everybody gets."""

from pathlib import Path

import numpy as np

import fullmocha as fm

from .. import nets
from . import Options, Run


def load(folder: Path, threads: int, form: list[str], options: Options) -> Run:
    """`form`: nothing for the default, or "exact", "sliding" (window by window), "predict" (with options["memory"])."""
    net = nets.find(options["net"]).loaded(folder)
    exact = "exact" in form
    dense = fm.densify(net, "sliding" if "sliding" in form else "auto", exact=exact, threads=threads)
    if "predict" not in form:
        return dense.forward

    def run(image: np.ndarray) -> np.ndarray:
        return fm.predict(dense, image, memory=options["memory"])

    return run
