"""Weights from .caffemodel files, of the V1 and the V2 layout.

Of each layer only the name and the blobs are taken. The parameters that are stored beside them are left alone: forks
have given the same field numbers to different parameters, and the prototxt says what the layer is.
"""

import math
import os
from collections.abc import Iterator

import numpy as np

from ..errors import FormatError
from .files import read_bytes
from .schema import Message, binary_message

_V1, _V2 = 2, 100  # the numbers of `layers` and `layer` in NetParameter
_MAX_AXES = 32  # Caffe's own limit
Blobs = dict[str, list[np.ndarray]]


def decode_caffemodel(raw: bytes, source: str) -> Blobs:
    """Layer name -> its blobs, for the layers that have any; shapes as stored (before 2015 always four numbers)."""
    weights: Blobs = {}
    last, layers = "", 0
    try:
        for number, payload in _fields(raw):
            if number not in (_V1, _V2):
                continue
            where = f"{source}: the layer {_after(last)}"
            layer = _decode("V1Layer" if number == _V1 else "Layer", payload, where)
            if number == _V1 and layer.HasField("v0"):
                raise FormatError(
                    f"{where} is in the layout of 2013 (V0), which is not read; convert the file with "
                    "Caffe's upgrade_net_proto_binary"
                )
            name = last = layer.name.decode("utf-8", errors="replace")
            layers += 1
            if layer.blobs:
                if name in weights:
                    raise FormatError(f"{source}: layer '{name}' has weights twice; expected once")
                weights[name] = [
                    decode_blob(blob, f"{source}: layer '{name}', blob {i}") for i, blob in enumerate(layer.blobs)
                ]
    except _Broken as broken:
        raise FormatError(
            f"{source} breaks off {_after(last)}, at byte {broken} of {len(raw)}; the file is cut or "
            "corrupt, or no .caffemodel"
        ) from None
    if not layers:
        raise FormatError(f"{source} holds no layers; the file is cut, or no .caffemodel")
    return weights


def read_blob(path: str | os.PathLike[str]) -> np.ndarray:
    """The one array of a .binaryproto file, e.g. a mean image."""
    return decode_blob(read_bytes(path, "a .binaryproto file"), os.fspath(path))


def decode_blob(raw: bytes, where: str) -> np.ndarray:
    """One BlobProto as an array: float32, or float64 where the file holds doubles."""
    blob = _decode("Blob", raw, where)
    if blob.packed_data:
        raise FormatError(f"{where} holds packed (half or quantised) numbers; only float and double are read")
    shape = _shape(blob, where)
    data = np.array(blob.double_data, np.float64) if len(blob.double_data) else np.array(blob.data, np.float32)
    if math.prod(shape) != data.size:
        raise FormatError(
            f"{where} has shape {shape}, which is {math.prod(shape)} numbers, but holds {data.size}; "
            "the file is cut or corrupt"
        )
    return data.reshape(shape)


def _shape(blob: Message, where: str) -> tuple[int, ...]:
    """The blob's shape; like Caffe, the four old fields count where any of them is set."""
    old = ("num", "channels", "height", "width")
    if any(blob.HasField(field) for field in old):
        shape = tuple(getattr(blob, field) for field in old)
    else:
        shape = tuple(_decode("Shape", blob.shape, where).dim)
    if len(shape) > _MAX_AXES:
        raise FormatError(f"{where} has {len(shape)} axes; Caffe has at most {_MAX_AXES}")
    if any(n < 0 for n in shape):
        raise FormatError(f"{where} has shape {shape}; no axis can be negative, the file is corrupt")
    return shape


def _decode(kind: str, raw: bytes, where: str) -> Message:
    from google.protobuf.message import DecodeError

    try:
        return binary_message(kind).FromString(raw)
    except DecodeError:
        raise FormatError(f"{where} cannot be decoded; the file is cut or corrupt, or no .caffemodel") from None


def _after(name: str) -> str:
    return f"after layer '{name}'" if name else "at the start"


class _Broken(Exception):
    """The bytes are no protobuf message from this offset on."""


def _fields(raw: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and payload of the outermost fields that carry a length; the others (numbers, groups) are stepped over.

    By hand rather than by protobuf, which says of a broken file only that it is broken, and not behind which layer.
    """
    at, end, groups = 0, len(raw), 0
    while at < end:
        start = at
        key, at = _varint(raw, at, start)
        number, wire = key >> 3, key & 7
        if wire == 0:
            _, at = _varint(raw, at, start)
        elif wire == 1:
            at += 8
        elif wire == 2:
            length, at = _varint(raw, at, start)
            if number and not groups and at + length <= end:
                yield number, raw[at : at + length]
            at += length
        elif wire == 3:
            groups += 1
        elif wire == 4:
            groups -= 1
        elif wire == 5:
            at += 4
        if number == 0 or wire > 5 or groups < 0 or at > end:
            raise _Broken(start)
    if groups:
        raise _Broken(end)


def _varint(raw: bytes, at: int, start: int) -> tuple[int, int]:
    """A number in groups of seven bits, the lowest first, and the offset behind it; at most 64 bits."""
    value = 0
    for shift in range(0, 64, 7):
        if at == len(raw):
            break
        byte = raw[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise _Broken(start)
