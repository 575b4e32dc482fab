"""Local response normalization: every element by those around it."""

from dataclasses import dataclass
from math import isfinite
from typing import Any, Literal

from fullmocha.backends.shapes import about

from ..lattice import Lattice
from .base import Layer, Node, Shape
from .checks import axis_of, count_of, instance_of, need, spatial
from .softmax import channel_axis


@dataclass(frozen=True)
class LRNWindow:
    """Around what: "across" the channels, or "within" one."""

    kind: Literal["across", "within"]


class LRNMode:
    """The modes of `LRNLayer` under Mocha's names."""

    @staticmethod
    def AcrossChannel() -> LRNWindow:
        """A window over neighbouring channels, at one place."""
        return LRNWindow("across")

    @staticmethod
    def WithinChannel() -> LRNWindow:
        """A window over neighbouring places, in one channel."""
        return LRNWindow("within")


@dataclass(frozen=True, kw_only=True)
class LRNLayer(Layer):
    r"""Divides by a power of the sum of squares around (Krizhevsky et al. 2012).

    .. math:: y_i = x_i \Big/ \Big(s + \frac{a}{n} \sum_{j \in W(i)} x_j^2\Big)^p

    Parameters
    ----------
    kernel : int
        The window's width: n = kernel channels, or kernel * kernel places. (kernel - 1) // 2 of them come before the element,
        along each axis.
    scale, shift, power : float
        a, s and p; Caffe calls them alpha, k and beta.
    channel_dim : int
        Mocha's dimension of the channels; -2, the default, is theirs for any number of axes.
    mode : `LRNMode.AcrossChannel()` or `LRNMode.WithinChannel()`
        Which window.

    Notes
    -----
    Where the window hangs over the edge there are zeros, and they count in n. Caffe knows odd kernels only, and has s = 1
    within a channel whatever its k.

    Raises
    ------
    NotDenseError
        In a dense net, within channels: those zeros lie inside the image.

    Examples
    --------
    >>> LRNLayer(name="norm1", bottoms=["pool1"], tops=["norm1"], kernel=3, mode=LRNMode.WithinChannel()).shape([(1, 8, 5, 7)])
    [(1, 8, 5, 7)]
    """

    name: str = "lrn"
    kernel: int = 5
    scale: float = 1.0
    shift: float = 1.0
    power: float = 0.75
    channel_dim: int = -2
    mode: LRNWindow = LRNMode.AcrossChannel()

    def check(self) -> None:
        count_of(self, "kernel")
        instance_of(self, LRNWindow, "mode")
        for name in ("scale", "shift", "power"):
            if not isfinite(getattr(self, name)):
                raise self.refuse(f"{name} must be a finite number, got {getattr(self, name)!r}")
        if self.within and self.kernel % 2 == 0:
            raise self.refuse(f"within a channel the kernel must be odd, to have a middle; got {self.kernel}")

    @property
    def within(self) -> bool:
        return self.mode.kind == "within"

    @property
    def is_local(self) -> bool:
        return not self.within

    def shape(self, bottoms: list[Shape]) -> list[Shape]:
        (x,) = need(self, bottoms, 1)
        if self.within:
            spatial(self, x)
        else:
            axis_of(self, self.channel_dim, None, len(x))
        return [x]

    def seen(self, shape: Shape) -> Shape:
        """The bottom with the window's channels as axis 1."""
        axis = 1 if self.within else axis_of(self, self.channel_dim, None, len(shape))
        return shape if axis == 1 else about(shape, axis)

    @property
    def options(self) -> dict[str, Any]:
        return {"size": self.kernel, "alpha": self.scale, "beta": self.power, "k": self.shift, "within": self.within}

    def forward(self, ops: Any, at: Node) -> None:
        (x,), (y,) = at.bottoms, at.tops
        ops.lrn(*(ops.reshape(b.array, self.seen(x.shape)) for b in (x, y)), **self.options)

    def backward(self, ops: Any, at: Node) -> None:
        (x,), (y,) = at.bottoms, at.tops
        if x.grad is not None:
            arrays = (ops.reshape(a, self.seen(x.shape)) for a in (y.grad, x.array, y.array, x.grad))
            ops.lrn_backward(*arrays, **self.options)

    def dense(self, lattices: list[Lattice | None]) -> tuple[Layer, Lattice | None]:
        (at,) = lattices
        if at is None:
            return self, None
        if self.within:
            raise self.not_dense(
                "its window meets zeros at the patch's edge, where a dense pass sees image; use "
                'LRNMode.AcrossChannel(), or engine="sliding"'
            )
        channel_axis(self, self.channel_dim, None, at)
        return self.copy(channel_dim=-2), at

    def describe(self) -> str:
        return f"{self.kernel} {'places along each axis' if self.within else 'channels'}"
