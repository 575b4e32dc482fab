"""How much arithmetic a net takes: as the reports count it, and exactly.

An operation is a multiplication or an addition, so a kernel of k x k over C maps costs 2 C k k per output. Pooling, biases and
neurons are left out everywhere, as the reports leave them out.

Nothing is run and no program recorded: the counts follow from the sizes of the patch net alone. That makes them a check on the
plans, whose own count (`TilePlan.flops`) is read off the steps that run.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import gcd, prod
from typing import Literal

from .blob import Shape
from .conversion import axes_of, find_output, find_source, own_output, strides
from .errors import ShapeError
from .layers import (
    BatchNormLayer,
    BiasLayer,
    ConvolutionLayer,
    DeconvolutionLayer,
    ElementWiseLayer,
    InnerProductLayer,
    LRNLayer,
    NeuronLayer,
    PoolingLayer,
    PReLULayer,
    ScaleLayer,
    SoftmaxLayer,
)
from .layers.windowed import WindowedLayer, by
from .net import Net
from .wiring import Link

Strides = tuple[Fraction, ...]
_BY_PIXEL = (NeuronLayer, SoftmaxLayer, ScaleLayer, BiasLayer, BatchNormLayer, PReLULayer, LRNLayer)
Kind = Literal["convolution", "deconvolution", "inner product"]


@dataclass(frozen=True)
class Products:
    """The multiply-adds of one layer of a patch net.

    Attributes
    ----------
    weights : int
        Each is multiplied once for every position of the kernel.
    maps : int
        The outputs at one position.
    patch : tuple of int
        Positions of the kernel in one patch, rows and columns, or along whatever spatial axes the image has.
    stride : tuple of Fraction
        Image pixels between two neighbours of them; a fraction where upsampling comes first.
    split : tuple of int
        The strides of all layers below: so many times so many fragments does the engine of that name work on, where it has to
        make the net dense.
    phases : tuple of int
        The same of a net that is dense already, whose fragments come from dilations.
    bottom : str
        The value that is read.
    """

    layer: str
    kind: Kind
    weights: int
    maps: int
    patch: Shape
    stride: Strides
    split: Shape
    phases: Shape
    bottom: str


@dataclass(frozen=True)
class Work:
    """One layer's operations in a dense pass: those for the outputs' own pixels, and those for the margin around them."""

    layer: str
    pixels: int
    halo: int

    @property
    def total(self) -> int:
        return self.pixels + self.halo


def products(net: Net, output: str | None = None) -> list[Products]:
    """Every layer that multiplies on the way to the output, in running order."""
    found = []
    spaced, axes = strides(net.sketch), axes_of(net.sketch)
    ones = (1,) * axes
    splits: dict[str, Shape] = {}
    phases: dict[str, Shape] = {}
    for link, bottoms, tops in _walk(net, find_output(net.sketch, output)):
        own = _stride(link, bottoms, axes)
        splits_below = [splits[b] for b in link.bottoms]
        # branches that differ are stitched before they meet
        split = splits_below[0] if len(set(splits_below)) == 1 else ones
        stride = spaced[link.tops[0]] if link.tops else own
        spatial = (*tops[0][2:], *ones)[:axes] if tops else ones
        # a single element per window is never split off: it has no neighbours to be kept apart from
        after = tuple(f * max(1, int(s)) if n > 1 else f for f, s, n in zip(split, own, spatial, strict=True))
        splits |= dict.fromkeys(link.tops, after)
        layer = link.layer
        below = [phases.get(b, ones) for b in link.bottoms]
        phases |= dict.fromkeys(link.tops, _phases(link, bottoms, below, ones))
        kind: Kind
        patch: Shape
        if isinstance(layer, InnerProductLayer):
            kind, maps, patch = (
                "inner product",
                layer.output_dim,
                (prod(tops[0][1:-1]), *ones[1:]),
            )  # axes that it keeps
        elif isinstance(layer, DeconvolutionLayer):  # its kernel is put down once for every element of the bottom
            kind, maps, patch, stride = (
                "deconvolution",
                layer.n_filter,
                _positions(layer, bottoms[0], axes),
                spaced[link.bottoms[0]],
            )
        elif isinstance(layer, ConvolutionLayer):
            kind, maps, patch = "convolution", layer.n_filter, _positions(layer, tops[0], axes)
        else:
            continue
        weights = prod(layer.parameters(bottoms)[0].shape)
        apart = phases[link.tops[0]]
        found.append(Products(layer.name, kind, weights, maps, patch, stride, split, apart, link.bottoms[0]))
    return found


def patchwise(net: Net, windows: Shape, output: str | None = None) -> int:
    r"""What sliding costs, as Giusti et al. 2013 and Jakubiuk 2015 count it.

    .. math:: h w \sum_l 2 |P_{l-1}| |P_l| k_l^2 s_l^2

    over the convolutions l, for h x w outputs: |P| is a number of maps, s_l the size of the convolution's own output in the patch.
    Inner products are not counted.

    Examples
    --------
    >>> net = fm.Net("n4", "reference", fm.models.n4())
    >>> round(patchwise(net, (512, 512)) / 1e9)
    63637
    """
    windowed = (p for p in products(net, output) if p.kind != "inner product")
    return 2 * prod(windows) * sum(p.weights * prod(p.patch) for p in windowed)


def dense_as_reported(net: Net, windows: Shape, output: str | None = None) -> int:
    r"""What one dense pass costs, as Giusti et al. 2013 and Jakubiuk 2015 count it.

    .. math:: \sum_l 2 |P_{l-1}| |P_l| k_l^2 \, s_{l-1}^2 F_l

    over the convolutions l, with F_l fragments and maps of size s_{l-1} at the convolution's input. The reports begin with
    s_0 = w + floor(patch / 2), which leaves out half of the border, and only divide by each stride, rounding down, as if
    convolutions did not shrink their maps: 559, 279, 139 and 69 with 1, 4, 16 and 64 fragments for N4 on 512 x 512. `dense` has
    the exact count.
    """
    output = find_output(net.sketch, output)
    source = find_source(net.sketch, output)
    start = tuple(w + p // 2 for w, p in zip(windows, net.declared[source][2:], strict=True))
    sizes: dict[str, Shape] = {}
    fragments: dict[str, int] = {}
    for link, bottoms, _ in _walk(net, output):
        size = min((sizes[b] for b in link.bottoms), default=start)
        count = max((fragments[b] for b in link.bottoms), default=1)
        own = _stride(link, bottoms, len(start))
        sizes |= dict.fromkeys(link.tops, tuple(int(n / s) for n, s in zip(size, own, strict=True)))
        fragments |= dict.fromkeys(link.tops, count * int(prod(own)))
    convolutions = (p for p in products(net, output) if p.kind == "convolution")
    return 2 * sum(p.weights * prod(sizes[p.bottom]) * fragments[p.bottom] for p in convolutions)


def dense(net: Net, windows: Shape, engine: str = "strided", output: str | None = None) -> list[Work]:
    r"""What one pass really costs, layer by layer, for h x w outputs.

    With n positions in the patch, d pixels apart, a map of strided kernels has (n - 1) d + w positions a side, and one of the
    f x f fragments (n - 1) d / f + ceil(w / f). In a net that is dense already, a map of m positions for u outputs has
    m + (w - u) / d for w, rounded up to a multiple of f where there are f x f fragments. Whatever exceeds the outputs' own
    h w / d d positions (h w where the net is made dense) is halo.
    """
    output = find_output(net.sketch, output)
    answer = own_output(net.sketch, output)
    already = answer.is_dense
    declared = tuple(int((n - 1) * d) + 1 for n, d in zip(answer.elements, answer.stride, strict=True))
    found = []
    for p in products(net, output):
        own = Fraction(prod(windows))
        sides: list[Fraction] = []
        for n, w, u, d, f, e in zip(p.patch, windows, declared, p.stride, p.split, p.phases, strict=True):
            if already:
                side = n + (w - u) / d
                whole = engine == "fragments" and side.denominator == 1
                sides.append(Fraction(-(-side // e) * e) if whole else side)
            elif engine == "sliding":
                sides.append(Fraction(n * (w - u + 1)))
            elif engine == "fragments":
                sides.append(f * ((n - 1) * d / f - (-w // f)))
            else:
                sides.append((n - 1) * d + w)
        if any(side.denominator > 1 for side in sides):
            wanted = by(windows)
            raise ShapeError(
                f"net {net.name!r} has no map of {wanted} outputs: {p.layer} is out of step; ask for DenseNet.fit"
            )
        pixels = round(2 * p.weights * (own / prod(p.stride) if already else own))
        found.append(Work(p.layer, pixels, int(2 * p.weights * prod(sides)) - pixels))
    return found


def as_greentea(net: Net, output: str | None = None) -> int:
    """Of the net as it stands, M N (2 K - 1) for every convolution: how Greentea's benchmark counts (Tschopp 2015).

    M maps of N positions, each a sum of K products, so K - 1 additions.
    """
    convolutions = (p for p in products(net, output) if p.kind == "convolution")
    return sum((2 * p.weights - p.maps) * prod(p.patch) for p in convolutions)


def _walk(net: Net, output: str) -> Iterator[tuple[Link, list[Shape], list[Shape]]]:
    """The links that the output depends on, with their bottoms' and tops' shapes for one patch."""
    sketch = net.sketch.only([output])
    shapes = sketch.shapes()
    for link in sketch.links:
        yield link, [shapes[b] for b in link.bottoms], [shapes[t] for t in link.tops]


def _positions(layer: WindowedLayer, maps: Shape, axes: int) -> Shape:
    """How often a kernel is applied along each spatial axis of such maps; along the first, also for every axis kept as batch."""
    size = layer.size(maps)
    first, *rest = (*size, *(1,) * axes)[:axes]
    batch = maps[1 : len(maps) - len(size) - 1]
    return (first * prod(batch), *rest)


def _stride(link: Link, bottoms: list[Shape], axes: int) -> Strides:
    """By how much a layer spreads the positions of its top, along each spatial axis."""
    layer = link.layer
    size = layer.size(bottoms[0]) if isinstance(layer, WindowedLayer) else ()
    if not isinstance(layer, WindowedLayer) or len(size) != axes:
        return (Fraction(1),) * axes
    window = layer.over(size)
    up = isinstance(layer, DeconvolutionLayer)
    return tuple(Fraction(1, s) if up else Fraction(s) for s in window.stride)


def _phases(link: Link, bottoms: list[Shape], below: list[Shape], ones: Shape) -> Shape:
    """On how many fragments per axis a layer of a net that is dense already works, where its bottoms' layers work on these.

    A convolution takes one for every step of its dilation, so that its kernel has no gaps. Pools, and what acts on single pixels,
    take those of their bottom as far as they can, of the one with the most where there are several; everything else takes whole
    maps.
    """
    layer = link.layer
    if layer.passes_through or (isinstance(layer, _BY_PIXEL) and layer.is_local):
        return below[0] if len(below) == 1 else (1, 1)
    if isinstance(layer, ElementWiseLayer):
        return max(below, key=prod)
    if not isinstance(layer, ConvolutionLayer | PoolingLayer) or len(layer.size(bottoms[0])) != len(ones):
        return ones
    pools = isinstance(layer, PoolingLayer)
    window = layer.over(layer.size(bottoms[0]))
    if max(window.stride) > 1 or max(window.pad) > 0:
        return ones
    axes = zip(window.kernel, window.dilation, below[0], strict=True)
    return tuple(f if k == 1 else gcd(d, f) if pools else d for k, d, f in axes)
