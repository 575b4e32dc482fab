"""A net in Caffe's files: its layers as a prototxt, its weights as .caffemodel or .caffemodel.h5; or weights alone.

    Net -> describe_net -> NetParameter -> write_prototxt
       \\-> names, types and wiring of the same layers, and their parameters -> write_caffemodel, write_caffemodel_h5

What a layer is in Caffe's words stands in `translate`, beside the way back.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..beside import Beside, hdf5_beside
from ..blob import Parameter
from ..errors import UnsupportedError, WeightsError
from ..layers import ConvolutionLayer, DeconvolutionLayer, NeuronLayer, SumLossLayer
from ..layers.base import Layer, ParameterLayer
from .schema import Message, text_message
from .translate import WRITERS
from .wire import put_blob, put_bytes, put_int
from .wording import Wording

if TYPE_CHECKING:
    from ..net import Net

Path = str | os.PathLike[str]
Weights = Mapping[str, Sequence[np.ndarray]]
"""Layer name -> its blobs."""

_MAX_BYTES = 2**31 - 1  # of a message: protobuf's readers, and so Caffe, count in 32 bits
_SEVERAL = (ConvolutionLayer, DeconvolutionLayer)  # types that take several bottoms in Caffe too


def describe_net(net: "Net") -> Message:
    """The net as Caffe's NetParameter, layers in running order, without weights.

    Neurons become layers in place; a layer that does the same to k bottoms becomes k layers that share their parameters, unless
    Caffe's type takes several bottoms; parameters that layers share get a `param { name: ... }`.

    Raises
    ------
    UnsupportedError
        For a layer, or an option of one, that Caffe has no words for.

    Examples
    --------
    >>> print(describe_net(fm.Net("tiny", "reference", [fm.InputLayer(tops=["x"], shapes=[(1, 2)])])))
    name: "tiny"
    layer {
      name: "input"
      type: "Input"
      top: "x"
      input_param {
        shape {
          dim: 1
          dim: 2
        }
      }
    }
    <BLANKLINE>
    """
    return text_message("NetParameter")(name=net.name, layer=[layer.message for layer in _layers(net)])


def write_prototxt(path: Path, net: "Net") -> None:
    """Writes the net's layers; `load_caffe` and Caffe read them."""
    from google.protobuf import text_format

    text = text_format.MessageToString(describe_net(net), as_utf8=True)
    with Beside(path, len(text)) as beside:
        beside.path.write_text(text, encoding="utf-8")


def write_caffemodel(path: Path, weights: "Net | Weights") -> None:
    """Writes weights as Caffe's binary message (V2), the numbers bit for bit: float32, or float64 as double_data.

    Parameters
    ----------
    path : path
        Appears whole or not at all.
    weights : Net, or dict of lists of arrays
        Of a net the layers' types, bottoms and tops are written too; a parameter that layers share, with each of them.

    Raises
    ------
    WeightsError
        If the net has parameters without values, or the message would exceed protobuf's 2 GiB.
    """
    name, layers = _named(weights)
    size = sum(len(head.SerializeToString()) + sum(a.nbytes + 99 for a in arrays) for head, arrays in layers)  # at most
    if size > _MAX_BYTES:
        raise WeightsError(
            f"{path}: {size:,} bytes of weights exceed the {_MAX_BYTES:,} that a .caffemodel may have; write .caffemodel.h5"
        )
    with Beside(path, size) as beside, open(beside.path, "wb") as file:
        file.write(put_bytes(1, name.encode()) if name else b"")
        for head, arrays in layers:
            blobs = b"".join(put_bytes(7, put_blob(array)) for array in arrays)
            file.write(put_bytes(100, head.SerializeToString() + blobs))


