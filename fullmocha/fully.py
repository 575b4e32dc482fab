"""The two calls that make a patch net answer for every pixel: `predict` for one image, `solve_fully` for a net's own data."""

from math import prod
from typing import Any

import numpy as np

from .blob import Shape
from .dense import DenseNet
from .errors import NotDenseError, ShapeError, SolverError
from .forms import Engine, dense_form, densify, set_threads
from .imaging.borders import BorderedImage
from .labelling import Labelling, border_of, plan_labelling
from .layers.data import InputLayer, SourceLayer
from .layers.output import OutputLayer
from .net import Net
from .sliding import SlidingNet


def predict(
    net: Net,
    image: np.ndarray,
    border: str = "symmetric",
    memory: str | int | None = None,
    engine: Engine = "auto",
    exact: bool = False,
    output: str | None = None,
    threads: int | None = None,
    progress: bool = False,
) -> np.ndarray:
    """Labels every pixel of an image.

    The pixel at (y, x) gets what the net says of the window around it: the window that reaches ceil(v / 2) pixels up
    and left and floor(v / 2) down and right, for a patch of v + 1. Beyond the edge lies the border.

    Parameters
    ----------
    net : Net
        Or what `densify` made of it.
    image : ndarray
        (H, W) or (C, H, W), of any number type; cast to the net's type, and changed by the scale and mean that the
        net's data layer declares, by nothing else.
    border : {"symmetric", "reflect", "zero", "valid"}
        By numpy's names; "valid" adds none, so the answer is v smaller.
    memory : str or int, optional
        Budget for the whole process, "4GiB" or bytes; the image is cut into tiles that fit. By default half of what
        is free, 4 GiB at most.
    engine, exact, output, threads
        As in `densify`.
    progress : bool
        Show how many tiles are done, on standard error.

    Returns
    -------
    ndarray
        float32 (K, H, W), one map per class.

    Raises
    ------
    NotDenseError, ShapeError, BudgetError

    Examples
    --------
    >>> from fullmocha.models import lenet
    >>> net = fm.Net("lenet", "reference", lenet())
    >>> net.init()
    >>> fm.predict(net, np.zeros((5, 7), np.uint8)).shape
    (10, 5, 7)
    """
    image = np.asarray(image)
    if image.ndim not in (2, 3) or 0 in image.shape:
        raise ShapeError(
            f"predict takes one image, (H, W) or (C, H, W), of at least one pixel; got {image.shape}. Label a stack section by section, "
            "or with a net of three spatial axes at once by fm.densify(net).forward(volume)"
        )
    image = image if image.ndim == 3 else image[None]
    if isinstance(net, DenseNet) and (engine, exact, output) != ("auto", False, None):
        raise ShapeError(
            f"predict was given a net that is dense already, by {net.engine} with output {net.output!r}; engine, exact and output are "
            "chosen by densify, or by predict where it is given the net itself"
        )
    if isinstance(net, DenseNet):
        dense = net
        set_threads(dense, threads)
    else:
        dense = densify(net, engine, exact, output, threads)
    if isinstance(dense, SlidingNet):
        return _predict_sliding(dense, image, border)
    answer_bytes = 4 * dense.classes * prod(image.shape[1:])
    job = plan_labelling(dense, image.shape, border, memory, answer_bytes, image.dtype.itemsize)
    return job.whole(image, np.float32, progress=progress)


def _predict_sliding(dense: SlidingNet, image: np.ndarray, border: str) -> np.ndarray:
    """The definition: the whole bordered image, window by window."""
    before, after = border_of(dense, border)
    bordered = BorderedImage(image, before, after, border)
    x = bordered.read(0, 0, *bordered.shape[1:]).astype(dense.dtype)[None]
    return dense.forward(dense.transform(x))[0].astype(np.float32)


