"""How this backend compiles and runs: numba's options, a cache that sees every source, one parallel region at a time.

Numba stamps a cached kernel with the file that defines it, and so misses a change in a helper of another file. The key
used here holds a fingerprint of all sources of this folder as well.

Kernels carry no type annotations: numba compiles one version for each dtype. Two of its traps shape the code below a
`prange`: the loop variable is unsigned, so it goes through `np.intp` before any arithmetic (unsigned with signed makes
float64); and a call that passes arrays counts references to them, atomically, so inner loops call nothing.
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
from numba.core import caching, config

# Neither nnan, ninf nor reassoc: NaN must stay NaN, and a sum keeps the order in which it is written.
OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract", "nsz"}}

# Numba's workqueue pool kills the process when two Python threads enter it at once, and no pool gains from it.
REGION = threading.RLock()

GRAIN = 2**15  # elementary operations that are worth waking a thread for: some ten microseconds


@cache
def fingerprint() -> str:
    """A digest of all sources of this folder, the compilers' versions, and the one setting that numba's key leaves out."""
    digest = hashlib.sha256(f"{numba.__version__} {llvmlite.__version__} {config.BOUNDSCHECK}".encode())
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _enable_cache(dispatcher: Any) -> None:
    """Gives a kernel the cache described above; leaves it without one where numba is not as expected."""
    try:
        original = caching.FunctionCache._index_key

        class SourceCache(caching.FunctionCache):
            def _index_key(self, signature: Any, codegen: Any) -> Any:
                return (*original(self, signature, codegen), fingerprint())

        if not hasattr(dispatcher, "_cache"):
            raise AttributeError("a dispatcher has no _cache")
        dispatcher._cache = SourceCache(dispatcher.py_func)
    except AttributeError as error:
        reason = f"numba {numba.__version__} keeps its cache in another way ({error})"
        warnings.warn(f"{reason}; kernels are compiled anew in every process", RuntimeWarning, stacklevel=2)
    except RuntimeError:
        pass  # numba finds no folder that it may write to


def kernel(function: Callable[..., Any]) -> Any:
    """Compiles what other kernels call, or Python where one thread is enough."""
    compiled = numba.njit(**OPTIONS)(function)
    _enable_cache(compiled)
    return compiled


def parallel_kernel(function: Callable[..., Any]) -> Any:
    """Compiles a function with a `prange` in it; calls go through `Threads.run`."""
    compiled = numba.njit(parallel=True, **OPTIONS)(function)
    _enable_cache(compiled)
    return compiled


class Threads:
    """How many threads a parallel kernel may use: all that numba has, unless limited."""

    def __init__(self) -> None:
        self.limit(None)

    def limit(self, count: int | None) -> None:
        """At most `count`; None for all."""
        most = config.NUMBA_NUM_THREADS
        if count is not None and count < 1:
            raise ValueError(f"a number of threads must be at least 1, or None for all {most}; got {count}")
        self.count = most if count is None else min(count, most)

    def run(self, work: int, compiled: Any, *arguments: Any) -> Any:
        """Calls a parallel kernel, alone, on as many threads as `work` elementary operations are worth."""
        with REGION:
            before = numba.get_num_threads()
            numba.set_num_threads(max(1, min(self.count, work // GRAIN)))
            try:
                return compiled(*arguments)
            finally:
                numba.set_num_threads(before)
