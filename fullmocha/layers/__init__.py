"""The layers; one line here makes one known."""

from .accuracy import AccuracyLayer
from .activation import NeuronLayer, ReLULayer, SigmoidLayer, TanHLayer
from .arg_max import ArgmaxLayer
from .base import Layer, Node, ParameterLayer, ParameterSpec
from .batch_norm import BatchNormLayer
from .concat import ConcatLayer
from .contrastive_loss import ContrastiveLossLayer
from .convolution import ConvolutionLayer, DeconvolutionLayer
from .crop import CropLayer
from .data import InputLayer
from .dropout import DropoutLayer
from .dummy_data import DummyDataLayer
from .eltwise import ElementWiseFunctors, ElementWiseLayer
from .hdf5_data import HDF5DataLayer
from .hinge_loss import HingeLossLayer
from .im2col import Im2colLayer
from .image_data import ImageDataLayer
from .infogain_loss import InfogainLossLayer
from .inner_product import InnerProductLayer
from .lmdb_data import DataLayer
from .lrn import LRNLayer, LRNMode
from .lstm import LSTMLayer
from .memory_data import MemoryDataLayer
from .merge_crop import MergeCropLayer
from .multinomial_logistic_loss import MultinomialLogisticLossLayer
from .mvn import MVNLayer
from .output import HDF5OutputLayer, MemoryOutputLayer, reset_outputs
from .parameter import ParameterBlobLayer
from .plumbing import IdentityLayer, SilenceLayer, SplitLayer
from .pointwise import (
    AbsValLayer,
    BNLLLayer,
    ClipLayer,
    ELULayer,
    ExpLayer,
    LogLayer,
    PowerLayer,
    SwishLayer,
    ThresholdLayer,
)
from .pooling import Pooling, PoolingLayer
from .prelu import PReLULayer
from .reduction import ReductionLayer
from .reshape import FlattenLayer, ReshapeLayer
from .rnn import RNNLayer
from .scale import BiasLayer, ScaleLayer
from .select import BatchReindexLayer, EmbedLayer, FilterLayer
from .sigmoid_cross_entropy_loss import SigmoidCrossEntropyLossLayer
from .slice import SliceLayer
from .softmax import SoftmaxLayer, SoftmaxLossLayer
from .spp import SPPLayer
from .square_loss import SquareLossLayer
from .sum_loss import SumLossLayer
from .tile import TileLayer

LAYERS: tuple[type[Layer], ...] = (
    MemoryDataLayer,
    HDF5DataLayer,
    DummyDataLayer,
    ImageDataLayer,
    DataLayer,
    InputLayer,
    ConvolutionLayer,
    DeconvolutionLayer,
    PoolingLayer,
    SPPLayer,
    Im2colLayer,
    InnerProductLayer,
    NeuronLayer,
    ReLULayer,
    SigmoidLayer,
    TanHLayer,
    ELULayer,
    BNLLLayer,
    AbsValLayer,
    PowerLayer,
    ExpLayer,
    LogLayer,
    ThresholdLayer,
    SwishLayer,
    ClipLayer,
    ScaleLayer,
    BiasLayer,
    BatchNormLayer,
    PReLULayer,
    LRNLayer,
    MVNLayer,
    SoftmaxLayer,
    SoftmaxLossLayer,
    SquareLossLayer,
    SigmoidCrossEntropyLossLayer,
    HingeLossLayer,
    MultinomialLogisticLossLayer,
    InfogainLossLayer,
    ContrastiveLossLayer,
    SumLossLayer,
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
    RNNLayer,
    LSTMLayer,
    MemoryOutputLayer,
    HDF5OutputLayer,
)

__all__ = [
    "LAYERS", "AbsValLayer", "AccuracyLayer", "ArgmaxLayer", "BNLLLayer", "BatchNormLayer", "BatchReindexLayer",
    "BiasLayer", "ClipLayer", "ConcatLayer", "ContrastiveLossLayer", "ConvolutionLayer", "CropLayer", "DataLayer",
    "DeconvolutionLayer", "DropoutLayer", "DummyDataLayer", "ELULayer", "ElementWiseFunctors", "ElementWiseLayer",
    "EmbedLayer", "ExpLayer", "FilterLayer", "FlattenLayer", "HDF5DataLayer", "HDF5OutputLayer", "HingeLossLayer",
    "IdentityLayer", "Im2colLayer", "ImageDataLayer", "InfogainLossLayer", "InnerProductLayer", "InputLayer",
    "LRNLayer", "LRNMode", "LSTMLayer", "Layer", "LogLayer", "MVNLayer", "MemoryDataLayer", "MemoryOutputLayer",
    "MergeCropLayer", "MultinomialLogisticLossLayer", "NeuronLayer", "Node", "PReLULayer", "ParameterBlobLayer",
    "ParameterLayer", "ParameterSpec", "Pooling", "PoolingLayer", "PowerLayer", "RNNLayer", "ReLULayer", "ReductionLayer",
    "ReshapeLayer", "SPPLayer", "ScaleLayer", "SigmoidCrossEntropyLossLayer", "SigmoidLayer", "SilenceLayer",
    "SliceLayer", "SoftmaxLayer", "SoftmaxLossLayer", "SplitLayer", "SquareLossLayer", "SumLossLayer", "SwishLayer",
    "TanHLayer", "ThresholdLayer", "TileLayer", "reset_outputs",
]  # fmt: skip
