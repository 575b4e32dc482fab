"""What every algorithm for a convolution answers to: the reference's ops in float64, over the same numbers.

All arrays lie between fences of NaN, because the micro-kernels check no bounds: what is read beyond an array shows in
the answer, and what is written beyond the result shows in its fences.
"""

from dataclasses import dataclass, replace
from math import prod

import numpy as np
from fullmocha.backends.cpu.conv import Algorithm
from fullmocha.backends.cpu.conv.problem import Problem, Tail
from fullmocha.backends.cpu.conv.regions import pack_tail
from fullmocha.backends.cpu.jit import Threads
from fullmocha.backends.reference import Ops
from fullmocha.backends.shapes import Window
from hypothesis import strategies as st

REFERENCE = Ops()
FENCE = 128  # elements on each side


@dataclass(frozen=True)
class Data:
    """What a problem is solved for, in plain layout."""

    x: np.ndarray
    w: np.ndarray
    b: np.ndarray
    tail: np.ndarray
    tail_bias: np.ndarray


def data_for(p: Problem, rng: np.random.Generator) -> Data:
    """Normal deviates, with weights such that all sums have a variance of about 1."""
    classes = p.tail.classes if p.tail is not None else 1

    def draw(*shape: int, terms: int = 1) -> np.ndarray:
        return (rng.normal(size=shape) / np.sqrt(terms)).astype(p.dtype)

    return Data(
        draw(p.images, p.channels, *p.size),
        draw(p.outputs, p.channels, *p.kernel, terms=p.terms),
        draw(p.outputs),
        draw(classes, p.outputs, terms=p.outputs),
        draw(classes),
    )


def fenced(values: np.ndarray) -> np.ndarray:
    """The values, flat, inside a longer array of NaN."""
    held = np.full(values.size + 2 * FENCE, np.nan, values.dtype)
    inside = held[FENCE:-FENCE]
    inside[:] = values.reshape(-1)
    return inside


