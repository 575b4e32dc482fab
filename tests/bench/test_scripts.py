"""The scripts run from end to end on tiny nets, with no peer installed, and say what is missing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bench import labelling, options, report, turns

ROOT = Path(__file__).resolve().parents[2]
LIBRARIES = ("torch", "onnx", "onnxruntime", "openvino", "cv2")


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder on whose path no peer can be imported."""
    folder = tmp_path_factory.mktemp("bare")
    for name in LIBRARIES:
        (folder / f"{name}.py").write_text(f"raise ImportError('no {name} here')\n")
    return folder


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("results")


def run(script: str, results: Path, bare: Path, *words: str) -> str:
    command = [sys.executable, "-m", f"bench.{script}", "--quick", "--rounds", "2", "--into", str(results), *words]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(bare)},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def read(path: Path) -> dict:
    return json.loads(path.read_text())


def check_origin(record: dict) -> None:
    """What every result says about its making."""
    assert record["machine"]["cores"] >= 1 and record["versions"]["numpy"] and record["options"]["rounds"] == 2
    assert "OPENBLAS_CORETYPE" not in record["environment"]
    assert record["environment"]["NUMBA_NUM_THREADS"] == str(record["options"]["threads"])
    for peak in record["FMA peak GFLOP/s"].values():
        assert peak["one core"] > 0 and peak["all threads"] > 0 and peak["lanes"] in (4, 8, 16)
    assert str(ROOT) not in json.dumps(record)


def test_labelling(results: Path, bare: Path) -> None:
    printed = run("labelling", results, bare, "--only", "n337-9")
    record = read(results / "n337-9.json")
    check_origin(record)
    assert sorted(record["contestants"]) == ["fullmocha", "fullmocha exact"]
    assert sorted(record["absent"]) == sorted(labelling.PEERS)
    for peer, why in record["absent"].items():
        library = {"pytorch": "torch"}.get(peer.split()[0], "onnx")
        assert "not installed" in why and f"no {library} here" in why
    ours = record["contestants"]["fullmocha"]
    assert len(ours["seconds"]) == 2 and min(ours["seconds"]) > 0
    assert 20 < ours["peak MiB"] < 2000 and record["fastest peer"] is None
    assert (
        20
        < record["memory of a fresh process of ours MiB"]["loaded"]
        <= record["memory of a fresh process of ours MiB"]["peak"]
    )
    assert "absent: not installed" in printed


def test_growth(results: Path, bare: Path) -> None:
    run("growth", results, bare, "--memory", "4GiB")
    record = read(results / "growth.json")
    check_origin(record)
    assert list(record["sizes"]) == ["48", "64"]
    for size, row in record["sizes"].items():
        assert row["px/s"] == pytest.approx(int(size) ** 2 / row["median s"], rel=0.05)
        assert row["loaded MiB"] <= row["peak MiB"]
    assert record["peak within the budget"] is True


def test_reports(results: Path, bare: Path) -> None:
    run("reports", results, bare, "--only", "jakubiuk")
    record = read(results / "jakubiuk-table-1.json")
    check_origin(record)
    assert sorted(record["here"]) == ["fullmocha, dense", "fullmocha, window by window"]
    row = record["here"]["fullmocha, window by window"]
    assert row["seconds for the image"] == pytest.approx(row["median s"] * 10 * 12 / 256, abs=1e-4)
    assert "no cv2 here" in record["absent"]["opencv (Caffe's files), window by window"]


def test_the_tables_hold_what_was_measured(results: Path) -> None:
    found = report.read(results)
    if len(found) < 3:
        pytest.skip("the scripts before did not write their results")
    page = report.tables(found)
    assert (
        "| n337 (2-D), 9 x 9 |" in page
        and "| 48 x 48 |" in page
        and "| Mocha, CPU, window by window | 1526 s |" in page
    )
    record = read(results / "n337-9.json")
    assert f"{record['contestants']['fullmocha']['median s']:.3g} s" in page
    assert record["versions"]["numba"] in page


