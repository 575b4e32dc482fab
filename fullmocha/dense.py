"""Dense nets: the same layers and parameters, answering for every window of an image in one pass."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from math import lcm
from typing import Any, Literal

import numpy as np

from fullmocha.backends.program import Executable, Program

from .blob import Parameter, Shape
from .errors import NotDenseError, ShapeError
from .lattice import Lattice
from .layers.base import Layer, Node
from .layers.convolution import DeconvolutionLayer
from .layers.crop import TrimLayer
from .layers.fragments import FragmentLayer, StitchLayer
from .net import Net, label_values
from .plan import lay_out
from .tracing import needed, record
from .wiring import Link, Wiring

Engine = Literal["auto", "fragments", "strided", "sliding"]
_KEPT_PROGRAMS = 4  # compiled programs that a dense net holds on to, one per input shape


class DenseNet(Net):
    """A net that labels whole images; made by `densify`.

    It is a `Net`, so it trains, freezes and prints like one, and shares the parameters and data cursors of the net it was made
    from. Its image sources take any size from the patch up.

    Attributes
    ----------
    patch : (int, int)
        The window's rows and columns.
    context : (int, int)
        v: an image of H rows has H - v rows of outputs.
    align : (int, int)
        Tiles must start at multiples of it: S of a net that down- and upsamples by S, else 1.
    source, output : str
        The image blob, and the blob that answers.
    engine : str
    """

    def __init__(self, net: Net, wiring: Wiring, source: str, output: str, engine: str, *, align: Shape, lattice: Lattice) -> None:
        self.name, self.backend, self.layers, self.dtype = net.name, net.backend, net.layers, net.dtype
        self.patch_asked = net.patch_asked
        self.origin, self.source, self.output, self.engine = net, source, output, engine
        self.patch = net.declared[source][2:]
        self.align = align
        sizes = [(n - 1) * d + 1 for n, d in zip(lattice.patch, lattice.stride, strict=True)]
        self.declared_windows = tuple(sizes)  # how many outputs one patch gives
        self.context = tuple(p - s for p, s in zip(self.patch, sizes, strict=True))
        self._compiled: OrderedDict[Shape, Executable] = OrderedDict()
        self._build(wiring, net.declared)

    def _parameters(self, layer: Layer, bottoms: list[Shape]) -> list[Parameter]:
        shared = self.origin.params.get(layer.name, [])
        if shared and layer.parameters(bottoms):
            self.params[layer.name] = shared
            return shared
        return []

    def _state(self, layer: Layer) -> Any:
        if layer.is_source or layer.is_sink:  # cursors go on, and results go where the patch net's would
            return self.origin.node(layer.name).state
        return super()._state(layer)

    def links(self, sources: Mapping[str, Shape]) -> tuple[Link, ...]:
        windows = tuple(n - v for n, v in zip(sources[self.source][2:], self.context, strict=True))
        stitched = (
            replace(link, layer=link.layer.copy(windows=windows)) if isinstance(link.layer, StitchLayer) else link
            for link in self.wiring.links
        )
        return tuple(stitched)

    @property
    def channels(self) -> int:
        """Of the image that it takes."""
        return self.declared[self.source][1]

    @property
    def classes(self) -> int:
        """Maps that it gives."""
        return self.blobs[self.output].shape[1]

    @property
    def tileable(self) -> bool:
        """Whether a part of the image gives that part of the answer: not where layers pad inside the net."""
        links = needed(self.wiring.links, [self.output])
        return not any(any(link.layer.window.pad) for link in links if hasattr(link.layer, "window"))

    def fit(self, windows: Shape) -> Shape:
        """The number of outputs that can be computed for those wanted: in step with `align`, so a few more, or as many."""
        fitting = []
        for axis, (w, s) in enumerate(zip(windows, self.align, strict=True)):
            n = w + (self.declared_windows[axis] - w) % s
            fitting.append(n)
        while max(self.align) > 1:
            try:
                self.infer(self._sources((1, self.channels, *(n + v for n, v in zip(fitting, self.context, strict=True)))))
                break
            except ShapeError:  # too small for the deepest level
                if all(n >= d for n, d in zip(fitting, self.declared_windows, strict=True)):
                    raise
                fitting = [min(n + s, max(n, d)) for n, s, d in zip(fitting, self.align, self.declared_windows, strict=True)]
        return tuple(fitting)

    def _sources(self, shape: Shape) -> dict[str, Shape]:
        return self.source_shapes() | {self.source: shape}

    def program(self, shape: Shape) -> Program:
        """The steps from an image batch of this shape to the output."""
        return record(self, self.source, tuple(shape), [self.output])

    def compile(self, shape: Shape) -> Executable:
        """A callable for image batches of this shape; it holds its buffers for as long as it lives."""
        program = self.program(shape)
        return self.backend.ops.compile(program, lay_out(self.backend.ops, program))

    def check_input(self, x: np.ndarray) -> None:
        """Refuses what is no image batch for this net."""
        if x.ndim != 4 or x.shape[1] != self.channels:
            raise ShapeError(
                f"net {self.name!r} takes images (N, {self.channels}, H, W); got {x.shape}"
                + (": repeat the grey channel, x.repeat(3, axis=1)" if x.ndim == 4 and x.shape[1] == 1 else "")
            )
        if any(n <= v for n, v in zip(x.shape[2:], self.context, strict=True)):
            least = "x".join(str(v + 1) for v in self.context)
            raise ShapeError(
                f"the {x.shape[2]}x{x.shape[3]} image is smaller than the window of net {self.name!r}; it needs at least {least}, "
                "or a border (predict adds one)"
            )

    def forward(self, x: Any = None) -> Any:  # type: ignore[override]
        """Labels an image batch, or runs one training pass.

        Parameters
        ----------
        x : ndarray, optional
            (N, C, H, W). Without it, or with a dict of inputs, this is `Net.forward` and returns the loss.

        Returns
        -------
        ndarray
            (N, K, H - v, W - v): the valid part, fresh, in C order, of the net's dtype.

        Raises
        ------
        ShapeError
            If the image has other channels, or is smaller than the window.
        """
        if not isinstance(x, np.ndarray):
            return super().forward(x)
        self.check_input(x)
        windows = tuple(n - v for n, v in zip(x.shape[2:], self.context, strict=True))
        fitted = self.fit(windows)
        extra = [(0, f - w) for f, w in zip(fitted, windows, strict=True)]
        if fitted != windows:
            x = np.pad(x, [(0, 0), (0, 0), *extra])
        if x.shape not in self._compiled:
            self._compiled[x.shape] = self.compile(x.shape)
            if len(self._compiled) > _KEPT_PROGRAMS:
                self._compiled.popitem(last=False)
        self._compiled.move_to_end(x.shape)
        (y,) = self._compiled[x.shape](np.ascontiguousarray(x, self.dtype))
        return y if fitted == windows else np.ascontiguousarray(y[:, :, : windows[0], : windows[1]])


class SlidingNet(DenseNet):
    """The definition: the patch net, run on every window of the image. For checking; K x K times the work."""

    batch = 64

    def forward(self, x: Any = None) -> Any:  # type: ignore[override]
        """As `DenseNet.forward`, window by window."""
        if not isinstance(x, np.ndarray):
            return super().forward(x)
        self.check_input(x)
        ph, pw = self.patch
        run = self.compile((self.batch, self.channels, ph, pw))
        h, w = (n - p + 1 for n, p in zip(x.shape[2:], self.patch, strict=True))
        if min(h, w) < 1:
            raise ShapeError(f"the {x.shape[2]}x{x.shape[3]} image is smaller than the {ph}x{pw} patch; sliding needs one whole window")
        windows = np.lib.stride_tricks.sliding_window_view(x, (ph, pw), axis=(2, 3))  # N C h w ph pw
        places = [(n, i, j) for n in range(len(x)) for i in range(h) for j in range(w)]
        y = np.empty((len(x), self.classes, *(n - v for n, v in zip(x.shape[2:], self.context, strict=True))), self.dtype)
        batch = np.zeros((self.batch, self.channels, ph, pw), self.dtype)
        step = [(d - 1) // max(1, n - 1) for d, n in zip(self.declared_windows, self._elements(), strict=True)]
        for start in range(0, len(places), self.batch):
            some = places[start : start + self.batch]
            for k, (n, i, j) in enumerate(some):
                batch[k] = windows[n, :, i, j]
            (answers,) = run(batch)
            for (n, i, j), answer in zip(some, answers.reshape(self.batch, self.classes, *self._elements()), strict=False):
                for a, b in np.ndindex(*self._elements()):
                    y[n, :, i + a * step[0], j + b * step[1]] = answer[:, a, b]
        return y

    def _elements(self) -> Shape:
        """Outputs of one patch, rows and columns."""
        return (*self.blobs[self.output].shape[2:], 1, 1)[:2]


def densify(net: Net, engine: Engine = "auto", exact: bool = False, output: str | None = None, threads: int | None = None) -> DenseNet:
    """The net, answering for every window of an image in one pass.

    For a net whose patch gives one answer (or answers a stride apart), the dense output at (y, x) is what the net gives for the
    window whose upper left corner is (y, x). A net whose own output has stride 1 (SK, U, USK) is dense already and is kept as it is.

    Parameters
    ----------
    net : Net
        Its parameters are shared and followed when they change.
    engine : {"auto", "fragments", "strided", "sliding"}
        Max-pooling fragments (Giusti et al. 2013), strided kernels (Li et al. 2014; Tschopp 2015), or the definition, slowly.
        "auto" is one of the first two.
    exact : bool
        Direct sums only, with the same bits for any tiling. Every backend of this version always computes so.
    output : str, optional
        The blob wanted, where the net has several outputs.
    threads : int, optional
        For the backend; all cores by default.

    Raises
    ------
    NotDenseError
        If some layer has no dense form; the message names it, the rule, and patch sizes that would fit.
    ShapeError
        If `output` is no blob of the net.

    Examples
    --------
    >>> dense = fm.densify(net); dense.forward(np.zeros((1, 1, 120, 100), np.float32)).shape
    (1, 2, 26, 6)
    """
    if engine not in Engine.__args__:  # type: ignore[attr-defined]
        raise ShapeError(f"engine must be one of {', '.join(Engine.__args__)}; got {engine!r}")  # type: ignore[attr-defined]
    if threads is not None and hasattr(net.backend.ops, "set_threads"):
        net.backend.ops.set_threads(threads)
    output = find_output(net, output)
    source = find_source(net, output)
    stride, largest = own_stride(net, output)
    elements = (*_shape_of(net, output)[2:], 1, 1)[:2]
    if stride == (1, 1) and max(elements) > 1:
        return DenseNet(net, net.wiring, source, output, "already dense", align=largest, lattice=Lattice(elements))
    if engine == "sliding":
        spacing = tuple(int(s) for s in stride)
        return SlidingNet(net, net.wiring, source, output, engine, align=(1, 1), lattice=Lattice(elements, spacing))
    chosen = "strided" if engine == "auto" else engine
    try:
        wiring, lattices, value = rewrite(net, output, fragments=chosen == "fragments")
    except NotDenseError as problem:
        raise NotDenseError(f"{problem}{_advice(net, output)}") from None
    return DenseNet(net, wiring, source, value, chosen, align=(1, 1), lattice=lattices[output].stitched())


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
        raise NotDenseError(f"net {net.name!r}: {sources[0]!r} is {net.declared[sources[0]]}, not an image (N, C, H, W)")
    return sources[0]


def own_stride(net: Net, output: str) -> tuple[tuple[Fraction, ...], Shape]:
    """Image pixels between two neighbours of the output, and the largest such stride on the way, per axis."""
    strides: dict[str, tuple[Fraction, ...]] = {}
    largest = [1, 1]
    for link in needed(net.wiring.links, [output]):
        here = max((strides[b] for b in link.bottoms), default=(Fraction(1), Fraction(1)))
        window = getattr(link.layer, "window", None)
        if window is not None:
            up = isinstance(link.layer, DeconvolutionLayer)
            here = tuple(h / s if up else h * s for h, s in zip(here, window.stride, strict=True))
        largest = [lcm(m, int(h)) if h >= 1 else m for m, h in zip(largest, here, strict=True)]
        strides |= {t: here for t in link.tops}
    return strides[output], tuple(largest)


def rewrite(net: Net, output: str, fragments: bool) -> tuple[Wiring, dict[str, Lattice], str]:
    """The dense links, where every value sits, and the name of the stitched output.

    Layers state their own dense form; what is added here is what no layer knows: cropping what a stride leaves over, splitting into
    fragments behind a stride, stitching before whatever wants whole maps.
    """
    shapes = dict(zip((t for link in net.wiring.links for t in link.tops), (s for tops in net.infer(net.declared) for s in tops), strict=True))
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
            layer = StitchLayer(name=stitched[value], bottoms=[value], tops=[stitched[value]], splits=at.splits, windows=(1, 1))
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
            trim = TrimLayer(name=f"{layer.name}~trim", bottoms=[bottoms[0]], tops=[f"{bottoms[0]}~{layer.name}"], after=excess)
            links.append(Link(trim, bottoms, tuple(trim.tops)))
            bottoms = tuple(trim.tops)
        if fragments and at.spacing != (1, 1):
            (top,) = link.tops
            links.append(Link(layer, bottoms, (f"{top}~whole",)))
            split = FragmentLayer(name=f"{layer.name}~fragments", bottoms=[f"{top}~whole"], tops=[top], stride=at.spacing)
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


def _shape_of(net: Net, value: str) -> Shape:
    for link, tops in zip(net.wiring.links, net.infer(net.declared), strict=True):
        for top, shape in zip(link.tops, tops, strict=True):
            if top == value:
                return shape
    raise KeyError(value)


def _advice(net: Net, output: str) -> str:
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


__all__ = ["DenseNet", "Engine", "Node", "SlidingNet", "densify"]
