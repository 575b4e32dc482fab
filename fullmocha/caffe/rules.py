"""What Caffe does to a text before it builds from it: old spellings brought up to date, then one phase chosen."""

from collections.abc import Iterable
from typing import Literal

from ..errors import FormatError, UnsupportedError
from .schema import Message, text_message
from .v0 import is_v0, upgrade_v0

Phase = Literal["train", "test"]

# V1 named layer types by an enum; all but these are the CamelCase of their words.
_V1_TYPES = {
    "BNLL": "BNLL",
    "HDF5_DATA": "HDF5Data",
    "HDF5_OUTPUT": "HDF5Output",
    "LRN": "LRN",
    "RELU": "ReLU",
    "SOFTMAX_LOSS": "SoftmaxWithLoss",
    "TANH": "TanH",
    "ARGMAX": "ArgMax",
    "MVN": "MVN",
    "ABSVAL": "AbsVal",
}

_SOLVER_TYPES = ("SGD", "Nesterov", "AdaGrad", "RMSProp", "AdaDelta", "Adam")

# Greentea's separate types of 2015, since merged into the plain ones.
_ALIASES = {
    "ConvolutionSK": "Convolution",
    "ConvolutionND": "Convolution",
    "PoolingSK": "Pooling",
    "PoolingND": "Pooling",
    "DeconvolutionND": "Deconvolution",
}


def upgrade(net: Message, source: str) -> Message:
    """The net in today's words: ``layer`` only, an Input layer for ``input``, no aliases. ``net`` itself stays."""
    new = text_message("NetParameter")()
    new.CopyFrom(net)
    if len(new.layers):
        if len(new.layer):
            raise FormatError(f"{source} has both 'layer' and the older 'layers'; expected one of them")
        if is_v0(new):
            upgrade_v0(new, source)
        _upgrade_v1(new)
    _upgrade_input(new, source)
    for layer in new.layer:
        _upgrade_batch_norm(layer)
        layer.type = _ALIASES.get(layer.type, layer.type)
        _upgrade_kstride(layer, source)
    return new


def upgrade_solver(solver: Message, source: str) -> Message:
    """A SolverParameter in today's words: ``type`` for the enum ``solver_type``, ``device_id`` for Greentea's ``device``."""
    new = text_message("SolverParameter")()
    new.CopyFrom(solver)
    if new.HasField("solver_type"):
        if new.HasField("type"):
            raise FormatError(f"{source} has both type and the older solver_type; expected one of them")
        new.type = _SOLVER_TYPES[new.solver_type]
        new.ClearField("solver_type")
    if new.HasField("device"):
        new.device_id = new.device
        new.ClearField("device")
    return new


def _upgrade_v1(net: Message) -> None:
    """``layers { type: CONVOLUTION blobs_lr: 1 }`` to ``layer { type: "Convolution" param { lr_mult: 1 } }``."""
    for old in net.layers:
        _upgrade_v1_layer(old, net.layer.add())
    del net.layers[:]


def _upgrade_v1_layer(old: Message, new: Message) -> None:
    kind = old.DESCRIPTOR.fields_by_name["type"].enum_type.values_by_number[old.type].name
    new.name = old.name
    new.type = _V1_TYPES.get(kind, "".join(word.capitalize() for word in kind.split("_")))
    for name in ("bottom", "top", "loss_weight", "include", "exclude", "blobs"):
        getattr(new, name).extend(getattr(old, name))
    for field, value in old.ListFields():
        if field.name.endswith("_param"):
            getattr(new, field.name).CopyFrom(value)
    for i in range(max(len(old.param), len(old.blob_share_mode), len(old.blobs_lr), len(old.weight_decay))):
        spec = new.param.add()
        for target, values in (
            ("name", old.param),
            ("share_mode", old.blob_share_mode),
            ("lr_mult", old.blobs_lr),
            ("decay_mult", old.weight_decay),
        ):
            if i < len(values):
                setattr(spec, target, values[i])
    _upgrade_transform(new)


def _upgrade_transform(layer: Message) -> None:
    """``data_param { scale: 2 }`` to ``transform_param { scale: 2 }``, as Caffe does for V1 nets."""
    for holder in ("data_param", "image_data_param", "window_data_param"):
        if layer.HasField(holder):
            parameters = getattr(layer, holder)
            for name in ("scale", "mean_file", "crop_size", "mirror"):
                if parameters.HasField(name):
                    setattr(layer.transform_param, name, getattr(parameters, name))
                    parameters.ClearField(name)


