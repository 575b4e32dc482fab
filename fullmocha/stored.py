"""HDF5 files of anyone's making: opened, and asked whether the numbers that they promise are there.

A header of a hundred bytes can promise terabytes, which is asked before memory is given to them: chunks that were never written
read as zeros, and filters unpack.
"""

from __future__ import annotations

import contextlib
import math
import os
import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from .errors import FormatError

if TYPE_CHECKING:
    import h5py

# How much one stored byte can become: deflate's limit is 1032. Below the second number nobody needs to ask.
MOST_PER_BYTE, ALWAYS_FINE = 1100, 1 << 20
HEAP, LOOKED_AT = b"GCOL\1\0\0\0", 1 << 26


@contextlib.contextmanager
def open_hdf5(source: h5py.File | str | os.PathLike[str], what: str) -> Iterator[h5py.File]:
    """A file for reading, or one that is open already; whatever h5py makes of a broken one is a FormatError.

    `what` says in the messages which file was expected: "a .caffemodel.h5".
    """
    import h5py

    given = source if isinstance(source, h5py.File) else None
    name = os.fspath(source) if given is None else given.filename
    if given is None and not os.path.isfile(name):  # a pipe may never answer
        raise FormatError(f"{name}: is no file; {what} was expected there")
    if given is None:
        check_heaps(name)
    try:
        with h5py.File(name, "r") if given is None else contextlib.nullcontext(given) as file:
            yield file
    except FormatError:
        raise
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, OverflowError, SystemError) as error:
        raise FormatError(
            f"{name}: cannot be read as HDF5; {what} that is cut or corrupt, or another file ({error})"
        ) from None


def check_heaps(path: str | os.PathLike[str]) -> None:
    """Refuse a file whose text of variable length would be looked for without end.

    Such text lies in global heaps, objects one behind the other; a free one of size 0 leads the HDF5 library back to itself, where
    no signal reaches it. Looked at are 64 MiB at either end, because an image may have terabytes; heaps are written with what is
    described, not with pixels.

    Raises
    ------
    FormatError
    """
    with contextlib.suppress(OSError), open(path, "rb") as file:  # what cannot be opened is said by whoever reads it
        size = os.fstat(file.fileno()).st_size
        for start in {0, max(0, size - LOOKED_AT)}:
            file.seek(start)
            raw = file.read(LOOKED_AT)
            at = raw.find(HEAP)
            while at >= 0:
                if _is_endless(raw, at):
                    raise FormatError(
                        f"{os.fspath(path)}: has a heap at byte {start + at} without an end; the file is corrupt, write it again"
                    )
                at = raw.find(HEAP, at + 1)


def _is_endless(raw: bytes, heap: int) -> bool:
    """Whether some object of the heap at that place is its own successor."""
    (length,) = struct.unpack_from("<Q", raw.ljust(heap + 16, b"\0"), heap + 8)
    at, end = heap + 16, min(heap + length, len(raw))
    while at + 16 <= end:
        number, size = struct.unpack_from("<H6xQ", raw, at)
        step = size if number == 0 else 16 + -(-size // 8) * 8
        if step == 0:
            return True
        at += step
    return False


def check_stored(dataset: h5py.Dataset, where: str) -> None:
    """Refuse a dataset whose numbers are not all in its own file.

    Raises
    ------
    FormatError
        If it is empty of numbers, lies in other files, or was never (wholly) written.
    """
    if dataset.shape is None:
        raise FormatError(f"{where} has no numbers; the file is cut or corrupt")
    if dataset.external or dataset.is_virtual:
        raise FormatError(f"{where} has its numbers in another file; copy them into this one")
    if not dataset.size:
        return
    stored, wanted = dataset.id.get_storage_size(), math.prod(dataset.shape) * dataset.dtype.itemsize
    missing = not stored
    if dataset.chunks is None:
        missing |= stored < wanted
    else:
        chunks = math.prod(-(-n // c) for n, c in zip(dataset.shape, dataset.chunks, strict=True))
        missing |= dataset.id.get_num_chunks() < chunks
        # A chunk is unpacked whole, also where little of it lies within the dataset.
        wanted = max(wanted, math.prod(dataset.chunks) * dataset.dtype.itemsize)
    if missing or wanted > max(ALWAYS_FINE, stored * MOST_PER_BYTE):
        raise FormatError(
            f"{where} of shape {dataset.shape} should have {wanted} bytes, but was never written, or only in part (it takes "
            f"{stored} bytes of the file); the file is cut or corrupt"
        )


def stored_array(dataset: h5py.Dataset, where: str) -> np.ndarray:
    """All numbers of a dataset, once they are known to be there."""
    check_stored(dataset, where)
    return np.asarray(dataset[()])
