"""TIFF: stacks of sections, read strip by strip or tile by tile, written page by page in any order.

Reading: the pages of a grey stack are sections, the samples of a page (RGB, or separate planes) are channels. A sample
that the file itself declares as alpha is dropped as it is: colours are neither divided nor multiplied by it. Where 0 is
white (ImageJ's inverted masks), unsigned values are turned round, as viewers show them. Reduced copies and masks
of a page (pyramids) are not sections. Stored forms: uncompressed, deflate, LZW, PackBits, with either predictor.

No memory map is used: mapped pages count as memory of the process, and a file that shrinks kills a process that maps
it, where a read is an error with a name.
"""

from __future__ import annotations

import logging
import math
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from fullmocha.beside import Beside
from fullmocha.errors import FormatError
from fullmocha.imaging.door import check_input
from fullmocha.imaging.outputs import check_extent
from fullmocha.imaging.raw import RawOutput
from fullmocha.imaging.sources import Array, Sections, check_readable_dtype, check_window
from fullmocha.imaging.tiff_codecs import decode
from fullmocha.imaging.tiff_directory import MAGIC, count_pages
from fullmocha.imaging.tiff_layout import RAW, Layout, layout_of, pages_behind_one_directory

__all__ = ["MAGIC", "create", "open_sections"]

CACHE_BYTES = 2**25  # decoded strips and tiles that are kept, because neighbouring windows share them
REDUCED_OR_MASK = 1 | 4  # bits of NewSubfileType
CLASSIC_LIMIT = 2**32 - 2**25  # classic TIFF counts bytes in 32 bits; some are left for the directories
DIRECTORY_BYTES = 256  # of a page, and some to spare


