"""protobuf's wire format by hand: the fields of a message as views into its bytes, and the few that we write.

By hand rather than by protobuf, whose Python messages turn every float into an object, hold the numbers twice, and say of a
broken file only that it is broken. What both accept they read alike; a test compares them on random messages.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

VARINT, FIXED64, BYTES, GROUP, END_GROUP, FIXED32 = range(6)
MAX_DEPTH = 100  # of groups: protobuf's own limit
_WIDTHS = {FIXED64: 8, FIXED32: 4}
_LARGEST_NUMBER = (1 << 29) - 1  # of a field


class Broken(Exception):
    """The bytes are no protobuf message from this offset on."""


def fields(raw: memoryview, runs: Mapping[int, int] | None = None) -> Iterator[tuple[int, int, Any]]:
    """Number, wire type and value of every field outside of groups, in their order.

    A value is an int (of 64 bits, without a sign), or a view of the payload; nothing is copied.

    Parameters
    ----------
    raw : memoryview
        A message.
    runs : dict, optional
        Number -> wire type of fields that may come one by one in great number: those that follow each other are given at once, as
        one array of their bytes.

    Raises
    ------
    Broken
        With the offset of the field that cannot be read.
    """
    at, end = 0, len(raw)
    groups: list[int] = []
    while at < end:
        start = at
        key, at = _varint(raw, at, start)
        number, wire = key >> 3, key & 7
        if number > _LARGEST_NUMBER or (number == 0 and not groups):  # protobuf lets 0 pass in what it skips
            raise Broken(start)
        value: Any = None
        if wire == VARINT:
            value, at = _varint(raw, at, start)
        elif wire == BYTES:
            length, at = _varint(raw, at, start)
            value, at = raw[at : at + length], at + length
        elif wire in _WIDTHS:
            width = _WIDTHS[wire]
            if (
                runs
                and not groups
                and runs.get(number) == wire
                and raw[at + width : 2 * at + width - start] == raw[start:at]
            ):
                value = _run(raw, start, at - start, width)
                at = start + len(value) * (at - start + width)
            else:
                value, at = raw[at : at + width], at + width
        elif wire == GROUP:
            groups.append(number)
        elif wire != END_GROUP or not groups or groups.pop() != number:
            raise Broken(start)
        if at > end or len(groups) > MAX_DEPTH:
            raise Broken(start)
        if value is not None and not groups:
            yield number, wire, value
    if groups:
        raise Broken(end)


def varints(raw: memoryview, most: int) -> list[int]:
    """A packed list of numbers; at most one more than `most` of them, so that a long list is seen and not read."""
    at = 0
    found: list[int] = []
    while at < len(raw) and len(found) <= most:
        value, at = _varint(raw, at, at)
        found.append(value)
    return found


def signed(value: int, bits: int = 64) -> int:
    """An int32 or int64 from the unsigned number that stands in the file, whose upper bits are dropped."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def _varint(raw: memoryview, at: int, start: int) -> tuple[int, int]:
    """A number in groups of seven bits, the lowest first, and the offset behind it; at most 64 bits."""
    value = 0
    for shift in range(0, 70, 7):
        if at == len(raw):
            break
        byte = raw[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value & 0xFFFFFFFFFFFFFFFF, at
    raise Broken(start)


def _run(raw: memoryview, at: int, key: int, width: int) -> np.ndarray:
    """The payloads, (n, width) bytes, of the fields from `at` on whose keys are the same bytes as the first one's."""
    step = key + width
    rows = np.frombuffer(raw[at:], np.uint8, (len(raw) - at) // step * step).reshape(-1, step)
    if not len(rows):
        raise Broken(at)
    count, block = 0, 16
    while count < len(rows):
        same = (rows[count : count + block, :key] == rows[0, :key]).all(axis=1)
        if not same.all():
            count += int(np.argmin(same))
            break
        count, block = count + len(same), 2 * block
    return np.ascontiguousarray(rows[:count, key:])


# ------------------------------------------------------------------------------------------------------------ writing
def put_bytes(number: int, payload: bytes) -> bytes:
    """A field that carries bytes, a string, a message or packed numbers."""
    return _put_varint(number << 3 | BYTES) + _put_varint(len(payload)) + payload


def put_int(number: int, value: int) -> bytes:
    """An int32 or int64."""
    return _put_varint(number << 3 | VARINT) + _put_varint(value)


def put_blob(array: np.ndarray) -> bytes:
    """A BlobProto's fields: its shape, and the numbers packed as Caffe packs them, as doubles where it is float64."""
    array = np.asarray(array)
    dims = b"".join(_put_varint(n) for n in array.shape)
    number, kind = (8, "<f8") if array.dtype == np.float64 else (5, "<f4")
    return put_bytes(7, put_bytes(1, dims) if dims else b"") + put_bytes(number, array.astype(kind).tobytes())


def _put_varint(value: int) -> bytes:
    value &= 0xFFFFFFFFFFFFFFFF
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)
