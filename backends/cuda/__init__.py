"""The ops on a CUDA device, by numba.cuda: storage, convolution, pooling and ReLU so far.

Arrays are device arrays: nothing here can be read on the host until it is asked for by `to_host`. numba.cuda is
imported when the first `Ops` is made, so that machines without a device never load it.
"""

import importlib
from math import prod
from typing import Any, NoReturn

import numpy as np

from .. import protocol
from ..program import Candidate, Executable, Interpreter, Plan, Program, Step
from ..shapes import Shape, Window


def available() -> bool:
    """Whether a device answers; False, without raising, where there is no driver."""
    try:
        return bool(importlib.import_module("numba.cuda").is_available())
    except Exception:  # a broken driver or a missing toolkit raises whatever it likes
        return False


def complete() -> bool:
    """Whether every op of the protocol is here, so that any net runs."""
    return all(hasattr(Ops, op) for op in vars(protocol.Ops) if not op.startswith("_"))


class Ops:
    """The ops of `protocol.Ops` that this backend has; the others raise `refusal`."""

    name = "cuda"
    _refusal: type[Exception] = NotImplementedError

    def __init__(self, refusal: type[Exception] = NotImplementedError) -> None:
        self._kernels: Any = importlib.import_module(".kernels", __package__)
        self._refusal = refusal

    def __getattr__(self, op: str) -> Any:
        if op.startswith("_") or not hasattr(protocol.Ops, op):
            raise AttributeError(op)

        def missing(*_: Any, **__: Any) -> NoReturn:
            raise self._not_there(op)

        return missing

    # ---- storage

    def empty(self, shape: Shape, dtype: np.dtype) -> Any:
        return self._kernels.cuda.device_array(tuple(shape), dtype)

    def view(self, arena: Any, offset: int, shape: Shape, dtype: np.dtype) -> Any:
        return arena[offset : offset + prod(shape) * np.dtype(dtype).itemsize].view(dtype).reshape(tuple(shape))

    def reshape(self, x: Any, shape: Shape) -> Any:
        return x.reshape(tuple(shape))

    def from_host(self, host: np.ndarray, y: Any) -> None:
        y.copy_to_device(np.ascontiguousarray(host, y.dtype))

    def to_host(self, x: Any) -> np.ndarray:
        return x.copy_to_host()

    def fill(self, y: Any, *, value: float) -> None:
        self._run("fill", y.reshape(y.size), y.dtype.type(value))

    # ---- windows

    def conv(self, x: Any, w: Any, b: Any, y: Any, *, window: Window, group: int) -> None:
        self._two_axes("conv", window)
        if b is None:
            self.fill(y, value=0.0)
        else:
            self._run("spread", y, b)
        self._run("conv", y, x, w, window.stride, window.pad, window.dilation, group)

    def max_pool(self, x: Any, y: Any, *, window: Window) -> None:
        self._two_axes("max_pool", window)
        self.fill(y, value=-np.inf)
        self._run("max_pool", y, x, window.kernel, window.stride, window.pad, window.dilation)

    def mean_pool(self, x: Any, y: Any, *, window: Window, clip_divisor: bool) -> None:
        self._two_axes("mean_pool", window)
        self.fill(y, value=0.0)
        self._run("mean_pool", y, x, window.kernel, window.stride, window.pad, window.dilation, clip_divisor)

    # ---- pointwise

    def activate(self, x: Any, y: Any, *, kind: protocol.Activation, parameters: tuple[float, ...]) -> None:
        if kind != "relu":
            raise self._not_there(f'activate(kind="{kind}")')
        self._run("relu", y.reshape(y.size), x.reshape(x.size), y.dtype.type(*parameters))

    # ---- the second door

    def set_threads(self, count: int | None) -> None:
        """The device decides."""

    def peak(self, dtype: np.dtype) -> float:
        return 0.0

    def lower(self, program: Program) -> Program:
        return program

    def candidates(self, step: Step) -> list[Candidate]:
        """One way only; about 1 TFLOP/s for a thread per output, and nothing beside the step's own arrays."""
        return [Candidate("direct", step.flops / 1e12)]

    def load(self, program: Program, plan: Plan) -> None:
        """Nothing: kernels are compiled when they first run."""

    def held(self) -> int:
        return 0

    def compile(self, program: Program, plan: Plan) -> Executable:
        return Interpreter(self, program, plan)

    def _run(self, kernel: str, y: Any, *arguments: Any) -> None:
        """One thread for each element of y."""
        getattr(self._kernels, kernel).forall(y.size)(y, *arguments)

    def _two_axes(self, op: str, window: Window) -> None:
        if len(window.kernel) != 2:
            raise self._not_there(f"{op} over {len(window.kernel)} spatial axes")

    def _not_there(self, what: str) -> Exception:
        return self._refusal(f'backend "cuda" has no {what} yet; use backend "cpu", which has every op')
