"""The ops on vectors at widths where a vector is whole, partial or missing, against the reference: NaN, ties, edges."""

import sys
from math import prod
from typing import Any

import numpy as np
import pytest
from fullmocha.backends.cpu import Ops
from fullmocha.backends.reference import Ops as Reference
from fullmocha.backends.shapes import Shape, Window

from ..neurons import NEURONS, name_of
from .conftest import Draw, RunPython

WIDTHS = [1, 7, 16, 35, 70]
WINDOWS = [
    Window.of((2, 2), stride=2),
    Window.of((2, 3), dilation=2),
    Window.of((3, 3), stride=2, pad=1),
    Window((2, 3), (1, 3), (1, 2), (2, 1)),
    Window((3, 2), (2, 5), (0, 1), (1, 1)),
]


def pooled(window: Window, width: int) -> tuple[Shape, Shape]:
    """Shapes of x and y; the last windows may hang over the edge."""
    x = (2, 3, 11, width)
    return x, (*x[:2], *(max(n, 1) for n in window.slides(x[2:], "ceil")))


def awkward(draw: Draw, shape: Shape) -> np.ndarray:
    """Small integers, so that there are ties and sums are exact, and the numbers that are none."""
    x = np.rint(2 * draw(*shape))
    odd = np.rint(4 * draw(*shape))
    for value, code in ((np.nan, 4), (-np.inf, 5), (np.inf, 6)):
        x[abs(odd) == code] = value
    x[0, 0, :4], x[1, 2, -5:] = np.nan, -np.inf  # windows without a number, and without a finite one
    return x


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_max_pool_and_its_gradient_bit_for_bit(
    ops: Ops, reference: Reference, draw: Draw, window: Window, width: int
) -> None:
    shape, out = pooled(window, width)
    x, dy, dx = awkward(draw, shape), np.rint(9 * draw(*out)), np.rint(9 * draw(*shape))
    results: list[list[np.ndarray]] = []
    for o in (ops, reference):
        y, grad = np.full(out, 3, x.dtype), dx.copy()
        o.max_pool(x, y, window=window)
        o.max_pool_backward(dy, x, grad, window=window)
        results.append([y, grad])
    for got, expected in zip(*results, strict=True):
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_mean_pool_and_its_gradient(
    ops: Ops, reference: Reference, draw: Draw, dtype: np.dtype, window: Window, width: int
) -> None:
    """At most nine taps are added and divided: ten roundings of numbers below some ten."""
    shape, out = pooled(window, width)
    x, dy, dx = draw(*shape), draw(*out), draw(*shape)
    for clip in (False, True):
        results: list[list[np.ndarray]] = []
        for o in (ops, reference):
            y, grad = np.full(out, 3, x.dtype), dx.copy()
            o.mean_pool(x, y, window=window, clip_divisor=clip)
            o.mean_pool_backward(dy, grad, window=window, clip_divisor=clip)
            results.append([y, grad])
        for got, expected in zip(*results, strict=True):
            np.testing.assert_allclose(got, expected, rtol=0, atol=100 * np.finfo(dtype).eps)


