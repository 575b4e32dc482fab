"""Windows over one spatial axis, three, four or none; where the maxima were; pyramids; taps as channels; crops of volumes."""

import fullmocha as fm

from .case import Case


def _conv(**fields: object) -> fm.ConvolutionLayer:
    return fm.ConvolutionLayer(name="l", bottoms=["a"], tops=["y"], bias_init=_GAUSS, **fields)


def _deconv(**fields: object) -> fm.DeconvolutionLayer:
    return fm.DeconvolutionLayer(name="l", bottoms=["a"], tops=["y"], bias_init=_GAUSS, **fields)


def _pool(**fields: object) -> fm.PoolingLayer:
    return fm.PoolingLayer(name="l", bottoms=["a"], tops=["y"], **fields)


def _spp(**fields: object) -> fm.SPPLayer:
    return fm.SPPLayer(name="l", bottoms=["a"], tops=["y"], **fields)


def _cols(**fields: object) -> fm.Im2colLayer:
    return fm.Im2colLayer(name="l", bottoms=["a"], tops=["y"], **fields)


_GAUSS = fm.GaussianInitializer(std=0.5)
_MEAN = fm.Pooling.Mean()
_ROW, _VOLUME = {"a": (2, 4, 13)}, {"a": (2, 2, 4, 5, 6)}

CASES = [
    Case("conv 0 axes", _conv(n_filter=4, n_group=2), {"a": (3, 6)}),
    Case("conv 1 axis", _conv(kernel=3, stride=2, pad=1, dilation=2, n_filter=6, n_group=2), _ROW),
    Case("conv 3 axes", _conv(kernel=(2, 3, 1), stride=(1, 2, 1), pad=(0, 1, 0), n_filter=2), _VOLUME),
    Case("conv 3 axes, one size", _conv(kernel=2, dilation=(3, 2, 1), n_filter=2, n_group=2), _VOLUME),
    Case("conv 4 axes", _conv(kernel=(2, 1, 2, 1), n_filter=2), {"a": (1, 2, 2, 3, 3, 4)}),
    Case("conv axis 2", _conv(kernel=(2, 3), n_filter=2, axis=2), {"a": (2, 3, 2, 4, 5)}),
    Case("conv axis -2", _conv(kernel=2, stride=2, n_filter=2, axis=-2), {"a": (2, 3, 2, 5)}),
    Case("deconv 0 axes", _deconv(n_filter=4, n_group=2), {"a": (3, 6)}),
    Case("deconv 1 axis", _deconv(kernel=3, stride=2, pad=1, n_filter=2), {"a": (2, 3, 5)}),
    Case("deconv 3 axes", _deconv(kernel=(2, 3, 2), stride=(2, 1, 2), pad=(0, 1, 0), n_filter=2, n_group=2), {"a": (1, 2, 2, 3, 4)}),
    Case("max pool 1 axis", _pool(kernel=3, stride=2, pad=1), _ROW),
    Case("max pool 3 axes", _pool(kernel=(2, 3, 2), stride=(2, 1, 2), pad=(1, 0, 0)), {"a": (2, 2, 5, 5, 6)}),
    Case("mean pool 1 axis", _pool(kernel=4, stride=3, pad=1, pooling=_MEAN, divisor="caffe"), _ROW),
    Case("mean pool 3 axes", _pool(kernel=(2, 3, 2), stride=2, pad=(1, 1, 0), pooling=_MEAN, divisor="caffe"), {"a": (2, 2, 5, 5, 6)}),
    Case("mean pool 3 axes mocha", _pool(kernel=3, stride=2, dilation=(1, 1, 2), pooling=_MEAN), {"a": (2, 2, 6, 5, 6)}),
    Case("mean pool whole volume", _pool(pooling=_MEAN, whole=True), _VOLUME),
    Case("spp max", _spp(pyramid_height=3), {"a": (2, 3, 8, 7)}),
    Case("spp mean", _spp(pyramid_height=2, pooling=_MEAN), {"a": (2, 3, 5, 7)}),
    Case("spp one level", _spp(pyramid_height=1), {"a": (2, 3, 5, 7)}),
    Case("spp volume", _spp(pyramid_height=2), {"a": (2, 2, 3, 4, 5)}),
    Case("im2col", _cols(kernel=(3, 2), stride=(2, 1), pad=(1, 0)), {"a": (2, 3, 6, 7)}),
    Case("im2col volume", _cols(kernel=2, dilation=(2, 1, 1)), {"a": (2, 2, 3, 3, 4)}),
    Case("crop volume", fm.CropLayer(name="l", bottoms=["a"], tops=["y"], crop_size=(4, 3, 2)), _VOLUME),
    Case("crop like a volume", fm.CropLayer(name="l", bottoms=["a", "b"], tops=["y"], offset=(1, 0, 2)),
         _VOLUME | {"b": (1, 1, 3, 4, 2)}),
    Case("merge crop volume", fm.MergeCropLayer(name="l", bottoms=["a", "b"], tops=["y"], backward_of=(True, True)),
         {"a": (2, 2, 2, 3, 2), "b": (2, 1, 5, 4, 3)}),
    Case("inner product of a volume", fm.InnerProductLayer(name="l", bottoms=["a"], tops=["y"], output_dim=3), {"a": (2, 2, 2, 3, 2)}),
]  # fmt: skip
