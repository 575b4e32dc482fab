"""A net: layers wired together, their blobs and parameters, and the passes over them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from .backend import Backend, make_backend
from .blob import Blob, Parameter, Shape, Still
from .errors import ShapeError, TopologyError, UnsupportedError
from .gradients import dead_ends, out_of_reach, wanting
from .layers.base import Layer, Node
from .layers.checks import Sizes, sizes
from .layers.data import InputLayer
from .listing import listing
from .patch import label_values, number_type, source_shapes
from .sharing import fitting_values, keep_parameters, parameters_of
from .sketch import Sketch, infer
from .wiring import Link, Wiring, flatten, wire


class Net:
    """Layers wired by the names of their blobs, on one backend.

    Parameters
    ----------
    name : str
    backend : str or Backend
        "cpu", "reference", "cuda", "auto", or an object; nets on one object share parameters of equal key (a layer's
        `param_key`, else its name).
    layers : list of Layer
        In any order; nested lists are accepted.
    patch : int or (width, height), optional (in a volume (width, height, depth))
        The window that the net is written for. By default what the data layer delivers; give it where the data are
        larger than the window, for `solve_fully`.
    dtype : optional
        float32 or float64; by default what the first data layer delivers, float32 if that is integers.

    Attributes
    ----------
    output_blobs, diff_blobs : dict of Blob
        Values and gradients by name; a name that layers change in place stands for the last value, and the first
        one's gradient.
    params : dict of list of Parameter
        Per layer, in Caffe's order (weights, bias).

    Raises
    ------
    TopologyError
        If the blobs' names do not make a net.
    ShapeError
        If a layer's rule is broken.

    Examples
    --------
    >>> import numpy as np, fullmocha as fm
    >>> data = fm.MemoryDataLayer(batch_size=2, tops=["data"], data=[np.ones((4, 1, 3, 5), np.float32)])
    >>> ip = fm.InnerProductLayer(name="ip", bottoms=["data"], tops=["ip"], output_dim=3)
    >>> net = fm.Net("tiny", "reference", [data, ip])
    >>> net.init(); net.forward(); net.output_blobs["ip"].data.shape
    0.0
    (2, 3)
    """

    def __init__(
        self,
        name: str,
        backend: str | Backend,
        layers: Iterable[Any],
        patch: Sizes | None = None,
        dtype: Any = None,
    ) -> None:
        layers = tuple(flatten(layers))
        wiring = wire(layers)
        window = None if patch is None else sizes(f"net {name!r}", "patch", patch, 1)
        sources = source_shapes(wiring, window)
        self._assemble(name, make_backend(backend), layers, window, number_type(wiring, dtype), wiring, sources)

    def _assemble(
        self,
        name: str,
        backend: Backend,
        layers: Sequence[Any],
        patch_asked: Sizes | None,
        dtype: np.dtype,
        wiring: Wiring,
        sources: Mapping[str, Shape],
    ) -> None:
        """Makes nodes, blobs, parameters and states from the wiring, for these source shapes."""
        self.name, self.backend, self.layers, self.patch_asked, self.dtype = name, backend, layers, patch_asked, dtype
        self.wiring = wiring
        self.declared = dict(sources)
        self.resting = dict(sources)
        self.blobs: dict[str, Blob] = {}
        self.params: dict[str, list[Parameter]] = {}
        self.nodes: list[Node] = []
        self.force_backward = False
        links = self.links(sources)
        shapes = infer(links, sources)
        for link in links:
            for top in link.tops:
                self.blobs[top] = Blob(top, shapes[top], self.dtype, self.backend.ops)
            bottoms = [
                self.blobs[b] if link.layer.propagates(i) else Still(self.blobs[b]) for i, b in enumerate(link.bottoms)
            ]
            node = Node(link.layer, bottoms, [self.blobs[t] for t in link.tops])
            node.params = self._parameters(link.layer, [b.shape for b in bottoms])
            node.state, node.frozen = self._start(link.layer)
            self.nodes.append(node)
        self._plan_gradients()

    # ---- what a derived net does otherwise
    def _parameters(self, layer: Layer, bottoms: list[Shape]) -> list[Parameter]:
        """The layer's parameters, which it may share with others on this backend."""
        found = parameters_of(layer, bottoms, self.dtype, self.backend, self.parameters)
        if found:
            self.params.setdefault(layer.name, found)
        return found

    def _start(self, layer: Layer) -> tuple[Any, bool]:
        """The layer's state, and whether it is frozen."""
        return layer.setup(self.backend.ops, self.dtype, self.backend.rng), False

    # ---- shapes
    def links(self, sources: Mapping[str, Shape]) -> tuple[Link, ...]:
        """The links for these source shapes; only a dense net's depend on them."""
        return self.wiring.links

    @property
    def sketch(self) -> Sketch:
        """The net's geometry, for one patch."""
        return Sketch(self.name, self.wiring, self.declared)

    def reshape(self, sources: Mapping[str, Shape]) -> None:
        """Takes other source shapes, or refuses them and stays as it is; parameters never change.

        Raises
        ------
        ShapeError
            Where a layer's rule is broken, or its parameters would have to change.
        """
        present = self.source_shapes() | dict(sources)
        links = self.links(present)
        shapes = infer(links, present)
        for node, link in zip(self.nodes, links, strict=True):
            keep_parameters(node, link.layer, [shapes[b] for b in link.bottoms])
        for node, link in zip(self.nodes, links, strict=True):
            node.layer = link.layer
            for top in node.tops:
                top.reshape(shapes[top.name])

    def source_shapes(self) -> dict[str, Shape]:
        """The present shapes of the sources' tops."""
        return {t.name: t.shape for node in self.nodes if node.layer.is_source for t in node.tops}

    # ---- looking inside
    @property
    def output_blobs(self) -> dict[str, Blob]:
        return {name: self.blobs[value] for name, value in self.wiring.last.items()}

    @property
    def diff_blobs(self) -> dict[str, Blob]:
        firsts = {name: self.blobs[value].diff for name, value in self.wiring.first.items()}
        return {name: diff for name, diff in firsts.items() if diff is not None}

    @property
    def parameters(self) -> list[Parameter]:
        """Every parameter once, in running order."""
        return list({id(p): p for node in self.nodes for p in node.params}.values())

    @property
    def trainable(self) -> list[Parameter]:
        """Every parameter of a layer that is not frozen, once."""
        return list({id(p): p for node in self.nodes if not node.frozen for p in node.params}.values())

    @property
    def data_nodes(self) -> list[Node]:
        return [node for node in self.nodes if node.layer.is_source]

    def node(self, key: str | int) -> Node:
        """The node of a layer by name, or by 0-based place in running order."""
        if isinstance(key, int):
            if not -len(self.nodes) <= key < len(self.nodes):
                raise TopologyError(
                    f"net {self.name!r} has {len(self.nodes)} layers, numbered from 0; {key} is none of them"
                )
            return self.nodes[key]
        for node in self.nodes:
            if node.layer.name == key:
                return node
        raise TopologyError(f"net {self.name!r} has no layer {key!r}; it has {[n.layer.name for n in self.nodes]}")

    def node_of(self, value: str) -> Node:
        """The node that writes a value."""
        return next(node for node in self.nodes if any(t.name == value for t in node.tops))

    # ---- parameters
    def init(self) -> None:
        """Draws every parameter that was neither loaded nor drawn before."""
        for node in self.nodes:
            for parameter in node.params:
                if not parameter.initialised:
                    parameter.data = parameter.initializer.draw(parameter.shape, self.backend.rng)

    def load_params(self, values: Mapping[str, Sequence[np.ndarray]]) -> None:
        """Installs values by layer name, all or nothing; they count as initialised.

        Raises
        ------
        WeightsError
            For an unknown layer, a wrong count or shape, or values that are not finite.
        """
        checked = fitting_values(self.name, self.params, values)
        for name, arrays in checked.items():
            for array, parameter in zip(arrays, self.params[name], strict=True):
                parameter.data = array

    def freeze(self, *keys: str | int) -> None:
        """Keeps these layers' parameters as they are; gradients still pass through."""
        for key in keys:
            self._freeze(self.node(key).layer.name, True)

    def unfreeze(self, *keys: str | int) -> None:
        """Lets these layers be trained again."""
        for key in keys:
            self._freeze(self.node(key).layer.name, False)

    def _freeze(self, name: str | None, frozen: bool) -> None:
        for node in self.nodes:
            if name is None or node.layer.name == name:
                node.frozen = frozen
        self._plan_gradients()

    # ---- passes
    def _plan_gradients(self) -> None:
        """Gives a gradient to every parameter that is trained, and to every blob on the way from one to a loss."""
        for parameter in self.trainable:
            parameter.need_gradient()
        wanted = wanting(self.nodes, label_values(self.wiring), self.force_backward)
        for name, blob in self.blobs.items():
            if name not in wanted:
                blob.diff = None
            elif blob.diff is None:
                blob.diff = Blob(f"{name} gradient", blob.shape, self.dtype, self.backend.ops)

    def feed(self, inputs: Mapping[str, np.ndarray]) -> None:
        """Writes source blobs; other shapes than the present ones reshape the net."""
        present = self.source_shapes()
        known = {name: value for name, value in self.wiring.first.items() if value in present}
        unknown = sorted(set(inputs) - set(known))
        if unknown:
            raise ShapeError(f"net {self.name!r} has no input {unknown[0]!r}; its inputs are {sorted(known)}")
        arrays = {known[name]: self._numbers(name, value) for name, value in inputs.items()}
        shapes = {name: array.shape for name, array in arrays.items()}
        if any(present[name] != shape for name, shape in shapes.items()):
            self.reshape(shapes)
        for name, array in arrays.items():
            self.backend.ops.from_host(array, self.blobs[name].array)

    def _numbers(self, name: str, value: Any) -> np.ndarray:
        """An input as the net computes with it."""
        array = np.asarray(value)
        if array.dtype.kind not in "biuf":
            raise ShapeError(f"net {self.name!r}: input {name!r} holds {array.dtype}, not real numbers")
        return np.ascontiguousarray(array, self.dtype)

    def _follow(self, resized: Node) -> None:
        """Fits everything behind a node to the shapes that its tops have taken."""
        behind = self.nodes[self.nodes.index(resized) + 1 :]
        for node in (n for n in behind if not n.layer.is_source):
            bottoms = [b.shape for b in node.bottoms]
            keep_parameters(node, node.layer, bottoms)
            for top, shape in zip(node.tops, node.layer.shape(bottoms), strict=True):
                top.reshape(shape)

    def _rest(self, fed: Mapping[str, Any]) -> None:
        """Gives data layers that will deliver the shapes in which they do, whatever was fed by hand before."""
        delivering = (
            top
            for node in self.data_nodes
            if not isinstance(node.layer, InputLayer) and not any(name in fed for name in node.layer.tops)
            for top in node.tops
        )
        changed = {top.name: self.resting[top.name] for top in delivering if top.shape != self.resting[top.name]}
        if changed:
            self.reshape(changed)

    def forward(self, inputs: Mapping[str, np.ndarray] | None = None) -> float:
        """One pass; returns the sum of the losses.

        Data layers deliver their next batch, unless `inputs` holds one of their tops by name.
        """
        inputs = {} if inputs is None else inputs
        if not isinstance(inputs, Mapping):
            raise ShapeError(
                f'net {self.name!r}: inputs are given by name, {{"data": array}}; got {type(inputs).__name__}'
            )
        self._rest(inputs)
        self.feed(inputs)
        loss = 0.0
        for node in self.nodes:
            if node.layer.is_source and any(name in inputs for name in node.layer.tops):
                continue
            node.layer.forward(self.backend.ops, node)
            if node.layer.resizes:
                self._follow(node)
            loss += node.state.loss if node.layer.has_loss else 0.0
        return loss

    def backward(self, regu_coef: float = 0.0, seeds: Mapping[str, np.ndarray] | None = None) -> None:
        """Gradients of the losses, plus `seeds` given for blobs, plus the regularizers' times `regu_coef`."""
        ops = self.backend.ops
        for blob in [*self.blobs.values(), *self.trainable]:
            if blob.diff is not None:
                ops.fill(blob.diff.array, value=0.0)
        for name, seed in (seeds or {}).items():
            target = self.blobs.get(self.wiring.last.get(name, ""))
            if target is None or target.diff is None:
                raise ShapeError(f"seed {name!r} is no blob that takes a gradient; those are {sorted(self.diff_blobs)}")
            target.diff.data = seed
        for node in reversed(self.nodes):
            if node.layer.has_loss or any(t.grad is not None for t in node.tops):
                node.layer.backward(ops, node)
        if regu_coef:
            for parameter in self.trainable:
                parameter.regularizer.add_gradient(ops, parameter, regu_coef)

    def forward_backward(
        self,
        regu_coef: float = 0.0,
        inputs: Mapping[str, np.ndarray] | None = None,
        seeds: Mapping[str, np.ndarray] | None = None,
    ) -> float:
        """Both passes; with `inputs` or `seeds` also the gradients of the inputs."""
        if (inputs or seeds) and not self.force_backward:
            self.force_backward = True
            self._plan_gradients()
        loss = self.forward(inputs)
        self.backward(regu_coef, seeds)
        return loss

    def forward_epoch(self) -> None:
        """Forward passes until the first data layer has delivered every sample."""
        start = self.get_epoch()
        while self.get_epoch() == start:
            self.forward()

    def get_epoch(self) -> int:
        """How often the first data layer has delivered all its samples."""
        for node in self.data_nodes:
            if not isinstance(node.layer, InputLayer):
                return int(node.state.cursor.epoch)
        raise UnsupportedError(
            f"net {self.name!r} has no data layer that counts epochs; feed it by hand or give it data"
        )

    def destroy(self) -> None:
        """Closes what output layers wrote, and frees the blobs."""
        for node in self.nodes:
            node.layer.close(node.state)
        for blob in self.blobs.values():
            blob.free()

    # ---- statistics
    def reset_statistics(self) -> None:
        for node in self.nodes:
            node.layer.reset_statistics(node.state)

    def statistics(self) -> dict[str, float]:
        """The running averages of all layers that keep some."""
        found: dict[str, float] = {}
        for node in self.nodes:
            found |= node.layer.statistics(node.state)
        return found

    def check_bp_topology(self) -> None:
        """Refuses a net with a trained layer that no loss depends on, or with a loss of a loss.

        Raises
        ------
        TopologyError
        """
        stranded = next(iter(out_of_reach(self.nodes)), None)
        if stranded is not None:
            raise TopologyError(
                f"{stranded.layer.label}: no loss depends on its top {stranded.tops[0].name!r}, so it cannot be trained; add a "
                "loss, freeze the layer, or leave it out"
            )
        for node, top in dead_ends(self.nodes):
            raise TopologyError(
                f"{node.layer.label}: another loss depends on its top {top!r}, and no gradient would come back through it; give the loss "
                "its weight itself (loss_weight), compute probabilities by a SoftmaxLayer, or keep gradients from readers (propagate_down)"
            )

    def __str__(self) -> str:
        return listing(self)
