"""Restating a patch net densely: which links do for a whole image what the net's own do for one window."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import lcm

from fullmocha.backends.shapes import Window

from .blob import Shape
from .errors import NotDenseError, ShapeError
from .lattice import Lattice
from .layers.activation import NeuronLayer
from .layers.base import Layer
from .layers.convolution import DeconvolutionLayer
from .layers.crop import TrimLayer
from .layers.eltwise import ElementWiseLayer
from .layers.fragments import FragmentLayer, StitchLayer
from .layers.plumbing import SilenceLayer
from .layers.pooling import PoolingLayer
from .layers.softmax import SoftmaxLayer
from .layers.windowed import WindowedLayer, by
from .sketch import Sketch, needed
from .wiring import Link, Wiring

Stride = tuple[Fraction, ...]


def find_output(sketch: Sketch, wanted: str | None) -> str:
    """The value that answers: the one asked for, or the only one that no layer but losses and scores reads."""
    found = _only_end(sketch) if wanted is None else sketch.wiring.last.get(wanted) if isinstance(wanted, str) else None
    if found is None:
        raise ShapeError(f"net {sketch.name!r} has no blob {wanted!r}; it has {sorted(sketch.wiring.last)}")
    sink = next((link.layer for link in needed(sketch.links, [found]) if link.layer.is_sink), None)
    if sink is not None:
        raise NotDenseError(
            f"net {sketch.name!r}: {found!r} depends on {sink.label}, which answers for a whole batch, not for each window; choose what "
            f"it reads, output={sink.bottoms[0]!r}"
        )
    return found


def _only_end(sketch: Sketch) -> str:
    links = sketch.links
    read = {b for link in links if not link.layer.is_sink or isinstance(link.layer, SilenceLayer) for b in link.bottoms}
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
    if len(shape) < 3:
        raise NotDenseError(f"net {sketch.name!r}: {sources[0]!r} is {shape}, not an image (N, C, H, W)")
    return sources[0]


def axes_of(sketch: Sketch) -> int:
    """The number of spatial axes of the net's images; two where it has none."""
    labels = sketch.labels
    ranks = {len(shape) - 2 for name, shape in sketch.declared.items() if name not in labels}
    return max([rank for rank in ranks if rank > 0], default=2)


def strides(sketch: Sketch) -> dict[str, Stride]:
    """Image pixels between two neighbours of every value; 0 along an axis on which a layer's bottoms disagree, or pixels are moved.

    Along an axis where a value has a single element it has no neighbours, so it does not take part in the vote.
    """
    shapes, axes = sketch.shapes(), axes_of(sketch)
    found: dict[str, Stride] = {}
    for link in sketch.links:
        window = _window(link.layer, [shapes[b] for b in link.bottoms], axes)
        up = isinstance(link.layer, DeconvolutionLayer)
        here = []
        moved = not link.layer.is_source and not link.layer.keeps_pixels([shapes[b] for b in link.bottoms])
        for axis in range(axes):
            below = [b for i, b in enumerate(link.bottoms) if i not in link.layer.size_bottoms]
            voters = {found[b][axis] for b in below if _elements(shapes[b], axes)[axis] > 1}
            if not voters:
                stride = max((found[b][axis] for b in below), default=Fraction(1))
            else:
                stride = voters.pop() if len(voters) == 1 else Fraction(0)
            if window is not None:
                stride = stride / window.stride[axis] if up else stride * window.stride[axis]
            here.append(Fraction(0) if moved else stride)
        found |= dict.fromkeys(link.tops, tuple(here))
    return found


def _window(layer: Layer, bottoms: list[Shape], axes: int) -> Window | None:
    """The window that a layer slides over all spatial axes, if it does."""
    if not isinstance(layer, WindowedLayer):
        return None
    size = layer.size(bottoms[0])
    return layer.over(size) if len(size) == axes else None


def _elements(shape: Shape, axes: int) -> Shape:
    """The sizes of so many spatial axes; 1 for those that are not there."""
    return (*shape[2:], *(1,) * axes)[:axes]


