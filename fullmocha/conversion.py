"""Restating a patch net densely: which links do for a whole image what the net's own do for one window."""

from dataclasses import dataclass, replace
from fractions import Fraction
from math import lcm

from .blob import Shape
from .errors import NotDenseError, ShapeError
from .lattice import Lattice
from .layers.base import Layer
from .layers.convolution import DeconvolutionLayer
from .layers.crop import TrimLayer
from .layers.fragments import FragmentLayer, StitchLayer
from .net import Net
from .patch import label_values
from .tracing import needed
from .wiring import Link, Wiring


def find_output(net: Net, wanted: str | None) -> str:
    """The value that answers: the one asked for, or the only one that no layer but losses and scores reads."""
    if wanted is not None:
        if wanted not in net.wiring.last:
            raise ShapeError(f"net {net.name!r} has no blob {wanted!r}; it has {sorted(net.wiring.last)}")
        return net.wiring.last[wanted]
    links = net.wiring.links
    read = {b for link in links if not link.layer.is_sink for b in link.bottoms}
    ends = [t for link in links if not (link.layer.is_source or link.layer.is_sink) for t in link.tops if t not in read]
    if len(ends) != 1:
        raise ShapeError(f'net {net.name!r} has {len(ends)} outputs, {sorted(ends)}; choose one with output="name"')
    return ends[0]


def find_source(net: Net, output: str) -> str:
    """The image on which the output depends."""
    labels = label_values(net.wiring)
    links = needed(net.wiring.links, [output])
    images = {b for link in links if not link.layer.is_source for b in link.bottoms}
    sources = [t for link in links if link.layer.is_source for t in link.tops if t in images and t not in labels]
    if len(sources) != 1:
        raise NotDenseError(f"net {net.name!r}: a dense pass reads one image, but {output!r} depends on {sources}")
    if len(net.declared[sources[0]]) != 4:
        raise NotDenseError(
            f"net {net.name!r}: {sources[0]!r} is {net.declared[sources[0]]}, not an image (N, C, H, W)"
        )
    return sources[0]


@dataclass(frozen=True)
class OwnOutput:
    """What a net answers for one patch, before anything is made dense; every pair has rows before columns.

    Attributes
    ----------
    elements : (int, int)
        Answers per patch.
    stride : (Fraction, Fraction)
        Image pixels between two of them.
    align : (int, int)
        The largest stride on the way: the shifts to which a net that is dense already is equivariant.
    """

    elements: tuple[int, int]
    stride: tuple[Fraction, Fraction]
    align: tuple[int, int]

    @property
    def is_dense(self) -> bool:
        """Whether the net answers for neighbouring pixels as it stands."""
        return self.stride == (Fraction(1), Fraction(1)) and max(self.elements) > 1


def own_output(net: Net, output: str) -> OwnOutput:
    """How the net's own output sits in the patch."""
    strides: dict[str, tuple[Fraction, ...]] = {}
    largest = [1, 1]
    for link in needed(net.wiring.links, [output]):
        read = {strides[b] for i, b in enumerate(link.bottoms) if i not in link.layer.size_bottoms}
        here = (
            read.pop() if len(read) == 1 else (Fraction(len(read) == 0),) * 2
        )  # 0: its bottoms disagree, so it has none
        window = getattr(link.layer, "window", None)
        if window is not None:
            up = isinstance(link.layer, DeconvolutionLayer)
            here = tuple(h / s if up else h * s for h, s in zip(here, window.stride, strict=True))
        largest = [lcm(m, int(h)) if h >= 1 else m for m, h in zip(largest, here, strict=True)]
        strides |= dict.fromkeys(link.tops, here)
    rows, columns = (*shape_of(net, output)[2:], 1, 1)[:2]
    dy, dx = strides[output]
    return OwnOutput((rows, columns), (dy, dx), (largest[0], largest[1]))


