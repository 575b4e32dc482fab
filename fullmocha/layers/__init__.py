"""The layers; one line here makes one known."""

from .accuracy import AccuracyLayer
from .activation import NeuronLayer, ReLULayer, SigmoidLayer, TanHLayer
from .base import Layer, Node, ParameterSpec
from .concat import ConcatLayer
from .convolution import ConvolutionLayer, DeconvolutionLayer
from .crop import CropLayer
from .data import HDF5DataLayer, InputLayer, MemoryDataLayer
from .dropout import DropoutLayer
from .inner_product import InnerProductLayer
from .merge_crop import MergeCropLayer
from .output import HDF5OutputLayer, MemoryOutputLayer, reset_outputs
from .plumbing import IdentityLayer, SilenceLayer, SplitLayer
from .pooling import Pooling, PoolingLayer
from .softmax import SoftmaxLayer, SoftmaxLossLayer

LAYERS: tuple[type[Layer], ...] = (
    MemoryDataLayer,
    HDF5DataLayer,
    InputLayer,
    ConvolutionLayer,
    DeconvolutionLayer,
    PoolingLayer,
    InnerProductLayer,
    NeuronLayer,
    ReLULayer,
    SigmoidLayer,
    TanHLayer,
    SoftmaxLayer,
    SoftmaxLossLayer,
    AccuracyLayer,
    DropoutLayer,
    ConcatLayer,
    CropLayer,
    MergeCropLayer,
    SplitLayer,
    IdentityLayer,
    SilenceLayer,
    MemoryOutputLayer,
    HDF5OutputLayer,
)

__all__ = [
    "LAYERS", "AccuracyLayer", "ConcatLayer", "ConvolutionLayer", "CropLayer", "DeconvolutionLayer", "DropoutLayer",
    "HDF5DataLayer", "HDF5OutputLayer", "IdentityLayer", "InnerProductLayer", "InputLayer", "Layer", "MemoryDataLayer",
    "MemoryOutputLayer", "MergeCropLayer", "NeuronLayer", "Node", "ParameterSpec", "Pooling", "PoolingLayer", "ReLULayer",
    "SigmoidLayer", "SilenceLayer", "SoftmaxLayer", "SoftmaxLossLayer", "SplitLayer", "TanHLayer", "reset_outputs",
]  # fmt: skip
