"""Amounts of memory as people write them."""

import numpy as np
import pytest

import fullmocha as fm
from fullmocha.memory import parse_bytes


@pytest.mark.parametrize(
    ("amount", "count"),
    [
        (1e16, 10**16),  # str gives 1e+16
        ("1e16", 10**16),
        ("1e+16", 10**16),
        ("2.5E+3 KB", 2_500_000),
        ("1500e-3 GB", 1_500_000_000),
        (np.float32(3e9), 3 * 10**9),
        (np.float32(1e16), 10**16),
        (np.int64(77), 77),
        (1, 1),
        ("1e300", int(1e300)),
    ],
)
def test_amounts(amount: object, count: int) -> None:
    assert parse_bytes(amount) == count


NONE = [-1, -1e16, "-4GiB", 0, 0.5, "1e-3", float("nan"), np.float32("nan"), float("inf"), "1e400", "1e300 TB"]
NOT_WRITTEN_SO = ["", " ", "GiB", "e16", "1e", "1.2.3", "4 PB", "4GiB 2", None, True, [], 1 + 2j]


@pytest.mark.parametrize("amount", [*NONE, *NOT_WRITTEN_SO])
def test_what_is_no_amount(amount: object) -> None:
    with pytest.raises(fm.BudgetError, match=r"is no amount of bytes; write for example 4GiB"):
        parse_bytes(amount)
