"""Where every number of a convolution lies, in plain integers, solved before a kernel runs.

All convolutions and their data gradients are sweeps: every output is a sum of the same terms, weight times source
element, where term t of any output lies `offsets[t]` behind that output's own place in the source. A source that cannot
be read that way (padded, strided, or too narrow for vectors) is first copied into one that can: it is staged.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from math import prod
from typing import NamedTuple

import numpy as np

from ..shapes import Shape, Window


class Grid(NamedTuple):
    """The places of a sweep's outputs, as strides in elements; outer, rows and lanes may be any axes of the output.

    From one lane to the next the source advances by one element: a vector is read at once.
    """

    groups: int
    channels: int  # outputs per group
    outer: int
    rows: int
    lanes: int
    source_group: int
    source_outer: int
    source_row: int
    target_start: int
    target_channel: int
    target_outer: int
    target_row: int
    target_lane: int
    reach: int  # the largest offset


class Staging(NamedTuple):
    """A zero-padded copy of (N, C, H, W): (N, C, height, phases, width), or with `batch_last` (C, height, width, N).

    Its element (h, phase, w) is x[h - top, w * phases + phase - left]: what a stride passes over lies elsewhere.
    """

    top: int
    left: int
    height: int
    width: int
    phases: int
    batch_last: bool

    def elements(self, shape: Shape) -> int:
        return shape[0] * shape[1] * self.height * self.phases * self.width

    def strides(self, shape: Shape) -> tuple[int, int, int]:
        """How far an image, a channel and a row are apart."""
        if self.batch_last:
            row = self.width * shape[0]
            return 1, self.height * row, row
        row = self.phases * self.width
        return shape[1] * self.height * row, self.height * row, row

    def column(self, at: int, images: int) -> int:
        """How far a column lies from the first."""
        if self.batch_last:
            return at * images
        return at % self.phases * self.width + at // self.phases


@dataclass(frozen=True)
class Sweep:
    """One pass over outputs that share their terms: source offsets, and where each term's weight lies."""

    grid: Grid
    offsets: np.ndarray
    weights: np.ndarray
    weight_group: int
    weight_channel: int


