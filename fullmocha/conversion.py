"""Restating a patch net densely: which links do for a whole image what the net's own do for one window."""

from collections.abc import Sequence
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
from .layers.pooling import PoolingLayer
from .layers.softmax import SoftmaxLayer
from .sketch import Sketch, needed
from .wiring import Link, Wiring

Stride = tuple[Fraction, Fraction]


def find_output(sketch: Sketch, wanted: str | None) -> str:
    """The value that answers: the one asked for, or the only one that no layer but losses and scores reads."""
    if wanted is not None:
        found = sketch.wiring.last.get(wanted) if isinstance(wanted, str) else None
        if found is None:
            raise ShapeError(f"net {sketch.name!r} has no blob {wanted!r}; it has {sorted(sketch.wiring.last)}")
        return found
    links = sketch.links
    read = {b for link in links if not link.layer.is_sink for b in link.bottoms}
    ends = [t for link in links if not (link.layer.is_source or link.layer.is_sink) for t in link.tops if t not in read]
    if len(ends) != 1:
        raise ShapeError(f'net {sketch.name!r} has {len(ends)} outputs, {sorted(ends)}; choose one with output="name"')
    return ends[0]


def find_source(sketch: Sketch, output: str) -> str:
    """The image on which the output depends."""
    links = needed(sketch.links, [output])
    read = {b for link in links if not link.layer.is_source for b in link.bottoms}
    sources = [t for link in links if link.layer.is_source for t in link.tops if t in read and t not in sketch.labels]
    if len(sources) != 1:
        raise NotDenseError(f"net {sketch.name!r}: a dense pass reads one image, but {output!r} depends on {sources}")
    shape = sketch.declared[sources[0]]
    if len(shape) != 4:
        raise NotDenseError(f"net {sketch.name!r}: {sources[0]!r} is {shape}, not an image (N, C, H, W)")
    return sources[0]


def strides(sketch: Sketch) -> dict[str, Stride]:
    """Image pixels between two neighbours of every value; 0 along an axis on which a layer's bottoms disagree.

    Along an axis where a value has a single element it has no neighbours, so it does not take part in the vote.
    """
    shapes = sketch.shapes()
    found: dict[str, Stride] = {}
    for link in sketch.links:
        window = getattr(link.layer, "window", None)
        up = isinstance(link.layer, DeconvolutionLayer)
        here = []
        for axis in range(2):
            below = [b for i, b in enumerate(link.bottoms) if i not in link.layer.size_bottoms]
            voters = {found[b][axis] for b in below if _elements(shapes[b])[axis] > 1}
            if not voters:
                stride = max((found[b][axis] for b in below), default=Fraction(1))
            else:
                stride = voters.pop() if len(voters) == 1 else Fraction(0)
            if window is not None:
                stride = stride / window.stride[axis] if up else stride * window.stride[axis]
            here.append(stride)
        found |= dict.fromkeys(link.tops, (here[0], here[1]))
    return found


def _elements(shape: Shape) -> tuple[int, int]:
    """Rows and columns; one of each for what has no spatial axes."""
    rows, columns = (*shape[2:], 1, 1)[:2]
    return rows, columns


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
        The shifts that move the answer along unchanged: a multiple of every stride on the way.
    is_dense : bool
        Whether the net answers for neighbouring pixels as it stands.
    tileable : bool
        Whether, standing as it is, the net on a part of the image gives that part of its answer on the whole.
    """

    elements: tuple[int, int]
    stride: Stride
    align: tuple[int, int]
    is_dense: bool
    tileable: bool


def own_output(sketch: Sketch, output: str) -> OwnOutput:
    """How the net's own output sits in the patch."""
    sketch = sketch.only([output])
    found = strides(sketch)
    align = [lcm(*(max(1, stride[axis].numerator) for stride in found.values())) for axis in range(2)]
    aligned = (align[0], align[1])
    elements = _elements(sketch.shapes()[output])
    dense = found[output] == (1, 1) and max(elements) > 1 and _grows(sketch, output, aligned)
    return OwnOutput(elements, found[output], aligned, dense, all(map(_local, sketch.links, _bottoms(sketch))))


