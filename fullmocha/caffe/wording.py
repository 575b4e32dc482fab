"""One layer of ours put into Caffe's words: what the functions in `translate` that write a layer fill in.

Only what differs from Caffe's default is said, so that a written prototxt reads as a person would have written it.
"""

from collections.abc import Sequence
from typing import Any

from ..blob import Shape
from ..constraints import NoCons
from ..errors import UnsupportedError
from ..initializers import (
    BilinearInitializer,
    ConstantInitializer,
    GaussianInitializer,
    Initializer,
    MSRAInitializer,
    PositiveUnitballInitializer,
    UniformInitializer,
    XavierInitializer,
)
from ..layers.base import Layer, ParameterLayer
from ..regularizers import L2Regu, NoRegu
from .layertext import NORMS
from .schema import Message


class Wording:
    """A LayerParameter being written.

    Attributes
    ----------
    layer
        Ours.
    message
        The LayerParameter; name, bottoms, tops and propagate_down are there already. A layer that leaves its type empty is
        left out of the net.
    bottoms, tops : list of shapes
        For one patch, batch axis first.
    """

    def __init__(
        self, layer: Layer, message: Message, bottoms: Sequence[Shape] = (), tops: Sequence[Shape] = ()
    ) -> None:
        self.layer, self.message = layer, message
        self.bottoms, self.tops = list(bottoms), list(tops)

    def block(self, kind: str, name: str = "") -> Message:
        """Sets the type, and returns its block of parameters, if it has one."""
        self.message.type = kind
        return getattr(self.message, name) if name else None

    def refuse(self, why: str) -> UnsupportedError:
        """Something of ours that Caffe has no words for."""
        return UnsupportedError(f"{self.layer.label}: {why}")

    def say(self, block: Message, **fields: Any) -> None:
        """Sets fields that differ from Caffe's defaults."""
        for name, value in fields.items():
            if value != getattr(block, name):
                setattr(block, name, value)

    def sizes(self, block: Message, name: str, sizes: Sequence[int], plain: int | None = None) -> None:
        """A repeated spatial field, once if it is the same along every axis; nothing where that is `plain`."""
        if len(set(sizes)) == 1:
            if sizes[0] != plain:
                getattr(block, name).append(sizes[0])
        else:
            getattr(block, name).extend(sizes)

    def parameters(self, *roles: str) -> None:
        """The `param` specs of the roles, in Caffe's order: names, rates and decays."""
        assert isinstance(self.layer, ParameterLayer)
        names = self.layer.shared_names(len(roles))
        specs = [
            (n, getattr(self.layer, f"{role}_lr"), self._decay(role)) for n, role in zip(names, roles, strict=True)
        ]
        if any(spec != ("", 1.0, 1.0) for spec in specs):
            for name, rate, decay in specs:
                self.say(self.message.param.add(), name=name, lr_mult=rate, decay_mult=decay)

    def weight_and_bias(self, block: Message, role: str) -> None:
        """bias_term, the fillers of the weights and the bias, and their `param` specs."""
        layer: Any = self.layer
        self.say(block, bias_term=layer.bias)
        self.filler(block.weight_filler, getattr(layer, f"{role}_init"))
        if layer.bias:
            self.filler(block.bias_filler, layer.bias_init)
        self.parameters(*(role, "bias")[: 1 + layer.bias])

    def _decay(self, role: str) -> float:
        regularizer = getattr(self.layer, f"{role}_regu")
        if not isinstance(getattr(self.layer, f"{role}_cons"), NoCons):
            raise self.refuse(f"{role}_cons has no words in Caffe; write it without the constraint")
        if isinstance(regularizer, NoRegu):
            return 0.0
        if isinstance(regularizer, L2Regu):  # Mocha's gradient is 2 coef w, Caffe's decay_mult w
            return float(regularizer.coef * (2 if regularizer.convention == "mocha" else 1))
        raise self.refuse(f"{role}_regu {regularizer!r} has no words in Caffe, where only the solver chooses L1 or L2")

    def filler(self, to: Message, initializer: Initializer) -> None:
        """How a parameter starts."""
        match initializer:
            case ConstantInitializer(value):
                self.say(to, value=float(value))
            case UniformInitializer(low, high):
                to.type, to.min, to.max = "uniform", low, high
            case GaussianInitializer(mean, std, sparse):
                to.type = "gaussian"
                self.say(to, mean=float(mean), std=float(std), sparse=-1 if sparse is None else sparse)
            case PositiveUnitballInitializer():
                to.type = "positive_unitball"
            case XavierInitializer(norm):
                to.type = "xavier"
                self.say(to, variance_norm=NORMS.index(norm))
            case MSRAInitializer(norm):
                to.type = "msra"
                self.say(to, variance_norm=NORMS.index(norm))
            case BilinearInitializer():
                to.type = "bilinear"
            case _:
                raise self.refuse(f"{initializer!r} has no filler in Caffe; the weights themselves can be written")