@dataclass(frozen=True)
class Geometry:
    """A whole operation: how its source is staged, if at all, and the sweeps over it."""

    staging: Staging | None
    sweeps: tuple[Sweep, ...]

    def workspace(self, source: Shape, rows: int, itemsize: int) -> int:
        """Bytes of the staged source and of the largest packing of weights, `rows` channels at a time."""
        staged = 0 if self.staging is None else self.staging.elements(source)
        packed = max(s.grid.groups * -(-s.grid.channels // rows) * rows * len(s.offsets) for s in self.sweeps)
        return (staged + packed) * itemsize + max(16 * len(s.offsets) for s in self.sweeps)


def _table(*parts: list[int]) -> np.ndarray:
    """The sums of one entry of each list, the last list fastest."""
    total = np.zeros(1, np.int64)
    for part in parts:
        total = (total[:, None] + np.asarray(part, np.int64)).reshape(-1)
    total.flags.writeable = False
    return total


def batch_is_faster(images: int, out: Shape, width: int, terms: int) -> bool:
    """Whether vectors over the batch waste less than vectors over columns.

    Counted in instructions per output channel: one per term and vector, and the writing of a vector, which goes lane by
    lane where the lanes are images.
    """
    by_column = images * out[0] * -(-out[1] // width) * (terms + 8)
    by_batch = -(-images // width) * out[0] * out[1] * (terms + 64)
    return by_batch < by_column


@lru_cache(128)
def correlation(x: Shape, y: Shape, window: Window, group: int, width: int) -> Geometry:
    """Geometry of y[n, o, h] = sum_{c, i} w[o, c, i] x[n, c, h * stride - pad + i * dilation].

    `width` is the number of lanes of a vector.
    """
    images, channels, *size = x
    kernel, stride, pad, dilation = window.kernel, window.stride, window.pad, window.dilation
    inputs, taps = channels // group, prod(kernel)
    batch_last = batch_is_faster(images, y[2:], width, inputs * taps)
    need = [
        (o - 1) * s + e for o, s, e in zip(y[2:], stride, window.extent, strict=True)
    ]  # rows, columns that are read
    staging = None
    if batch_last or any(pad) or stride[1] > 1 or any(n > s for n, s in zip(need, size, strict=True)):
        phases = 1 if batch_last else stride[1]
        staging = Staging(pad[0], pad[1], need[0], -(-need[1] // phases), phases, batch_last)
    layout = staging or Staging(0, 0, size[0], size[1], 1, False)
    _, plane, row = layout.strides(x)
    offsets = _table(
        [c * plane for c in range(inputs)],
        [i * dilation[0] * row for i in range(kernel[0])],
        [layout.column(j * dilation[1], images) for j in range(kernel[1])],
    )
    grid = _grid(layout, x, y, group, y[2:], stride, (0, y[3], 1), int(offsets.max()))
    weights = _table(list(range(inputs * taps)))
    sweep = Sweep(grid, offsets, weights, y[1] // group * len(weights), len(weights))
    return _readable(Geometry(staging, (sweep,)), x, width)


@lru_cache(128)
def adjoint(x: Shape, y: Shape, window: Window, group: int, width: int) -> Geometry:
    """Geometry of y[n, o, h * stride - pad + i * dilation] += w[c, o, i] x[n, c, h], as a sum for each y.

    Outputs of equal residue modulo the stride share their taps: there is a sweep for each residue of rows and columns.
    """
    images, channels, *size = x
    inputs, outputs, taps = channels // group, y[1] // group, prod(window.kernel)
    axes = [_residues(window, axis, y[2 + axis]) for axis in range(2)]
    low = [min([0, *(q for _, qs, _ in axis for q in qs)]) for axis in axes]
    high = [max([0, *(count + q for _, qs, count in axis for q in qs)]) for axis in axes]
    mean_terms = inputs * taps // prod(window.stride)
    batch_last = batch_is_faster(images, (axes[0][0][2], axes[1][0][2]), width, mean_terms)
    staging = None
    if batch_last or any(low) or any(h > s for h, s in zip(high, size, strict=True)):
        staging = Staging(-low[0], -low[1], high[0] - low[0], high[1] - low[1], 1, batch_last)
    layout = staging or Staging(0, 0, size[0], size[1], 1, False)
    _, plane, row = layout.strides(x)
    sweeps = []
    for r0, (rows, row_shifts, row_count) in enumerate(axes[0]):
        for r1, (columns, column_shifts, column_count) in enumerate(axes[1]):
            offsets = _table(
                [c * plane for c in range(inputs)],
                [(q + layout.top) * row for q in row_shifts],
                [layout.column(q + layout.left, images) for q in column_shifts],
            )
            weights = _table([c * outputs * taps for c in range(inputs)], [i * window.kernel[1] for i in rows], columns)
            target = (r0 * y[3] + r1, window.stride[0] * y[3], window.stride[1])
            reach = int(offsets.max(initial=0))
            grid = _grid(layout, x, y, group, (row_count, column_count), (1, 1), target, reach)
            sweeps.append(Sweep(grid, offsets, weights, inputs * outputs * taps, taps))
    return _readable(Geometry(staging, tuple(sweeps)), x, width)


def _residues(window: Window, axis: int, size: int) -> list[tuple[list[int], list[int], int]]:
    """For each residue r of an output modulo the stride: its taps i, their shifts in x, and how many outputs it has.

    Output r + stride * m meets tap i at x[m + shift], shift = (r + pad - i * dilation) / stride.
    """
    k, s, p, d = (field[axis] for field in (window.kernel, window.stride, window.pad, window.dilation))
    result = []
    for r in range(min(s, size)):
        taps = [i for i in range(k) if (r + p - i * d) % s == 0]
        result.append((taps, [(r + p - i * d) // s for i in taps], -(-(size - r) // s)))
    return result


def _grid(
    layout: Staging, x: Shape, y: Shape, group: int, count: Shape, step: Shape, target: tuple[int, int, int], reach: int
) -> Grid:
    """`count` rows and columns, `step` apart in the source; `target` is their start, row and column stride in y."""
    images, channels, outputs, area = x[0], x[1], y[1], prod(y[2:])
    image, plane, row = layout.strides(x)
    start, target_row, target_column = target
    places = {
        "groups": group,
        "channels": outputs // group,
        "source_group": channels // group * plane,
        "target_start": start,
        "target_channel": area,
        "reach": reach,
    }
    if layout.batch_last:
        places |= {"outer": count[0], "source_outer": step[0] * row, "target_outer": target_row}
        places |= {"rows": count[1], "source_row": step[1] * images, "target_row": target_column}
        places |= {"lanes": images, "target_lane": outputs * area}
        return Grid(**places)
    rows, columns = count
    if step[0] * row == target_row == columns and target_column == 1:  # rows lie end to end in source and target
        rows, columns = 1, rows * columns
    places |= {"outer": images, "source_outer": image, "target_outer": outputs * area}
    places |= {"rows": rows, "source_row": step[0] * row, "target_row": target_row}
    places |= {"lanes": columns, "target_lane": target_column}
    return Grid(**places)


def _readable(geometry: Geometry, x: Shape, width: int) -> Geometry:
    """The same geometry, with a source too small to read a vector from copied to where there is room behind it."""
    reach = max(sweep.grid.reach for sweep in geometry.sweeps)
    if geometry.staging is not None or reach + width <= prod(x):
        return geometry
    return replace(geometry, staging=Staging(0, 0, x[2], x[3], 1, False))
