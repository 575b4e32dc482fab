"""Operators that are several of our layers."""

from collections.abc import Sequence
from math import prod, sqrt
from typing import Any

import numpy as np

from ... import layers
from ...layers import ElementWiseFunctors
from ..reader import Attributes, Reader

_LEAST = 1e-37  # of a probability whose logarithm is taken: float32 has none much smaller


def log_softmax(to: Reader, node: Any, given: Attributes) -> None:
    from .pointwise import softmax_axis

    p = to.step(node, layers.SoftmaxLayer, to.blob(node), axis=softmax_axis(to, node, given))
    to.add(node, layers.LogLayer, [p], shift=_LEAST)


def hard_sigmoid(to: Reader, node: Any, given: Attributes) -> None:
    line: Attributes = {"scale": float(given.get("alpha", 0.2)), "shift": float(given.get("beta", 0.5))}
    to.add(node, layers.ClipLayer, [to.step(node, layers.PowerLayer, to.blob(node), **line)], least=0.0, most=1.0)


def hard_swish(to: Reader, node: Any, given: Attributes) -> None:
    x = to.blob(node)
    line = to.step(node, layers.PowerLayer, x, scale=1 / 6, shift=0.5)
    _product(to, node, x, to.step(node, layers.ClipLayer, line, least=0.0, most=1.0))


def mish(to: Reader, node: Any, given: Attributes) -> None:
    x = to.blob(node)
    _product(to, node, x, to.step(node, layers.TanHLayer, to.step(node, layers.BNLLLayer, x)))


def gelu(to: Reader, node: Any, given: Attributes) -> None:
    if given.get("approximate", "none") != "tanh":
        raise to.refuse(node, 'is by the error function, which no layer here is; export with nn.GELU("tanh")')
    x = to.blob(node)
    cube = to.step(node, layers.PowerLayer, x, power=3.0)
    sum_ = to.step(
        node, layers.ElementWiseLayer, x, cube, operation=ElementWiseFunctors.Add(),
        coefficients=(sqrt(2 / np.pi), 0.044715 * sqrt(2 / np.pi)),
    )  # fmt: skip
    _product(to, node, x, to.step(node, layers.PowerLayer, to.step(node, layers.TanHLayer, sum_), scale=0.5, shift=0.5))


def _product(to: Reader, node: Any, *factors: str) -> None:
    to.add(node, layers.ElementWiseLayer, factors, operation=ElementWiseFunctors.Multiply())


def softsign(to: Reader, node: Any, given: Attributes) -> None:
    x = to.blob(node)
    divisor = to.step(node, layers.PowerLayer, to.step(node, layers.AbsValLayer, x), shift=1.0)
    to.add(node, layers.ElementWiseLayer, [x, divisor], operation=ElementWiseFunctors.Divide())


def selu(to: Reader, node: Any, given: Attributes) -> None:
    x = to.step(node, layers.ELULayer, to.blob(node), alpha=float(given.get("alpha", 1.6732632423543772)))
    to.add(node, layers.PowerLayer, [x], scale=float(given.get("gamma", 1.0507009873554805)))


def celu(to: Reader, node: Any, given: Attributes) -> None:
    alpha = float(given.get("alpha", 1.0))
    x = to.step(node, layers.ELULayer, to.step(node, layers.PowerLayer, to.blob(node), scale=1 / alpha))
    to.add(node, layers.PowerLayer, [x], scale=alpha)


def minimum(to: Reader, node: Any, bottoms: Sequence[str]) -> None:
    """Less the largest of the negated."""
    negated = [to.step(node, layers.PowerLayer, b, scale=-1.0) for b in bottoms]
    top = to.step(node, layers.ElementWiseLayer, *negated, operation=ElementWiseFunctors.Maximum())
    to.add(node, layers.PowerLayer, [top], scale=-1.0)


def instance_normalization(to: Reader, node: Any, given: Attributes) -> None:
    x = to.blob(node)
    even = _standardized(to, node, x, to.shapes[x][:2], given)
    _scaled(to, node, even, to.needed(node, 1), to.needed(node, 2))


def group_normalization(to: Reader, node: Any, given: Attributes) -> None:
    x, gamma, beta = to.blob(node), to.needed(node, 1), to.needed(node, 2)
    channels, groups = to.shapes[x][1], int(given["num_groups"])
    even = _standardized(to, node, x, (to.shapes[x][0], groups), given)
    gamma, beta = (np.repeat(v, channels // len(v)) for v in (gamma, beta))  # from opset 21 one for each channel
    _scaled(to, node, even, gamma, beta)


def layer_normalization(to: Reader, node: Any, given: Attributes) -> None:
    x, gamma, beta = to.blob(node), to.needed(node, 1), to.constant(node, 2)
    shape = to.shapes[x]
    axis = int(given.get("axis", -1)) % len(shape)
    if axis == 0 or any(v is not None and v.shape != shape[axis:] for v in (gamma, beta)):
        raise to.refuse(node, f"from axis {axis} of {shape}, with factors of {gamma.shape}, is not read")
    _scaled(to, node, _standardized(to, node, x, shape[:axis], given), gamma, beta, axis)


def _standardized(to: Reader, node: Any, x: str, rows: Sequence[int], given: Attributes) -> str:
    """(x - mean) / sqrt(variance + eps) of each row: MVN without the division, because it adds eps behind the root."""
    shape = to.shapes[x]
    count = prod(rows[1:])
    as_rows = to.step(node, layers.ReshapeLayer, x, dims=(0, count, prod(shape[1:]) // count))
    centred = to.step(node, layers.MVNLayer, as_rows, normalize_variance=False)
    coefficient = 1 / to.shapes[centred][2]
    variance = to.step(node, layers.ReductionLayer, centred, operation="sumsq", axis=2, coefficient=coefficient)
    share = to.step(node, layers.PowerLayer, variance, shift=float(given.get("epsilon", 1e-5)), power=-0.5)
    even = to.step(node, layers.ScaleLayer, centred, share, axis=0)
    return to.step(node, layers.ReshapeLayer, even, dims=(0, *shape[1:]))


def _scaled(to: Reader, node: Any, x: str, gamma: np.ndarray, beta: np.ndarray | None, axis: int = 1) -> None:
    values = [gamma] if beta is None else [gamma, beta]
    to.add(node, layers.ScaleLayer, [x], values, axis=axis, num_axes=gamma.ndim, bias=beta is not None)