def rewrite(net: Net, output: str, fragments: bool) -> tuple[Wiring, dict[str, Lattice], str]:
    """The dense links, where every value sits, and the name of the stitched output.

    Layers state their own dense form; what is added here is what no layer knows: cropping what a stride leaves over,
    splitting into fragments behind a stride, stitching before whatever wants whole maps.
    """
    shapes = dict(
        zip(
            (t for link in net.wiring.links for t in link.tops),
            (s for tops in net.infer(net.declared) for s in tops),
            strict=True,
        )
    )
    labels = label_values(net.wiring)
    places: dict[str, Lattice | None] = {}
    stitched: dict[str, str] = {}
    links: list[Link] = []

    def whole(value: str) -> str:
        """The value without fragments."""
        at = places[value]
        if at is None or not at.splits:
            return value
        if value not in stitched:
            stitched[value] = f"{value}~stitched"
            layer = StitchLayer(
                name=stitched[value], bottoms=[value], tops=[stitched[value]], splits=at.splits, windows=(1, 1)
            )
            links.append(Link(layer, (value,), (stitched[value],)))
        return stitched[value]

    for link in net.wiring.links:
        layer = link.layer
        if layer.is_source:
            links.append(link)
            for top in link.tops:
                image = top not in labels and len(shapes[top]) == 4
                places[top] = Lattice(shapes[top][2:]) if image else None
            continue
        if layer.is_sink:
            bottoms = tuple(whole(b) for b in link.bottoms)
            links.append(Link(layer.dense([places[b] for b in link.bottoms])[0], bottoms, link.tops))
            places |= dict.fromkeys(link.tops)
            continue
        bottoms = link.bottoms
        ats = [places[b] for b in bottoms]
        if len(set(ats)) > 1 and all(at is not None and at.patch == (1, 1) for at in ats):
            bottoms = tuple(whole(b) for b in bottoms)  # single elements have no neighbours, so any lattice will do
            ats = [Lattice((1, 1)) for _ in bottoms]
        layer, at = layer.dense(ats)
        bottoms = bottoms[: len(layer.bottoms)]
        if at is None or ats[0] is None:
            links.append(Link(layer, bottoms, link.tops))
            places |= dict.fromkeys(link.tops, at)
            continue
        at = _lonely(at)
        excess = _excess(layer, shapes[link.bottoms[0]], ats, at) if len(bottoms) == 1 else (0, 0)
        if excess != (0, 0):
            trim = TrimLayer(
                name=f"{layer.name}~trim", bottoms=[bottoms[0]], tops=[f"{bottoms[0]}~{layer.name}"], after=excess
            )
            links.append(Link(trim, bottoms, tuple(trim.tops)))
            bottoms = tuple(trim.tops)
        if fragments and at.spacing != (1, 1):
            (top,) = link.tops
            links.append(Link(layer, bottoms, (f"{top}~whole",)))
            split = FragmentLayer(
                name=f"{layer.name}~fragments", bottoms=[f"{top}~whole"], tops=[top], stride=at.spacing
            )
            layer, bottoms, at = split, (f"{top}~whole",), at.fragmented()
        links.append(Link(layer, bottoms, link.tops))
        places |= dict.fromkeys(link.tops, at)
    value = whole(output)
    last = net.wiring.last | {name: stitched[v] for name, v in net.wiring.last.items() if v in stitched}
    return Wiring(tuple(links), net.wiring.first, last), {k: v for k, v in places.items() if v is not None}, value


def _lonely(at: Lattice) -> Lattice:
    """Where a window has one element along an axis, no neighbours are ever read, so the spacing there is free: make it 1."""
    stride = tuple(f if n == 1 else d for n, d, f in zip(at.patch, at.stride, at.split, strict=True))
    return replace(at, stride=stride)


def _excess(layer: Layer, bottom: Shape, ats: list[Lattice | None], at: Lattice) -> Shape:
    """Rows and columns of the bottom that the strides of the patch net never reach."""
    place = ats[0]
    assert place is not None
    channels = bottom[1]
    (made,) = layer.shape([(place.fragments, channels, *place.size(place.split))])[:1]
    return tuple(m - w for m, w in zip((*made[2:], 1, 1)[:2], at.size(place.split), strict=True))


def shape_of(net: Net, value: str) -> Shape:
    for link, tops in zip(net.wiring.links, net.infer(net.declared), strict=True):
        for top, shape in zip(link.tops, tops, strict=True):
            if top == value:
                return shape
    raise KeyError(value)


def advice(net: Net, output: str) -> str:
    """Patch sizes near by for which a dense form exists, as the end of a message."""
    source = find_source(net, output)
    n, c, h, w = net.declared[source]
    fitting = []
    for direction in (-1, 1):
        for d in range(1, 65):
            trial = object.__new__(Net)  # only its wiring and sizes are asked for
            trial.wiring, trial.name = net.wiring, net.name
            trial.declared = net.declared | {source: (n, c, h + direction * d, w + direction * d)}
            try:
                rewrite(trial, output, fragments=False)
            except (NotDenseError, ShapeError):
                continue
            fitting.append(f"{h + direction * d}x{w + direction * d}")
            break
    if not fitting:
        return ""
    return f". Patch sizes near {h}x{w} that fit: {' and '.join(fitting)}"
