"""Sizes at which vectors, blocks and panels end early, against the reference in float64; and the published bound."""

import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from fullmocha.backends.cpu import Ops
from fullmocha.backends.program import Step, Value, Weight
from fullmocha.backends.reference import Ops as Reference
from fullmocha.backends.shapes import Shape, Window

Draw = Callable[..., np.ndarray]
RunPython = Callable[..., str]

# x, maps, window, groups
CASES: list[tuple[Shape, int, Window, int]] = [
    ((2, 1, 9, 37), 1, Window.of((3, 2)), 1),
    ((1, 3, 20, 70), 47, Window.of((5, 4), dilation=2), 1),
    ((2, 4, 8, 3), 8, Window.of((2, 2)), 1),  # narrower than any vector
    ((1, 2, 1, 5), 3, Window.of((1, 2)), 1),  # smaller than a vector altogether
    ((1, 5, 50, 49), 9, Window.of((4, 4), dilation=16), 1),
    ((2, 3, 31, 64), 8, Window.of((3, 3), stride=2), 1),
    ((2, 3, 31, 65), 8, Window((3, 4), (3, 2), (1, 2), (1, 1)), 1),
    ((1, 6, 33, 32), 12, Window((2, 5), (1, 3), (0, 3), (4, 1)), 3),
    ((2, 20, 7, 40), 20, Window.of((3, 3), pad=1), 20),  # depthwise
    ((33, 5, 6, 7), 10, Window.of((3, 3), stride=2, pad=1), 1),  # vectors over the batch
    ((70, 90, 1, 1), 19, Window.of((1, 1)), 1),  # an inner product
    ((3, 30, 17, 17), 24, Window.of((1, 1)), 1),  # rows end to end
    ((1, 2, 12, 35), 4, Window.of((2, 2), stride=3), 1),  # a stride that passes over inputs
]


def assert_close(got: np.ndarray, wide: np.ndarray, bound: float) -> None:
    """DESIGN's measure: the largest error over the root mean square."""
    assert got.shape == wide.shape and np.isfinite(got).all()
    assert np.abs(got - wide).max() <= bound * np.sqrt(np.square(wide).mean())


