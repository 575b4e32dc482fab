"""The planner: which candidate does each step, where buffers lie, and what is given up as memory gets short."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod

import numpy as np
from fullmocha.backends.program import Candidate, Plan, Program, Step, Value
from hypothesis import given, settings
from hypothesis import strategies as st

from fullmocha.memory import GIB
from fullmocha.plan import ERROR, GROWTH, THRIFT, lay_out

F4 = np.dtype(np.float32)
MIB = 2**20


@dataclass
class Made:
    """A backend of made-up candidates, one list per step."""

    options: Sequence[Sequence[Candidate]]

    def candidates(self, step: Step) -> list[Candidate]:
        return list(self.options[int(step.layer)])


def chain(count: int, size: int = 16, op: str = "conv") -> Program:
    """Steps that each read what the one before them wrote."""
    values = [Value(i, (size,)) for i in range(count + 1)]
    steps = tuple(Step(op, (values[i],), values[i + 1], {"flops": 1}, str(i), F4) for i in range(count))
    return Program(steps, values[0], (values[-1],), F4)


def planned(options: Sequence[Sequence[Candidate]], exact: bool = False, budget: int | None = None) -> Plan:
    return lay_out(Made(options), chain(len(options)), exact, budget)


FAST, SLOW = Candidate("fast", 1.0, 0, 100 * MIB, exact=False), Candidate("slow", 3.0, 0, 10 * MIB)


def names(plan: Plan) -> list[str]:
    return [c.algorithm for c in plan.algorithms]


def test_the_fastest_where_memory_is_plenty() -> None:
    assert names(planned([[SLOW, FAST], [FAST, SLOW]])) == ["fast", "fast"]
    assert names(planned([[SLOW, FAST], [FAST, SLOW]], budget=GIB)) == ["fast", "fast"]


def test_exact_takes_exact_candidates_only() -> None:
    for budget in (None, GIB, 1):
        assert names(planned([[FAST, SLOW], [SLOW, FAST]], True, budget)) == ["slow", "slow"]


def test_what_loses_least_for_a_byte_goes_first() -> None:
    """The second step gives 90 MiB for half a second, the first for two."""
    cheap = Candidate("slow", 1.5, 0, 10 * MIB)
    options = [[FAST, SLOW], [FAST, cheap]]
    assert names(planned(options, budget=150 * MIB)) == ["fast", "slow"]
    assert names(planned(options, budget=50 * MIB)) == ["slow", "slow"]


def test_between_two_slower_ones_the_better_bargain() -> None:
    """30 MiB for 0.1 s, against 90 MiB for 2 s; and then the rest."""
    middle = Candidate("middle", 1.1, 0, 70 * MIB)
    assert names(planned([[FAST, SLOW, middle]], budget=80 * MIB)) == ["middle"]
    assert names(planned([[FAST, SLOW, middle]], budget=20 * MIB)) == ["slow"]


def test_errors_together_stay_within_what_is_allowed() -> None:
    """Those at the beginning grow most on their way to the end, so there the exact candidates go."""
    rough, fine = Candidate("rough", 1.0, error=4e-6), Candidate("fine", 2.0, error=3e-7)
    assert names(planned([[rough, fine]] * 3)) == ["rough"] * 3
    chosen = names(planned([[rough, fine]] * 12))
    exact = chosen.count("fine")
    assert 0 < exact < 12 and chosen == ["fine"] * exact + ["rough"] * (12 - exact)
    grown = [c * GROWTH ** (11 - i) for i, c in enumerate([3e-7] * exact + [4e-6] * (12 - exact))]
    assert (
        np.sqrt(np.sum(np.square(grown)))
        <= ERROR
        < np.sqrt(sum(g**2 for g in grown) + (4e-6 * GROWTH ** (12 - exact)) ** 2)
    )
    assert names(planned([[rough, fine]] * 12, budget=5)) == chosen, "a short memory does not undo it"


def test_where_nothing_fits_the_smallest_is_planned() -> None:
    """The caller compares `nbytes` with its budget."""
    plan = planned([[FAST, SLOW]] * 3, budget=5)
    assert names(plan) == ["slow"] * 3
    assert plan.nbytes > 5


def test_a_plan_counts_all_that_it_holds() -> None:
    """Steps use the workspace one after the other; prepared weights all stay."""
    options = [[Candidate("a", 1.0, 700, 30)], [Candidate("b", 1.0, 900, 50)], [Candidate("c", 2.0, 0, 7)]]
    plan = planned(options)
    assert (plan.workspace, plan.kept, plan.seconds) == (900, 87, 4.0)
    assert plan.arena == 2 * 64  # of 16 numbers each, two are alive at a time
    assert plan.nbytes == 900 + 87 + 128


def test_memory_that_saves_next_to_no_time_is_not_held() -> None:
    """A GiB must save `THRIFT` of the plan's time, with any budget."""
    time = 10.0
    for gain, expected in ((0.5 * THRIFT * time, "small"), (2 * THRIFT * time, "large")):
        options = [[Candidate("large", time - gain, 0, GIB), Candidate("small", time, 0, 0)]]
        assert names(planned(options)) == names(planned(options, budget=4 * GIB)) == [expected]


