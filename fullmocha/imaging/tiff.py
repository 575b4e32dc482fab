"""TIFF: stacks of sections, read strip by strip or tile by tile, written page by page in any order.

Reading: the pages of a grey stack are sections, the samples of a page (RGB, or separate planes) are channels. A sample
that the file itself declares as alpha is dropped as it is: colours are neither divided nor multiplied by it. Where 0 is
white (ImageJ's inverted masks), unsigned values are turned round, as viewers show them. Reduced copies and masks
of a page (pyramids) are not sections. Stored forms: uncompressed, deflate, LZW, PackBits, with either predictor.

No memory map is used: mapped pages count as memory of the process, and a disk that fills up, or a file that shrinks,
kills a process that maps it, where a read or a write is an error with a name.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import numpy.typing as npt

from fullmocha.errors import FormatError
from fullmocha.imaging.beside import Beside
from fullmocha.imaging.door import check_input
from fullmocha.imaging.outputs import Output, check_extent
from fullmocha.imaging.sources import Array, Sections, check_readable_dtype, check_window
from fullmocha.imaging.tiff_codecs import DECODERS, LARGEST_RATIO, decode
from fullmocha.imaging.tiff_directory import MAGIC, count_pages

if TYPE_CHECKING:
    import tifffile

__all__ = ["MAGIC", "TiffOutput", "create", "open_sections"]

SEGMENT_LIMIT = 2**30  # bytes of one decoded strip or tile; a larger one has to be rewritten in tiles
CACHE_BYTES = 2**25  # decoded strips and tiles that are kept, because neighbouring windows share them
RAW = 1
MIN_IS_WHITE, MIN_IS_BLACK, RGB = 0, 1, 2
REDUCED_OR_MASK = 1 | 4  # bits of NewSubfileType
ALPHA = (1, 2)  # of ExtraSamples: associated, unassociated; 0 (unspecified) stays a channel
CLASSIC_LIMIT = 2**32 - 2**25  # classic TIFF counts bytes in 32 bits; some are left for the directories


@dataclasses.dataclass(frozen=True)
class _Layout:
    """Where the pixels of one page are: a grid of strips (as wide as the page) or tiles, row by row, plane by plane."""

    height: int
    width: int
    samples: int  # stored per pixel
    kept: tuple[int, ...]  # those that are channels
    planar: bool  # each sample has its own grid of segments
    rows: int  # of a segment
    columns: int
    tiled: bool
    dtype: np.dtype[Any]  # with the file's byte order
    compression: int
    predictor: int
    inverted: bool
    offsets: tuple[int, ...]
    counts: tuple[int, ...]

    @property
    def interleaved(self) -> int:
        """Samples that lie side by side in one segment."""
        return 1 if self.planar else self.samples

    @property
    def grid(self) -> tuple[int, int]:
        return -(-self.height // self.rows), -(-self.width // self.columns)

    def segment_shape(self, index: int) -> tuple[int, int, int]:
        """(rows, columns, samples) stored for a segment; the last strip is cut, tiles are always whole."""
        row = index % math.prod(self.grid) // self.grid[1]
        rows = self.rows if self.tiled else min(self.rows, self.height - row * self.rows)
        return rows, self.columns, self.interleaved

    def segment_bytes(self, index: int) -> int:
        return math.prod(self.segment_shape(index)) * self.dtype.itemsize


def _layout(what: str, page: tifffile.TiffPage, size: int) -> _Layout:
    """The layout of a page, with everything that it declares checked against the bytes of the file."""

    def refuse(rule: str, way_out: str) -> FormatError:
        return FormatError(f"{what}: {rule}; {way_out}")

    height, width, samples = int(page.imagelength), int(page.imagewidth), int(page.samplesperpixel)
    if min(height, width, samples) < 1:
        raise refuse(f"{height} x {width} pixels of {samples} samples", "an image has at least one of each")
    if page.imagedepth != 1:
        raise refuse(f"is a volume of depth {page.imagedepth}", "save one page per section")
    if page.photometric not in (MIN_IS_WHITE, MIN_IS_BLACK, RGB):
        name = getattr(page.photometric, "name", page.photometric)
        raise refuse(f"stores its colours as {name}, expected grey or RGB", "convert it to 8-bit grey")
    if page.compression not in (RAW, *DECODERS):
        name = getattr(page.compression, "name", page.compression)
        known = ", ".join(dict.fromkeys(name for name, _ in DECODERS.values()))
        raise refuse(f"is compressed by {name}, expected none, {known}", "save it uncompressed or with deflate")
    if page.dtype is None or page.bitspersample != page.dtype.itemsize * 8:
        raise refuse(
            f"stores {page.bitspersample} bits per sample (sample format {page.sampleformat})",
            "save it as uint8, uint16 or float32",
        )
    dtype = page.dtype.newbyteorder(page.parent.byteorder)
    native = check_readable_dtype(what, dtype)
    if page.predictor not in (1, 2, 3) or (page.predictor == 3 and native.kind != "f"):
        raise refuse(f"predictor {page.predictor} on {native}", "save it without a predictor")
    if page.predictor != 1 and page.compression == RAW:
        raise refuse("a predictor without compression has no agreed meaning", "save it without a predictor")
    if page.fillorder != 1:
        raise refuse("stores its bits in reverse order", "save it with fill order 1")
    if page.photometric == MIN_IS_WHITE and native.kind != "u":
        raise refuse(f"says that 0 is white, which has no meaning for {native}", "save it with 0 as black")

    tiled = bool(page.is_tiled)
    rows, columns = (page.tilelength, page.tilewidth) if tiled else (min(page.rowsperstrip or height, height), width)
    if min(rows, columns) < 1:
        raise refuse(f"tiles of {rows} x {columns} pixels", "save the file again")
    extra = tuple(page.extrasamples)
    alpha = {samples - len(extra) + at for at, kind in enumerate(extra) if kind in ALPHA}
    layout = _Layout(
        height=height,
        width=width,
        samples=samples,
        kept=tuple(at for at in range(samples) if at not in alpha),
        planar=samples > 1 and page.planarconfig == 2,
        rows=int(rows),
        columns=int(columns),
        tiled=tiled,
        dtype=dtype,
        compression=int(page.compression),
        predictor=int(page.predictor),
        inverted=page.photometric == MIN_IS_WHITE,
        offsets=tuple(page.dataoffsets),
        counts=tuple(page.databytecounts),
    )
    if not layout.kept:
        raise refuse("holds nothing but alpha", "save it with its grey values")
    kind = "tiles" if tiled else "strips"
    expected = math.prod(layout.grid) * (samples if layout.planar else 1)
    if not len(layout.offsets) == len(layout.counts) == expected:
        raise refuse(
            f"{height} x {width} pixels make {expected} {kind} of {rows} x {columns}, but the file lists "
            f"{len(layout.offsets)} positions and {len(layout.counts)} lengths",
            "save the file again",
        )
    ratio = LARGEST_RATIO.get(layout.compression, 1)
    for index, (offset, count) in enumerate(zip(layout.offsets, layout.counts, strict=True)):
        needed = layout.segment_bytes(index)
        if offset + count > size:
            raise refuse(
                f"truncated, one of its {kind} lies at bytes {offset:,}..{offset + count:,} of a file of {size:,}",
                "copy or save the file again",
            )
        if needed > count * ratio:
            raise refuse(
                f"one of its {kind} declares {needed:,} bytes of pixels, but {count:,} are stored, "
                f"which give at most {count * ratio:,}",
                "the file is damaged or made to exhaust memory; save it again",
            )
        if layout.compression != RAW and needed > SEGMENT_LIMIT:
            raise refuse(
                f"its compressed {kind} hold {needed:,} bytes each, more than {SEGMENT_LIMIT:,}",
                "save it in tiles, or uncompressed",
            )
    return layout


class _Reader:
    """The open file: gives rectangles of segments, and remembers the last ones that it decoded."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self._decoded: OrderedDict[tuple[int, int], Array] = OrderedDict()
        self._lock = threading.Lock()  # one file position for all windows

    def rectangle(self, what: str, layout: _Layout, index: int, y: slice, x: slice) -> Array:
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

    def _stored(self, layout: _Layout, index: int, y: slice, x: slice) -> Array:
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

    def _cached(self, layout: _Layout, index: int) -> Array:
        key = (layout.offsets[index], layout.counts[index])
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

    def __init__(self, what: str, reader: _Reader, layout: _Layout) -> None:
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


