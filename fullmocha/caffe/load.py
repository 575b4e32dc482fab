"""A prototxt, and perhaps weights, to a net that is ready to run."""

import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import BudgetError, ShapeError, TopologyError
from ..layers import ConvolutionLayer, InnerProductLayer
from ..layers.base import ParameterLayer
from .layertext import LayerText
from .rules import Phase, select, upgrade
from .schema import Message
from .sharing import settle_sharing
from .text import read_prototxt
from .translate import Config, translate
from .weights import Place, Wanted, fit, read_weights

if TYPE_CHECKING:
    from ..backend import Backend
    from ..net import Net

Path = str | os.PathLike[str]


@dataclass(frozen=True)
class Part:
    """One layer of the file, and ours that do the same: the layer, and what `loss_weight` makes of its tops."""

    text: LayerText
    layers: Sequence[Config]


@dataclass(frozen=True)
class Described:
    """What a prototxt describes, before it is a net.

    Attributes
    ----------
    name : str
        The net's.
    force_backward : bool
        Whether Caffe would compute every gradient, also of parameters that are not trained.
    parts : list of Part
        Its layers in the file's order.
    """

    name: str
    force_backward: bool
    parts: Sequence[Part]

    @property
    def layers(self) -> list[Config]:
        """Our layer configs."""
        return [layer for part in self.parts for layer in part.layers]

    @property
    def texts(self) -> list[LayerText]:
        """What each of `layers` was made of."""
        return [part.text for part in self.parts for _ in part.layers]


def describe(prototxt: Path, phase: Phase = "test", stages: Sequence[str] = (), level: int | None = None) -> Described:
    """Read a prototxt and translate the layers of one phase, level and set of stages."""
    return describe_message(read_prototxt(prototxt), os.fspath(prototxt), phase, stages, level)


def describe_message(
    message: Message, source: str, phase: Phase, stages: Sequence[str] = (), level: int | None = None
) -> Described:
    """The same for a net that has been read; ``source`` is named in errors."""
    net = select(upgrade(message, source), phase, source, stages, level)
    texts = [LayerText(layer, phase, source) for layer in net.layer]
    settle_sharing(texts)
    parts = [Part(text, translate(text)) for text in texts]
    _check_names(parts)
    _check_weighed(parts)
    return Described(net.name, net.force_backward, parts)


def _check_names(parts: Sequence[Part]) -> None:
    """Our nets would share the parameters of layers of one name, Caffe does not."""
    seen: set[str] = set()
    for part in parts:
        if any(isinstance(layer, ParameterLayer) for layer in part.layers):
            if part.text.name in seen:
                raise part.text.refuse("another layer with weights has this name; give each a name of its own")
            seen.add(part.text.name)


def _check_weighed(parts: Sequence[Part]) -> None:
    """Where a later layer changes a top in place, Caffe weighs the value before, and our sum would see the one after."""
    for i, part in enumerate(parts):
        later = {top for other in parts[i + 1 :] for top in other.text.tops}
        for extra in part.layers[1:]:
            if extra.bottoms[0] in later:
                raise part.text.refuse(
                    f"loss_weight is on top '{extra.bottoms[0]}', which a later layer changes in place; give that layer a top "
                    "of its own"
                )


def load(
    prototxt: Path,
    weights: Path | None,
    backend: "str | Backend",
    phase: Phase,
    dtype: str,
    allow_missing: bool,
    stages: Sequence[str] = (),
    level: int | None = None,
    *,
    draw: bool = True,
) -> "Net":
    """`fullmocha.caffe.load_caffe`; without ``draw``, what has no weights is left for the caller's `Net.init`."""
    found = describe(prototxt, phase, stages, level)
    return build(found, os.fspath(prototxt), weights, backend, dtype, allow_missing, draw)


def build(
    found: Described,
    source: str,
    weights: Path | None,
    backend: "str | Backend",
    dtype: str,
    allow_missing: bool,
    draw: bool = True,
) -> "Net":
    """The net that has been described; ``source`` is named in errors."""
    from ..backend import make_backend
    from ..net import Net

    blobs = None if weights is None else read_weights(weights)
    backend = make_backend(backend)
    known = set(backend.registry)
    try:
        net = Net(found.name or "caffe", backend, found.layers, dtype=dtype)
        if blobs is not None:
            net.load_params(fit(blobs, wanted_by(net, found), os.fspath(weights or ""), net.dtype, allow_missing))
        if draw:
            net.init()  # whatever was not loaded
    except BaseException as error:
        for key in set(backend.registry) - known:  # as if nothing had been tried
            del backend.registry[key]
        if isinstance(error, ShapeError | TopologyError):
            raise type(error)(f"{source}: {error}") from error
        if isinstance(error, MemoryError):
            raise BudgetError(f"{source}: the net's parameters do not fit into memory; {error}") from error
        raise
    if not found.force_backward:  # like Caffe, compute no gradient for what is not trained
        net.freeze(*(name for name, params in net.params.items() if all(p.local_rate == 0 for p in params)))
    return net


def wanted_by(net: "Net", found: Described) -> dict[str, Wanted]:
    """For every layer that has parameters: their shapes, and where a file may have them."""
    sharers: dict[str, list[Place]] = defaultdict(list)
    for layer, text in zip(found.layers, found.texts, strict=True):
        for i, name in enumerate(layer.param_names if isinstance(layer, ParameterLayer) else ()):
            sharers[name].append((text.name, i))
    wanted = {}
    for layer, text in zip(found.layers, found.texts, strict=True):
        params: Sequence[Any] = net.params.get(layer.name, ())
        if params:
            names = layer.shared_names(len(params))
            wanted[layer.name] = Wanted(
                text.name,
                [p.shape for p in params],
                [sharers[name] if name else [] for name in names],
                reshapes=isinstance(layer, InnerProductLayer)
                or (isinstance(layer, ConvolutionLayer) and layer.n_group == 1),
                transposed=text.transposed,
                statistics=text.message.type == "BatchNorm",
            )
    return wanted
