"""A training in Caffe's snapshot files: <prefix>_iter_<n>.caffemodel and .solverstate, both with .h5 behind it in HDF5.

Caffe does not say in them where in its data a training stands; a resumed one begins with the first sample again. Ours do, in a field
that Caffe skips, so that a resumed training has the bits of one that never stopped. Caffe resumes from our files, and we from Caffe's.
"""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..beside import Beside
from ..blob import Parameter
from ..coffee import Coffee, CoffeeLounge
from ..coffee.log import logger
from ..errors import FormatError, ShapeError, SolverError, WeightsError
from ..net import Net
from ..solvers import Method, SolverState
from ..solvers.place import Place, go_to_place, take_place
from ..solvers.snapshot import small
from .load import Described, wanted_by
from .state import CaffeState, read_state, write_state
from .weights import fit, read_weights
from .writing import write_caffemodel, write_caffemodel_h5

_NEGATED = ("velocity",)  # Caffe keeps what it subtracts, we what we add


@dataclass(frozen=True)
class Trained:
    """A net in training, what it was made of, and the nets that test it."""

    net: Net
    found: Described
    tests: Sequence[Net] = ()

    def learnable(self) -> list[Parameter]:
        """Every parameter once, in the file's order, which is that of the history; frozen ones too."""
        return list({id(p): p for layer in self.found.layers for p in self.net.params.get(layer.name, [])}.values())

    def turned(self) -> set[int]:
        """The ids of the parameters whose matrix stands transposed in Caffe's files."""
        parts = zip(self.found.layers, self.found.texts, strict=True)
        return {
            id(self.net.params[layer.name][0])
            for layer, text in parts
            if text.transposed and layer.name in self.net.params
        }

    def blobs(self) -> dict[str, list[np.ndarray]]:
        """Per layer, by the file's name, its values in the file's layout; one array for a parameter that layers share."""
        turned = self.turned()
        values = {
            id(p): np.ascontiguousarray(p.values().T) if id(p) in turned else p.values() for p in self.net.parameters
        }
        found: dict[str, list[np.ndarray]] = {}
        for layer, text in zip(self.found.layers, self.found.texts, strict=True):
            if layer.name in self.net.params:
                found[text.name] = [values[id(p)] for p in self.net.params[layer.name]]
        return found


class CaffeSnapshots(Coffee):
    """Writes snapshots as Caffe's solver does: every n iterations, in the end, and when the training is stopped.

    Parameters
    ----------
    trained : Trained
    prefix : path
        The files' names begin with it; its folder is made if need be.
    every : int
        0 for in the end only.
    after_train : bool
        Whether there is one in the end.
    hdf5 : bool
    say : function of a string

    Attributes
    ----------
    stopping : bool
        Set it, also from a signal handler, to end the training after the present iteration, with a snapshot.
    """

    early = True

    def __init__(
        self,
        trained: Trained,
        prefix: str | os.PathLike[str],
        every: int,
        after_train: bool = True,
        hdf5: bool = False,
        say: Callable[[str], object] = logger.info,
    ) -> None:
        self.trained, self.prefix, self.every, self.after_train = trained, os.fspath(prefix), every, after_train
        self.hdf5, self.say = hdf5, say
        self.stopping = False
        self._begun: int | None = None

    def enjoy(self, lounge: CoffeeLounge, net: Net, state: Any) -> None:
        if self._begun is None:
            self._begun = state.iter
            if self.every or self.after_train:  # that nothing can be written is better known before than after
                Beside(f"{self.prefix}_iter_{state.iter}", make_folder=True).discard()
        if state.iter in (0, self._begun):
            return
        state.stop = state.stop or self.stopping
        due = self.every and state.iter % self.every == 0
        if due or state.stop or (self.after_train and state.iter >= state.params["max_iter"]):
            self.save(state)

    def save(self, state: SolverState) -> None:
        """Writes the present snapshot, weights first."""
        suffix = ".h5" if self.hdf5 else ""
        stem = f"{self.prefix}_iter_{state.iter}"
        model, resumable = f"{stem}.caffemodel{suffix}", f"{stem}.solverstate{suffix}"
        blobs = self.trained.blobs()
        for layer, arrays in blobs.items():
            if not all(np.isfinite(a).all() for a in arrays):
                raise SolverError(
                    f"layer '{layer}' holds NaN or infinity at iteration {state.iter}, so {model} is not written; lower base_lr and go "
                    f"on from {state.last_snapshot or 'the beginning'}"
                )
        Path(stem).parent.mkdir(parents=True, exist_ok=True)
        (write_caffemodel_h5 if self.hdf5 else write_caffemodel)(model, blobs)
        history, places = _history(self.trained, state), _places(self.trained)
        write_state(resumable, CaffeState(state.iter, model, state.current_step, history, places))
        state.last_snapshot = resumable
        self.say(f"Snapshot in {model} and {resumable}")


