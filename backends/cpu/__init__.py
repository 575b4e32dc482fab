"""Kernels for the processor's cores, compiled by numba when first called; micro-kernels are LLVM vector code."""

from .ops import Ops as Ops


def available() -> bool:
    """Whether this machine can run the backend: wherever numba installs, it can."""
    return True
