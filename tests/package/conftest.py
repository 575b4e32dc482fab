"""The package as others get it: an sdist, a wheel and an editable install, each built once from a copy of the checkout.

The builds run without the network and without isolation, on the setuptools that the ``test`` extra brings. The children
that import the results run with ``-S``: no ``.pth`` file is read, so an editable install of the checkout that runs
these tests cannot answer for a package that the wheel lacks.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DEPENDENCIES = sysconfig.get_path("purelib")
FILES = ["setup.cfg", "pyproject.toml", "MANIFEST.in", "README.md", "CHANGELOG.md", "LICENSE"]
FOLDERS = ["fullmocha", "backends", "tests", "bench", "examples", ".ci"]
Child = Callable[..., str]


def finish(command: list[str], cwd: Path, env: dict[str, str] | None = None) -> str:
    """Run a command to its end and return what it printed; its errors are the test's."""
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="session")
def child() -> Child:
    """Run Python code in a fresh process, with only the given folders and the dependencies to import from."""

    def run(code: str, *folders: Path, cwd: Path) -> str:
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "COV"))}
        environment["PYTHONPATH"] = os.pathsep.join([*map(str, folders), DEPENDENCIES])
        return finish([sys.executable, "-S", "-c", code], cwd=cwd, env=environment)

    return run


def build(kind: str, source: Path, into: Path) -> Path:
    """Call one hook of setuptools' build backend (sdist, wheel, editable) and return the file that it made."""
    into.mkdir()
    code = f"import sys; from setuptools import build_meta; build_meta.build_{kind}(sys.argv[1])"
    finish([sys.executable, "-c", code, str(into)], cwd=source)
    (made,) = into.iterdir()
    return made


@pytest.fixture(scope="session")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout: building in place would leave build/ behind, and pack what lies in a stale one."""
    target = tmp_path_factory.mktemp("checkout")
    for name in FILES:
        shutil.copy(ROOT / name, target)
    for name in filter(lambda name: (ROOT / name).is_dir(), FOLDERS):
        shutil.copytree(ROOT / name, target / name, ignore=shutil.ignore_patterns("__pycache__", "*.nb[ic]"))
    return target


@pytest.fixture(scope="session")
def sdist(copied: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("sdist", copied, tmp_path_factory.mktemp("sdist") / "dist")


@pytest.fixture(scope="session")
def unpacked_sdist(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unpacked")
    shutil.unpack_archive(sdist, folder, filter="data")
    (top,) = folder.iterdir()
    return top


@pytest.fixture(scope="session")
def wheel(unpacked_sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the sdist, as an installer does, so that the sdist is seen to be complete."""
    return build("wheel", unpacked_sdist, tmp_path_factory.mktemp("wheel") / "dist")


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the wheel was installed into by pip."""
    target = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target"]
    finish([*pip, str(target), str(wheel)], cwd=target)
    return target


@pytest.fixture(scope="session")
def editable(copied: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``pip install -e`` puts into site-packages: a .pth file and the finder that it starts."""
    target = tmp_path_factory.mktemp("editable") / "site"
    made = build("editable", copied, tmp_path_factory.mktemp("editable-wheel") / "dist")
    with zipfile.ZipFile(made) as archive:
        archive.extractall(target)
    return target
