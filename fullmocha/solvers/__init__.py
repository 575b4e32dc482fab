"""Training: the loop, the rates that change with it, the methods that update parameters, and snapshots to go on from.

loop.py            solve, and the three steps that it is made of
parameters.py      make_solver_parameters; policies.py has the rates
method.py          what a method is; one file each, one line in METHODS
gather.py          the gradients that a method follows: summed, clipped, regularized
state.py           what a training is made of besides the net
snapshot.py        the whole of it in a file, exactly; model.py, place.py are its parts
"""

from .adadelta import Adadelta
from .adagrad import Adagrad
from .adam import Adam
from .loop import Solver, finalize_solve, init_solve, onestep_solve, solve
from .method import Method
from .model import load_network, save_network
from .nesterov import Nesterov
from .parameters import make_solver_parameters
from .policies import LRPolicy, MomPolicy
from .rmsprop import RMSProp
from .sgd import SGD
from .snapshot import load_snapshot, save_snapshot
from .state import SolverState

METHODS: tuple[type[Method], ...] = (SGD, Nesterov, Adagrad, RMSProp, Adadelta, Adam)

__all__ = [
    "METHODS",
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "LRPolicy",
    "Method",
    "MomPolicy",
    "Nesterov",
    "RMSProp",
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
