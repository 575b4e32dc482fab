"""Nets in ONNX: written so that what is trained here runs elsewhere, and read so that what was trained elsewhere runs here.

graph.py      a graph under construction
export.py     the program of a net as a graph; operators has the nodes of each op
load.py       a file as a net, node by node: reader.py has what is known so far, importers the layers of each operator,
              folding.py what depends on shapes alone, padding.py the zeros that wait for a window
Needs the extra `onnx`.
"""

import os
from typing import TYPE_CHECKING

from ..errors import UnsupportedError, WeightsError

if TYPE_CHECKING:
    from ..backend import Backend
    from ..layers.checks import Sizes
    from ..net import Net

Path = str | os.PathLike[str]

_MOST_BYTES = 2**31 - 2**24  # of a message, less room for what is no weights: protobuf counts in 32 bits


def _require_onnx() -> None:
    """Refuses to go on where the package onnx is not installed."""
    try:
        import onnx  # noqa: F401
    except ImportError:
        raise UnsupportedError('ONNX needs the package onnx; install it with: pip install "fullmocha[onnx]"') from None


def save_onnx(net: "Net", path: Path, dense: bool = False, output: str | None = None) -> None:
    """Writes a net as an ONNX graph of opset 17, with its weights, in the net's precision: few runtimes have float64.

    Parameters
    ----------
    net : Net
        Its image source becomes the graph's input, with the scale and mean that the data layer declares as its first nodes.
    path : path
        The .onnx file; it appears whole or not at all.
    dense : bool
        False: the net for one patch, with an open batch. True: the net that answers for every window of an image, in the form
        with strided kernels, with open batch, rows and columns.
    output : str, optional
        The blob wanted, where the net has several outputs.

    Raises
    ------
    UnsupportedError
        If onnx is not installed, or an operation has no ONNX form.
    NotDenseError
        With `dense`, if some layer has no dense form.
    ShapeError
        With `dense`, if the data layer takes off the mean of whole images, which fits one size alone.
    WeightsError
        If the weights exceed the 2 GiB that an ONNX file may have.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from fullmocha.models import lenet
    >>> net = fm.Net("lenet", "reference", lenet())
    >>> net.init()
    >>> fm.save_onnx(net, pathlib.Path(tempfile.mkdtemp()) / "lenet.onnx", dense=True)
    """
    _require_onnx()
    from ..beside import Beside
    from .export import export

    model = export(net, dense, output)
    size = sum(len(tensor.raw_data) for tensor in model.graph.initializer)
    if size > _MOST_BYTES:
        raise WeightsError(
            f"{os.fspath(path)}: {size:,} bytes of weights exceed the {_MOST_BYTES:,} that an .onnx file may have; make the net smaller"
        )
    raw = model.SerializeToString()
    with Beside(path, len(raw)) as beside:
        beside.path.write_bytes(raw)


def load_onnx(
    path: Path,
    backend: "str | Backend" = "auto",
    patch: "Sizes | None" = None,
    dtype: str = "float32",
) -> "Net":
    """A net from an ONNX graph, e.g. one that PyTorch has exported.

    Parameters
    ----------
    path : path
        The .onnx file, weights included.
    backend : str or Backend
        Where to compute.
    patch : int or (width, height), optional
        The size of the window, where the graph leaves the rows and columns of its input open.
    dtype : {"float32", "float64"}
        What to compute in.

    Returns
    -------
    Net
        In the phase of answering: batch normalisation uses stored statistics, dropout is left out.

    Notes
    -----
    Opsets 7 to 21, and what classifiers and U-Nets are made of. Where nothing here computes the same, a node is refused: above
    all the exact GELU (its form by tanh is read), bilinear resizing with align_corners, padding by anything but zeros, and axes
    that are turned around. LogSoftmax ends at ln 1e-37. Padding, normalisation by a patch's own statistics, and gates made of
    its means are read too, but nets that have them are no dense nets: ``predict(net, image, engine="sliding")`` takes them.

    Raises
    ------
    FormatError
        If the file is cut, corrupt or no ONNX graph.
    UnsupportedError
        If a node, or an attribute of it, has no layer here; or onnx is not installed.
    ShapeError
        If the input's rows and columns are open and `patch` does not say them, or a layer does not fit.
    WeightsError
        If weights do not fit the patch asked for, or are not finite.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from fullmocha.models import lenet
    >>> net = fm.Net("lenet", "reference", lenet())
    >>> net.init()
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "lenet.onnx"
    >>> fm.save_onnx(net, path)
    >>> fm.predict(fm.load_onnx(path, "reference"), np.ones((6, 7))).shape
    (10, 6, 7)
    """
    _require_onnx()
    from .load import load

    return load(path, backend, patch, dtype)


__all__ = ["load_onnx", "save_onnx"]
