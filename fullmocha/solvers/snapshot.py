"""A training in a file, so that it goes on as if it had never stopped: same data, same random numbers, same bits.

    conv1___filter, ...              the weights, readable as a model (see model.py)
    solver_state/method              the method's name
    solver_state/iteration, obj_val, learning_rate, momentum, current_step
    solver_state/<memory>/<name>     the method's arrays, e.g. velocity/conv1___filter
    solver_state/random              the random generator's state, JSON
    solver_state/data/<i>/...        the place of the i-th layer that moves through data

Data, random numbers and what forward passes change by themselves (BatchNorm's sums) are saved as they were before the last
forward pass, which is repeated after loading.
"""

import json
import os
import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..beside import hdf5_beside
from ..coffee.log import logger
from ..errors import FormatError, ShapeError, SolverError, WeightsError
from ..net import Net
from .jld import JldState, is_jld, read_jld_state
from .model import install, load_network, match, named_parameters, read_arrays, read_model, reading, write_model
from .place import Place, go_to_place

if TYPE_CHECKING:
    import h5py

    from .state import SolverState

FileOrPath = str | os.PathLike[str]
NUMBERS = {"iteration": "iter", "obj_val": "obj_val", "learning_rate": "learning_rate", "momentum": "momentum"}
LATER = {"current_step": "current_step"}  # snapshots of version 0.1.0 lack it


def save_snapshot(net: Net, state: "SolverState", path: FileOrPath) -> None:
    """Writes a snapshot beside its name and renames it, so that no half-written one is ever found.

    Raises
    ------
    SolverError
        If a parameter is not finite (older snapshots stay), or the file cannot be written.
    """

    for name, parameter in named_parameters(net).items():
        if not np.isfinite(parameter.values()).all():
            raise SolverError(
                f"{name} holds NaN or infinity at iteration {state.iter}, so {os.fspath(path)} is not written; lower "
                f"the rate in lr_policy and go on from {state.last_snapshot or 'the beginning'}"
            )
    with hdf5_beside(path, make_folder=True) as file:
        write_model(file, net, state.before)
        _write_state(file.create_group("solver_state"), net, state)
    state.last_snapshot = path


def load_snapshot(net: Net, path: FileOrPath, state: "SolverState | None" = None) -> "SolverState | None":
    """Loads the newest snapshot of a folder, a snapshot file (ours, or Mocha's .jld), or a model file.

    Parameters
    ----------
    net : Net
        Gets the weights.
    path : path
        Where nothing is there, nothing is done, and the log says so.
    state : SolverState, optional
        Takes everything else, so that the training goes on exactly. Without it only weights are loaded, and the
        snapshot may have more layers than the net. Mocha's have the iteration, its loss and rates; the method starts anew.

    Raises
    ------
    FormatError
        If the file is cut, corrupt or of another kind.
    SolverError
        If it was saved by another method, or from another net or other data.
    """
    file = newest_snapshot(path)
    if file is None:
        logger.info("No snapshot in %s: starting from the beginning", path)
    elif state is None or not _has_state(file):
        load_network(file, net)
        logger.info("Loaded the weights of %s", file)
    elif (mochas := _mochas_state(file)) is not None:
        load_network(file, net)
        for name, number in asdict(mochas).items():
            setattr(state, name, number)
        state.last_snapshot = file
        logger.info("Resuming from Mocha's %s at iteration %d, without what its method remembered", file, state.iter)
    else:
        _resume(net, file, state)
        logger.info("Resuming from %s at iteration %d", file, state.iter)
    return state


def newest_snapshot(path: FileOrPath) -> Path | None:
    """The file itself, or the snapshot with the highest number in a folder; None where there is none."""
    path = Path(path)
    if not path.is_dir():
        return path if path.exists() else None
    numbered = {
        int(m[1]): file for file in path.iterdir() if (m := re.fullmatch(r"snapshot-(\d+)\.(h5|jld)", file.name))
    }
    return numbered[max(numbered)] if numbered else None


def _has_state(path: Path) -> bool:
    with reading(path) as file:
        return "solver_state" in file


def _mochas_state(path: Path) -> JldState | None:
    with reading(path) as file:
        return read_jld_state(file) if is_jld(file) else None


