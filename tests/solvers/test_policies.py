"""The policies, against tables that were worked out by hand."""

import math

import pytest

from fullmocha.errors import SolverError
from fullmocha.solvers.policies import LRPolicy, MomPolicy, Policy

TABLES: list[tuple[Policy, dict[int, float]]] = [
    (LRPolicy.Fixed(0.3), {0: 0.3, 1: 0.3, 10**6: 0.3}),
    (LRPolicy.Step(0.8, 0.5, 3), {0: 0.8, 1: 0.8, 2: 0.8, 3: 0.4, 5: 0.4, 6: 0.2, 9: 0.1}),
    (LRPolicy.Exp(2.0, 0.5), {0: 2.0, 1: 1.0, 2: 0.5, 4: 0.125}),
    (LRPolicy.Inv(0.01, 0.0001, 0.75), {0: 0.01, 1: 0.00999925006562, 10000: 0.00594603557501}),
    (MomPolicy.Fixed(0.9), {0: 0.9, 7: 0.9}),
    (MomPolicy.Step(0.25, 2.0, 2, 0.9), {0: 0.25, 1: 0.25, 2: 0.5, 3: 0.5, 4: 0.9, 100: 0.9}),
    (MomPolicy.Linear(0.5, 0.0008, 600, 0.9), {0: 0.5, 599: 0.5, 600: 0.5008, 1200: 0.5016, 10**6: 0.9}),
    (LRPolicy.Staged((3, LRPolicy.Fixed(1.0)), (2, LRPolicy.Fixed(0.5)), (1, LRPolicy.Fixed(0.1))),
     {0: 1.0, 1: 1.0, 2: 1.0, 3: 0.5, 4: 0.5, 5: 0.1, 6: 0.1, 99: 0.1}),
    # a stage sees the iteration of the whole training, not its own
    (LRPolicy.Staged((4, LRPolicy.Fixed(1.0)), (9, LRPolicy.Step(8.0, 0.5, 2))), {3: 1.0, 4: 2.0, 5: 2.0, 6: 1.0}),
    (MomPolicy.Staged((2, MomPolicy.Fixed(0.5)), (2, MomPolicy.Linear(0.6, 0.1, 3, 0.8))),
     {0: 0.5, 1: 0.5, 2: 0.6, 3: 0.7}),
    (LRPolicy.MultiStep(0.8, 0.5, (2, 5, 6)), {0: 0.8, 1: 0.8, 2: 0.4, 4: 0.4, 5: 0.2, 6: 0.1, 99: 0.1}),
    (LRPolicy.MultiStep(0.8, 0.5, (0, 0, 4)), {0: 0.4, 1: 0.2, 3: 0.2, 4: 0.1}),
    (LRPolicy.MultiStep(0.8, 0.5, ()), {0: 0.8, 9: 0.8}),
    (LRPolicy.Poly(0.5, 2.0, 10), {0: 0.5, 5: 0.125, 9: 0.005, 10: 0.0, 11: 0.0}),
    (LRPolicy.Poly(0.5, 0.5, 4), {0: 0.5, 3: 0.25, 4: 0.0, 9: 0.0}),
    (LRPolicy.Sigmoid(2.0, -0.5, 4), {4: 1.0, 0: 1.76159415595576, 8: 0.238405844044235, 10**6: 0.0}),
]  # fmt: skip


@pytest.mark.parametrize(("policy", "table"), TABLES, ids=repr)
def test_table(policy: Policy, table: dict[int, float]) -> None:
    assert {i: policy(i) for i in table} == pytest.approx(table, rel=1e-11)  # the tables have twelve digits


def test_inv_falls_as_a_power_of_the_iteration() -> None:
    policy = LRPolicy.Inv(1.0, 2.0, 0.5)
    assert policy(4) == pytest.approx(1 / math.sqrt(9), rel=1e-15)


@pytest.mark.parametrize(
    "make",
    [
        lambda: LRPolicy.Step(0.1, 0.5, 0),
        lambda: MomPolicy.Linear(0.5, 0.1, -1, 0.9),
        lambda: LRPolicy.Staged(),
        lambda: LRPolicy.Staged((0, LRPolicy.Fixed(0.1))),
        lambda: LRPolicy.Staged((5, 0.1)),
        lambda: LRPolicy.Poly(0.1, 0.5, 0),
    ],
)
def test_refused(make: object) -> None:
    with pytest.raises(SolverError, match=r"at least|takes"):
        make()


def test_what_grows_beyond_all_numbers_is_infinite_or_at_its_maximum() -> None:
    assert MomPolicy.Step(0.5, 1.5, 10, 0.9)(17600) == 0.9
    assert LRPolicy.Exp(0.1, 1.1)(100000) == float("inf")


def test_where_inv_and_poly_are_no_number_they_are_what_caffes_pow_gives() -> None:
    inv = LRPolicy.Inv(0.5, -0.25, 0.75)
    assert (inv(3), inv(4)) == (0.5 * 0.25**-0.75, float("inf"))
    assert math.isnan(inv(5))
    assert LRPolicy.Inv(1.0, -0.5, -1000)(10**6) == float("inf")
    assert LRPolicy.Poly(1.0, -1000.0, 8)(7) == float("inf")


@pytest.mark.parametrize("stepvalues", [(2, 5, 6), (0, 0, 0), (3, 3, 4, 4, 9), (5, 3, 9), (1,), ()])
def test_multistep_at_once_is_multistep_one_by_one(stepvalues: tuple[int, ...]) -> None:
    policy, step = LRPolicy.MultiStep(1.0, 0.5, stepvalues), 0
    for iteration in range(15):
        step = policy.advance(step, iteration)
        assert policy(iteration) == policy.rate(step), iteration
