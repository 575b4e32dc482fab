"""The bordered image that a net with context is run over, without ever building it.

Every pixel of the border is a pixel of the image (or zero), so a window of the bordered image is a window of the image
seen through a list of row numbers and a list of column numbers::

    symmetric   c b a | a b c d | d c b     the edge pixel is repeated
    reflect     d c b | a b c d | c b a     the edge pixel is the mirror
    zero        0 0 0 | a b c d | 0 0 0
    valid               a b c d             no border
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fullmocha.errors import ShapeError, UnsupportedError
from fullmocha.imaging.sources import Array, ArraySource, Source, check_window

MODES = ("symmetric", "reflect", "zero", "valid")
OUTSIDE = -1  # the row or column number of a pixel that is zero

Indices = npt.NDArray[np.intp]


def split_context(context: int) -> tuple[int, int]:
    """The border before and after an axis that makes the output of a net with this context as long as the image.

    >>> split_context(101)
    (51, 50)
    """
    if context < 0:
        raise ShapeError(f"context {context}: a net cannot give more pixels than it is given; expected 0 or more")
    return context - context // 2, context // 2


def source_indices(start: int, count: int, before: int, size: int, mode: str) -> Indices:
    """Where positions start .. start + count - 1 of a bordered axis lie on the axis of the image.

    Both mirrors are periodic, so a border longer than the image keeps reflecting, as ``numpy.pad`` does.
    """
    position = np.arange(start - before, start - before + count)
    if mode == "symmetric":
        folded = position % (2 * size)
        return np.minimum(folded, 2 * size - 1 - folded)
    if mode == "reflect":
        period = max(2 * size - 2, 1)  # a single pixel is its own mirror, as in numpy.pad
        folded = position % period
        return np.minimum(folded, period - folded) if size > 1 else folded
    return np.where((position < 0) | (position >= size), OUTSIDE, position)


class BorderedImage:
    """A source with a border around it, itself a source.

    Parameters
    ----------
    source
        An ndarray (H, W) or (C, H, W), or anything with ``shape``, ``dtype`` and ``read``.
    before, after
        Border pixels (above, left) and (below, right); either may exceed the image. Ignored by ``valid``.
    mode
        One of ``MODES``, by numpy's names.

    Examples
    --------
    >>> BorderedImage(np.array([[1, 2, 3]]), (0, 2), (0, 1), "reflect").read(0, 0, 1, 6)
    array([[[3, 2, 1, 2, 3, 2]]])
    """

    def __init__(
        self, source: Source | Array, before: tuple[int, int], after: tuple[int, int], mode: str = "symmetric"
    ) -> None:
        if mode not in MODES:
            raise UnsupportedError(f"border {mode!r} is unknown; choose one of {', '.join(MODES)}")
        if min(*before, *after) < 0:
            raise ShapeError(
                f"border {before} before, {after} after: expected 0 or more pixels; crop the image instead"
            )
        self._source: Source = ArraySource(source) if isinstance(source, np.ndarray) else source
        self._mode = mode
        self._before, self._after = ((0, 0), (0, 0)) if mode == "valid" else (before, after)
        channels, height, width = self._source.shape
        self.shape = (
            channels,
            self._before[0] + height + self._after[0],
            self._before[1] + width + self._after[1],
        )
        self.dtype = self._source.dtype

    def read(self, y: int, x: int, h: int, w: int) -> Array:
        """The window (C, h, w) of the bordered image; only the part of the image that it shows is read."""
        check_window("bordered image", self.shape, y, x, h, w)
        channels, height, width = self._source.shape
        rows = source_indices(y, h, self._before[0], height, self._mode)
        columns = source_indices(x, w, self._before[1], width, self._mode)
        inside_rows, inside_columns = rows != OUTSIDE, columns != OUTSIDE
        shown_rows, shown_columns = rows[inside_rows], columns[inside_columns]
        if shown_rows.size == 0 or shown_columns.size == 0:
            return np.zeros((channels, h, w), self.dtype)
        top, left = int(shown_rows.min()), int(shown_columns.min())
        block = self._source.read(top, left, int(shown_rows.max()) - top + 1, int(shown_columns.max()) - left + 1)
        shown = _take(_take(block, shown_rows - top, 1), shown_columns - left, 2)  # (C, shown rows, shown columns)
        if shown.shape == (channels, h, w):
            return shown
        # Only "zero" gets here: its window inside the image is one rectangle.
        window = np.zeros((channels, h, w), self.dtype)
        first_row, first_column = int(inside_rows.argmax()), int(inside_columns.argmax())
        window[:, first_row : first_row + shown.shape[1], first_column : first_column + shown.shape[2]] = shown
        return window


def _take(block: Array, index: Indices, axis: int) -> Array:
    """``block.take``, without the copy when the axis is used as it is, which is the case away from the border."""
    if np.array_equal(index, np.arange(block.shape[axis])):
        return block
    return block.take(index, axis)
