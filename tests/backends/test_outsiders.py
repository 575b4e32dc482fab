"""The reference judged by outsiders: scipy, PyTorch, finite differences. All in float64, within 1e-12.

The other backends answer to the reference (test_ops.py, test_windows.py), so it alone is asked here.
"""

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
import pytest
from fullmocha.backends.reference import Ops
from fullmocha.backends.shapes import Shape, Window
from hypothesis import given
from hypothesis import strategies as st

from ..neurons import NEURONS, name_of

reference = Ops()
close = dict[str, float](rtol=1e-12, atol=1e-12)


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).normal(size=shape)


def blank(*shape: int) -> np.ndarray:
    return np.full(shape, np.nan)


# ---- scipy


def test_conv_is_scipys_correlation() -> None:
    """Not flipped; summed over channels; and no other channel is mixed in."""
    signal = pytest.importorskip("scipy.signal")
    x, w, b = numbers(2, 3, 9, 8), numbers(5, 3, 4, 3), numbers(5)
    y = blank(2, 5, 6, 6)
    reference.conv(x, w, b, y, window=Window.of((4, 3)), group=1)
    for n in range(2):
        for k in range(5):
            maps = [signal.correlate(x[n, c], w[k, c], mode="valid", method="direct") for c in range(3)]
            np.testing.assert_allclose(y[n, k], b[k] + sum(maps), **close)


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_any_number_of_axes(axes: int) -> None:
    """Stride and dilation by slicing what scipy computes with a kernel that has zeros between its taps."""
    signal = pytest.importorskip("scipy.signal")
    size, kernel, stride, dilation = (9, 8, 7)[:axes], (3, 2, 2)[:axes], (2, 1, 3)[:axes], (2, 3, 1)[:axes]
    window = Window(kernel, stride, (0,) * axes, dilation)
    x, w = numbers(1, 2, *size), numbers(3, 2, *kernel)
    y = blank(1, 3, *window.slides(size))
    reference.conv(x, w, None, y, window=window, group=1)
    spaced = np.zeros((3, 2, *window.extent))
    spaced[(..., *(slice(None, None, d) for d in dilation))] = w
    for k in range(3):
        full = sum(signal.correlate(x[0, c], spaced[k, c], mode="valid", method="direct") for c in range(2))
        np.testing.assert_allclose(y[0, k], full[tuple(slice(None, None, s) for s in stride)], **close)


def test_pools_are_scipys_filters() -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    x, window = numbers(2, 3, 8, 9), Window.of((3, 5))
    y = blank(2, 3, 6, 5)
    reference.max_pool(x, y, window=window)
    inside = (..., slice(1, -1), slice(2, -2))  # scipy centres its windows and pads
    np.testing.assert_array_equal(y, ndimage.maximum_filter(x, (1, 1, 3, 5))[inside])
    reference.mean_pool(x, y, window=window, clip_divisor=False)
    np.testing.assert_allclose(y, ndimage.uniform_filter(x, (1, 1, 3, 5))[inside], **close)


def test_softmax_and_sigmoid_are_scipys() -> None:
    special = pytest.importorskip("scipy.special")
    x, y = 5 * numbers(2, 4, 3, 5), blank(2, 4, 3, 5)
    for axis in range(4):
        reference.softmax(x, y, axis=axis)
        np.testing.assert_allclose(y, special.softmax(x, axis=axis), **close)
    reference.activate(x, y, kind="sigmoid", parameters=())
    np.testing.assert_allclose(y, special.expit(x), **close)


# ---- PyTorch, forward and backward

PAIRS = st.tuples(st.integers(1, 3), st.integers(1, 3))


@st.composite
def geometries(draw: st.DrawFn) -> tuple[Window, int, Shape, Shape]:
    """(window, group, x, w): kernel 1-4, stride 1-3, pad 0-2, dilation 1-3, H != W mostly."""
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    window = Window(kernel, draw(PAIRS), draw(st.tuples(st.integers(0, 2), st.integers(0, 2))), draw(PAIRS))
    spread = window.spread(draw(PAIRS))
    size = tuple(max(1, n + draw(st.integers(0, s - 1))) for n, s in zip(spread, window.stride, strict=True))
    group, c, k = (draw(st.integers(1, 3)) for _ in range(3))
    return window, group, (2, group * c, *size), (group * k, c, *kernel)


@pytest.fixture(scope="module")
def torch() -> Any:
    return pytest.importorskip("torch", reason="PyTorch comes with the extra `peers`")


