"""One layer of a prototxt as a translation reads it: nothing that the file sets may go unnoticed."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..constraints import NoCons
from ..errors import FormatError, UnsupportedError
from ..initializers import (
    BilinearInitializer,
    ConstantInitializer,
    Fan,
    GaussianInitializer,
    Initializer,
    MSRAInitializer,
    PositiveUnitballInitializer,
    UniformInitializer,
    XavierInitializer,
)
from ..layers.checks import Sizes
from ..regularizers import L2Regu, NoRegu
from .rules import Phase
from .schema import Message

Config = Any
"""A layer config of fullmocha.layers."""

# Choices of Caffe between implementations of the same arithmetic.
_HARMLESS = {"engine", "force_nd_im2col"}
NORMS: tuple[Fan, ...] = ("fan_in", "fan_out", "average")  # as Caffe numbers them


class Parameters:
    """A ``<type>_param`` block that remembers which of its fields were asked for."""

    def __init__(self, message: Message) -> None:
        self._message, self._asked = message, set(_HARMLESS)

    def __getattr__(self, name: str) -> Any:
        """The field's value, or its default."""
        self._asked.add(name)
        return getattr(self._message, name)

    def has(self, name: str) -> bool:
        """Whether the file sets the field."""
        self._asked.add(name)
        return bool(self._message.HasField(name))

    def unread(self) -> list[str]:
        """The fields that the file sets and nobody asked for."""
        return [f.name for f, _ in self._message.ListFields() if f.name not in self._asked]


