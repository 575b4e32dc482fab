"""One update of a parameter by each method, on every backend, against the equation in float64."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

Draw = Callable[..., np.ndarray]
SHAPES = [(1,), (3, 5, 7), (101, 1031)]  # the last is worth several threads, and no multiple of a block


def momentum(g: Any, v: Any, w: Any, rate: float, momentum: float) -> list[Any]:
    new = momentum * v - rate * g
    return [new, w + new]


def nesterov(g: Any, v: Any, w: Any, rate: float, momentum: float, ahead: float) -> list[Any]:
    new = momentum * v - rate * g
    return [new, w - momentum * v + (1 + ahead) * new]


def squares(g: Any, h: Any, w: Any, rate: float, keep: float, take: float, epsilon: float) -> list[Any]:
    new = keep * h + take * g * g
    return [new, w - rate * g / (np.sqrt(new) + epsilon)]


def adadelta(g: Any, h: Any, d: Any, w: Any, rate: float, keep: float, epsilon: float) -> list[Any]:
    new = keep * h + (1 - keep) * g * g
    u = g * np.sqrt((d + epsilon) / (new + epsilon))
    return [new, keep * d + (1 - keep) * u * u, w - rate * u]


def adam(g: Any, m: Any, s: Any, w: Any, rate: float, beta1: float, beta2: float, epsilon: float) -> list[Any]:
    mean, square = beta1 * m + (1 - beta1) * g, beta2 * s + (1 - beta2) * g * g
    return [mean, square, w - rate * mean / (np.sqrt(square) + epsilon)]


# op, equation, how many memories it has, numbers
STEPS: list[tuple[str, Callable[..., list[Any]], int, dict[str, float]]] = [
    ("momentum_step", momentum, 1, {"rate": 0.3, "momentum": 0.9}),
    ("nesterov_step", nesterov, 1, {"rate": 0.3, "momentum": 0.8, "ahead": 0.7}),
    ("squares_step", squares, 1, {"rate": 0.3, "keep": 0.9, "take": 0.2, "epsilon": 1e-3}),
    ("adadelta_step", adadelta, 2, {"rate": 0.7, "keep": 0.9, "epsilon": 1e-3}),
    ("adam_step", adam, 2, {"rate": 0.3, "beta1": 0.8, "beta2": 0.95, "epsilon": 1e-3}),
]


def on(ops: Any, *arrays: np.ndarray) -> list[Any]:
    places = [ops.empty(a.shape, a.dtype) for a in arrays]
    for a, place in zip(arrays, places, strict=True):
        ops.from_host(a, place)
    return places


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("op", "equation", "count", "numbers_"), STEPS, ids=[s[0] for s in STEPS])
def test_step(
    ops: Any, draw: Draw, dtype: np.dtype, op: str, equation: Any, count: int, numbers_: dict[str, float], shape: Any
) -> None:
    g, w = draw(*shape), draw(*shape)
    memories = [np.abs(draw(*shape)) if op != "momentum_step" else draw(*shape) for _ in range(count)]
    places = on(ops, g, *memories, w)
    try:
        getattr(ops, op)(*places, **numbers_)
    except NotImplementedError as error:
        pytest.skip(str(error))
    wanted = equation(*(a.astype(np.float64) for a in (g, *memories, w)), **numbers_)
    np.testing.assert_array_equal(ops.to_host(places[0]), g)
    for place, right in zip(places[1:], wanted, strict=True):
        got = ops.to_host(place)
        assert got.dtype == dtype
        # At most eight roundings, of numbers of order 1; the draws reach 5, and a root of small squares no more than triples them
        np.testing.assert_allclose(got, right, rtol=0, atol=8 * np.finfo(dtype).eps * 15)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_sum_squares(ops: Any, draw: Draw, shape: Any) -> None:
    x = draw(*shape)
    try:
        got = ops.sum_squares(*on(ops, x))
    except NotImplementedError as error:
        pytest.skip(str(error))
    # 1e5 terms in float64 on both sides
    assert got == pytest.approx(float((x.astype(np.longdouble) ** 2).sum()), rel=1e5 * np.finfo(float).eps)


def test_the_same_bits_on_one_thread(ops: Any, draw: Draw) -> None:
    """And on two, where there are two: partial sums are of fixed blocks."""
    x = draw(257, 1031)
    found = []
    for threads in (1, None):
        ops.set_threads(threads)
        try:
            found.append(ops.sum_squares(*on(ops, x)))
        except NotImplementedError as error:
            pytest.skip(str(error))
    ops.set_threads(None)
    assert found[0] == found[1]
