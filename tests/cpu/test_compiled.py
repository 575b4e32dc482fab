"""Compiled programs: parameters that change, weights prepared once and dropped, bits that tiles and threads do not touch."""

import gc
import threading
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fullmocha.backends.cpu import Ops
from fullmocha.backends.cpu.compiled import Prepared
from fullmocha.backends.program import Program

import fullmocha as fm
from fullmocha.labelling import Labelling, plan_labelling
from fullmocha.models import lenet, n4
from fullmocha.plan import Tile, TilePlan, cut, lay_out

from .programs import Draft, Shared, by_reference, compiled, errors, source

F4 = np.dtype("float32")


def small(dtype: str = "float32", size: tuple[int, int] = (21, 26), images: int = 1) -> Program:
    """Of every kind of step that takes weights, except those by the ops."""
    d = Draft(np.dtype(dtype), (images, 2, *size))
    a = d.activate(d.conv(d.x, 19, (3, 3)))
    b = d.fragment(d.max_pool(d.conv(a, 24, (3, 2)), (2, 2)), (2, 2))
    c = d.stitch(d.softmax(d.conv(d.activate(d.conv(b, 40, (2, 2))), 3, (1, 1))), (2, 2))
    up = d.conv(d.deconv(a, 19, (2, 2), (2, 2), group=19), 6, (1, 1))
    return d.program(c, up)


# ---- parameters that change


def test_written_parameters_change_the_answers(ops: Ops) -> None:
    """Every parameter in turn; all have a prepared form that was made from what it held before."""
    program = small()
    run, x = compiled(ops, program), source(program)
    run(x)
    shared = {id(r.parameter): r.parameter for s in program.steps for r in s.reads if hasattr(r, "parameter")}
    assert len(shared) == 12
    for parameter in shared.values():
        parameter.array *= -1.5
        parameter.version += 1
        before_and_after = errors(run(x), by_reference(program, x))
        assert max(before_and_after) <= 4e-5


def test_a_solver_step_changes_the_answers(rng: np.random.Generator) -> None:
    data = rng.normal(size=(8, 1, 12, 12)).astype(np.float32)
    labels = rng.integers(0, 3, (8, 1)).astype(np.float32)
    layers = [
        fm.MemoryDataLayer(batch_size=4, tops=["data", "label"], data=[data, labels]),
        fm.ConvolutionLayer(name="c", bottoms=["data"], tops=["c"], kernel=3, n_filter=20, neuron=fm.Neurons.ReLU()),
        fm.PoolingLayer(name="p", bottoms=["c"], tops=["p"], kernel=2, stride=2),
        fm.InnerProductLayer(name="ip", bottoms=["p"], tops=["ip"], output_dim=3),
        fm.SoftmaxLossLayer(name="loss", bottoms=["ip", "label"]),
    ]
    net = fm.Net("trained", fm.CPUBackend(3), layers)
    net.init()
    dense = fm.densify(net, output="ip")
    image = rng.normal(size=(1, 1, 20, 25)).astype(np.float32)
    before = dense.forward(image)
    solver = fm.Solver(fm.SGD(), fm.make_solver_parameters(fm.SGD(), max_iter=2, lr_policy=fm.LRPolicy.Fixed(0.5)))
    fm.solve(solver, net)
    after = dense.forward(image)
    fresh = fm.densify(net, output="ip").forward(image)
    assert np.abs(after - before).max() > 1e-3
    np.testing.assert_array_equal(after, fresh)


# ---- what is prepared


