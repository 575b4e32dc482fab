"""Kernels for the processor's cores, compiled by numba when first called; micro-kernels are LLVM vector code."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .ops import Ops as Ops


def available() -> bool:
    """Whether this machine can run the backend: wherever numba installs, it can."""
    return True


def __getattr__(name: str) -> Any:
    if name != "Ops":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .ops import Ops  # numba loads only when a backend is made

    return Ops
