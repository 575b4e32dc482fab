"""Strips and tiles of a TIFF file, from stored bytes to samples.

Each decoder is told how many bytes it may give and stops there, so that a small file cannot ask for more memory than
its page declares; that declaration has been checked against :data:`LARGEST_RATIO` before.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

from fullmocha.imaging.sources import Array


def inflate(data: bytes, expected: int) -> bytes:
    """Deflate, old and new. One byte more is asked for, because zlib compares its checksum only behind the last."""
    stream = zlib.decompressobj()
    try:
        out = stream.decompress(data, expected + 1)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if len(out) > expected:
        raise ValueError(f"more than the {expected:,} bytes expected")
    if len(out) == expected and not stream.eof:
        raise ValueError("the stream ends before its checksum")
    return out


def unpack_bits(data: bytes, expected: int) -> bytearray:
    """PackBits: a byte n < 128 precedes n + 1 bytes as they are, n > 128 one byte to repeat 257 - n times."""
    out = bytearray()
    at = 0
    while len(out) < expected and at < len(data):
        n = data[at]
        if n < 128:
            out += data[at + 1 : at + 2 + n]
            at += n + 2
        else:
            if n > 128:
                out += data[at + 1 : at + 2] * (257 - n)
            at += 2 if n > 128 else 1
    del out[expected:]
    return out


CLEAR, END, FIRST = 256, 257, 258
LAST_STARTS = 4096 - FIRST + 1  # codes have 12 bits at most


def unlzw(data: bytes, expected: int) -> bytearray:
    """TIFF's LZW: codes of 9 to 12 bits, high bit first, one bit longer a code early.

    A code stands for what an earlier code gave and one byte of what came next, so the strings of the table lie in the
    output: that of code FIRST + n from the start of the nth output after a clear to one byte beyond the start of the
    next.
    """
    if len(data) > 1 and data[0] == 0 and data[1] & 1:
        raise ValueError("LZW in the bit order of 1988, which TIFF 6 replaced")
    out = bytearray()
    starts: list[int] = []
    held = bits = 0
    width = 9
    for byte in data:
        held = (held << 8) | byte
        bits += 8
        if bits < width:
            continue
        bits -= width
        code = held >> bits
        held &= (1 << bits) - 1
        if code == END:
            break
        if code == CLEAR:
            starts.clear()
            width = 9
            continue
        at = len(out)
        if len(starts) < LAST_STARTS:
            starts.append(at)
            if len(starts) + FIRST >= 1 << width and width < 12:
                width += 1
        if code < CLEAR:
            out.append(code)
        elif code - FIRST + 1 < len(starts):
            first, next_start = starts[code - FIRST], starts[code - FIRST + 1]
            out += out[first : next_start + 1]
            if next_start == at:  # its last byte is the first that it gives itself
                out.append(out[first])
        else:
            raise ValueError(f"LZW code {code} comes before its definition")
        if len(out) >= expected:
            break
    del out[expected:]
    return out


DECODERS: dict[int, tuple[str, Callable[[bytes, int], bytes | bytearray]]] = {
    5: ("LZW", unlzw),
    8: ("deflate", inflate),
    32773: ("PackBits", unpack_bits),
    32946: ("deflate", inflate),
}
# No stream of these codecs gives more bytes than this per byte stored: deflate 258 per 2 bits, PackBits 128 per 2
# bytes, LZW a string of at most 4096 - 258 bytes per 9 bits.
LARGEST_RATIO = {5: 3840, 8: 1032, 32773: 64, 32946: 1032}


def decode(compression: int, data: bytes, shape: tuple[int, int, int], dtype: np.dtype[Any], predictor: int) -> Array:
    """A strip or tile (rows, columns, samples) in native byte order; ValueError says what is wrong with the bytes."""
    rows, columns, samples = shape
    expected = rows * columns * samples * dtype.itemsize
    raw = DECODERS[compression][1](data, expected)
    if len(raw) < expected:
        raise ValueError(f"{len(raw):,} bytes where {expected:,} were expected")
    if predictor == 3:
        return _undo_float_differences(raw, shape, dtype)
    block = np.frombuffer(raw, dtype).reshape(shape).astype(dtype.newbyteorder("="))
    if predictor == 2:
        # Differences are taken on the bits, whatever they mean: of floats, too.
        integers = block.view(f"u{dtype.itemsize}")
        np.cumsum(integers, axis=1, dtype=integers.dtype, out=integers)
    return block


def _undo_float_differences(raw: bytes | bytearray, shape: tuple[int, int, int], dtype: np.dtype[Any]) -> Array:
    """Predictor 3: a row holds the highest byte of every value, then the next, ..., as byte-wise differences."""
    rows, columns, samples = shape
    planes = np.frombuffer(raw, np.uint8).reshape(rows, dtype.itemsize * columns, samples)
    planes = np.cumsum(planes, axis=1, dtype=np.uint8).reshape(rows, dtype.itemsize, columns * samples)
    big_endian = np.ascontiguousarray(planes.transpose(0, 2, 1)).view(f">f{dtype.itemsize}")
    return big_endian.reshape(shape).astype(dtype.newbyteorder("="))
