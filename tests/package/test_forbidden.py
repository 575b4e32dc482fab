"""Nothing in the package runs code out of data, unpickles, or opens a connection."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = [path for top in ("fullmocha", "backends", "examples", "bench") for path in sorted((ROOT / top).rglob("*.py"))]

MODULES = {
    "code out of data": {"pickle", "_pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "code"},
    "the network": {"socket", "ssl", "urllib.request", "http", "ftplib", "smtplib", "xmlrpc", "requests", "httpx"},
}
CALLS = {"eval", "exec", "compile", "__import__"}
# The only places that import a module by a name they compute, and why that name is not an attacker's.
COMPUTED_IMPORTS = {
    "fullmocha/__init__.py": "a table in the same file",
    "fullmocha/backend.py": "a class attribute in the same file",
    "fullmocha/cli/": "NET given as module:function by the person at the keyboard, never by a file",
}


def findings(tree: ast.Module, path: str) -> Iterator[str]:
    """One line for each forbidden thing in a file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            start = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
            for name in (start + alias.name for alias in node.names):
                for why, banned in MODULES.items():
                    if any(f"{name}.".startswith(f"{module}.") for module in banned):
                        yield f"{path}:{node.lineno}: import {name} ({why})"
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if name in CALLS or name.startswith(("builtins.e", "os.system", "os.popen")):
                yield f"{path}:{node.lineno}: {name}()"
            for keyword in node.keywords:
                value = keyword.value.value if isinstance(keyword.value, ast.Constant) else ...
                if keyword.arg in ("allow_pickle", "shell") and value is not False:
                    yield f"{path}:{node.lineno}: {keyword.arg}={ast.unparse(keyword.value)}"
            computed = name.endswith("import_module") and not isinstance(node.args[0], ast.Constant)
            if computed and not path.startswith(tuple(COMPUTED_IMPORTS)):
                yield f"{path}:{node.lineno}: {ast.unparse(node)} imports by a computed name"


@pytest.mark.parametrize("path", [str(path.relative_to(ROOT)) for path in FILES])
def test_file_is_free_of_them(path: str) -> None:
    assert list(findings(ast.parse((ROOT / path).read_text(encoding="utf-8")), path)) == []


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from marshal import loads",
        "def f():\n    import urllib.request",
        "from urllib import request",
        "eval('1')",
        "exec(text)",
        "__import__(name)",
        "np.load(f, allow_pickle=True)",
        "np.load(f, allow_pickle=flag)",
        "subprocess.run(c, shell=True)",
        "importlib.import_module(name)",
        "os.system('ls')",
    ],
)
def test_finder_finds(line: str) -> None:
    assert len(list(findings(ast.parse(line), "fullmocha/x.py"))) == 1


@pytest.mark.parametrize("line", ["np.load(f, allow_pickle=False)", "backend.compile(program, plan)", "import codecs"])
def test_finder_lets_pass(line: str) -> None:
    assert list(findings(ast.parse(line), "fullmocha/x.py")) == []
