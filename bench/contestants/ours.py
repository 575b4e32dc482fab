"""FullMocha: the net rebuilt from its name, with the weights that everybody gets."""

from pathlib import Path

import numpy as np

import fullmocha as fm
from fullmocha.dense import DenseNet
from fullmocha.labelling import Labelling, plan_labelling

from .. import nets
from . import Options, Run


def load(folder: Path, threads: int, form: list[str], options: Options) -> Run:
    """`form`: nothing for the default, or "exact", "sliding" (window by window), "predict" (with options["memory"]).

    A case with a memory budget is planned within it, once, as `predict` would.
    """
    case = nets.find(options["net"])
    net = case.loaded(folder)
    exact = "exact" in form
    dense = fm.densify(net, "sliding" if "sliding" in form else "auto", exact=exact, threads=threads)
    if "predict" not in form:
        return dense.forward if case.memory is None or "sliding" in form else _planned(dense, case.memory)

    def run(image: np.ndarray) -> np.ndarray:
        return fm.predict(dense, image, memory=options["memory"])

    return run


def _planned(dense: DenseNet, memory: str) -> Run:
    plans: dict[tuple[int, ...], Labelling] = {}

    def run(image: np.ndarray) -> np.ndarray:
        if image.shape not in plans:
            plans[image.shape] = plan_labelling(dense, image.shape[1:], "valid", memory, image.nbytes)
        return plans[image.shape].whole(image[0])[None]

    return run