def write_caffemodel_h5(path: Path, weights: "Net | Weights") -> None:
    """Writes weights as the datasets ``/data/<layer>/<i>``, a group for each layer, as Caffe does.

    A parameter that layers share is stored with the first of them only, which is what Caffe's reader wants.
    """
    _, layers = _named(weights)
    _check_groups(path, {head.name for head, _ in layers})
    once = not isinstance(weights, Mapping)
    stored: set[int] = set()
    size = sum(a.nbytes for _, arrays in layers for a in arrays)
    with hdf5_beside(path, size) as file:
        file.create_group("data")
        for head, arrays in layers:
            group = file.require_group(f"data/{head.name}")
            for i, array in enumerate(arrays):
                if not (once and id(array) in stored):
                    group[str(i)] = array
                    stored.add(id(array))


def _check_groups(path: Path, names: set[str]) -> None:
    """That every layer can have its own group: a slash makes a group within another one."""
    for name in names:
        parts = name.split("/")
        above = ("/".join(parts[:i]) for i in range(1, len(parts)) if parts[i].isdigit())
        clash = next((other for other in above if other in names), None)
        if clash is not None or {"", "."} & set(parts):
            why = f"its place is that of a blob of layer '{clash}'" if clash else "HDF5 drops its slashes or dots"
            raise WeightsError(f"{path}: no group can have the name of layer '{name}': {why}; write .caffemodel")


def write_blob(path: Path, array: np.ndarray) -> None:
    """Writes one array of up to four axes as a .binaryproto file, as Caffe's compute_image_mean does.

    The shape goes into the four old fields, because readers of means other than Caffe's know no others.
    """
    if array.ndim > 4:
        raise WeightsError(f"{path}: a .binaryproto of an image has up to four axes; the array is {array.shape}")
    shape = (*(1,) * (4 - array.ndim), *array.shape)
    message = b"".join(put_int(number, n) for number, n in enumerate(shape, 1))
    message += put_bytes(8 if _numbers("mean", array).dtype == np.float64 else 5, array.tobytes())
    with Beside(path, len(message)) as beside:
        beside.path.write_bytes(message)


# ------------------------------------------------------------------------------------------------------- the net's layers
@dataclass(frozen=True)
class _Written:
    """One layer, ours and in Caffe's words, and what it trains."""

    layer: Layer
    message: Message
    params: Sequence[Parameter]


def _layers(net: "Net") -> list[_Written]:
    shapes = net.sketch.shapes()
    taken = {link.layer.name for link in net.wiring.links}
    used: set[str] = set()
    written: list[_Written] = []
    for layer, bottoms, tops, params in _regrouped(net):
        if isinstance(layer, SumLossLayer) and _becomes_weight(layer, written):
            continue
        message = text_message("LayerParameter")(
            name=layer.name, bottom=layer.bottoms, top=layer.tops, propagate_down=layer.propagate_down
        )
        to = Wording(layer, message, [shapes[b] for b in bottoms], [shapes[t] for t in tops])
        _write(layer, to)
        if not message.type:
            continue
        if layer.name in used:
            neuron = f"_{message.type.lower()}" if isinstance(layer, NeuronLayer) else ""
            message.name = _free(layer.name + neuron, taken | used)
        used.add(message.name)
        written.append(_Written(layer, message, params))
    _name_shared(net, written)
    return written


def _becomes_weight(loss: SumLossLayer, written: Sequence[_Written]) -> bool:
    """Whether the sum could be said as the `loss_weight` of the layer that makes its bottom."""
    (bottom,) = loss.bottoms
    maker = next((w for w in reversed(written) if bottom in w.message.top), None)
    if maker is None or maker.layer.has_loss or not maker.layer.differentiable or loss.tops:
        return False
    said, place = maker.message, list(maker.message.top).index(bottom)
    if not len(said.loss_weight):
        said.loss_weight.extend([0.0] * len(said.top))
    if said.loss_weight[place]:
        return False
    said.loss_weight[place] = loss.weight
    return True


def _write(layer: Layer, to: Wording) -> None:
    if type(layer) not in WRITERS:
        raise UnsupportedError(
            f"{layer.label}: Caffe has no layer like it, or none that is written yet; write the patch net without it, or the "
            "weights alone (.caffemodel)"
        )
    WRITERS[type(layer)](layer, to)


