"""Output-size arithmetic in plain integers: one sliding window serves convolution, deconvolution and pooling."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Literal

Shape = tuple[int, ...]
Round = Literal["floor", "ceil"]
Box = tuple[slice, ...]


def about(shape: Shape, axis: int) -> tuple[int, int, int]:
    """(outer, K, inner): how many elements lie before an axis, along it and behind it.

    >>> about((2, 3, 4, 5), 1)
    (2, 3, 20)
    """
    return prod(shape[:axis]), shape[axis], prod(shape[axis + 1 :])


@dataclass(frozen=True)
class Window:
    """A window sliding over the spatial axes; every field has one entry per axis, rows before columns.

    Along one axis, output `o` reads the inputs `o * stride - pad + i * dilation` for i = 0 .. kernel - 1.
    """

    kernel: Shape
    stride: Shape
    pad: Shape
    dilation: Shape

    @classmethod
    def of(cls, kernel: Shape, stride: int = 1, pad: int = 0, dilation: int = 1) -> "Window":
        """A window with the same stride, pad and dilation along every axis."""
        axes = len(kernel)
        return cls(tuple(kernel), (stride,) * axes, (pad,) * axes, (dilation,) * axes)

    @property
    def extent(self) -> Shape:
        """How many input elements the dilated kernel spans: (kernel - 1) * dilation + 1."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilation, strict=True))

    def slides(self, size: Shape, rounding: Round = "floor") -> Shape:
        """How many positions the window takes over an input of this size; zero or less where it does not fit.

        With `ceil` the last window may hang over the edge. As in Caffe, one is dropped where it would start in the
        trailing padding; without padding none is, and a stride beyond the extent can leave the last window empty.
        """
        outputs = []
        for n, e, s, p in zip(size, self.extent, self.stride, self.pad, strict=True):
            room = n + 2 * p - e
            out = (-(-room // s) if rounding == "ceil" else room // s) + 1
            if rounding == "ceil" and any(self.pad) and (out - 1) * s >= n + p:
                out -= 1
            outputs.append(out)
        return tuple(outputs)

    def spread(self, size: Shape) -> Shape:
        """The adjoint's output size, stride * (in - 1) + extent - 2 * pad: what a deconvolution makes."""
        return tuple(
            s * (n - 1) + e - 2 * p for n, e, s, p in zip(size, self.extent, self.stride, self.pad, strict=True)
        )

    def taps(self, size: Shape, out: Shape) -> Iterator[tuple[Shape, Box, Box]]:
        """Each tap in row-major order: what it reads of an input of this size, and for which outputs.

        Taps that read nothing but padding are left out.

        >>> list(Window.of((2,), stride=2, pad=1).taps((3,), (2,)))
        [((0,), (slice(1, 2, 2),), (slice(1, 2, None),)), ((1,), (slice(0, 3, 2),), (slice(0, 2, None),))]
        """
        for tap in product(*map(range, self.kernel)):
            reads, writes = [], []
            for i, n, o, s, p, d in zip(tap, size, out, self.stride, self.pad, self.dilation, strict=True):
                first = i * d - p  # what output 0 reads
                low, high = max(0, -(first // s)), min(o, (n - 1 - first) // s + 1)
                if low < high:
                    reads.append(slice(low * s + first, (high - 1) * s + first + 1, s))
                    writes.append(slice(low, high))
            if len(reads) == len(self.kernel):
                yield tap, tuple(reads), tuple(writes)
