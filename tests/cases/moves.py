"""Layers that move numbers, or make one of several."""

import fullmocha as fm

from .case import Case

_IMAGE = {"a": (2, 4, 5, 7)}
_TWO = {"a": (2, 3, 4, 5), "b": (2, 3, 4, 5)}
_THREE = _TWO | {"c": (2, 3, 4, 5)}
_F = fm.ElementWiseFunctors
_GAUSS = fm.GaussianInitializer(std=0.5)


def _eltwise(inputs: dict, function: object, **fields: object) -> fm.ElementWiseLayer:
    return fm.ElementWiseLayer(name="l", bottoms=list(inputs), tops=["y"], operation=function, **fields)


def _slice(*tops: str, **fields: object) -> fm.SliceLayer:
    return fm.SliceLayer(name="l", bottoms=["a"], tops=tops, **fields)


def _one(kind: type, **fields: object) -> fm.layers.Layer:
    return kind(name="l", bottoms=["a"], tops=["y"], **fields)


CASES = [
    Case("eltwise add", _eltwise(_TWO, _F.Add()), _TWO),
    Case("eltwise coefficients", _eltwise(_THREE, _F.Add(), coefficients=[0.5, -2, 1]), _THREE),
    Case("eltwise subtract", _eltwise(_TWO, _F.Subtract()), _TWO),
    Case("eltwise multiply", _eltwise(_TWO, _F.Multiply()), _TWO),
    Case("eltwise multiply three", _eltwise(_THREE, _F.Multiply()), _THREE),
    Case("eltwise unstable", _eltwise(_THREE, _F.Multiply(), stable_gradient=False), _THREE),
    Case("eltwise maximum", _eltwise(_TWO, _F.Maximum()), _TWO),
    Case("eltwise maximum of three", _eltwise(_THREE, _F.Maximum()), _THREE),
    Case("eltwise divide", _eltwise(_TWO, _F.Divide()), _TWO),
    Case("slice", _slice("x", "y", "z", points=[1, 3]), _IMAGE),
    Case("slice equal", _slice("x", "y"), _IMAGE),
    Case("slice axis", _slice("x", "y", axis=-1, points=[5]), _IMAGE),
    Case("slice batch", _slice("x", "y", axis=0), _IMAGE),
    Case("flatten", _one(fm.FlattenLayer), _IMAGE),
    Case("flatten axes", _one(fm.FlattenLayer, axis=-3, end_axis=2), _IMAGE),
    Case("reshape mocha", _one(fm.ReshapeLayer, shape=[10, 14]), _IMAGE),
    Case("reshape dims", _one(fm.ReshapeLayer, dims=[0, -1, 7]), _IMAGE),
    Case("reshape window", _one(fm.ReshapeLayer, dims=[2, 2, 1], axis=1, num_axes=1), _IMAGE),
    Case("tile", _one(fm.TileLayer, tiles=3), _IMAGE),
    Case("tile axis", _one(fm.TileLayer, tiles=2, axis=-1), _IMAGE),
    *(Case(f"reduction {o}", _one(fm.ReductionLayer, operation=o, axis=1, coefficient=0.5), _IMAGE)
      for o in ("sum", "asum", "sumsq", "mean")),
    Case("reduction tail", _one(fm.ReductionLayer, operation="mean", axis=-2), _IMAGE),
    Case("argmax", _one(fm.ArgmaxLayer), _IMAGE),
    Case("argmax top", _one(fm.ArgmaxLayer, axis=-1, top_k=3, output="value", ties="last"), _IMAGE),
    Case("argmax whole", _one(fm.ArgmaxLayer, whole=True, top_k=4, output="both"), _IMAGE),
    Case("embed", _one(fm.EmbedLayer, input_dim=6, output_dim=3, bias_init=_GAUSS), {"a": (3, 4)}, {"a": 6}),
    Case("embed without bias", _one(fm.EmbedLayer, input_dim=3, output_dim=5, bias=False), {"a": (7,)}, {"a": 3}),
    Case("batch reindex", fm.BatchReindexLayer(name="l", bottoms=["a", "b"], tops=["y"]), {"a": (3, 4, 2), "b": (7,)}, {"b": 3}),
    Case("filter", fm.FilterLayer(name="l", bottoms=["a", "b", "c"], tops=["y", "z"]),
         {"a": (6, 4, 2), "b": (6, 3), "c": (6, 1)}, {"c": 2}),
    Case("parameter", fm.ParameterBlobLayer(name="l", tops=["y"], dims=(3, 4), blob_init=_GAUSS), {"a": (1,)}, {"a": 1}),
]  # fmt: skip
