"""The small net that `fullmocha demo` runs, and its weights, which this package trained on pictures that it made."""

from importlib import resources
from typing import TYPE_CHECKING, Union

import numpy as np

from ..initializers import MSRAInitializer
from ..layers import ConvolutionLayer, InnerProductLayer, InputLayer, Layer, PoolingLayer, SoftmaxLayer
from ..neurons import Neurons
from ..transformers import DataTransformers, Transformer

if TYPE_CHECKING:
    from ..backend import Backend
    from ..net import Net

WEIGHTS = "membrane.h5"  # made by examples/membrane_demo.py
# 8-bit greys to about -2 ... 2
GREYS: list[tuple[str, Transformer]] = [
    ("data", DataTransformers.SubMean(mean_blob=np.array([128.0]))),
    ("data", DataTransformers.Scale(1 / 64)),
]


def membrane(maps: int = 32, hidden: int = 64, data: Layer | None = None, softmax: bool = True) -> list[Layer]:
    """N4 without its first stage: three times 4x4 convolution and 2x2 max pooling; the patch is 45 x 45, 8-bit grey.

    The answers are 0, membrane, and 1, the inside of a cell. The parameters are as in `n4`.
    """
    layers: list[Layer] = [data or InputLayer(tops=["data"], shapes=[(1, 1, 45, 45)], transformers=GREYS)]
    bottom, relu, init = "data", Neurons.ReLU(), MSRAInitializer()
    for i in (1, 2, 3):
        conv, pool = f"conv{i}", f"pool{i}"
        layers += [
            ConvolutionLayer(
                name=conv, bottoms=[bottom], tops=[conv], kernel=4, n_filter=maps, neuron=relu, filter_init=init
            ),
            PoolingLayer(name=pool, bottoms=[conv], tops=[pool], kernel=2, stride=2),
        ]
        bottom = pool
    layers += [
        InnerProductLayer(name="ip1", bottoms=[bottom], tops=["ip1"], output_dim=hidden, neuron=relu, weight_init=init),
        InnerProductLayer(name="ip2", bottoms=["ip1"], tops=["ip2"], output_dim=2),
    ]
    return [*layers, SoftmaxLayer(name="prob", bottoms=["ip2"], tops=["prob"])] if softmax else layers


def trained_membrane(backend: Union[str, "Backend"] = "auto") -> "Net":
    """The net with the weights that the package brings.

    Examples
    --------
    >>> fm.predict(trained_membrane("reference"), np.zeros((30, 40), np.uint8)).shape
    (2, 30, 40)
    """
    import h5py

    from ..net import Net

    net = Net("membrane", backend, membrane())
    with resources.as_file(resources.files(__package__) / WEIGHTS) as path, h5py.File(path, "r") as file:
        net.load_params({name: [file[f"{name}___{p.role}"][()] for p in params] for name, params in net.params.items()})
    return net