def test_pictures(results: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib, of the dev extra, is not installed")
    made = report.plots(report.read(results), tmp_path)
    assert [path.name for path in made] == ["labelling.png", "growth.png"]
    assert all(path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n" for path in made)


def test_greenteas_table_puts_ours_beside_the_published() -> None:
    from bench.reports import GREENTEA

    here = {
        "sk-128": {"px/s": 71000},
        "a, window by window": {"px/s": 400.0},
        "b, window by window": {"px/s": 500.0},
    }
    ratios = {"sk-128": 142.0}
    result = {"published": GREENTEA, "here": here, "times as fast as the fastest sliding window": ratios}
    lines = report._greentea(result)
    assert "| sk-128 | 3504 | - | 28461 | 85460 | 59513 | 71000 | 142.0 |" in lines
    first, second = (line for line in lines if line.startswith("| sliding window"))
    assert first.startswith("| sliding window: b | 98 | 73 |") and second.startswith("| sliding window: a | - | - |")
    assert "sk-128 48 x" in "\n".join(lines)


def test_a_wrong_answer_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def wrong(case: object, asked: object) -> dict:
        raise turns.Failed("answers differ")

    monkeypatch.setattr(labelling, "measure", wrong)
    with pytest.raises(SystemExit, match="n337-9: answers differ"):
        labelling.main(["--quick", "--only", "n337-9", "--into", str(tmp_path)])
    assert list(tmp_path.iterdir()) == [] and "n337-9: answers differ" in capsys.readouterr().out


def test_differences_see_a_wrong_pixel_and_a_flat_answer(tmp_path: Path) -> None:
    ours = np.linspace(0, 1, 24, dtype=np.float32).reshape(1, 2, 3, 4)
    theirs = ours.copy()
    theirs[0, 1, 2, 3] += 0.25
    jobs = []
    for name, answer in (("fullmocha", ours), ("peer", theirs)):
        jobs.append(turns.Job(name, name, tmp_path, tmp_path, tmp_path / f"{name}.npy"))
        np.save(jobs[-1].answer, answer)
    assert labelling.differences(jobs, tmp_path) == {"fullmocha": 0, "peer": 0.25}
    np.save(jobs[0].answer, np.full_like(ours, 0.5))
    with pytest.raises(turns.Failed, match="hardly differ"):
        labelling.differences(jobs, tmp_path)


def job(*seconds: float) -> turns.Job:
    made = turns.Job("x", "x", Path(), Path(), Path())
    made.seconds = list(seconds)
    return made


def test_ratios_are_taken_round_by_round() -> None:
    # medians 4 and 2 would give 2; the rounds give 3, 2, 0.5 and the shorter one decides how many
    assert turns.median_ratio(job(3, 4, 4), job(1, 2, 8)) == 2
    assert turns.median_ratio(job(30), job(1, 2, 8)) == 30


@pytest.mark.parametrize(
    ("took", "rounds", "note"), [(9.9, 5, ""), (10.1, 2, "over 10 s"), (61, 1, "over the limit of 60 s")]
)
def test_slow_contestants_have_fewer_rounds_and_say_so(took: float, rounds: int, note: str) -> None:
    slow = job(took)
    slow.rounds = 5
    turns._shorten(slow, 5, 60)
    assert slow.rounds == rounds
    assert note in " ".join(slow.notes) and bool(slow.notes) == bool(note)


def test_a_contestant_that_fails_or_dies_is_absent() -> None:
    with turns.Worker("nobody", 1) as worker:
        with pytest.raises(turns.Absent, match="no contestant 'nobody'"):
            worker.ask(do="load", folder=".", threads=1, options={})
        worker.process.kill()
        with pytest.raises(turns.Absent, match="ended with -9"):
            worker.ask(do="load", folder=".", threads=1, options={})


def test_only_must_choose_something() -> None:
    assert options.chosen(["n4-512", "n4-1024", "u-388"], "n4,u") == ["n4-512", "n4-1024", "u-388"]
    assert options.chosen(["n4-512", "u-388"], "u-") == ["u-388"]
    with pytest.raises(SystemExit, match=r"--only x chooses nothing of n4-512, u-388"):
        options.chosen(["n4-512", "u-388"], "x")
