"""What each ONNX operator is in our layers; opsets 7 to 21, as far as exporters use them.

ONNX has rows before columns, our constructors (width, height): each function turns them once.
"""

from collections.abc import Callable
from typing import Any

from ... import layers
from ..load import Attributes, Reader
from . import moves, pointwise, windows

IMPORTERS: dict[str, Callable[[Reader, Any, Attributes], None]] = {
    "Abs": pointwise.pointwise(layers.AbsValLayer),
    "Add": pointwise.arithmetic,
    "ArgMax": windows.arg_max,
    "AveragePool": windows.average_pool,
    "BatchNormalization": pointwise.batch_normalization,
    "Cast": moves.hand_on,
    "Clip": pointwise.clip,
    "Concat": moves.concat,
    "Conv": windows.conv,
    "ConvTranspose": windows.conv_transpose,
    "Div": pointwise.arithmetic,
    "Dropout": moves.hand_on,
    "Elu": pointwise.pointwise(layers.ELULayer, alpha="alpha:1"),
    "Exp": pointwise.pointwise(layers.ExpLayer),
    "Flatten": moves.flatten,
    "Gemm": pointwise.gemm,
    "GlobalAveragePool": windows.global_pool,
    "GlobalMaxPool": windows.global_pool,
    "Greater": pointwise.greater,
    "Identity": moves.hand_on,
    "LRN": pointwise.lrn,
    "LeakyRelu": pointwise.pointwise(layers.ReLULayer, negative_slope="alpha:0.01"),
    "Log": pointwise.pointwise(layers.LogLayer),
    "MatMul": pointwise.matmul,
    "Max": pointwise.several,
    "MaxPool": windows.max_pool,
    "Mean": pointwise.several,
    "Mul": pointwise.arithmetic,
    "Neg": pointwise.negate,
    "PRelu": pointwise.prelu,
    "Pad": windows.pad,
    "Pow": pointwise.power,
    "ReduceL1": windows.reduce,
    "ReduceMax": windows.reduce,
    "ReduceMean": windows.reduce,
    "ReduceSum": windows.reduce,
    "ReduceSumSquare": windows.reduce,
    "Relu": pointwise.pointwise(layers.ReLULayer),
    "Reshape": moves.reshape,
    "Resize": windows.resize,
    "Sigmoid": pointwise.pointwise(layers.SigmoidLayer),
    "Slice": moves.slice_,
    "Softmax": pointwise.softmax,
    "Softplus": pointwise.pointwise(layers.BNLLLayer),
    "Split": moves.split,
    "Sqrt": pointwise.root,
    "Squeeze": moves.squeeze,
    "Sub": pointwise.arithmetic,
    "Sum": pointwise.several,
    "Tanh": pointwise.pointwise(layers.TanHLayer),
    "Unsqueeze": moves.unsqueeze,
    "Upsample": windows.resize,
}
