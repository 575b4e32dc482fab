"""Nets of 2013 (V0: ``layers { layer { name: "c" type: "conv" kernelsize: 3 } bottom: "a" top: "c" }``) in the words of V1.

V0 had one list of fields for every type, and padding in a layer of its own.
"""

from ..errors import FormatError
from .schema import Message, text_message

_TYPES = {
    "accuracy": "ACCURACY",
    "bnll": "BNLL",
    "concat": "CONCAT",
    "conv": "CONVOLUTION",
    "data": "DATA",
    "dropout": "DROPOUT",
    "euclidean_loss": "EUCLIDEAN_LOSS",
    "flatten": "FLATTEN",
    "hdf5_data": "HDF5_DATA",
    "hdf5_output": "HDF5_OUTPUT",
    "im2col": "IM2COL",
    "images": "IMAGE_DATA",
    "infogain_loss": "INFOGAIN_LOSS",
    "innerproduct": "INNER_PRODUCT",
    "lrn": "LRN",
    "multinomial_logistic_loss": "MULTINOMIAL_LOGISTIC_LOSS",
    "pool": "POOLING",
    "relu": "RELU",
    "sigmoid": "SIGMOID",
    "softmax": "SOFTMAX",
    "softmax_loss": "SOFTMAX_LOSS",
    "split": "SPLIT",
    "tanh": "TANH",
    "window_data": "WINDOW_DATA",
}

_CONV, _IP, _POOL, _LRN = "convolution_param", "inner_product_param", "pooling_param", "lrn_param"
_DATA, _HDF5, _IMAGES, _WINDOWS = "data_param", "hdf5_data_param", "image_data_param", "window_data_param"
_SOURCES = {"data": _DATA, "hdf5_data": _HDF5, "images": _IMAGES, "window_data": _WINDOWS}

# V0's field -> its name since, and the block that it stands in since, by V0's type.
_FIELDS: dict[str, tuple[str, dict[str, str]]] = {
    "num_output": ("num_output", {"conv": _CONV, "innerproduct": _IP}),
    "biasterm": ("bias_term", {"conv": _CONV, "innerproduct": _IP}),
    "weight_filler": ("weight_filler", {"conv": _CONV, "innerproduct": _IP}),
    "bias_filler": ("bias_filler", {"conv": _CONV, "innerproduct": _IP}),
    "pad": ("pad", {"conv": _CONV, "pool": _POOL}),
    "kernelsize": ("kernel_size", {"conv": _CONV, "pool": _POOL}),
    "stride": ("stride", {"conv": _CONV, "pool": _POOL}),
    "group": ("group", {"conv": _CONV}),
    "pool": ("pool", {"pool": _POOL}),
    "dropout_ratio": ("dropout_ratio", {"dropout": "dropout_param"}),
    "local_size": ("local_size", {"lrn": _LRN}),
    "alpha": ("alpha", {"lrn": _LRN}),
    "beta": ("beta", {"lrn": _LRN}),
    "k": ("k", {"lrn": _LRN}),
    "source": ("source", _SOURCES | {"infogain_loss": "infogain_loss_param"}),
    "batchsize": ("batch_size", _SOURCES),
    "rand_skip": ("rand_skip", {"data": _DATA, "images": _IMAGES}),
    "shuffle_images": ("shuffle", {"images": _IMAGES}),
    "new_height": ("new_height", {"images": _IMAGES}),
    "new_width": ("new_width", {"images": _IMAGES}),
    "concat_dim": ("concat_dim", {"concat": "concat_param"}),
    "det_fg_threshold": ("fg_threshold", {"window_data": _WINDOWS}),
    "det_bg_threshold": ("bg_threshold", {"window_data": _WINDOWS}),
    "det_fg_fraction": ("fg_fraction", {"window_data": _WINDOWS}),
    "det_context_pad": ("context_pad", {"window_data": _WINDOWS}),
    "det_crop_mode": ("crop_mode", {"window_data": _WINDOWS}),
}
_TRANSFORM = {"scale": "scale", "meanfile": "mean_file", "cropsize": "crop_size", "mirror": "mirror"}  # of any type
_KEPT = ("blobs", "blobs_lr", "weight_decay")
_HANDLED = {"name", "type", "hdf5_output_param", *_KEPT}


