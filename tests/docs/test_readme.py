"""README.md tells the truth: its blocks run, from top to bottom in one folder, as a reader would type them.

The two commands that make a virtual environment are run by .ci/run, word for word.
"""

import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
BIN = Path(sysconfig.get_path("scripts"))
COMMANDS = [
    "python3 -m venv .venv && .venv/bin/pip install . && .venv/bin/fullmocha demo",
    'python3 -m venv .venv && .venv/bin/pip install -e ".[test]" && .venv/bin/python -m pytest',
]


def blocks() -> list[tuple[int, str, str]]:
    """Line number, language and text of each fenced block."""
    found = re.finditer(r"^```(\w*)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    return [(TEXT.count("\n", 0, match.start()) + 1, match[1], match[2]) for match in found]


def test_the_two_commands_stand_there() -> None:
    assert [line for line in TEXT.splitlines() if line.startswith("python3 -m venv")] == COMMANDS


def test_blocks_run(tmp_path: Path) -> None:
    if not (BIN / "fullmocha").exists():
        pytest.skip("the fullmocha command is not installed beside this Python")
    environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "PYTHONWARNINGS": "error"}
    ran = []
    for line, language, text in blocks():
        if language == "python":
            command = [sys.executable, "-c", text]
        elif language == "sh" and "pip install" not in text:
            command = ["bash", "-euo", "pipefail", "-c", text.replace(".venv/bin/", f"{BIN}/")]
        else:
            continue
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL
        )
        assert done.returncode == 0, f"README.md, the block at line {line}:\n{text}\n{done.stdout}{done.stderr}"
        ran.append(language)
    assert {"python", "sh"} <= set(ran)


def test_files_that_it_points_to_exist() -> None:
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", TEXT)
    assert [target for target in targets if not (ROOT / target).exists()] == []
