"""What `fullmocha convert` does with nets: a door for each format that a net is written in."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ..errors import FormatError

if TYPE_CHECKING:
    from ..net import Net

SOURCES = (".prototxt", ".pbtxt", ".onnx")


def is_net(name: str) -> bool:
    """Whether the name is a net's: a prototxt, an ONNX graph, or module:function where no file has that name."""
    from .nets import FUNCTION, split_patch

    return split_patch(name)[0].lower().endswith(SOURCES) or (
        bool(FUNCTION.fullmatch(name)) and not os.path.exists(name)
    )


def convert_net(
    source: str,
    target: str,
    weights: str | None,
    allow_missing: bool,
    *,
    deployed: bool = False,
    dense: bool = False,
    output: str | None = None,
) -> str:
    """Writes the net, or its weights alone; returns what to tell the user."""
    from .nets import load_net

    graph = target.lower().endswith(".onnx")
    if dense and not graph:
        raise FormatError(f"{target}: --dense is for ONNX graphs alone; Caffe's formats take the net for one patch")
    if output is not None and not (graph or deployed):
        raise FormatError(
            f"{target}: --output is for ONNX graphs, and goes with --deploy; else the whole net is written"
        )
    writer = next((w for suffix, w in WRITERS.items() if target.lower().endswith(suffix)), None)
    if writer is None:
        raise FormatError(f"{target}: its suffix names no format of nets; use one of {', '.join(WRITERS)}")
    layers_alone = writer is _prototxt and weights is None
    net = load_net(source, weights, "reference", allow_missing, draw=layers_alone)
    if deployed:
        from ..answering import deploy

        net = deploy(net, output)
    done = writer(target, net) if writer is not _onnx else _onnx(target, net, dense, output)
    if writer is _prototxt and weights is not None:
        done += "\n" + _caffemodel(weights_beside(target), net)
    return done


def weights_beside(target: str) -> str:
    """Where a prototxt's weights are written; what is no prototxt has none beside it."""
    return os.path.splitext(target)[0] + ".caffemodel" if target.lower().endswith(".prototxt") else target


def _prototxt(path: str, net: Net) -> str:
    from ..caffe.writing import write_prototxt

    write_prototxt(path, net)
    return f"wrote {path}: {len(net.layers)} layers"


def _caffemodel(path: str, net: Net) -> str:
    from ..caffe.writing import write_caffemodel

    write_caffemodel(path, net)
    return _told(path, net)


def _caffemodel_h5(path: str, net: Net) -> str:
    from ..caffe.writing import write_caffemodel_h5
    from .convert_weights import refuse_loss

    refuse_loss(path)
    write_caffemodel_h5(path, net)
    return _told(path, net)


def _ours(path: str, net: Net) -> str:
    from ..solvers.model import save_network
    from .convert_weights import refuse_loss

    refuse_loss(path)
    save_network(net, path)
    return _told(path, net)


def _onnx(path: str, net: Net, dense: bool = False, output: str | None = None) -> str:
    from ..onnx import save_onnx

    save_onnx(net, path, dense=dense, output=output)
    return f"wrote {path}: opset 17, {'for images of any size' if dense else 'for one patch'}"


def _told(path: str, net: Net) -> str:
    return f"wrote {path}: {len(net.params)} layers, {sum(p.values().size for p in net.parameters):,} values"


# Suffix of OUT -> what writes it and says so; a longer suffix stands before those that it ends in.
WRITERS = {
    ".prototxt": _prototxt,
    ".caffemodel": _caffemodel,
    ".caffemodel.h5": _caffemodel_h5,
    ".h5": _ours,
    ".onnx": _onnx,
}
