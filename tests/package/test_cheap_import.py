"""``import fullmocha`` and ``fullmocha --help`` load nothing heavy: numba alone takes longer than both may."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAVY = "numba llvmlite scipy h5py tifffile PIL google.protobuf torch cv2 matplotlib"
COUNT = f"import sys, json; print(json.dumps([name for name in {HEAVY.split()!r} if name in sys.modules]))"
COMMANDS = ("", "demo", "info", "predict", "check", "convert", "bench", "warmup")


def test_import_loads_nothing_heavy(child: Callable[..., str]) -> None:
    assert json.loads(child(f"import fullmocha\n{COUNT}", cwd=ROOT)) == []


@pytest.mark.parametrize("command", COMMANDS)
def test_help_loads_nothing_heavy(command: str, child: Callable[..., str]) -> None:
    code = f"""
import contextlib, io
from fullmocha.cli import main
shown = io.StringIO()
with contextlib.redirect_stdout(shown):
    try:
        main({[*command.split(), "--help"]!r})
    except SystemExit as end:
        assert end.code in (0, None), (end.code, shown.getvalue())
assert "Usage:" in shown.getvalue(), shown.getvalue()
"""
    assert json.loads(child(code + COUNT, cwd=ROOT)) == []