# ------------------------------------------------------------------------------------------------------------ writing
def _write_state(group: "h5py.Group", net: Net, state: "SolverState") -> None:
    group["method"] = state.method.name
    for name, attribute in (NUMBERS | LATER).items():
        group[name] = getattr(state, attribute)
    for name, parameter in named_parameters(net).items():
        if parameter in state.memories:
            for memory, array in zip(state.method.memories, state.memories[parameter], strict=True):
                group[f"{memory}/{name}"] = np.asarray(net.backend.ops.to_host(array))
    group["random"] = json.dumps(state.place.random, default=lambda array: array.tolist())
    for i, place in enumerate(state.place.layers):
        for name, value in place.items():
            group[f"data/{i}/{name}"] = small(value)


def small(value: Any) -> np.ndarray:
    """Counts in the smallest type that holds them: a shuffled order can be long. Other numbers stay what they are."""
    array = np.asarray(value)
    return array.astype(np.min_scalar_type(array.max(initial=0))) if array.dtype.kind in "iu" else array


# ------------------------------------------------------------------------------------------------------------ reading
def _resume(net: Net, path: Path, state: "SolverState") -> None:
    """Checks everything before it changes anything but the places of data layers."""
    with reading(path) as file:
        values, group = read_model(file), file["solver_state"]
        arrays, texts = read_arrays(group), {name: group[name].asstr()[()] for name in ("method", "random")}
        stored = NUMBERS | {name: attribute for name, attribute in LATER.items() if name in arrays}
        numbers = {attribute: arrays[name].item() for name, attribute in stored.items()}
        place = Place(json.loads(texts["random"]), _places(arrays))
    if texts["method"] != state.method.name:
        raise SolverError(
            f"{path}: was saved by {texts['method']}, this training is by {state.method.name}; use {texts['method']}() "
            "or take only its weights with load_network(file, net)"
        )
    try:
        found, missing = match(net, values, str(path))
        extra = sorted(values.keys() - named_parameters(net).keys())
        if missing or extra:
            raise WeightsError(f"the net has no {extra[0]!r}" if extra else f"the snapshot has no {missing[0]!r}")
        other = {str(a.dtype) for a in values.values()} - {str(net.dtype)}
        if other:
            raise WeightsError(f"the snapshot is {other.pop()}, the net {net.dtype}")
        memories = _memories(net, arrays, state)
        go_to_place(net, place)
    except (WeightsError, ShapeError, SolverError) as problem:
        raise SolverError(
            f"{path}: is of another training than net {net.name!r}: {problem}. Resume with the net and data that it "
            "was saved from, or take only its weights with load_network(file, net)"
        ) from problem
    except (KeyError, ValueError, TypeError, OverflowError, AttributeError) as problem:
        raise FormatError(f"{path}: its solver_state is not what save_snapshot writes ({problem})") from problem
    install(found)
    for parameter, saved in memories.items():
        for target, array in zip(state.memories_of(parameter), saved, strict=True):
            net.backend.ops.from_host(array, target)
    for attribute, number in numbers.items():
        setattr(state, attribute, number)
    state.last_snapshot = path


def _places(arrays: dict[str, np.ndarray]) -> list[dict[str, np.ndarray]]:
    places: dict[int, dict[str, np.ndarray]] = {}
    for path, array in arrays.items():
        if path.startswith("data/"):
            _, i, name = path.split("/")
            places.setdefault(int(i), {})[name] = array
    return [places[i] for i in range(len(places))]


def _memories(net: Net, arrays: dict[str, np.ndarray], state: "SolverState") -> dict[Any, list[np.ndarray]]:
    """Per parameter what the method remembered of it, where the snapshot has that."""
    found = {}
    for name, parameter in named_parameters(net).items():
        saved = [arrays[path] for memory in state.method.memories if (path := f"{memory}/{name}") in arrays]
        if saved:
            if len(saved) != len(state.method.memories) or any(a.shape != parameter.shape for a in saved):
                raise ValueError(f"the memory of {name} is {[a.shape for a in saved]}, not {parameter.shape}")
            found[parameter] = saved
    return found