def is_v0(net: Message) -> bool:
    """Whether any of the net's layers is written as in 2013."""
    return any(layer.HasField("layer") for layer in net.layers)


def upgrade_v0(net: Message, source: str) -> None:
    """Rewrites ``layers`` in place, without the padding layers."""
    for layer in net.layers:
        if not layer.HasField("layer"):
            raise FormatError(
                f"{source}: layer '{layer.name}' is of another version than the others, which have a layer inside layers (V0); "
                "write all of them alike"
            )
    layers = _without_padding(list(net.layers), list(net.input), source)
    upgraded = [_upgrade_layer(layer, source) for layer in layers]
    del net.layers[:]
    net.layers.extend(upgraded)


def _without_padding(layers: list[Message], inputs: list[str], source: str) -> list[Message]:
    """The layers but those of type ``padding``: their pad goes to the convolution or pooling that reads them."""
    makers: dict[str, Message | None] = dict.fromkeys(inputs)
    kept = []
    for old in layers:
        layer = text_message("V1LayerParameter")()
        layer.CopyFrom(old)
        name, kind = layer.layer.name, layer.layer.type
        for bottom in old.bottom:
            maker = makers.get(bottom)
            if maker is None or maker.layer.type != "padding":
                continue  # a bottom that nobody makes is refused when the net is wired
            if kind not in ("conv", "pool") or len(old.bottom) != 1 or len(maker.bottom) != 1 or len(maker.top) != 1:
                raise FormatError(
                    f"{source}: layer '{name}' ({kind}) reads the padding layer '{maker.layer.name}'; only a conv or pool "
                    "layer of one bottom can, and only a padding layer of one bottom and one top"
                )
            layer.layer.pad = maker.layer.pad
            layer.bottom[0] = maker.bottom[0]
        if kind != "padding":
            kept.append(layer)
        makers |= dict.fromkeys(old.top, old)
    return kept


def _upgrade_layer(old: Message, source: str) -> Message:
    """One layer in V1's words; a field that its type has no use for is refused."""
    v0, new = old.layer, text_message("V1LayerParameter")(name=old.layer.name, bottom=old.bottom, top=old.top)
    where = f"{source}: layer '{v0.name}' ({v0.type or 'without a type'})"
    if v0.type not in _TYPES:
        raise FormatError(f"{where}: V0 has no such type; expected one of {', '.join(_TYPES)}, padding")
    new.type = new.DESCRIPTOR.fields_by_name["type"].enum_type.values_by_name[_TYPES[v0.type]].number
    for name in _KEPT:
        getattr(new, name).extend(getattr(v0, name))
    if v0.HasField("hdf5_output_param"):
        new.hdf5_output_param.CopyFrom(v0.hdf5_output_param)
    for field, value in v0.ListFields():
        if field.name in _HANDLED:
            continue
        if field.name in _TRANSFORM:
            setattr(new.transform_param, _TRANSFORM[field.name], value)
            continue
        name, blocks = _FIELDS.get(field.name, ("", {}))
        if v0.type not in blocks:
            raise FormatError(f"{where}: {field.name} has no meaning for this type; remove it")
        _set(getattr(new, blocks[v0.type]), name, value)
    return new


def _set(block: Message, name: str, value: object) -> None:
    """Sets a field of any kind; what was one number once may be one per axis since."""
    target = getattr(block, name)
    if hasattr(target, "CopyFrom"):
        target.CopyFrom(value)
    elif hasattr(target, "append"):
        target.append(value)
    else:
        setattr(block, name, value)
