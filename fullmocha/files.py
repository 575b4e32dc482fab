"""Bytes of a file that a user named, or one clear message."""

import os
from pathlib import Path

from .errors import FormatError


def read_bytes(path: str | os.PathLike[str], what: str, limit: int | None = None) -> bytes:
    """All bytes of ``path``; ``what`` says in the messages which file was expected."""
    path = Path(path)
    try:
        if path.exists() and not path.is_file():  # a pipe may never answer, a device never end
            raise FormatError(f"{path} is a {'folder' if path.is_dir() else 'pipe or device'}; {what} is a file")
        if limit is not None and path.stat().st_size > limit:
            raise FormatError(f"{path} has {path.stat().st_size} bytes; {what} has at most {limit}")
        return path.read_bytes()
    except FileNotFoundError:
        raise FormatError(f"{path} does not exist; {what} was expected there") from None
    except FormatError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
        raise FormatError(f"{path} cannot be read: {error}") from None
