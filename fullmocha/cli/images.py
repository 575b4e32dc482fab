"""Inputs as one list of sections, and their grey values as the net wants them."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..errors import FormatError, ShapeError
from .tables import size

if TYPE_CHECKING:
    from ..blob import Shape
    from ..dense import DenseNet
    from ..imaging.sources import Sections, Source

_BLOCK_BYTES = 2**24  # of float64, while the least and the greatest value are looked for


@dataclass(frozen=True)
class Grey:
    """What is done to grey values before the net sees them."""

    scale: float = 1.0
    means: tuple[float, ...] = (0.0,)
    normalize: bool = False
    repeat: bool = False

    @property
    def active(self) -> bool:
        return self != Grey()

    def check_net(self, dense: DenseNet) -> None:
        """Warns where the net's data layer changes the values that were asked to be changed already."""
        names = {"--scale": self.scale != 1.0, "--mean": any(self.means), "--normalize": self.normalize}
        given = " and ".join(name for name, used in names.items() if used)
        declared = [type(t).__name__ for top, t in dense.data_layer.transformers if top == dense.source_name]
        if given and declared:
            warnings.warn(
                f"{given} and {', '.join(declared)} of layer {dense.data_layer.name!r} are both applied, in this order; leave "
                f"{given} out if the net's own is what you mean",
                stacklevel=2,
            )

    def check(self, found: int, channels: int, what: str) -> int:
        """How often so many channels are repeated for a net that takes `channels`; `what` names the section in messages."""
        repeats = channels if self.repeat and found == 1 else 1
        if found * repeats != channels:
            way = (
                "use --repeat-grey to give it the grey values in each" if found == 1 else "choose an image of that kind"
            )
            raise ShapeError(f"{what}: has {found} channel{'s' * (found > 1)}, the net takes {channels}; {way}")
        if len(self.means) not in (1, channels):
            raise ShapeError(
                f"--mean has {len(self.means)} values, the net takes {channels} channels; give one, or one for each"
            )
        return repeats

    def __call__(self, source: Source, channels: int, dtype: np.dtype, what: str) -> Source:
        """The section as the net sees it."""
        repeats = self.check(source.shape[0], channels, what)
        if not self.active:
            return source
        if self.normalize:
            low, high = _extremes(source, what)
            # a section of one value becomes -1, as OpenCV's normalize makes it
            return _Changed(source, dtype, (low,), 2 / (high - low) if high > low else 0.0, -1.0, repeats)
        return _Changed(source, dtype, self.means, self.scale, 0.0, repeats)


class _Changed:
    """A source whose values are (x - mean) * scale + shift, and whose channels may be repeated."""

    def __init__(
        self, source: Source, dtype: np.dtype, means: Sequence[float], scale: float, shift: float, repeats: int
    ) -> None:
        channels, height, width = source.shape
        self.shape = (channels * repeats, height, width)
        self.dtype = dtype
        self._source, self._repeats = source, repeats
        self._means = np.array(means, dtype)[:, None, None]
        self._scale, self._shift = dtype.type(scale), dtype.type(shift)

    def read(self, y: int, x: int, h: int, w: int) -> np.ndarray:
        block = self._source.read(y, x, h, w).astype(self.dtype)
        if self._repeats > 1:
            block = np.repeat(block, self._repeats, axis=0)
        block -= self._means
        block *= self._scale
        block += self._shift
        return block


def _extremes(source: Source, what: str) -> tuple[float, float]:
    """The least and the greatest value, by bands of rows."""
    channels, height, width = source.shape
    rows = max(1, _BLOCK_BYTES // (8 * channels * width))
    low, high = np.inf, -np.inf
    for y in range(0, height, rows):
        band = source.read(y, 0, min(rows, height - y), width)
        least, most = float(band.min()), float(band.max())  # NaN if the band holds one, which min(low, NaN) would hide
        if not np.isfinite(most - least):
            raise FormatError(
                f"{what}: holds values that are not finite in rows {y} to {min(y + rows, height) - 1}, so it has no range to "
                "stretch; leave out --normalize"
            )
        low, high = min(low, least), max(high, most)
    return low, high


def outputs_of(dense: DenseNet, shape: Shape, border: str, grey: Grey, what: str) -> tuple[int, int]:
    """Rows and columns of the answer to an image (C, H, W), if it suits the net; `what` names it in messages."""
    from ..labelling import border_of

    grey.check(shape[0], dense.channels, what)
    before, after = border_of(dense, border)
    bordered = tuple(n + a + b for n, a, b in zip(shape[1:], before, after, strict=True))
    try:
        dense.check_input(np.broadcast_to(np.float32(0), (1, dense.channels, *bordered)))  # of no size in memory
    except ShapeError as error:
        raise ShapeError(f"{what}: {error}") from error
    height, width = (n - v for n, v in zip(bordered, dense.context, strict=True))
    return height, width


class Stack:
    """The sections of several files, one after the other; all must have one shape. Close it, or use it in a `with` block."""

    def __init__(self, paths: Sequence[str]) -> None:
        from ..imaging import open_sections

        self._open = contextlib.ExitStack()
        self.sources: list[tuple[str, Source]] = []  # with a name for messages
        self.working_bytes = 0
        try:
            for path in paths:
                sections: Sections = self._open.enter_context(open_sections(path))
                self.working_bytes += sections.working_bytes
                for number, source in enumerate(sections):
                    self._add(f"{path}, section {number}" if len(sections) > 1 else path, source)
        except BaseException:
            self._open.close()
            raise

    def _add(self, what: str, source: Source) -> None:
        if self.sources and source.shape != self.shape:
            first, there = self.sources[0][0], self.shape
            raise ShapeError(
                f"{what}: is {size(source.shape[1:])} with {source.shape[0]} channels, but {first} is {size(there[1:])} with "
                f"{there[0]}; sections of one result must agree, label the others by a run of their own"
            )
        self.sources.append((what, source))

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of every section."""
        return self.sources[0][1].shape

    @property
    def pixel_bytes(self) -> int:
        return max(source.dtype.itemsize for _, source in self.sources)

    def __enter__(self) -> Stack:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()
