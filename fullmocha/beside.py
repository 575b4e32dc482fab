"""Files that appear whole or not at all: written under a hidden name in the same folder, then renamed.

The same folder, because a rename is atomic only within one file system. Whatever would make the last step fail
(folder missing, not writable, disk too small) is found when the file is opened, before any work is spent on it.
"""

from __future__ import annotations

import contextlib
import io
import os
import secrets
import shutil
import weakref
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from fullmocha.errors import FormatError

if TYPE_CHECKING:
    import h5py


def _remove(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)


class Beside:
    """A temporary file beside ``target``: :meth:`commit` renames it, :meth:`discard` or an error removes it.

    Parameters
    ----------
    target
        Where the file shall appear. A regular file there is replaced at commit; a link is followed.
    expected_bytes
        What will be written; refused at once when the disk has less.
    make_folder
        Whether a folder that is missing is made.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with Beside(f"{folder}/out.txt") as beside:
    ...         print(beside.path.write_text("whole"), beside.target.exists())
    ...     print(beside.target.read_text())
    5 False
    whole
    """

    def __init__(self, target: str | os.PathLike[str], expected_bytes: int = 0, make_folder: bool = False) -> None:
        self.target = Path(target)
        final = Path(os.path.realpath(self.target))
        folder = final.parent
        if make_folder:
            with contextlib.suppress(OSError):  # what is wrong then is said below
                folder.mkdir(parents=True, exist_ok=True)
        if not folder.is_dir():
            reason = "is not a folder" if folder.exists() else "does not exist"
            raise FormatError(f"{self.target}: cannot be written, its folder {folder} {reason}; create it first")
        if final.is_dir():
            raise FormatError(f"{self.target}: cannot be written, it is a folder; name a file in it")
        if final.exists() and not final.is_file():
            raise FormatError(f"{self.target}: cannot be written, it is a device or pipe; name an ordinary file")
        disk = shutil.disk_usage(folder)
        if disk.total and expected_bytes > disk.free:  # a total of 0 is a file system that does not say
            raise FormatError(
                f"{self.target}: needs {expected_bytes:,} bytes, but its disk has {disk.free:,} left; "
                "free some, or name a file on another disk"
            )
        self._final = final
        self.path = folder / f".{final.name[:100]}.{secrets.token_hex(6)}.part"
        try:
            # Not tempfile: its files are private to the user, and the result should have the usual permissions.
            with open(self.path, "xb") as file:
                # Some file systems end at 4 GB whatever is free; a hole of the whole length costs nothing.
                file.truncate(expected_bytes)
                file.truncate(0)
        except OSError as error:
            _remove(str(self.path))
            raise FormatError(
                f"{self.target}: cannot be written, {error.strerror or error}; "
                f"choose a folder that you may write to (this one is {folder})"
            ) from error
        # Also when the program forgets to close it or is stopped by an exception elsewhere.
        self._cleanup = weakref.finalize(self, _remove, str(self.path))

    def commit(self) -> None:
        """Make the file appear under its name. The data reach the disk first, so a power cut cannot leave half."""
        try:
            with open(self.path, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(self.path, self._final)
        except OSError as error:
            self.discard()
            raise FormatError(
                f"{self.target}: cannot be put in place, {error.strerror or error}; nothing was written"
            ) from error
        self._cleanup.detach()

    def discard(self) -> None:
        """Remove the temporary file; harmless when it is already gone."""
        self._cleanup()

    def __enter__(self) -> Beside:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is None:
            self.commit()
            return
        self.discard()
        if isinstance(error, OSError):
            raise FormatError(
                f"{self.target}: cannot be written, {error.strerror or error}; choose a folder with room that you may write to"
            ) from error


class Patient(io.FileIO):
    """An existing file for HDF5 to write to, which only notes what goes wrong, in ``problem``.

    Where a disk is full, HDF5 cannot close its file, and kills the process in the end. Given this one, it ends in peace, and its
    user asks for the problem.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(os.fspath(path), "r+")
        self.problem: OSError | None = None

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        done = 0
        try:
            while done < len(view):
                done += super().write(view[done:])
        except OSError as error:
            self.problem = self.problem or error
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        try:
            return super().truncate(size)
        except OSError as error:
            self.problem = self.problem or error
            return size or 0


@contextlib.contextmanager
def hdf5_beside(
    target: str | os.PathLike[str], expected_bytes: int = 0, make_folder: bool = False
) -> Iterator[h5py.File]:
    """An HDF5 file to be filled, for what fits into memory; as :class:`Beside`, it appears whole or not at all.

    It is made in memory: where a disk is full, HDF5 cannot close its file, and kills the process in the end.
    """
    import h5py

    with Beside(target, expected_bytes, make_folder) as beside:
        with h5py.File(beside.path, "w", driver="core", backing_store=False) as file:
            yield file
            file.flush()
            image = file.id.get_file_image()
        beside.path.write_bytes(image)
