"""The nets of ZNNi (Zlateski et al. 2016) for electron microscopy, with their layers in two dimensions instead of three."""

from ..errors import UnsupportedError
from ..initializers import MSRAInitializer
from ..layers import ConvolutionLayer, InputLayer, Layer, PoolingLayer, SoftmaxLayer
from ..neurons import Neurons

# Name -> kernels of the convolutions in order, the number of leading ones that 2x2 max pooling follows, and the patch.
LAYERS: dict[str, tuple[tuple[int, ...], int, int]] = {
    "n337": ((2, 3, 3, 3, 3, 3, 3), 3, 85),
    "n537": ((4, 5, 5, 5, 5, 5, 5), 3, 163),
    "n726": ((6, 7, 7, 7, 7, 7), 2, 117),
    "n926": ((8, 9, 9, 9, 9, 9), 2, 155),
}


def znni(name: str, maps: int = 80, classes: int = 3, data: Layer | None = None, softmax: bool = True) -> list[Layer]:
    """Convolutions of one kernel size (the first one less), each with ReLU, the first two or three with 2x2 max pooling.

    Parameters
    ----------
    name : {"n337", "n537", "n726", "n926"}
        ZNNi's name, whose digits are kernel, poolings and convolutions. The patches are 85, 163, 117 and 155.
    maps, classes : int
        Maps of every convolution but the last, maps of the last.
    data, softmax
        As in `n4`.

    Raises
    ------
    UnsupportedError
        For another name.
    """
    if name not in LAYERS:
        raise UnsupportedError(f"ZNNi's nets have no {name!r} among them; choose one of {', '.join(LAYERS)}")
    kernels, pools, patch = LAYERS[name]
    layers: list[Layer] = [data or InputLayer(tops=["data"], shapes=[(1, 1, patch, patch)])]
    bottom = "data"
    for i, kernel in enumerate(kernels, 1):
        conv, pool = f"conv{i}", f"pool{i}"
        layers.append(
            ConvolutionLayer(
                name=conv,
                bottoms=[bottom],
                tops=[conv],
                kernel=kernel,
                n_filter=maps if i < len(kernels) else classes,
                neuron=Neurons.ReLU(),
                filter_init=MSRAInitializer(),
            )
        )
        bottom = conv
        if i <= pools:
            layers.append(PoolingLayer(name=pool, bottoms=[conv], tops=[pool], kernel=2, stride=2))
            bottom = pool
    return [*layers, SoftmaxLayer(name="prob", bottoms=[bottom], tops=["prob"])] if softmax else layers
