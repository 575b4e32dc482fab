"""Tiles of spectra against the reference in float64, on the same numbers.

Bounds: DESIGN section 4, an error of 4e-6 of the outputs' RMS in float32, and 1e-13 in float64.
"""

from itertools import pairwise
from math import prod

import numpy as np
import pytest
from fullmocha.backends.cpu.arrays import aligned
from fullmocha.backends.cpu.conv.fft import FFT, candidates
from fullmocha.backends.cpu.conv.fourier import Spectrum, forward, inverse, spectrum_of, tile_of
from fullmocha.backends.cpu.conv.problem import Problem, Tail
from fullmocha.backends.cpu.conv.regions import pack_tail
from fullmocha.backends.cpu.jit import Threads
from fullmocha.backends.cpu.simd import lanes
from fullmocha.backends.reference import Ops
from fullmocha.backends.shapes import Window
from numba.core import config

ERROR = {np.dtype("float32"): 4e-6, np.dtype("float64"): 1e-13}


def problem(images, channels, size, outputs, kernel, dtype, **finish) -> Problem:
    return Problem(images, channels, size, outputs, kernel, (1, 1), (1, 1), dtype, **finish)


def blocked(x: np.ndarray, width: int) -> np.ndarray:
    """(N, C, H, W) as (N, C / L, H, W, L), flat."""
    n, c, h, w = x.shape
    padded = np.zeros((n, -(-c // width) * width, h, w), x.dtype)
    padded[:, :c] = x
    return np.ascontiguousarray(padded.reshape(n, -1, width, h, w).transpose(0, 1, 3, 4, 2)).reshape(-1)


def plain(y: np.ndarray, channels: int) -> np.ndarray:
    n, b, h, w, width = y.shape
    return y.transpose(0, 1, 4, 2, 3).reshape(n, b * width, h, w)[:, :channels]


class Case:
    """Random arrays for a problem, what the reference makes of them, and what an algorithm does."""

    def __init__(self, p: Problem, seed: int = 1) -> None:
        rng = np.random.default_rng(seed)
        self.problem = p
        self.x = rng.normal(0.3, 1, (p.images, p.channels, *p.size)).astype(p.dtype)
        self.w = rng.normal(size=(p.outputs, p.channels, *p.kernel)).astype(p.dtype)
        self.b = rng.normal(size=p.outputs).astype(p.dtype)
        self.tail = self.tail_bias = np.empty(1, p.dtype)
        if p.tail is not None:
            self.tail = rng.normal(size=(p.tail.classes, p.outputs)).astype(p.dtype)
            self.tail_bias = rng.normal(size=p.tail.classes).astype(p.dtype)

    def convolution(self) -> np.ndarray:
        p, ops = self.problem, Ops()
        x, w, b = (a.astype(np.float64) for a in (self.x, self.w, self.b))
        y = np.empty((p.images, p.outputs, *p.out))
        ops.conv(x, w, b, y, window=Window.of(p.kernel), group=1)
        if p.slope is not None:
            ops.activate(y.copy(), y, kind="relu", parameters=(p.slope,))
        return y

    def expected(self) -> np.ndarray:
        p, ops, y = self.problem, Ops(), self.convolution()
        if p.tail is not None:
            scores = np.empty((p.images, p.tail.classes, *p.out))
            tail = self.tail.astype(np.float64)[:, :, None, None]
            ops.conv(y, tail, self.tail_bias.astype(np.float64), scores, window=Window.of((1, 1)), group=1)
            if p.tail.softmax:
                ops.softmax(scores.copy(), scores, axis=1)
            whole = np.empty(p.written)
            ops.stitch(scores, whole, strides=p.tail.splits)
            return whole
        pooled = np.empty((p.images, p.outputs, *p.pooled))
        ops.max_pool(y, pooled, window=Window.of(p.pool))
        if p.split == (1, 1):
            return pooled
        parts = np.empty((p.written[0], p.outputs, *p.written[2:4]))
        ops.fragment(pooled, parts, strides=(p.split,))
        return parts

    def run(self, algorithm: FFT, threads: int = 2) -> np.ndarray:
        p = self.problem
        some = Threads()
        some.limit(threads)
        weights = algorithm.prepare(self.w)
        bias = np.zeros(p.output_blocks * p.lanes, p.dtype)
        bias[: p.outputs] = self.b
        tail = self.tail if p.tail is None else pack_tail(self.tail, p.lanes)
        scratch, y = (
            np.full(algorithm.workspace // p.dtype.itemsize, np.nan, p.dtype),
            np.full(p.written, np.nan, p.dtype),
        )
        algorithm.run(blocked(self.x, p.lanes), weights, bias, tail, self.tail_bias, y.reshape(-1), scratch, some)
        if p.tail is not None:
            return y
        assert not np.any(plain(y, y.shape[1] * p.lanes)[:, p.outputs :])  # lanes without a channel hold zeros
        return plain(y, p.outputs)


def check(case: Case, algorithm: FFT) -> None:
    expected, got = case.expected(), case.run(algorithm)
    error = np.abs(got - expected).max() / np.sqrt(np.mean(expected**2))
    assert error <= ERROR[case.problem.dtype], f"{algorithm.name}: {error:.2g} of RMS"


@pytest.fixture(params=["float32", "float64"])
def dtype(request: pytest.FixtureRequest) -> np.dtype:
    return np.dtype(request.param)


@pytest.mark.parametrize("tile", [(4, 5), (5, 4), (7, 16), (24, 9), (17, 40)], ids=str)
def test_a_spectrum_is_the_half_of_numpys_and_turns_back(tile, dtype, rng) -> None:
    s, width = Spectrum(*tile), lanes(dtype)
    x = rng.normal(size=(*tile, width)).astype(dtype)
    step, half, pitch = 3 * width, 2 * width, s.pitch * width
    spectra, scratch = np.zeros(s.frequencies * step, dtype), np.full((tile[0] + 1) * pitch, np.nan, dtype)
    layout = s.rows, s.columns, s.inner
    there = forward(s, dtype, width, step, half)
    flat, row = x.reshape(-1), tile[1] * width
    spectrum_of(flat, 0, row, tile[0], layout, *there, scratch, pitch, spectra, 0, step, half, 0, flat, 0, row)
    whole = np.fft.fft2(x.astype(np.float64), axes=(0, 1))
    kept = [whole[: s.half_rows, 0], *(whole[:, v] for v in range(1, s.inner + 1))]
    if tile[1] % 2 == 0:
        kept.append(whole[: s.half_rows, tile[1] // 2])
    parts = spectra.reshape(s.frequencies, 3, width)
    error = np.abs(parts[:, 0] + 1j * parts[:, 2] - np.concatenate(kept)).max()
    assert error <= ERROR[dtype] * np.sqrt(prod(tile))  # by Parseval, the spectrum's RMS

    out = tile[0] - 2, tile[1] - 1
    back = inverse(s, dtype, width, out, step, half)
    y = np.full((out[0], out[1] + 1, width), np.nan, dtype)
    scratch[:] = np.nan
    tile_of(spectra, 0, step, half, 0, layout, *back, scratch, pitch, out, y.reshape(-1), 0)
    assert np.abs(y[:, :-1] - x[: out[0], : out[1]]).max() <= ERROR[dtype]


@pytest.mark.parametrize(
    ("images", "channels", "size", "outputs", "kernel", "tile"),
    [
        (1, 1, (12, 13), 1, (3, 3), (4, 4)),  # one channel, the smallest tile: 2 x 2 outputs
        (3, 5, (12, 19), 17, (5, 4), (8, 9)),  # tiles hang over both edges
        (2, 37, (6, 7), 40, (3, 5), (12, 11)),  # maps smaller than a tile
        (2, 20, (9, 11), 50, (9, 11), (13, 12)),  # one output per image
        (1, 7, (23, 31), 100, (3, 11), (16, 27)),  # more vectors of outputs than a panel has
        (1, 150, (14, 15), 33, (6, 7), (14, 15)),  # more terms than one block of sums; one tile, exact
        (4, 3, (40, 21), 2, (16, 8), (40, 20)),  # the largest tile and kernel
    ],
)
def test_equals_the_reference(images, channels, size, outputs, kernel, tile, dtype) -> None:
    p = problem(images, channels, size, outputs, kernel, dtype)
    check(Case(p), FFT(p, tile))


@pytest.mark.parametrize("slope", [0.0, 0.1])
def test_rectifies(slope, dtype) -> None:
    p = problem(2, 9, (20, 13), 21, (7, 5), dtype, slope=slope)
    check(Case(p), candidates(p)[0])


def test_chunks_and_groups_of_outputs(dtype, monkeypatch) -> None:
    """Several chunks of unequal size, several groups of outputs, in a workspace that is far too small for all."""
    monkeypatch.setattr("fullmocha.backends.cpu.conv.fft.FEWEST", 20)
    monkeypatch.setattr("fullmocha.backends.cpu.conv.fft.CACHED_SOURCES", 2**10)
    monkeypatch.setattr("fullmocha.backends.cpu.conv.fft.PRODUCTS", 2**20)
    p = problem(3, 18, (24, 31), 90, (5, 3), dtype, slope=0.0)
    algorithm = FFT(p, (8, 9))
    assert algorithm.tiles % algorithm.chunk and len(algorithm.groups) > 2
    check(Case(p), algorithm)


@pytest.mark.parametrize(("pool", "split"), [((2, 2), (2, 2)), ((3, 2), (3, 2)), ((1, 3), (1, 1)), ((1, 1), (2, 3))])
def test_pools_and_splits(pool, split, dtype) -> None:
    p = problem(2, 6, (21, 26), 19, (5, 6), dtype, slope=0.0, pool=pool, split=split)
    check(Case(p), FFT(p, (10, 12)))


@pytest.mark.parametrize("softmax", [False, True])
def test_tails(softmax, dtype) -> None:
    p = problem(12, 6, (10, 11), 35, (5, 6), dtype, slope=0.0, tail=Tail(3, softmax, ((2, 2), (1, 3)), (11, 35)))
    case = Case(p)
    hidden = np.sqrt(np.mean(case.convolution() ** 2))
    bound = ERROR[p.dtype] * hidden * np.abs(case.tail).sum(1).max()  # of a score; probabilities move by half of it
    assert np.abs(case.run(FFT(p, (10, 8))) - case.expected()).max() <= bound


def test_the_bits_do_not_depend_on_the_threads(dtype) -> None:
    p = problem(3, 21, (19, 26), 50, (7, 7), dtype, slope=0.0, pool=(2, 2), split=(2, 2))
    case, algorithm = Case(p), FFT(p, (13, 14))
    np.testing.assert_array_equal(case.run(algorithm, 1), case.run(algorithm, 2))


def test_weights_are_laid_out_alike_for_images_of_any_number_and_size() -> None:
    """Plans for the tiles of one picture share them."""
    few, many = (problem(n, 21, size, 50, (7, 7), np.dtype("f4")) for n, size in ((1, (30, 30)), (64, (41, 50))))
    w = Case(few).w
    np.testing.assert_array_equal(FFT(few, (13, 14)).prepare(w), FFT(many, (13, 14)).prepare(w))


def test_offers_fast_tiles_and_small_ones() -> None:
    p = problem(64, 192, (25, 25), 1024, (10, 10), np.dtype("f4"))
    offered = candidates(p)
    assert offered[0].name == "fft 25x25"  # one tile for each map
    assert len(offered) > 1
    memory = [a.kept + a.workspace for a in offered]
    for (fast, small), (more, less) in zip(pairwise(offered), pairwise(memory), strict=True):
        assert fast.seconds < small.seconds and 2 * less <= memory[0] and less < more


@pytest.mark.parametrize(
    "changed",
    [{"kernel": (2, 5)}, {"kernel": (5, 17)}, {"stride": (1, 2)}, {"dilation": (2, 2)}, {"plain": True}],
    ids=str,
)
def test_claims_nothing_else(changed) -> None:
    rest = {"kernel": (5, 5), "stride": (1, 1), "dilation": (1, 1)} | changed
    assert candidates(Problem(1, 3, (40, 40), 5, dtype=np.dtype("f4"), **rest)) == ()


def test_room_starts_at_a_cache_line(dtype) -> None:
    assert aligned(5, dtype).ctypes.data % 64 == 0 and aligned(5, dtype).shape == (5,)


def test_workspace_does_not_depend_on_the_threads_asked_for(dtype, monkeypatch) -> None:
    """Else a plan under a budget would, and so the bits."""
    p = problem(2, 9, (20, 13), 21, (7, 5), dtype)
    before = FFT(p, (12, 11)).workspace
    monkeypatch.setattr(config, "NUMBA_NUM_THREADS", config.NUMBA_NUM_THREADS + 1)
    assert FFT(p, (12, 11)).workspace == before


def test_keeps_what_it_says(dtype, monkeypatch) -> None:
    monkeypatch.setattr("fullmocha.backends.cpu.conv.fft.PRODUCTS", 2**20)
    algorithm = FFT(problem(3, 18, (24, 31), 90, (5, 3), dtype), (8, 9))
    assert len(algorithm.groups) > 2
    assert algorithm.prepare(np.ones((90, 18, 5, 3), dtype)).nbytes == algorithm.kept
