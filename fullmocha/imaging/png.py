"""PNG: one section, grey of 8 or 16 bits or RGB of 8; small by nature, so it is decoded when it is opened.

Alpha is dropped as it is: colours are neither divided nor multiplied by it. A net's floats in [0, 1] become 8-bit grey.
"""

from __future__ import annotations

import math
import os
import struct
import zlib
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from fullmocha.beside import Beside
from fullmocha.errors import FormatError, ShapeError
from fullmocha.imaging.door import check_input
from fullmocha.imaging.outputs import Output, check_extent
from fullmocha.imaging.sources import Array, ArraySource, Sections

__all__ = ["MAGIC", "PngOutput", "create", "encode", "open_sections"]

MAGIC = (b"\x89PNG\r\n\x1a\n",)
GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6
SAMPLES = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGB_ALPHA: 4}
READ = {(GREY, 8): 1, (GREY, 16): 1, (RGB, 8): 3, (GREY_ALPHA, 8): 1, (RGB_ALPHA, 8): 3}  # kind, bits -> channels
INFLATE_RATIO = 1032  # the most that deflate gives per byte stored
SLACK = 1e-3  # a class probability may miss [0, 1] by rounding, no more


def _check(path: str, file: BinaryIO, size: int) -> int:
    """Walk the chunks; the number of channels of a complete picture that this module reads."""

    def cut(at: int) -> FormatError:
        return FormatError(f"{path}: truncated PNG, it ends inside the chunk at byte {at:,}; copy or save it again")

    at, kind, stored, header = 8, b"", 0, b""
    file.seek(at)
    while kind != b"IEND":
        head = file.read(8)
        if len(head) < 8:
            raise cut(at)
        length, kind = struct.unpack(">I4s", head)
        if at + 12 + length > size:
            raise cut(at)
        data = file.read(length)
        if file.read(4) != struct.pack(">I", zlib.crc32(data, zlib.crc32(kind))):
            raise FormatError(f"{path}: corrupt PNG, the checksum of the chunk at byte {at:,} is wrong; save it again")
        if at == 8:
            header = data if kind == b"IHDR" else b""
        if kind == b"acTL":
            raise FormatError(f"{path}: is an animation, expected one picture; save its frames as pages of a TIFF")
        stored += length if kind == b"IDAT" else 0
        at += 12 + length
    if len(header) != 13:
        raise FormatError(f"{path}: corrupt PNG, it does not begin with its header; save it again")
    width, height, bits, colour = struct.unpack(">IIBB", header[:10])
    if (colour, bits) not in READ:
        raise FormatError(
            f"{path}: PNG of colour type {colour} with {bits} bits, expected grey of 8 or 16 or RGB of 8 "
            "(alpha of 8 bits is allowed); convert it to 8-bit grey"
        )
    needed = height * math.ceil(width * SAMPLES[colour] * bits / 8)
    if min(height, width) < 1 or needed > stored * INFLATE_RATIO:
        raise FormatError(
            f"{path}: declares {height:,} x {width:,} pixels in {needed:,} bytes, but {stored:,} are stored, "
            f"which give at most {stored * INFLATE_RATIO:,}; it is damaged or made to exhaust memory, save it again"
        )
    return READ[colour, bits]


def _decode(path: str) -> Array:
    from PIL import PngImagePlugin

    size = check_input(path)
    try:
        with open(path, "rb") as file:
            if file.read(8) not in MAGIC:
                raise FormatError(f"{path}: not a PNG file; check what it is")
            channels = _check(path, file, size)
            file.seek(0)
            # Not Image.open: its limit on pixels is one number for the whole process; ours is above.
            with PngImagePlugin.PngImageFile(file) as image:
                data = np.asarray(image)
    except FormatError:
        raise
    except Exception as error:  # whatever a decoder trips over in a damaged file
        raise FormatError(f"{path}: corrupt PNG, {error or type(error).__name__}; save it again") from error
    data = data[:, :, None] if data.ndim == 2 else data
    # 16-bit grey arrives as int32 from some versions of the decoder.
    stored = data.dtype if data.dtype == np.uint8 else np.dtype(np.uint16)
    return np.ascontiguousarray(data[:, :, :channels].transpose(2, 0, 1), stored)


def open_sections(path: str | os.PathLike[str]) -> Sections:
    """The picture as the only section."""
    name = os.fspath(path)
    data = _decode(name)
    # Reading takes nothing more: the picture is there already, and a plan counts it with the rest of the process.
    return Sections(name, [ArraySource(data)], lambda: None, 0)


def encode(path: str | os.PathLike[str], picture: Array) -> None:
    """Write uint8 (H, W) or (H, W, 3), or uint16 (H, W), straight to a file."""
    from PIL import Image

    Image.fromarray(picture).save(path, format="PNG")


class PngOutput(Output):
    """Held in memory, encoded when it is closed."""

    def __init__(self, path: str, shape: tuple[int, int, int, int], dtype: np.dtype[Any]) -> None:
        sections, channels, height, width = shape
        if sections != 1:
            raise ShapeError(f"{path}: a PNG holds 1 section, received {sections}; name a .tif or .h5 file")
        if channels not in (1, 3) or (channels == 3 and dtype == np.uint16):
            raise ShapeError(
                f"{path}: a PNG holds 1 class (grey, 8 or 16 bits) or 3 (RGB, 8 bits), received {channels} of {dtype}; "
                "name a .tif or .h5 file, or keep one class"
            )
        if dtype.kind != "f" and dtype not in (np.uint8, np.uint16):
            raise FormatError(
                f"{path}: a PNG holds uint8, uint16 or floats in [0, 1], received {dtype}; name a .tif file"
            )
        stored = np.dtype(np.uint16 if dtype == np.uint16 else np.uint8)
        beside = Beside(path, channels * height * width * stored.itemsize)
        super().__init__(path, shape, dtype, beside, channels * height * width * stored.itemsize)
        self._picture = np.zeros((height, width, channels), stored)

    def _put(self, section: int, first_channel: int, y: int, x: int, block: Array) -> None:
        if block.dtype.kind == "f":
            block = to_grey(self.path, block)
        channels, h, w = block.shape
        self._picture[y : y + h, x : x + w, first_channel : first_channel + channels] = block.transpose(1, 2, 0)

    def _finish(self) -> None:
        encode(self._beside.path, self._picture[:, :, 0] if self.shape[1] == 1 else self._picture)

    def _abandon(self) -> None:
        pass


def to_grey(what: str, values: Array) -> Array:
    """Floats in [0, 1] as 0..255, rounded to the nearest."""
    low, high = float(values.min()), float(values.max())
    if not (low >= -SLACK and high <= 1 + SLACK):  # written so that NaN is refused, too
        raise FormatError(
            f"{what}: 8-bit grey holds probabilities in [0, 1], received values from {low:g} to {high:g}; "
            "write float32 to a .tif or .h5 file"
        )
    return np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)


def create(
    path: str | os.PathLike[str],
    sections: int,
    channels: int,
    height: int,
    width: int,
    dtype: npt.DTypeLike = np.float32,
) -> PngOutput:
    """A PNG file of one section: one class as grey, or three as RGB."""
    name = os.fspath(path)
    check_extent(name, sections=sections, channels=channels, height=height, width=width)
    return PngOutput(name, (sections, channels, height, width), np.dtype(dtype))
