"""Nets in ONNX: written so that what is trained here runs elsewhere, and read so that what was trained elsewhere runs here.

graph.py      a graph under construction
export.py     the program of a net as a graph; operators.py has the nodes of each op
Needs the extra `onnx`.
"""

import os
from typing import TYPE_CHECKING

from ..errors import UnsupportedError

if TYPE_CHECKING:
    from ..net import Net

Path = str | os.PathLike[str]


def require_onnx() -> None:
    """Refuses to go on where the package onnx is not installed."""
    try:
        import onnx  # noqa: F401
    except ImportError:
        raise UnsupportedError('ONNX needs the package onnx; install it with: pip install "fullmocha[onnx]"') from None


def save_onnx(net: "Net", path: Path, dense: bool = False, output: str | None = None) -> None:
    """Writes a net as an ONNX graph of opset 17, with its weights.

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

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from fullmocha.models import lenet
    >>> net = fm.Net("lenet", "reference", lenet())
    >>> net.init()
    >>> fm.save_onnx(net, pathlib.Path(tempfile.mkdtemp()) / "lenet.onnx", dense=True)
    """
    require_onnx()
    from ..beside import Beside
    from .export import export

    model = export(net, dense, output).SerializeToString()
    with Beside(path, len(model)) as beside:
        beside.path.write_bytes(model)


__all__ = ["require_onnx", "save_onnx"]