def _grows(sketch: Sketch, output: str, align: Shape) -> bool:
    """Whether a patch larger by `align` gives an answer larger by as much, with the same parameters and pixel by pixel."""
    source = find_source(sketch, output)
    n, c, h, w = sketch.declared[source]
    larger = sketch.with_source(source, (n, c, h + align[0], w + align[1]))
    try:
        before, after = sketch.shapes(), larger.shapes()
        kept = all(
            link.layer.parameters([before[b] for b in link.bottoms])
            == link.layer.parameters([after[b] for b in link.bottoms])
            for link in sketch.links
        )
        for link in sketch.links:
            if isinstance(link.layer, SoftmaxLayer):
                link.layer.dense([Lattice((1, 1), flat=len(before[link.bottoms[0]]) == 2)])
    except (ShapeError, NotDenseError):
        return False
    grown = tuple(b - a for a, b in zip(_elements(before[output]), _elements(after[output]), strict=True))
    return kept and grown == tuple(align)


def _bottoms(sketch: Sketch) -> list[list[Shape]]:
    shapes = sketch.shapes()
    return [[shapes[b] for b in link.bottoms] for link in sketch.links]


def _local(link: Link, bottoms: list[Shape]) -> bool:
    """Whether a layer's answer at a pixel is the same where the image goes on as where it ends."""
    layer = link.layer
    if not layer.is_local:
        return False
    window = getattr(layer, "window", None)
    if window is None:
        return True
    if any(window.pad):
        return False
    if isinstance(layer, PoolingLayer):
        size = bottoms[0][2:]
        window = layer.over(size)
        return not layer.whole and window.slides(size, layer.round) == window.slides(size, "floor")
    # the rim of a deconvolution whose kernels overlap lacks the neighbours' share
    overlaps = any(e > s for e, s in zip(window.extent, window.stride, strict=True))
    return not (isinstance(layer, DeconvolutionLayer) and overlaps)


@dataclass(frozen=True)
class Restated:
    """A net's links, dense: the wiring, where every value sits, and the name of the stitched output."""

    wiring: Wiring
    places: dict[str, Lattice]
    output: str