def block(x: np.ndarray, lanes: int) -> np.ndarray:
    """(N, C, H, W) as (N, ceil(C / lanes), H, W, lanes)."""
    n, c, h, w = x.shape
    whole = np.zeros((n, -(-c // lanes) * lanes, h, w), x.dtype)
    whole[:, :c] = x
    return np.ascontiguousarray(whole.reshape(n, -1, lanes, h, w).transpose(0, 1, 3, 4, 2))


def unblock(y: np.ndarray, channels: int) -> np.ndarray:
    """The inverse of `block`; the lanes beyond the channels must hold zeros, or NaN where a channel before them does."""
    n, blocks, h, w, lanes = y.shape
    plain = y.transpose(0, 1, 4, 2, 3).reshape(n, blocks * lanes, h, w)
    beyond = plain[:, channels:]
    assert (beyond == 0)[np.isfinite(beyond)].all()
    assert (np.isfinite(beyond).all(1) | np.isnan(plain[:, :channels]).any(1)).all()
    return plain[:, :channels]


def expected(p: Problem, data: Data) -> np.ndarray:
    """By the reference's ops, one after the other, in float64."""
    x, w, b = (v.astype(np.float64) for v in (data.x, data.w, data.b))
    y = np.empty((p.images, p.outputs, *p.out))
    REFERENCE.conv(x, w, b, y, window=Window(p.kernel, p.stride, (0, 0), p.dilation), group=1)
    if p.slope is not None:
        REFERENCE.activate(y, y, kind="relu", parameters=(p.slope,))
    if p.tail is not None:
        if p.tail.own:
            return _ended(p, y)
        scores = np.empty((p.images, p.tail.classes, *p.out))
        points = data.tail[:, :, None, None].astype(np.float64)
        REFERENCE.conv(y, points, data.tail_bias.astype(np.float64), scores, window=Window.of((1, 1)), group=1)
        return _ended(p, scores)
    if p.pool != (1, 1):
        pooled = np.empty((p.images, p.outputs, *p.pooled))
        REFERENCE.max_pool(y, pooled, window=Window.of(p.pool))
        y = pooled
    if p.split != (1, 1):
        parts = np.empty((p.images * prod(p.split), p.outputs, *p.written[2:4]))
        REFERENCE.fragment(y, parts, strides=(p.split,))
        y = parts
    return y


def _ended(p: Problem, scores: np.ndarray) -> np.ndarray:
    """What a tail makes of its scores."""
    assert p.tail is not None
    if p.tail.softmax:
        REFERENCE.softmax(scores, scores, axis=1)
    if not p.tail.splits:
        return scores
    whole = np.empty(p.written)
    REFERENCE.stitch(scores, whole, strides=p.tail.splits)
    return whole


def solve(algorithm: Algorithm, p: Problem, data: Data, threads: Threads | None = None) -> np.ndarray:
    """The algorithm's answer in plain layout."""
    bias = np.zeros(p.output_blocks * p.lanes, p.dtype)
    bias[: p.outputs] = data.b
    none = np.zeros(1, p.dtype)
    tail, tail_bias = none, none
    if p.tail is not None and not p.tail.own:
        tail, tail_bias = pack_tail(data.tail, p.lanes), data.tail_bias
    y = fenced(np.full(prod(p.written), np.nan, p.dtype))
    weights = algorithm.prepare(data.w)
    assert weights.nbytes == algorithm.kept
    assert algorithm.workspace % p.dtype.itemsize == 0
    scratch = np.full(algorithm.workspace // p.dtype.itemsize, np.nan, p.dtype)
    arrays = (data.x if p.plain else block(data.x, p.lanes), weights, bias, tail, tail_bias)
    algorithm.run(*map(fenced, arrays), y, fenced(scratch), threads or Threads())
    assert np.isnan(y.base[:FENCE]).all() and np.isnan(y.base[-FENCE:]).all(), "written beyond the result"
    return y.reshape(p.written) if p.tail is not None else unblock(y.reshape(p.written), p.outputs)


def error(p: Problem, data: Data, answer: np.ndarray) -> float:
    """max |a - b| / RMS(b), where b are the sums before a rectifier, of which it may leave nothing.

    Of probabilities, which a softmax makes from scores of RMS 1, it is the difference itself.
    """
    exact = expected(p, data)
    assert answer.shape == exact.shape and answer.dtype == p.dtype
    most = float(np.abs(answer - exact).max())
    if p.tail is not None and p.tail.softmax:
        return most
    sums = exact if p.slope is None else expected(replace(p, slope=None, pool=(1, 1), split=(1, 1), tail=None), data)
    return most / max(float(np.sqrt(np.mean(b**2))) for b in (exact, sums))


@st.composite
def problems(
    draw: st.DrawFn,
    kernels: tuple[int, int] = (1, 4),
    strides: int = 3,
    dilations: int = 3,
    sizes: int = 12,
    sources: tuple[bool, ...] = (False, True),
) -> Problem:
    """Small ones of every kind; most have channels that do not fill their vectors, and fewer outputs than a tile has."""

    def pair(low: int, high: int) -> tuple[int, int]:
        return draw(st.integers(low, high)), draw(st.integers(low, high))

    kernel, stride, dilation, out = pair(*kernels), pair(1, strides), pair(1, dilations), pair(1, sizes)
    kind = draw(st.sampled_from(["keep", "pool", "tail"]))
    pool = pair(1, 4) if kind == "pool" else (1, 1)
    split = pair(1, 3) if kind == "pool" else (1, 1)
    out = tuple(n + q - 1 for n, q in zip(out, pool, strict=True))
    spans = zip(out, kernel, stride, dilation, strict=True)
    spare = pair(0, 2)  # rows and columns that no window reaches
    size = tuple((n - 1) * s + (k - 1) * d + 1 + min(e, s - 1) for (n, k, s, d), e in zip(spans, spare, strict=True))
    images, tail = draw(st.integers(1, 3)), None
    outputs = draw(st.sampled_from([1, 2, 3, 4, 5, 8, 15, 16, 17, 33, 48, 81, 100]))
    if kind == "tail":
        splits = tuple(draw(st.sampled_from([(), ((2, 2),), ((1, 3),), ((2, 1), (1, 2)), ((2, 2), (3, 2))])))
        step = tuple(prod(s[axis] for s in splits) for axis in range(2))
        less = tuple(draw(st.integers(0, s - 1)) for s in step)  # of what the fragments cover
        whole = tuple(max(1, n * s - d) for n, s, d in zip(out, step, less, strict=True))
        own = draw(st.booleans())
        outputs = draw(st.integers(1, 16)) if own else outputs
        tail = Tail(outputs if own else draw(st.integers(1, 16)), draw(st.booleans()), splits, whole, own)
        images = prod(step) * min(images, 2)
    return Problem(
        images,
        draw(st.sampled_from([1, 2, 3, 7, 8, 13, 16, 17, 20, 40])),
        size,
        outputs,
        kernel,
        stride,
        dilation,
        np.dtype(draw(st.sampled_from(["float32", "float64"]))),
        plain=draw(st.sampled_from(sources)),
        slope=draw(st.sampled_from([None, 0.0, 0.1])),
        pool=pool,
        split=split,
        tail=tail,
    )
