"""Greentea's MergeCrop: joins a small map with the centre of a large one, the skip connection of U nets."""

from dataclasses import dataclass
from typing import Any, Literal

from ..lattice import Lattice
from .base import Layer, Node, Shape
from .checks import integers, need, one_of, spatial
from .concat import apart


@dataclass(frozen=True, kw_only=True)
class MergeCropLayer(Layer):
    """Channels of A, then channels of the centre of B cut to A's size ("stack"), or their sum ("add").

    Parameters
    ----------
    bottoms : two names
        A, which decides the size, and B, cut at floor((B - A) / 2).
    operation : {"stack", "add"}
        Adding needs equal channels.
    forward_of, backward_of : (bool, bool)
        Whether A's and B's values, and gradients, pass. Greentea's default gives no gradient to B, the skip branch
        (Tschopp 2015, section 5.3.1).
    offset : tuple of int, optional
        Another place for the cut, rows before columns.

    Notes
    -----
    Greentea's kernel permutes B's channels where A and B have different channels and the batch exceeds one; this
    layer joins them in order, which is the same for every net that was published.

    Examples
    --------
    >>> MergeCropLayer(name="merge", bottoms=["up", "skip"], tops=["m"]).shape([(1, 8, 5, 6), (1, 4, 9, 9)])
    [(1, 12, 5, 6)]
    """

    name: str = "merge-crop"
    operation: Literal["stack", "add"] = "stack"
    forward_of: tuple[bool, bool] = (True, True)
    backward_of: tuple[bool, bool] = (True, False)
    offset: Shape | None = None

    def check(self) -> None:
        one_of(self, "operation", ("stack", "add"))
        if self.offset is not None:
            object.__setattr__(self, "offset", integers(self, "offset", "one per spatial axis, (rows, columns)"))

    def shape(self, bottoms: list[Shape]) -> list[Shape]:
        a, b = need(self, bottoms, 2)
        (n, ca, sa), (m, cb, sb) = spatial(self, a), spatial(self, b)
        if n != m or len(sa) != len(sb) or any(x > y for x, y in zip(sa, sb, strict=True)):
            raise self.refuse(f"the first bottom {a} must fit into the second {b}, with the same batch")
        if self.operation == "add" and ca != cb:
            raise self.refuse(f'"add" needs as many channels in both bottoms; got {ca} and {cb}')
        if self.offset is not None and len(self.offset) != len(sa):
            raise self.refuse(
                f"offset {self.offset} must have one entry per spatial axis, of which there are {len(sa)}"
            )
        start = self.start(sa, sb)
        if any(o + x > y for o, x, y in zip(start, sa, sb, strict=True)):
            raise self.refuse(
                f"offset {start} (rows, columns) and the size {sa} of the first bottom reach outside the second, {sb}; "
                "use a smaller offset, or leave it out for the centre"
            )
        return [(n, ca + cb if self.operation == "stack" else ca, *sa)]

    def start(self, a: Shape, b: Shape) -> Shape:
        """Where in B the cut starts, along the spatial axes, whose sizes are given."""
        return tuple(self.offset or ((y - x) // 2 for x, y in zip(a, b, strict=True)))

    def places(self, a: Shape, b: Shape) -> tuple[Shape, Shape, Shape]:
        """Where B's window starts in B, where it goes in the top, and its size."""
        channel = a[1] if self.operation == "stack" else 0
        start = self.start(a[2:], b[2:])
        return (0, 0, *start), (0, channel, *_origin(start)), (*b[:2], *a[2:])

    def forward(self, ops: Any, at: Node) -> None:
        (a, b), (y,) = at.bottoms, at.tops
        if self.operation == "add" or not all(self.forward_of):
            ops.fill(y.array, value=0.0)
        add = self.operation == "add"
        if self.forward_of[0]:
            ops.move(a.array, y.array, source=_origin(a.shape), target=_origin(a.shape), size=a.shape, add=add)
        if self.forward_of[1]:
            start, to, size = self.places(a.shape, b.shape)
            ops.move(b.array, y.array, source=start, target=to, size=size, add=add)

    def backward(self, ops: Any, at: Node) -> None:
        (a, b), (y,) = at.bottoms, at.tops
        if a.grad is not None and self.backward_of[0]:
            ops.move(y.grad, a.grad, source=_origin(a.shape), target=_origin(a.shape), size=a.shape, add=True)
        if b.grad is not None and self.backward_of[1]:
            start, to, size = self.places(a.shape, b.shape)
            ops.move(y.grad, b.grad, source=to, target=start, size=size, add=True)

    def dense(self, lattices: list[Lattice | None]) -> tuple[Layer, Lattice]:
        a, b = lattices
        assert a is not None and b is not None
        if (a.stride, a.splits) != (b.stride, b.splits):
            raise apart(self, [a, b])
        offset = tuple(o * e for o, e in zip(self.start(a.patch, b.patch), a.spacing, strict=True))
        return self.copy(offset=offset), a

    def describe(self) -> str:
        return self.operation


def _origin(shape: Shape) -> Shape:
    return (0,) * len(shape)
