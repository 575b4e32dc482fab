"""Caffe's messages in text, built from the descriptors of ``caffe.proto``; files of weights are read without, in wire.py.

Generated code breaks with every major version of protobuf, descriptors do not. They live in a pool of their own, so another
package that brings a ``caffe.proto`` cannot collide with ours.
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
