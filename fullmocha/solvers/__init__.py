"""Training: the loop, the rates that change with it, the methods that update parameters, and snapshots to go on from.

loop.py            solve, and the three steps that it is made of
parameters.py      make_solver_parameters; policies.py has the rates
method.py          what a method is; one file each, one line in METHODS
state.py           what a training is made of besides the net
snapshot.py        the whole of it in a file, exactly; model.py, place.py are its parts
"""

from .loop import Solver, finalize_solve, init_solve, onestep_solve, solve
from .method import Method
from .model import load_network, save_network
from .parameters import make_solver_parameters
from .policies import LRPolicy, MomPolicy
from .sgd import SGD
from .snapshot import load_snapshot, save_snapshot
from .state import SolverState

METHODS: tuple[type[Method], ...] = (SGD,)

__all__ = [
    "METHODS",
    "SGD",
    "LRPolicy",
    "Method",
    "MomPolicy",
    "Solver",
    "SolverState",
    "finalize_solve",
    "init_solve",
    "load_network",
    "load_snapshot",
    "make_solver_parameters",
    "onestep_solve",
    "save_network",
    "save_snapshot",
    "solve",
]
