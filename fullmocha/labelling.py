"""Labelling images with a dense net, tile by tile, inside a memory budget."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import prod

import numpy as np
from numpy.typing import DTypeLike

from fullmocha.backends.program import Executable

from .blob import Shape
from .dense import DenseNet
from .errors import ShapeError
from .imaging.borders import BorderedImage, split_context
from .imaging.sources import ArraySource, Source
from .memory import GIB, available, parse_bytes, resident
from .plan import Tile, TilePlan, plan_tiles
from .progress import progress as show_progress

_DEFAULT_BUDGET = 4 * GIB


@dataclass
class Labelling:
    """A dense net and the plan by which it labels images of one shape, as many as there are.

    Attributes
    ----------
    image : (C, H, W)
    border : str
    outputs : (int, int)
        Rows and columns of the answer.
    budget : int
        Bytes for the whole process.
    """

    dense: DenseNet
    image: Shape
    border: str
    budget: int
    plan: TilePlan
    _run: tuple[Shape, Executable] | None = field(default=None, init=False, repr=False)

    @property
    def outputs(self) -> Shape:
        return self.plan.outputs

    @property
    def pad(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Border (rows, columns) before and after; behind it, what a net in step with S needs to be whole."""
        before, (below, right) = border_of(self.dense, self.border)
        reach = [max(t.y + t.windows[0] for t in self.plan.tiles), max(t.x + t.windows[1] for t in self.plan.tiles)]
        return before, (below + max(0, reach[0] - self.outputs[0]), right + max(0, reach[1] - self.outputs[1]))

    def blocks(self, image: Source | np.ndarray, transform: bool = True) -> Iterator[tuple[Tile, np.ndarray]]:
        """Every tile with its answer (K, rows, columns); one tile is in memory at a time.

        `transform` applies the scale and mean that the net's data layer declares.
        """
        source = ArraySource(image) if isinstance(image, np.ndarray) else image
        dense = self.dense
        dense.check_values()
        before, after = self.pad
        # "valid" has no border, but a net in step with S may still run past the last pixel: over zeros
        bordered = BorderedImage(source, before, after, "zero" if self.border == "valid" else self.border)
        for tile in sorted(self.plan.tiles, key=lambda t: (t.windows, t.y, t.x)):
            run = self._executable(tile.windows)
            _, _, height, width = dense.input_shape(tile.windows)
            x = bordered.read(tile.y, tile.x, height, width).astype(dense.dtype, copy=False)[None]
            (y,) = run(np.ascontiguousarray(dense.transform(x) if transform else x, dense.dtype))
            del x
            yield tile, y[0, :, : tile.keep[0], : tile.keep[1]]

    def whole(
        self, image: Source | np.ndarray, dtype: DTypeLike | None = None, transform: bool = True, progress: bool = False
    ) -> np.ndarray:
        """The answer (K, rows, columns) in one array; `progress` shows how many tiles are done."""
        answer = np.empty((self.dense.classes, *self.outputs), dtype or self.dense.dtype)
        for tile, block in show_progress(self.blocks(image, transform), len(self.plan.tiles), "labelling", progress):
            answer[:, tile.y : tile.y + tile.keep[0], tile.x : tile.x + tile.keep[1]] = block
        return answer

    def _executable(self, windows: Shape) -> Executable:
        """The compiled program for tiles of this shape; the last one's buffers are dropped before new ones are made."""
        if self._run is None or self._run[0] != windows:
            self._run = None
            self._run = windows, self.dense.backend.ops.compile(*self.plan.plans[windows])
        return self._run[1]


def border_of(dense: DenseNet, border: str) -> tuple[tuple[int, int], tuple[int, int]]:
    """Pixels (rows, columns) added before and after the image: ceil(v / 2) and floor(v / 2).

    Raises
    ------
    ShapeError
        If the net takes volumes or rows, for which there are no borders and no tiles.
    """
    if len(dense.patch) != 2:
        shape = ", ".join(["N", str(dense.channels), *(f"at least {n}" for n in dense.patch)])
        raise ShapeError(
            f"net {dense.name!r} takes arrays of {len(dense.patch)} spatial axes; only images, which have 2, are labelled with borders and "
            f"in tiles. Run fm.densify(net).forward(x) on the whole array, ({shape})"
        )
    if border == "valid":
        return (0, 0), (0, 0)
    halves = [split_context(v) for v in dense.context]
    return (halves[0][0], halves[1][0]), (halves[0][1], halves[1][1])


def plan_labelling(
    dense: DenseNet,
    image: Shape,
    border: str = "symmetric",
    memory: str | int | None = None,
    held: int = 0,
    pixel_bytes: int = 8,
) -> Labelling:
    """Cuts an image of shape (C, H, W) into tiles so that the process stays within `memory` bytes.

    A first plan says which kernels are needed; they are loaded, so that what they hold is known when the plan is made for
    good.

    Parameters
    ----------
    memory : str or int, optional
        "4GiB" or bytes, for the whole process; by default half of what is free, 4 GiB at most.
    held : int
        Further bytes that the caller will hold meanwhile, such as the answer.
    pixel_bytes : int
        Of one value of the image as it is read.

    Raises
    ------
    ShapeError
        If the image has other channels than the net, or is smaller than the window and has no border.
    BudgetError
        If the budget is too small for one tile.
    """
    channels, *size = image
    before, after = border_of(dense, border)
    outputs = tuple(n + a + b - v for n, a, b, v in zip(size, before, after, dense.context, strict=True))
    if channels != dense.channels:
        raise ShapeError(
            f"the image has {channels} channel{'s' * (channels != 1)}, net {dense.name!r} takes {dense.channels}; "
            + (
                "repeat the grey channel, np.repeat(image[None], 3, axis=0)"
                if channels == 1
                else "give it an image of that kind"
            )
        )
    if min(outputs) < 1:
        raise ShapeError(
            f"the {size[0]}x{size[1]} image is smaller than the {dense.patch[0]}x{dense.patch[1]} window of net {dense.name!r}, and "
            f'border "valid" adds nothing; use another border, or an image of at least {dense.context[0] + 1}x{dense.context[1] + 1}'
        )
    budget = budget_of(memory)
    transformed = 2 * dense.dtype.itemsize if dense.data_layer.transformers else 0

    def around(windows: Shape) -> int:
        # at the border a window is read, its rows are repeated, then its columns; who writes wants its block in one piece
        read = prod(dense.input_shape(windows)) * (3 * pixel_bytes + transformed)
        return read + prod(windows) * dense.classes * dense.dtype.itemsize

    ops = dense.backend.ops

    def planned(fixed: int) -> TilePlan:
        return plan_tiles(
            outputs,
            align=dense.align,
            fit=dense.fit,
            program_of=lambda windows: dense.program(dense.input_shape(windows)),
            ops=ops,
            around=around,
            budget=budget,
            fixed=fixed,
            tileable=dense.tileable,
            exact=dense.exact,
            grain=dense.grain,
        )

    before = resident() - ops.held() + held
    found = planned(before)
    for program, plan in found.plans.values():
        ops.load(program, plan)
    after = resident() - ops.held() + held
    if after > before:
        found = planned(after)
    return Labelling(dense, tuple(image), border, budget, found)


def budget_of(memory: str | int | None) -> int:
    """The budget asked for in bytes; by default half of what is free beside this process, 4 GiB at most."""
    return parse_bytes(memory) if memory is not None else min(available() // 2 + resident(), _DEFAULT_BUDGET)
