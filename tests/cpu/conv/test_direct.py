"""Direct sums against the reference over everything that they claim, and the promises of `exact=True`."""

from dataclasses import replace

import numpy as np
import pytest
from fullmocha.backends.cpu.conv.direct import Direct, candidates
from fullmocha.backends.cpu.conv.problem import Problem, Tail
from fullmocha.backends.cpu.jit import Threads
from hypothesis import given, settings

from .checks import Data, data_for, error, expected, problems, solve

# DESIGN section 4: 4e-6 of the RMS for one convolution in float32; a tail is a second one on top.
BOUNDS = {np.dtype("float32"): 4e-6, np.dtype("float64"): 1e-13}
F4, F8 = np.dtype("float32"), np.dtype("float64")
ONE = (1, 1)

CASES = {
    "first-layer": Problem(2, 1, (21, 83), 48, (4, 4), ONE, ONE, F4, plain=True, slope=0.0, pool=(2, 2), split=(2, 2)),
    "three-channels": Problem(1, 3, (40, 29), 64, (7, 5), ONE, ONE, F4, plain=True, slope=0.1),
    "wide": Problem(1, 5, (9, 150), 20, (3, 2), ONE, ONE, F4, slope=0.0, pool=(2, 3), split=(2, 3)),
    "tall": Problem(1, 16, (200, 9), 16, (3, 3), ONE, ONE, F4, slope=0.0, pool=(3, 2), split=(1, 2)),
    "many-terms": Problem(1, 100, (7, 9), 17, (5, 4), ONE, ONE, F4),
    "many-channels": Problem(1, 33, (6, 11), 300, (2, 3), ONE, ONE, F4, slope=0.0),
    "pool-wider-than-a-step": Problem(1, 2, (12, 70), 600, ONE, ONE, ONE, F4, pool=(4, 4)),
    "strided": Problem(2, 18, (31, 70), 24, (3, 3), (2, 3), (1, 2), F4, slope=0.1, pool=(2, 1), split=(3, 2)),
    "dilated": Problem(1, 20, (30, 41), 31, (3, 4), ONE, (8, 5), F4),
    "one-pixel": Problem(3, 50, (4, 4), 500, (4, 4), ONE, ONE, F4, slope=0.0),
    "n4-tail": Problem(8, 48, (5, 7), 200, (3, 3), ONE, ONE, F4, slope=0.0, tail=Tail(2, True, ((2, 2), (2, 1)), (11, 10))),
    "own-tail": Problem(12, 20, (7, 9), 10, (3, 2), ONE, ONE, F4, slope=0.1, tail=Tail(10, True, ((2, 2), (3, 1)), (29, 15), own=True)),
    "few-outputs": Problem(2, 31, (9, 11), 3, (3, 3), (1, 2), ONE, F4, slope=0.1),
    "few-classes": Problem(4, 130, (6, 7), 2, (2, 2), ONE, ONE, F4, tail=Tail(2, False, ((2, 2),), (10, 11), own=True)),
    "unstitched-tail": Problem(2, 9, (8, 40), 30, (2, 2), ONE, ONE, F4, tail=Tail(16, False, (), (7, 39))),
}  # fmt: skip


def check(p: Problem) -> None:
    data = data_for(p, np.random.default_rng(0))
    assert error(p, data, solve(Direct(p), p, data)) <= BOUNDS[p.dtype] * (1 if p.tail is None else 2)


@pytest.mark.parametrize("dtype", [F4, F8], ids=str)
@pytest.mark.parametrize("p", CASES.values(), ids=CASES)
def test_cases(p: Problem, dtype: np.dtype) -> None:
    check(replace(p, dtype=dtype))


@settings(max_examples=150, deadline=None)
@given(problems())
def test_everything_it_claims(p: Problem) -> None:
    (only,) = candidates(p)
    assert only == Direct(p)
    check(p)


@pytest.mark.slow
@settings(max_examples=3000, deadline=None)
@given(problems(sizes=80))
def test_everything_it_claims_many(p: Problem) -> None:
    check(p)


@pytest.mark.parametrize("p", CASES.values(), ids=CASES)
def test_the_smallest_problem_of_its_kind(p: Problem) -> None:
    """What `load` runs: one output per fragment, and for an end without weights, fewer outputs than classes, with some."""
    smallest = p.smallest
    if smallest.tail is not None:
        smallest = replace(smallest, tail=replace(smallest.tail, own=False))
    check(smallest)


@pytest.mark.parametrize("p", CASES.values(), ids=CASES)
def test_any_number_of_threads(p: Problem) -> None:
    data = data_for(p, np.random.default_rng(1))
    one = Threads()
    one.limit(1)
    np.testing.assert_array_equal(solve(Direct(p), p, data, one), solve(Direct(p), p, data))


@pytest.mark.parametrize("p", CASES.values(), ids=CASES)
def test_a_nan_stays_in_its_windows(p: Problem) -> None:
    """Every other output keeps its bits; a maximum passes it over, as the reference does."""
    data = data_for(p, np.random.default_rng(2))
    before = solve(Direct(p), p, data)
    x = data.x.copy()
    x[-1, -1, x.shape[2] // 2, x.shape[3] // 2] = np.nan
    data = replace(data, x=x)
    after, exact = solve(Direct(p), p, data), expected(p, data)
    np.testing.assert_array_equal(np.isnan(after), np.isnan(exact))
    ones = Data(np.isnan(x), *(np.ones_like(v) for v in (data.w, data.b, data.tail, data.tail_bias)))
    ones = replace(ones, b=ones.b * 0, tail_bias=ones.tail_bias * 0)
    scores = replace(p, tail=p.tail and replace(p.tail, softmax=False))
    reached = expected(scores, ones) > 0
    assert reached.any() and not (np.isnan(after) & ~reached).any()
    np.testing.assert_array_equal(after[~reached], before[~reached])


@settings(max_examples=40, deadline=None)
@given(problems(sizes=30))
def test_a_tile_has_the_bits_of_the_whole(p: Problem) -> None:
    """Of every image alone, and of a part of its outputs that begins off the steps of the whole."""
    p = replace(p, tail=None, pool=(1, 1), split=(1, 1))
    data = data_for(p, np.random.default_rng(3))
    whole = solve(Direct(p), p, data)
    top, left = p.out[0] // 3, p.out[1] // 2
    spans = zip(p.out, (top, left), p.kernel, p.stride, p.dilation, strict=True)
    size = tuple((n - first - 1) * s + (k - 1) * d + 1 for n, first, k, s, d in spans)
    y, x = top * p.stride[0], left * p.stride[1]
    tile = replace(p, images=1, size=size)
    part = replace(data, x=np.ascontiguousarray(data.x[-1:, :, y : y + size[0], x : x + size[1]]))
    np.testing.assert_array_equal(solve(Direct(tile), tile, part), whole[-1:, :, top:, left:])


def test_finishing_changes_no_bits() -> None:
    """A convolution that is pooled and split in the cache, or not: the same sums."""
    fused = CASES["strided"]
    data = data_for(fused, np.random.default_rng(4))
    kept = replace(fused, pool=(1, 1), split=(1, 1))
    sums = solve(Direct(kept), kept, data)
    pooled = np.maximum(sums[:, :, :-1], sums[:, :, 1:])
    answer = solve(Direct(fused), fused, data)
    for i, j in np.ndindex(fused.split):
        own = pooled[:, :, i :: fused.split[0], j :: fused.split[1]]
        part = answer[i * fused.split[1] + j :: fused.split[0] * fused.split[1]]
        np.testing.assert_array_equal(part[:, :, : own.shape[2], : own.shape[3]], own)