@dataclass
class LayerText:
    """A layer of the upgraded, filtered net.

    Attributes
    ----------
    message
        Its LayerParameter.
    phase : {"train", "test"}
        The net's phase, or the layer's own.
    source : str
        The file, for messages.
    specs
        Its ParamSpecs, where shared ones are already settled between their layers.
    transposed : bool
        Whether the file of weights holds columns for rows (InnerProduct's ``transpose``).
    """

    message: Message
    phase: Phase
    source: str
    specs: Sequence[Message] = ()
    transposed: bool = False
    _blocks: dict[str, Parameters] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.specs = list(self.message.param)
        if self.message.HasField("phase"):
            self.phase = ("train", "test")[self.message.phase]

    @property
    def name(self) -> str:
        return str(self.message.name)

    @property
    def bottoms(self) -> list[str]:
        return list(self.message.bottom)

    @property
    def tops(self) -> list[str]:
        return list(self.message.top)

    @property
    def wiring(self) -> dict[str, Any]:
        """What every layer config takes."""
        return {"name": self.name, "bottoms": self.bottoms, "tops": self.tops}

    def block(self, name: str) -> Parameters:
        """The block of parameters ``name``; its defaults where the file has none."""
        if name not in self._blocks:
            self._blocks[name] = Parameters(getattr(self.message, name))
        return self._blocks[name]

    def refuse(self, why: str) -> UnsupportedError:
        """Something that Caffe has and this version has not."""
        return UnsupportedError(f"{self.source}: layer '{self.name}' ({self.message.type}): {why}")

    def wrong(self, why: str) -> FormatError:
        """Something that Caffe would refuse too."""
        return FormatError(f"{self.source}: layer '{self.name}' ({self.message.type}): {why}")

    def finish(self) -> None:
        """Refuse what the translation did not look at."""
        for descriptor, _ in self.message.ListFields():
            name = descriptor.name
            if name.endswith("_param") and name not in self._blocks:
                raise self.refuse(f"{name} has no meaning for this type; remove it")
        for name, block in self._blocks.items():
            if block.unread():
                raise self.refuse(f"{name} sets {', '.join(block.unread())}, which this version does not have")
        if len(self.message.blobs):
            raise self.refuse("its weights stand in the prototxt; put them into a .caffemodel and give it as weights")

    # -------------------------------------------------------------------------------------------- what many types have
    def parameters(self, fillers: Mapping[str, Message | Initializer], rates: Sequence[float] = ()) -> dict[str, Any]:
        """The fields of a layer's parameters, given for each in Caffe's order its role and filler.

        For a role "filter": filter_init, filter_lr, filter_regu, filter_cons; and for all of them together, the names under which
        layers share them. `rates` are their lr_mult where the file has no `param` for them, 1 unless given.
        """
        if len(self.specs) > len(fillers):
            raise self.wrong(f"has {len(self.specs)} param blocks for {len(fillers)} parameters")
        names = [str(spec.name) for spec in self.specs]
        fields: dict[str, Any] = {"param_names": names if any(names) else ()}
        for i, (role, filler) in enumerate(fillers.items()):
            rate, decay = rates[i] if i < len(rates) else 1.0, 1.0
            if i < len(self.specs):
                rate, decay = self.number(self.specs[i], "lr_mult"), self.number(self.specs[i], "decay_mult", 0)
            fields |= {
                f"{role}_init": filler if isinstance(filler, Initializer) else self.initializer(filler),
                f"{role}_lr": rate,
                f"{role}_regu": L2Regu(coef=decay, convention="caffe") if decay else NoRegu(),
                f"{role}_cons": NoCons(),
            }
        return fields

    def weight_and_bias(self, role: str, block: Parameters) -> dict[str, Any]:
        """The same for a block with num_output, weight_filler, bias_term and bias_filler."""
        bias = bool(block.bias_term)
        fillers = {role: block.weight_filler} | ({"bias": block.bias_filler} if bias else {})
        block.has("bias_filler")  # harmless without a bias, as in Caffe
        return {"bias": bias} | self.parameters(fillers)

    def num_output(self, block: Parameters) -> int:
        if block.num_output < 1:
            raise self.wrong("num_output is missing")
        return int(block.num_output)

    def initializer(self, filler: Message) -> Initializer:
        """Caffe's filler; fields of other fillers are let pass, as Caffe does."""
        norm: Fan = NORMS[filler.variance_norm]
        if self.transposed and norm != "average":  # Caffe counts on its own, transposed shape
            norm = "fan_out" if norm == "fan_in" else "fan_in"
        if self.transposed and (filler.type == "positive_unitball" or filler.sparse >= 0):
            raise self.refuse(
                "a sparse filler, or positive_unitball, of transposed weights is not built; draw them otherwise"
            )
        sparse = int(filler.sparse) if filler.sparse >= 0 else None
        makers = {
            "constant": lambda: ConstantInitializer(self.number(filler, "value")),
            "uniform": lambda: self._uniform(self.number(filler, "min"), self.number(filler, "max")),
            "gaussian": lambda: GaussianInitializer(self.number(filler, "mean"), self.number(filler, "std", 0), sparse),
            "positive_unitball": PositiveUnitballInitializer,
            "xavier": lambda: XavierInitializer(variance_norm=norm),
            "msra": lambda: MSRAInitializer(variance_norm=norm),
            "bilinear": BilinearInitializer,
        }
        if filler.type not in makers:
            raise self.refuse(f"filler '{filler.type}' is not built; choose one of {', '.join(sorted(makers))}")
        return makers[filler.type]()

    def _uniform(self, least: float, most: float) -> Initializer:
        if least > most:
            raise self.wrong(f"the filler's min {least:g} is above its max {most:g}")
        return UniformInitializer(least, most)

    def number(self, block: Parameters | Message, name: str, least: float | None = None) -> float:
        """A finite number, of at least ``least``."""
        return self._checked(getattr(block, name), name, least)

    def numbers(self, block: Parameters | Message, name: str) -> list[float]:
        """A repeated field of finite numbers."""
        return [self._checked(value, name) for value in getattr(block, name)]

    def _checked(self, value: Any, name: str, least: float | None = None) -> float:
        value = float(value)
        if not math.isfinite(value) or (least is not None and value < least):
            bound = "" if least is None else f" of at least {least:g}"
            raise self.wrong(f"{name} is {value:g}; expected a finite number{bound}")
        return value

    def sizes(self, block: Parameters, name: str, least: int, short: str = "") -> Sizes | None:
        """A spatial field: ``kernel_size: 3`` for all axes, or one per axis, rows first; or ``kernel_h``/``kernel_w``.

        Equal numbers are one for all axes, however many: a published net (pygt_isbi2012) gives three of them for its images.
        """
        many = [int(n) for n in getattr(block, name)]
        pair = (f"{short}_h", f"{short}_w")
        if short and (block.has(pair[0]) | block.has(pair[1])):
            if many:
                raise self.wrong(f"has both {name} and {short}_h or {short}_w; expected one of them")
            many = [int(getattr(block, key)) for key in pair]
        if not many:
            return None
        if min(many) < least:
            raise self.wrong(f"{name} is {many}; expected at least {least}")
        return many[0] if len(set(many)) == 1 else tuple(many)

    def blob(self, file: str, field: str) -> np.ndarray:
        """The array of a .binaryproto file that ``field`` names."""
        from .blobs import read_blob

        try:
            array = read_blob(file)
        except FormatError as error:
            raise self.wrong(f"{field}: {error}") from error
        if not np.isfinite(array).all():
            raise self.wrong(f"{field}: {file} holds NaN or infinity")
        return array

    def channels_only(self, block: Parameters) -> None:
        """Refuse an ``axis`` other than the channels of N, C, H, W."""
        if block.axis not in (1, -3):
            raise self.refuse(f"axis {block.axis} is not built; expected 1, the channels")

    def loss_weight(self) -> float:
        """The weight of a loss layer's first top: 1 unless given."""
        weights = self.numbers(self.message, "loss_weight")
        if len(weights) > max(1, len(self.tops)):
            raise self.wrong(f"has {len(weights)} loss_weight for {len(self.tops)} tops")
        return weights[0] if weights else 1.0
