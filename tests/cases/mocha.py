"""The layers that came first: Mocha's, and what Greentea adds."""

import fullmocha as fm

from .case import Case


def _conv(**fields: object) -> fm.ConvolutionLayer:
    return fm.ConvolutionLayer(name="l", bottoms=["a"], tops=["y"], **fields)


def _deconv(**fields: object) -> fm.DeconvolutionLayer:
    return fm.DeconvolutionLayer(name="l", bottoms=["a"], tops=["y"], **fields)


def _pool(**fields: object) -> fm.PoolingLayer:
    return fm.PoolingLayer(name="l", bottoms=["a"], tops=["y"], **fields)


def _loss(**fields: object) -> fm.SoftmaxLossLayer:
    return fm.SoftmaxLossLayer(name="l", bottoms=["a", "b"], **fields)


_IMAGE = {"a": (2, 4, 9, 11)}
_MAX, _MEAN = fm.Pooling.Max(), fm.Pooling.Mean()
_GAUSS = fm.GaussianInitializer(std=0.5)

CASES = [
    Case("conv", _conv(kernel=(3, 2), n_filter=3, bias_init=_GAUSS), _IMAGE),
    Case("conv 1x1", _conv(n_filter=5), _IMAGE),
    Case("conv stride pad", _conv(kernel=(4, 3), stride=(3, 2), pad=(2, 1), n_filter=3), _IMAGE),
    Case("conv groups dilation", _conv(kernel=(3, 2), dilation=(2, 3), n_filter=6, n_group=2), _IMAGE),
    Case("conv all", _conv(kernel=2, stride=2, pad=3, dilation=2, n_filter=4, n_group=4, bias=False), _IMAGE),
    Case("conv neuron", _conv(kernel=3, n_filter=2, neuron=fm.Neurons.Tanh()), _IMAGE),
    Case("conv two bottoms", fm.ConvolutionLayer(name="l", bottoms=["a", "b"], tops=["y", "z"], kernel=3, n_filter=2),
         {"a": (2, 1, 5, 7), "b": (3, 1, 6, 4)}),
    Case("deconv", _deconv(kernel=(3, 2), n_filter=3, bias_init=_GAUSS), {"a": (2, 4, 4, 5)}),
    Case("deconv stride pad", _deconv(kernel=(4, 3), stride=(2, 3), pad=(1, 2), n_filter=4, n_group=2), {"a": (2, 4, 4, 5)}),
    Case("deconv nearest", _deconv(kernel=2, stride=2, n_filter=4, n_group=4, bias=False), {"a": (2, 4, 3, 5)}),
    Case("deconv dilation gap", _deconv(kernel=(2, 3), stride=(4, 1), dilation=(2, 2), n_filter=2), {"a": (2, 3, 3, 4)}),
    Case("max pool", _pool(kernel=2, stride=2, pooling=_MAX), _IMAGE),
    Case("max pool overlap", _pool(kernel=3, stride=2, pooling=_MAX), {"a": (2, 3, 10, 8)}),
    Case("max pool floor pad dilation", _pool(kernel=(2, 3), stride=(2, 1), pad=1, dilation=(2, 1), round="floor"), _IMAGE),
    Case("mean pool mocha", _pool(kernel=3, stride=2, pad=1, pooling=_MEAN), {"a": (2, 3, 10, 7)}),
    Case("mean pool caffe", _pool(kernel=3, stride=2, pad=1, pooling=_MEAN, divisor="caffe"), {"a": (2, 3, 10, 7)}),
    Case("mean pool whole", _pool(pooling=_MEAN, whole=True), _IMAGE),
    Case("inner product", fm.InnerProductLayer(name="l", bottoms=["a"], tops=["y"], output_dim=5, bias_init=_GAUSS), {"a": (2, 3, 4, 5)}),
    Case("inner product axis", fm.InnerProductLayer(name="l", bottoms=["a"], tops=["y"], output_dim=3, axis=2, bias=False),
         {"a": (2, 3, 4, 5)}),
    Case("neuron", fm.NeuronLayer(name="l", bottoms=["a"], tops=["y"], function=fm.Neurons.Exponential()), _IMAGE),
    Case("neuron in place", fm.NeuronLayer(name="l", bottoms=["a"], tops=["a"], function=fm.Neurons.ReLU(0.2)), _IMAGE),
    Case("relu", fm.ReLULayer(name="l", bottoms=["a"], tops=["y"]), _IMAGE),
    Case("relu slope", fm.ReLULayer(name="l", bottoms=["a"], tops=["a"], negative_slope=0.1), _IMAGE),
    Case("sigmoid", fm.SigmoidLayer(name="l", bottoms=["a"], tops=["y"]), _IMAGE),
    Case("tanh", fm.TanHLayer(name="l", bottoms=["a"], tops=["y"]), _IMAGE),
    Case("softmax", fm.SoftmaxLayer(name="l", bottoms=["a"], tops=["y"]), _IMAGE),
    Case("softmax flat", fm.SoftmaxLayer(name="l", bottoms=["a"], tops=["y"]), {"a": (3, 7)}),
    Case("softmax axis", fm.SoftmaxLayer(name="l", bottoms=["a"], tops=["y"], axis=2), _IMAGE),
    Case("softmax loss", _loss(), {"a": (5, 3), "b": (5, 1)}, {"b": 3}),
    Case("softmax loss pixels", _loss(weight=0.4), {"a": (2, 3, 4, 5), "b": (2, 1, 4, 5)}, {"b": 3}),
    Case("softmax loss axis", _loss(axis=2), {"a": (2, 3, 4, 5), "b": (2, 3, 1, 5)}, {"b": 4}),
    *(Case(f"softmax loss {n}", _loss(normalization=n, ignore_label=-1), {"a": (2, 3, 4, 5), "b": (2, 1, 4, 5)}, {"b": 3}, True)
      for n in ("mocha", "full", "valid", "batch_size", "none")),
    Case("accuracy", fm.AccuracyLayer(name="l", bottoms=["a", "b"], tops=["y"]), {"a": (2, 3, 4, 5), "b": (2, 1, 4, 5)}, {"b": 3}),
    Case("accuracy top 2", fm.AccuracyLayer(name="l", bottoms=["a", "b"], tops=["y"], top_k=2, ignore_label=-1),
         {"a": (2, 4, 4, 5), "b": (2, 1, 4, 5)}, {"b": 4}, True),
    Case("dropout", fm.DropoutLayer(name="l", bottoms=["a"], ratio=0.3), _IMAGE),
    Case("dropout apart", fm.DropoutLayer(name="l", bottoms=["a"], tops=["y"], ratio=0.6, auto_scale=False), _IMAGE),
    Case("concat", fm.ConcatLayer(name="l", bottoms=["a", "b"], tops=["y"]), {"a": (2, 3, 4, 5), "b": (2, 2, 4, 5)}),
    Case("concat batch", fm.ConcatLayer(name="l", bottoms=["a", "b"], tops=["y"], axis=-3), {"a": (2, 3, 4), "b": (1, 3, 4)}),
    Case("concat axis", fm.ConcatLayer(name="l", bottoms=["a", "b", "c"], tops=["y"], axis=-1),
         {"a": (2, 3, 4, 5), "b": (2, 3, 4, 1), "c": (2, 3, 4, 2)}),
    Case("crop centre", fm.CropLayer(name="l", bottoms=["a"], tops=["y"], crop_size=(4, 6)), _IMAGE),
    Case("crop like", fm.CropLayer(name="l", bottoms=["a", "b"], tops=["y"], offset=(3, 1)), {"a": (2, 3, 9, 8), "b": (1, 1, 4, 5)}),
    Case("merge crop", fm.MergeCropLayer(name="l", bottoms=["a", "b"], tops=["y"], backward_of=(True, True)),
         {"a": (2, 3, 4, 5), "b": (2, 2, 7, 10)}),
    Case("merge crop add", fm.MergeCropLayer(name="l", bottoms=["a", "b"], tops=["y"], operation="add", backward_of=(True, True)),
         {"a": (2, 3, 4, 5), "b": (2, 3, 7, 10)}),
    Case("split", fm.SplitLayer(name="l", bottoms=["a"], tops=["y", "z"]), _IMAGE),
    Case("identity", fm.IdentityLayer(name="l", bottoms=["a"], tops=["y"]), _IMAGE),
]  # fmt: skip