def _pages_behind_one_directory(what: str, tif: tifffile.TiffFile, layout: _Layout, size: int) -> list[_Layout]:
    """ImageJ beyond 4 GB, and tifffile on request, write one directory, then all pages without a gap."""
    images = 1
    if tif.imagej_metadata:
        images = int(tif.imagej_metadata.get("images", 1))
    elif tif.shaped_metadata:
        images = math.prod(tif.shaped_metadata[0].get("shape", ())) // (layout.height * layout.width * layout.samples)
    if images <= 1:
        return [layout]
    page_bytes = sum(layout.counts)
    end = layout.offsets[0]
    for offset, count in zip(layout.offsets, layout.counts, strict=True):
        if offset != end or layout.compression != RAW:
            raise FormatError(f"{what}: its description counts {images} images, the file has one; save it again")
        end += count
    if layout.offsets[0] + images * page_bytes > size:
        raise FormatError(
            f"{what}: truncated, its description counts {images} images of {page_bytes:,} bytes from byte "
            f"{layout.offsets[0]:,}, but the file has {size:,}; copy or save the file again"
        )
    shifts = range(0, images * page_bytes, page_bytes)
    return [dataclasses.replace(layout, offsets=tuple(offset + shift for offset in layout.offsets)) for shift in shifts]


