"""Im2col: what a convolution's kernel sees, as channels."""

from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar

from ..lattice import Lattice
from .base import Layer, Node, Shape
from .checks import need, placed, spatial
from .windowed import WindowedLayer, by


@dataclass(frozen=True, kw_only=True)
class Im2colLayer(WindowedLayer):
    r"""Makes a channel of every tap of the window.

    .. math:: y_{n,\,(c k_h + i) k_w + j,\,h,w} = x_{n,\,c,\,h s - p + i d,\, w s - p + j d}

    and zero outside x: a convolution is a convolution of 1 x 1 behind it.

    Parameters
    ----------
    kernel, stride, pad, dilation : int or tuple of int
        As in `ConvolutionLayer`.

    Notes
    -----
    Bottom (N, C, H, W), top (N, C kh kw, H', W'), over any number of spatial axes. Source: Caffe's Im2col.

    Raises
    ------
    ShapeError
        If the kernel does not fit the padded bottom.
    NotDenseError
        In a dense net: if pad > 0.

    Examples
    --------
    >>> Im2colLayer(name="cols", bottoms=["a"], tops=["b"], kernel=3, stride=2, pad=1).shape([(2, 3, 7, 6)])
    [(2, 27, 4, 3)]
    """

    per_bottom: ClassVar[bool] = True

    def shape(self, bottoms: list[Shape]) -> list[Shape]:
        (x,) = need(self, bottoms, 1)
        n, c, size = spatial(self, x)
        window = self.over(size)
        out = window.slides(size)
        if min(out) < 1:
            raise self.refuse(
                f"the dilated kernel spans {by(window.extent)}, more than the {by(size)} bottom with its pad {by(window.pad)}; use "
                "a larger input or a smaller kernel"
            )
        return [(n, c * prod(window.kernel), *out)]

    def forward(self, ops: Any, at: Node) -> None:
        (x,), (y,) = at.bottoms, at.tops
        ops.unfold(x.array, y.array, window=self.over(x.shape[2:]))

    def backward(self, ops: Any, at: Node) -> None:
        (x,), (y,) = at.bottoms, at.tops
        if x.grad is not None:
            ops.unfold_backward(y.grad, x.grad, window=self.over(x.shape[2:]))

    def dense(self, lattices: list[Lattice | None]) -> tuple[Layer, Lattice]:
        at = placed(lattices)
        window = self.over(at.patch)
        if any(window.pad):
            raise self.not_dense(f'pad {by(window.pad)} reaches outside the patch; use pad=0, or engine="sliding"')
        dilation = tuple(d * e for d, e in zip(window.dilation, at.spacing, strict=True))
        layer = self.copy(kernel=window.kernel[::-1], stride=1, pad=0, dilation=dilation[::-1])
        return layer, at.strided(window.slides(at.patch), window.stride)

    def describe(self) -> str:
        return f"{by(self.window.kernel)}, stride {by(self.window.stride)}"
