"""Checks that layers share: of their fields, once and for all inputs, and of their bottoms' shapes and lattices."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np

from ..blob import Shape
from ..errors import ShapeError
from ..lattice import Lattice

if TYPE_CHECKING:
    from .base import Layer

Sizes = int | tuple[int, ...]  # one for every spatial axis, or one per axis in Mocha's order, fastest axis first


def is_integer(value: Any) -> TypeGuard[int]:
    """Python's integers and numpy's, but not booleans, which Python counts among them."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def sizes(layer: str, name: str, value: Sizes, least: int) -> Sizes:
    """A field with one size for all spatial axes, or one per axis, as checked integers."""
    every = (value,) if is_integer(value) else tuple(value) if isinstance(value, (tuple, list)) else ()
    if not every or not all(map(is_integer, every)) or min(every) < least:
        raise ShapeError(
            f"{layer}: {name} must be an integer >= {least}, or one per axis, (width, height); got {value!r}"
        )
    if max(every) > 4096:
        raise ShapeError(f"{layer}: {name} must not exceed 4096; got {value!r}")
    return int(every[0]) if is_integer(value) else tuple(map(int, every))


def along(layer: "Layer", field: str, axes: int) -> Shape:
    """Such a field for so many axes, turned to rows before columns."""
    value = getattr(layer, field)
    if is_integer(value):
        return (value,) * axes
    if len(value) != axes:
        raise layer.refuse(
            f"{field} {value} has {len(value)} sizes, but its bottom has {axes} spatial ax{'i' if axes == 1 else 'e'}s; "
            "give one size per axis, the fastest axis first, or one integer for all"
        )
    return tuple(value[::-1])


def one_of(layer: "Layer", field: str, allowed: Sequence[str]) -> None:
    """Refuses a field that is none of these words."""
    value = getattr(layer, field)
    if not isinstance(value, str) or value not in allowed:
        raise layer.refuse(f"{field} must be one of {', '.join(map(repr, allowed))}; got {value!r}")


def instance_of(layer: "Layer", kind: type, *names: str) -> None:
    """Refuses fields that are no such object; most often it was named, but not made."""
    for name in names:
        value = getattr(layer, name)
        if not isinstance(value, kind):
            made = getattr(value, "__qualname__", "") if callable(value) else ""
            way_out = f"; write {made}()" if made else ""
            raise layer.refuse(f"{name} must be an instance of {kind.__name__}, got {value!r}{way_out}")


def integer_of(layer: "Layer", *names: str, least: int | None = None) -> None:
    """Makes fields Python integers; refuses what is none, or less than `least`."""
    for name in names:
        value = getattr(layer, name)
        if not is_integer(value) or (least is not None and value < least):
            raise layer.refuse(f"{name} must be an integer{'' if least is None else f' >= {least}'}, got {value!r}")
        object.__setattr__(layer, name, int(value))


def count_of(layer: "Layer", *names: str) -> None:
    """The same for counts: integers from 1 on."""
    integer_of(layer, *names, least=1)


def integers(layer: "Layer", field: str, counts: str) -> tuple[int, ...]:
    """A field that is a tuple of integers >= 0; `counts` says of what."""
    value = getattr(layer, field)
    if not isinstance(value, (tuple, list)) or not all(is_integer(v) and v >= 0 for v in value):
        raise layer.refuse(f"{field} must be integers >= 0, {counts}; got {value!r}")
    return tuple(int(v) for v in value)


def axis_of(layer: "Layer", dim: int, axis: int | None, rank: int) -> int:
    """The numpy axis for Mocha's `dim`, which counts from the fastest dimension, or for `axis`, which counts from the batch."""
    from_dim = rank - dim if dim > 0 else -dim - 1
    at = from_dim if axis is None else axis + rank if axis < 0 else axis
    if not 0 < at < rank:
        asked = f"dim={dim}" if axis is None else f"axis={axis}"
        raise layer.refuse(f"{asked} is axis {at} of a blob with {rank} axes; it must be one of 1 .. {rank - 1}")
    return at


def axis_or_batch(layer: "Layer", dim: int, axis: int | None, rank: int) -> int:
    """The same, where `axis` may also be the batch."""
    return 0 if axis in (0, -rank) else axis_of(layer, dim, axis, rank)


def numpy_axis(layer: "Layer", axis: int, rank: int) -> int:
    """An axis that may count from the end, among so many."""
    at = axis + rank if axis < 0 else axis
    if not 0 <= at < rank:
        raise layer.refuse(f"axis {axis} is outside 0 .. {rank - 1} of the bottom's {rank} axes")
    return at


def along_axis(rank: int, axis: int, start: int) -> Shape:
    """The corner of a box that begins at `start` along one axis, and at 0 along the others."""
    return tuple(start if i == axis else 0 for i in range(rank))


def rank_of(at: Lattice) -> int:
    """How many axes a blob has in the patch net, where a layer's `dim` and `axis` count."""
    return 2 if at.flat else 2 + len(at.patch)


def need(layer: "Layer", bottoms: list[Shape], count: int) -> list[Shape]:
    """The bottoms, if there are that many."""
    if len(bottoms) != count:
        raise layer.refuse(f"takes {count} bottom{'s' * (count != 1)}, got {len(bottoms)}: {list(layer.bottoms)}")
    return bottoms


def with_channels(layer: "Layer", bottoms: list[Shape]) -> Shape:
    """The only bottom, if it has channels."""
    (x,) = need(layer, bottoms, 1)
    if len(x) < 2:
        raise layer.refuse(f"needs a bottom with channels, (N, C, ...), got {x}")
    return x


def placed(lattices: Sequence[Lattice | None]) -> Lattice:
    """The lattice of a layer's only bottom that is pixels."""
    (at,) = lattices
    assert at is not None
    return at


@contextmanager
def named(layer: "Layer", way_out: str = "") -> Iterator[None]:
    """Names the layer where a backend refuses the numbers in a blob."""
    try:
        yield
    except ValueError as problem:
        raise layer.refuse(f"{problem}{way_out}") from problem


def spatial(layer: "Layer", shape: Shape) -> tuple[int, int, Shape]:
    """Batch, channels, and the sizes of one or more spatial axes: (N, C, H, W), or (N, C, W), (N, C, D, H, W)."""
    if len(shape) < 3:
        raise layer.refuse(f"needs spatial axes behind batch and channels, (N, C, H, W); got {shape}")
    n, c, *size = shape
    return n, c, tuple(size)
