"""What an interrupt, another process or a full disk may leave in the cache is compiled anew, never run."""

import logging
import os
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
from fullmocha.backends.cpu import cache, jit
from fullmocha.backends.cpu.cache import Entries

KEY = (("float32", "int64"), ("x86_64", "znver5"), "fingerprint")


@pytest.fixture
def entries(tmp_path: Path) -> Entries:
    return Entries(str(tmp_path), "moves.copy-7.py311", b"stamp")


def test_what_was_saved_is_found_under_its_own_key_alone(entries: Entries) -> None:
    entries.save(KEY, "code")
    entries.save((*KEY, 2), "other code")
    assert (entries.load(KEY), entries.load((*KEY, 2)), entries.load((*KEY, 3))) == ("code", "other code", None)
    assert Entries(entries._cache_path, entries._base, b"another stamp").load(KEY) is None


def test_an_interrupted_save_leaves_nothing(entries: Entries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "replace", interrupt)
        entries.save(KEY, "code")
    assert os.listdir(tmp_path) == [] and entries.load(KEY) is None


@pytest.mark.parametrize("damage", ["cut", "empty", "swapped"])
def test_a_damaged_entry_is_not_used(entries: Entries, tmp_path: Path, damage: str) -> None:
    entries.save(KEY, "code")
    (path,) = tmp_path.iterdir()
    if damage == "swapped":  # as numba's numbered files can be by two processes at once
        entries.save((*KEY, 2), "other code")
        os.replace(tmp_path / entries._name((*KEY, 2)), path)
    else:
        path.write_bytes(b"" if damage == "empty" else path.read_bytes()[:-3])
    assert entries.load(KEY) is None
    entries.save(KEY, "code")
    assert entries.load(KEY) == "code"


def test_a_kernel_works_where_it_cannot_be_kept(monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Entries, "save", full)
    caplog.set_level(logging.INFO, "fullmocha")
    double = jit.kernel(lambda x: 2 * x)
    assert double(np.float64(21)) == 42
    assert "cannot be kept (No space left on device)" in caplog.text


def test_one_line_before_the_first_kernel_is_compiled(
    monkeypatch: pytest.MonkeyPatch, caplog: Any, tmp_path: Path
) -> None:
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))  # else the run before this one has left them
    tally = cache.Tally()
    monkeypatch.setattr(cache, "TALLY", tally)
    caplog.set_level(logging.INFO, "fullmocha")
    for add in (1, 2):
        jit.kernel(lambda x, add=add: x + add)(np.float64(21))
    (line,) = (r.getMessage() for r in caplog.records)
    assert line.startswith("compiling kernels for ") and "once per machine" in line
    assert tally.compiled == 2


def test_without_a_folder_the_line_says_that_nothing_is_kept(monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    def nowhere(*_: object) -> None:
        raise RuntimeError("cannot cache function: no locator available")

    monkeypatch.setattr(cache, "TALLY", cache.Tally())
    monkeypatch.setattr(cache.SourceCache, "__init__", nowhere)
    caplog.set_level(logging.INFO, "fullmocha")
    assert jit.kernel(lambda x: x + 3)(np.float64(21)) == 24
    assert "in every process" in caplog.text