class _Reader:
    """The open file: gives rectangles of segments, and remembers the last ones that it decoded."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self._decoded: OrderedDict[tuple[int, int], Array] = OrderedDict()
        self._lock = threading.Lock()  # one file position for all windows

    def rectangle(self, what: str, layout: Layout, index: int, y: slice, x: slice) -> Array:
        """Rows y and columns x of a segment, as (rows, columns, samples)."""
        with self._lock:
            try:
                if layout.compression == RAW:
                    return self._stored(layout, index, y, x)
                return self._cached(layout, index)[y, x]
            except (OSError, ValueError) as error:
                kind = "tile" if layout.tiled else "strip"
                raise FormatError(
                    f"{what}: {kind} {index} cannot be read, {error}; copy or save the file again"
                ) from error

    def _stored(self, layout: Layout, index: int, y: slice, x: slice) -> Array:
        """Straight from the file, one read per row (one for all when the rows are whole)."""
        _, columns, samples = layout.segment_shape(index)
        out = np.empty((y.stop - y.start, x.stop - x.start, samples), layout.dtype)
        row_bytes = columns * samples * layout.dtype.itemsize
        at = layout.offsets[index] + y.start * row_bytes + x.start * samples * layout.dtype.itemsize
        for piece in [out] if out.shape[1] == columns else out:
            self.file.seek(at)
            if self.file.readinto(piece.data.cast("B")) != piece.nbytes:  # type: ignore[attr-defined]
                raise ValueError("the file has become shorter")
            at += row_bytes
        return out

    def _cached(self, layout: Layout, index: int) -> Array:
        key = (id(layout), index)  # layouts live as long as their pages
        if key in self._decoded:
            self._decoded.move_to_end(key)
            return self._decoded[key]
        # Room is made before decoding, so that CACHE_BYTES or one segment is all that is ever held.
        needed = layout.segment_bytes(index)
        while self._decoded and needed + sum(block.nbytes for block in self._decoded.values()) > CACHE_BYTES:
            self._decoded.popitem(last=False)
        self.file.seek(layout.offsets[index])
        data = self.file.read(layout.counts[index])
        block = decode(layout.compression, data, layout.segment_shape(index), layout.dtype, layout.predictor)
        self._decoded[key] = block
        return block


class _Page:
    """One page as a source."""

    def __init__(self, what: str, reader: _Reader, layout: Layout) -> None:
        self.shape = (len(layout.kept), layout.height, layout.width)
        self.dtype = layout.dtype.newbyteorder("=")
        self._what = what
        self._reader = reader
        self._layout = layout

    def read(self, y: int, x: int, h: int, w: int) -> Array:
        check_window(self._what, self.shape, y, x, h, w)
        layout = self._layout
        out = np.empty((len(layout.kept), h, w), self.dtype)
        for row, inner_y, outer_y in _pieces(y, h, layout.rows):
            for column, inner_x, outer_x in _pieces(x, w, layout.columns):
                index = row * layout.grid[1] + column
                if layout.planar:
                    for channel, sample in enumerate(layout.kept):
                        plane = sample * math.prod(layout.grid)
                        part = self._reader.rectangle(self._what, layout, plane + index, inner_y, inner_x)
                        out[channel, outer_y, outer_x] = part[:, :, 0]
                else:
                    part = self._reader.rectangle(self._what, layout, index, inner_y, inner_x)
                    for channel, sample in enumerate(layout.kept):
                        out[channel, outer_y, outer_x] = part[:, :, sample]
        if layout.inverted:
            np.subtract(np.iinfo(self.dtype).max, out, out=out)
        return out


def _pieces(start: int, count: int, step: int) -> Iterator[tuple[int, slice, slice]]:
    """The segments that an interval touches: number, part of the segment, part of the interval."""
    for number in range(start // step, -(-(start + count) // step)):
        first, last = max(start, number * step), min(start + count, (number + 1) * step)
        yield number, slice(first - number * step, last - number * step), slice(first - start, last - start)


def _layouts(path: str, file: BinaryIO, size: int) -> list[Layout]:
    import tifffile

    # What tifffile finds strange is an error of ours or of no interest; it is not to speak to the user beside us.
    logging.getLogger("tifffile").addHandler(logging.NullHandler())
    pages = count_pages(path, file, size)
    file.seek(0)
    try:
        with tifffile.TiffFile(file) as tif:
            found = list(tif.pages)
            if len(found) != pages:
                raise FormatError(f"{path}: {pages} pages are linked, {len(found)} are readable; save the file again")
            layouts = []
            for number, page in enumerate(found):
                assert isinstance(page, tifffile.TiffPage)  # a frame only on request
                if not int(page.subfiletype) & REDUCED_OR_MASK:
                    layouts.append(layout_of(f"{path}, page {number}", page, size))
            if len(layouts) == 1:
                layouts = pages_behind_one_directory(path, tif, layouts[0], size)
    except FormatError:
        raise
    except Exception as error:  # whatever a parser trips over in a damaged file
        raise FormatError(f"{path}: corrupt TIFF, {error or type(error).__name__}; save the file again") from error
    if not layouts:
        raise FormatError(f"{path}: holds reduced copies or masks only, no full page; save the file again")
    return layouts


def open_sections(path: str | os.PathLike[str]) -> Sections:
    """The pages of a TIFF file as sections; nothing but directories is read until a window is asked for."""
    name = os.fspath(path)
    size = check_input(name)
    file = open(name, "rb", buffering=0)  # noqa: SIM115 (closed by Sections.close)
    try:
        layouts = _layouts(name, file, size)
        reader = _Reader(file)
        pages = [_Page(f"{name}, page {number}", reader, layout) for number, layout in enumerate(layouts)]
        for number, page in enumerate(pages):
            if page.shape != pages[0].shape or page.dtype != pages[0].dtype:
                raise FormatError(
                    f"{name}: page {number} is {_size(page)}, page 0 is {_size(pages[0])}, but the sections of a stack "
                    "must agree; split the file and pass its parts one by one"
                )
    except BaseException:
        file.close()
        raise
    compressed = [layout for layout in layouts if layout.compression != RAW]
    largest = max((layout.segment_bytes(0) for layout in compressed), default=0)
    stored = max((max(layout.counts) for layout in compressed), default=0)
    every = sum(len(layout.offsets) * layout.segment_bytes(0) for layout in compressed)
    # The cache (or one segment beyond it), and while decoding the stored bytes, the plain bytes and a copy on the way
    # to samples, with the float predictor two.
    copies = 3 if any(layout.predictor == 3 for layout in compressed) else 2
    working = min(max(CACHE_BYTES, largest), every) + stored + copies * largest
    return Sections(name, pages, file.close, working)


def _size(page: _Page) -> str:
    channels, height, width = page.shape
    return f"{height} x {width} x {channels} {page.dtype}"


def create(
    path: str | os.PathLike[str],
    sections: int,
    channels: int,
    height: int,
    width: int,
    dtype: npt.DTypeLike = np.float32,
) -> RawOutput:
    """A TIFF file of uncompressed pages, section by section, then class; BigTIFF where 4 GB do not suffice.

    Three channels of uint8 or uint16 are colours: one RGB page per section, in separate planes, so that they read back
    as channels.
    """
    import tifffile

    name = os.fspath(path)
    check_extent(name, sections=sections, channels=channels, height=height, width=width)
    stored = check_readable_dtype(name, np.dtype(dtype))
    shape = (sections, channels, height, width)
    colours = channels == 3 and stored in (np.uint8, np.uint16)
    nbytes = math.prod(shape) * stored.itemsize
    beside = Beside(name, nbytes)
    try:
        big = nbytes + DIRECTORY_BYTES * sections * channels > CLASSIC_LIMIT
        with tifffile.TiffWriter(beside.path, bigtiff=big) as writer:
            place = writer.write(
                shape=shape,
                dtype=stored,
                photometric="rgb" if colours else "minisblack",
                planarconfig="separate" if colours else None,
                software="FullMocha",
                returnoffset=True,
            )
        assert place is not None  # (where page 0 begins, bytes per page); planes and pages follow without a gap
        return RawOutput(name, shape, stored, beside, place[0])
    except OSError as error:
        beside.discard()
        raise FormatError(f"{name}: cannot be written, {error.strerror or error}; name another folder") from error
    except BaseException:
        beside.discard()
        raise
