"""The chain of page directories of a TIFF file, checked against the bytes that are there.

TIFF libraries tend to stop quietly at a broken link, so that a truncated stack looks like a shorter one, and to
allocate whatever a corrupt tag declares. This walk comes first: afterwards every directory and every tag value is known
to lie inside the file, and the number of pages is known.
"""

from __future__ import annotations

import struct
from typing import BinaryIO

from fullmocha.errors import FormatError

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# Bytes per value, by the type number of a tag. Unknown types are skipped, as the specification asks.
TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}


def count_pages(path: str, file: BinaryIO, size: int) -> int:
    """Walk the chain of directories; the number of pages, or FormatError at the first thing outside the file."""

    def piece(offset: int, count: int, what: str) -> bytes:
        if offset + count > size:
            raise FormatError(
                f"{path}: truncated or corrupt TIFF, {what} lies at bytes {offset:,}..{offset + count:,} "
                f"of a file of {size:,}; copy or save the file again"
            )
        file.seek(offset)
        return file.read(count)

    head = piece(0, 8, "the header")
    if head[:4] not in MAGIC:
        raise FormatError(f"{path}: not a TIFF file, it begins with {head[:4]!r}; expected one of {MAGIC}")
    order = "<" if head[:1] == b"I" else ">"
    big = head[2:4] in (b"+\0", b"\0+")
    if big:
        width, _, offset = struct.unpack(order + "HHQ", piece(4, 12, "the header"))
        if width != 8:
            raise FormatError(f"{path}: corrupt BigTIFF, offsets of {width} bytes, expected 8; save the file again")
    else:
        (offset,) = struct.unpack(order + "I", head[4:8])
    count_format, entry_format, link_format = ("Q", "HHQ", "Q") if big else ("H", "HHI", "I")
    count_bytes, entry_bytes, link_bytes = (8, 20, 8) if big else (2, 12, 4)

    seen: set[int] = set()
    while offset:
        if offset in seen:
            raise FormatError(
                f"{path}: corrupt TIFF, page {len(seen)} links back to an earlier page; save the file again"
            )
        page = f"the directory of page {len(seen)}"
        seen.add(offset)
        (entries,) = struct.unpack(order + count_format, piece(offset, count_bytes, page))
        table = piece(offset + count_bytes, entries * entry_bytes + link_bytes, page)
        for at in range(0, entries * entry_bytes, entry_bytes):
            tag, kind, count = struct.unpack_from(order + entry_format, table, at)
            length = TYPE_BYTES.get(kind, 0) * count
            if length > link_bytes:  # does not fit into the entry itself
                (where,) = struct.unpack_from(order + link_format, table, at + entry_bytes - link_bytes)
                if where + length > size:
                    raise FormatError(
                        f"{path}: truncated or corrupt TIFF, tag {tag} of page {len(seen) - 1} lies at bytes "
                        f"{where:,}..{where + length:,} of a file of {size:,}; copy or save the file again"
                    )
        (offset,) = struct.unpack_from(order + link_format, table, entries * entry_bytes)
    if not seen:
        raise FormatError(f"{path}: a TIFF file without pages; save the image again")
    return len(seen)
