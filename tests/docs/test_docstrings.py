"""The examples in docstrings run, and print what they say."""

import doctest
import importlib
import pkgutil

import numpy as np
import pytest

import fullmocha as fm

# Command-line modules read arguments, and backends that are compiled are shown by their tests.
MODULES = sorted(
    found.name
    for found in pkgutil.walk_packages(fm.__path__, "fullmocha.")
    if not found.name.startswith(("fullmocha.cli", "fullmocha.backends"))
)


EXTRAS = {"fullmocha.onnx": "onnx"}  # what the examples of these need


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    if name in EXTRAS:
        pytest.importorskip(EXTRAS[name], reason=f"{EXTRAS[name]} is not installed, an extra")
    done = doctest.testmod(importlib.import_module(name), extraglobs={"np": np, "fm": fm})
    assert done.failed == 0


def test_the_calls_that_users_meet_have_an_example() -> None:
    finder = doctest.DocTestFinder()
    for name in ("densify", "predict", "solve_fully", "solve", "load_caffe", "Net", "ConvolutionLayer", "PoolingLayer"):
        value = getattr(fm, name)
        assert any(test.examples for test in finder.find(value, name)), f"{name} shows no example"
