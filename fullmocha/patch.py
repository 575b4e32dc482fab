"""What a net is fed: which of its sources are images and which labels, their shapes for one patch, and the number type."""

from math import prod
from typing import Any

import numpy as np

from .blob import Shape
from .errors import ShapeError
from .layers.checks import Sizes
from .layers.data import SourceLayer
from .layers.windowed import by
from .wiring import Wiring


def label_values(wiring: Wiring) -> set[str]:
    """The values that are labels: read where a loss or a score wants one value per window, or only silenced.

    What merely hands a value on (a split, a slice) has no say; its own readers have.
    """
    labels: set[str] = set()
    pixels: set[str] = set()
    for link in reversed(wiring.links):
        for place, name in enumerate(link.bottoms):
            if link.layer.passes_through or link.layer.hands_on:
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
    delivered = {link.layer.name: link.layer.dtype() for link in wiring.links if isinstance(link.layer, SourceLayer)}
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


def source_shapes(wiring: Wiring, patch: Sizes | None) -> dict[str, Shape]:
    """Shapes of the sources' tops for the patch: images take its size, label maps shrink by as much as the images do."""
    shapes: dict[str, Shape] = {}
    for link in wiring.links:
        if link.layer.is_source:
            shapes |= dict(zip(link.tops, link.layer.shape([]), strict=True))
    if patch is None:
        return shapes
    labels = label_values(wiring)
    rank = max((len(s) for name, s in shapes.items() if name not in labels), default=0)
    images = [s for name, s in shapes.items() if name not in labels and len(s) == rank > 2]
    if len({s[2:] for s in images}) != 1:
        raise ShapeError(f"patch={patch} needs images of one size; the data layers deliver {images}")
    size = images[0][2:]
    window = patch[::-1] if isinstance(patch, tuple) else (patch,) * len(size)
    if len(window) != len(size):
        raise ShapeError(
            f"patch={patch} has {len(window)} sizes, the images that are delivered have {len(size)} spatial axes, {by(size)}; give "
            "one size per axis, the fastest axis first, or one integer for all"
        )
    if any(n < p for n, p in zip(size, window, strict=True)):
        raise ShapeError(f"patch={patch} (width, height) exceeds the {by(size)} (h x w) images that are delivered")
    for name, shape in shapes.items():
        if len(shape) == rank and name not in labels:
            shapes[name] = (*shape[:2], *window)
        elif len(shape) == rank and prod(shape[2:]) > 1:
            shapes[name] = (*shape[:2], *(m - (n - p) for m, n, p in zip(shape[2:], size, window, strict=True)))
            if min(shapes[name]) < 1:
                windows = by(tuple(n - p + 1 for n, p in zip(size, window, strict=True)))
                raise ShapeError(
                    f'label "{name}" is {by(shape[2:])}: the {by(size)} image has {windows} windows '
                    f"of {by(window)}, and each needs one label"
                )
    return shapes
