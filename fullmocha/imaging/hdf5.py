"""HDF5: a dataset ``file.h5:/group/name`` read and written by blocks.

Axes: (H, W) is one section; three axes are (S, H, W), a grey stack as in TIFF; four are (S, C, H, W). A dataset whose
three axes are (C, H, W) has to say so: by the argument ``axes="CHW"``, or by an attribute ``axes`` of that value
(small letters, Z, Y, X for S, H, W, and a name per axis as in NeXus will do). An attribute that says anything else is
refused. Results are always (S, C, H, W) and carry the attribute.

HDF5 files are read by a large C library that is not memory-safe on hostile ones: open only files whose origin you
trust.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from fullmocha.beside import Beside
from fullmocha.errors import FormatError
from fullmocha.imaging.door import check_input
from fullmocha.imaging.outputs import check_extent
from fullmocha.imaging.raw import RawOutput
from fullmocha.imaging.sources import Array, Sections, check_readable_dtype, check_window
from fullmocha.stored import check_heaps

__all__ = ["MAGIC", "create", "open_sections", "split_location"]

MAGIC = (b"\x89HDF\r\n\x1a\n",)
AXES = {2: "HW", 3: "SHW", 4: "SCHW"}  # what a number of axes means unless the dataset or the caller says more
KNOWN_AXES = ("HW", "SHW", "CHW", "SCHW")
DEFAULT_DATASET = "/data"
CHUNK_LIMIT = 2**30  # bytes of one decoded chunk
MOST_SECTIONS = 2**17  # ten times the largest stacks; the place of each is worked out when the file is opened
CACHE_BYTES = 2**25  # of decoded chunks, because neighbouring windows share them
LOCATION = re.compile(r"(?P<file>.*\.(?:h5|hdf5|hdf))(?::(?P<dataset>.*))?", re.IGNORECASE | re.DOTALL)


def split_location(path: str | os.PathLike[str]) -> tuple[str, str | None]:
    """The file, and the dataset in it if one is named.

    >>> split_location("stack.h5:/volumes/raw")
    ('stack.h5', '/volumes/raw')
    """
    name = os.fspath(path)
    match = LOCATION.fullmatch(name)
    return (match["file"], match["dataset"]) if match else (name, None)


class _Dataset:
    """One section of a dataset; ``select`` puts the window's slices where the dataset has its axes."""

    def __init__(
        self,
        what: str,
        dataset: Any,
        shape: tuple[int, int, int],
        dtype: np.dtype[Any],
        select: Callable[[slice, slice], tuple[int | slice, ...]],
    ) -> None:
        self.shape = shape
        self.dtype = dtype
        self._what = what
        self._dataset = dataset
        self._select = select

    def read(self, y: int, x: int, h: int, w: int) -> Array:
        check_window(self._what, self.shape, y, x, h, w)
        try:
            block = self._dataset[self._select(slice(y, y + h), slice(x, x + w))]
        except (OSError, RuntimeError, ValueError) as error:
            raise FormatError(
                f"{self._what}: rows {y}..{y + h - 1} cannot be read, {error}; copy or save the file again "
                "(a filter that is not part of HDF5 needs its own package, gzip does not)"
            ) from error
        return np.ascontiguousarray(block, self.dtype).reshape(self.shape[0], h, w)


def _datasets(file: Any) -> list[str]:
    """Every dataset, as it is named after the colon."""
    import h5py

    found: list[str] = []

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            found.append(f"/{name}")

    file.visititems(visit)
    return found


def _find(path: str, file: Any, dataset: str | None) -> Any:
    import h5py

    found = [name for name in _datasets(file) if file[name].ndim in AXES]
    listed = ", ".join(f"{name} {file[name].shape} {file[name].dtype}" for name in found[:20]) or "none"
    listed += f" and {len(found) - 20} more" if len(found) > 20 else ""
    if not dataset:
        if len(found) == 1:
            return file[found[0]]
        raise FormatError(
            f"{path}: expected the name of a dataset after a colon, as in {path}:/raw; those with 2 to 4 axes: {listed}"
        )
    item = file.get(dataset)
    if isinstance(item, h5py.Dataset):
        return item
    reason = "is a group" if item is not None else "does not exist"
    raise FormatError(f"{path}: dataset {dataset} {reason}; those with 2 to 4 axes: {listed}")


def _plain_axes(said: Any) -> str:
    """An attribute in our letters: one string, or a name per axis as in NeXus; text or bytes."""
    names = np.ravel(np.asarray(said)).tolist()
    text = "".join(name.decode(errors="replace") if isinstance(name, bytes) else str(name) for name in names)
    return text.upper().translate(str.maketrans("ZYX", "SHW"))


def _axes(what: str, dataset: Any, axes: str | None) -> str:
    if axes is None:
        said = dataset.attrs.get("axes")
        axes = AXES.get(dataset.ndim) if said is None else _plain_axes(said)
        if said is not None and axes not in KNOWN_AXES:
            raise FormatError(
                f"{what}: its attribute axes is {said!r}, expected one of {', '.join(KNOWN_AXES)} "
                "(Z, Y, X count as S, H, W); correct it, or pass the argument axes"
            )
    if axes not in KNOWN_AXES or len(axes) != dataset.ndim:
        raise FormatError(
            f"{what}: shape {dataset.shape} with axes {axes}; expected 2 to 4 axes, one of {', '.join(KNOWN_AXES)}"
        )
    return axes


