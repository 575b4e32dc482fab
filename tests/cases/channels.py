"""Layers that treat each channel in a way of its own."""

import fullmocha as fm

from .case import Case

_GAUSS = fm.GaussianInitializer(std=0.5)
_POSITIVE = fm.UniformInitializer(0.5, 2.0)
_IMAGE = {"a": (2, 3, 5, 7)}
_WITHIN = fm.LRNMode.WithinChannel()


def _scale(**fields: object) -> fm.ScaleLayer:
    return fm.ScaleLayer(
        name="l", **{"bottoms": ["a"], "tops": ["y"], "scale_init": _GAUSS, "bias_init": _GAUSS, **fields}
    )


def _bias(**fields: object) -> fm.BiasLayer:
    return fm.BiasLayer(name="l", **{"bottoms": ["a"], "tops": ["y"], "bias_init": _GAUSS, **fields})


def _norm(**fields: object) -> fm.BatchNormLayer:
    return fm.BatchNormLayer(name="l", bottoms=["a"], tops=["y"], **fields)


def _stored(**fields: object) -> fm.BatchNormLayer:
    init = {"mean_init": _GAUSS, "variance_init": _POSITIVE, "factor_init": fm.ConstantInitializer(1.7)}
    return _norm(use_global_stats=True, **{**init, **fields})


def _prelu(**fields: object) -> fm.PReLULayer:
    return fm.PReLULayer(name="l", bottoms=["a"], tops=["y"], slope_init=_GAUSS, **fields)


def _lrn(**fields: object) -> fm.LRNLayer:
    return fm.LRNLayer(name="l", bottoms=["a"], tops=["y"], **fields)


def _mvn(**fields: object) -> fm.MVNLayer:
    return fm.MVNLayer(name="l", bottoms=["a"], tops=["y"], **fields)


CASES = [
    Case("scale", _scale(), _IMAGE),
    Case("scale bias in place", _scale(bias=True, tops=["a"]), _IMAGE),
    Case("scale flat", _scale(bias=True), {"a": (3, 19)}),
    Case("scale two axes", _scale(axis=-3, num_axes=2, bias=True), _IMAGE),
    Case("scale batch", _scale(axis=0, num_axes=2), _IMAGE),
    Case("scale to the end", _scale(axis=2, num_axes=-1), _IMAGE),
    Case("scale one factor", _scale(num_axes=0, bias=True), _IMAGE),
    Case("scale by a bottom", _scale(bottoms=["a", "b"]), {"a": (2, 3, 5, 7), "b": (3, 5)}),
    Case("scale by an equal bottom", _scale(bottoms=["a", "b"], axis=0), {"a": (2, 3, 5, 7), "b": (2, 3, 5, 7)}),
    Case("scale by a bottom, bias", _scale(bottoms=["a", "b"], bias=True), {"a": (2, 3, 5, 7), "b": (3,)}),
    Case("scale by itself", _scale(bottoms=["a", "a"], axis=0), _IMAGE),
    Case("bias", _bias(), _IMAGE),
    Case("bias one term", _bias(num_axes=0), {"a": (2, 3, 5)}),
    Case("bias by a bottom", _bias(bottoms=["a", "b"], axis=1), {"a": (2, 3, 5, 7), "b": (3, 5, 7)}),
    Case("batch norm", _norm(eps=0.1), _IMAGE),
    Case("batch norm flat", _norm(moving_average_fraction=0.5), {"a": (7, 3)}),
    Case("batch norm stored", _stored(eps=0.1), _IMAGE),
    Case("batch norm stored flat", _stored(), {"a": (3, 19)}),
    Case("batch norm untrained", _stored(factor_init=fm.ConstantInitializer(0.0), eps=0.5), _IMAGE),
    Case("prelu", _prelu(), _IMAGE),
    Case("prelu shared", _prelu(channel_shared=True), _IMAGE),
    Case("prelu flat", _prelu(), {"a": (4, 19)}),
    Case("lrn below zero", _lrn(shift=-50.0, power=1.0), _IMAGE),
    Case("lrn", _lrn(kernel=3, scale=0.7), {"a": (2, 6, 3, 5)}),
    Case("lrn even", _lrn(kernel=4, scale=1.2, shift=2.0, power=0.5), {"a": (2, 7, 3, 5)}),
    Case("lrn odd power", _lrn(kernel=5, power=0.6), {"a": (3, 19)}),
    Case("lrn rows", _lrn(kernel=3, channel_dim=2), _IMAGE),
    Case("lrn within", _lrn(kernel=3, scale=0.7, shift=1.5, mode=_WITHIN), _IMAGE),
    Case("mvn", _mvn(), _IMAGE),
    Case("mvn eps across", _mvn(eps=0.3, across_channels=True), _IMAGE),
    Case("mvn mean", _mvn(normalize_variance=False), _IMAGE),
]
