"""The same numbers under another shape."""

from collections.abc import Sequence
from dataclasses import InitVar, dataclass, replace
from math import prod
from typing import Any, ClassVar

from ..errors import ShapeError
from ..lattice import Lattice
from .base import Layer, Node, Shape
from .checks import integer_of, integers, is_integer, need, placed, rank_of
from .plumbing import IdentityLayer


class _Same(Layer):
    """A layer whose top holds its bottom's numbers in their order."""

    hands_on: ClassVar[bool] = True

    def forward(self, ops: Any, at: Node) -> None:
        (x,), (y,) = at.bottoms, at.tops
        origin = (0,) * len(y.shape)
        ops.move(ops.reshape(x.array, y.shape), y.array, source=origin, target=origin, size=y.shape)

    def backward(self, ops: Any, at: Node) -> None:
        (x,), (y,) = at.bottoms, at.tops
        if x.grad is not None:
            ops.axpby(ops.reshape(y.grad, x.shape), x.grad, alpha=1.0, beta=1.0)

    def keeps_pixels(self, bottoms: list[Shape]) -> bool:
        (x,), (y,) = bottoms, self.shape(bottoms)
        return prod(y[2:]) == 1 or y[2:] == x[2:]

    def unchanged(self, flat: bool, at: Lattice) -> tuple[Layer, Lattice]:
        """Densely, where the numbers of a window stay one vector of channels: the layer is left out."""
        return IdentityLayer(name=self.name, bottoms=self.bottoms, tops=self.tops), replace(at, flat=flat)


@dataclass(frozen=True, kw_only=True)
class FlattenLayer(_Same):
    """Joins several axes to one, in C order (Caffe's Flatten).

    Parameters
    ----------
    axis, end_axis : int
        The first and the last axis that are joined, counted as numpy does.

    Notes
    -----
    Densely it is nothing at all in front of inner products, which flatten by themselves, and neurons; no other layer can take a
    flattened patch of several pixels.

    Examples
    --------
    >>> FlattenLayer(name="flat", bottoms=["pool2"], tops=["flat"]).shape([(64, 50, 4, 4)])
    [(64, 800)]
    """

    name: str = "flatten"
    axis: int = 1
    end_axis: int = -1

    reads_flattened: ClassVar[bool] = True

    def check(self) -> None:
        integer_of(self, "axis", "end_axis")

    def ends(self, rank: int) -> tuple[int, int]:
        """The first and the last axis that are joined."""
        first, last = (a + rank if a < 0 else a for a in (self.axis, self.end_axis))
        if not 0 <= first <= last < rank:
            raise self.refuse(f"cannot join axes {self.axis} to {self.end_axis} of a bottom with {rank} axes")
        return first, last

    def shape(self, bottoms: list[Shape]) -> list[Shape]:
        (x,) = need(self, bottoms, 1)
        first, last = self.ends(len(x))
        return [(*x[:first], prod(x[first : last + 1]), *x[last + 1 :])]

    def dense(self, lattices: list[Lattice | None]) -> tuple[Layer, Lattice]:
        at = placed(lattices)
        rank = rank_of(at)
        first, last = self.ends(rank)
        if first == last:
            return self.unchanged(at.flat, at)
        if (first, last) != (1, rank - 1):
            raise self.not_dense(
                f'joining axes {first} to {last} mixes windows; join all axes from the channels on, or use engine="sliding"'
            )
        return self.unchanged(True, at)

    def describe(self) -> str:
        return f"axes {self.axis} to {self.end_axis}"


