"""What recurrent layers share: their bottoms, the state that they carry, and the weights on what comes in.

A step needs the step before it, so these run on the host, one matrix product per step, on any backend.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np

from ..constraints import Constraint, NoCons
from ..initializers import ConstantInitializer, Initializer, XavierInitializer
from ..lattice import Lattice
from ..regularizers import L2Regu, NoRegu, Regularizer
from .base import Layer, Node, ParameterLayer, ParameterSpec, Shape
from .checks import count_of
from .host import add_gradient, on_host


@dataclass(frozen=True, kw_only=True)
class RecurrentLayer(ParameterLayer):
    """The contract of a layer that goes through a sequence step by step; `RNNLayer` and `LSTMLayer` say how."""

    output_dim: int
    expose_hidden: bool = False
    weight_x_init: Initializer = XavierInitializer()
    bias_init: Initializer = ConstantInitializer(0.0)
    weight_static_init: Initializer = XavierInitializer()
    weight_h_init: Initializer = XavierInitializer()
    weight_x_regu: Regularizer = L2Regu(1.0)
    bias_regu: Regularizer = NoRegu()
    weight_static_regu: Regularizer = L2Regu(1.0)
    weight_h_regu: Regularizer = L2Regu(1.0)
    weight_x_cons: Constraint = NoCons()
    bias_cons: Constraint = NoCons()
    weight_static_cons: Constraint = NoCons()
    weight_h_cons: Constraint = NoCons()
    weight_x_lr: float = 1.0
    bias_lr: float = 1.0
    weight_static_lr: float = 1.0
    weight_h_lr: float = 1.0

    states: ClassVar[int] = 1  # how many arrays (N, output_dim) go from one step to the next
    gates: ClassVar[int] = 1  # how many sums of output_dim numbers a step makes of what comes in
    own_roles: ClassVar[tuple[str, ...]] = ()  # parameters beyond the four of every recurrent layer

    def check(self) -> None:
        count_of(self, "output_dim")
        self.check_roles(*self.roles)

    @property
    def exposed(self) -> int:
        """How many states come in as bottoms and go out as tops."""
        return self.states if self.expose_hidden else 0

    @property
    def static(self) -> bool:
        """Whether there is a bottom that every step sees."""
        return len(self.bottoms) == 3 + self.exposed

    @property
    def roles(self) -> tuple[str, ...]:
        """The parameters, in Caffe's order."""
        return ("weight_x", "bias", *(["weight_static"] if self.static else []), "weight_h", *self.own_roles)

    def shape(self, bottoms: list[Shape]) -> list[Shape]:
        least = 2 + self.exposed
        if len(bottoms) not in (least, least + 1):
            raise self.refuse(
                f"takes x, cont, perhaps what every step sees{' and the initial states' if self.exposed else ''}: {least} or "
                f"{least + 1} bottoms; got {len(bottoms)}: {list(self.bottoms)}"
            )
        x, cont = bottoms[:2]
        if len(x) < 2:
            raise self.refuse(f"needs a sequence (T, N, ...), steps before streams; got {x}")
        if cont != x[:2]:
            raise self.refuse(f"the sequence is {x}, so cont must be {x[:2]}, one mark per step and stream; got {cont}")
        if self.static and bottoms[2][:1] != x[1:2]:
            raise self.refuse(f"what every step sees must be (N, ...) with N = {x[1]} streams; got {bottoms[2]}")
        state = (1, x[1], self.output_dim)
        for given in bottoms[len(bottoms) - self.exposed :]:
            if given != state:
                raise self.refuse(f"an initial state must be {state}; got {given}")
        return [(*x[:2], self.output_dim), *[state] * self.exposed][: max(1, len(self.tops))]

    def shapes_of(self, bottoms: list[Shape]) -> dict[str, Shape]:
        """The parameters' shapes."""
        width, d = self.gates * self.output_dim, self.output_dim
        shapes: dict[str, Shape] = {"weight_x": (width, prod(bottoms[0][2:])), "bias": (width,), "weight_h": (width, d)}
        if self.static:
            shapes["weight_static"] = (width, prod(bottoms[2][1:]))
        return shapes

    def parameters(self, bottoms: list[Shape]) -> list[ParameterSpec]:
        shapes = self.shapes_of(bottoms)
        return [self.spec(role, shapes[role]) for role in self.roles]

    def setup(self, ops: Any, dtype: np.dtype, rng: np.random.Generator) -> Any:
        return SimpleNamespace(carried=None, tape=None, dtype=dtype)

    def place(self, state: Any) -> dict[str, Any]:
        """The states that the next pass begins with; none before the first one."""
        return {} if self.exposed else {"carried": np.array(state.carried or (), state.dtype)}

    def restore(self, state: Any, saved: Mapping[str, Any]) -> None:
        carried = np.asarray(saved["carried"], state.dtype)
        if carried.size and (carried.ndim != 3 or carried.shape[::2] != (self.states, self.output_dim)):
            raise self.refuse(
                f"carries {self.states} states (N, {self.output_dim}); the saved ones are {carried.shape}"
            )
        state.carried = list(carried) or None

    def forget(self, state: Any) -> None:
        """Begins the next sequence from zeros, whatever its cont says."""
        state.carried = None

    # ---- a pass
    def step_through(
        self, drive: np.ndarray, cont: np.ndarray, start: list[np.ndarray], w: dict[str, np.ndarray]
    ) -> Any:
        """All steps, as a record that has `top` (T, N, D), `last` (the states behind the last step) and what `step_back` needs.

        drive (T, N, gates D) is what comes in, cont (T, N, 1), a start (N, D).
        """
        raise NotImplementedError

    def step_back(
        self, tape: Any, dy: np.ndarray, ends: list[np.ndarray], w: dict[str, np.ndarray], dw: dict[str, np.ndarray]
    ) -> tuple[np.ndarray, list[np.ndarray]]:
        """The gradients of drive and of the starts, for those of the top and the last states; adds to `dw`, but for what drives."""
        raise NotImplementedError

    def weights(self, ops: Any, at: Node) -> dict[str, np.ndarray]:
        return {role: ops.to_host(array) for role, array in zip(self.roles, at.operands(len(self.roles)), strict=True)}

    def forward(self, ops: Any, at: Node) -> None:
        x, cont, *others = (on_host(ops, blob) for blob in at.bottoms)
        steps, streams = cont.shape
        w = self.weights(ops, at)
        drive = x.reshape(steps * streams, -1) @ w["weight_x"].T + w["bias"]
        drive = drive.reshape(steps, streams, -1)
        if self.static:
            drive += others.pop(0).reshape(streams, -1) @ w["weight_static"].T
        zeros = np.zeros((streams, self.output_dim), x.dtype)
        start = [given[0] for given in others] if self.exposed else at.state.carried or [zeros] * self.states
        if start[0].shape != zeros.shape:  # other streams than last time
            start = [zeros] * self.states
        tape = at.state.tape = self.step_through(drive, cont[:, :, None], start, w)
        at.state.carried = [last.copy() for last in tape.last]
        for top, value in zip(at.tops, [tape.top, *(last[None] for last in tape.last)], strict=False):
            ops.from_host(value, top.array)

    def backward(self, ops: Any, at: Node) -> None:
        x, *others = at.bottoms
        tape, w = at.state.tape, self.weights(ops, at)
        steps, streams = at.bottoms[1].shape
        given = [None if top.grad is None else ops.to_host(top.grad) for top in at.tops]
        dy = np.zeros_like(tape.top) if given[0] is None else given[0]
        ends = [
            np.zeros_like(last) if end is None else end[0].copy()
            for last, end in zip(tape.last, [*given[1:], *[None] * self.states], strict=False)
        ]
        dw = {role: np.zeros_like(value) for role, value in w.items()}
        drive, starts = self.step_back(tape, dy, ends, w, dw)
        flat = drive.reshape(steps * streams, -1)
        dw["weight_x"] += flat.T @ on_host(ops, x).reshape(steps * streams, -1)
        dw["bias"] += flat.sum(axis=0)
        if x.grad is not None:
            add_gradient(ops, x.grad, flat @ w["weight_x"])
        if self.static:
            static, total = others[1], drive.sum(axis=0)
            dw["weight_static"] += total.T @ on_host(ops, static).reshape(streams, -1)
            if static.grad is not None:
                add_gradient(ops, static.grad, total @ w["weight_static"])
        for blob, start in zip(others[len(others) - self.exposed :], starts, strict=False):
            add_gradient(ops, blob.grad, start)
        for role, grad in zip(self.roles, at.gradients(len(self.roles)), strict=True):
            add_gradient(ops, grad, dw[role])

    def dense(self, lattices: list[Lattice | None]) -> tuple[Layer, Lattice | None]:
        raise self.not_dense(
            "goes through a sequence step by step, which windows of one image are not; leave it out of what is labelled densely"
        )

    def describe(self) -> str:
        return f"{self.output_dim} outputs" + (", states exposed" if self.expose_hidden else "")


def kept(mark: np.ndarray, state: np.ndarray) -> np.ndarray:
    """mark * state, and 0 where the mark is 0, whatever the state is: a cut is a cut."""
    return np.where(mark == 0, 0, mark * state)