@pytest.mark.parametrize("add", [False, True])
@pytest.mark.parametrize("strides", [((2, 2),), ((3, 1),), ((1, 5),), ((2, 3), (3, 1)), ((2, 2), (2, 2))], ids=str)
def test_fragments_bit_for_bit(
    ops: Ops, reference: Reference, draw: Draw, strides: tuple[Shape, ...], add: bool
) -> None:
    down, across = (prod(stride[axis] for stride in strides) for axis in (0, 1))
    for height, width in ((9, 37), (16, 70), (1, 3), (5, 130), (3, 1)):
        maps, parts = (2, 3, height, width), (2 * down * across, 3, -(-height // down), -(-width // across))
        for op, x, y in (("fragment", draw(*maps), draw(*parts)), ("stitch", draw(*parts), draw(*maps))):
            expected = y.copy()
            getattr(ops, op)(x, y, strides=strides, add=add)
            getattr(reference, op)(x, expected, strides=strides, add=add)
            np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("shape", [(5, 1), (3, 35), (2, 4, 3), (2, 3, 5, 7), (1, 6, 1, 1030)], ids=str)
def test_softmax_and_gradients(ops: Ops, reference: Reference, draw: Draw, dtype: np.dtype, shape: Shape) -> None:
    """Probabilities to 35 classes' roundings of an exponential, a sum and a quotient; an ignored NaN stays out of sight."""
    x, dy, dx = 3 * draw(*shape), draw(*shape), draw(*shape)
    x[-1, 0] = -np.inf if shape[1] > 1 else 0
    label = np.abs(np.rint(3 * draw(shape[0], *shape[2:]))).astype(dtype) % shape[1]
    label.reshape(-1)[::3] = 255
    hidden = draw(*shape)
    np.moveaxis(hidden, 1, -1)[label == 255] = np.nan
    results: list[list[np.ndarray]] = []
    for o, kind in ((ops, dtype), (reference, np.dtype(float))):
        y, grad, loss_grad = np.empty(shape, kind), dx.astype(kind), dx.astype(kind)
        o.softmax(x.astype(kind), y, axis=1)
        o.softmax_backward(dy.astype(kind), y, grad, axis=1)
        o.softmax_loss_backward(hidden.astype(kind), label.astype(kind), loss_grad, axis=1, ignore=255, scale=0.5)
        results.append([y, grad, loss_grad])
    for got, expected in zip(*results, strict=True):
        assert np.isfinite(got).all()
        np.testing.assert_allclose(got, expected, rtol=0, atol=40 * np.finfo(dtype).eps)


NEURON = pytest.mark.parametrize(("kind", "parameters"), NEURONS, ids=map(name_of, NEURONS))


@NEURON
def test_numbers_that_are_none(
    ops: Ops, reference: Reference, dtype: np.dtype, kind: Any, parameters: tuple[float, ...]
) -> None:
    """One of them in every place of three vectors and a part of one, forward and backward."""
    options: dict[str, Any] = {"kind": kind, "parameters": parameters}
    for special in (np.nan, np.inf, -np.inf, -0.0):
        x = np.where(np.eye(53, dtype=bool), special, 0.5).astype(dtype)
        results: list[list[np.ndarray]] = []
        for o in (ops, reference):
            y, dx = np.empty_like(x), np.ones_like(x)
            o.activate(x, y, **options)
            o.activate_backward(x, x, y, dx, **options)
            results.append([y, dx])
        for got, expected in zip(*results, strict=True):
            np.testing.assert_allclose(got, expected, rtol=8 * np.finfo(dtype).eps, atol=0)


@NEURON
def test_neurons_over_several_chunks_and_in_place(
    ops: Ops, reference: Reference, draw: Draw, dtype: np.dtype, kind: Any, parameters: tuple[float, ...]
) -> None:
    """Four units in the last place of numbers; where shift + scale x or rate x is rounded first, also of some 30."""
    options: dict[str, Any] = {"kind": kind, "parameters": parameters}
    eps, inner = np.finfo(dtype).eps, kind in ("power", "log", "exponential", "swish")
    x, dy, dx = draw(3, 4099), draw(3, 4099), draw(3, 4099)
    y, expected, in_place, grad, expected_grad = x.copy(), np.empty_like(x), x.copy(), dx.copy(), dx.copy()
    ops.activate(x, y, **options)
    ops.activate(in_place, in_place, **options)
    reference.activate(x, expected, **options)
    np.testing.assert_array_equal(in_place, y)
    np.testing.assert_allclose(y, expected, rtol=4 * eps, atol=120 * eps * inner)
    ops.activate_backward(dy, x, y, grad, **options)
    reference.activate_backward(dy, x, y, expected_grad, **options)
    np.testing.assert_allclose(grad, expected_grad, rtol=0, atol=100 * eps)


# Memory that ends where the arrays end: a vector that reads or writes one number outside kills the process.
GUARDED = """
import ctypes, mmap
from math import prod
import numpy as np
from fullmocha.backends.cpu import Ops

libc, PAGE = ctypes.CDLL(None, use_errno=True), mmap.PAGESIZE
kept = []

def guarded(shape, at_end):
    size = 4 * prod(shape)
    pages = -(-size // PAGE)
    memory = mmap.mmap(-1, (pages + 2) * PAGE)
    base = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    for page in (0, pages + 1):
        assert libc.mprotect(ctypes.c_void_p(base + page * PAGE), PAGE, 0) == 0
    kept.append(memory)
    return np.ndarray(shape, np.float32, memory, (pages + 1) * PAGE - size if at_end else PAGE)

ops = Ops()
for at_end in (True, False):
    for window, shape, out in POOLED:
        x, y, dx = (guarded(s, at_end) for s in (shape, out, shape))
        ops.max_pool(x, y, window=window)
        ops.max_pool_backward(y, x, dx, window=window)
        ops.mean_pool(x, y, window=window, clip_divisor=True)
        ops.mean_pool_backward(y, dx, window=window, clip_divisor=True)
    for size in (35, 64, 1):
        x, y, dx, label = (guarded((1, 3, size), at_end) for _ in range(4))
        for kind, parameters in (("relu", (0.5,)), ("tanh", ()), ("power", (1.5, 1.0, 0.0))):
            ops.activate(x, y, kind=kind, parameters=parameters)
            ops.activate_backward(y, x, y, dx, kind=kind, parameters=parameters)
        for axis in (1, 2):
            ops.softmax(x, y, axis=axis)
            ops.softmax_backward(x, y, dx, axis=axis)
        ops.softmax_loss_backward(x, guarded((1, size), at_end), dx, axis=1, ignore=None, scale=1.0)
        ops.move(x, y, source=(0, 0, 0), target=(0, 0, 0), size=(1, 3, size), add=True)
        for step in (2, 3):
            maps, parts = guarded((1, 1, step, size), at_end), guarded((step**2, 1, 1, -(-size // step)), at_end)
            for add in (False, True):
                ops.fragment(maps, parts, strides=((step, step),), add=add)
                ops.stitch(parts, maps, strides=((step, step),), add=add)
print("done", len(kept))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="protects pages by Linux's mprotect")
def test_nothing_outside_the_arrays_is_touched(run_python: RunPython) -> None:
    cases = [(window, *pooled(window, width)) for window in WINDOWS for width in WIDTHS]
    code = f"from fullmocha.backends.shapes import Window\nPOOLED = {cases!r}\n"
    assert run_python(code + GUARDED).startswith("done")
