"""`densify`: which dense form of a net answers, by the engine that was asked for."""

from contextlib import suppress
from typing import Literal, get_args

from .conversion import advice, find_output, find_source, own_output, rewrite
from .dense import DenseNet
from .errors import NotDenseError, ShapeError
from .layers.windowed import by
from .net import Net
from .sketch import Sketch
from .sliding import SlidingNet

Engine = Literal["auto", "fragments", "strided", "sliding"]


def densify(
    net: Net, engine: Engine = "auto", exact: bool = False, output: str | None = None, threads: int | None = None
) -> DenseNet:
    """The net, answering for every window of an image in one pass.

    For a net whose patch gives one answer (or answers a stride apart), the dense output at (y, x) is what the net
    gives for the window whose upper left corner is (y, x). A net whose own output has stride 1 (SK, U, USK) is dense
    already and is kept as it is.

    Parameters
    ----------
    net : Net
        Its parameters are shared and followed when they change.
    engine : {"auto", "fragments", "strided", "sliding"}
        Max-pooling fragments (Giusti et al. 2013), strided kernels (Li et al. 2014; Tschopp 2015), or the definition,
        slowly. In a net that is dense already, "fragments" splits maps for its dilated convolutions, and "strided" runs them
        as they are. "auto" is fragments, or strided kernels where branches of the net split in orders that cannot meet again.
    exact : bool
        Direct sums only, with the same bits for any tiling; otherwise each convolution is done the fastest way whose error
        is known, which may be Winograd's or by Fourier transforms of tiles.
    output : str, optional
        The blob wanted, where the net has several outputs.
    threads : int, optional
        For everything that the net's backend does from now on; all cores by default.

    Raises
    ------
    NotDenseError
        If some layer has no dense form; the message names it, the rule, and patch sizes that would fit.
    ShapeError
        If `output` is no blob of the net.

    Examples
    --------
    >>> from fullmocha.models import lenet
    >>> net = fm.Net("lenet", "reference", lenet())
    >>> net.init()
    >>> fm.densify(net).forward(np.zeros((1, 1, 30, 32), np.float32)).shape
    (1, 10, 3, 5)
    """
    if engine not in get_args(Engine):
        raise ShapeError(f"engine must be one of {', '.join(get_args(Engine))}; got {engine!r}")
    set_threads(net, threads)
    if isinstance(net, DenseNet):
        net = net.origin
    dense = _by_engine(net, find_output(net.sketch, output), engine)
    dense.exact = exact
    return dense


def set_threads(net: Net, threads: int | None) -> None:
    """For everything that the net's backend does from now on; None changes nothing."""
    if threads is not None:
        if not isinstance(threads, int) or threads < 1:
            raise ShapeError(f"threads must be an integer of at least 1, got {threads!r}; leave it out for all cores")
        net.backend.ops.set_threads(threads)


def _by_engine(net: Net, output: str, engine: Engine) -> DenseNet:
    if engine == "sliding":
        return slide(net, output)
    sketch = net.sketch.only([output])
    if engine == "auto":
        with suppress(NotDenseError):
            return dense_form(net, sketch, output, fragments=True)
    try:
        return dense_form(net, sketch, output, engine == "fragments")
    except NotDenseError as problem:
        raise NotDenseError(f"{problem}{advice(sketch, output, engine == 'fragments')}") from None


def dense_form(net: Net, sketch: Sketch, output: str, fragments: bool) -> DenseNet:
    """The dense net of the sketch's links: the links themselves where their output has stride 1 already, else restated.

    Raises
    ------
    NotDenseError
    """
    source, own = find_source(sketch, output), own_output(sketch, output)
    engine = "fragments" if fragments else "strided"
    if own.is_dense:
        return DenseNet(
            net,
            sketch.wiring,
            source,
            output,
            engine,
            windows=own.elements,
            align=own.align,
            tileable=own.tileable,
            native=True,
        )
    found = rewrite(sketch, output, fragments)
    at = found.places[output]
    windows = tuple((n - 1) * d + 1 for n, d in zip(at.patch, at.stride, strict=True))
    return DenseNet(net, found.wiring, source, found.output, engine, windows=windows)


def slide(net: Net, output: str) -> DenseNet:
    """The definition: a net that is dense already is its own, any other is run window by window.

    Raises
    ------
    NotDenseError
        If one window gives several answers that do not lie on pixels a whole distance apart.
    """
    sketch = net.sketch.only([output])
    source, own = find_source(sketch, output), own_output(sketch, output)
    if own.is_dense:
        return dense_form(net, sketch, output, fragments=False)
    batch, *rest = sketch.declared[source]
    one, more = (s.shapes()[output] for s in (sketch, sketch.with_source(source, (batch + 1, *rest))))
    if (one[:1], more[:1]) != ((batch,), (batch + 1,)):
        raise NotDenseError(
            f"net {net.name!r}: {output!r} is {one} for a batch of {batch} and {more} for one of {batch + 1}, so there is no answer "
            "for each window; choose a blob in front of the layer that joins the batch"
        )
    for n, d in zip(own.elements, own.stride, strict=True):
        if n > 1 and (d < 1 or d.denominator != 1):
            raise NotDenseError(
                f"net {net.name!r}: one window gives {by(own.elements)} answers at {output!r}, which lie "
                f"{' and '.join(map(str, own.stride))} pixels apart (0: its branches disagree, or a layer moves pixels); "
                "sliding needs whole distances"
            )
    windows = tuple((n - 1) * int(d) + 1 if n > 1 else 1 for n, d in zip(own.elements, own.stride, strict=True))
    return SlidingNet(net, sketch.wiring, source, output, "sliding", windows=windows)