def rewrite(sketch: Sketch, output: str, fragments: bool) -> Restated:
    """Restates every link of the sketch.

    Layers state their own dense form; what is added here is what no layer knows: cropping what a stride leaves over, splitting
    into fragments behind a stride, stitching before whatever wants whole maps.

    Raises
    ------
    NotDenseError
        With the layer, its rule, and both sides.
    """
    shapes, labels = sketch.shapes(), sketch.labels
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
            beyond = tuple((n - 1) * d for n, d in zip(at.patch, at.stride, strict=True))
            tops = [stitched[value]]
            layer = StitchLayer(name=tops[0], bottoms=[value], tops=tops, splits=at.splits, beyond=beyond)
            links.append(Link(layer, (value,), tuple(tops)))
            places[stitched[value]] = at.stitched()
        return stitched[value]

    for link in sketch.links:
        layer = link.layer
        if layer.is_source:
            links.append(link)
            for top in link.tops:
                image = top not in labels and len(shapes[top]) == 4
                places[top] = Lattice(shapes[top][2:]) if image else None
            continue
        ats = [places[b] for b in link.bottoms]
        if layer.is_sink:
            bottoms = tuple(whole(b) for b in link.bottoms)
            links.append(Link(layer.dense(ats)[0], bottoms, link.tops))
            places |= dict.fromkeys(link.tops)
            continue
        bottoms = link.bottoms
        if all(at is None for at in ats):  # labels, on their way to a loss
            links.append(link)
            places |= dict.fromkeys(link.tops)
            continue
        if any(at is None for at in ats):
            raise layer.not_dense(
                f"its bottoms {list(layer.bottoms)} are pixels and labels, which have no common place"
            )
        if len(set(ats)) > 1 and all(at is not None and at.patch == (1, 1) for at in ats):
            bottoms = tuple(whole(b) for b in bottoms)  # single elements have no neighbours, so any lattice will do
            ats = [Lattice((1, 1), flat=at is not None and at.flat) for at in ats]
        layer, at = layer.dense(_agreed(ats))
        assert at is not None
        bottoms = bottoms[: len(layer.bottoms)]
        at = _lonely(at)
        excess = _excess(layer, shapes[link.bottoms[0]], ats[0], at) if len(bottoms) == 1 else (0, 0)
        if excess != (0, 0):
            trimmed = f"{bottoms[0]}~{layer.name}"
            trim = TrimLayer(name=f"{layer.name}~trim", bottoms=[bottoms[0]], tops=[trimmed], after=excess)
            links.append(Link(trim, bottoms, (trimmed,)))
            bottoms = (trimmed,)
        if fragments and at.spacing != (1, 1):
            for top in link.tops:
                links.append(Link(layer, bottoms, (f"{top}~whole",)))
                split = FragmentLayer(
                    name=f"{layer.name}~fragments", bottoms=[f"{top}~whole"], tops=[top], stride=at.spacing
                )
                links.append(Link(split, (f"{top}~whole",), (top,)))
            at = at.fragmented()
        else:
            links.append(Link(layer, bottoms, link.tops))
        places |= dict.fromkeys(link.tops, at)
    value = whole(output)
    last = sketch.wiring.last | {name: stitched[v] for name, v in sketch.wiring.last.items() if v in stitched}
    wiring = Wiring(tuple(links), sketch.wiring.first, last)
    return Restated(wiring, {k: v for k, v in places.items() if v is not None}, value)


def _agreed(ats: list[Lattice | None]) -> list[Lattice | None]:
    """Along an axis where some bottoms have single elements and the others agree on a stride, all may have that stride."""
    places = [at for at in ats if at is not None]
    if len({at.splits for at in places}) != 1:
        return ats
    for axis in range(2):
        votes = {at.stride[axis] for at in places if at.patch[axis] > 1}
        if len(votes) == 1:
            (stride,) = votes
            places = [
                replace(at, stride=(stride, at.stride[1]) if axis == 0 else (at.stride[0], stride)) for at in places
            ]
    return list(places)


def _lonely(at: Lattice) -> Lattice:
    """Where a window has one element along an axis no neighbours are read, so the spacing there is free: make it 1."""
    stride = tuple(f if n == 1 else d for n, d, f in zip(at.patch, at.stride, at.split, strict=True))
    return replace(at, stride=stride)


def _excess(layer: Layer, bottom: Shape, place: Lattice | None, at: Lattice) -> Shape:
    """Rows and columns of the bottom that the strides of the patch net never reach."""
    assert place is not None
    made = layer.shape([(place.fragments, bottom[1], *place.size(place.split))])[0]
    return tuple(m - w for m, w in zip(_elements(made), at.size(place.split), strict=True))


def advice(sketch: Sketch, output: str, fragments: bool) -> str:
    """Patch sizes near by for which a dense form exists, as the end of a message."""
    source = find_source(sketch, output)
    n, c, h, w = sketch.declared[source]
    fitting = []
    for steps in (range(-1, -65, -1), range(1, 65)):
        fitting += _first_fit(sketch, output, fragments, source, [(n, c, h + d, w + d) for d in steps])
    return f". Patch sizes near {h}x{w} that fit: {' and '.join(fitting)}" if fitting else ""


def _first_fit(sketch: Sketch, output: str, fragments: bool, source: str, shapes: Sequence[Shape]) -> list[str]:
    for shape in shapes:
        try:
            rewrite(sketch.with_source(source, shape), output, fragments)
        except (NotDenseError, ShapeError):
            continue
        return [f"{shape[2]}x{shape[3]}"]
    return []
