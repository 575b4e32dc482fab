"""The kernels of earlier processes, kept on disk: found only where every source is the same, and whole or not at all.

Numba's own cache has three weaknesses that matter here. It stamps a kernel with the file that defines it, and so misses
a change in a helper of another file. It writes its index before the entry, so an interrupt in between, or two processes
at once, can leave a name that leads to another kernel's code. And it fails where an entry cannot be written or read.
Here an entry is one file, named by its key, which holds a fingerprint of all sources of this folder; it appears when it
is complete, and whatever is not as expected is compiled anew.
"""

import contextlib
import hashlib
import logging
import os
import uuid
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import numba
from numba.core import caching, config

LOG = logging.getLogger(__name__)  # below "fullmocha", where the command line listens
COLD_SECONDS = 30  # what a first start of a common net waits for its kernels, on two cores; said, not relied on


class Tally:
    """What this process has compiled, found, and where."""

    def __init__(self) -> None:
        self.compiled = self.found = 0
        self.folders: set[str] = set()

    def miss(self, cpu: str) -> None:
        """Counts a kernel that has to be compiled; before the first of them it says why there is a wait."""
        self.compiled += 1
        if self.compiled == 1:
            once = "once per machine" if self.folders else "in every process, for want of a folder to keep them in"
            LOG.info("compiling kernels for %s; %s, about %d s", cpu, once, COLD_SECONDS)


TALLY = Tally()


@cache
def fingerprint() -> str:
    """A digest of all sources of this folder, the compilers' versions, and the one setting that numba's key leaves out."""
    digest = hashlib.sha256(f"{numba.__version__} {llvmlite.__version__} {config.BOUNDSCHECK}".encode())
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def enable(dispatcher: Any) -> None:
    """Gives a kernel the cache described above; leaves it without one where numba is not as expected."""
    try:
        caching.FunctionCache._index_key, caching.IndexDataCacheFile._load_data  # noqa: B018  (raises where one is missing)
        if not hasattr(dispatcher, "_cache"):
            raise AttributeError("a dispatcher has no _cache")
        dispatcher._cache = SourceCache(dispatcher.py_func)
    except AttributeError as error:
        reason = f"numba {numba.__version__} keeps its cache in another way ({error})"
        warnings.warn(f"{reason}; kernels are compiled anew in every process", RuntimeWarning, stacklevel=2)
    except RuntimeError:  # numba finds no folder that it may write to
        dispatcher._cache = NoCache()
    else:
        TALLY.folders.add(str(dispatcher._cache.cache_path))


class NoCache(caching.NullCache):
    """Keeps nothing, and says so when there is something to compile."""

    def load_overload(self, sig: Any, target_context: Any) -> None:
        TALLY.miss(target_context.codegen().magic_tuple()[1])


class SourceCache(caching.FunctionCache):
    """Numba's, with another key and other files."""

    def __init__(self, py_func: Any) -> None:
        super().__init__(py_func)
        stamp = self._impl.locator.get_source_stamp()
        self._cache_file = Entries(self._cache_path, self._impl.filename_base, stamp)

    def _index_key(self, sig: Any, codegen: Any) -> Any:
        return (*super()._index_key(sig, codegen), fingerprint())

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        found = super().load_overload(sig, target_context)
        if found is None:
            TALLY.miss(target_context.codegen().magic_tuple()[1])
        else:
            TALLY.found += 1
        return found

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            super().save_overload(sig, data)
        except OSError as error:  # a full disk, a quota: the kernel is there all the same
            LOG.warning("%s: compiled kernels cannot be kept (%s)", self._cache_path, error.strerror or error)
        except RuntimeError as error:  # an interrupt kept llvmlite from handing over the object code
            LOG.debug("%s: %s", self._cache_path, error)


class Entries(caching.IndexDataCacheFile):
    """Entries without an index: the name is a digest of the key, and the key stands in the file once more."""

    def __init__(self, folder: str, base: str, stamp: Any) -> None:
        super().__init__(folder, base, stamp)
        self._base, self._stamp = base, stamp

    def _name(self, key: Any) -> str:
        return f"{self._base}.{hashlib.sha256(repr((self._stamp, key)).encode()).hexdigest()[:32]}.nbc"

    def load(self, key: Any) -> Any:
        try:
            kept, data = self._load_data(self._name(key))
        except Exception:  # not there, cut short, or of another making: it will be written over
            return None
        return data if kept == key else None

    def save(self, key: Any, data: Any) -> None:
        target = os.path.join(self._cache_path, self._name(key))
        beside = f"{target}.tmp.{uuid.uuid4().hex[:16]}"
        try:
            with open(beside, "wb") as file:
                file.write(self._dump((key, data)))
            os.replace(beside, target)
        except BaseException:  # an interrupt is one
            with contextlib.suppress(OSError):
                os.unlink(beside)
            raise