def _upgrade_input(net: Message, source: str) -> None:
    """``input: "data" input_dim: ...`` to a layer of type Input in front."""
    names, shapes, dims = list(net.input), [list(shape.dim) for shape in net.input_shape], list(net.input_dim)
    if not names and not shapes and not dims:
        return
    if dims and not shapes:
        shapes = [dims[i : i + 4] for i in range(0, len(dims), 4)]
    elif dims:
        raise FormatError(f"{source} has both input_shape and input_dim; expected one of them")
    enough = len(dims) == 4 * len(names) if dims else len(shapes) in (1, len(names))
    if not names or not enough:
        raise FormatError(
            f"{source} declares {len(names)} inputs ({', '.join(names)}), but input_shape for {len(net.input_shape)} "
            f"and {len(dims)} numbers of input_dim; expected one input_shape, or four input_dim, for each input"
        )
    front = text_message("LayerParameter")(name="input", type="Input", top=names)
    for shape in shapes:
        front.input_param.shape.add(dim=shape)
    layers = [front, *net.layer]
    del net.layer[:], net.input[:], net.input_shape[:], net.input_dim[:]
    net.layer.extend(layers)


def _upgrade_batch_norm(layer: Message) -> None:
    """BatchNorm once wanted three `param` blocks that kept the solver off its running sums; it still is kept off."""
    if layer.type == "BatchNorm" and len(layer.param) == 3:
        for spec in layer.param:
            spec.lr_mult = spec.decay_mult = 0


def _upgrade_kstride(layer: Message, source: str) -> None:
    """Greentea's ``kstride`` of 2015 to ``dilation``; its 0, once the default, means 1."""
    for holder in ("convolution_param", "pooling_param"):
        if not layer.HasField(holder):
            continue
        parameters = getattr(layer, holder)
        old = list(parameters.kstride)
        if parameters.HasField("kstride_h") or parameters.HasField("kstride_w"):
            old = [parameters.kstride_h, parameters.kstride_w]
        if not old:
            continue
        if len(parameters.dilation):
            raise FormatError(f"{source}: layer '{layer.name}' has both kstride and dilation; expected one of them")
        parameters.dilation.extend(max(k, 1) for k in old)
        for name in ("kstride", "kstride_h", "kstride_w"):
            parameters.ClearField(name)


def state_of(phase: Phase, *states: Message) -> tuple[Phase, int, list[str]]:
    """Phase, level and stages that Caffe's solver builds a net in.

    `states` are NetStates from weak to strong: the net's own ``state``, then the solver's ``train_state`` or ``test_state``. Each one's
    phase and level replace those before; stages add up.
    """
    merged = text_message("NetState")(phase=("train", "test").index(phase))
    for state in states:
        merged.MergeFrom(state)
    return ("train", "test")[merged.phase], merged.level, list(merged.stage)


def select(net: Message, phase: Phase, source: str, stages: Iterable[str] = (), level: int | None = None) -> Message:
    """The net with the layers that the rules include in a phase, level and stages.

    As when Caffe's Net is given them: phase and level replace those of the net's own ``state`` (None keeps its level), stages are
    added to its stages.
    """
    if phase not in ("train", "test"):
        raise UnsupportedError(f"phase is {phase!r}; expected 'train' or 'test'")
    if isinstance(stages, str):
        raise UnsupportedError(f"stages is {stages!r}; expected a list of names, e.g. [{stages!r}]")
    number = ("train", "test").index(phase)
    level = net.state.level if level is None else level
    all_stages = {*net.state.stage, *stages}
    new = text_message("NetParameter")()
    new.CopyFrom(net)
    del new.layer[:]
    for layer in net.layer:
        if len(layer.include) and len(layer.exclude):
            raise FormatError(
                f"{source}: layer '{layer.name}' has both include and exclude rules; expected one kind of them"
            )
        included = any(_met(rule, number, level, all_stages) for rule in layer.include) or not len(layer.include)
        excluded = any(_met(rule, number, level, all_stages) for rule in layer.exclude)
        if included and not excluded:
            new.layer.append(layer)
    return new


def _met(rule: Message, phase: int, level: int, stages: set[str]) -> bool:
    """Whether every condition that the rule sets holds."""
    return (
        (not rule.HasField("phase") or rule.phase == phase)
        and (not rule.HasField("min_level") or level >= rule.min_level)
        and (not rule.HasField("max_level") or level <= rule.max_level)
        and stages.issuperset(rule.stage)
        and stages.isdisjoint(rule.not_stage)
    )
