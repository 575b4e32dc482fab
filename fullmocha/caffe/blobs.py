"""BlobProto: Caffe's array in bytes, of every version and of Greentea's."""

import math
import os

import numpy as np

from ..errors import FormatError, UnsupportedError
from ..files import read_bytes
from .wire import BYTES, FIXED32, FIXED64, VARINT, Broken, fields, signed, varints

MAX_AXES = 32  # Caffe's own limit
_LEGACY = (1, 2, 3, 4)  # num, channels, height, width: before 2015 every blob had these four
_DATA, _SHAPE, _DOUBLE, _PACKED, _DATA_TYPE = 5, 7, 8, 11, 13
_NUMBERS = {_DATA: ("<f4", FIXED32), _DOUBLE: ("<f8", FIXED64)}
_RUNS = {number: wire for number, (_, wire) in _NUMBERS.items()}
_GREENTEA = {0: "<f4", 1: "<f2", 2: "<f8"}  # its data_type; the others are quantised


def read_blob(path: str | os.PathLike[str]) -> np.ndarray:
    """The one array of a .binaryproto file, e.g. a mean image."""
    return decode_blob(read_bytes(path, "a .binaryproto file"), os.fspath(path))


def decode_blob(raw: bytes | memoryview, where: str) -> np.ndarray:
    """One BlobProto as an array: float32, or float64 where the file holds doubles; a view of `raw` if that is possible.

    Raises
    ------
    FormatError
        If the bytes are no blob, or hold another count of numbers than the shape says.
    UnsupportedError
        If the numbers are quantised.
    """
    try:
        return _decode(memoryview(raw), where)
    except Broken:
        raise FormatError(f"{where} cannot be decoded; the file is cut or corrupt, or no .caffemodel") from None


def _decode(raw: memoryview, where: str) -> np.ndarray:
    chunks: dict[int, list[np.ndarray]] = {_DATA: [], _DOUBLE: []}
    legacy: dict[int, int] = {}
    shapes: list[memoryview] = []
    packed, data_type = memoryview(b""), 0
    for number, wire, value in fields(raw, _RUNS):
        if number in _NUMBERS and wire in (BYTES, _NUMBERS[number][1]):
            chunks[number].append(_numbers(value, _NUMBERS[number][0]))
        elif number in _LEGACY and wire == VARINT:
            legacy[number] = signed(value, 32)
        elif number == _SHAPE and wire == BYTES:
            shapes.append(value)
        elif number == _PACKED and wire == BYTES:
            packed = value
        elif number == _DATA_TYPE and wire == VARINT:
            data_type = signed(value, 32)
    data = _joined(chunks[_DOUBLE], "<f8")
    if not data.size:
        data = _joined(chunks[_DATA], "<f4")
    if len(packed) and not data.size:  # Greentea's other types
        if data_type not in _GREENTEA:
            raise UnsupportedError(
                f"{where} holds quantised numbers (data_type {data_type} of Greentea); only float, half and double are read"
            )
        data = _numbers(packed, _GREENTEA[data_type])
        data = data.astype(np.float32) if data.itemsize == 2 else data
    dims = tuple(legacy.get(i, 0) for i in _LEGACY) if legacy else _shape(memoryview(b"".join(shapes)), where)
    if any(n < 0 for n in dims):
        raise FormatError(f"{where} has shape {dims}; no axis can be negative, the file is corrupt")
    if math.prod(dims) != data.size:
        raise FormatError(
            f"{where} has shape {dims}, which is {math.prod(dims)} numbers, but holds {data.size}; the file is cut or corrupt"
        )
    return data.reshape(dims)


def _numbers(payload: memoryview | np.ndarray, kind: str) -> np.ndarray:
    if isinstance(payload, memoryview):
        if len(payload) % np.dtype(kind).itemsize:
            raise Broken(0)
        return np.frombuffer(payload, kind)
    return payload.reshape(-1).view(kind)


def _joined(chunks: list[np.ndarray], kind: str) -> np.ndarray:
    return chunks[0] if len(chunks) == 1 else np.concatenate([np.empty(0, kind), *chunks])


def _shape(raw: memoryview, where: str) -> tuple[int, ...]:
    """The dims of a BlobShape; one that is given in parts is their bytes in a row."""
    dims: list[int] = []
    for number, wire, value in fields(raw):
        if number == 1 and wire in (VARINT, BYTES):
            dims += [value] if wire == VARINT else varints(value, MAX_AXES)
        if len(dims) > MAX_AXES:
            raise FormatError(f"{where} has more than {MAX_AXES} axes, which is the most that Caffe has")
    return tuple(signed(n) for n in dims)
