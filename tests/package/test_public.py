"""The public names: one table, read lazily, the same for ``import *``, ``dir`` and type checkers."""

import ast
import importlib
import pkgutil
from collections.abc import Callable
from pathlib import Path

import pytest

import fullmocha

SOURCE = Path(fullmocha.__file__)


@pytest.mark.parametrize("name", fullmocha.__all__)
def test_public_name_is_there(name: str) -> None:
    value = getattr(fullmocha, name)
    assert value is getattr(importlib.import_module(fullmocha._HOMES[name]), name)
    assert name in dir(fullmocha)


def test_star_import_brings_the_table(child: Callable[..., str]) -> None:
    code = "from fullmocha import *\nnames = sorted(name for name in dir() if name[0] != '_')\nprint(*names)"
    assert child(code, cwd=SOURCE.parents[1]).split() == sorted(fullmocha.__all__)


def test_no_public_name_hides_a_module() -> None:
    """fullmocha.net the module would replace a public name net as soon as anything imported it."""
    modules = {module.name for module in pkgutil.iter_modules(fullmocha.__path__)} | {"backends"}
    assert modules.isdisjoint(fullmocha.__all__)


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nosuch'"):
        fullmocha.nosuch  # noqa: B018


def test_type_checkers_see_the_same_modules() -> None:
    blocks = [node for node in ast.parse(SOURCE.read_text(encoding="utf-8")).body if isinstance(node, ast.If)]
    (block,) = [node for node in blocks if isinstance(node.test, ast.Name) and node.test.id == "_TYPE_CHECKING"]
    seen = {node.module for node in block.body if isinstance(node, ast.ImportFrom)}
    assert seen == set(fullmocha._HOMES.values())