def test_programs_share_what_is_prepared(ops: Ops) -> None:
    """Two shapes of image, the same weights in the same form: prepared once, and counted once."""
    parameters: list[Shared] = []

    def program(width: int) -> Program:
        d = Draft(F4, (1, 20, 12, width))
        y = d.conv(d.x, 33, (3, 3))
        for mine, theirs in zip(d.params, parameters, strict=False):
            mine.array = theirs.array
        built = d.program(y)
        if not parameters:
            parameters.extend(d.params)
            return built
        (step,) = built.steps
        weights = [replace(r, parameter=p) for r, p in zip(step.reads[1:], parameters, strict=True)]  # type: ignore[type-var]
        return replace(built, steps=(replace(step, reads=(step.reads[0], *weights)),))

    first, second = (compiled(ops, program(w), exact=True) for w in (15, 22))
    assert [id(p) for p in first.prepared] == [id(p) for p in second.prepared]
    assert ops.shelf.nbytes == 0  # nothing has run yet
    second(np.zeros((1, 20, 12, 22), F4))
    held = ops.shelf.nbytes
    lanes = first.program.steps[-2].options["problem"].lanes
    vectors = -(-33 // lanes)
    assert held == 4 * lanes * vectors * (20 * 9 + 1)
    first(np.zeros((1, 20, 12, 15), F4))
    assert ops.shelf.nbytes == held
    assert first.plan.kept == second.plan.kept == 4 * lanes * vectors * 20 * 9


def test_prepared_weights_go_with_their_programs(ops: Ops) -> None:
    """The last program's stay until another one is compiled."""
    one, other = small(), Draft(F4, (1, 20, 6, 7))
    y = other.conv(other.x, 5, (3, 3))
    run = compiled(ops, one)
    run(source(one))
    assert ops.shelf.nbytes > 0
    del run
    gc.collect()
    kept = ops.shelf.nbytes
    assert kept > 0
    again = compiled(ops, one)
    again(source(one))
    assert ops.shelf.nbytes == kept
    del again
    last = compiled(ops, other.program(y))
    gc.collect()
    assert ops.shelf.nbytes == 0
    last(np.zeros((1, 20, 6, 7), F4))
    assert 0 < ops.shelf.nbytes < kept


def test_dense_nets_of_one_backend_share_weights(rng: np.random.Generator) -> None:
    net = fm.Net("net", fm.CPUBackend(3), n4(5, 12))
    net.init()
    x = rng.normal(size=(1, 1, 99, 101)).astype(np.float32)
    first, second = fm.densify(net, exact=True), fm.densify(net, exact=True)
    first.forward(x)
    held = net.backend.ops.shelf.nbytes
    second.forward(x)
    assert net.backend.ops.shelf.nbytes == held > 0
    second.forward(x[:, :, :, :98])
    assert net.backend.ops.shelf.nbytes == held


def test_a_plan_says_what_a_program_holds(ops: Ops) -> None:
    """arena, workspace and prepared weights are what is taken, biases and tails apart."""
    for exact in (True, False):
        program = ops.lower(small())
        plan = lay_out(ops, program, exact)
        run = ops.compile(program, plan)
        run(source(small()))
        assert len(run.arena) == plan.arena and run.scratch.nbytes == plan.workspace
        assert plan.nbytes == plan.arena + plan.workspace + plan.kept
        convolutions = [s for s in program.steps if s.op == "convolve"]
        prepared = [p.array.nbytes for p in run.prepared]
        assert len(prepared) == 2 * len(convolutions) + 2  # weights and bias of each, and of the one tail
        apart = sum(n for n in prepared if n <= 4 * 64 * 3)
        ups = sum(c.kept for s, c in zip(program.steps, plan.algorithms, strict=True) if s.op == "up_convolve")
        assert sum(prepared) - apart == plan.kept - ups


def test_several_python_threads_prepare_once() -> None:
    """A program that finds weights in the making waits for them; it must not run with what is not there yet."""
    started, made = threading.Event(), []

    def make(values: np.ndarray) -> np.ndarray:
        started.set()
        threading.Event().wait(0.05)
        made.append(1)
        return values * 2

    prepared = Prepared(Shared(np.arange(5.0)), make)
    answers: list[np.ndarray] = []
    threads = [threading.Thread(target=lambda: answers.append(prepared.fresh())) for _ in range(4)]
    threads[0].start()
    started.wait()
    for thread in threads[1:]:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    for answer in answers:
        np.testing.assert_array_equal(answer, 2 * np.arange(5.0))


def test_two_programs_in_two_threads(ops: Ops) -> None:
    """While a third one writes to a parameter that both have prepared."""
    programs = [small(size=(21, 26)), small(size=(21, 26))]
    runs = [compiled(ops, programs[0]) for _ in range(2)]
    x = source(programs[0])
    expected = runs[0](x)
    parameters = {id(r.parameter): r.parameter for s in programs[0].steps for r in s.reads if hasattr(r, "parameter")}
    wrong: list[Any] = []

    def work(run: Any) -> None:
        for _ in range(30):
            for parameter in parameters.values():
                parameter.version += 1  # the same numbers, prepared again
            for answer, right in zip(run(x), expected, strict=True):
                if not np.array_equal(answer, right):
                    wrong.append(np.abs(answer - right).max())

    threads = [threading.Thread(target=work, args=(run,)) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_answers_are_the_callers(ops: Ops) -> None:
    program = small()
    run, x = compiled(ops, program), source(program)
    first = run(x)
    kept = [a.copy() for a in first]
    run(2 * x)
    for a, b in zip(first, kept, strict=True):
        np.testing.assert_array_equal(a, b)


# ---- bits


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_any_number_of_threads(dtype: str, exact: bool) -> None:
    """And the same plan."""
    program = small(dtype, (60, 71), 2)
    x, answers, plans = source(program), [], []
    for count in (1, 2, None):
        ops = Ops()
        ops.set_threads(count)
        run = compiled(ops, program, exact)
        answers.append(run(x))
        plans.append(run.plan)
    for plan, some in zip(plans[1:], answers[1:], strict=True):
        assert plan == plans[0]
        for a, b in zip(some, answers[0], strict=True):
            np.testing.assert_array_equal(a, b)


NETS = {"n4": (n4(6, 20), 1, 95), "lenet": (lenet(), 1, 28)}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("layers", "channels", "patch"), NETS.values(), ids=NETS)
def test_exact_answers_have_their_bits_in_any_tiling(
    layers: list, channels: int, patch: int, dtype: str, rng: np.random.Generator
) -> None:
    """Whole, in tiles of any size, and window by window on either engine of fragments and strided kernels."""
    net = fm.Net("net", fm.CPUBackend(3), layers, dtype=dtype)
    net.init()
    dense = fm.densify(net, exact=True)
    x = rng.normal(size=(1, channels, patch + 22, patch + 30)).astype(dtype)
    whole = dense.forward(x)
    assert np.ptp(whole) > 1e-3
    np.testing.assert_array_equal(fm.densify(net, "strided", exact=True).forward(x), whole)
    for y, x0, h, w in ((0, 0, 7, 9), (3, 5, 1, 1), (10, 11, 13, 20), (1, 30, 22, 1)):
        part = np.ascontiguousarray(x[:, :, y : y + patch - 1 + h, x0 : x0 + patch - 1 + w])
        np.testing.assert_array_equal(dense.forward(part), whole[:, :, y : y + h, x0 : x0 + w])
    again = fm.densify(net, exact=True, threads=1).forward(x)
    net.backend.ops.set_threads(None)
    np.testing.assert_array_equal(again, whole)


def test_windows_one_by_one_agree_with_the_dense_pass(rng: np.random.Generator) -> None:
    """Flattened maps are summed in another order than windows are, so to rounding: 5e-5 for probabilities (DESIGN section 4)."""
    net = fm.Net("net", fm.CPUBackend(3), lenet())
    net.init()
    x = rng.normal(size=(2, 1, 31, 33)).astype(np.float32)
    sliding = fm.densify(net, "sliding").forward(x)
    assert np.ptp(sliding) > 1e-2
    for exact in (True, False):
        assert np.abs(fm.densify(net, exact=exact).forward(x) - sliding).max() <= 5e-5


def test_exact_labels_are_the_same_in_tiles(rng: np.random.Generator) -> None:
    """predict, through tiles that a planner might choose."""
    net = fm.Net("net", fm.CPUBackend(3), lenet())
    net.init()
    dense = fm.densify(net, exact=True)
    image = rng.normal(size=(1, 50, 61)).astype(np.float32)
    whole = fm.predict(dense, image)
    job = plan_labelling(dense, image.shape)
    rows, columns = (cut(n, -(-n // t), 1) for n, t in zip(job.outputs, (17, 20), strict=True))
    tiles = tuple(Tile(y, x, (h, w), (h, w)) for y, h in rows for x, w in columns)
    plans = {}
    for t in tiles:
        program = dense.backend.ops.lower(dense.program(dense.input_shape(t.windows)))
        plans[t.windows] = program, lay_out(dense.backend.ops, program, exact=True)
    tiled = Labelling(dense, job.image, "symmetric", 0, TilePlan(tiles, job.outputs, 0, 0, 0.0, plans)).whole(image)
    assert len(tiles) == 12
    np.testing.assert_array_equal(tiled, whole)


# ---- indexing


_BOUNDS = """
import numpy as np
from fullmocha.backends.cpu.conv import algorithms
from fullmocha.backends.cpu.conv.problem import Problem, Tail

import sys
sys.path.insert(0, {folder!r})
from checks import data_for, error, solve

one, seen = (1, 1), set()
for dtype in map(np.dtype, ("float32", "float64")):
    for p in (
        Problem(2, 3, (9, 11), 20, (3, 2), (1, 2), one, dtype, plain=True, slope=0.1, pool=(2, 3), split=(2, 2)),
        Problem(2, 17, (12, 13), 18, (3, 3), one, one, dtype, slope=0.0, pool=(2, 2), split=(2, 2)),
        Problem(1, 20, (9, 9), 5, (4, 4), one, one, dtype),
        Problem(4, 8, (6, 7), 19, (3, 2), one, one, dtype, slope=0.0, tail=Tail(3, True, ((2, 2),), (8, 11))),
        Problem(1, 17, (18, 19), 9, (7, 8), one, one, dtype, slope=0.0, pool=(2, 1)),
        Problem(1, 33, (7, 8), 3, (2, 2), one, one, dtype, tail=Tail(3, False, (), (6, 7), own=True)),
    ):
        for algorithm in algorithms(p):
            name = algorithm.name.split()[0]
            if (name, dtype, p) in seen:
                continue  # one size of tile of each kind: the kernels are the same
            seen.add((name, dtype, p))
            data = data_for(p, np.random.default_rng(0))
            bound = 4e-4 if dtype.itemsize == 4 else 1e-11  # any tile's: indexing is what is looked at
            assert error(p, data, solve(algorithm, p, data)) <= bound, (algorithm, p)
print(*sorted({{name for name, *_ in seen}}))
"""


@pytest.mark.slow
def test_indices_stay_in_their_arrays(run_python: Any, tmp_path: Any) -> None:
    """Every algorithm once with numba's own checks; what the intrinsics read and write lies between fences."""
    code = _BOUNDS.format(folder=str(Path(__file__).parent / "conv"))
    names = run_python(code, NUMBA_BOUNDSCHECK="1", NUMBA_CACHE_DIR=str(tmp_path)).split()
    assert names == ["direct", "fft", "winograd"]


def test_a_program_is_gone_when_nobody_holds_it() -> None:
    """Without waiting for the collector of cycles: the arena is the largest thing that the process has."""
    net = fm.Net("n4", fm.CPUBackend(0), n4(4, 8))
    net.init()
    dense = fm.densify(net)
    run = dense.compile(dense.input_shape((5, 6)))
    run(np.zeros(dense.input_shape((5, 6)), np.float32))
    watched = weakref.ref(run)
    gc.disable()
    try:
        del run
        assert watched() is None
    finally:
        gc.enable()