def _check_storage(what: str, dataset: Any) -> np.dtype[Any]:
    """The native dtype of a dataset whose bytes are in this file and can be decoded piece by piece."""
    if dataset.shape is None or 0 in dataset.shape:
        raise FormatError(f"{what}: shape {dataset.shape} holds no pixel; write the image again")
    dtype = check_readable_dtype(what, dataset.dtype)
    if dataset.is_virtual or dataset.external:
        raise FormatError(
            f"{what}: its bytes lie in other files, and HDF5 invents values silently where one of those is missing; "
            "copy it into one file (h5repack)"
        )
    if dataset.id.get_storage_size() == 0:
        raise FormatError(
            f"{what}: declares {dataset.shape} {dataset.dtype}, but 0 bytes are stored; write the image again"
        )
    if dataset.chunks and math.prod(dataset.chunks) * dtype.itemsize > CHUNK_LIMIT:
        raise FormatError(
            f"{what}: chunks of {dataset.chunks} {dataset.dtype} are larger than {CHUNK_LIMIT:,} bytes; "
            "rewrite it in smaller ones (h5repack -l CHUNK=...)"
        )
    return dtype


def open_sections(path: str | os.PathLike[str], axes: str | None = None) -> Sections:
    """The sections of a dataset; with one image in the file, its name may be left out.

    ``axes`` is one of HW, SHW, CHW, SCHW; see the module for what holds without it.
    """
    import h5py

    name, wanted = split_location(path)
    check_input(name)
    check_heaps(name)
    try:
        file = h5py.File(name, "r", rdcc_nbytes=CACHE_BYTES)
    except (OSError, RuntimeError, ValueError) as error:
        raise FormatError(
            f"{name}: not an HDF5 file, or truncated or corrupt, {error}; copy or save it again"
        ) from error
    try:
        dataset = _find(name, file, wanted)
        what = f"{name}:{dataset.name}"
        dtype = _check_storage(what, dataset)
        order = _axes(what, dataset, axes)
        size = dict(zip(order, dataset.shape, strict=True))
        shape = (size.get("C", 1), size["H"], size["W"])

        def section(number: int) -> _Dataset:
            def select(y: slice, x: slice) -> tuple[int | slice, ...]:
                place: dict[str, int | slice] = {"S": number, "C": slice(None), "H": y, "W": x}
                return tuple(place[axis] for axis in order)

            return _Dataset(f"{what}, section {number}", dataset, shape, dtype, select)

        if size.get("S", 1) > MOST_SECTIONS:
            raise FormatError(
                f"{what}: shape {dataset.shape} with axes {order} has more than {MOST_SECTIONS:,} sections; "
                "say by the argument or attribute axes which axis they lie along, or split the dataset"
            )
        sources = [section(number) for number in range(size.get("S", 1))]
        chunk = math.prod(dataset.chunks) * dtype.itemsize if dataset.chunks else 0
    except FormatError:
        file.close()
        raise
    except Exception as error:  # whatever the library trips over in a damaged file
        file.close()
        raise FormatError(f"{name}: corrupt HDF5, {error or type(error).__name__}; save it again") from error
    return Sections(os.fspath(path), sources, file.close, max(CACHE_BYTES, 2 * chunk) if chunk else 0)


def _has_signature(name: str) -> bool:
    """Whether a file is HDF5's: at byte 0, 512, 1024, 2048, ..., for a block of the user's may come first."""
    with open(name, "rb") as file:
        size, at = os.fstat(file.fileno()).st_size, 0
        while at < size:
            file.seek(at)
            if file.read(len(MAGIC[0])) in MAGIC:
                return True
            at = 2 * at or 512
    return False


def _refuse_loss(name: str, dataset: str) -> None:
    """A result replaces the whole file: refuse that if anything else is in it."""
    import h5py

    if not os.path.isfile(name):
        return  # a folder, or a path that leads nowhere, is refused with its own message
    try:
        if not _has_signature(name):
            return
        with h5py.File(name, "r") as file:
            others = [other for other in _datasets(file) if other != dataset]
    except (OSError, RuntimeError, ValueError) as error:
        raise FormatError(
            f"{name}: exists, but cannot be read, {error}; a result would replace whatever it holds: "
            "close the program that uses it, or name a new file"
        ) from error
    if others:
        raise FormatError(
            f"{name}: holds {', '.join(others[:5])}, which would be lost: a result replaces the file; name a new file"
        )


def create(
    path: str | os.PathLike[str],
    sections: int,
    channels: int,
    height: int,
    width: int,
    dtype: npt.DTypeLike = np.float32,
) -> RawOutput:
    """An HDF5 file with one contiguous dataset (S, C, H, W), ``/data`` unless the path names another after a colon."""
    import h5py

    name, dataset = split_location(path)
    dataset = DEFAULT_DATASET if dataset is None else dataset
    check_extent(name, sections=sections, channels=channels, height=height, width=width)
    stored = check_readable_dtype(name, np.dtype(dtype))
    parts = dataset.strip("/").split("/")
    if not all(parts) or {".", ".."} & set(parts):
        raise FormatError(f"{name}: {dataset!r} is no name of a dataset; write {name}:{DEFAULT_DATASET}")
    _refuse_loss(name, "/" + "/".join(parts))
    shape = (sections, channels, height, width)
    beside = Beside(name, math.prod(shape) * stored.itemsize)
    try:
        # HDF5 reserves the room for the values and tells where it is, but does not fill it.
        room = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        room.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        room.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        with h5py.File(beside.path, "w") as file:
            created = file.create_dataset(dataset, shape=shape, dtype=stored, dcpl=room)
            created.attrs["axes"] = "SCHW"
            offset = created.id.get_offset()
        assert offset is not None
        return RawOutput(os.fspath(path), shape, stored, beside, offset)
    except (OSError, RuntimeError, ValueError) as error:
        beside.discard()
        raise FormatError(f"{name}: cannot be written, {error}; name another file or dataset") from error
    except BaseException:
        beside.discard()
        raise
