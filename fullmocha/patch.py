"""What a net is fed: which of its sources are images and which labels, their shapes for one patch, and the number type."""

from math import prod
from typing import Any

import numpy as np

from .blob import Shape
from .errors import ShapeError
from .wiring import Wiring


def label_values(wiring: Wiring) -> set[str]:
    """The values that are labels: read where a loss or a score wants one value per window, or only silenced.

    What merely hands a value on (a split) has no say; its own readers have.
    """
    labels: set[str] = set()
    pixels: set[str] = set()
    for link in reversed(wiring.links):
        for place, name in enumerate(link.bottoms):
            if link.layer.passes_through:
                if pixels.intersection(link.tops):
                    pixels.add(name)
                elif labels.intersection(link.tops):
                    labels.add(name)
            elif place in link.layer.label_bottoms:
                labels.add(name)
            elif not link.layer.is_sink:
                pixels.add(name)
    return labels - pixels


def number_type(wiring: Wiring, asked: Any) -> np.dtype:
    """float32 or float64: what was asked for, else what the data layers deliver."""
    delivered = {link.layer.name: link.layer.dtype() for link in wiring.links if link.layer.is_source}  # type: ignore[attr-defined]
    found = {d for d in delivered.values() if d is not None}
    if asked is None and len(found) > 1:
        raise ShapeError(f"data layers deliver both float32 and float64 ({delivered}); convert one, or pass dtype")
    wanted = asked if asked is not None else found.pop() if found else np.float32
    try:
        dtype = np.dtype(wanted)
    except TypeError as problem:
        raise ShapeError(f"dtype must be float32 or float64, got {wanted!r}") from problem
    if dtype not in (np.float32, np.float64):
        raise ShapeError(f"dtype must be float32 or float64, got {dtype}")
    return dtype


def source_shapes(wiring: Wiring, patch: tuple[int, int] | None) -> dict[str, Shape]:
    """Shapes of the sources' tops for the patch: images take its size, label maps shrink by as much as the images do."""
    shapes: dict[str, Shape] = {}
    for link in wiring.links:
        if link.layer.is_source:
            shapes |= dict(zip(link.tops, link.layer.shape([]), strict=True))
    if patch is None:
        return shapes
    labels = label_values(wiring)
    images = [s for name, s in shapes.items() if name not in labels and len(s) == 4]
    if len({s[2:] for s in images}) != 1:
        raise ShapeError(f"patch={patch} needs images of one size; the data layers deliver {images}")
    h, w = images[0][2:]
    if h < patch[1] or w < patch[0]:
        raise ShapeError(f"patch={patch} (width, height) exceeds the {h}x{w} (h x w) images that are delivered")
    for name, shape in shapes.items():
        if len(shape) == 4 and name not in labels:
            shapes[name] = (*shape[:2], patch[1], patch[0])
        elif len(shape) == 4 and prod(shape[2:]) > 1:
            shapes[name] = (*shape[:2], shape[2] - (h - patch[1]), shape[3] - (w - patch[0]))
            if min(shapes[name]) < 1:
                raise ShapeError(
                    f'label "{name}" is {shape[2]}x{shape[3]}: the {h}x{w} image has {h - patch[1] + 1}x{w - patch[0] + 1} windows '
                    f"of {patch[1]}x{patch[0]}, and each needs one label"
                )
    return shapes