@dataclass(frozen=True)
class OwnOutput:
    """What a net answers for one patch, before anything is made dense; every tuple has rows before columns.

    Attributes
    ----------
    elements : tuple of int
        Answers per patch.
    stride : tuple of Fraction
        Image pixels between two of them.
    align : tuple of int
        The shifts that move the answer along unchanged: a multiple of every stride on the way.
    is_dense : bool
        Whether the net answers for neighbouring pixels as it stands.
    tileable : bool
        Whether, standing as it is, the net on a part of the image gives that part of its answer on the whole.
    """

    elements: Shape
    stride: Stride
    align: Shape
    is_dense: bool
    tileable: bool


def own_output(sketch: Sketch, output: str) -> OwnOutput:
    """How the net's own output sits in the patch."""
    sketch = sketch.only([output])
    found, axes = strides(sketch), axes_of(sketch)
    align = tuple(lcm(*(max(1, stride[axis].numerator) for stride in found.values())) for axis in range(axes))
    elements = _elements(sketch.shapes()[output], axes)
    dense = found[output] == (1,) * axes and max(elements) > 1 and _grows(sketch, output, align)
    return OwnOutput(elements, found[output], align, dense, all(map(_local, sketch.links, _bottoms(sketch))))


def _grows(sketch: Sketch, output: str, align: Shape) -> bool:
    """Whether a patch larger by `align` gives an answer larger by as much, with the same parameters and pixel by pixel."""
    source = find_source(sketch, output)
    n, c, *size = sketch.declared[source]
    larger = sketch.with_source(source, (n, c, *(m + a for m, a in zip(size, align, strict=True))))
    try:
        before, after = sketch.shapes(), larger.shapes()
        kept = all(
            link.layer.parameters([before[b] for b in link.bottoms])
            == link.layer.parameters([after[b] for b in link.bottoms])
            for link in sketch.links
        )
        for link in sketch.links:
            if isinstance(link.layer, SoftmaxLayer):
                link.layer.dense([Lattice((1,) * len(align), flat=len(before[link.bottoms[0]]) == 2)])
    except (ShapeError, NotDenseError):
        return False
    sides = (_elements(shapes[output], len(align)) for shapes in (before, after))
    return kept and tuple(b - a for a, b in zip(*sides, strict=True)) == align


def _bottoms(sketch: Sketch) -> list[list[Shape]]:
    shapes = sketch.shapes()
    return [[shapes[b] for b in link.bottoms] for link in sketch.links]


def _local(link: Link, bottoms: list[Shape]) -> bool:
    """Whether a layer's answer at a pixel is the same where the image goes on as where it ends."""
    layer = link.layer
    if not layer.is_local:
        return False
    if not isinstance(layer, WindowedLayer):
        return True
    size = layer.size(bottoms[0])
    window = layer.over(size)
    if any(window.pad):
        return False
    if isinstance(layer, PoolingLayer):
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


def _check_reads(layer: Layer, ats: Sequence[Lattice | None], ranks: Sequence[int]) -> None:
    """Refuses bottoms in a dense form that the layer does not read; `ranks` are those that they have in the patch net."""
    if any(at is not None and at.flattened for at in ats) and not layer.reads_flattened:
        raise layer.not_dense(
            "reads flattened windows of several pixels, which only inner products, neurons and layers that join or add blobs "
            'take densely; put it in front of the flattening, or use engine="sliding"'
        )
    bare = any(at is not None and rank < 2 for at, rank in zip(ats, ranks, strict=True))
    if bare and not (layer.is_sink or layer.passes_through or isinstance(layer, NeuronLayer | ElementWiseLayer)):
        raise layer.not_dense(
            "reads one number per window, (N,), which only neurons, arithmetic between blobs, and losses take densely; "
            'use engine="sliding"'
        )


