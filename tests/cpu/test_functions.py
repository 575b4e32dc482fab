"""The vector functions against wider floats: errors in units in the last place, the edges, and other vectors."""

import platform
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
from fullmocha.backends.cpu import functions
from fullmocha.backends.cpu.jit import OPTIONS
from fullmocha.backends.cpu.simd import lanes_of
from fullmocha.backends.cpu.vectors import load, store

from .conftest import RunPython

# Measured over `sweep`, in float32 and float64: exp 1.05 and 1.14, tanh 2.49 and 2.69, sigmoid 2.29 and 2.24, expm1 0.96
# and 1.24, log 0.91 and 1.06, softplus 1.65 and 1.55 units. Half a unit is the last rounding; a division of two rounded sums
# has three of them, some twice as large.
ULPS = {"exp": 1.2, "tanh": 2.8, "sigmoid": 2.4, "expm1": 1.4, "log": 1.2, "softplus": 1.8}
WIDER = np.finfo(np.longdouble).nmant > 52


def applied(name: str) -> Any:
    function = getattr(functions, name)

    @numba.njit(**OPTIONS)
    def apply(x, y):
        for i in range(0, len(x), lanes_of(x)):
            store(function(load(x, i)), y, i)

    return apply


FUNCTIONS = {name: applied(name) for name in ULPS}


def evaluate(name: str, x: np.ndarray) -> np.ndarray:
    """The function of every element; the kernel takes whole vectors only, so what is missing is made up and cut off."""
    padded = np.resize(x, -(-x.size // 64) * 64)
    y = np.empty_like(padded)
    FUNCTIONS[name](padded, y)
    return y[: x.size]


def sweep(dtype: np.dtype, thinning: int = 1) -> np.ndarray:
    """Numbers of every magnitude and both signs, and more of them where the functions bend."""
    rng = np.random.default_rng(0)
    bits, infinity = (np.int32, 0x7F800000) if dtype == np.float32 else (np.int64, 0x7FF << 52)
    magnitudes = np.arange(0, infinity, infinity // 2**20 * thinning, bits).view(dtype)
    ends = (-105, 90) if dtype == np.float32 else (-750, 712)  # exp has left the float's range at both
    bends = [rng.uniform(*span, 2**18 // thinning) for span in ((-2, 2), (-30, 30), ends)]
    return np.concatenate([magnitudes, -magnitudes, *(part.astype(dtype) for part in bends)])


def worst(name: str, x: np.ndarray, y: np.ndarray) -> float:
    """The largest error of y in units in the last place; y is infinite exactly where it has to be."""
    with np.errstate(all="ignore"):  # overflow is among what is tested
        wide = x.astype(np.longdouble)
        e = np.exp(wide if name == "exp" else -abs(wide))
        exact = {
            "exp": e,
            "tanh": np.tanh(wide),
            "sigmoid": np.where(x > 0, 1, e) / (1 + e),
            "expm1": np.expm1(np.minimum(wide, 0)),
            "log": np.log(wide),
            "softplus": np.maximum(wide, 0) + np.log1p(e),
        }[name]
        nearest = exact.astype(x.dtype)
        units = abs(y - exact) / np.spacing(abs(nearest)).astype(np.longdouble)
    np.testing.assert_array_equal(np.isfinite(y), np.isfinite(nearest))
    return float(units[np.isfinite(nearest)].max())


@pytest.mark.skipif(not WIDER, reason="judged by a long double that is wider than float64")
@pytest.mark.parametrize("name", ULPS)
def test_errors_in_units_in_the_last_place(name: str, dtype: np.dtype) -> None:
    x = sweep(dtype)
    assert worst(name, x, evaluate(name, x)) <= ULPS[name]


def test_the_edges(dtype: np.dtype) -> None:
    inf, nan = np.inf, np.nan
    x = np.array([nan, -nan, inf, -inf, 0.0, np.finfo(dtype).max, np.finfo(dtype).min], dtype)
    np.testing.assert_array_equal(evaluate("exp", x), [nan, nan, inf, 0, 1, inf, 0])
    np.testing.assert_array_equal(evaluate("tanh", x), [nan, nan, 1, -1, 0, 1, -1])
    np.testing.assert_array_equal(evaluate("sigmoid", x), [nan, nan, 1, 0, 0.5, 1, 0])
    np.testing.assert_array_equal(evaluate("expm1", x), [nan, nan, 0, -1, 0, 0, -1])
    np.testing.assert_array_equal(evaluate("log", x[:5]), [nan, nan, inf, nan, -inf])
    np.testing.assert_array_equal(evaluate("softplus", x)[[0, 1, 2, 3, 5, 6]], [nan, nan, inf, 0, x[5], 0])


def test_tanh_is_odd_and_itself_near_zero(dtype: np.dtype) -> None:
    x = sweep(dtype, 16)
    y = evaluate("tanh", x)
    np.testing.assert_array_equal(evaluate("tanh", -x), -y)
    tiny = abs(x) < 2.0 ** (-(np.finfo(dtype).nmant + 4) / 2)  # x^3 / 3 is less than a quarter of a unit of x
    assert (tiny & (x != 0)).sum() > 1000
    np.testing.assert_array_max_ulp(y[tiny], x[tiny], 1)
    np.testing.assert_array_equal(abs(y[abs(x) > 20]), 1)


OTHER_VECTORS = """
import sys
sys.path[:0] = [{tests!r}]
from cpu.test_functions import ULPS, evaluate, np, sweep
from fullmocha.backends.cpu.simd import VECTOR_BYTES
for name in ULPS:
    for dtype in ("float32", "float64"):
        np.save({folder!r} + f"/{{name}}_{{dtype}}.npy", evaluate(name, sweep(np.dtype(dtype), 16)))
print(VECTOR_BYTES)
"""


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="the other processors are x86's")
@pytest.mark.parametrize(("cpu", "width", "fused"), [("haswell", 32, True), ("nehalem", 16, False)])
def test_other_vectors(run_python: RunPython, tmp_path: Path, cpu: str, width: int, fused: bool) -> None:
    """Shorter vectors give the same bits; without fused multiply-adds, two more roundings at most."""
    code = OTHER_VECTORS.format(tests=str(Path(__file__).parents[1]), folder=str(tmp_path))
    assert int(run_python(code, NUMBA_CPU_NAME=cpu, NUMBA_CPU_FEATURES="")) == width
    for name, ulps in ULPS.items():
        for kind in (np.dtype("float32"), np.dtype("float64")):
            x, y = sweep(kind, 16), np.load(tmp_path / f"{name}_{kind}.npy")
            if fused:
                np.testing.assert_array_equal(y, evaluate(name, x))
            elif WIDER:
                assert worst(name, x, y) <= ulps + 1
