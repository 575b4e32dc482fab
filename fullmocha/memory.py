"""Bytes: what the process holds, what the machine has, and how people write it."""

import math
import os
import re

from .errors import BudgetError

KIB, MIB, GIB = 2**10, 2**20, 2**30
_UNITS = {
    "": 1,
    "B": 1,
    "K": 10**3,
    "KB": 10**3,
    "M": 10**6,
    "MB": 10**6,
    "G": 10**9,
    "GB": 10**9,
    "T": 10**12,
    "TB": 10**12,
}
_UNITS |= {"KIB": KIB, "MIB": MIB, "GIB": GIB, "TIB": 2**40}


def parse_bytes(text: str | int | float) -> int:
    """4GiB, "512 MB", 1.5e9: as bytes.

    Raises
    ------
    BudgetError
        If it is no positive amount.
    """
    match = re.fullmatch(r"\s*([0-9.]+(?:e[+-]?[0-9]+)?)\s*([a-z]*)\s*", str(text).lower())
    try:
        amount = float(match[1]) * _UNITS[match[2].upper()] if match else 0.0
    except (KeyError, ValueError):
        amount = 0.0
    if not 1 <= amount < math.inf:
        raise BudgetError(f"memory {text!r} is no amount of bytes; write for example 4GiB, 512MiB or 2000000000")
    return int(amount)


def format_bytes(count: float) -> str:
    """In the unit that leaves one to four digits.

    >>> format_bytes(700 * 2**20), format_bytes(1200 * 2**20), format_bytes(2.5 * 2**34)
    ('700 MiB', '1200 MiB', '40.0 GiB')
    """
    if count >= 10 * GIB:
        return f"{count / GIB:.1f} GiB"
    for unit, size in (("MiB", MIB), ("KiB", KIB)):
        if count >= size:
            return f"{count / size:.0f} {unit}"
    return f"{count:.0f} B"


def _status(field: str) -> int | None:
    try:
        with open("/proc/self/status") as file:
            return next(int(line.split()[1]) * KIB for line in file if line.startswith(field + ":"))
    except (OSError, StopIteration):
        return None


def resident() -> int:
    """What the process holds now; where the system does not say, its peak."""
    return _status("VmRSS") or peak()


def peak() -> int:
    """The most that the process ever held: interpreter, compiled kernels and all."""
    found = _status("VmHWM")
    if found is None:
        import resource
        import sys

        usage = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        found = usage if sys.platform == "darwin" else usage * KIB
    return found


def available() -> int:
    """What the machine has free."""
    try:
        with open("/proc/meminfo") as file:
            return next(int(line.split()[1]) * KIB for line in file if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