def tensors(torch: Any, *arrays: np.ndarray) -> list[Any]:
    """Leaves of autograd that share the arrays' numbers."""
    return [torch.from_numpy(a.copy()).requires_grad_() for a in arrays]


def gradients(y: Any, seed: np.ndarray, torch: Any, *leaves: Any) -> list[np.ndarray]:
    return [g.numpy() for g in torch.autograd.grad(y, leaves, torch.from_numpy(seed))]


def added(op: Callable[..., None], shapes: list[Shape], *arrays: np.ndarray, **options: Any) -> list[np.ndarray]:
    """What a backward op adds to gradients that were not zero."""
    before = [numbers(*shape, seed=1) for shape in shapes]
    after = [a.copy() for a in before]
    op(*arrays, *after, **options)
    return [a - b for a, b in zip(after, before, strict=True)]


@given(geometry=geometries())
def test_conv_is_pytorchs(torch: Any, geometry: tuple[Window, int, Shape, Shape]) -> None:
    window, group, xs, ws = geometry
    x, w, b = numbers(*xs), numbers(*ws), numbers(ws[0])
    y = blank(xs[0], ws[0], *window.slides(xs[2:]))
    reference.conv(x, w, b, y, window=window, group=group)
    leaves = tensors(torch, x, w, b)
    rival = torch.nn.functional.conv2d(*leaves, window.stride, window.pad, window.dilation, group)
    np.testing.assert_allclose(y, rival.detach().numpy(), **close)
    dy = numbers(*y.shape, seed=2)
    ours = added(reference.conv_backward, [xs, ws, b.shape], dy, x, w, window=window, group=group)
    for mine, theirs in zip(ours, gradients(rival, dy, torch, *leaves), strict=True):
        np.testing.assert_allclose(mine, theirs, **close)


@given(geometry=geometries())
def test_deconv_is_pytorchs(torch: Any, geometry: tuple[Window, int, Shape, Shape]) -> None:
    window, group, ys, ws = geometry
    xs = (ys[0], ws[0], *window.slides(ys[2:]))
    ys = (*ys[:2], *window.spread(xs[2:]))
    if min(ys) < 1:
        return
    x, w, b, y = numbers(*xs), numbers(*ws), numbers(ys[1]), blank(*ys)
    reference.deconv(x, w, b, y, window=window, group=group)
    leaves = tensors(torch, x, w, b)
    rival = torch.nn.functional.conv_transpose2d(*leaves, window.stride, window.pad, 0, group, window.dilation)
    np.testing.assert_allclose(y, rival.detach().numpy(), **close)
    dy = numbers(*ys, seed=2)
    ours = added(reference.deconv_backward, [xs, ws, b.shape], dy, x, w, window=window, group=group)
    for mine, theirs in zip(ours, gradients(rival, dy, torch, *leaves), strict=True):
        np.testing.assert_allclose(mine, theirs, **close)


