"""A result whose values lie in one piece of a file, in C order: what TIFF without compression and HDF5 have in common.

The format writes its own part of the file first, with the room for the values left empty; from then on the file is
nothing but bytes at known places. Blocks go there as they come, with plain writes. A memory map would count as memory
of the process, and a disk that fills up would kill it; inside HDF5's own writing, a full disk ends in a crash, too.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from fullmocha.beside import Beside
from fullmocha.imaging.outputs import Output
from fullmocha.imaging.sources import Array


class RawOutput(Output):
    """Values (sections, channels, height, width) from byte ``offset`` of the temporary file on."""

    def __init__(
        self, path: str, shape: tuple[int, int, int, int], dtype: np.dtype[Any], beside: Beside, offset: int
    ) -> None:
        super().__init__(path, shape, dtype, beside)
        self._offset = offset
        self._file = open(beside.path, "rb+", buffering=0)  # noqa: SIM115 (closed by _finish or _abandon)
        self._lock = threading.Lock()  # one file position for all blocks

    def _put(self, section: int, first_channel: int, y: int, x: int, block: Array) -> None:
        _, channels, height, width = self.shape
        for number, plane in enumerate(block, section * channels + first_channel):
            at = self._offset + ((number * height + y) * width + x) * self.dtype.itemsize
            for piece in [plane] if plane.shape[1] == width else plane:  # whole rows are one piece
                with self._lock:
                    self._file.seek(at)
                    left = piece.data.cast("B")
                    while left:  # a plain write may take less than all of it
                        left = left[self._file.write(left) :]
                at += width * self.dtype.itemsize

    def _finish(self) -> None:
        self._file.close()

    def _abandon(self) -> None:
        self._file.close()