@pytest.mark.parametrize(("x_shape", "maps", "window", "group"), CASES, ids=str)
def test_convolution_and_gradients(
    ops: Ops, reference: Reference, draw: Draw, dtype: np.dtype, x_shape: Shape, maps: int, window: Window, group: int
) -> None:
    """Gradients are added to what is there; deconvolution is the same data the other way."""
    bound = 4e-6 if dtype == np.float32 else 1e-13
    x, w, b = draw(*x_shape), draw(maps, x_shape[1] // group, *window.kernel), draw(maps)
    y = draw(x_shape[0], maps, *window.slides(x_shape[2:]))
    filled, back = draw(*y.shape), draw(*x_shape)
    grads, deconv_grads = [draw(*a.shape) for a in (x, w, b)], [draw(*a.shape) for a in (y, w)]
    options: dict[str, Any] = {"window": window, "group": group}

    def results(ops: Any, kind: np.dtype) -> list[np.ndarray]:
        X, W, B, Y, out, up = (a.astype(kind) for a in (x, w, b, y, filled, back))
        written = [a.astype(kind) for a in (*grads, *deconv_grads)]
        ops.conv(X, W, B, out, **options)
        ops.conv_backward(Y, X, W, *written[:3], **options)
        ops.deconv(Y, W, None, up, **options)
        ops.deconv_backward(X, Y, W, *written[3:], None, **options)
        return [out, up, *written]

    wide = results(reference, np.dtype(np.float64))
    for got, exact in zip(results(ops, dtype), wide, strict=True):
        assert_close(got, exact, bound)


def test_the_bound_holds_for_19200_terms(ops: Ops, reference: Reference, draw: Draw, dtype: np.dtype) -> None:
    """A net's widest sums; positive inputs, as after a ReLU."""
    x, w, b = np.abs(draw(1, 192, 30, 46)), draw(16, 192, 10, 10), draw(16)
    y, wide = np.empty((1, 16, 12, 28), dtype), np.empty((1, 16, 12, 28))
    options: dict[str, Any] = {"window": Window.of((10, 10), dilation=2), "group": 1}
    ops.conv(x, w, b, y, **options)
    reference.conv(x.astype(float), w.astype(float), b.astype(float), wide, **options)
    assert_close(y, wide, 4e-6 if dtype == np.float32 else 1e-13)


def test_the_bound_holds_for_millions_of_outputs(ops: Ops, draw: Draw, dtype: np.dtype) -> None:
    """250 terms of either sign, nine million times: the worst of many is where a block of sums that is too long shows.

    Blocks of 256 terms gave 4.3e-6, of 128 give 2.2e-6. Against float64 on the same backend, whose own error is 1e-15.
    """
    if dtype != np.float32:
        pytest.skip("float64 is what it is compared with")
    x, w = draw(1, 10, 304, 310), draw(96, 10, 5, 5)
    y, wide = np.empty((1, 96, 300, 306), dtype), np.empty((1, 96, 300, 306))
    options: dict[str, Any] = {"window": Window.of((5, 5)), "group": 1}
    ops.conv(x, w, None, y, **options)
    ops.conv(x.astype(float), w.astype(float), None, wide, **options)
    assert_close(y, wide, 4e-6)


def test_the_bound_holds_for_gradients_over_many_pixels(
    ops: Ops, reference: Reference, draw: Draw, dtype: np.dtype
) -> None:
    x, dy, w = draw(2, 2, 203, 301), draw(2, 3, 201, 300), draw(3, 2, 3, 2)
    grads = [np.zeros_like(w), np.zeros(3, dtype)]
    wide = [a.astype(float) for a in grads]
    options: dict[str, Any] = {"window": Window.of((3, 2)), "group": 1}
    ops.conv_backward(dy, x, w, None, *grads, **options)
    reference.conv_backward(dy.astype(float), x.astype(float), w.astype(float), None, *wide, **options)
    for got, exact in zip(grads, wide, strict=True):
        assert_close(got, exact, 4e-6 if dtype == np.float32 else 1e-13)


# Memory that ends where the arrays end: one element read or written outside kills the process.
GUARDED = """
import ctypes, mmap
import numpy as np
from fullmocha.backends.cpu import Ops
from fullmocha.backends.shapes import Window

libc, PAGE = ctypes.CDLL(None, use_errno=True), mmap.PAGESIZE
kept = []

def guarded(host, at_end):
    '''A copy whose last (or first) byte is the last (or first) before a page that may not be touched.'''
    pages = -(-host.nbytes // PAGE)
    memory = mmap.mmap(-1, (pages + 2) * PAGE)
    base = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    for page in (0, pages + 1):
        assert libc.mprotect(ctypes.c_void_p(base + page * PAGE), PAGE, 0) == 0
    start = (pages + 1) * PAGE - host.nbytes if at_end else PAGE
    copy = np.ndarray(host.shape, host.dtype, memory, start)
    copy[...] = host
    kept.append(memory)
    return copy

ops, rng = Ops(), np.random.default_rng(0)
for (x, k, window, group) in CASES:
    shapes = x, (k, x[1] // group, *window.kernel), (k,), (x[0], k, *window.slides(x[2:]))
    for at_end in (True, False):
        x_, w, b, y = (guarded(rng.normal(size=s).astype(np.float32), at_end) for s in shapes)
        dx, dw, db = (guarded(a, at_end) for a in (x_, w, b))
        ops.conv(x_, w, b, y, window=window, group=group)
        ops.conv_backward(y, x_, w, dx, dw, db, window=window, group=group)
        ops.deconv(y, w, None, dx, window=window, group=group)
        ops.max_pool(x_, guarded(rng.normal(size=(*x[:2], *y.shape[2:])).astype(np.float32), at_end), window=window)
print("done", len(kept))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="protects pages by Linux's mprotect")
def test_nothing_outside_the_arrays_is_touched(run_python: RunPython) -> None:
    cases = f"from fullmocha.backends.shapes import Window\nCASES = {CASES!r}\n"
    assert run_python(cases + GUARDED).startswith("done")


CHECKED = """
import numpy as np
from fullmocha.backends.cpu import Ops
from fullmocha.backends.shapes import Window

ops, rng = Ops(), np.random.default_rng(0)
draw = lambda *shape: rng.normal(size=shape).astype(np.float32)
for (x, k, window, group) in CASES:
    out = window.slides(x[2:])
    x_, w, b, y = draw(*x), draw(k, x[1] // group, *window.kernel), draw(k), draw(x[0], k, *out)
    pooled = draw(*x[:2], *out)
    ops.conv(x_, w, b, y, window=window, group=group)
    ops.conv_backward(y, x_, w, x_.copy(), w.copy(), b.copy(), window=window, group=group)
    ops.deconv(y, w, None, x_.copy(), window=window, group=group)
    ops.max_pool(x_, pooled, window=window)
    ops.mean_pool(x_, pooled, window=window, clip_divisor=True)
    ops.max_pool_backward(pooled, x_, x_.copy(), window=window)
    ops.mean_pool_backward(pooled, x_.copy(), window=window, clip_divisor=True)
x, parts, p = draw(2, 3, 9, 8), draw(12, 3, 3, 4), draw(2, 3, 9, 8)
ops.fragment(x, parts, strides=((3, 2),))
ops.stitch(parts, x, strides=((3, 2),))
ops.move(x, p, source=(0, 1, 2, 3), target=(1, 0, 0, 1), size=(1, 2, 7, 5))
ops.softmax(x, p, axis=1)
label = np.arange(144).reshape(2, 9, 8).astype(np.float32) % 3
ops.cross_entropy(p, label, axis=1, ignore=1, floor=1e-20)
ops.softmax_loss_backward(p, label, x, axis=1, ignore=1, scale=0.5)
ops.count_hits(p, label, axis=1, ignore=None, top_k=2)
print("done")
"""


def test_with_numbas_bounds_checks(run_python: RunPython) -> None:
    """Every index of what is not vector code; the guarded pages above hold the vector code."""
    cases = f"from fullmocha.backends.shapes import Window\nCASES = {CASES!r}\n"
    assert run_python(cases + CHECKED, NUMBA_BOUNDSCHECK="1").startswith("done")


NARROWER = """
import numpy as np
from fullmocha.backends.cpu import Ops
from fullmocha.backends.cpu.simd import VECTOR_BYTES
from fullmocha.backends.reference import Ops as Reference
from fullmocha.backends.shapes import Window

ops, reference, rng = Ops(), Reference(), np.random.default_rng(0)
worst = 0.0
for (x, k, window, group) in CASES:
    shapes = x, (k, x[1] // group, *window.kernel), (k,), (x[0], k, *window.slides(x[2:]))
    arrays = [rng.normal(size=s).astype(np.float32) for s in shapes]
    results = []
    for o, kind in ((ops, np.float32), (reference, np.float64)):
        x_, w, b, y = (a.astype(kind) for a in arrays)
        dx, dw, out = x_.copy(), w.copy(), y.copy()
        o.conv(x_, w, b, out, window=window, group=group)
        o.conv_backward(y, x_, w, dx, dw, b, window=window, group=group)
        results.append((out, dx, dw, b))
    for got, wide in zip(*results):
        worst = max(worst, np.abs(got - wide).max() / np.sqrt(np.square(wide).mean()))
print(VECTOR_BYTES, worst)
"""


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="AVX2 is x86's")
def test_with_avx2(run_python: RunPython) -> None:
    """What a processor without AVX-512 runs: other vectors, and other blocks of sums."""
    cases = f"from fullmocha.backends.shapes import Window\nCASES = {CASES!r}\n"
    width, worst = run_python(cases + NARROWER, NUMBA_CPU_NAME="haswell", NUMBA_CPU_FEATURES="").split()
    assert (width, float(worst) <= 4e-6) == ("32", True), worst


@dataclass
class Shared:
    array: np.ndarray
    version: int = 0


@pytest.mark.parametrize(("x_shape", "maps", "window", "group"), CASES, ids=str)
@pytest.mark.parametrize("op", ["conv", "deconv"])
def test_the_workspace_is_what_a_call_takes(
    ops: Ops, draw: Draw, op: str, x_shape: Shape, maps: int, window: Window, group: int
) -> None:
    """Measured by tracemalloc, to which numpy reports its arrays: no more than promised, and not much less."""
    import tracemalloc

    w, y_shape = draw(maps, x_shape[1] // group, *window.kernel), (x_shape[0], maps, *window.slides(x_shape[2:]))
    shapes = (x_shape, y_shape) if op == "conv" else (y_shape, x_shape)
    x, y = draw(*shapes[0]), draw(*shapes[1])
    options = {"window": window, "group": group}
    step = Step(op, (Value(0, x.shape), Weight(Shared(w), w.shape), None), Value(1, y.shape), options, "layer", x.dtype)
    (candidate,) = ops.candidates(step)
    getattr(ops, op)(x, w, None, y, **options)  # compiles, and solves the geometry
    tracemalloc.start()
    try:
        getattr(ops, op)(x, w, None, y, **options)
        taken = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    objects = 8192 + 8 * maps  # Python's own, and a bias of zeros
    assert taken <= candidate.workspace + objects
    assert candidate.workspace <= 1.5 * taken + objects


def test_estimates_are_sane(ops: Ops, draw: Draw) -> None:
    """A second for some hundred GFLOP, the bandwidth for the rest; and no thread count in either."""
    w = draw(48, 48, 5, 5)
    x, y = Value(0, (1, 48, 602, 602)), Value(1, (1, 48, 594, 594))
    options = {"window": Window.of((5, 5), dilation=2), "group": 1}
    conv = Step("conv", (x, Weight(Shared(w), w.shape), None), y, options, "conv2", w.dtype)
    relu = Step("activate", (y,), y, {"kind": "relu", "parameters": (0.0,)}, "relu2", w.dtype)
    (slow,), (fast,) = ops.candidates(conv), ops.candidates(relu)
    assert conv.flops / 1e13 < slow.seconds < conv.flops / 1e10
    assert 1e-3 < fast.seconds < 1
    ops.set_threads(1)
    assert (ops.candidates(conv), ops.candidates(relu)) == ([slow], [fast])
