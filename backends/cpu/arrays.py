"""Arrays that begin with a cache line, so that no vector of a blocked map lies across two."""

import numpy as np

ALIGNMENT = 64  # bytes: a cache line, and the widest vector


def aligned(size: int, dtype: np.dtype) -> np.ndarray:
    """An uninitialised array, flat; large ones are on huge pages where numpy asks for them."""
    room = np.empty(size * dtype.itemsize + ALIGNMENT, np.uint8)
    start = -room.ctypes.data % ALIGNMENT
    return room[start : start + size * dtype.itemsize].view(dtype)