@st.composite
def pools(draw: st.DrawFn) -> tuple[Window, Shape]:
    """(window, size) within PyTorch's limits: pad at most half the kernel, and a window fits."""
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    pad = tuple(draw(st.integers(0, k // 2)) for k in kernel)
    window = Window(kernel, draw(PAIRS), pad, draw(PAIRS))
    size = tuple(max(1, e - 2 * p) + draw(st.integers(0, 5)) for e, p in zip(window.extent, pad, strict=True))
    return window, size


def hanging(window: Window, size: Shape, ceil: bool) -> Shape:
    """PyTorch also drops, without padding, a window that would start beyond the input; Caffe has it empty."""
    out = window.slides(size, "ceil" if ceil else "floor")
    starts = zip(out, size, window.stride, window.pad, strict=True)
    return tuple(o - (ceil and (o - 1) * s >= n + p) for o, n, s, p in starts)


@given(pool=pools(), ceil=st.booleans())
def test_max_pool_is_pytorchs(torch: Any, pool: tuple[Window, Shape], ceil: bool) -> None:
    """Numbers are rounded to quarters, so that windows hold equal ones: the first wins."""
    (window, size), dilation = pool, pool[0].dilation
    x, y = (numbers(2, 3, *size) * 2).round() / 4, blank(2, 3, *hanging(window, size, ceil))
    reference.max_pool(x, y, window=window)
    if (y == -np.inf).any():  # all of a window's taps miss x; there PyTorch's backward writes outside its arrays
        return
    (leaf,) = tensors(torch, x)
    rival = torch.nn.functional.max_pool2d(leaf, window.kernel, window.stride, window.pad, dilation, ceil)
    np.testing.assert_array_equal(y, rival.detach().numpy())
    dy = numbers(*y.shape, seed=2)
    (mine,) = added(reference.max_pool_backward, [x.shape], dy, x, window=window)
    np.testing.assert_allclose(mine, gradients(rival, dy, torch, leaf)[0], **close)


@given(pool=pools(), ceil=st.booleans(), clip=st.booleans())
def test_mean_pool_is_pytorchs(torch: Any, pool: tuple[Window, Shape], ceil: bool, clip: bool) -> None:
    """PyTorch took the clipped divisor from Caffe; it has no dilation here."""
    (window, size) = pool[0], pool[1]
    window = Window(window.kernel, window.stride, window.pad, (1, 1))
    x, y = numbers(2, 3, *size), blank(2, 3, *hanging(window, size, ceil))
    reference.mean_pool(x, y, window=window, clip_divisor=clip)
    (leaf,) = tensors(torch, x)
    divisor = None if clip else prod(window.kernel)
    rival = torch.nn.functional.avg_pool2d(leaf, window.kernel, window.stride, window.pad, ceil, True, divisor)
    np.testing.assert_allclose(y, rival.detach().numpy(), **close)
    dy = numbers(*y.shape, seed=2)
    (mine,) = added(reference.mean_pool_backward, [x.shape], dy, window=window, clip_divisor=clip)
    np.testing.assert_allclose(mine, gradients(rival, dy, torch, leaf)[0], **close)


def rival_neuron(torch: Any, x: Any, kind: str, p: tuple[float, ...]) -> Any:
    """The neuron as PyTorch has it, or composed of what it has."""
    match kind:
        case "relu":
            return torch.nn.functional.leaky_relu(x, p[0])
        case "at_least":
            return torch.clamp(x, min=p[0])
        case "sigmoid" | "tanh":
            return getattr(torch, kind)(x)
        case "exponential":
            return p[0] * torch.exp(p[1] * x)
        case "elu":
            return torch.where(x > 0, x, p[0] * torch.expm1(x))
        case "bnll":
            return torch.nn.functional.softplus(x)
        case "absval":
            return torch.abs(x)
        case "power":
            return torch.pow(p[2] + p[1] * x, p[0])
        case "log":
            return p[0] * torch.log(p[2] + p[1] * x)
        case "threshold":
            return (x > p[0]).to(x.dtype) + 0 * x
        case "swish":
            return torch.nn.functional.silu(p[0] * x) / p[0]
        case "clip":
            return torch.clamp(x, *p)
    raise NotImplementedError(kind)


@pytest.mark.parametrize("neuron", NEURONS, ids=name_of)
def test_activations_are_pytorchs(torch: Any, neuron: tuple[Any, tuple[float, ...]]) -> None:
    kind, parameters = neuron
    x, y = 3 * numbers(3, 5, 7), blank(3, 5, 7)
    if kind in ("log", "power"):
        x = np.clip(x, -8, 8)  # between the zeros of their arguments
    reference.activate(x, y, kind=kind, parameters=parameters)
    (leaf,) = tensors(torch, x)
    rival = rival_neuron(torch, leaf, kind, parameters)
    np.testing.assert_allclose(y, rival.detach().numpy(), **close)
    dy = numbers(*y.shape, seed=2)
    (mine,) = added(reference.activate_backward, [x.shape], dy, x, y, kind=kind, parameters=parameters)
    np.testing.assert_allclose(mine, gradients(rival, dy, torch, leaf)[0], **close)


@pytest.mark.parametrize("ignore", [-100, 2])
def test_softmax_loss_is_pytorchs(torch: Any, ignore: int) -> None:
    """The loss and its gradient with respect to the scores; and softmax's own gradient."""
    x, p = 3 * numbers(2, 4, 3, 5), blank(2, 4, 3, 5)
    label = np.random.default_rng(0).integers(0, 4, (2, 3, 5))
    reference.softmax(x, p, axis=1)
    total, counted = reference.cross_entropy(p, label, axis=1, ignore=ignore, floor=0.0)
    (leaf,) = tensors(torch, x)
    options: dict[str, Any] = {"ignore_index": ignore, "reduction": "sum"}
    rival = torch.nn.functional.cross_entropy(leaf, torch.from_numpy(label), **options)
    assert total == pytest.approx(rival.item(), rel=1e-12)
    assert counted == (label != ignore).sum()
    (mine,) = added(
        lambda dx: reference.softmax_loss_backward(p, label, dx, axis=1, ignore=ignore, scale=0.3), [x.shape]
    )
    np.testing.assert_allclose(mine, gradients(rival, np.array(0.3), torch, leaf)[0], **close)

    dy = numbers(*x.shape, seed=2)
    (mine,) = added(reference.softmax_backward, [x.shape], dy, p, axis=1)
    np.testing.assert_allclose(mine, gradients(torch.softmax(leaf, 1), dy, torch, leaf)[0], **close)


# ---- finite differences, for machines without PyTorch


def slope(f: Callable[[], float], at: np.ndarray, step: float = 1e-6) -> np.ndarray:
    """df / d(at) by central differences."""
    result = np.empty_like(at)
    for i in np.ndindex(at.shape):
        kept = at[i]
        at[i] = kept + step
        above = f()
        at[i] = kept - step
        below = f()
        at[i] = kept
        result[i] = (above - below) / (2 * step)
    return result


def test_convs_by_finite_differences() -> None:
    """Truncation is nil, as both are linear in each argument; rounding is 1e-16 x 30 terms / 1e-6."""
    window = Window((2, 3), (2, 1), (1, 0), (1, 2))
    x, w, b, y = numbers(2, 4, 4, 7), numbers(6, 2, 2, 3), numbers(6), blank(2, 6, 3, 3)
    wide = blank(2, 4, *window.spread((3, 3)))
    dy, dwide = numbers(*y.shape, seed=2), numbers(*wide.shape, seed=2)

    def conv() -> float:
        reference.conv(x, w, b, y, window=window, group=2)
        return float((y * dy).sum())

    ours = added(reference.conv_backward, [x.shape, w.shape, b.shape], dy, x, w, window=window, group=2)
    for mine, argument in zip(ours, (x, w, b), strict=True):
        np.testing.assert_allclose(mine, slope(conv, argument), rtol=0, atol=1e-8)

    z, c = numbers(2, 6, 3, 3), numbers(4)

    def deconv() -> float:
        reference.deconv(z, w, c, wide, window=window, group=2)
        return float((wide * dwide).sum())

    ours = added(reference.deconv_backward, [z.shape, w.shape, c.shape], dwide, z, w, window=window, group=2)
    for mine, argument in zip(ours, (z, w, c), strict=True):
        np.testing.assert_allclose(mine, slope(deconv, argument), rtol=0, atol=1e-8)


def test_the_others_by_finite_differences() -> None:
    """Numbers keep off the kinks by more than the step; curvature adds step^2."""
    x = np.random.default_rng(0).permutation(np.arange(-59, 61) + 0.5).reshape(2, 3, 4, 5) / 30
    y, dy, window = blank(*x.shape), numbers(*x.shape, seed=2), Window((2, 3), (1, 2), (1, 1), (1, 1))
    small, dsmall = blank(2, 3, 5, 3), numbers(2, 3, 5, 3, seed=2)

    def check(mine: list[np.ndarray], forward: Callable[[], None], top: np.ndarray, seed: np.ndarray) -> None:
        def value() -> float:
            forward()
            return float((top * seed).sum())

        np.testing.assert_allclose(mine[0], slope(value, x), rtol=0, atol=1e-8)

    mine = added(reference.max_pool_backward, [x.shape], dsmall, x, window=window)
    check(mine, lambda: reference.max_pool(x, small, window=window), small, dsmall)
    for clip in (False, True):
        options: dict[str, Any] = {"window": window, "clip_divisor": clip}
        mine = added(reference.mean_pool_backward, [x.shape], dsmall, **options)
        check(mine, lambda options=options: reference.mean_pool(x, small, **options), small, dsmall)
    for kind, parameters in NEURONS:
        options = {"kind": kind, "parameters": parameters}
        reference.activate(x, y, **options)
        mine = added(reference.activate_backward, [x.shape], dy, x, y, **options)
        check(mine, lambda options=options: reference.activate(x, y, **options), y, dy)
    reference.softmax(x, y, axis=2)
    mine = added(reference.softmax_backward, [x.shape], dy, y.copy(), axis=2)
    check(mine, lambda: reference.softmax(x, y, axis=2), y, dy)
