"""How this backend compiles and runs: numba's options once, a cache that sees every kernel source, one parallel region at a time.

Numba stamps a cached kernel with the file that defines it, and so misses a change in a helper of another file. The key used here
holds a fingerprint of all sources of this folder as well.
"""

import hashlib
import threading
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import numba
from numba.core import config

# Neither nnan, ninf nor reassoc: NaN must stay NaN, and a sum keeps the order in which it is written.
OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract", "nsz"}}

# Numba's workqueue pool kills the process when two Python threads enter it at once, and no pool gains from it.
REGION = threading.RLock()


@cache
def fingerprint() -> str:
    """A digest of every source file of this folder, of the compilers' versions, and of the one option that numba's key leaves out."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    digest.update(f"{numba.__version__} {llvmlite.__version__} {config.BOUNDSCHECK}".encode())
    return digest.hexdigest()


def _enable_cache(kernel: Any) -> None:
    """Gives a dispatcher the cache described above; leaves it without one where numba is not as expected."""
    try:
        from numba.core.caching import FunctionCache

        class SourceCache(FunctionCache):  # type: ignore[misc]
            def _index_key(self, signature: Any, codegen: Any) -> Any:
                return (*super()._index_key(signature, codegen), fingerprint())

        if not hasattr(FunctionCache, "_index_key") or not hasattr(kernel, "_cache"):
            raise AttributeError("_index_key or _cache")
        kernel._cache = SourceCache(kernel.py_func)
    except (ImportError, AttributeError) as error:
        warnings.warn(f"numba {numba.__version__} keeps its cache in another way ({error}); kernels compile anew in every process", stacklevel=3)
    except RuntimeError:
        pass  # no folder to write to: nothing is cached


def kernel(function: Callable[..., Any]) -> Any:
    """Compiles a function that is called from other kernels, or from Python where one thread is enough."""
    compiled = numba.njit(**OPTIONS)(function)
    _enable_cache(compiled)
    return compiled


def parallel_kernel(function: Callable[..., Any]) -> Any:
    """Compiles a function with a `prange` in it; calls go through `Threads.run`."""
    compiled = numba.njit(parallel=True, **OPTIONS)(function)
    _enable_cache(compiled)
    return compiled


class Threads:
    """How many threads a parallel kernel may use."""

    def __init__(self, count: int | None = None) -> None:
        self.limit(count)

    def limit(self, count: int | None) -> None:
        """At most `count` threads; None for all that numba has."""
        most = config.NUMBA_NUM_THREADS
        if count is not None and count < 1:
            raise ValueError(f"the number of threads must be at least 1, or None for all {most}; got {count}")
        self.count = most if count is None else min(count, most)

    def run(self, compiled: Any, *arguments: Any) -> Any:
        """Calls a parallel kernel, alone."""
        with REGION:
            before = numba.get_num_threads()
            numba.set_num_threads(self.count)
            try:
                return compiled(*arguments)
            finally:
                numba.set_num_threads(before)
