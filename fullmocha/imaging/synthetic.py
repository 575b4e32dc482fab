"""Made-up electron micrographs of nervous tissue, with their labels: something to train, test and show on, offline.

Drawn as a section is seen: cells of all sizes side by side, dark membranes of varying width (pale and wide where the
cut is oblique), granular cytoplasm, then what makes the task more than a threshold, because it is as dark as a
membrane and yet interior: mitochondria, vesicles, tubules, dense bodies. Uneven staining, blur and shot noise come
last. All lengths are pixels at about 4 nm, all greys 0..255.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from fullmocha.errors import ShapeError

Field = npt.NDArray[np.float32]
Rng = np.random.Generator

MARGIN = 40  # drawn around the picture and cut off, so that its edge looks like any other place
SPACING = 40.0  # between the centres of the smallest profiles
ROUNDING = 3.2
MEMBRANE_GREY = 50.0
BETWEEN_GREY = 84.0
CYTOPLASM_GREY = 164.0


def em_picture(height: int, width: int, rng: Rng) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """A picture and its labels, both uint8 (H, W); labels are 1 in cells, organelles included, and 0 on membranes.

    The same generator state gives the same picture.

    Examples
    --------
    >>> image, labels = em_picture(64, 96, np.random.default_rng(1))
    >>> image.shape, bool(image[labels == 0].mean() < image[labels == 1].mean())
    ((64, 96), True)
    """
    if height < 1 or width < 1:
        raise ShapeError(f"em_picture: {height} x {width} pixels; ask for at least 1 x 1")
    shape = (height + 2 * MARGIN, width + 2 * MARGIN)
    cells = _cells(shape, rng)
    depth = _depth(cells, rng)

    grey = _cytoplasm(cells, rng)
    free = depth.copy()  # the room between an organelle and what is next to it
    _mitochondria(grey, free, rng)
    _tubules(grey, free, rng)
    _vesicles(grey, free, rng)
    _membranes(grey, depth, rng)
    image = _expose(grey, rng)

    inner = (slice(MARGIN, MARGIN + height), slice(MARGIN, MARGIN + width))
    labels = (depth > 0).astype(np.uint8)
    return np.ascontiguousarray(image[inner]), np.ascontiguousarray(labels[inner])


def _noise(shape: tuple[int, int], scale: float, rng: Rng) -> Field:
    """A random surface of mean 0, deviation about 1, features of ``scale`` pixels: a cubic B-spline on normal knots."""
    weights = []
    for length in shape:
        knots = int(length / scale) + 5
        at = np.arange(length)[:, None] / scale + 2 - np.arange(knots)[None, :]
        near = np.abs(at)
        basis = np.where(near < 1, 2 / 3 - near**2 + near**3 / 2, np.maximum(2 - near, 0) ** 3 / 6)
        weights.append(basis / np.sqrt(np.mean(np.sum(basis**2, axis=1))))
    rows, columns = weights
    surface = rows @ rng.standard_normal((rows.shape[1], columns.shape[1])) @ columns.T
    return surface.astype(np.float32)


def _cells(shape: tuple[int, int], rng: Rng) -> npt.NDArray[np.int64]:
    """The number of the cell at each pixel: a Voronoi mosaic, in part fused or overlaid by large round cells, bent."""
    from scipy import ndimage

    height, width = shape
    # One centre in each square of a grid, anywhere in it: irregular, but without clumps.
    rows = np.arange(0, height, SPACING)[:, None]
    columns = np.arange(0, width, SPACING)[None, :]
    jitter = rng.uniform(0, SPACING, (2, rows.size, columns.size))
    y = np.minimum(rows + jitter[0], height - 1).astype(int).ravel()
    x = np.minimum(columns + jitter[1], width - 1).astype(int).ravel()
    number = np.arange(y.size)
    # Fuse some neighbours into longer profiles, and all centres in some places into lobed ones.
    for _ in range(y.size // 4):
        a = rng.integers(y.size)
        near = np.hypot(y - y[a], x - x[a])
        number[number == number[np.argsort(near)[1]]] = number[a]
    for _ in range(max(1, height * width // 60_000)):
        cy, cx, reach = rng.uniform(0, height), rng.uniform(0, width), rng.uniform(35, 75)
        inside = _ellipse(y - cy, x - cx, reach, rng) < 1
        if inside.any():
            number[inside] = number[np.flatnonzero(inside)[0]]
    centres = np.ones(shape, bool)
    centres[y, x] = False
    owner = np.zeros(shape, np.int64)
    owner[y, x] = number
    nearest = ndimage.distance_transform_edt(centres, return_distances=False, return_indices=True)
    cells = owner[nearest[0], nearest[1]]
    for extra in range(max(1, height * width // 16_000)):
        cy, cx, reach = rng.uniform(0, height), rng.uniform(0, width), rng.uniform(14, 55)
        window, dy, dx = _window(shape, cy, cx, 2 * reach)
        cells[window][_ellipse(dy, dx, reach, rng) < 1] = y.size + extra
    # Bend everything: no straight edge and no ellipse is left.
    bent_y = np.arange(height)[:, None] + 11 * _noise(shape, 45, rng) + 3.0 * _noise(shape, 13, rng)
    bent_x = np.arange(width)[None, :] + 11 * _noise(shape, 45, rng) + 3.0 * _noise(shape, 13, rng)
    mirror_y = np.abs(np.rint(bent_y).astype(int))
    mirror_x = np.abs(np.rint(bent_x).astype(int))
    bent: npt.NDArray[np.int64] = cells[
        np.minimum(mirror_y, 2 * height - 2 - mirror_y).clip(0), np.minimum(mirror_x, 2 * width - 2 - mirror_x).clip(0)
    ]
    return bent


def _depth(cells: npt.NDArray[np.int64], rng: Rng) -> Field:
    """Pixels between a place and the nearest membrane; 0 or less on the membrane.

    A cell is what a disc of radius ``ROUNDING`` can reach within the mosaic's cell, less half a membrane: corners
    become round, and where three cells meet, or one is too narrow, there is a dark patch, as in tissue.
    """
    from scipy import ndimage

    half_width = np.clip(1.9 + 0.6 * _noise(cells.shape, 30, rng), 1.3, 3.0)

    inside = np.ones(cells.shape, bool)
    down, right = cells[1:] != cells[:-1], cells[:, 1:] != cells[:, :-1]
    inside[1:][down] = False
    inside[:, 1:][right] = False
    distance = ndimage.distance_transform_edt(inside) - half_width  # to the straight-edged membrane
    reach = ndimage.distance_transform_edt(distance < ROUNDING)  # from where the disc's centre can be
    depth: Field = np.where(reach > 0, ROUNDING - reach, distance).astype(np.float32)
    return depth


def _cytoplasm(cells: npt.NDArray[np.int64], rng: Rng) -> Field:
    """Each cell its own grey and its own graininess."""
    from scipy import ndimage

    shape = cells.shape
    kinds = int(cells.max()) + 1
    base = CYTOPLASM_GREY + 11 * rng.standard_normal(kinds)
    base -= np.where(rng.random(kinds) < 0.09, 45, 0)  # a few dark profiles, as of glia
    grain = rng.uniform(0.4, 1.4, kinds)
    fine = ndimage.gaussian_filter(rng.standard_normal(shape, np.float32), 1.3) * (2 * math.sqrt(math.pi) * 1.3)
    dots = ndimage.gaussian_filter(
        (rng.random(shape) < 0.02 * np.clip(1 + 0.8 * _noise(shape, 25, rng), 0, None)).astype(np.float32), 1.1
    ) * (2 * math.pi * 1.1**2)
    grey = base[cells] + 6 * _noise(shape, 18, rng)
    grey += grain[cells] * (12 * fine + 11 * _noise(shape, 4.5, rng) - 50 * np.minimum(dots, 1.5))
    return grey.astype(np.float32)


def _window(
    shape: tuple[int, int], y: float, x: float, reach: float
) -> tuple[tuple[slice, slice], npt.NDArray[Any], npt.NDArray[Any]]:
    """The part of the picture within ``reach`` of a point, and the offsets of its rows and columns from the point."""
    top, left = max(int(y - reach), 0), max(int(x - reach), 0)
    bottom, right = min(int(y + reach) + 2, shape[0]), min(int(x + reach) + 2, shape[1])
    return (
        (slice(top, bottom), slice(left, right)),
        np.arange(top, bottom)[:, None] - y,
        np.arange(left, right)[None, :] - x,
    )


def _ellipse(dy: npt.NDArray[Any], dx: npt.NDArray[Any], reach: float, rng: Rng) -> npt.NDArray[Any]:
    """Below 1 inside an ellipse of random direction, whose longer half axis is at most 1.4 reach."""
    angle, stretch = rng.uniform(0, math.pi), rng.uniform(1, 1.4)
    along = dx * math.cos(angle) + dy * math.sin(angle)
    across = dy * math.cos(angle) - dx * math.sin(angle)
    return np.hypot(along / stretch, across * stretch) / reach


def _places(free: Field, room: float, count: float, rng: Rng) -> npt.NDArray[np.int64]:
    """Random points with so much room around them, about ``count`` of them per 512 x 512 pixels; (n, 2)."""
    candidates = np.flatnonzero(free > room)
    number = int(rng.poisson(count * free.size / 512**2))
    if candidates.size == 0:
        return np.zeros((0, 2), np.int64)
    return np.stack(np.unravel_index(rng.choice(candidates, number), free.shape), axis=1)


def _mitochondria(grey: Field, free: Field, rng: Rng) -> None:
    """Dark bodies with a double rim and pale cristae; each takes its room from ``free``."""
    for y, x in _places(free, 9, 46, rng):
        room = float(free[y, x])
        if room < 9:  # taken by an earlier one
            continue
        reach = min(room * rng.uniform(0.55, 0.85), 34)
        window, dy, dx = _window(free.shape, y, x, 1.6 * reach + 4)
        shape = (dy.size, dx.size)
        bend = 1 + 0.10 * _noise(shape, max(reach * 0.7, 4), rng)
        radius = _ellipse(dy, dx, reach, rng) * bend
        depth = (1 - radius) * reach  # pixels below the rim
        angle, period = rng.uniform(0, math.pi), rng.uniform(4.5, 7)
        phase = (dy * math.sin(angle) + dx * math.cos(angle)) / period + 0.8 * _noise(shape, 9, rng)
        cristae = np.clip(np.sin(2 * math.pi * phase) + 0.6 * _noise(shape, 6, rng) - 0.5, 0, 1)
        matrix = rng.uniform(62, 95) + rng.uniform(15, 60) * cristae + 7 * _noise(shape, 2.5, rng)
        rim = np.exp(-((depth / 1.3) ** 2)) + 0.5 * np.exp(-(((depth - 4) / 1.0) ** 2))
        body = matrix * (1 - 0.45 * np.minimum(rim, 1))
        halo = np.exp(-(((depth + 3.0) / 1.6) ** 2))
        cover = np.clip(depth + 1.5, 0, 1)
        target = grey[window]
        target[:] = (target + 14 * halo) * (1 - cover) + body * cover
        free[window] = np.minimum(free[window], (radius - 1) * reach)


def _tubules(grey: Field, free: Field, rng: Rng) -> None:
    """Winding lines as dark as membranes, some of them double: a net has to see that they end inside the cell."""
    for y, x in _places(free, 5, 90, rng):
        direction, bend = rng.uniform(0, 2 * math.pi), rng.normal(0, 0.06)
        darkness, sigma = rng.uniform(0.15, 0.4), rng.uniform(0.9, 1.4)
        gap = rng.uniform(4, 7) if rng.random() < 0.35 else 0.0
        py, px = float(y), float(x)
        for _ in range(int(rng.integers(8, 45))):
            direction += bend + rng.normal(0, 0.12)
            py, px = py + math.sin(direction), px + math.cos(direction)
            if not (0 <= py < free.shape[0] and 0 <= px < free.shape[1]) or free[int(py), int(px)] < 3:
                break
            for side in (0.0, gap) if gap else (0.0,):
                sy, sx = py + side * math.cos(direction), px - side * math.sin(direction)
                window, dy, dx = _window(free.shape, sy, sx, 3)
                # Each of the overlapping stamps goes part of the way, so that the line is even and never black.
                cover = darkness * np.exp(-(dy**2 + dx**2) / (2 * sigma**2))
                grey[window] += cover * (MEMBRANE_GREY - grey[window])


def _vesicles(grey: Field, free: Field, rng: Rng) -> None:
    """Clouds of small rings, and single dense bodies."""
    for y, x in _places(free, 6, 34, rng):
        spread = rng.uniform(5, 16)
        for _ in range(int(rng.integers(4, 26))):
            vy, vx = y + rng.normal(0, spread), x + rng.normal(0, spread)
            if not (0 <= vy < free.shape[0] and 0 <= vx < free.shape[1]) or free[int(vy), int(vx)] < 4:
                continue
            radius = rng.uniform(2.2, 4.2)
            window, dy, dx = _window(free.shape, vy, vx, radius + 4)
            r = np.hypot(dy, dx * rng.uniform(0.85, 1.15))
            ring = np.exp(-(((r - radius) / 0.95) ** 2))
            core = np.clip(radius - r, 0, 1)
            target = grey[window]
            cover = ring * rng.uniform(0.4, 1.0)
            target += (10 if rng.random() < 0.9 else -60) * core + cover * (MEMBRANE_GREY - target)
    for y, x in _places(free, 3, 16, rng):
        radius = rng.uniform(3, 8)
        window, dy, dx = _window(free.shape, y, x, 2 * radius + 4)
        r = _ellipse(dy, dx, radius, rng) * (1 + 0.2 * _noise((dy.size, dx.size), radius, rng))
        inside = 1 / (1 + np.exp(np.clip((r - 1) * 7, -30, 30))) * np.clip(free[window] / 3, 0, 1)
        grey[window] += rng.uniform(0.6, 1.0) * inside * (MEMBRANE_GREY - grey[window])


def _membranes(grey: Field, depth: Field, rng: Rng) -> None:
    """Dark outside of every cell; where the section cuts the membrane obliquely, paler and with a soft edge."""
    shape = grey.shape
    oblique = np.clip(0.9 * _noise(shape, 38, rng) - 0.7, 0, 1)
    softness = 0.7 + 1.2 * oblique
    cover = (1 - 0.35 * oblique) / (1 + np.exp(np.clip((depth - 0.1) / softness, -30, 30)))
    fuzz = 0.25 * np.exp(-np.maximum(depth, 0) / 4)  # stain that clings to the membrane from inside
    between = np.clip(-depth / 3 - 0.8, 0, 1)  # wide gaps are filled with something paler than the membranes around
    dark = MEMBRANE_GREY + (BETWEEN_GREY - MEMBRANE_GREY) * between
    dark += 9 * _noise(shape, 20, rng) + 10 * _noise(shape, 3, rng)
    grey += np.maximum(cover, fuzz) * (dark - grey)


def _expose(grey: Field, rng: Rng) -> npt.NDArray[np.uint8]:
    """Uneven staining, the blur of the lens, and noise that grows with the brightness."""
    from scipy import ndimage

    shape = grey.shape
    contrast = 1 + 0.12 * _noise(shape, 160, rng)
    brightness = 14 * _noise(shape, 120, rng) + 7 * _noise(shape, 35, rng)
    seen = ndimage.gaussian_filter((grey - 120) * contrast + 120 + brightness, 0.8)
    shot = np.sqrt(np.maximum(seen, 1)) * rng.standard_normal(shape, np.float32)
    read_out = ndimage.gaussian_filter(rng.standard_normal(shape, np.float32), 0.7) * 8
    noisy = seen + 1.25 * shot + read_out
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
