"""One suite for every backend: `ops` is each backend that this machine can run, `call` calls an op on host arrays.

Most tests are stated against `reference` in float64; test_outsiders.py says why that one is right.
"""

import importlib
import inspect
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from fullmocha.backends import protocol
from hypothesis import settings

BACKENDS = ("reference", "cpu", "cuda")
SIMULATOR = os.environ.get("NUMBA_ENABLE_CUDASIM") == "1"

settings.register_profile("backends", deadline=None)  # the first call compiles
settings.register_profile("simulator", deadline=None, max_examples=10)  # a Python thread per CUDA thread
settings.load_profile("simulator" if SIMULATOR else "backends")


def why_not(name: str) -> str | None:
    """The reason why this machine cannot run a backend."""
    module = importlib.import_module(f"fullmocha.backends.{name}")
    if not hasattr(module, "Ops"):
        return f"fullmocha.backends.{name} has no Ops yet"
    if not module.available():
        return f"backend {name}: no device answers (the simulator runs it in test_cuda_simulator.py)"
    return None


PRESENT = [name for name in BACKENDS if why_not(name) is None]


@pytest.fixture(params=BACKENDS)
def backend_name(request: pytest.FixtureRequest) -> str:
    """Every backend that there is; the test that asks is skipped where one cannot run, with the reason."""
    reason = why_not(request.param)
    if reason:
        pytest.skip(reason)
    return str(request.param)


@pytest.fixture(scope="session", params=PRESENT)
def ops(request: pytest.FixtureRequest) -> Any:
    return importlib.import_module(f"fullmocha.backends.{request.param}").Ops()


@pytest.fixture(scope="session", params=["float32", "float64"])
def dtype(request: pytest.FixtureRequest) -> np.dtype:
    return np.dtype(request.param)


Draw = Callable[..., np.ndarray]


@pytest.fixture(scope="session")
def numbers(dtype: np.dtype) -> Callable[[int], Draw]:
    """numbers(seed)(*shape): normal deviates of the dtype; hypothesis picks the seed, so that it can repeat itself."""

    def seeded(seed: int) -> Draw:
        rng = np.random.default_rng(seed)
        return lambda *shape: rng.normal(size=shape).astype(dtype)

    return seeded


@pytest.fixture
def draw(numbers: Callable[[int], Draw]) -> Draw:
    """draw(*shape): the same numbers in every run."""
    return numbers(20261120)


Call = Callable[..., Any]


def caller(ops: Any) -> Call:
    """call(op, *arrays, **options): copies host arrays to the backend, calls, and gives what the op wrote or returned.

    A backward op gives (dx, dw, db) without those it does not have. Arrays that an op only reads must come out as they
    went in.
    """

    def call(op: str, *arrays: np.ndarray | None, **options: Any) -> Any:
        names = [p.name for p in inspect.signature(getattr(protocol.Ops, op)).parameters.values()][1:]
        places = [None if a is None else ops.empty(a.shape, a.dtype) for a in arrays]
        for a, place in zip(arrays, places, strict=True):
            if place is not None:
                ops.from_host(a, place)
        try:
            returned = getattr(ops, op)(*places, **options)
        except NotImplementedError as error:
            pytest.skip(str(error))
        after = [None if place is None else np.array(ops.to_host(place)) for place in places]
        if op.endswith("_backward"):
            written = [i for i in range(len(arrays)) if names[i] in ("dx", "dw", "db", "ds", "dslope")]
        else:
            written = [] if returned is not None else [len(arrays) - 1]
        for i, (a, b) in enumerate(zip(arrays, after, strict=True)):
            if i not in written and a is not None:
                np.testing.assert_array_equal(b, a, err_msg=f"{op} changed {names[i]}")
        if returned is not None:
            return returned
        return after[written[0]] if len(written) == 1 else tuple(after[i] for i in written)

    return call


@pytest.fixture(scope="session")
def call(ops: Any) -> Call:
    return caller(ops)


@pytest.fixture(scope="session")
def exact() -> Call:
    """The same call on the reference, in float64."""
    call = caller(importlib.import_module("fullmocha.backends.reference").Ops())

    def wide(op: str, *arrays: np.ndarray | None, **options: Any) -> Any:
        return call(op, *(None if a is None else a.astype(np.float64) for a in arrays), **options)

    return wide
