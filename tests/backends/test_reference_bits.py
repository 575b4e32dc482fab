"""The reference gives a pixel the same bits whatever is computed beside it; dense equals sliding rests on that.

Every forward op that computes is run on the whole and on a part, and the part must come out by equality. Sizes are odd
and larger than a vector register, so that a pixel changes place between vector bodies and remainders.
"""

import doctest
import functools
import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from fullmocha.backends.reference import Ops
from fullmocha.backends.shapes import Shape, Window

from ..neurons import NEURONS, name_of

reference = Ops()
FLOATS = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def numbers(dtype: Any, *shape: int) -> np.ndarray:
    return np.random.default_rng(list(shape)).normal(size=shape).astype(dtype)


def bits(a: np.ndarray) -> np.ndarray:
    """As integers, so that -0 is not 0 and NaN is itself."""
    return np.ascontiguousarray(a).view({4: np.uint32, 8: np.uint64}[a.itemsize])


def crops(size: Shape, least: Shape) -> list[tuple[slice, slice]]:
    """A dozen windows of all sizes between `least` and the whole."""
    rng, found = np.random.default_rng(0), []
    for _ in range(12):
        at = [sorted(rng.integers(0, n - m + 1, 2)) for n, m in zip(size, least, strict=True)]
        found.append(tuple(slice(int(a), int(b) + m) for (a, b), m in zip(at, least, strict=True)))
    return found


@FLOATS
@pytest.mark.parametrize("dilation", [1, 2])
def test_conv_of_a_part(dtype: Any, dilation: int) -> None:
    window = Window.of((3, 4), dilation=dilation)
    x, w, b = numbers(dtype, 3, 10, 23, 31), numbers(dtype, 6, 5, 3, 4), numbers(dtype, 6)

    def conv(x: np.ndarray, w: np.ndarray, b: np.ndarray, group: int) -> np.ndarray:
        y = np.empty((len(x), len(w), *window.slides(x.shape[2:])), dtype)
        reference.conv(x, w, b, y, window=window, group=group)
        return y

    whole = conv(x, w, b, 2)
    for rows, columns in crops((23, 31), window.extent):
        part = conv(np.ascontiguousarray(x[1:2, :, rows, columns]), w, b, 2)
        there = whole[1:2, :, rows.start :, columns.start :][:, :, : part.shape[2], : part.shape[3]]
        np.testing.assert_array_equal(bits(part), bits(there))
    one_map = conv(np.ascontiguousarray(x[:, 5:]), w[4:5], b[4:5], 1)  # the second group's second map
    np.testing.assert_array_equal(bits(one_map[:, 0]), bits(whole[:, 4]))


@FLOATS
def test_a_strided_conv_samples_the_dense_one(dtype: Any) -> None:
    x, w = numbers(dtype, 2, 3, 21, 18), numbers(dtype, 5, 3, 3, 2)
    dense, strided = np.empty((2, 5, 19, 17), dtype), np.empty((2, 5, 10, 6), dtype)
    reference.conv(x, w, None, dense, window=Window.of((3, 2)), group=1)
    reference.conv(x, w, None, strided, window=Window((3, 2), (2, 3), (0, 0), (1, 1)), group=1)
    np.testing.assert_array_equal(bits(strided), bits(dense[:, :, ::2, ::3]))


@FLOATS
def test_deconv_of_a_part(dtype: Any) -> None:
    """Away from a part's edge, where other inputs reach too, every output has met the same terms."""
    x, w, b, window = numbers(dtype, 2, 4, 13, 17), numbers(dtype, 4, 3, 4, 4), numbers(dtype, 3), Window.of((4, 4), 2)
    whole = np.empty((2, 3, *window.spread((13, 17))), dtype)
    reference.deconv(x, w, b, whole, window=window, group=1)
    for rows, columns in crops((13, 17), (4, 4)):
        cut = np.ascontiguousarray(x[:, :, rows, columns])
        part = np.empty((2, 3, *window.spread(cut.shape[2:])), dtype)
        reference.deconv(cut, w, b, part, window=window, group=1)
        inner = part[:, :, 2:-2, 2:-2]
        there = whole[:, :, 2 * rows.start + 2 :, 2 * columns.start + 2 :][:, :, : inner.shape[2], : inner.shape[3]]
        np.testing.assert_array_equal(bits(inner), bits(there))


@FLOATS
def test_mean_pool_of_a_part(dtype: Any) -> None:
    x, window = numbers(dtype, 2, 3, 19, 23), Window.of((4, 3))
    whole = np.empty((2, 3, 16, 21), dtype)
    reference.mean_pool(x, whole, window=window, clip_divisor=False)
    for rows, columns in crops((19, 23), (4, 3)):
        cut = np.ascontiguousarray(x[:1, 1:, rows, columns])
        part = np.empty((1, 2, *window.slides(cut.shape[2:])), dtype)
        reference.mean_pool(cut, part, window=window, clip_divisor=False)
        there = whole[:1, 1:, rows.start :, columns.start :][:, :, : part.shape[2], : part.shape[3]]
        np.testing.assert_array_equal(bits(part), bits(there))


