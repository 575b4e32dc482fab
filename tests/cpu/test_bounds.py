"""Every convolution of the nets that bench/ times, by the algorithm that is planned for it: how far from exact sums.

The bounds are the contract's, in units of the RMS of the outputs: direct sums and Fourier transforms 4e-6, Winograd's tiles up to
6 2e-5, tiles of 7 and 8 1e-4 at most and 5e-6 in the mean square. Channels and kernels are the net's own; the map is some
tiles and a part of one, because an error does not depend on how many tiles there are. Exact sums are the direct ones in
float64, which tests/cpu/conv holds to the reference.
"""

from dataclasses import replace

import numpy as np
import pytest
from fullmocha.backends.cpu.conv import algorithm
from fullmocha.backends.cpu.conv.problem import Problem
from fullmocha.backends.cpu.jit import Threads
from fullmocha.backends.cpu.ops import Ops
from fullmocha.backends.shapes import Window

import fullmocha as fm
from fullmocha.models import MODELS
from fullmocha.plan import lay_out

from .conv.checks import block, unblock

SIZES = {"n4": 512, "sk": 128, "usk": 256, "u": 388, "n337": 256, "n537": 256, "n726": 256, "n926": 256}


def planned(name: str, exact: bool) -> list[tuple[Problem, str]]:
    """The convolutions of a net at its size, without repetitions, and what the planner chose for each."""
    net = fm.Net(name, fm.CPUBackend(0), MODELS[name]())
    dense, ops = fm.densify(net), net.backend.ops
    program = ops.lower(dense.program(dense.input_shape(dense.fit((SIZES[name],) * 2))))
    plan = lay_out(ops, program, exact)
    pairs = zip(program.steps, plan.algorithms, strict=True)
    return list(dict.fromkeys((step.options["problem"], how.algorithm) for step, how in pairs if step.op == "convolve"))


def errors(problem: Problem, name: str) -> tuple[float, float]:
    """The largest error and the RMS error of one convolution alone, over the RMS of its outputs."""
    tile = (8, 8) if name == "direct" else tuple(int(n) for n in name.split()[-1].split("x"))
    size = tuple(k + 3 * t // 2 for k, t in zip(problem.kernel, tile, strict=True))
    chosen = algorithm(problem, name)
    p = replace(problem, images=1, size=size, slope=None, pool=(1, 1), split=(1, 1), tail=None)
    chosen = replace(chosen, problem=p)  # type: ignore[type-var]
    rng = np.random.default_rng(0)
    # what a rectifier leaves, and He's weights: such numbers these nets have
    x = np.maximum(rng.normal(size=(1, p.channels, *size)), 0).astype(p.dtype)
    w = (rng.normal(size=(p.outputs, p.channels, *p.kernel)) * np.sqrt(2 / p.terms)).astype(p.dtype)
    y, none = np.empty(p.written, p.dtype), np.zeros(1, p.dtype)
    bias = np.zeros(p.output_blocks * p.lanes, p.dtype)
    source = (x if p.plain else block(x, p.lanes)).reshape(-1)
    scratch = np.empty(chosen.workspace // p.dtype.itemsize, p.dtype)
    chosen.run(source, chosen.prepare(w), bias, none, none, y.reshape(-1), scratch, Threads())

    exact = np.empty((1, p.outputs, *p.out))
    window = Window(p.kernel, p.stride, (0, 0), p.dilation)
    Ops().conv(x.astype(np.float64), w.astype(np.float64), None, exact, window=window, group=1)
    wrong, unit = unblock(y, p.outputs) - exact, np.sqrt(np.mean(exact**2))
    return float(np.abs(wrong).max() / unit), float(np.sqrt(np.mean(wrong**2)) / unit)


def bounds(problem: Problem, name: str) -> tuple[float, float]:
    if not name.startswith("winograd"):
        return 4e-6, np.inf
    outputs = (int(n) for n in name.split()[-1].split("x"))
    tile = max(m + r - 1 for m, r in zip(outputs, problem.kernel, strict=True))
    assert tile <= 8, "no larger tiles in float32"
    return (2e-5, np.inf) if tile <= 6 else (1e-4, 5e-6)


@pytest.mark.parametrize("exact", [False, True], ids=["default", "exact"])
@pytest.mark.parametrize("name", SIZES)
def test_every_convolution_is_within_its_bound(name: str, exact: bool) -> None:
    found = planned(name, exact)
    assert len(found) >= 5
    for problem, algorithm_name in found:
        assert not exact or algorithm_name == "direct"
        largest, rms = errors(problem, algorithm_name)
        most, most_rms = bounds(problem, algorithm_name)
        assert largest < most and rms < most_rms, (problem.kernel, problem.channels, algorithm_name, largest, rms)


def test_the_fast_algorithms_are_chosen() -> None:
    """Else the tests above would have nothing to say of them."""
    kinds = {how.split()[0] for name in SIZES for _, how in planned(name, False)}
    assert kinds == {"direct", "winograd", "fft"}