def _regrouped(net: "Net") -> Iterator[tuple[Layer, Sequence[str], Sequence[str], Sequence[Parameter]]]:
    """The layers in running order, with the values that they read and write, and their parameters."""
    pending: tuple[Layer, Sequence[str], Sequence[str], Sequence[Parameter]] | None = None
    for link, node in zip(net.wiring.links, net.nodes, strict=True):
        layer, bottoms, tops = link.layer, link.bottoms, link.tops
        if pending and _one_of_several(pending[0], layer):
            first, *_ = pending
            joined = {f: (*getattr(first, f), *getattr(layer, f)) for f in ("bottoms", "tops", "propagate_down")}
            pending = first.copy(**joined), (*pending[1], *bottoms), (*pending[2], *tops), node.params
            continue
        if pending:
            yield pending
        pending = layer, bottoms, tops, node.params
    if pending:
        yield pending


def _one_of_several(first: Layer, second: Layer) -> bool:
    """Whether the second is the first's next bottom, in a type that takes several."""
    if type(first) not in _SEVERAL or first.name != second.name or set(second.bottoms) & set(first.tops):
        return False
    blank: dict[str, Any] = {"bottoms": (), "tops": (), "propagate_down": ()}
    return first.copy(**blank) == second.copy(**blank)


def _free(name: str, taken: set[str]) -> str:
    """The name, or the first of name-2, name-3, ... that is free."""
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name}-{number}"
    return free


def _name_shared(net: "Net", written: Sequence[_Written]) -> None:
    """Gives every parameter that several written layers have a name of its own."""
    names: dict[int, str] = {}
    users: dict[int, int] = {}
    for layer in written:
        for i, parameter in enumerate(layer.params):
            users[id(parameter)] = users.get(id(parameter), 0) + 1
            if i < len(layer.message.param) and layer.message.param[i].name:
                names.setdefault(id(parameter), layer.message.param[i].name)
    keys = {node.layer.name: node.layer.param_key for node in net.nodes if isinstance(node.layer, ParameterLayer)}
    for layer in written:
        for i, parameter in enumerate(layer.params):
            if users[id(parameter)] < 2:
                continue
            if id(parameter) not in names:
                key = keys.get(layer.message.name) or layer.message.name
                names[id(parameter)] = _free(f"{key}_{parameter.role}", set(names.values()))
            while len(layer.message.param) <= i:
                layer.message.param.add()
            layer.message.param[i].name = names[id(parameter)]


# ------------------------------------------------------------------------------------------------------------ the weights
def _named(weights: "Net | Weights") -> tuple[str, list[tuple[Message, list[np.ndarray]]]]:
    """The net's name, and for each layer a LayerParameter that says who it is, with its blobs; one array per parameter."""
    kind = text_message("LayerParameter")
    if isinstance(weights, Mapping):
        arrays = {name: [_numbers(name, a) for a in blobs] for name, blobs in weights.items()}
        return "", [(kind(name=name), blobs) for name, blobs in arrays.items()]
    values: dict[int, np.ndarray] = {}
    layers = []
    for layer in _layers(weights):
        said = layer.message
        for parameter in layer.params:
            if id(parameter) not in values:
                if not parameter.initialised:
                    raise WeightsError(
                        f"layer '{said.name}': its {parameter.role} has no values yet; load weights, or call net.init()"
                    )
                values[id(parameter)] = parameter.values()
        head = kind(name=said.name, type=said.type, bottom=said.bottom, top=said.top)
        layers.append((head, [values[id(p)] for p in layer.params]))
    return weights.name, layers


def _numbers(layer: str, blob: np.ndarray) -> np.ndarray:
    array = np.asarray(blob)
    if array.dtype not in (np.float32, np.float64):
        raise WeightsError(f"layer '{layer}': a blob holds {array.dtype}; Caffe's hold float32 or float64")
    return array