def _layouts(path: str, file: BinaryIO, size: int) -> list[_Layout]:
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
                    layouts.append(_layout(f"{path}, page {number}", page, size))
            if len(layouts) == 1:
                layouts = _pages_behind_one_directory(path, tif, layouts[0], size)
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
    # The cache (or one segment beyond it), and while decoding the stored bytes, the plain bytes and the samples.
    working = min(max(CACHE_BYTES, largest), every) + stored + 2 * largest
    return Sections(name, pages, file.close, working)


def _size(page: _Page) -> str:
    channels, height, width = page.shape
    return f"{height} x {width} x {channels} {page.dtype}"


class TiffOutput(Output):
    """Uncompressed pages, section by section, then class; each block goes straight to its place in the file."""

    def __init__(self, path: str, shape: tuple[int, int, int, int], dtype: np.dtype[Any]) -> None:
        import tifffile

        nbytes = math.prod(shape) * dtype.itemsize
        beside = Beside(path, nbytes)
        try:
            # A directory per page takes some 250 bytes.
            big = nbytes + 256 * shape[0] * shape[1] > CLASSIC_LIMIT
            with tifffile.TiffWriter(beside.path, bigtiff=big) as writer:
                place = writer.write(
                    shape=shape, dtype=dtype, photometric="minisblack", software="FullMocha", returnoffset=True
                )
            assert place is not None  # (where page 0 begins, bytes per page); the pages follow without a gap
            self._offset = place[0]
            self._file = open(beside.path, "rb+", buffering=0)  # noqa: SIM115 (closed by close or discard)
        except OSError as error:
            beside.discard()
            raise FormatError(f"{path}: cannot be written, {error.strerror or error}; name another folder") from error
        except BaseException:
            beside.discard()
            raise
        self._lock = threading.Lock()
        super().__init__(path, shape, dtype, beside)

    def _put(self, section: int, first_channel: int, y: int, x: int, block: Array) -> None:
        _, channels, height, width = self.shape
        for number, plane in enumerate(block, section * channels + first_channel):
            at = self._offset + ((number * height + y) * width + x) * self.dtype.itemsize
            for piece in [plane] if plane.shape[1] == width else plane:
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


def create(
    path: str | os.PathLike[str],
    sections: int,
    channels: int,
    height: int,
    width: int,
    dtype: npt.DTypeLike = np.float32,
) -> TiffOutput:
    """A TIFF file of sections x channels pages; BigTIFF where 4 GB do not suffice."""
    name = os.fspath(path)
    check_extent(name, sections=sections, channels=channels, height=height, width=width)
    stored = check_readable_dtype(name, np.dtype(dtype))
    return TiffOutput(name, (sections, channels, height, width), stored)
