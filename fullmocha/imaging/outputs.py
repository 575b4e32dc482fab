"""What a result file is to the rest of the package: a box of sections x classes that blocks are put into, in any order.

A format implements three verbs (`_put`, `_finish`, `_abandon`); the rules that hold for all of them are here.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Any

import numpy as np

from fullmocha.beside import Beside
from fullmocha.errors import FormatError, ShapeError
from fullmocha.imaging.sources import Array


def check_extent(path: str, **extent: int) -> None:
    """Refuse a result without pixels."""
    for name, value in extent.items():
        if value < 1:
            raise ShapeError(f"{path}: a result needs at least 1 of each, received {name} = {value}")


class Output(ABC):
    """A result being written beside its target; :meth:`close` makes it appear, an error in a ``with`` block removes it.

    Parameters
    ----------
    path
        What the user named, for messages.
    shape
        (sections, channels, height, width).
    dtype
        Of the values that are stored.
    beside
        The temporary file.
    working_bytes
        What the format holds in memory until it is closed.
    """

    def __init__(
        self, path: str, shape: tuple[int, int, int, int], dtype: np.dtype[Any], beside: Beside, working_bytes: int = 0
    ) -> None:
        self.path = path
        self.shape = shape
        self.dtype = dtype
        self.working_bytes = working_bytes
        self._beside = beside
        self._missing = math.prod(shape)
        self._open = True

    def write(self, section: int, channels: int | slice | None, y: int, x: int, block: Array) -> None:
        """Put ``block`` at row y, column x of a section.

        ``channels`` says where it goes: None for all of them (block (C, h, w)), a slice (block (c, h, w)), or one
        number (block (h, w)). Blocks may come in any order; every pixel must have come once before ``close``.
        """
        if not self._open:
            raise ShapeError(f"{self.path}: is closed; write before close()")
        sections, count, height, width = self.shape
        block = np.asarray(block)
        if isinstance(channels, int | np.integer):
            first, last = int(channels), int(channels) + 1
            block = block[None] if block.ndim == 2 else block
        else:
            first, last, step = (channels or slice(None)).indices(count)
            if step != 1:
                raise ShapeError(f"{self.path}: channels {channels} skip some; write consecutive channels")
        h, w = block.shape[-2:] if block.ndim >= 2 else (0, 0)
        inside = 0 <= section < sections and 0 <= first < last <= count
        inside = inside and 0 <= y <= y + h <= height and 0 <= x <= x + w <= width
        if not inside or block.ndim != 3 or block.shape[0] != last - first or block.size == 0:
            raise ShapeError(
                f"{self.path}: a block of shape {block.shape} for section {section}, channels {first}..{last - 1}, "
                f"row {y}, column {x} does not fit into {sections} sections of {count} x {height} x {width}"
            )
        if not np.can_cast(block.dtype, self.dtype, "same_kind"):
            raise ShapeError(
                f"{self.path}: a block of {block.dtype} cannot be stored as {self.dtype} without loss of kind; "
                f"convert it first, or create the file with dtype {block.dtype}"
            )
        try:
            self._put(section, first, y, x, np.ascontiguousarray(block, self.dtype))
        except OSError as error:
            raise FormatError(
                f"{self.path}: writing failed, {error.strerror or error}; "
                "nothing is left behind, free some space or name another disk"
            ) from error
        self._missing -= block.size

    def close(self) -> None:
        """Finish the file and make it appear under its name; a file that lacks blocks is refused and removed."""
        if not self._open:
            return
        if self._missing > 0:
            self.discard()
            raise FormatError(
                f"{self.path}: closed with {self._missing:,} of {math.prod(self.shape):,} values never written; "
                "nothing is left behind, write every block first"
            )
        self._open = False
        try:
            self._finish()
        except BaseException as error:
            self._beside.discard()
            if isinstance(error, OSError):
                raise FormatError(f"{self.path}: could not be finished, {error}; nothing is left behind") from error
            raise
        self._beside.commit()

    def discard(self) -> None:
        """Give up: close and remove what has been written."""
        if self._open:
            self._open = False
            try:
                self._abandon()
            finally:
                self._beside.discard()

    def __enter__(self) -> Output:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()

    @abstractmethod
    def _put(self, section: int, first_channel: int, y: int, x: int, block: Array) -> None:
        """Store a checked block (c, h, w) of ``self.dtype`` in C order."""

    @abstractmethod
    def _finish(self) -> None:
        """Write what is missing into the temporary file, and close it."""

    @abstractmethod
    def _abandon(self) -> None:
        """Close the temporary file; it will be removed."""
