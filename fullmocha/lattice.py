"""Where the elements of a blob sit in the image, once a patch net runs densely.

Run a patch net at every offset, and each of its blobs becomes a map: the element (i, j) of the window at (y, x) is
the map's value at (y + i * stride, x + j * stride). So one number per axis, the product of all strides so far, says
where a blob lives.

The two dense engines store that map differently. *Strided kernels* keep it whole and spread every later kernel by the
stride. *Fragments* split it at once into stride * stride smaller maps, so that neighbours of a window are neighbours
in the array again. `spacing` is the distance in the array between two neighbours of one window: the stride itself, or
1 after a split.

    stride 2, strided kernels           fragments
    a b a b a b                         a a a   b b b
    c d c d c d     spacing 2           a a a   b b b    spacing 1
    a b a b a b                         c c c   d d d
    c d c d c d                         c c c   d d d

A blob of n x n elements per window and w x w windows takes (n - 1) * spacing + w / split elements a side.
"""

from dataclasses import dataclass, replace
from math import prod

from .blob import Shape


@dataclass(frozen=True)
class Lattice:
    """The place of one blob; every tuple has one entry per spatial axis of the image, rows before columns.

    Attributes
    ----------
    patch : tuple of int
        Elements per window, (h, w); (1, 1) for a blob without spatial axes.
    stride : tuple of int
        Image pixels between two neighbours of a window; 1 unless given.
    splits : tuple of tuples
        The strides of the splits into fragments, in the order in which they were made.
    flat : bool
        Whether the blob has no spatial axes in the patch net, (N, K), so that its axes count otherwise there.
    """

    patch: Shape
    stride: Shape = ()
    splits: tuple[Shape, ...] = ()
    flat: bool = False

    def __post_init__(self) -> None:
        if not self.stride:
            object.__setattr__(self, "stride", (1,) * len(self.patch))

    @property
    def split(self) -> Shape:
        """The product of all splits: split[0] * split[1] fragments."""
        return tuple(prod(s[axis] for s in self.splits) for axis in range(len(self.patch)))

    @property
    def flattened(self) -> bool:
        """Whether several pixels of a window lie along the channel axis in the patch net, (N, C h w)."""
        return self.flat and max(self.patch) > 1

    @property
    def spacing(self) -> Shape:
        """Array elements between two neighbours of a window: what a kernel's own dilation is multiplied by."""
        return tuple(d // f for d, f in zip(self.stride, self.split, strict=True))

    @property
    def fragments(self) -> int:
        return prod(self.split)

    def size(self, windows: Shape) -> Shape:
        """The array's spatial axes for so many windows; fragments are rounded up to equal sizes."""
        return tuple(
            (n - 1) * e - (-w // f) for n, e, w, f in zip(self.patch, self.spacing, windows, self.split, strict=True)
        )

    def strided(self, patch: Shape, stride: Shape) -> "Lattice":
        """After a layer with that stride, which leaves so many elements per window."""
        return replace(self, patch=patch, stride=tuple(d * s for d, s in zip(self.stride, stride, strict=True)))

    def fragmented(self) -> "Lattice":
        """After a split by the present spacing."""
        return replace(self, splits=(*self.splits, self.spacing)) if max(self.spacing) > 1 else self

    def stitched(self) -> "Lattice":
        """After all fragments have been interleaved again."""
        return replace(self, splits=())
