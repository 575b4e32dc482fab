"""Where a Caffe training stands: .solverstate and .solverstate.h5.

binary  SolverState { iter = 1, learned_net = 2, history = 3 (BlobProtos), current_step = 4 }
HDF5    /iter, /current_step (int32, one each), /learned_net (a string), /history/0, /history/1, ...

Ours have one thing more, which Caffe skips: the place of a training, field 1000, or /fullmocha (bytes).
"""

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ..beside import Beside, hdf5_beside
from ..errors import FormatError
from ..files import read_bytes
from ..stored import open_hdf5, stored_array
from .blobs import decode_blob
from .hdf5 import dataset_array, integer_named, is_hdf5
from .wire import BYTES, VARINT, Broken, fields, put_blob, put_bytes, put_int, signed

if TYPE_CHECKING:
    import h5py

PLACE, PLACE_H5 = 1000, "fullmocha"
_WHAT = "a .solverstate or .solverstate.h5"


@dataclass(frozen=True)
class CaffeState:
    """What Caffe's solver needs to go on, beside the weights.

    Attributes
    ----------
    iter : int
        How many updates have been made.
    learned_net : str
        The file of weights, as the writer called it: relative to the folder that it ran in, and often no longer there.
    current_step : int
        How many of the `multistep` policy's step values have been passed.
    history : list of arrays
        What the method remembers of each learnable parameter, in the net's order; AdaDelta and Adam have two rounds of them. Files
        from before 2015 have four axes for every one.
    place : bytes
        Where a training of ours stands in its data (see snapshots.py); empty in Caffe's files.
    """

    iter: int
    learned_net: str = ""
    current_step: int = 0
    history: list[np.ndarray] = field(default_factory=list)
    place: bytes = b""


def read_state(path: str | os.PathLike[str]) -> CaffeState:
    """The state in a .solverstate or .solverstate.h5 file; the content says which it is.

    Raises
    ------
    FormatError
        If the file is missing, cut, corrupt or of another kind.
    """
    raw = read_bytes(path, _WHAT)
    if is_hdf5(raw[:4096]):
        del raw  # h5py reads the file again: never both in memory
        return _read_h5(path)
    return decode_state(raw, os.fspath(path))


def write_state(path: str | os.PathLike[str], state: CaffeState) -> None:
    """Writes a state that Caffe restores: HDF5 where the name ends in .h5, else binary. It appears whole or not at all."""
    size = len(state.place) + sum(array.nbytes for array in state.history)
    if os.fspath(path).endswith(".h5"):
        with hdf5_beside(path, size) as file:
            _write_h5(file, state)
    else:
        with Beside(path, size) as beside:
            beside.path.write_bytes(encode_state(state))


def encode_state(state: CaffeState) -> bytes:
    """A SolverState's bytes."""
    head = put_int(1, state.iter) + put_bytes(2, state.learned_net.encode("utf-8", "surrogateescape"))
    history = (put_bytes(3, put_blob(array)) for array in state.history)
    place = put_bytes(PLACE, state.place) if state.place else b""
    return b"".join([head, *history, put_int(4, state.current_step), place])


def decode_state(raw: bytes, source: str) -> CaffeState:
    """The state that a SolverState's bytes hold; `source` is named in errors."""
    iteration, learned_net, step, place = None, "", 0, b""
    history: list[np.ndarray] = []
    try:
        for number, wire, value in fields(memoryview(raw)):
            if (number, wire) == (1, VARINT):
                iteration = signed(value, 32)
            elif (number, wire) == (2, BYTES):
                learned_net = bytes(value).decode("utf-8", "surrogateescape")
            elif (number, wire) == (3, BYTES):
                history.append(decode_blob(value, f"{source}: history {len(history)}"))
            elif (number, wire) == (4, VARINT):
                step = signed(value, 32)
            elif (number, wire) == (PLACE, BYTES):
                place = bytes(value)
    except Broken as broken:
        raise FormatError(
            f"{source} breaks off at byte {broken} of {len(raw)}; the file is cut or corrupt, or not {_WHAT}"
        ) from None
    return _checked(source, iteration, learned_net, step, history, place)


def _checked(
    source: str, iteration: int | None, learned_net: str, step: int, history: list[np.ndarray], place: bytes
) -> CaffeState:
    if iteration is None:
        raise FormatError(f"{source} holds no iteration; it is cut, or not {_WHAT} file")
    if iteration < 0 or step < 0:
        raise FormatError(f"{source} is at iteration {iteration}, step {step}; neither can be negative, it is corrupt")
    return CaffeState(iteration, learned_net, step, history, place)


def _read_h5(path: str | os.PathLike[str]) -> CaffeState:
    import h5py

    with open_hdf5(path, _WHAT) as file:
        group = file.get("history")
        if "iter" not in file or not isinstance(group, h5py.Group):
            raise FormatError(f"{path} is HDF5, but has no /iter and /history; expected {_WHAT} file")
        numbers = [_number(file, name, f"{path}: /{name}") for name in ("iter", "current_step")]
        found = integer_named(group)
        history = [dataset_array(group[name], f"{path}: /history/{name}") for name in found]
        if [int(name) for name in found] != list(range(len(found))):
            raise FormatError(f"{path}: /history has {', '.join(found)}; expected 0 to {len(found) - 1}")
        learned_net, item = _text(file.get("learned_net")), file.get(PLACE_H5)
        ours = isinstance(item, h5py.Dataset) and item.dtype == np.uint8
        place = stored_array(item, f"{path}: /{PLACE_H5}").tobytes() if ours else b""
    return _checked(os.fspath(path), numbers[0], learned_net, numbers[1] or 0, history, place)


def _number(file: "h5py.File", name: str, where: str) -> int | None:
    """The one whole number of a dataset; None where it is not there."""
    import h5py

    item = file.get(name)
    if item is None:
        return None
    if (
        not isinstance(item, h5py.Dataset)
        or item.dtype.kind not in "iu"
        or item.size != 1
        or item.is_virtual
        or item.external
    ):
        raise FormatError(f"{where} is no whole number; the file is corrupt")
    return int(np.asarray(item[()]).item())


def _text(item: object) -> str:
    """A string, of fixed or variable length."""
    import h5py

    if not isinstance(item, h5py.Dataset) or item.shape != () or h5py.check_string_dtype(item.dtype) is None:
        return ""
    return bytes(item[()]).rstrip(b"\0").decode("utf-8", "surrogateescape")


def _write_h5(file: "h5py.File", state: CaffeState) -> None:
    import h5py

    for name, number in (("iter", state.iter), ("current_step", state.current_step)):
        file[name] = np.array([number], np.int32)
    # H5LTmake_dataset_string: fixed length, ending in a zero
    text = state.learned_net.encode("utf-8", "surrogateescape") + b"\0"
    kind = h5py.h5t.C_S1.copy()
    kind.set_size(len(text))
    space = h5py.h5s.create(h5py.h5s.SCALAR)
    dataset = h5py.h5d.create(file.id, b"learned_net", kind, space)
    dataset.write(space, space, np.array(text, f"S{len(text)}"), kind)
    group = file.create_group("history")
    for i, array in enumerate(state.history):
        group[str(i)] = np.asarray(array)
    if state.place:
        file[PLACE_H5] = np.frombuffer(state.place, np.uint8)
