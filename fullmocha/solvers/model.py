"""Weights in HDF5, as Mocha has them: flat datasets "<layer>___<role>", conv1___filter, ip1___bias; or its snapshots (.jld).

Caffe's blobs of a layer are the same bytes, so files that were dumped from Caffe by Mocha's tool are read too.
"""

import os
import warnings
from collections.abc import Mapping
from contextlib import AbstractContextManager
from types import MappingProxyType
from typing import TYPE_CHECKING, Union

import numpy as np

from ..beside import hdf5_beside
from ..blob import Parameter, Shape
from ..errors import WeightsError
from ..net import Net
from ..stored import open_hdf5, stored_array
from .jld import is_jld, read_jld_params

if TYPE_CHECKING:
    import h5py

FileOrPath = Union["h5py.File", str, os.PathLike[str]]
Found = list[tuple[Parameter, np.ndarray]]


def load_network(source: FileOrPath, net: Net, die_if_not_found: bool = True) -> None:
    """Loads the weights that a model file, or a snapshot, has for a net's layers; `init` then leaves them alone.

    Parameters
    ----------
    source : path or h5py.File
        A model, a snapshot of ours, or one of Mocha's (.jld); what else it holds is ignored.
    net : Net
        Shapes are compared without leading and trailing ones, because old Caffe's blobs all have four axes.
    die_if_not_found : bool
        Whether missing weights are an error. A missing bias never is: it keeps its initial value, with a warning.

    Raises
    ------
    FormatError
        If the file cannot be read.
    WeightsError
        If weights are missing, of another shape, or not finite. The net is then as before.
    """
    with reading(source) as file:
        values, where = read_model(file, net), file.filename
    if not values:
        raise WeightsError(
            f"{where}: holds no weights, which are datasets named layer___role; net {net.name!r} would take "
            f"{', '.join(named_parameters(net))}"
        )
    found, missing = match(net, values, where)
    weights = [name for name in missing if not name.endswith("___bias")]
    if not found or (weights and die_if_not_found):
        raise WeightsError(
            f"{where}: has no {', '.join(missing)} for net {net.name!r}, but {sorted(values)[:9]}; name layers alike"
            + (", or pass die_if_not_found=False to leave such layers as they are" if found else "")
        )
    if missing:
        warnings.warn(f"{where}: has no {', '.join(missing)}; they keep their initial values", stacklevel=2)
    install(found)


def save_network(net: Net, path: str | os.PathLike[str]) -> None:
    """Writes all weights of a net, for `load_network`."""

    with hdf5_beside(path, make_folder=True) as file:
        write_model(file, net)


# ----------------------------------------------------------------------------------------------- the parts of snapshots
def named_parameters(net: Net) -> dict[str, Parameter]:
    """Every "<layer>___<role>" of a net; a shared parameter has several names."""
    return {f"{layer}___{p.role}": p for layer, parameters in net.params.items() for p in parameters}


def write_model(file: "h5py.File", net: Net, instead: Mapping[Parameter, np.ndarray] = MappingProxyType({})) -> None:
    """All parameters; `instead` has values that are not the present ones."""
    for name, parameter in named_parameters(net).items():
        file[name] = instead[parameter] if parameter in instead else parameter.values()


def read_model(file: "h5py.File", net: Net | None = None) -> dict[str, np.ndarray]:
    """All arrays under names of the form "<layer>___<role>", outside of the solver's state.

    Mocha's own snapshots know layers and the order of their arrays, but no roles: those come from the net, if it is given and
    has such a layer, or from the number of axes.
    """
    if is_jld(file):
        return _name_arrays(read_jld_params(file), net)
    return {
        name: array
        for name, array in read_arrays(file).items()
        if "___" in name and not name.startswith("solver_state/")
    }


def _name_arrays(layers: Mapping[str, list[np.ndarray]], net: Net | None) -> dict[str, np.ndarray]:
    named = {}
    for layer, arrays in layers.items():
        roles = [p.role for p in net.params.get(layer, ())] if net is not None else []
        if len(roles) != len(arrays):
            roles = ["filter" if arrays and arrays[0].ndim > 2 else "weight", "bias"]
        for role, array in zip(roles, arrays, strict=False):
            named[f"{layer}___{role}"] = (
                array.ravel() if role == "bias" else array
            )  # Mocha's have axes of 1 before and behind
    return named


def match(net: Net, values: Mapping[str, np.ndarray], where: str) -> tuple[Found, list[str]]:
    """(parameters with their values in the right shape, names of those that there is no value for)."""
    found: dict[int, tuple[Parameter, np.ndarray]] = {}
    named = named_parameters(net)
    for name, parameter in named.items():
        if name in values:
            found[id(parameter)] = parameter, _fit(values[name], parameter, f"{where}: {name}")
    return list(found.values()), [name for name, parameter in named.items() if id(parameter) not in found]


def install(found: Found) -> None:
    for parameter, value in found:
        parameter.data = value


def _fit(value: np.ndarray, parameter: Parameter, where: str) -> np.ndarray:
    if _core(value.shape) != _core(parameter.shape):
        raise WeightsError(f"{where} is {value.shape}, the net's is {parameter.shape}; the file belongs to another net")
    with np.errstate(over="ignore"):
        value = value.reshape(parameter.shape).astype(parameter.dtype)
    if not np.isfinite(value).all():
        raise WeightsError(
            f"{where} holds NaN or infinity in {parameter.dtype}; use weights from before the training diverged"
        )
    return value


def _core(shape: Shape) -> Shape:
    """The sizes without leading and trailing ones."""
    at = [i for i, n in enumerate(shape) if n != 1]
    return tuple(shape[at[0] : at[-1] + 1]) if at else ()


def reading(source: FileOrPath) -> AbstractContextManager["h5py.File"]:
    """A model or snapshot, opened for reading unless it is open already."""
    return open_hdf5(source, "a model or snapshot")


def read_arrays(group: "h5py.Group") -> dict[str, np.ndarray]:
    """All numeric datasets in a group, by path; links out of the file are not followed."""
    import h5py

    arrays: dict[str, np.ndarray] = {}

    def visit(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset) and item.dtype.kind in "iuf" and item.shape is not None:
            arrays[name] = stored_array(item, f"{group.file.filename}: {name}")

    group.visititems(visit)
    return arrays
