"""Mocha's functions by name, for scripts that are ported line by line; one-liners over nets, layers and blobs."""

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np

from .backend import Backend
from .blob import Blob, Parameter
from .coffee import CoffeeLounge, ValidationPerformance
from .coffee.validation import Listener
from .layers import Layer
from .layers.base import Node
from .net import Net

ROLES = {"W": "weight", "b": "bias", "filter": "filter", "bias": "bias"}  # Mocha's field -> our parameter's role
N = TypeVar("N", Net, Backend)
L = TypeVar("L", bound=Layer)


# ----------------------------------------------------------------------------------------------------------------- nets
def init(what: N) -> N:
    """Draws the initial values of a net; a backend needs nothing, the call is there because Mocha had it."""
    if isinstance(what, Net):
        what.init()
    return what


def forward(net: Net, regu_coef: float = 0.0) -> float:
    """One pass; the sum of the losses. As in Mocha, regularizers are no part of it, whatever their coefficient."""
    return net.forward()


def backward(net: Net, regu_coef: float = 0.0) -> None:
    """The gradients of the losses, and of the regularizers times their coefficient."""
    net.backward(regu_coef)


def forward_backward(net: Net, regu_coef: float = 0.0) -> float:
    """Both passes."""
    return net.forward_backward(regu_coef)


def forward_epoch(net: Net) -> None:
    """Forward passes until the first data layer has delivered every sample."""
    net.forward_epoch()


def get_epoch(net: Net) -> int:
    """How often the first data layer has delivered all its samples."""
    return net.get_epoch()


def destroy(net: Net) -> None:
    """Closes what output layers wrote, and frees the blobs."""
    net.destroy()


def check_bp_topology(net: Net) -> None:
    """Refuses a net with a trained layer that no loss depends on."""
    net.check_bp_topology()


def reset_statistics(net: Net) -> None:
    """Starts all running averages anew."""
    net.reset_statistics()


def freeze(net: Net, *keys: str | int) -> None:
    """Keeps these layers' parameters as they are."""
    net.freeze(*keys)


def unfreeze(net: Net, *keys: str | int) -> None:
    """Lets these layers be trained again."""
    net.unfreeze(*keys)


def freeze_all(net: Net) -> None:
    """Freezes every layer."""
    net.freeze(*net.params)


def unfreeze_all(net: Net) -> None:
    """Lets every layer be trained again."""
    net.unfreeze(*net.params)


# --------------------------------------------------------------------------------------------------------------- layers
def copy(layer: L, **changes: Any) -> L:
    """The layer with other values of some fields."""
    return layer.copy(**changes)


def get_layer(net: Net, key: str | int) -> Layer:
    """A layer's config, by name or by its 0-based place in running order."""
    return net.node(key).layer


def get_layer_state(net: Net, key: str | int) -> "LayerState":
    """A layer's blobs and parameters under Mocha's names."""
    return LayerState(net, net.node(key))


def is_frozen(state: "LayerState") -> bool:
    """Whether a layer's parameters are kept as they are."""
    return state.frozen


class LayerState:
    """What Mocha's layer states have: blobs and parameters under its names, and whatever the layer's own state has.

    Attributes
    ----------
    layer : Layer
    blobs, blobs_diff : list of Blob
        The tops and their gradients (None where there is none), neuron and layers in place included.
    parameters : list of Parameter
        Each with its `gradient`.
    W, b, grad_W, grad_b : Blob
        Of an inner product.
    filter, bias, grad_filter, grad_bias : Blob
        Of a convolution.
    """

    def __init__(self, net: Net, node: Node) -> None:
        self.net, self.node, self.layer = net, node, node.layer

    @property
    def _tops(self) -> list[str]:
        """The names of all tops: a layer that does the same to k bottoms is k nodes."""
        return list(dict.fromkeys(t for n in self.net.nodes if n.layer.name == self.layer.name for t in n.layer.tops))

    @property
    def blobs(self) -> list[Blob]:
        return [self.net.output_blobs[top] for top in self._tops]

    @property
    def blobs_diff(self) -> list[Blob | None]:
        return [self.net.diff_blobs.get(top) for top in self._tops]

    @property
    def parameters(self) -> list[Parameter]:
        return self.node.params

    @property
    def frozen(self) -> bool:
        return self.node.frozen

    @property
    def epoch(self) -> int:
        """Of a data layer."""
        return int(self.node.state.cursor.epoch)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # asked by copy and the like, before there is a node
            raise AttributeError(name)
        role = ROLES.get(name.removeprefix("grad_"))
        for parameter in self.node.params:
            if parameter.role == role:
                return parameter.need_gradient() if name.startswith("grad_") else parameter
        if hasattr(self.node.state, name):
            return getattr(self.node.state, name)
        has = [*(p.role for p in self.node.params), *vars(self.node.state or object)]
        raise AttributeError(
            f"the state of {self.layer.label} has no {name!r}; it has blobs, blobs_diff, parameters, {has}"
        )


# ---------------------------------------------------------------------------------------------------------------- blobs
def make_blob(backend: Backend, dtype: Any, shape: Sequence[int]) -> Blob:
    """A blob of its own; axes in numpy's order, the reverse of Mocha's."""
    return Blob("blob", tuple(shape), np.dtype(dtype), backend.ops)


def to_array(blob: Blob) -> np.ndarray:
    """A copy of the values."""
    return np.array(blob.ops.to_host(blob.array))


def copy_to(blob: Blob, values: Any) -> None:
    """Mocha's `copy!`: overwrites the values."""
    blob.data = np.asarray(values).reshape(blob.shape)


def fill(blob: Blob, value: float) -> None:
    """Sets every element."""
    blob.data = value


def erase(blob: Blob) -> None:
    """Sets every element to 0."""
    blob.data = 0.0


# --------------------------------------------------------------------------------------------------------------- coffee
def register(coffee: ValidationPerformance, listener: Listener) -> None:
    """Has `listener(lounge, net, state)` called after every validation."""
    coffee.register(listener)


def update_statistics(lounge: CoffeeLounge, key: str, value: float) -> None:
    """Writes down a value for the present iteration."""
    lounge.update_statistics(key, value)


def get_statistics(lounge: CoffeeLounge, key: str) -> dict[int, float]:
    """All values of that name, by iteration."""
    return lounge.get_statistics(key)


def save_statistics(lounge: CoffeeLounge) -> None:
    """Writes the lounge's file, if there is news."""
    lounge.save_statistics()
