"""Labelling images with a dense net, tile by tile, inside a memory budget."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .blob import Shape
from .dense import DenseNet
from .errors import ShapeError
from .imaging.borders import BorderedImage, split_context
from .imaging.sources import ArraySource, Source
from .memory import GIB, available, parse_bytes, resident
from .plan import Tile, TilePlan, plan_tiles

_DEFAULT_BUDGET = 4 * GIB


@dataclass(frozen=True)
class Labelling:
    """A dense net and the plan by which it labels images of one shape.

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
        before, after = self.pad
        # "valid" has no border, but a net in step with S may still run past the last pixel: over zeros
        bordered = BorderedImage(source, before, after, "zero" if self.border == "valid" else self.border)
        layer = dense.data_layer
        ops = dense.backend.ops
        run, shape = None, None
        for tile in sorted(self.plan.tiles, key=lambda t: (t.windows, t.y, t.x)):
            if shape != tile.windows:
                run, shape = None, tile.windows  # drop the old buffers before new ones are made
                run = ops.compile(*self.plan.plans[tile.windows])
            assert run is not None
            size = tuple(w + v for w, v in zip(tile.windows, dense.context, strict=True))
            x = bordered.read(tile.y, tile.x, *size).astype(dense.dtype, copy=False)[None]
            if transform:
                x = layer.transform({dense.source: x})[dense.source]
            (y,) = run(np.ascontiguousarray(x, dense.dtype))
            yield tile, y[0, :, : tile.keep[0], : tile.keep[1]]


def border_of(dense: DenseNet, border: str) -> tuple[tuple[int, int], tuple[int, int]]:
    """Pixels (rows, columns) added before and after the image: ceil(v / 2) and floor(v / 2)."""
    if border == "valid":
        return (0, 0), (0, 0)
    halves = [split_context(v) for v in dense.context]
    return (halves[0][0], halves[1][0]), (halves[0][1], halves[1][1])


def plan_labelling(
    dense: DenseNet, image: Shape, border: str = "symmetric", memory: str | int | None = None, held: int = 0
) -> Labelling:
    """Cuts an image of shape (C, H, W) into tiles so that the process stays within `memory` bytes.

    Kernels are loaded first, on the smallest input there is, so that what the process holds then is known and not
    guessed.

    Parameters
    ----------
    memory : str or int, optional
        "4GiB" or bytes, for the whole process; by default half of what is free, 4 GiB at most.
    held : int
        Further bytes that the caller will hold meanwhile, such as the answer.

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
    budget = parse_bytes(memory) if memory is not None else min(available() // 2 + resident(), _DEFAULT_BUDGET)
    least = dense.fit((1, 1)) if dense.tileable else dense.fit(outputs)
    if dense.tileable:
        run = dense.compile(_input_shape(dense, least))
        run(np.zeros(_input_shape(dense, least), dense.dtype))
        del run
    plan = plan_tiles(
        outputs,
        align=dense.align,
        fit=dense.fit,
        program_of=lambda windows: dense.program(_input_shape(dense, windows)),
        ops=dense.backend.ops,
        budget=budget,
        fixed=resident() + held,
        tileable=dense.tileable,
    )
    return Labelling(dense, tuple(image), border, budget, plan)


def _input_shape(dense: DenseNet, windows: Shape) -> Shape:
    return (1, dense.channels, *(w + v for w, v in zip(windows, dense.context, strict=True)))
