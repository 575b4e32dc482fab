"""`fullmocha bench`: one line for every step, whose times and operations add up."""

import re

import pytest

from .conftest import Run


def rows(text: str) -> list[list[str]]:
    """The table's cells, which two spaces part."""
    lines = text[text.index("layer") :].splitlines()
    return [re.split(r"\s{2,}", line.strip()) for line in lines[1 : lines.index("")]]


@pytest.mark.usefixtures("folder")
def test_times_and_operations_add_up(run: Run) -> None:
    done = run("bench", "mynet:tiny", "-w", "tiny.h5", "--backend", "cpu", "--image", "90x77", "--rounds", "2")
    assert done.status == 0, done.err
    *steps, total = rows(done.out)
    assert total[0] == "in all" and len(steps) >= 2
    assert {row[1] for row in steps} <= {"direct", "loop"} | {
        row[1] for row in steps if re.match("(winograd|fft) ", row[1])
    }
    milliseconds = sum(float(row[3]) for row in steps)
    assert milliseconds == pytest.approx(float(total[1]), rel=0.5, abs=1)  # medians of steps against that of their sums
    operations = sum(float(row[4]) for row in steps if row[4] != "-")
    assert operations == pytest.approx(float(total[2]), abs=0.005 * len(steps))  # printed with two decimals
    assert re.search(r"peak of multiply-adds, measured: [\d,]+ GFLOP/s", done.out)


@pytest.mark.usefixtures("folder")
def test_it_does_not_slide(run: Run) -> None:
    done = run("bench", "mynet:tiny", "-w", "tiny.h5", "--engine", "sliding")
    assert done.status == 2 and "fragments or strided" in done.err
