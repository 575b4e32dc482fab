"""LeNet as Caffe and Mocha train it on MNIST (LeCun et al. 1998)."""

from ..layers import ConvolutionLayer, InnerProductLayer, InputLayer, Layer, PoolingLayer, SoftmaxLayer
from ..neurons import Neurons


def lenet(data: Layer | None = None, softmax: bool = True) -> list[Layer]:
    """Two convolutions with max pooling, then two inner products; the patch is 28 x 28, ten classes."""
    layers: list[Layer] = [
        data or InputLayer(tops=["data"], shapes=[(1, 1, 28, 28)]),
        ConvolutionLayer(name="conv1", bottoms=["data"], tops=["conv1"], kernel=5, n_filter=20),
        PoolingLayer(name="pool1", bottoms=["conv1"], tops=["pool1"], kernel=2, stride=2),
        ConvolutionLayer(name="conv2", bottoms=["pool1"], tops=["conv2"], kernel=5, n_filter=50),
        PoolingLayer(name="pool2", bottoms=["conv2"], tops=["pool2"], kernel=2, stride=2),
        InnerProductLayer(name="ip1", bottoms=["pool2"], tops=["ip1"], output_dim=500, neuron=Neurons.ReLU()),
        InnerProductLayer(name="ip2", bottoms=["ip1"], tops=["ip2"], output_dim=10),
    ]
    return [*layers, SoftmaxLayer(name="prob", bottoms=["ip2"], tops=["prob"])] if softmax else layers
