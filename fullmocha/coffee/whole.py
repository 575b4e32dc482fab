"""Files that appear whole or not at all."""

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from ..errors import SolverError


@contextlib.contextmanager
def written_whole(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A hidden file beside `path` to write to; it takes the name `path` when the block ends well, and goes if it fails.

    The data reach the disk before the name changes, so a power cut leaves either the old file or the new one.
    """
    target = Path(path)
    part = target.with_name(f".{target.name}.{secrets.token_hex(6)}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield part
        with open(part, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(part, target)
    except OSError as problem:
        raise SolverError(
            f"{target}: cannot be written: {problem}; choose a folder with room that you may write to"
        ) from problem
    finally:
        with contextlib.suppress(OSError):
            part.unlink()
