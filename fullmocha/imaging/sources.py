"""What an image is to the rest of the package: a shape, a dtype, and windows of it on demand.

A *source* is one section (one two-dimensional image with its channels), a *sections* list is one open file.
Nothing here knows a file format, and nothing reads more than the window that was asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, Protocol, overload

import numpy as np
import numpy.typing as npt

from fullmocha.errors import FormatError, ShapeError

Array = npt.NDArray[Any]

# What a net can be fed after a cast. Bool, complex and text are not grey values; the reader says so by name.
READABLE = frozenset(np.dtype(name) for name in ("u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8"))


class Source(Protocol):
    """One section: ``shape`` is (C, H, W); ``read`` gives the window (C, h, w) whose upper left pixel is (y, x)."""

    @property
    def shape(self) -> tuple[int, int, int]: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...

    def read(self, y: int, x: int, h: int, w: int) -> Array: ...


def check_window(what: str, shape: Sequence[int], y: int, x: int, h: int, w: int) -> None:
    """Refuse a window that is empty or leaves the image."""
    height, width = shape[-2:]
    if h < 1 or w < 1 or y < 0 or x < 0 or y + h > height or x + w > width:
        raise ShapeError(
            f"{what}: the window of {h} x {w} pixels at row {y}, column {x} does not lie in the image of "
            f"{height} x {width}; ask for rows 0..{height - 1} and columns 0..{width - 1}"
        )


def check_readable_dtype(what: str, dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The native form of a dtype that holds grey values, or a refusal."""
    native = dtype.newbyteorder("=")
    if native not in READABLE:
        raise FormatError(
            f"{what}: values are of type {dtype}, but an image holds integers of 8 to 64 bits or floats of 16 to 64; "
            "save it as uint8, uint16 or float32"
        )
    return native


class ArraySource:
    """An ndarray of shape (H, W) or (C, H, W) as a source.

    >>> ArraySource(np.arange(12).reshape(3, 4)).read(1, 2, 2, 2)
    array([[[ 6,  7],
            [10, 11]]])
    """

    def __init__(self, array: npt.ArrayLike) -> None:
        data = np.asarray(array)
        if data.ndim not in (2, 3):
            raise ShapeError(
                f"image array: expected (height, width) or (channels, height, width), received shape {data.shape}; "
                "pass one section at a time"
            )
        if 0 in data.shape:
            raise ShapeError(f"image array: shape {data.shape} holds no pixel; pass at least 1 x 1")
        self.dtype = check_readable_dtype("image array", data.dtype)
        self._data = data if data.ndim == 3 else data[None]
        self.shape: tuple[int, int, int] = self._data.shape

    def read(self, y: int, x: int, h: int, w: int) -> Array:
        """A fresh copy of the window, so that its reader may write into it."""
        check_window("image array", self.shape, y, x, h, w)
        return np.array(self._data[:, y : y + h, x : x + w], dtype=self.dtype, order="C")


class Sections(Sequence[Source]):
    """The sections of one open file, in order; close it, or use it in a ``with`` block.

    Attributes
    ----------
    path
        What the user named, for messages.
    working_bytes
        The most that reading will take in memory besides the windows that it returns (decoded strips, chunk caches);
        what has been held since the file was opened is not in it.
    """

    def __init__(self, path: str, sources: Sequence[Source], close: Callable[[], None], working_bytes: int = 0) -> None:
        self.path = path
        self.working_bytes = working_bytes
        self._sources = list(sources)
        self._close = close

    def __len__(self) -> int:
        return len(self._sources)

    def __iter__(self) -> Iterator[Source]:
        return iter(self._sources)

    @overload
    def __getitem__(self, index: int) -> Source: ...

    @overload
    def __getitem__(self, index: slice) -> list[Source]: ...

    def __getitem__(self, index: int | slice) -> Source | list[Source]:
        return self._sources[index]

    def close(self) -> None:
        self._close()

    def __enter__(self) -> Sections:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
