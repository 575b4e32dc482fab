"""Caffe's messages, built from descriptors: the text schema of ``caffe.proto``, and a small binary one for weights.

Generated code breaks with every major version of protobuf, descriptors do not. Both schemas live in pools of their own,
so another package that brings a ``caffe.proto`` cannot collide with ours.
"""

from functools import cache
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

Message = Any
"""A protobuf message: its fields are known at run time only, so the type checker cannot help."""

DESCRIPTOR_SET = Path(__file__).with_name("caffe.desc")


@cache
def text_pool() -> descriptor_pool.DescriptorPool:
    """The pool that holds every message of ``caffe.proto``."""
    files = descriptor_pb2.FileDescriptorSet.FromString(DESCRIPTOR_SET.read_bytes())
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        pool.AddSerializedFile(file.SerializeToString())
    return pool


@cache
def text_message(name: str) -> Any:
    """The class of the text message ``name``, e.g. ``"NetParameter"``."""
    return message_factory.GetMessageClass(text_pool().FindMessageTypeByName(f"caffe.{name}"))


_BYTES = descriptor_pb2.FieldDescriptorProto.TYPE_BYTES
_FLOAT = descriptor_pb2.FieldDescriptorProto.TYPE_FLOAT
_DOUBLE = descriptor_pb2.FieldDescriptorProto.TYPE_DOUBLE
_INT32 = descriptor_pb2.FieldDescriptorProto.TYPE_INT32
_INT64 = descriptor_pb2.FieldDescriptorProto.TYPE_INT64

# What is read of a file of weights: (field, number, type, repeated). Everything else is skipped, because forks gave the
# same numbers to different parameters. Names are bytes, for a name that is not UTF-8 must not stop the file; a nested
# message is bytes too, decoded one by one, so that an error can name its layer.
_BINARY: dict[str, list[tuple[str, int, int, bool]]] = {
    "Layer": [
        ("name", 1, _BYTES, False),
        ("type", 2, _BYTES, False),
        ("bottom", 3, _BYTES, True),
        ("top", 4, _BYTES, True),
        ("blobs", 7, _BYTES, True),
    ],
    "V1Layer": [
        ("name", 4, _BYTES, False),
        ("type", 5, _INT32, False),
        ("bottom", 2, _BYTES, True),
        ("top", 3, _BYTES, True),
        ("blobs", 6, _BYTES, True),
        ("v0", 1, _BYTES, False),
    ],
    "Blob": [
        ("shape", 7, _BYTES, False),
        ("data", 5, _FLOAT, True),
        ("double_data", 8, _DOUBLE, True),
        ("num", 1, _INT32, False),
        ("channels", 2, _INT32, False),
        ("height", 3, _INT32, False),
        ("width", 4, _INT32, False),
        ("packed_data", 11, _BYTES, False),
    ],
    "Shape": [("dim", 1, _INT64, True)],
}


@cache
def binary_message(name: str) -> Any:
    """The class of one message of weight files: ``Layer``, ``V1Layer``, ``Blob`` or ``Shape``."""
    file = descriptor_pb2.FileDescriptorProto(name=f"weights_{name}.proto", package="weights", syntax="proto2")
    message = file.message_type.add(name=name)
    for field, number, kind, repeated in _BINARY[name]:
        message.field.add(name=field, number=number, type=kind, label=3 if repeated else 1)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"weights.{name}"))
