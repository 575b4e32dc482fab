"""setup.cfg names every package; a package that it forgets is missing from the wheel without any warning."""

import configparser
import subprocess
import sys
from pathlib import Path

import pytest

import fullmocha

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def setup_cfg() -> configparser.ConfigParser:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    return config


def folders_with_init() -> set[str]:
    found = set()
    for top, name in (("fullmocha", "fullmocha"), ("backends", "fullmocha.backends")):
        for init in (ROOT / top).rglob("__init__.py"):
            found.add(".".join([name, *init.parent.relative_to(ROOT / top).parts]))
    return found


def test_listed_packages_are_the_folders(setup_cfg: configparser.ConfigParser) -> None:
    listed = setup_cfg["options"]["packages"].split()
    assert len(listed) == len(set(listed))
    assert set(listed) == folders_with_init()


def test_every_folder_with_code_is_a_package() -> None:
    """A folder without __init__.py would work in the checkout, as a namespace, and be left out of the wheel."""
    code = [path for top in ("fullmocha", "backends") for path in (ROOT / top).rglob("*.py")]
    assert [path for path in code if not (path.parent / "__init__.py").is_file()] == []


def test_backends_refuse_their_folder_name() -> None:
    done = subprocess.run([sys.executable, "-c", "import backends"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode != 0
    assert "ImportError: this folder is imported as fullmocha.backends" in done.stderr


def test_newest_changelog_entry_is_this_version() -> None:
    lines = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").splitlines()
    newest = next(line for line in lines if line.startswith("## "))
    assert newest.split()[1] == fullmocha.__version__


def test_test_extra_stays_light(setup_cfg: configparser.ConfigParser) -> None:
    extras = setup_cfg["options.extras_require"]
    assert "torch" in extras["peers"]
    assert "torch" not in extras["test"] + setup_cfg["options"]["install_requires"]
