"""The same package whether installed as a wheel, installed editable, or only lying in the current folder."""

import json
import zipfile
from collections.abc import Callable, Iterator
from email import message_from_bytes
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
Child = Callable[..., str]

# Prints where the front and the kernels come from, and every package that can be walked to.
WHERE = """
import json, pkgutil, fullmocha, fullmocha.backends
packages = {"fullmocha", "fullmocha.backends"}
for top in fullmocha, fullmocha.backends:
    packages |= {module.name for module in pkgutil.walk_packages(top.__path__, top.__name__ + ".") if module.ispkg}
print(json.dumps([fullmocha.__file__, fullmocha.backends.__file__, sorted(packages)]))
"""


def sources(root: Path) -> Iterator[tuple[str, bytes]]:
    """Every file of the package in a checkout, by the path that it has once installed."""
    for top, name in (("fullmocha", "fullmocha"), ("backends", "fullmocha/backends")):
        for path in sorted((root / top).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                yield f"{name}/{path.relative_to(root / top).as_posix()}", path.read_bytes()


def assert_imports(child: Child, *folders: Path, cwd: Path, front: Path, kernels: Path) -> None:
    at, kernels_at, packages = json.loads(child(WHERE, *folders, cwd=cwd))
    assert Path(at) == front / "__init__.py"
    assert Path(kernels_at) == kernels / "__init__.py"
    inits = [Path(name) for name, _ in sources(ROOT) if name.endswith("/__init__.py")]
    assert packages == sorted(".".join(init.parent.parts) for init in inits)


def test_wheel_holds_every_file_and_nothing_else(wheel: Path, copied: Path) -> None:
    """Code and resources (py.typed, descriptors, weights): whatever lies in the two folders, byte for byte."""
    with zipfile.ZipFile(wheel) as archive:
        held = {name: archive.read(name) for name in archive.namelist() if ".dist-info/" not in name}
    expected = dict(sources(copied))
    assert set(held) == set(expected)
    assert held == expected
    assert {"fullmocha/py.typed", "fullmocha/backends/py.typed"} <= set(held)


def test_wheel_installs_one_import_package(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (info,) = {name.split("/")[0] for name in names if name.split("/")[0].endswith(".dist-info")}
        metadata = message_from_bytes(archive.read(f"{info}/METADATA"))
        entry_points = archive.read(f"{info}/entry_points.txt").decode()
    assert {name.split("/")[0] for name in names} == {"fullmocha", info}
    assert metadata["License-Expression"] == "MIT"
    assert f"{info}/licenses/LICENSE" in names
    assert metadata["Requires-Python"] == ">=3.11"
    assert "fullmocha = fullmocha.cli:main" in entry_points


def test_sdist_holds_the_rest_of_the_checkout(unpacked_sdist: Path) -> None:
    for name in ("LICENSE", "CHANGELOG.md", "tests/package/test_installs.py", ".ci/run", "backends/__init__.py"):
        assert (unpacked_sdist / name).is_file(), name
    for name in ("tests", "examples", "bench"):
        ours = {path.name for path in (ROOT / name).glob("*.py")}
        assert ours == {path.name for path in (unpacked_sdist / name).glob("*.py")}


def test_wheel_from_elsewhere(child: Child, installed: Path, tmp_path: Path) -> None:
    assert_imports(
        child, installed, cwd=tmp_path, front=installed / "fullmocha", kernels=installed / "fullmocha" / "backends"
    )


def test_wheel_at_the_repository_root(child: Child, installed: Path) -> None:
    """The current folder comes first, so the checkout answers, kernels included."""
    assert_imports(child, installed, cwd=ROOT, front=ROOT / "fullmocha", kernels=ROOT / "backends")


def test_editable_from_elsewhere(child: Child, editable: Path, copied: Path, tmp_path: Path) -> None:
    start = f"import site; site.addsitedir({str(editable)!r})\n"
    at, kernels_at, _ = json.loads(child(start + WHERE, editable, cwd=tmp_path))
    assert Path(at) == copied / "fullmocha" / "__init__.py"
    assert Path(kernels_at) == copied / "backends" / "__init__.py"


def test_no_install_at_the_repository_root(child: Child) -> None:
    assert_imports(child, cwd=ROOT, front=ROOT / "fullmocha", kernels=ROOT / "backends")


def test_no_install_in_a_spawned_process(child: Child, tmp_path: Path) -> None:
    """A worker started by multiprocessing's spawn finds the kernels on its own."""
    script = tmp_path / "spawn.py"
    script.write_text(
        "import multiprocessing\n"
        "def work(n):\n"
        "    import fullmocha.backends\n"
        "    return fullmocha.backends.__file__\n"
        "if __name__ == '__main__':\n"
        "    with multiprocessing.get_context('spawn').Pool(1) as pool:\n"
        "        print(pool.map(work, [0])[0])\n",
        encoding="utf-8",
    )
    found = child(f"import runpy; runpy.run_path({str(script)!r}, run_name='__main__')", ROOT, cwd=tmp_path)
    assert Path(found) == ROOT / "backends" / "__init__.py"
