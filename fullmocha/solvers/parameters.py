"""What a training is told: how long, how fast, from where."""

import difflib
import math
import os
import warnings
from pathlib import Path
from typing import Any

from ..errors import SolverError
from .method import Method
from .policies import Policy

CONVENTIONS = ("mocha", "caffe")
DEFAULTS: dict[str, Any] = {"max_iter": math.inf, "regu_coef": 0.0005, "load_from": "", "convention": "mocha"}


class SolverParameters(dict[str, Any]):
    """A dict whose known entries have been checked."""


def make_solver_parameters(method: Method, **given: Any) -> SolverParameters:
    """The parameters for a method: its defaults, then what is given.

    Parameters
    ----------
    method : Method
        E.g. `SGD()`.
    max_iter : int
        Updates to do; without end by default.
    regu_coef : float
        Multiplies every regularizer; Caffe's weight_decay.
    load_from : path
        A folder of snapshots, of which the newest is resumed, or one snapshot, or an HDF5 model to start from.
    lr_policy, mom_policy : Policy
        `LRPolicy.Inv(0.01, 0.0001, 0.75)`, `MomPolicy.Fixed(0.9)`.
    convention : {"mocha", "caffe"}
        How updates are counted in the policies. Mocha: from 1, and momentum of the update before. Caffe: from 0, and
        momentum of the same update.

    Warns
    -----
    UserWarning
        For a name that the method does not know, and for a `load_from` that is not there.

    Examples
    --------
    >>> from fullmocha.solvers import SGD, LRPolicy, MomPolicy
    >>> params = make_solver_parameters(SGD(), max_iter=100, mom_policy=MomPolicy.Fixed(0.9))
    >>> params["regu_coef"], params["lr_policy"]
    (0.0005, Fixed(base=0.01))
    """
    known = DEFAULTS | method.defaults
    for name in given.keys() - known.keys():
        near = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"it knows {sorted(known)}"
        warnings.warn(f"{method!r} has no parameter {name!r}, which changes nothing; {hint}", stacklevel=2)
    params = SolverParameters(known | given)
    _check(params)
    if os.fspath(params["load_from"]) and not Path(params["load_from"]).exists():
        warnings.warn(
            f"load_from={str(params['load_from'])!r} is not there: training starts from the beginning", stacklevel=2
        )
    return params


def _check(params: SolverParameters) -> None:
    for name, value in params.items():
        if name.endswith("_policy") and not isinstance(value, Policy):
            raise SolverError(f"{name} must be a policy such as LRPolicy.Fixed(0.01), got {value!r}")
    if not params["max_iter"] >= 0:
        raise SolverError(f"max_iter must be at least 0, got {params['max_iter']!r}")
    if not 0 <= params["regu_coef"] < math.inf:
        raise SolverError(f"regu_coef must be a number of at least 0, got {params['regu_coef']!r}")
    if params["convention"] not in CONVENTIONS:
        raise SolverError(f"convention must be one of {list(CONVENTIONS)}, got {params['convention']!r}")
