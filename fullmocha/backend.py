"""A backend as the user holds it: the ops, the parameters that nets on it share, and the random generator."""

import importlib
import os
from typing import Any

import numpy as np

from .blob import Parameter
from .errors import UnsupportedError


class Backend:
    """Computes, and owns parameters by key: two nets built on one backend object share those of equal names.

    Parameters
    ----------
    seed : int, optional
        For initializers, dropout and shuffling; the operating system's entropy by default.
    """

    name = ""

    def __init__(self, seed: int | None = None) -> None:
        self.registry: dict[str, list[Parameter]] = {}
        self.rng = np.random.default_rng(seed)
        self._ops: Any = None

    @property
    def ops(self) -> Any:
        """The kernels; loaded when first needed, because numba takes its time."""
        if self._ops is None:
            self._ops = self._make_ops()
        return self._ops

    def _make_ops(self) -> Any:
        return importlib.import_module(f"fullmocha.backends.{self.name}").Ops()

    def seed(self, seed: int) -> None:
        """Restarts the random generator, which every net on this backend draws from."""
        self.rng.bit_generator.state = np.random.default_rng(seed).bit_generator.state

    def __enter__(self) -> "Backend":
        return self

    def __exit__(self, *_: object) -> None:
        registry_reset(self)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class ReferenceBackend(Backend):
    """Plain numpy, written to be read: the definition that the others answer to."""

    name = "reference"


class CPUBackend(Backend):
    """numba on all cores."""

    name = "cpu"


class GPUBackend(Backend):
    """numba.cuda; as long as it lacks ops, a net that needs one of them says so."""

    name = "cuda"

    def _make_ops(self) -> Any:
        cuda = importlib.import_module("fullmocha.backends.cuda")
        if not cuda.available():
            raise UnsupportedError('backend "cuda": no CUDA device answers on this machine; use backend="cpu"')
        return cuda.Ops(refusal=UnsupportedError)


_BACKENDS: dict[str, type[Backend]] = {b.name: b for b in (ReferenceBackend, CPUBackend, GPUBackend)}


def gpu_serves() -> bool:
    """Whether a CUDA device answers and its backend has every op: only then is it chosen unasked."""
    cuda = importlib.import_module("fullmocha.backends.cuda")
    return bool(cuda.complete() and cuda.available())


def DefaultBackend() -> Backend:
    """Mocha's default: the GPU if MOCHA_USE_CUDA is set to anything but "false", else the CPU."""
    return GPUBackend() if os.environ.get("MOCHA_USE_CUDA", "false").lower() not in ("", "false") else CPUBackend()


def make_backend(backend: "str | Backend") -> Backend:
    """The backend object for a name ("cpu", "cuda", "reference", "auto"), or the object itself.

    "auto" is "cuda" where a device answers and that backend has every op, else "cpu".

    Raises
    ------
    UnsupportedError
        For anything else.
    """
    if isinstance(backend, Backend):
        return backend
    if not isinstance(backend, str) or backend not in ("auto", *_BACKENDS):
        raise UnsupportedError(
            f"backend {backend!r} is unknown; choose one of auto, {', '.join(sorted(_BACKENDS))}, or an object such as CPUBackend()"
        )
    if backend == "auto":
        return GPUBackend() if gpu_serves() else CPUBackend()
    return _BACKENDS[backend]()


def registry_reset(backend: Backend) -> None:
    """Forgets the shared parameters: nets built from now on get their own."""
    backend.registry.clear()


def shutdown(backend: Backend) -> None:
    """Mocha's end of a session on a backend: its parameter registry is emptied."""
    registry_reset(backend)