@dataclass(frozen=True, kw_only=True)
class ReshapeLayer(_Same):
    """Gives every sample another shape (Mocha), or the blob or some of its axes (Caffe's Reshape).

    Parameters
    ----------
    shape : sequence of int
        Mocha's: of one sample, the fastest dimension first, such as (width, height, channels); the batch stays.
    dims : sequence of int
        Caffe's, in numpy's order, of the axes from `axis` on: 0 copies the bottom's axis in that place, and one -1 takes what is
        left.
    axis : int
        The first axis that `dims` replace; negative ones count from the end, where -1 lies behind the last axis.
    num_axes : int
        How many axes they replace; -1 is all, and 0 puts them in between.

    Raises
    ------
    ShapeError
        If the numbers of elements differ.

    Examples
    --------
    >>> ReshapeLayer(name="fold", bottoms=["ip"], tops=["map"], shape=[5, 4, 3]).shape([(2, 60)])
    [(2, 3, 4, 5)]
    >>> ReshapeLayer(name="fold", bottoms=["ip"], tops=["map"], dims=[0, 3, -1]).shape([(2, 60)])
    [(2, 3, 20)]
    """

    name: str = "reshape"
    dims: Sequence[int] = ()
    axis: int = 0
    num_axes: int = -1
    sample: Sequence[int] = ()
    shape: InitVar[
        Sequence[int]
    ]  # Mocha's keyword has the name of a rule: it is kept as `sample`, and the rule is its default

    def __post_init__(self, shape: Any) -> None:
        if not callable(shape):
            object.__setattr__(self, "sample", shape)
        super().__post_init__()

    def check(self) -> None:
        object.__setattr__(self, "sample", integers(self, "sample", "the sizes of one sample"))
        dims = self.dims if isinstance(self.dims, (tuple, list)) else (self.dims,)
        if not all(is_integer(d) and d >= -1 for d in dims) or list(dims).count(-1) > 1:
            raise self.refuse(f"dims must be integers >= 0, with one -1 at most; got {self.dims!r}")
        object.__setattr__(self, "dims", tuple(int(d) for d in dims))
        if self.sample and self.dims:
            raise self.refuse(f"has both shape {self.sample} and dims {self.dims}; give one of them")
        if not all(map(is_integer, (self.axis, self.num_axes))) or self.num_axes < -1:
            raise self.refuse(
                f"axis must be an integer and num_axes one >= -1; got {self.axis!r} and {self.num_axes!r}"
            )

    def window(self, rank: int) -> tuple[int, int]:
        """The first axis that is replaced, and the first one behind them that is not."""
        start = self.axis + rank + 1 if self.axis < 0 else self.axis
        stop = rank if self.num_axes < 0 else start + self.num_axes
        if not 0 <= start <= stop <= rank:
            raise self.refuse(f"axis {self.axis} with num_axes {self.num_axes} lies outside a bottom with {rank} axes")
        return start, stop

    def shape(self, bottoms: list[Shape]) -> list[Shape]:
        (x,) = need(self, bottoms, 1)
        if self.sample:
            start, stop, dims = 1, len(x), self.sample[::-1]
        else:
            (start, stop), dims = self.window(len(x)), self.dims
        made = list(dims)
        for i, d in enumerate(made):
            if d == 0 and not self.sample:
                if start + i >= len(x):
                    raise self.refuse(f"dims {dims} copy axis {start + i}, which the bottom {x} has not")
                made[i] = x[start + i]
        count = prod(x[start:stop])
        known = prod(d for d in made if d != -1)
        if -1 in made and count == known == 0:  # an empty batch says nothing of the other axes
            count, known = (prod(n for n in sizes if n > 0) for sizes in (x[start:stop], made))
        if -1 in made:
            if known == 0 or count % known:
                raise self.refuse(f"{count} elements of the bottom {x} are no multiple of the {known} that {dims} name")
            made[made.index(-1)] = count // known
        elif known != count:
            raise self.refuse(f"the bottom {x} has {count} elements to reshape, {tuple(made)} has {known}")
        return [(*x[:start], *made, *x[stop:])]

    def dense(self, lattices: list[Lattice | None]) -> tuple[Layer, Lattice]:
        at = placed(lattices)
        rank = rank_of(at)
        made = self._of_single_pixels(rank) if prod(at.patch) == 1 else None
        if made is None:
            raise self.not_dense(
                "takes the pixels of a window apart; remove it in front of an inner product, which flattens by itself, or use "
                'engine="sliding"'
            )
        return self.unchanged(made == 2, at)

    def _of_single_pixels(self, rank: int) -> int | None:
        """The rank of the top, where windows of one pixel, (N, C) or (N, C, 1, 1), keep one vector of channels."""
        channels = 7919  # a prime, so nothing but the channels can be as long
        try:
            dims = [channels if d not in (-1, 0, 1) else d for d in self.dims]
            sample = [channels if d != 1 else d for d in self.sample]
            bottom = (2, channels, *(1,) * (rank - 2))
            (made,) = self.copy(dims=dims, sample=sample).shape([bottom])
        except ShapeError:
            return None
        return len(made) if made[:2] == (2, channels) and prod(made) == 2 * channels else None

    def describe(self) -> str:
        return f"shape {list(self.sample)}" if self.sample else f"dims {list(self.dims)} from axis {self.axis}"