def solve_fully(solver: Any, net: Net) -> Any:
    """`solve`, dense: the same call and the same loop, on whole images.

    *A net with a loss* is trained. Every iteration takes what the data layer delivers: tiles whose size may exceed
    the net's patch, with one label per output pixel, (N, 1, h, w). The update is the one that `solve` makes on the
    minibatch of all windows of those tiles; it costs far less, because windows share their work. Give the net its
    window with `Net(..., patch=95)`.

    *A net without a loss* is run: one dense pass over an epoch of its data layer, into its output layers (HDF5Output,
    MemoryOutput), which receive (N, K, H - v, W - v).

    Parameters
    ----------
    solver : Solver
        Policies, regularisers, coffee breaks and snapshots act as in `solve`. Not used by a net without a loss.
    net : Net
        Its parameters, data cursors and output layers are used, so it goes on where this ends.

    Returns
    -------
    SolverState or None
        As `solve` does; None for a net without a loss.

    Notes
    -----
    Dropout agrees with `solve` in expectation only: the windows of a tile share its mask.

    Raises
    ------
    NotDenseError
        If the net has no dense form.
    ShapeError
        If there is not one label per window.

    Examples
    --------
    >>> from fullmocha.models import lenet
    >>> tiles, labels = np.zeros((3, 1, 30, 32), np.float32), np.ones((3, 1, 3, 5))  # one label for each of 3 x 5 windows
    >>> data = fm.MemoryDataLayer(batch_size=1, data=[tiles, labels])
    >>> loss = fm.SoftmaxLossLayer(bottoms=["ip2", "label"])
    >>> net = fm.Net("lenet", "reference", [*lenet(data, softmax=False), loss], patch=28)
    >>> params = fm.make_solver_parameters(fm.SGD(), max_iter=2)
    >>> fm.solve_fully(fm.Solver(fm.SGD(), params), net).iter
    2
    """
    from .solvers import solve

    if not any(node.layer.has_loss for node in net.nodes):
        run_epoch(net)
        return None
    if solver is None:
        raise SolverError(f"net {net.name!r} has a loss, so solve_fully trains it and needs a solver; got None")
    return solve(solver, training_net(net))


def training_net(net: Net) -> DenseNet:
    """The dense net that `solve_fully` trains: all losses and scores of the net, on what its data layers deliver."""
    output = next(node.bottoms[0].name for node in net.nodes if node.layer.has_loss)
    dense = dense_form(net, net.sketch, output, fragments=False)
    delivered: dict[str, Shape] = {}
    for node in dense.data_nodes:
        if isinstance(node.layer, SourceLayer) and not isinstance(node.layer, InputLayer):
            delivered |= dict(zip((t.name for t in node.tops), node.layer.delivers(), strict=True))
    dense.reshape(delivered)
    dense.resting |= delivered
    return dense


def run_epoch(net: Net) -> None:
    """One dense pass over an epoch of the data layer, into the output layers; they may store labels and data beside it."""
    sinks = [(node.layer, node) for node in net.nodes if isinstance(node.layer, OutputLayer)]
    names = {b.name for _, node in sinks for b in node.bottoms}
    if not names:
        raise NotDenseError(
            f"net {net.name!r} has neither a loss to train nor an output layer to fill; add one of them"
        )
    delivered = net.source_shapes()
    jobs = {name: densify(net, output=name) for name in sorted(names - set(delivered))}
    plans: dict[tuple[str, Shape], Labelling] = {}
    net.init()
    start = net.get_epoch()
    while net.get_epoch() == start:
        values: dict[str, np.ndarray] = {}
        for node in net.data_nodes:
            if isinstance(node.layer, InputLayer):
                values |= {top.name: top.data for top in node.tops}
            elif isinstance(node.layer, SourceLayer):
                batch = node.layer.batch(node.state, net.dtype)
                values |= {top.name: batch[name] for top, name in zip(node.tops, node.layer.tops, strict=True)}
        for name, dense in jobs.items():
            images = values[dense.source]
            if (name, images.shape) not in plans:
                held = 4 * dense.classes * prod(images.shape[2:]) * len(images)
                plans[name, images.shape] = plan_labelling(dense, images.shape[1:], "valid", held=held)
            whole = plans[name, images.shape].whole
            values[name] = np.stack([whole(image, transform=False) for image in images])
        for layer, node in sinks:
            layer.keep(node.state, [values[b.name] for b in node.bottoms])


__all__ = ["predict", "solve_fully", "training_net"]