POINTWISE: dict[str, Callable[[np.ndarray, np.ndarray], None]] = {
    **{name_of(n): functools.partial(reference.activate, kind=n[0], parameters=n[1]) for n in NEURONS},
    "softmax": lambda x, y: reference.softmax(x, y, axis=0),
}


@FLOATS
@pytest.mark.parametrize("name", POINTWISE)
def test_an_element_wherever_it_lies(dtype: Any, name: str) -> None:
    """Any length up to three vector registers, any start, any distance between elements; small and large values."""
    op = POINTWISE[name]
    x = numbers(dtype, 5, 400) * np.geomspace(0.01, 100, 400, dtype=dtype)
    whole = np.empty_like(x)
    op(x, whole)
    for length in range(1, 50):
        for start, step in ((0, 1), (7, 1), (length, 3), (1, 7)):
            cut = (slice(None), slice(start, start + length * step, step))
            y = np.empty((5, length), dtype)
            op(x[cut], y)
            np.testing.assert_array_equal(bits(y), bits(whole[cut]))
            op(np.ascontiguousarray(x[cut]), y)
            np.testing.assert_array_equal(bits(y), bits(whole[cut]))


@FLOATS
@pytest.mark.parametrize("name", [name_of(n) for n in NEURONS])
def test_an_element_read_backwards(dtype: Any, name: str) -> None:
    """Where numpy's own exp differs in float64, in one axis."""
    x = 3 * numbers(dtype, 4001)
    there, back = np.empty_like(x), np.empty_like(x)
    POINTWISE[name](x, there)
    POINTWISE[name](x[::-1], back)
    np.testing.assert_array_equal(bits(back), bits(there[::-1]))


@FLOATS
def test_sums_keep_the_order_of_the_protocol(dtype: Any) -> None:
    """The bias, then c, then i; classes from 0 up: one number at a time, in the textbook's loops."""
    window = Window((2, 3), (2, 1), (1, 1), (1, 2))
    x, w, b = numbers(dtype, 2, 4, 5, 6), numbers(dtype, 6, 2, 2, 3), numbers(dtype, 6)
    y = np.empty((2, 6, *window.slides((5, 6))), dtype)
    reference.conv(x, w, b, y, window=window, group=2)
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    for n, k, row, column in np.ndindex(y.shape):
        total = b[k]
        for c, i, j in np.ndindex(2, 2, 3):
            total = total + w[k, c, i, j] * padded[n, c + 2 * (k // 3), 2 * row + i, column + 2 * j]
        assert total.dtype == dtype and bits(y[n, k, row, column]) == bits(total)

    z, p = 3 * numbers(dtype, 3, 11), np.empty((3, 11), dtype)
    reference.softmax(z, p, axis=1)
    for row, answer in zip(z, p, strict=True):
        e = np.exp(row - row.max())
        total = e[0]
        for term in e[1:]:
            total = total + term
        np.testing.assert_array_equal(bits(answer), bits(e / total))


@FLOATS
def test_deconv_adds_in_the_order_of_the_protocol(dtype: Any) -> None:
    x, w, b, window = numbers(dtype, 2, 4, 3, 4), numbers(dtype, 4, 3, 3, 2), numbers(dtype, 6), Window.of((3, 2), 2)
    y = np.empty((2, 6, *window.spread((3, 4))), dtype)
    reference.deconv(x, w, b, y, window=window, group=2)
    for n, k in np.ndindex(2, 6):
        total = np.full(y.shape[2:], b[k], dtype)
        for c, i, j in np.ndindex(2, 3, 2):
            source = c + 2 * (k // 3)
            for row, column in np.ndindex(3, 4):
                total[2 * row + i, 2 * column + j] += w[source, k % 3, i, j] * x[n, source, row, column]
        np.testing.assert_array_equal(bits(y[n, k]), bits(total))


@FLOATS
def test_softmax_along_any_axis(dtype: Any) -> None:
    """Summed in the axis's order, whether or not it is the contiguous one."""
    x = 3 * numbers(dtype, 37, 29)
    across, down = np.empty_like(x), np.empty((29, 37), dtype)
    reference.softmax(x, across, axis=1)
    reference.softmax(np.ascontiguousarray(x.T), down, axis=0)
    np.testing.assert_array_equal(bits(across), bits(down.T))


@pytest.mark.parametrize(
    "name", ["windows", "pointwise", "classes", "moves", "training", "storage", "combinations", "select"]
)
def test_examples_in_docstrings(name: str) -> None:
    result = doctest.testmod(importlib.import_module(f"fullmocha.backends.reference.{name}"))
    assert result.attempted and not result.failed
