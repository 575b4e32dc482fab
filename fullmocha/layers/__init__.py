"""The layers; one line here makes one known."""

from .accuracy import AccuracyLayer
from .activation import NeuronLayer, ReLULayer, SigmoidLayer, TanHLayer
from .arg_max import ArgmaxLayer
from .base import Layer, Node, ParameterSpec
from .concat import ConcatLayer
from .convolution import ConvolutionLayer, DeconvolutionLayer
from .crop import CropLayer
from .data import InputLayer
from .dropout import DropoutLayer
from .eltwise import ElementWiseFunctors, ElementWiseLayer
from .hdf5_data import HDF5DataLayer
from .inner_product import InnerProductLayer
from .memory_data import MemoryDataLayer
from .merge_crop import MergeCropLayer
from .output import HDF5OutputLayer, MemoryOutputLayer, reset_outputs
from .parameter import ParameterBlobLayer
from .plumbing import IdentityLayer, SilenceLayer, SplitLayer
from .pooling import Pooling, PoolingLayer
from .reduction import ReductionLayer
from .reshape import FlattenLayer, ReshapeLayer
from .select import BatchReindexLayer, EmbedLayer, FilterLayer
from .slice import SliceLayer
from .softmax import SoftmaxLayer, SoftmaxLossLayer
from .tile import TileLayer

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
    ElementWiseLayer,
    SliceLayer,
    FlattenLayer,
    ReshapeLayer,
    TileLayer,
    ReductionLayer,
    ArgmaxLayer,
    EmbedLayer,
    BatchReindexLayer,
    FilterLayer,
    ParameterBlobLayer,
    SplitLayer,
    IdentityLayer,
    SilenceLayer,
    MemoryOutputLayer,
    HDF5OutputLayer,
)

__all__ = [
    "LAYERS", "AccuracyLayer", "ArgmaxLayer", "BatchReindexLayer", "ConcatLayer", "ConvolutionLayer", "CropLayer",
    "DeconvolutionLayer", "DropoutLayer", "ElementWiseFunctors", "ElementWiseLayer", "EmbedLayer", "FilterLayer",
    "FlattenLayer", "HDF5DataLayer", "HDF5OutputLayer", "IdentityLayer", "InnerProductLayer", "InputLayer", "Layer",
    "MemoryDataLayer", "MemoryOutputLayer", "MergeCropLayer", "NeuronLayer", "Node", "ParameterBlobLayer",
    "ParameterSpec", "Pooling", "PoolingLayer", "ReLULayer", "ReductionLayer", "ReshapeLayer", "SigmoidLayer",
    "SilenceLayer", "SliceLayer", "SoftmaxLayer", "SoftmaxLossLayer", "SplitLayer", "TanHLayer", "TileLayer",
    "reset_outputs",
]  # fmt: skip
