"""What every layer has that slides a window over the spatial axes of its bottom, however many those are."""

from dataclasses import dataclass

from fullmocha.backends.shapes import Window

from .base import Layer, Shape
from .checks import Sizes, along, sizes


@dataclass(frozen=True, kw_only=True)
class WindowedLayer(Layer):
    """The window's fields; the number of axes is the bottom's, unless a field has one entry per axis.

    Parameters
    ----------
    kernel, stride, pad, dilation : int or tuple of int
        One integer for every axis, or one per axis in Mocha's order, fastest axis first: (width, height, depth).
    """

    kernel: Sizes = 1
    stride: Sizes = 1
    pad: Sizes = 0
    dilation: Sizes = 1

    def check(self) -> None:
        super().check()
        counts = {}
        for name, least in (("kernel", 1), ("stride", 1), ("pad", 0), ("dilation", 1)):
            value = sizes(self.label, name, getattr(self, name), least)
            object.__setattr__(self, name, value)
            if isinstance(value, tuple):
                counts[name] = len(value)
        if len(set(counts.values())) > 1:
            said = ", ".join(f"{name} {getattr(self, name)}" for name in counts)
            raise self.refuse(f"{said} are for different numbers of axes; give each one size per axis, or one integer")

    @property
    def axes(self) -> int | None:
        """The number of spatial axes that the fields ask for; None where any will do."""
        fields = (self.kernel, self.stride, self.pad, self.dilation)
        return next((len(value) for value in fields if isinstance(value, tuple)), None)

    def size(self, bottom: Shape) -> Shape:
        """The axes of a bottom over which the window slides."""
        return bottom[2:]

    def over(self, size: Shape) -> Window:
        """The window for a bottom of this size, rows before columns."""
        kernel, stride, pad, dilation = (along(self, n, len(size)) for n in ("kernel", "stride", "pad", "dilation"))
        return Window(kernel, stride, pad, dilation)

    def describe_over(self, bottoms: list[Shape]) -> str:
        size = self.size(bottoms[0])
        return self.copy(kernel=self.over(size).kernel[::-1]).describe() if size else self.describe()

    @property
    def window(self) -> Window:
        """The window for as many axes as the fields ask for, two where any will do: an image's."""
        return self.over((1,) * (self.axes or 2))


def by(sizes: Shape) -> str:
    """(5, 4) as "5x4"."""
    return "x".join(map(str, sizes))
