"""Where the pixels of a TIFF page are, taken from its directory and checked against the bytes of the file.

What this module accepts can be read window by window without a surprise: known colours, one of the types that hold grey
values, strips or tiles that lie in the file and cannot unfold to more than they declare.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from fullmocha.errors import FormatError
from fullmocha.imaging.sources import check_readable_dtype
from fullmocha.imaging.tiff_codecs import DECODERS, LARGEST_RATIO

if TYPE_CHECKING:
    import tifffile

SEGMENT_LIMIT = 2**30  # bytes of one decoded strip or tile; a larger one has to be rewritten in tiles
RAW = 1
MIN_IS_WHITE, MIN_IS_BLACK, RGB = 0, 1, 2
ALPHA = (1, 2)  # of ExtraSamples: associated, unassociated; 0 (unspecified) stays a channel


@dataclasses.dataclass(frozen=True)
class Layout:
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


def layout_of(what: str, page: tifffile.TiffPage, size: int) -> Layout:
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
    layout = Layout(
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
        offsets=tuple(map(int, page.dataoffsets)),  # a damaged tag may hold floats
        counts=tuple(map(int, page.databytecounts)),
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


def pages_behind_one_directory(what: str, tif: tifffile.TiffFile, layout: Layout, size: int) -> list[Layout]:
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
