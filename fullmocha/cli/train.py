"""`fullmocha train`: a solver file of Caffe's, from its first iteration or from a snapshot on."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from ..errors import UnsupportedError
from .options import BACKENDS
from .program import INTERRUPTED

if TYPE_CHECKING:
    from ..caffe.snapshots import CaffeSnapshots
    from ..net import Net


@click.command(short_help="Train a net by a solver file.")
@click.argument("solver", metavar="SOLVER")
@click.option("--resume", metavar="FILE", help="Go on from a .solverstate or .solverstate.h5, of Caffe or of ours.")
@click.option("--weights", "-w", metavar="FILE", help="Begin with this .caffemodel or .caffemodel.h5.")
@click.option("--backend", type=click.Choice(BACKENDS), default="auto", show_default=True, help="Where to compute.")
@click.option("--threads", type=click.IntRange(1, 4096), help="All cores by default; the answer is the same.")
def train(solver: str, resume: str | None, weights: str | None, backend: str, threads: int | None) -> int:
    """Train the net of SOLVER, a solver prototxt of Caffe's, and write snapshots that Caffe reads.

    Snapshots are <prefix>_iter_<n>.caffemodel, the weights, and .solverstate, to go on from; with .h5 behind them where the file
    asks for HDF5. Ctrl-C ends after the present iteration, with a snapshot. With --resume, --weights stands in for the weights
    that the state names.
    """
    from ..caffe.solver import load_solver
    from ..solvers import solve

    bar = sys.stderr.isatty()
    training = load_solver(solver, backend, weights, resume, say=_above_bar if bar else click.echo)
    for net in (training.net, *training.test_nets):
        _refuse_unfed(solver, net)
    if threads is not None:
        training.net.backend.ops.set_threads(threads)
    end = training.solver.params["max_iter"]
    method = training.solver.method.name
    click.echo(f"training {training.net.name!r} by {method} on {training.net.backend.name}, until iteration {end}")
    with _bar(training, end) if bar else contextlib.nullcontext(), _interrupts(training.snapshots):
        state = solve(training.solver, training.net)
    if state.stop:
        click.echo(
            f"interrupted after iteration {state.iter}; go on with: fullmocha train {solver} --resume {state.last_snapshot}",
            err=True,
        )
        return INTERRUPTED
    click.echo(f"done: iteration {state.iter}, loss = {training.display.loss:g}")
    return 0


def _refuse_unfed(solver: str, net: Net) -> None:
    """What a program fills cannot be trained from here: it would be zeros."""
    from ..layers.data import InputLayer

    for node in net.data_nodes:
        if isinstance(node.layer, InputLayer):
            raise UnsupportedError(
                f"{solver}: net {net.name!r}, layer {node.layer.name!r}: its data come from the calling program; train from Python, by "
                "load_caffe_solver, or give the net a layer that reads files, e.g. HDF5Data"
            )


@contextlib.contextmanager
def _interrupts(snapshots: CaffeSnapshots) -> Iterator[None]:
    """The first Ctrl-C asks for an end after the present iteration; the second one is as ever."""

    def ask(*_: Any) -> None:
        snapshots.stopping = True
        signal.signal(signal.SIGINT, before)

    if threading.current_thread() is not threading.main_thread():  # signals arrive elsewhere
        yield
        return
    before = signal.signal(signal.SIGINT, ask)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _above_bar(line: str) -> None:
    from tqdm import tqdm

    tqdm.write(line)


@contextlib.contextmanager
def _bar(training: Any, end: int) -> Iterator[None]:
    """Iterations and loss, on standard error."""
    from tqdm import tqdm

    from ..coffee import Coffee, CoffeeLounge, Progress

    class Shown(Coffee):
        def enjoy(self, lounge: CoffeeLounge, net: Net, state: Progress) -> None:
            if not bar.n:
                bar.n = bar.initial = state.iter  # where a resumed one begins
            bar.set_postfix({"loss": f"{training.display.loss:.4g}"}, refresh=False)
            bar.update(state.iter - bar.n)

    with tqdm(total=end, desc="training", unit="iter", leave=False) as bar:
        training.solver.lounge.add(Shown(), every_n_iter=1)
        yield
