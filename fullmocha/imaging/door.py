"""The first look at an input file: is it there, is it a file, does it hold anything."""

from __future__ import annotations

import os
from pathlib import Path

from fullmocha.errors import FormatError


def check_input(path: str | os.PathLike[str]) -> int:
    """The size of an ordinary, readable, non-empty file in bytes; anything else is refused."""
    file = Path(path)
    try:
        size = file.stat().st_size
        if file.is_dir():
            raise FormatError(f"{file}: is a folder, expected an image file; name a file in it")
        if not file.is_file():
            raise FormatError(f"{file}: is a device or pipe, expected an image file; save its content to a file first")
        with open(file, "rb"):
            pass
    except FileNotFoundError as error:
        raise FormatError(
            f"{file}: no such file; check the name and the folder ({Path.cwd()} is the current one)"
        ) from error
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        raise FormatError(f"{file}: cannot be opened, {getattr(error, 'strerror', None) or error}") from error
    if size == 0:
        raise FormatError(f"{file}: is empty (0 bytes), expected an image; was its copy or download cut short?")
    return size


def first_bytes(path: str | os.PathLike[str], count: int = 16) -> bytes:
    """How a file begins."""
    with open(path, "rb") as file:
        return file.read(count)
