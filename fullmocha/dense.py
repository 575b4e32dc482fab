"""Dense nets: the same layers and parameters, answering for every window of an image in one pass."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from math import prod
from typing import Any

import numpy as np

from fullmocha.backends.phases import split_phases
from fullmocha.backends.program import Executable, Program

from .blob import Parameter, Shape
from .errors import ShapeError, WeightsError
from .layers.base import Layer
from .layers.data import SourceLayer
from .layers.fragments import StitchLayer
from .layers.windowed import by
from .net import Net
from .plan import lay_out
from .sketch import infer, needed
from .tracing import record
from .wiring import Link, Wiring

_AXES = {1: "W", 2: "H, W", 3: "D, H, W"}  # how messages call an image's spatial axes
_KEPT_PROGRAMS = 4  # compiled programs that a dense net holds on to, one per input shape


class DenseNet(Net):
    """A net that labels whole images; made by `densify`.

    It is a `Net`, so it trains, freezes and prints like one, and shares the parameters and data cursors of the net it
    was made from. Its image sources take any size from the patch up.

    Attributes
    ----------
    patch : tuple of int
        The window's rows and columns, or what spatial axes the image has: planes, rows and columns.
    context : tuple of int
        v: an image of H rows has H - v rows of outputs.
    align : tuple of int
        Tiles must start at multiples of it: S of a net that down- and upsamples by S, else 1.
    source, output : str
        The value of the image, and the value that answers.
    engine : {"fragments", "strided", "sliding"}
        How windows share their work.
    exact : bool
        Whether only algorithms are used whose answers do not depend on what is computed beside them.
    native : bool
        Whether the net was dense as it stood, dilations included.
    tileable : bool
        Whether a part of the image gives that part of the answer.
    """

    def __init__(
        self,
        net: Net,
        wiring: Wiring,
        source: str,
        output: str,
        engine: str,
        *,
        windows: Shape,
        align: Shape = (),
        tileable: bool = True,
        native: bool = False,
    ) -> None:
        self.origin, self.source, self.output, self.engine = net, source, output, engine
        self.declared_windows, self.tileable, self.native = windows, tileable, native
        self.align = align or (1,) * len(windows)
        self.exact = False
        self.patch: Shape = net.declared[source][2:]
        self.context: Shape = tuple(n - w for n, w in zip(self.patch, windows, strict=True))
        self.source_name = next(name for name, value in net.wiring.first.items() if value == source)
        self._compiled: OrderedDict[tuple[Shape, bool], Executable] = OrderedDict()
        kept = {t for link in wiring.links for t in link.tops if link.layer.is_source}
        sources = {name: shape for name, shape in net.declared.items() if name in kept}
        self._assemble(net.name, net.backend, net.layers, net.patch_asked, net.dtype, wiring, sources)

    def _parameters(self, layer: Layer, bottoms: list[Shape]) -> list[Parameter]:
        shared = self.origin.params.get(layer.name, [])
        if shared and layer.parameters(bottoms):
            self.params[layer.name] = shared
            return shared
        return []

    def _start(self, layer: Layer) -> tuple[Any, bool]:
        node = next((node for node in self.origin.nodes if node.layer.name == layer.name), None)
        if node is None:
            return super()._start(layer)
        if layer.is_source or layer.is_sink:  # cursors go on, and results go where the patch net's would
            return node.state, node.frozen
        return super()._start(layer)[0], node.frozen

    def links(self, sources: Mapping[str, Shape]) -> tuple[Link, ...]:
        windows = tuple(n - p + 1 for n, p in zip(sources[self.source][2:], self.patch, strict=True))
        return tuple(
            replace(link, layer=link.layer.copy(windows=windows)) if isinstance(link.layer, StitchLayer) else link
            for link in self.wiring.links
        )

    @property
    def data_layer(self) -> SourceLayer:
        """What feeds the image."""
        layer = self.node_of(self.source).layer
        assert isinstance(layer, SourceLayer)
        return layer

    @property
    def channels(self) -> int:
        """Of the image that it takes."""
        return self.declared[self.source][1]

    @property
    def classes(self) -> int:
        """Maps that it gives."""
        return (*self.blobs[self.output].shape, 1)[1]  # one number per window may have no axis of its own

    def transform(self, x: np.ndarray) -> np.ndarray:
        """An image batch as the net sees it: with the scale and mean that its data layer declares."""
        return self.data_layer.transform({self.source_name: x})[self.source_name]

    def fit(self, windows: Shape) -> Shape:
        """The number of outputs that can be computed for those wanted: in step with `align`, so a few more, or as many."""
        return tuple(self._fit_axis(axis, w) for axis, w in enumerate(windows))

    def _fit_axis(self, axis: int, wanted: int) -> int:
        step, declared = self.align[axis], self.declared_windows[axis]
        windows = list(self.declared_windows)
        windows[axis] = wanted + (declared - wanted) % step
        while step > 1 and windows[axis] < declared:
            sources = self.source_shapes() | {self.source: self.input_shape(tuple(windows))}
            try:  # the layers' own rules say whether the deepest level still has something to work on
                infer(needed(self.links(sources), [self.output]), sources)
                break
            except ShapeError:
                windows[axis] += step
        return windows[axis]

    def input_shape(self, windows: Shape) -> Shape:
        """One image for so many outputs."""
        return (1, self.channels, *(w + v for w, v in zip(windows, self.context, strict=True)))

    def program(self, shape: Shape) -> Program:
        """The steps from an image batch of this shape to the output."""
        links = self.links({self.source: tuple(shape)})
        program = record(links, self.params, self.dtype, (self.source, tuple(shape)), [self.output])
        # A net that `rewrite` has restated on fragments has no strided kernels but those that the patch net had itself.
        return split_phases(program) if self.native and self.engine == "fragments" else program

    @cached_property
    def grain(self) -> Shape:
        """The number of fragments along each axis: images of such a multiple of outputs have fragments of equal sizes."""
        ones = (1,) * len(self.patch)
        steps = self.program(self.input_shape(self.fit(ones))).steps
        splits = [step.options["strides"] for step in steps if step.op == "stitch"]
        return tuple(max((prod(s[axis] for s in found) for found in splits), default=1) for axis in range(len(ones)))

    def compile(self, shape: Shape) -> Executable:
        """A callable for image batches of this shape; it holds its buffers for as long as it lives."""
        program = self.backend.ops.lower(self.program(shape))
        return self.backend.ops.compile(program, lay_out(self.backend.ops, program, self.exact))

    def check_values(self) -> None:
        """Refuses to answer with parameters that were neither loaded nor drawn.

        Raises
        ------
        WeightsError
        """
        missing = [p.name for params in self.params.values() for p in params if not p.initialised]
        if missing:
            raise WeightsError(
                f"net {self.name!r}: {', '.join(missing[:3])}{' and others' * (len(missing) > 3)} hold no values yet; load "
                "weights, train, or call net.init()"
            )

    def check_input(self, x: np.ndarray) -> None:
        """Refuses what is no image batch for this net."""
        self.check_values()
        rank = 2 + len(self.patch)
        if x.ndim != rank or x.shape[1] != self.channels:
            axes = _AXES.get(len(self.patch), f"and {len(self.patch)} spatial axes")
            raise ShapeError(
                f"net {self.name!r} takes images (N, {self.channels}, {axes}); got {x.shape}"
                + (": repeat the grey channel, x.repeat(3, axis=1)" if x.ndim == rank and x.shape[1] == 1 else "")
            )
        if any(n <= v for n, v in zip(x.shape[2:], self.context, strict=True)):
            least = by(tuple(v + 1 for v in self.context))
            raise ShapeError(
                f"the {by(x.shape[2:])} image is smaller than the window of net {self.name!r}; it needs at least {least}, "
                "or a border (predict adds one)"
            )

    def forward(self, x: Any = None) -> Any:
        """Labels an image batch, or runs one training pass.

        Parameters
        ----------
        x : ndarray, optional
            (N, C, H, W), or with the spatial axes that the net's image has. Without it, or with a dict of inputs, this is
            `Net.forward` and returns the loss.

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
        # Taken out while it runs: another thread, or a child forked meanwhile, makes its own and never meets these buffers.
        key = x.shape, self.exact
        run = self._compiled.pop(key, None) or self.compile(x.shape)
        (y,) = run(np.ascontiguousarray(x, self.dtype))
        self._compiled[key] = run
        if len(self._compiled) > _KEPT_PROGRAMS:
            self._compiled.popitem(last=False)
        return y if fitted == windows else np.ascontiguousarray(y[:, :, *map(slice, windows)])
