"""SK, U and USK: the nets of Project Greentea (Tschopp 2015, chapter 3), dense as they stand."""

from ..initializers import ConstantInitializer, MSRAInitializer
from ..layers import (
    ConvolutionLayer,
    DeconvolutionLayer,
    InputLayer,
    Layer,
    MergeCropLayer,
    PoolingLayer,
    ReLULayer,
    SoftmaxLayer,
)


class _Stack:
    """Layers piled up one on the other; `top` is the last blob."""

    def __init__(self, data: Layer | None, size: int) -> None:
        self.layers: list[Layer] = [data or InputLayer(tops=["data"], shapes=[(1, 3, size, size)])]
        self.top = "data"
        self.convs = self.pools = self.ups = 0

    def conv(self, maps: int, kernel: int, dilation: int = 1, relu: bool = True) -> str:
        self.convs += 1
        name = f"conv{self.convs}"
        self.layers.append(
            ConvolutionLayer(
                name=name,
                bottoms=[self.top],
                tops=[name],
                kernel=kernel,
                dilation=dilation,
                n_filter=maps,
                filter_init=MSRAInitializer(),
            )
        )
        if relu:
            self.layers.append(ReLULayer(name=f"relu{self.convs}", bottoms=[name], tops=[name]))
        self.top = name
        return name

    def pool(self, stride: int, dilation: int = 1) -> None:
        self.pools += 1
        name = f"pool{self.pools}"
        self.layers.append(
            PoolingLayer(name=name, bottoms=[self.top], tops=[name], kernel=2, stride=stride, dilation=dilation)
        )
        self.top = name

    def up(self, maps: int, skip: str) -> None:
        """Nearest-neighbour upsampling, a 1x1 convolution that halves the maps, and the centre of the skipped blob beside it."""
        self.ups += 1
        name = f"upconv{self.ups}"
        self.layers.append(
            DeconvolutionLayer(
                name=name,
                bottoms=[self.top],
                tops=[name],
                kernel=2,
                stride=2,
                n_filter=maps,
                n_group=maps,
                bias=False,
                filter_init=ConstantInitializer(1.0),
                filter_lr=0.0,
            )
        )
        self.top = name
        self.conv(maps // 2, 1, relu=False)
        merged = f"mergecrop{self.ups}"
        self.layers.append(MergeCropLayer(name=merged, bottoms=[self.top, skip], tops=[merged]))
        self.top = merged

    def done(self, classes: int, softmax: bool) -> list[Layer]:
        self.conv(classes, 1, relu=False)
        if softmax:
            self.layers.append(SoftmaxLayer(name="prob", bottoms=[self.top], tops=["prob"]))
        return self.layers


def sk(classes: int = 2, data: Layer | None = None, softmax: bool = True) -> list[Layer]:
    """Strided kernels: 229 x 229 to 128 x 128, the dense form of a sliding window of 102 x 102."""
    net = _Stack(data, 229)
    for maps, kernel, dilation in ((48, 7, 1), (128, 5, 2), (192, 3, 4)):
        net.conv(maps, kernel, dilation)
        net.pool(1, dilation)
    net.conv(1024, 10, 8)
    net.conv(512, 1)
    return net.done(classes, softmax)


def u(classes: int = 2, data: Layer | None = None, softmax: bool = True, maps: int = 64) -> list[Layer]:
    """The U net (Ronneberger et al. 2015) as Greentea writes it: 572 x 572 to 388 x 388, four levels, `maps` in the first."""
    net = _Stack(data, 572)
    skips = []
    for level in range(4):
        net.conv(maps << level, 3)
        skips.append(net.conv(maps << level, 3))
        net.pool(2)
    net.conv(maps << 4, 3)
    net.conv(maps << 4, 3)
    for level in reversed(range(4)):
        net.up(maps << level + 1, skips.pop())
        net.conv(maps << level, 3)
        net.conv(maps << level, 3)
    return net.done(classes, softmax)


def usk(classes: int = 2, data: Layer | None = None, softmax: bool = True) -> list[Layer]:
    """One level of U around an SK: 692 x 692 to 512 x 512."""
    net = _Stack(data, 692)
    net.conv(64, 3)
    skip = net.conv(64, 3)
    net.pool(2)
    for maps, kernel, dilation in ((128, 6, 1), (128, 4, 2), (128, 4, 4)):
        net.conv(maps, kernel, dilation)
        net.pool(1, dilation)
    net.conv(512, 8, 8)
    net.conv(256, 1)
    net.up(256, skip)
    net.conv(128, 3)
    net.conv(64, 3)
    return net.done(classes, softmax)