def test_one_large_workspace_is_given_up() -> None:
    large, small = Candidate("large", 1.0, 500 * MIB), Candidate("small", 2.0, 5 * MIB)
    assert names(planned([[large, small], [small]], budget=100 * MIB)) == ["small", "small"]


def test_equal_workspaces_are_given_up_together() -> None:
    """As two layers of one shape have them."""
    large, small = Candidate("large", 1.0, 500 * MIB), Candidate("small", 2.0, 5 * MIB)
    assert names(planned([[large, small]] * 2, budget=100 * MIB)) == ["small", "small"]


@st.composite
def choices(draw: st.DrawFn, workspace: bool) -> list[list[Candidate]]:
    """One to five candidates for each of one to six steps; the last one is exact."""
    options = []
    for _ in range(draw(st.integers(1, 6))):
        some = [
            Candidate(
                str(i),
                draw(st.floats(0.001, 10)),
                draw(st.integers(0, 400)) * MIB if workspace else 0,
                draw(st.integers(0, 400)) * MIB,
                exact=draw(st.booleans()),
            )
            for i in range(draw(st.integers(0, 4)))
        ]
        options.append([*some, Candidate("exact", draw(st.floats(0.001, 20)), 0, draw(st.integers(0, 400)) * MIB)])
    return options


@settings(max_examples=150, deadline=None)
@given(choices(workspace=True), st.booleans())
def test_less_memory_is_never_faster_nor_larger(options: list[list[Candidate]], exact: bool) -> None:
    plans = [planned(options, exact, budget) for budget in (None, 2 * GIB, GIB, 600 * MIB, 200 * MIB, 1)]
    for plan in plans:
        assert not exact or all(c.exact for c in plan.algorithms)
        assert all(c in some for c, some in zip(plan.algorithms, options, strict=True))
    for larger, smaller in pairwise(plans):
        assert smaller.nbytes <= larger.nbytes
        assert smaller.seconds >= larger.seconds - 1e-9


@settings(max_examples=100, deadline=None)
@given(choices(workspace=False), st.integers(0, 2000))
def test_a_budget_that_prepared_weights_can_meet_is_met(options: list[list[Candidate]], mib: int) -> None:
    least = sum(min(c.kept for c in some) for some in options)
    plan = planned(options, budget=mib * MIB)
    assert plan.nbytes <= max(mib * MIB, least + plan.arena)


@st.composite
def graphs(draw: st.DrawFn) -> Program:
    """Steps that read one or two earlier values, some element by element, and one or two outputs."""
    values = [Value(0, (draw(st.integers(1, 50)),))]
    steps = []
    for i in range(draw(st.integers(1, 12))):
        reads = tuple(draw(st.sampled_from(values[-4:])) for _ in range(draw(st.integers(1, 2))))
        op = draw(st.sampled_from(["conv", "activate"]))
        shape = reads[0].shape if op == "activate" else (draw(st.integers(1, 50)),)
        write = Value(i + 1, shape)
        steps.append(Step(op, reads[:1] if op == "activate" else reads, write, {"flops": 1}, str(i), F4))
        values.append(write)
    outputs = (values[-1], draw(st.sampled_from(values)))
    return Program(tuple(steps), values[0], outputs, F4)


@settings(max_examples=200, deadline=None)
@given(graphs())
def test_nothing_is_overwritten_while_it_is_wanted(program: Program) -> None:
    """The program is run on marks in place of numbers: who reads a buffer finds there what its last step wrote."""
    plan = lay_out(Made([[Candidate("only", 1.0)]] * len(program.steps)), program)
    arena = np.full(plan.arena, -1)
    place = {}
    for value in [program.input, *(s.write for s in program.steps)]:
        start = plan.offsets[value.buffer]
        assert start % 64 == 0
        place[value.buffer] = slice(start, start + prod(value.shape) * 4)
    arena[place[program.input.buffer]] = 0
    for step in program.steps:
        for read in step.reads:
            assert isinstance(read, Value)
            assert (arena[place[read.buffer]] == read.buffer).all()
        arena[place[step.write.buffer]] = step.write.buffer
    for output in program.outputs:
        assert (arena[place[output.buffer]] == output.buffer).all()


def test_an_activation_takes_its_arguments_place() -> None:
    """Where nobody else wants it."""
    options = [[Candidate("only", 1.0)]] * 3
    assert lay_out(Made(options), chain(3, 1000, "activate")).arena == 4032
    assert lay_out(Made(options), chain(3, 1000)).arena == 2 * 4032
