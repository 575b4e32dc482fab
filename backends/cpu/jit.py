"""How this backend compiles and runs: numba's options, and one parallel region at a time.

Kernels carry no type annotations: numba compiles one version for each dtype. Two of its traps shape the code below a
`prange`: the loop variable is unsigned, so it goes through `np.intp` before any arithmetic (unsigned with signed makes
float64); and a call that passes arrays counts references to them, atomically, so inner loops call nothing.
"""

import os
import threading
from collections.abc import Callable
from typing import Any

import numba
from numba.core import config

from . import cache

# Neither nnan, ninf nor reassoc: NaN must stay NaN, and a sum keeps the order in which it is written.
OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract", "nsz"}}

# Numba's workqueue pool kills the process when two Python threads enter it at once, and no pool gains from it.
REGION = threading.RLock()

# Threads that plans reckon with: what --threads or an environment of fewer threads asks for changes no plan, and so no bits.
CORES = max(config.NUMBA_DEFAULT_NUM_THREADS, config.NUMBA_NUM_THREADS)

GRAIN = 2**15  # elementary operations that are worth waking a thread for: some ten microseconds


class ForkError(RuntimeError):
    """The threads of the process that forked are not in its child, and what they held stays held there."""


def kernel(function: Callable[..., Any]) -> Any:
    """Compiles what other kernels call, or Python where one thread is enough."""
    compiled = numba.njit(**OPTIONS)(function)
    cache.enable(compiled)
    return compiled


def parallel_kernel(function: Callable[..., Any]) -> Any:
    """Compiles a function with a `prange` in it; calls go through `Threads.run`."""
    compiled = numba.njit(parallel=True, **OPTIONS)(function)
    cache.enable(compiled)
    return compiled


class Threads:
    """How many threads a parallel kernel may use: all that numba has, unless limited."""

    pool: int | None = None  # the process that started numba's threads

    def __init__(self) -> None:
        self.limit(None)

    def limit(self, count: int | None) -> None:
        """At most `count`; None for all."""
        most = config.NUMBA_NUM_THREADS
        if count is not None and count < 1:
            raise ValueError(f"a number of threads must be at least 1, or None for all {most}; got {count}")
        if count is not None and count > most:
            cache.LOG.info("%d threads were asked for, and there are cores for %d: using %d", count, most, most)
        self.count = most if count is None else min(count, most)

    def run(self, work: int, compiled: Any, *arguments: Any) -> Any:
        """Calls a parallel kernel, alone, on as many threads as `work` elementary operations are worth.

        Raises
        ------
        ForkError
            In a child of the process that ran the first one.
        """
        self.refuse_after_fork()
        with REGION:
            before = numba.get_num_threads()
            numba.set_num_threads(max(1, min(self.count, work // GRAIN)))
            try:
                return compiled(*arguments)
            finally:
                numba.set_num_threads(before)

    @classmethod
    def refuse_after_fork(cls) -> None:
        """Raises ForkError where the pool is another process's; to be called before a lock that a lost thread may hold.

        One rule for all pools: GNU OpenMP kills the child, and the one that would survive hangs if it was at work.
        """
        here = os.getpid()
        if cls.pool is None:
            cls.pool = here
        elif cls.pool != here:
            raise ForkError(
                f"process {here} was forked from process {cls.pool} after backend 'cpu' had computed there, and OpenMP "
                'threads do not survive a fork; start workers by multiprocessing\'s "spawn" or "forkserver", or fork before '
                "the first use of the backend"
            )
