"""What the tests of this backend share: its ops, the reference's, and processes of their own."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from fullmocha.backends.cpu import Ops
from fullmocha.backends.reference import Ops as Reference
from fullmocha.backends.shapes import Shape, Window

RunPython = Callable[..., str]


@pytest.fixture
def ops() -> Iterator[Ops]:
    """Fresh, so that a test may limit its threads."""
    yield Ops()


@pytest.fixture(scope="session")
def reference() -> Reference:
    return Reference()


@pytest.fixture(params=["float32", "float64"])
def dtype(request: pytest.FixtureRequest) -> np.dtype:
    return np.dtype(request.param)


Draw = Callable[..., np.ndarray]


@pytest.fixture
def draw(rng: np.random.Generator, dtype: np.dtype) -> Draw:
    """draw(*shape): normal deviates of the dtype."""
    return lambda *shape: rng.normal(size=shape).astype(dtype)


Conv = Callable[..., np.ndarray]


def convolve(
    ops: Ops, x: np.ndarray, w: np.ndarray, b: np.ndarray | None, window: Window, group: int = 1
) -> np.ndarray:
    """conv into a fresh array full of NaN."""
    shape: Shape = (x.shape[0], w.shape[0], *window.slides(x.shape[2:]))
    y = np.full(shape, np.nan, x.dtype)
    ops.conv(np.ascontiguousarray(x), w, b, y, window=window, group=group)
    return y


@pytest.fixture
def conv(ops: Ops) -> Conv:
    return lambda *arguments, **options: convolve(ops, *arguments, **options)


@pytest.fixture(scope="session")
def run_python() -> RunPython:
    """run_python(code, NAME=value): what the code prints, in a process with these environment variables."""

    def run(code: str, **environment: str) -> str:
        environ = {k: v for k, v in os.environ.items() if not k.startswith("NUMBA_")} | environment
        done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    return run
