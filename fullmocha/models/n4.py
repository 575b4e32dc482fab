"""N4, the membrane net of Ciresan et al. 2012, on which Giusti et al. 2013 and Jakubiuk 2015 count their operations."""

from ..layers import ConvolutionLayer, InnerProductLayer, InputLayer, Layer, PoolingLayer, SoftmaxLayer
from ..neurons import Neurons


def n4(
    maps: int = 48, hidden: int = 200, classes: int = 2, data: Layer | None = None, softmax: bool = True
) -> list[Layer]:
    """Four times convolution and 2x2 max pooling, then two inner products; the patch is 95 x 95, one channel.

    Parameters
    ----------
    maps, hidden, classes : int
        Maps of every convolution, units of the hidden layer, answers.
    data : Layer, optional
        What feeds the blob "data"; by default one 95 x 95 patch by hand.
    softmax : bool
        Whether the last blob is "prob", or the scores "ip2" that a loss wants.
    """
    layers: list[Layer] = [data or InputLayer(tops=["data"], shapes=[(1, 1, 95, 95)])]
    bottom = "data"
    for i, kernel in enumerate((4, 5, 4, 4), 1):
        conv, pool = f"conv{i}", f"pool{i}"
        layers += [
            ConvolutionLayer(
                name=conv, bottoms=[bottom], tops=[conv], kernel=kernel, n_filter=maps, neuron=Neurons.ReLU()
            ),
            PoolingLayer(name=pool, bottoms=[conv], tops=[pool], kernel=2, stride=2),
        ]
        bottom = pool
    layers += [
        InnerProductLayer(name="ip1", bottoms=[bottom], tops=["ip1"], output_dim=hidden, neuron=Neurons.ReLU()),
        InnerProductLayer(name="ip2", bottoms=["ip1"], tops=["ip2"], output_dim=classes),
    ]
    return [*layers, SoftmaxLayer(name="prob", bottoms=["ip2"], tops=["prob"])] if softmax else layers
