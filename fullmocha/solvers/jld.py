"""Mocha's own snapshots: Julia data files (.jld), which are HDF5 with everything behind references.

    params_all    {keys_, values_}: references to a list of layer names, and to a list of lists of arrays
    solver_state  {iteration_, obj_val_, learning_rate_, momentum_}; older files say iter_

The names of Julia's types beside them differ from version to version and are not looked at. Arrays stand in numpy's order of axes.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import FormatError
from ..stored import check_stored, stored_array

if TYPE_CHECKING:
    import h5py

PARAMETERS, STATE = "params_all", "solver_state"
_MOST_LAYERS = 100_000


@dataclass(frozen=True)
class JldState:
    """How far Mocha's solver was; it keeps no velocity in its file.

    Attributes
    ----------
    iter : int
    obj_val, learning_rate, momentum : float
        Of the last iteration; nan where the solver has none.
    """

    iter: int
    obj_val: float
    learning_rate: float
    momentum: float


def is_jld(file: "h5py.File") -> bool:
    """Whether an HDF5 file is one of Mocha's snapshots."""
    import h5py

    item = file.get(PARAMETERS)
    return isinstance(item, h5py.Dataset) and {"keys_", "values_"} <= set(item.dtype.names or ())


def read_jld_params(file: "h5py.File") -> dict[str, list[np.ndarray]]:
    """Layer name -> its arrays, weights then bias.

    Raises
    ------
    FormatError
        If the file is not laid out as Mocha does it.
    """
    where = f"{file.filename}: {PARAMETERS}"
    both = _record(file, PARAMETERS)
    keys, values = (_references(file, both[field], f"{where}.{field}") for field in ("keys_", "values_"))
    if len(keys) != len(values):
        raise FormatError(f"{where}: has {len(keys)} names for {len(values)} layers; the file is corrupt")
    found: dict[str, list[np.ndarray]] = {}
    for key, value in zip(keys, values, strict=True):
        name = _name(file, key, where)
        arrays = _references(file, value, f"{where}: layer '{name}'")
        found[name] = [_numbers(file, ref, f"{where}: layer '{name}', array {i}") for i, ref in enumerate(arrays)]
    return found


def read_jld_state(file: "h5py.File") -> JldState:
    """How far the solver was.

    Raises
    ------
    FormatError
        If the file does not say.
    """
    record = _record(file, STATE)
    names = set(record.dtype.names or ())
    iteration = next((record[name] for name in ("iteration_", "iter_") if name in names), None)
    if iteration is None or not isinstance(iteration, np.integer) or iteration < 0:
        raise FormatError(f"{file.filename}: {STATE} has no iteration; the file is corrupt, or another program's")
    numbers = (
        float(record[name]) if name in names and isinstance(record[name], np.number) else float("nan")
        for name in ("obj_val_", "learning_rate_", "momentum_")
    )
    return JldState(int(iteration), *numbers)


def _record(file: "h5py.File", name: str) -> Any:
    """The one record of a scalar dataset of records."""
    import h5py

    item = file.get(name)
    if not isinstance(item, h5py.Dataset) or item.shape != () or item.dtype.names is None:
        raise FormatError(f"{file.filename}: has no record {name}; the file is corrupt, or not Mocha's")
    check_stored(item, f"{file.filename}: {name}")
    return item[()]


def _follow(file: "h5py.File", reference: object, where: str) -> "h5py.Dataset":
    """What a reference points at, in this file."""
    import h5py

    if not isinstance(reference, h5py.Reference) or not reference:
        raise FormatError(f"{where}: holds no reference; the file is corrupt, or not Mocha's")
    item = file[reference]
    if not isinstance(item, h5py.Dataset):
        raise FormatError(f"{where}: points at no dataset; the file is corrupt")
    return item


def _references(file: "h5py.File", reference: object, where: str) -> list[Any]:
    """The list of references that a reference points at."""
    item = _follow(file, reference, where)
    if item.ndim != 1 or item.size > _MOST_LAYERS or item.dtype.kind != "O":
        raise FormatError(f"{where}: points at {item.dtype} of shape {item.shape}; expected a list of references")
    return list(stored_array(item, where))


def _name(file: "h5py.File", reference: object, where: str) -> str:
    import h5py

    item = _follow(file, reference, where)
    if item.shape != () or h5py.check_string_dtype(item.dtype) is None:
        raise FormatError(f"{where}: a layer's name is {item.dtype} of shape {item.shape}; expected one string")
    return bytes(item[()]).decode("utf-8", errors="replace")


def _numbers(file: "h5py.File", reference: object, where: str) -> np.ndarray:
    item = _follow(file, reference, where)
    if item.dtype.kind != "f":
        raise FormatError(f"{where}: is {item.dtype}; expected floating-point numbers")
    return stored_array(item, where)
