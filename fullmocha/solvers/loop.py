"""The training loop. `solve` is all of it; driven by hand it reads

    state = init_solve(solver, net)
    while state.iter < 1000:
        onestep_solve(solver, net, state)
    finalize_solve(solver, net, state)

Iteration n is over when n updates are done and the batch after them has been seen: `obj_val` is the loss of that batch.

    update n -> early breaks -> batches of update n + 1, forward -> breaks -> backward -> update n + 1 -> ...

Mocha's coffees are taken when the loss is known; Caffe tests and saves early, where no batch has been seen since the update.
"""

import math
import os
from collections.abc import Mapping
from typing import Any

from ..coffee import CoffeeLounge
from ..errors import SolverError
from ..net import Net
from . import gather
from .method import Method
from .parameters import SolverParameters, make_solver_parameters
from .place import take_place
from .snapshot import load_snapshot
from .state import SolverState


class Solver:
    """A method, its parameters, and a lounge for its coffee breaks.

    Parameters
    ----------
    method : Method
        E.g. `SGD()`.
    params : dict
        From `make_solver_parameters`; read anew at every iteration, so a coffee may change them.

    Examples
    --------
    >>> from fullmocha.solvers import SGD, LRPolicy
    >>> method = SGD()
    >>> solver = Solver(method, make_solver_parameters(method, max_iter=10, lr_policy=LRPolicy.Fixed(0.1)))
    """

    def __init__(self, method: Method, params: Mapping[str, Any]) -> None:
        self.method = method
        self.params = params if isinstance(params, SolverParameters) else make_solver_parameters(method, **params)
        self.lounge = CoffeeLounge()


def solve(solver: Solver, net: Net) -> SolverState:
    """Trains the net until `max_iter` updates are done, and returns the last state.

    Raises
    ------
    TopologyError
        If no loss depends on a trained layer.
    SolverError
        If the loss is no longer finite, or `load_from` has a snapshot of another method or net.

    Examples
    --------
    >>> data = fm.MemoryDataLayer(batch_size=2, data=[np.eye(2, 3), np.array([[0.0], [1.0]])])
    >>> ip = fm.InnerProductLayer(name="ip", bottoms=["data"], tops=["ip"], output_dim=2)
    >>> net = fm.Net("two points", "reference", [data, ip, fm.SoftmaxLossLayer(bottoms=["ip", "label"])])
    >>> params = fm.make_solver_parameters(fm.SGD(), max_iter=50, lr_policy=fm.LRPolicy.Fixed(0.5))
    >>> bool(fm.solve(fm.Solver(fm.SGD(), params), net).obj_val < 0.1)
    True
    """
    state = init_solve(solver, net)
    try:
        while state.iter < solver.params["max_iter"] and not state.stop:
            onestep_solve(solver, net, state)
    finally:
        finalize_solve(solver, net, state)
    return state


def init_solve(solver: Solver, net: Net) -> SolverState:
    """Makes everything ready: values or a snapshot, the first batch, the first breaks."""
    net.check_bp_topology()
    state = SolverState(solver.method, solver.params, net)
    source = solver.params["load_from"]
    if callable(source):
        source(net, state)
    elif os.fspath(source):
        load_snapshot(net, source, state)
    net.init()
    epoch = solver.lounge.epoch(net)
    solver.lounge.take_early_break(net, state)
    _forward(net, state)
    solver.lounge.setup(net, state, epoch)
    solver.lounge.take_break(net, state)
    return state


def onestep_solve(solver: Solver, net: Net, state: SolverState) -> None:
    """One update, the next batch, and the breaks that are due."""
    ops = net.backend.ops
    state.iter += 1
    net.backward()
    state.set_rates(solver.params)
    gather.finish(net, state)
    for parameter in net.trainable:
        solver.method.update(ops, parameter, state.memories_of(parameter), state)
        parameter.touch()
    for parameter in net.trainable:
        every = parameter.constraint.every_n_iter
        if every and state.iter % every == 0:
            parameter.constraint.impose(ops, parameter)
    solver.lounge.take_early_break(net, state)
    if not state.stop:
        _forward(net, state)
        solver.lounge.take_break(net, state)


def finalize_solve(solver: Solver, net: Net, state: SolverState) -> None:
    """Closes the lounge; the net stays as it is."""
    solver.lounge.shutdown(net)


def _forward(net: Net, state: SolverState) -> None:
    """The next batches and their mean losses, with the gradients of all but the last; refuses losses that are not finite."""
    state.place = take_place(net)
    state.keep_before(net)
    count = state.params["iter_size"]
    state.obj_val, state.losses = 0.0, {}
    for i in range(count):
        state.obj_val += net.forward() / count
        for node in net.nodes:
            if node.layer.has_loss:
                name = node.layer.name
                state.losses[name] = state.losses.get(name, 0.0) + node.state.loss / count
        if i < count - 1:
            net.backward()
            gather.keep(net, state, first=not i)
    if not math.isfinite(state.obj_val):
        saved = f"the last snapshot is {state.last_snapshot}" if state.last_snapshot else "no snapshot has been saved"
        raise SolverError(
            f"net {net.name!r}: the loss is {state.obj_val} at iteration {state.iter} (learning rate "
            f"{state.learning_rate:g}, losses {state.losses}); lower the rate in lr_policy, or look for NaN in the "
            f"data and weights; {saved}"
        )
