"""Images in and out: formats, borders, made-up pictures, scores, drawings.

A format is one module that looks like :class:`Format`; to add one, write ``imaging/name.py`` and enter its suffixes
here.
"""

from __future__ import annotations

import os
from typing import Protocol

import numpy as np
import numpy.typing as npt

from fullmocha.errors import FormatError
from fullmocha.imaging import hdf5, png, tiff
from fullmocha.imaging.borders import BorderedImage, split_context
from fullmocha.imaging.door import check_input, first_bytes
from fullmocha.imaging.outputs import Output
from fullmocha.imaging.sources import ArraySource, Sections, Source

__all__ = [
    "SUFFIXES",
    "ArraySource",
    "BorderedImage",
    "Output",
    "Sections",
    "Source",
    "create_output",
    "open_sections",
    "split_context",
]


class Format(Protocol):
    """What a format module offers."""

    @property
    def MAGIC(self) -> tuple[bytes, ...]: ...

    def open_sections(self, path: str | os.PathLike[str]) -> Sections: ...

    def create(
        self,
        path: str | os.PathLike[str],
        sections: int,
        channels: int,
        height: int,
        width: int,
        dtype: npt.DTypeLike = ...,
    ) -> Output: ...


SUFFIXES: dict[str, Format] = {".tif": tiff, ".tiff": tiff, ".png": png, ".h5": hdf5, ".hdf5": hdf5, ".hdf": hdf5}


def open_sections(path: str | os.PathLike[str], axes: str | None = None) -> Sections:
    """The sections of an image file, read by windows.

    The first bytes decide which format it is, for they are right where a name is wrong; the suffix decides only when
    no format knows them. ``axes`` is for HDF5 alone, see :func:`fullmocha.imaging.hdf5.open_sections`.
    """
    file, dataset = hdf5.split_location(path)
    check_input(file)
    begin = first_bytes(file)
    found = next((module for module in SUFFIXES.values() if begin.startswith(module.MAGIC)), _by_suffix(file))
    if found is None:
        raise FormatError(
            f"{file}: begins with {begin[:8]!r}, which is none of {', '.join(SUFFIXES)}; "
            "convert it to TIFF, or copy it again if it is damaged"
        )
    if found is hdf5:
        return hdf5.open_sections(path, axes)
    if dataset is not None or axes is not None:
        raise FormatError(f"{os.fspath(path)}: is no HDF5 file, so it has no datasets and no axes; leave them out")
    return found.open_sections(path)


def create_output(
    path: str | os.PathLike[str],
    sections: int,
    channels: int,
    height: int,
    width: int,
    dtype: npt.DTypeLike = np.float32,
) -> Output:
    """A result file, by the suffix of its name; refuses now what would fail at the end.

    Pages go section by section, then class. The file appears when the result is closed, whole, or not at all.
    """
    found = _by_suffix(hdf5.split_location(path)[0])
    if found is None:
        raise FormatError(
            f"{os.fspath(path)}: its suffix names no format that is written; use one of {', '.join(SUFFIXES)}"
        )
    return found.create(path, sections, channels, height, width, dtype)


def _by_suffix(file: str) -> Format | None:
    return SUFFIXES.get(os.path.splitext(file)[1].lower())
