"""What each ONNX operator is in our layers; opsets 7 to 21, as far as exporters use them.

ONNX has rows before columns, our constructors (width, height): each function turns them once.
"""

from collections.abc import Callable
from typing import Any

from ... import layers
from ..reader import Attributes, Reader
from . import composed, moves, pointwise, resampling, windows

IMPORTERS: dict[str, Callable[[Reader, Any, Attributes], None]] = {
    "Abs": pointwise.pointwise(layers.AbsValLayer),
    "Add": pointwise.arithmetic,
    "ArgMax": windows.arg_max,
    "AveragePool": windows.average_pool,
    "BatchNormalization": pointwise.batch_normalization,
    "Cast": moves.cast,
    "Celu": composed.celu,
    "Clip": pointwise.clip,
    "Concat": moves.concat,
    "Conv": windows.conv,
    "ConvTranspose": windows.conv_transpose,
    "DepthToSpace": resampling.depth_to_space,
    "Div": pointwise.arithmetic,
    "Dropout": moves.dropout,
    "Elu": pointwise.pointwise(layers.ELULayer, alpha="alpha:1"),
    "Exp": pointwise.pointwise(layers.ExpLayer),
    "Expand": moves.expand,
    "Flatten": moves.flatten,
    "Gather": moves.gather,
    "Gelu": composed.gelu,
    "Gemm": pointwise.gemm,
    "GlobalAveragePool": windows.global_pool,
    "GlobalMaxPool": windows.global_pool,
    "Greater": pointwise.greater,
    "GroupNormalization": composed.group_normalization,
    "HardSigmoid": composed.hard_sigmoid,
    "HardSwish": composed.hard_swish,
    "Identity": moves.hand_on,
    "InstanceNormalization": composed.instance_normalization,
    "LRN": pointwise.lrn,
    "LayerNormalization": composed.layer_normalization,
    "LeakyRelu": pointwise.pointwise(layers.ReLULayer, negative_slope="alpha:0.01"),
    "Log": pointwise.pointwise(layers.LogLayer),
    "LogSoftmax": composed.log_softmax,
    "MatMul": pointwise.matmul,
    "Max": pointwise.several,
    "MaxPool": windows.max_pool,
    "Mean": pointwise.several,
    "Min": pointwise.several,
    "Mish": composed.mish,
    "Mul": pointwise.arithmetic,
    "Neg": pointwise.negate,
    "PRelu": pointwise.prelu,
    "Pad": windows.pad,
    "Pow": pointwise.power,
    "Reciprocal": pointwise.reciprocal,
    "ReduceL1": windows.reduce,
    "ReduceMax": windows.reduce,
    "ReduceMean": windows.reduce,
    "ReduceSum": windows.reduce,
    "ReduceSumSquare": windows.reduce,
    "Relu": pointwise.pointwise(layers.ReLULayer),
    "Reshape": moves.reshape,
    "Resize": resampling.resize,
    "Selu": composed.selu,
    "Sigmoid": pointwise.pointwise(layers.SigmoidLayer),
    "Slice": moves.slice_,
    "Softmax": pointwise.softmax,
    "Softplus": pointwise.pointwise(layers.BNLLLayer),
    "Softsign": composed.softsign,
    "SpaceToDepth": resampling.space_to_depth,
    "Split": moves.split,
    "Sqrt": pointwise.root,
    "Squeeze": moves.squeeze,
    "Sub": pointwise.arithmetic,
    "Sum": pointwise.several,
    "Tanh": pointwise.pointwise(layers.TanHLayer),
    "Tile": moves.tile,
    "Transpose": moves.transpose,
    "Unsqueeze": moves.unsqueeze,
    "Upsample": resampling.resize,
}

# What to do about some that are met often.
ADVICE = {
    "Erf": 'an exact GELU is made of it; use nn.GELU("tanh")',
}