def rewrite(sketch: Sketch, output: str, fragments: bool) -> Restated:
    """Restates every link of the sketch.

    Layers state their own dense form; what is added here is what no layer knows: cropping what a stride leaves over, splitting
    into fragments behind a stride, stitching before whatever wants whole maps.

    Raises
    ------
    NotDenseError
        With the layer, its rule, and both sides.
    """
    shapes, labels, axes = sketch.shapes(), sketch.labels, axes_of(sketch)
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
            layer = StitchLayer(
                name=tops[0], bottoms=[value], tops=tops, splits=at.splits, beyond=beyond, windows=(1,) * axes
            )
            links.append(Link(layer, (value,), tuple(tops)))
            places[stitched[value]] = at.stitched()
        return stitched[value]

    for link in sketch.links:
        layer = link.layer
        if layer.is_source:
            links.append(link)
            for top in link.tops:
                image = top not in labels and len(shapes[top]) == 2 + axes
                places[top] = Lattice(shapes[top][2:]) if image else None
            continue
        ats = [places[b] for b in link.bottoms]
        _check_reads(layer, ats, [len(shapes[b]) for b in link.bottoms])
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
        if len(set(ats)) > 1 and all(at is not None and max(at.patch) == 1 for at in ats):
            bottoms = tuple(whole(b) for b in bottoms)  # single elements have no neighbours, so any lattice will do
            ats = [Lattice((1,) * axes, flat=at is not None and at.flat) for at in ats]
        layer, at = layer.dense(_agreed(ats))
        assert at is not None
        bottoms = bottoms[: len(layer.bottoms)]
        at = _lonely(at)
        excess = _excess(layer, shapes[link.bottoms[0]], ats[0], at) if len(bottoms) == 1 else (0,) * axes
        if any(excess):
            trimmed = f"{bottoms[0]}~{layer.name}"
            trim = TrimLayer(
                name=f"{layer.name}~trim", bottoms=[bottoms[0]], tops=[trimmed], before=(0,) * axes, after=excess
            )
            links.append(Link(trim, bottoms, (trimmed,)))
            bottoms = (trimmed,)
        if fragments and max(at.spacing) > 1:
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
    if (end := places[output]) is not None and end.flattened:
        raise NotDenseError(
            f"net {sketch.name!r}: {output!r} holds flattened windows of {' x '.join(map(str, end.patch))} pixels, not one answer "
            'per window; choose a blob in front of the flattening, or use engine="sliding"'
        )
    value = whole(output)
    last = sketch.wiring.last | {name: stitched[v] for name, v in sketch.wiring.last.items() if v in stitched}
    wiring = Wiring(tuple(links), sketch.wiring.first, last)
    return Restated(wiring, {k: v for k, v in places.items() if v is not None}, value)


def _agreed(ats: list[Lattice | None]) -> list[Lattice | None]:
    """Along an axis where some bottoms have single elements and the others agree on a stride, all may have that stride."""
    places = [at for at in ats if at is not None]
    if len({at.splits for at in places}) != 1:
        return ats
    for axis in range(len(places[0].patch)):
        votes = {at.stride[axis] for at in places if at.patch[axis] > 1}
        if len(votes) == 1:
            places = [replace(at, stride=(*at.stride[:axis], *votes, *at.stride[axis + 1 :])) for at in places]
    return list(places)


def _lonely(at: Lattice) -> Lattice:
    """Where a window has one element along an axis no neighbours are read, so the spacing there is free: make it 1."""
    stride = tuple(f if n == 1 else d for n, d, f in zip(at.patch, at.stride, at.split, strict=True))
    return replace(at, stride=stride)


def _excess(layer: Layer, bottom: Shape, place: Lattice | None, at: Lattice) -> Shape:
    """How many elements of the bottom, along each axis, the strides of the patch net never reach."""
    assert place is not None
    channels = (*bottom, 1)[1]  # one number per window has no axis of its own
    made = layer.shape([(place.fragments, channels, *place.size(place.split))])[0]
    return tuple(m - w for m, w in zip(_elements(made, len(at.patch)), at.size(place.split), strict=True))


def advice(sketch: Sketch, output: str, fragments: bool) -> str:
    """Patch sizes near by for which a dense form exists, as the end of a message."""
    source = find_source(sketch, output)
    n, c, *size = sketch.declared[source]
    fitting = []
    for steps in (range(-1, -65, -1), range(1, 65)):
        shapes = [(n, c, *(m + d for m in size)) for d in steps if min(size) + d > 0]
        fitting += _first_fit(sketch, output, fragments, source, shapes)
    return f". Patch sizes near {by(tuple(size))} that fit: {' and '.join(fitting)}" if fitting else ""


def _first_fit(sketch: Sketch, output: str, fragments: bool, source: str, shapes: Sequence[Shape]) -> list[str]:
    for shape in shapes:
        try:
            rewrite(sketch.with_source(source, shape), output, fragments)
        except (NotDenseError, ShapeError):
            continue
        return [by(shape[2:])]
    return []
