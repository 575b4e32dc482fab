"""`fullmocha warmup`: compiles kernels now, so that the first image does not wait for them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from .tables import duration

if TYPE_CHECKING:
    from ..layers import Layer
    from ..net import Net

SIDE = 64  # rows and columns of the images that are labelled
PATHS: list[dict[str, Any]] = [{}, {"exact": True}]  # options of predict that may choose other kernels


@click.command(short_help="Compile the kernels before they are needed.")
@click.argument("net", metavar="[NET]", required=False)
@click.option("--backend", type=click.Choice(["cpu"]), default="cpu", show_default=True, help="Whose kernels.")
@click.option("--float64", is_flag=True, help="Those for nets in float64, too.")
def warmup(net: str | None, backend: str, float64: bool) -> None:
    """Compile the kernels that NET needs, or those of all nets that come with the package and of their training.

    They are kept on this machine, in the folder that is printed (NUMBA_CACHE_DIR chooses another); later processes find them there, until
    FullMocha, numba or the processor is another one.
    """
    from fullmocha.backends.cpu.cache import TALLY

    from ..progress import progress

    start = time.perf_counter()
    dtypes = ["float32", *["float64"] * float64]
    work = [
        job for dtype in dtypes for job in (_everything(backend, dtype) if net is None else _one(net, backend, dtype))
    ]
    for job in progress(work, len(work), "warming up"):
        job()
    took = duration(time.perf_counter() - start)
    click.echo(f"compiled {TALLY.compiled} kernels, found {TALLY.found}; {backend}, {' and '.join(dtypes)}, in {took}")
    kept = ", ".join(sorted(TALLY.folders))
    click.echo(f"kept in {kept or 'no folder: numba may write to none; let NUMBA_CACHE_DIR name one'}")


Job = Callable[[], Any]


def _one(name: str, backend: str, dtype: str) -> Iterator[Job]:
    """What labelling with this net needs."""
    from .check import twin
    from .nets import load_net

    net = load_net(name, None, backend, allow_missing=True, draw=True)
    for how in PATHS:
        yield partial(_label, net if net.dtype == dtype else twin(net, backend, dtype), **how)


def _everything(backend: str, dtype: str) -> Iterator[Job]:
    """The list of problems: a kernel that none of them calls is compiled when it is first needed."""
    from ..models import MODELS, u
    from ..models.membrane import membrane

    every: dict[str, Callable[..., list[Layer]]] = {"membrane": membrane, **MODELS, "u": partial(u, maps=16)}
    for name, layers in every.items():
        for how in PATHS:
            yield partial(_label_model, name, layers, backend, dtype, **how)
    yield partial(_label_model, "membrane", membrane, backend, dtype, side=2, engine="sliding")  # as check and demo do
    for side in (28, 31):
        yield partial(_train, backend, dtype, side)


def _label_model(name: str, layers: Callable[[], list[Layer]], backend: str, dtype: str, **how: Any) -> None:
    from ..net import Net

    net = Net(name, backend, layers(), dtype=dtype)
    net.init()
    _label(net, **how)


def _label(net: Net, side: int = SIDE, **how: Any) -> None:
    import numpy as np

    from ..forms import densify
    from ..fully import predict

    dense = densify(net, **how)
    predict(dense, np.zeros((dense.channels, side, side), np.uint8))


def _train(backend: str, dtype: str, side: int) -> None:
    """One step of LeNet with momentum and weight decay: on patches of 28 x 28, or on larger tiles as `solve_fully` does."""
    import numpy as np

    from ..fully import solve_fully
    from ..layers import AccuracyLayer, MemoryDataLayer, SoftmaxLossLayer
    from ..models import lenet
    from ..net import Net
    from ..solvers import SGD, LRPolicy, MomPolicy, Solver, make_solver_parameters, solve

    dense = side > 28
    labels = np.zeros((2, 1, side - 27, side - 27) if dense else (2,))
    data = MemoryDataLayer(batch_size=2, data=[np.zeros((2, 1, side, side), np.float32), labels])
    ends = [SoftmaxLossLayer(bottoms=["ip2", "label"]), AccuracyLayer(name="hits", bottoms=["ip2", "label"])]
    net = Net("lenet", backend, [*lenet(data, softmax=False), *ends], patch=28, dtype=dtype)
    policies = {"lr_policy": LRPolicy.Fixed(0.01), "mom_policy": MomPolicy.Fixed(0.9), "regu_coef": 0.0005}
    solver = Solver(SGD(), make_solver_parameters(SGD(), max_iter=1, **policies))
    (solve_fully if dense else solve)(solver, net)
