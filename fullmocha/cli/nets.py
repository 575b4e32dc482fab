"""NET and its weights, as a user names them on the command line."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import os
import re
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..errors import FormatError, FullMochaError, ShapeError, TopologyError, UnsupportedError, WeightsError

if TYPE_CHECKING:
    from ..backend import Backend
    from ..net import Net

FUNCTION = re.compile(r"(?P<module>[A-Za-z_][\w.]*):(?P<function>[A-Za-z_]\w*)")
PATCH = re.compile(r"(?P<graph>.*\.onnx):(?P<width>\d{1,5})x(?P<height>\d{1,5})", re.IGNORECASE | re.DOTALL)


def load_net(name: str, weights: str | None, backend: str, allow_missing: bool, draw: bool) -> Net:
    """The net that NET and --weights name, ready to run; layers without weights are drawn if `draw` or `allow_missing`."""
    from ..caffe.load import load

    match = FUNCTION.fullmatch(name)
    graph, patch = split_patch(name)
    if graph.lower().endswith(".onnx"):
        from ..onnx import load_onnx

        net, theirs = load_onnx(graph, backend, patch), None
    elif match and not os.path.exists(name):
        net, theirs = _call(match["module"], match["function"], backend), None
    else:
        theirs = None if weights is None or is_ours(weights) else weights
        net = load(name, theirs, backend, "test", "float32", allow_missing, draw=False)
    if weights is not None and theirs is None:
        load_weights(net, weights, allow_missing)
    bare = [k for k, params in net.params.items() if any(not p.initialised and p.role != "bias" for p in params)]
    if bare and not (draw or allow_missing):
        listed = f"layer{'s' * (len(bare) > 1)} {', '.join(bare)} {'have' if len(bare) > 1 else 'has'} no weights"
        raise WeightsError(f"{name}: {listed}; name them by --weights FILE, or draw them at random by --allow-missing")
    net.init()
    return net


def split_patch(name: str) -> tuple[str, tuple[int, int] | None]:
    """NET.onnx:WxH, for a graph that leaves the size of its input open, as the file and the patch."""
    match = PATCH.fullmatch(name)
    return (match["graph"], (int(match["width"]), int(match["height"]))) if match else (name, None)


def load_weights(net: Net, path: str, allow_missing: bool) -> None:
    """Installs a file of weights of any kind that is known: Caffe's, Mocha's, ours."""
    if is_ours(path):
        from ..solvers.model import load_network

        load_network(path, net, die_if_not_found=not allow_missing)
        return
    from ..caffe.weights import Wanted, fit, read_weights
    from ..layers import BatchNormLayer

    statistics = {layer.name for layer in net.layers if isinstance(layer, BatchNormLayer)}
    wanted = {
        name: Wanted(name, [p.shape for p in params], reshapes=name not in statistics, statistics=name in statistics)
        for name, params in net.params.items()
    }
    net.load_params(fit(read_weights(path), wanted, path, net.dtype, allow_missing))


def is_ours(path: str) -> bool:
    """Whether a file is HDF5 that does not have the group in which Caffe puts its weights."""
    from ..caffe.hdf5 import is_hdf5
    from ..files import read_bytes
    from ..stored import open_hdf5

    if os.path.exists(path) and not os.path.isfile(path):  # a pipe may never answer
        read_bytes(path, "a file of weights")
    with contextlib.suppress(OSError), open(path, "rb") as file:
        if not is_hdf5(file.read(4096)):
            return False
        with open_hdf5(path, "a file of weights") as h5:
            return "data" not in h5
    read_bytes(path, "a file of weights", limit=0)  # not there, a folder, or not readable: says which
    return False


def _call(module: str, function: str, backend: str) -> Net:
    """What the user's function returns, as a net.

    The person at the keyboard names the module, as with `python -m`; no file ever does.
    """
    from ..net import Net

    name = f"{module}:{function}"
    with _importable_from_here():
        try:
            loaded = importlib.import_module(module)
        except FullMochaError:
            raise
        except (Exception, SystemExit) as error:
            raise FormatError(
                f"{name}: the module cannot be imported, {type(error).__name__}: {error}; it has to lie in {os.getcwd()} or be "
                "installed (a prototxt is named without a colon)"
            ) from error
        try:
            found = getattr(loaded, function)
        except AttributeError as error:
            raise FormatError(
                f"{name}: {error}; name a function of that module that returns a Net or a list of layers"
            ) from error
        made = _make(name, found, backend)
    if isinstance(made, Net):
        if backend in ("auto", made.backend.name):
            return made
        other = Net(made.name, backend, made.layers, patch=made.patch_asked, dtype=made.dtype)
        for layer, params in made.params.items():
            for mine, theirs in zip(other.params[layer], params, strict=True):
                if theirs.initialised:
                    mine.data = theirs.values()
        return other
    if not isinstance(made, list | tuple):
        raise UnsupportedError(f"{name}: returned {type(made).__name__}; expected a Net or a list of layers")
    try:
        return Net(function, backend, made)
    except (TopologyError, ShapeError) as error:
        raise type(error)(f"{name}: {error}") from error


def _make(name: str, function: Any, backend: str | Backend) -> Any:
    """Calls it, with the backend if it asks for one."""
    if not callable(function):
        raise UnsupportedError(
            f"{name}: is {type(function).__name__}, no function; it should return a Net or a list of layers"
        )
    try:
        asks = "backend" in inspect.signature(function).parameters
        return function(backend=backend) if asks else function()
    except FullMochaError:
        raise
    except (Exception, SystemExit) as error:
        raise FormatError(f"{name}: failed with {type(error).__name__}: {error}") from error


@contextlib.contextmanager
def _importable_from_here() -> Iterator[None]:
    """The present folder comes first in the search path, as it does for a script."""
    here = os.getcwd()
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)
