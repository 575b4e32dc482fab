"""The nets that are measured, with weights drawn from a seed: ours and every peer's come from here."""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod, sqrt
from pathlib import Path

import numpy as np

import fullmocha as fm
from fullmocha import models
from fullmocha.layers import Layer


@dataclass(frozen=True)
class Case:
    """A net, how many outputs per side it is asked for, and the memory that our process may take for it."""

    name: str
    layers: Callable[[], list[Layer]]
    outputs: int
    memory: str | None = None

    def drawn(self) -> fm.Net:
        """The net with new weights, always the same ones."""
        net = fm.Net(self.name, "cpu", self.layers())
        draw(net)
        return net

    def loaded(self, folder: Path) -> fm.Net:
        """The net with the weights that `keep` wrote."""
        net = fm.Net(self.name, "cpu", self.layers())
        with np.load(folder / "parameters.npz", allow_pickle=False) as file:
            net.load_params({name: [file[f"{name}/{i}"] for i in range(len(p))] for name, p in net.params.items()})
        return net


def keep(net: fm.Net, folder: Path) -> None:
    """Writes a net's parameters, for a worker of ours."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {f"{name}/{i}": p.values() for name, params in net.params.items() for i, p in enumerate(params)}
    np.savez(folder / "parameters.npz", **arrays)  # type: ignore[arg-type]


def sw(maps: tuple[int, ...] = (48, 128, 192, 1024, 512), classes: int = 2) -> list[Layer]:
    """The sliding window that SK is the dense form of, 102 x 102 x 3 to one answer."""
    layers: list[Layer] = [fm.InputLayer(tops=["data"], shapes=[(1, 3, 102, 102)])]
    bottom, relu = "data", fm.Neurons.ReLU()
    for i, (count, kernel) in enumerate(zip(maps, (7, 5, 3), strict=False), 1):
        conv, pool = f"conv{i}", f"pool{i}"
        layers += [
            fm.ConvolutionLayer(name=conv, bottoms=[bottom], tops=[conv], kernel=kernel, n_filter=count, neuron=relu),
            fm.PoolingLayer(name=pool, bottoms=[conv], tops=[pool], kernel=2, stride=2),
        ]
        bottom = pool
    for i, count in enumerate((*maps[3:], classes), 1):
        last = i > len(maps) - 3
        layers.append(
            fm.InnerProductLayer(
                name=f"ip{i}",
                bottoms=[bottom],
                tops=[f"ip{i}"],
                output_dim=count,
                neuron=fm.Neurons.Identity() if last else relu,
            )
        )
        bottom = f"ip{i}"
    return [*layers, fm.SoftmaxLayer(name="prob", bottoms=[bottom], tops=["prob"])]


def seven_layers(maps: int = 48, classes: int = 2) -> list[Layer]:
    """A net of seven layers, convolution and max pooling only, with a window of 49 x 49, as the Jakubiuk report has one.

    The report gives neither kernels nor maps: 4, 4, 3, 4 and 48 are ours, in the manner of N4.
    """
    layers: list[Layer] = [fm.InputLayer(tops=["data"], shapes=[(1, 1, 49, 49)])]
    bottom = "data"
    for i, kernel in enumerate((4, 4, 3), 1):
        conv, pool = f"conv{i}", f"pool{i}"
        layers += [
            fm.ConvolutionLayer(
                name=conv, bottoms=[bottom], tops=[conv], kernel=kernel, n_filter=maps, neuron=fm.Neurons.ReLU()
            ),
            fm.PoolingLayer(name=pool, bottoms=[conv], tops=[pool], kernel=2, stride=2),
        ]
        bottom = pool
    layers.append(fm.ConvolutionLayer(name="conv4", bottoms=[bottom], tops=["conv4"], kernel=4, n_filter=classes))
    return [*layers, fm.SoftmaxLayer(name="prob", bottoms=["conv4"], tops=["prob"])]


def draw(net: fm.Net, seed: int = 20151) -> None:
    """Weights by which pixels differ in their answers, with scores of deviation 1 for the softmax, which comes last.

    Normal, and without a mean for each output: else ReLU and max pooling push all pixels the same way, and after some
    layers every pixel has one answer. Upsampling keeps its ones. The last layer is scaled by the scores of a small image:
    what float32 rounds off grows with the scores, and so does its share in the probabilities.
    """
    rng = np.random.default_rng(seed)
    for params in net.params.values():
        for p in params:
            if p.role == "bias":
                p.data = rng.normal(0, 0.1, p.shape)
            elif p.local_rate == 0:
                p.data = p.initializer.draw(p.shape, rng)
            else:
                w = rng.normal(0, sqrt(3 / prod(p.shape[1:])), p.shape)
                p.data = w - w.mean(tuple(range(1, w.ndim)), keepdims=True)
    dense = fm.densify(net, output=net.layers[-1].bottoms[0])
    scores = dense.forward(image(dense.input_shape(dense.fit((8, 8)))))
    last = next(layer.name for layer in reversed(net.layers) if layer.name in net.params)
    for p in net.params[last]:
        p.data = p.values() / scores.std((0, 2, 3)).max()


def image(shape: tuple[int, ...], seed: int = 49) -> np.ndarray:
    """What is labelled: float32 noise of mean 0 and deviation 1, for time does not depend on the values."""
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


LABELLING = (
    Case("n4-512", models.n4, 512, "600MiB"),
    Case("n4-1024", models.n4, 1024),
    Case("sk-128", models.sk, 128, "1.2GiB"),
    Case("sk-512", models.sk, 512),
    Case("usk-256", models.usk, 256, "800MiB"),
    Case("u-388", models.u, 388, "1.1GiB"),
    *(Case(f"{name}-256", models.MODELS[name], 256) for name in ("n337", "n537", "n726", "n926")),
)
QUICK = (
    Case("n4-19", lambda: models.n4(maps=4, hidden=8), 19, "1GiB"),
    Case("sk-3", models.sk, 3),
    Case("u-20", lambda: models.u(maps=2), 20),
    Case("usk-4", models.usk, 4),
    Case("n337-9", lambda: models.znni("n337", maps=5), 9),
)
REPORTS = (
    Case("seven-layers", seven_layers, 1),
    Case("sw-102", sw, 1),
    Case("seven-layers-quick", lambda: seven_layers(maps=3), 1),
    Case("sw-102-quick", lambda: sw((3, 4, 5, 6, 7)), 1),
)
GROWTH = (Case("n4", models.n4, 512), Case("n4-quick", lambda: models.n4(maps=4, hidden=8), 16))


def find(name: str) -> Case:
    """The case of that name: a worker is told no more than the name."""
    return next(case for case in (*LABELLING, *QUICK, *REPORTS, *GROWTH) if case.name == name)
