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
DEFAULTS: dict[str, Any] = {
    "max_iter": math.inf,
    "regu_coef": 0.0005,
    "load_from": "",
    "convention": "mocha",
    "clip_gradients": math.inf,
    "iter_size": 1,
}
_BELOW_ONE = ("rho", "rms_decay", "beta1", "beta2")  # what remains of a memory after an update


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
    load_from : path or function
        A folder of snapshots, of which the newest is resumed, or one snapshot, or an HDF5 model to start from; or a function that
        is called with the net and the state, and sets them.
    lr_policy, mom_policy : Policy
        `LRPolicy.Inv(0.01, 0.0001, 0.75)`, `MomPolicy.Fixed(0.9)`.
    convention : {"mocha", "caffe"}
        How updates are counted in the policies. Mocha: from 1, and momentum of the update before. Caffe: from 0, and
        momentum of the same update; and every method multiplies by the parameters' local rates, not only SGD and Nesterov.
    clip_gradients : float
        The gradients of an update are scaled down to this Euclidean norm, all together, where theirs exceeds it; before they are
        divided by `iter_size`, and before the regularizers add theirs (Caffe).
    iter_size : int
        Batches per update, whose gradients are averaged.

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
    source = params["load_from"]
    if not callable(source) and os.fspath(source) and not Path(source).exists():
        warnings.warn(f"load_from={str(source)!r} is not there: training starts from the beginning", stacklevel=2)
    return params


def _check(params: SolverParameters) -> None:
    for name, value in params.items():
        if name.endswith("_policy") and not isinstance(value, Policy):
            raise SolverError(f"{name} must be a policy such as LRPolicy.Fixed(0.01), got {value!r}")
    if not params["max_iter"] >= 0:
        raise SolverError(f"max_iter must be at least 0, got {params['max_iter']!r}")
    if not 0 <= params["regu_coef"] < math.inf:
        raise SolverError(f"regu_coef must be a number of at least 0, got {params['regu_coef']!r}")
    if not params["clip_gradients"] > 0:
        raise SolverError(f"clip_gradients must be a norm above 0, got {params['clip_gradients']!r}")
    if not isinstance(params["iter_size"], int) or params["iter_size"] < 1:
        raise SolverError(f"iter_size must be an integer of at least 1, got {params['iter_size']!r}")
    for name in _BELOW_ONE:
        if not 0 <= params.get(name, 0) < 1:
            raise SolverError(f"{name} must be at least 0 and below 1, got {params[name]!r}")
    for name in ("epsilon", "eps"):
        if not 0 <= params.get(name, 0) < math.inf:
            raise SolverError(f"{name} must be a number of at least 0, got {params[name]!r}")
    if params["convention"] not in CONVENTIONS:
        raise SolverError(f"convention must be one of {list(CONVENTIONS)}, got {params['convention']!r}")
