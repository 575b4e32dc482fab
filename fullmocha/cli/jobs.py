"""Labelling as a job: planned within a budget, shown in a line, then run block by block."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from ..errors import BudgetError
from ..memory import format_bytes, resident
from .tables import duration, giga, size

if TYPE_CHECKING:
    from ..blob import Shape
    from ..dense import DenseNet
    from ..imaging.sources import Source
    from ..labelling import Labelling
    from ..sliding import SlidingNet

Block = tuple[int, int, np.ndarray]  # row, column, (K, h, w)


@dataclass(frozen=True)
class Job:
    """How images of one shape are labelled.

    Attributes
    ----------
    outputs : (int, int)
        Rows and columns of the answer.
    count : int
        Blocks that `blocks` gives for one image.
    pieces : str
        What they are, in words.
    peak : int
        Bytes that the whole process is predicted to hold at most.
    flops, seconds
        For one image.
    """

    outputs: Shape
    count: int
    pieces: str
    peak: int
    budget: int
    flops: int
    seconds: float

    def blocks(self, source: Source) -> Iterator[Block]:
        """The answer piece by piece; every pixel comes once."""
        raise NotImplementedError

    def describe(self, images: int = 1) -> str:
        """The plan in one line."""
        memory = f"{format_bytes(self.peak)} of {format_bytes(self.budget)}"
        each = "" if images == 1 else f"{images} sections, each "
        return (
            f"plan: {each}{self.pieces}; {memory}; {giga(images * self.flops)}, about {duration(images * self.seconds)}"
        )


@dataclass(frozen=True)
class DenseJob(Job):
    """In tiles, by a dense net."""

    labelling: Labelling

    def blocks(self, source: Source) -> Iterator[Block]:
        for tile, block in self.labelling.blocks(source):
            yield tile.y, tile.x, block


@dataclass(frozen=True)
class SlidingJob(Job):
    """Window by window, in bands of rows: the definition, for checking."""

    dense: SlidingNet
    border: str
    rows: int

    def blocks(self, source: Source) -> Iterator[Block]:
        from ..imaging.borders import BorderedImage
        from ..labelling import border_of

        dense = self.dense
        bordered = BorderedImage(source, *border_of(dense, self.border), self.border)
        height, width = self.outputs
        for y in range(0, height, self.rows):
            first = max(0, min(y, height - self.rows))  # the last band is moved up, so that it is whole
            count = min(self.rows, height)
            x = bordered.read(first, 0, count + dense.context[0], width + dense.context[1]).astype(dense.dtype)[None]
            answer = dense.forward(dense.transform(x))
            yield y, 0, answer[0, :, y - first :]


def plan_job(
    dense: DenseNet, image: Shape, border: str, memory: str | int | None, pixel_bytes: int = 1, held: int = 0
) -> Job:
    """Plans images (C, H, W) whose pixels have so many bytes; `held` is what the caller keeps meanwhile."""
    from ..labelling import budget_of, plan_labelling
    from ..sliding import SlidingNet

    if isinstance(dense, SlidingNet):
        return _plan_sliding(dense, image, border, budget_of(memory), held)
    found = plan_labelling(dense, image, border, memory, held, pixel_bytes)
    plan = found.plan
    largest = max((t.windows for t in plan.tiles), key=prod)
    count = len(plan.tiles)
    pieces = (
        f"one tile of {size(largest)}" if count == 1 else f"{count} tiles ({size(plan.grid)}) of up to {size(largest)}"
    )
    return DenseJob(plan.outputs, count, pieces, plan.peak, found.budget, plan.flops, plan.seconds, found)


def _plan_sliding(dense: SlidingNet, image: Shape, border: str, budget: int, held: int) -> SlidingJob:
    from .. import flops
    from ..labelling import border_of
    from ..plan import lay_out

    before, after = border_of(dense, border)
    channels, *sides = image
    bordered = tuple(n + a + b for n, a, b in zip(sides, before, after, strict=True))
    dense.check_input(np.broadcast_to(np.float32(0), (1, channels, *bordered)))
    outputs = tuple(n - v for n, v in zip(bordered, dense.context, strict=True))
    shape = (dense.batch, dense.channels, *dense.patch)
    dense.forward(np.zeros((1, *shape[1:]), dense.dtype))  # loads the kernels, so that what they hold is known
    program = dense.backend.ops.lower(dense.program(shape))
    plan = lay_out(dense.backend.ops, program)
    rows = min(outputs[0], max(dense.declared_windows[0], -(-dense.batch // outputs[1])))
    band = (
        dense.channels * (rows + dense.context[0]) * (outputs[1] + dense.context[1])
        + 2 * dense.classes * rows * outputs[1]
    )
    peak = resident() + held + plan.nbytes + (2 * prod(shape) + 4 * band) * dense.dtype.itemsize
    if peak > budget:
        raise BudgetError(
            f"a memory budget of {format_bytes(budget)} is too small: sliding {dense.batch} windows at a time needs "
            f"{format_bytes(peak)} in all; raise --memory to at least that"
        )
    work = sum(w.total for w in flops.dense(dense.origin, outputs, "sliding", dense.output))
    windows = prod(n - d + 1 for n, d in zip(outputs, dense.declared_windows, strict=True))
    pieces = f"{windows:,} windows of {size(dense.patch)}, one by one"
    seconds = plan.seconds * windows / dense.batch
    return SlidingJob(outputs, -(-outputs[0] // rows), pieces, peak, budget, work, seconds, dense, border, rows)