def resume(
    trained: Trained, path: str | os.PathLike[str], weights: str | os.PathLike[str] | None = None
) -> Callable[[Net, SolverState], None]:
    """For `load_from`: what makes a training go on from a .solverstate or .solverstate.h5, Caffe's or ours.

    Parameters
    ----------
    trained : Trained
    path : path
    weights : path, optional
        Instead of the file that the state names, which is looked for in the working directory and beside the state.
    """
    path = os.fspath(path)

    def restore(net: Net, state: SolverState) -> None:
        found = read_state(path)
        model = os.fspath(weights or _learned_net(path, found.learned_net))
        values = fit(read_weights(model), wanted_by(trained.net, trained.found), model, trained.net.dtype)
        memories = _memories(trained, state.method, found.history, path)
        if found.place:
            _go_to(trained, found.place, path)
        else:
            logger.info("%s: does not say where in its data the training stood; they begin with the first sample", path)
        trained.net.load_params(values)
        for parameter, arrays in memories:
            for target, array in zip(state.memories_of(parameter), arrays, strict=True):
                net.backend.ops.from_host(array, target)
        state.iter, state.current_step, state.last_snapshot = found.iter, found.current_step, path
        logger.info("Resuming from %s at iteration %d", path, state.iter)

    return restore


def _learned_net(path: str, name: str) -> str:
    """Where the weights of a state are: as it says, or beside it."""
    suffix = ".h5" if path.endswith(".h5") else ""
    beside = Path(path).parent
    usual = Path(path.removesuffix(suffix)).stem + f".caffemodel{suffix}"
    tried = [Path(name)] * bool(name) + [beside / Path(name).name] * bool(name) + [beside / usual]
    for file in tried:
        if os.path.isfile(file):  # also where the name is none, too long for instance
            return os.fspath(file)
    raise FormatError(
        f"{path}: its weights are not there; looked for {', '.join(dict.fromkeys(map(str, tried)))}. Name them by weights (--weights)"
    )


# ------------------------------------------------------------------------------------------------------------ the history
def _history(trained: Trained, state: SolverState) -> list[np.ndarray]:
    """Each memory of the method in turn, for the net's learnable parameters, as Caffe has it."""
    ops, turned = trained.net.backend.ops, trained.turned()
    history = []
    for slot, name in enumerate(state.method.memories):
        for parameter in trained.learnable():
            array = np.asarray(ops.to_host(state.memories_of(parameter)[slot]))
            array = np.ascontiguousarray(array.T) if id(parameter) in turned else array
            history.append(-array if name in _NEGATED else array)
    return history


def _memories(
    trained: Trained, method: Method, history: Sequence[np.ndarray], path: str
) -> list[tuple[Parameter, list[np.ndarray]]]:
    """What the method remembers of each parameter, from a state's history."""
    params, slots = trained.learnable(), len(method.memories)
    if len(history) != slots * len(params):
        raise SolverError(
            f"{path}: holds {len(history)} arrays of history, but {method.name} on net {trained.net.name!r} keeps {slots} for each of "
            f"{len(params)} parameters; resume with the solver and net that it was saved from, or start anew from its weights"
        )
    places = {id(p): i for i, p in enumerate(params)}
    found: dict[int, list[np.ndarray]] = {id(p): [] for p in params}
    wanted = {k: replace(want, statistics=False) for k, want in wanted_by(trained.net, trained.found).items()}
    for slot, name in enumerate(method.memories):
        sign = -1 if name in _NEGATED else 1
        blobs = {
            layer: [history[slot * len(params) + places[id(p)]] for p in trained.net.params[layer]] for layer in wanted
        }
        named = {wanted[layer].name: arrays for layer, arrays in blobs.items()}
        try:
            fitted = fit(named, wanted, f"{path}: {name} of", trained.net.dtype)
        except WeightsError as problem:
            raise SolverError(f"{problem}. The state is of another net than {trained.net.name!r}") from problem
        arrays = {
            id(p): a for layer, part in fitted.items() for p, a in zip(trained.net.params[layer], part, strict=True)
        }
        for p in params:
            found[id(p)].append(sign * arrays[id(p)])
    return [(p, found[id(p)]) for p in params]


# ----------------------------------------------------------------------------------------------------------- the places
def _places(trained: Trained) -> bytes:
    """Where the nets stand in their data, and the random numbers, as JSON."""
    return json.dumps([_told(take_place(net)) for net in (trained.net, *trained.tests)]).encode()


def _told(place: Place) -> dict[str, Any]:
    layers = [{name: small(value).tolist() for name, value in layer.items()} for layer in place.layers]
    random = json.loads(json.dumps(place.random, default=lambda array: array.tolist()))
    return {"random": random, "layers": layers}


def _go_to(trained: Trained, raw: bytes, path: str) -> None:
    """Puts every net to its place, the trained one last, because all share its random numbers."""
    try:
        told = json.loads(raw)
        places = [
            Place(one["random"], [{name: small(value) for name, value in layer.items()} for layer in one["layers"]])
            for one in told
        ]
        if not places:
            raise ValueError("no place")
        if len(places) < 1 + len(trained.tests):  # another number of tests: they begin anew
            places = places[:1]
        for net, place in reversed(list(zip((trained.net, *trained.tests), places, strict=False))):
            go_to_place(net, place)
    except (ShapeError, SolverError) as problem:
        raise SolverError(
            f"{path}: was saved with other data than net {trained.net.name!r} has: {problem}"
        ) from problem
    except (KeyError, ValueError, TypeError, IndexError, OverflowError, AttributeError, RecursionError) as problem:
        raise FormatError(f"{path}: what it says of its data is damaged ({problem})") from problem
