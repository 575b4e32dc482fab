"""Weights from .caffemodel files, of the V0, V1 and V2 layout.

Of each layer only the name and the blobs are taken. The parameters that are stored beside them are left alone: forks
have given the same field numbers to different parameters, and the prototxt says what the layer is.
"""

import numpy as np

from ..errors import FormatError
from .blobs import decode_blob
from .wire import BYTES, Broken, fields

Blobs = dict[str, list[np.ndarray]]
"""Layer name -> its blobs; `SHARED` in the place of one that stands under another layer."""

SHARED = np.empty(0, np.float32)

# The numbers of `layers` and `layer` in NetParameter; and in each of the messages: of the name, of the blobs.
_V1, _V2 = 2, 100
_NUMBERS = {_V1: (4, 6), _V2: (1, 7)}
_V0, _V0_NUMBERS = (
    1,
    (1, 50),
)  # `layer` in V1LayerParameter, in which the layers of 2013 hold everything but their blobs' names


def decode_caffemodel(raw: bytes, source: str) -> Blobs:
    """Layer name -> its blobs, for the layers that have any; shapes as stored (before 2015 always four numbers)."""
    weights: Blobs = {}
    last, layers = "", 0
    try:
        for number, wire, payload in fields(memoryview(raw)):
            if number not in _NUMBERS or wire != BYTES:
                continue
            layers += 1
            try:
                name, blobs = _layer(number, payload)
            except Broken:
                raise FormatError(
                    f"{source}: the layer {_after(last)} cannot be decoded; the file is cut or corrupt, or no .caffemodel"
                ) from None
            last = name
            if blobs:
                if name in weights:
                    raise FormatError(f"{source}: layer '{name}' has weights twice; expected once")
                weights[name] = [
                    decode_blob(blob, f"{source}: layer '{name}', blob {i}") for i, blob in enumerate(blobs)
                ]
    except Broken as broken:
        raise FormatError(
            f"{source} breaks off {_after(last)}, at byte {broken} of {len(raw)}; the file is cut or "
            "corrupt, or no .caffemodel"
        ) from None
    if not layers:
        raise FormatError(f"{source} holds no layers; the file is cut, or no .caffemodel")
    return weights


def _layer(number: int, payload: memoryview) -> tuple[str, list[memoryview]]:
    """Name and blobs of a LayerParameter or V1LayerParameter."""
    name, blobs, v0 = _name_and_blobs(payload, *_NUMBERS[number])
    if number == _V1 and v0:  # given twice, messages join: their bytes in a row are the whole
        name, blobs, _ = _name_and_blobs(v0[0] if len(v0) == 1 else memoryview(b"".join(v0)), *_V0_NUMBERS)
    return bytes(name).decode("utf-8", errors="replace"), blobs


def _name_and_blobs(raw: memoryview, name: int, blobs: int) -> tuple[memoryview, list[memoryview], list[memoryview]]:
    """The last name, all blobs, and whatever stands under V0's number."""
    found, many, v0 = memoryview(b""), [], []
    for number, wire, value in fields(raw):
        if wire == BYTES:
            if number == name:
                found = value
            elif number == blobs:
                many.append(value)
            elif number == _V0:
                v0.append(value)
    return found, many, v0


def _after(name: str) -> str:
    return f"after layer '{name}'" if name else "at the start"
