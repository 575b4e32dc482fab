"""The examples in the docstrings run, and importing the package stays cheap."""

import doctest
import importlib
import subprocess
import sys

import pytest

MODULES = ["borders", "sources", "hdf5", "scores", "drawing", "synthetic"]


@pytest.mark.parametrize("name", MODULES)
def test_docstrings(name):
    result = doctest.testmod(importlib.import_module(f"fullmocha.imaging.{name}"))
    assert result.attempted > 0
    assert result.failed == 0


def test_heavy_libraries_wait_until_they_are_needed():
    code = "import sys, fullmocha.imaging; from fullmocha.imaging import drawing, scores, synthetic"
    heavy = "h5py", "tifffile", "PIL", "scipy"
    run = subprocess.run(
        [sys.executable, "-c", f"{code}; print([name for name in {heavy} if name in sys.modules])"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.strip() == "[]"
