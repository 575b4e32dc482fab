"""Imports go one way: cli -> fully, solvers, caffe, imaging -> net -> layers -> blob, lattice, plan -> backends.

Every import statement counts, also those in functions and under TYPE_CHECKING: an arrow is what a reader has to know.
"""

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Unit (a module or folder of fullmocha/) -> the units that it may import. A unit may always import itself.
KERNELS = {"backends", "errors"}
PARTS = {"initializers", "regularizers", "constraints", "neurons", "transformers"}  # what a layer is configured with
GROUND = KERNELS | PARTS | {"beside", "blob", "files", "datum", "lattice", "memory", "plan", "stored"}
NET = GROUND | {"backend", "gradients", "layers", "listing", "net", "patch", "sharing", "sketch", "wiring"}
DENSE = NET | {"conversion", "dense", "forms", "sliding", "tracing"}
LABELLING = DENSE | {"imaging", "labelling", "progress"}
TRAINING = NET | {"coffee", "solvers"}
ALLOWED: dict[str, set[str]] = {
    "backends": set(),
    "errors": set(),
    "memory": {"errors"},
    "beside": {"errors"},
    "files": {"errors"},
    "datum": {"errors"},
    "stored": {"errors"},
    "blob": KERNELS,
    **dict.fromkeys(PARTS, KERNELS | {"blob"}),
    "transformers": KERNELS | {"blob", "stored"},
    "lattice": KERNELS | {"blob"},
    "plan": KERNELS | {"blob", "lattice", "memory"},
    "backend": KERNELS | {"blob"},
    "layers": GROUND,
    "wiring": GROUND | {"layers"},
    "patch": GROUND | {"layers", "wiring"},
    "sketch": GROUND | {"layers", "patch", "wiring"},
    "gradients": GROUND | {"layers"},
    "listing": set(),
    "net": NET,
    "sharing": GROUND | {"backend", "layers"},
    "tracing": GROUND | {"layers", "sharing", "sketch", "wiring"},
    "conversion": GROUND | {"layers", "sketch", "wiring"},
    "dense": NET | {"conversion", "tracing"},
    "sliding": NET | {"dense"},
    "forms": NET | {"conversion", "dense", "sliding"},
    "answering": NET | {"conversion"},
    "flops": DENSE,
    "progress": set(),
    "imaging": GROUND,
    "labelling": LABELLING,
    "models": NET,
    "caffe": TRAINING,
    "coffee": NET,
    "solvers": TRAINING,
    "mocha": TRAINING,
    "onnx": DENSE,
    "fully": LABELLING | TRAINING,
    "cli": LABELLING | TRAINING | {"answering", "caffe", "flops", "fully", "models", "onnx"},
}

# Arrows that exist under TYPE_CHECKING only. A Parameter carries these three, and their methods take a Parameter.
ALLOWED_FOR_TYPES: dict[str, set[str]] = {
    "blob": {"constraints", "initializers", "regularizers"},
    "listing": {"net"},
}

# Folder of backends/ -> the sibling folders that it may import; the modules beside them are open to all.
BETWEEN_BACKENDS: dict[str, set[str]] = {"reference": set(), "cpu": {"reference"}, "cuda": {"reference"}}
BACKEND_IMPORTS = {"numpy", "scipy", "numba", "llvmlite", *sys.stdlib_module_names}


def module_name(path: Path) -> str:
    """The dotted name that a file of the checkout is imported by; a package's __init__ keeps that last part."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(("fullmocha", *parts) if parts[0] == "backends" else parts)


@cache
def files() -> dict[str, ast.Module]:
    paths = [path for top in ("fullmocha", "backends") for path in sorted((ROOT / top).rglob("*.py"))]
    return {module_name(path): ast.parse(path.read_text(encoding="utf-8"), str(path)) for path in paths}


def imports(module: str) -> Iterator[tuple[int, str]]:
    """Line and full dotted name of everything that the module imports, ``from a import b`` as a.b."""
    for node in ast.walk(files()[module]):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(module.split(".")[: -node.level]) if node.level else ""
            start = ".".join(part for part in (base, node.module) if part)
            yield from ((node.lineno, f"{start}.{alias.name}") for alias in node.names)


def lines_for_types(module: str) -> set[int]:
    """The lines under ``if TYPE_CHECKING:``."""
    blocks = (node for node in ast.walk(files()[module]) if isinstance(node, ast.If))
    return {
        inner.lineno
        for block in blocks
        if ast.unparse(block.test).endswith("TYPE_CHECKING")
        for statement in block.body
        for inner in ast.walk(statement)
        if isinstance(inner, ast.stmt)
    }


def unit(dotted: str) -> str:
    """The unit of fullmocha that a dotted name lies in; ``fullmocha.__version__`` belongs to none."""
    part = dotted.split(".")[1]
    return "" if part in ("__init__", "__version__") else part


def backend(dotted: str) -> str:
    """The backend whose folder a dotted name lies in; the modules beside the folders belong to none."""
    parts = dotted.split(".")
    return parts[2] if parts[:2] == ["fullmocha", "backends"] and parts[2:3] and parts[2] in BETWEEN_BACKENDS else ""


FRONT = [name for name in files() if unit(name) not in ("", "backends")]
BACKENDS = [name for name in files() if unit(name) == "backends"]
LAYERS = [name for name in files() if unit(name) == "layers"]


def test_table_has_no_loop_and_every_unit() -> None:
    """In some order each unit imports only units before it; and each module and folder of the front is in the table."""
    placed: set[str] = set()
    while ready := {name for name, may in ALLOWED.items() if name not in placed and may <= placed | {name}}:
        placed |= ready
    assert placed == set(ALLOWED)
    assert {unit(name) for name in files()} - {""} <= set(ALLOWED)


@pytest.mark.parametrize("module", FRONT)
def test_front_follows_the_arrows(module: str) -> None:
    here, for_types = unit(module), lines_for_types(module)
    wrong = []
    for line, name in imports(module):
        allowed = {here, "", *ALLOWED[here], *(ALLOWED_FOR_TYPES.get(here, set()) if line in for_types else ())}
        if name == "fullmocha":
            wrong.append(f"line {line}: import fullmocha, name the module instead")
        elif name.startswith("fullmocha.") and unit(name) not in allowed:
            wrong.append(f"line {line}: {here} -> {unit(name)} ({name})")
    assert wrong == []


@pytest.mark.parametrize("module", BACKENDS)
def test_backends_stand_alone(module: str) -> None:
    """They know numpy, scipy, numba, llvmlite and themselves, so that they can be judged without the front."""
    here = backend(module)
    wrong = []
    for line, name in imports(module):
        if not name.startswith("fullmocha.backends"):
            fine = name.split(".")[0] in BACKEND_IMPORTS
        else:
            fine = not here or backend(name) in {"", here} | BETWEEN_BACKENDS[here]
        if not fine:
            wrong.append(f"line {line}: {name}")
    assert wrong == []


@pytest.mark.parametrize("module", LAYERS)
def test_layers_name_no_backend(module: str) -> None:
    """A layer gets ``ops``; it neither imports a backend nor asks which one it has."""
    imported = [f"line {line}: {name}" for line, name in imports(module) if backend(name)]
    strings = (node for node in ast.walk(files()[module]) if isinstance(node, ast.Constant))
    asked = [f"line {node.lineno}: {node.value!r}" for node in strings if node.value in BETWEEN_BACKENDS]
    assert imported + asked == []
