"""What layers that deliver images one by one have in common: Caffe's transformation, and pixels as OpenCV gives them."""

import io
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..errors import FormatError, ShapeError
from .base import Shape
from .checks import count_of, integer_of, one_of
from .data import SourceLayer

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True, kw_only=True)
class ImageSourceLayer(SourceLayer):
    """Images (C, h, w), each with a number, of which batches are made as Caffe makes them.

    Every image is cast, goes through the transformers ((x - mean) * scale), is cropped, and perhaps mirrored.

    Parameters
    ----------
    batch_size : int
        Samples per batch; a batch may wrap around the end.
    crop_size : int
        Height and width that are cut out; 0 takes images whole, and all of one size.
    crop : {"centre", "random"}
        Where: Caffe has the centre in tests, and a random place in training.
    mirror : bool
        Whether each image is turned left to right with probability 1/2, as in Caffe in tests, too.
    rand_skip : int
        Begins a random number of samples, below this, behind the first.

    Notes
    -----
    The second top, if there is one, has the labels, shape (N,).
    """

    tops: Sequence[str] = ("data", "label")
    batch_size: int = 1
    crop_size: int = 0
    crop: Literal["centre", "random"] = "centre"
    mirror: bool = False
    rand_skip: int = 0
    found: Shape = field(init=False, repr=False)

    def check(self) -> None:
        super().check()
        count_of(self, "batch_size")
        one_of(self, "crop", ("centre", "random"))
        integer_of(self, "crop_size", "rand_skip", least=0)
        if len(self.tops) not in (1, 2):
            raise self.refuse(f"has tops for images, or for images and labels; got {list(self.tops)}")
        object.__setattr__(self, "found", self.first().shape)
        self.cut(np.empty(self.found, np.uint8), None, "its first image")
        self.transform({self.tops[0]: np.empty((0, *self.found))})  # a batch of none: only the shapes meet

    def check_skip(self, count: int, what: str) -> None:
        """Refuses a `rand_skip` beyond the end."""
        if self.rand_skip > count:
            raise self.refuse(f"rand_skip {self.rand_skip} may skip more than the {count} {what}")

    # ---- what a kind of source says
    def first(self) -> np.ndarray:
        """One image, whose size and channels the others have."""
        raise NotImplementedError

    def next_samples(self, state: Any) -> list[tuple[np.ndarray, float, str]]:
        """A batch of images (C, h, w) with their labels, and what to call each in messages."""
        raise NotImplementedError

    # ---- what they share
    def delivers(self) -> list[Shape]:
        size = (self.crop_size, self.crop_size) if self.crop_size else self.found[1:]
        return [(self.batch_size, self.found[0], *size), (self.batch_size,)][: len(self.tops)]

    def batch(self, state: Any, dtype: np.dtype) -> dict[str, np.ndarray]:
        samples = self.next_samples(state)
        data = np.empty(self.delivers()[0], dtype)
        for place, (image, _, where) in zip(data, samples, strict=True):
            place[...] = self._prepared(image.astype(dtype), state.rng, where)
        labels = np.array([label for _, label, _ in samples], dtype)
        return dict(zip(self.tops, (data, labels), strict=False))

    def _prepared(self, image: np.ndarray, rng: np.random.Generator, where: str) -> np.ndarray:
        if image.shape[0] != self.found[0] or not (self.crop_size or image.shape == self.found):
            raise FormatError(
                f"{where} is {image.shape} (channels, height, width), the first image {self.found}; one net takes images of one "
                "kind: convert them, or give new_height and new_width, or crop_size"
            )
        mirrored = self.mirror and rng.integers(2)
        image = self.transform({self.tops[0]: image[None]})[self.tops[0]][0]
        image = self.cut(image, rng, where)
        return image[:, :, ::-1] if mirrored else image

    def cut(self, image: np.ndarray, rng: np.random.Generator | None, where: str) -> np.ndarray:
        """The part that `crop_size` asks for, at a random place if there is a generator and `crop` says so."""
        size = self.crop_size
        if not size:
            return image
        room = (image.shape[1] - size, image.shape[2] - size)
        if min(room) < 0:
            raise self.refuse(f"crop_size {size} exceeds {where}, which is {image.shape[1]}x{image.shape[2]}")
        y, x = (rng.integers(n + 1) if rng and self.crop == "random" else n // 2 for n in room)
        return image[:, y : y + size, x : x + size]

    def transform(self, batches: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        try:
            return super().transform(batches)
        except ShapeError as problem:
            if not self.crop_size:
                raise
            raise ShapeError(f"{problem} (a mean meets images before they are cropped)") from problem


# ----------------------------------------------------------------------------------------------------------------- pixels
Color = Literal["color", "grey", "stored"]
_FORMATS = ("BMP", "JPEG", "PNG", "PPM", "TIFF", "WEBP")  # those of OpenCV; pillow hands some others to other programs
_SURELY_FINE = 2**24  # pixels
_MOST_PER_BYTE = 2000  # pixels; PNG holds at most 1032, and needs a blank image for that


def decode(file: Any, where: str, color: Color) -> np.ndarray:
    """The pixels of a compressed image (PNG, JPEG, BMP, ...) as OpenCV has them: (C, h, w) bytes, blue first.

    Of deeper images the upper byte of each value is kept. `color` makes three channels, "grey" one, "stored" as many as there
    are. Pillow decodes; from OpenCV it differs by a grey level or two where colour becomes grey or where JPEG is decoded, and
    neither it nor Caffe turns an image by what a camera says of its orientation.
    """
    from PIL import Image

    try:
        # pillow warns of odd metadata, and of large images, without saying which file it is
        with warnings.catch_warnings(action="ignore"), Image.open(file, formats=_FORMATS) as image:
            _check_size(image, file, where)
            image.load()
            return _bytes(image, where, color)
    except FormatError:
        raise
    except FileNotFoundError:
        raise FormatError(
            f"{where}: does not exist; paths are root_folder and what the list says, one after the other"
        ) from None
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as problem:
        raise FormatError(f"{where}: cannot be read as an image: {problem}") from problem


def _check_size(image: "Image.Image", file: Any, where: str) -> None:
    """Refuses a large image that so few bytes cannot hold, before memory is given to it."""
    pixels = image.width * image.height
    size = file.getbuffer().nbytes if isinstance(file, io.BytesIO) else os.path.getsize(file)
    if pixels > _SURELY_FINE and pixels > _MOST_PER_BYTE * size:
        raise FormatError(f"{where}: claims {image.width} x {image.height} pixels in {size} bytes; the file is corrupt")


def _bytes(image: "Image.Image", where: str, color: str) -> np.ndarray:
    if image.mode in ("I;16", "I;16B", "I;16L", "I"):  # sixteen bits of grey
        grey = (np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)[None]
        return grey.repeat(3, axis=0) if color == "color" else grey
    if image.mode == "F":
        raise FormatError(f"{where}: holds floating point numbers, not grey levels; save it with 8 bits")
    plain = "L" if image.mode in ("1", "L", "LA") else "RGBA" if image.mode == "RGBA" else "RGB"
    pixels = np.asarray(image.convert({"color": "RGB", "grey": "L"}.get(color, plain)))
    if pixels.ndim == 2:
        return pixels[None]
    order = [2, 1, 0, *range(3, pixels.shape[2])]
    return np.ascontiguousarray(pixels[:, :, order].transpose(2, 0, 1))


def resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bytes (C, h, w) to another size, bilinearly between the four nearest pixels, as OpenCV's and so Caffe's.

    Unlike pillow's, which averages over all pixels that a smaller image's pixel covers. OpenCV computes in fixed point, this in
    floating point: they differ by at most one grey level.

    Examples
    --------
    >>> resize(np.array([[[0, 100]]], np.uint8), 1, 4)
    array([[[  0,  25,  75, 100]]], dtype=uint8)
    """
    y, down = _places(image.shape[1], height)
    x, right = _places(image.shape[2], width)
    rows = image[:, y] * (1 - down)[:, None] + image[:, np.minimum(y + 1, image.shape[1] - 1)] * down[:, None]
    both = rows[:, :, x] * (1 - right) + rows[:, :, np.minimum(x + 1, image.shape[2] - 1)] * right
    return np.floor(both + 0.5).astype(np.uint8)


def _places(old: int, new: int) -> tuple[np.ndarray, np.ndarray]:
    """For every new pixel the old one before its centre, and how far behind that it lies."""
    at = ((np.arange(new) + 0.5) * (old / new) - 0.5).clip(0, old - 1)
    before = np.floor(at).astype(np.intp)
    return before, at - before
