"""Caffe's Datum: one sample of a database, an image in bytes, in floats or compressed, and its label."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from .errors import FormatError


@dataclass(frozen=True)
class Datum:
    """One sample: its pixels (C, h, w), or the file of the compressed image, and its label."""

    pixels: np.ndarray | None
    encoded: bytes
    label: int


def decode_datum(raw: bytes, where: str) -> Datum:
    """The sample in a database's bytes.

    Raises
    ------
    FormatError
        If the bytes are no Datum, or hold another number of values than its shape says.
    """
    from google.protobuf.message import DecodeError

    try:
        datum = _message().FromString(raw)
    except DecodeError:
        raise FormatError(f"{where} is no Datum of Caffe's; the database is of another kind, or corrupt") from None
    if datum.encoded:
        return Datum(None, datum.data, datum.label)
    shape = (datum.channels, datum.height, datum.width)
    floats = len(datum.data) == 0
    pixels = np.array(datum.float_data, np.float32) if floats else np.frombuffer(datum.data, np.uint8)
    if min(shape) < 1 or shape[0] * shape[1] * shape[2] != pixels.size:
        raise FormatError(
            f"{where} has shape {shape} (channels, height, width), but holds {pixels.size} values; the database is corrupt"
        )
    return Datum(pixels.reshape(shape), b"", datum.label)


def encode_datum(pixels: np.ndarray, label: int) -> bytes:
    """A sample (C, h, w) for a database: bytes where it is uint8, else floats."""
    if pixels.ndim != 3:
        raise FormatError(f"a Datum has channels, height and width; got an array of {pixels.shape}")
    channels, height, width = pixels.shape
    datum = _message()(channels=channels, height=height, width=width, label=label)
    if pixels.dtype == np.uint8:
        datum.data = pixels.tobytes()
    else:
        datum.float_data.extend(pixels.astype(np.float32).ravel().tolist())
    return bytes(datum.SerializeToString())


@cache
def _message() -> Any:
    """Its class, built from a descriptor in a pool of its own, so that no other package's Datum is in the way."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="datum.proto", package="caffe", syntax="proto2")
    message = file.message_type.add(name="Datum")
    for number, (name, kind) in enumerate(_FIELDS, 1):
        label = kinds.LABEL_REPEATED if name == "float_data" else kinds.LABEL_OPTIONAL
        message.field.add(name=name, number=number, type=getattr(kinds, f"TYPE_{kind}"), label=label)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("caffe.Datum"))


_FIELDS = (
    ("channels", "INT32"),
    ("height", "INT32"),
    ("width", "INT32"),
    ("data", "BYTES"),
    ("label", "INT32"),
    ("float_data", "FLOAT"),
    ("encoded", "BOOL"),
)
