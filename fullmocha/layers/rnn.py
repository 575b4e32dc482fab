"""The plain recurrent layer."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np

from ..constraints import Constraint, NoCons
from ..initializers import ConstantInitializer, Initializer, XavierInitializer
from ..regularizers import L2Regu, NoRegu, Regularizer
from .base import Shape
from .recurrent import RecurrentLayer, kept


@dataclass(frozen=True, kw_only=True)
class RNNLayer(RecurrentLayer):
    r"""A recurrent net with one hidden state.

    .. math::
        h_t = \tanh(W_h (c_t h_{t-1}) + W_x x_t + b + W_s s), \qquad y_t = \tanh(W_o h_t + b_o)

    Parameters
    ----------
    bottoms : two names or more
        x (T, N, ...), T steps of N streams; cont (T, N), whose 0 cuts a stream from what came before and whose 1 goes on; perhaps
        s (N, ...), which every step sees; and with `expose_hidden` the initial h (1, N, output_dim).
    output_dim : int
        Numbers per state and output.
    expose_hidden : bool
        The last h is a second top, (1, N, output_dim), and the initial one a bottom. Otherwise a pass begins where the one before
        it ended.

    Notes
    -----
    Top (T, N, output_dim). Parameters, in Caffe's order: weight_x (D, F), bias (D,), weight_static (D, S) where s is there, weight_h
    (D, D), weight_o (D, D), bias_o (D,). Gradients go back through the whole sequence, not into the pass before it. Caffe's RNN, with
    one difference: there no gradient passes through exposed states, here they are blobs like others.

    Raises
    ------
    ShapeError
        If the bottoms do not match.

    Examples
    --------
    >>> RNNLayer(name="rnn", bottoms=["x", "cont"], tops=["y"], output_dim=8).shape([(20, 4, 3), (20, 4)])
    [(20, 4, 8)]
    """

    weight_o_init: Initializer = XavierInitializer()
    bias_o_init: Initializer = ConstantInitializer(0.0)
    weight_o_regu: Regularizer = L2Regu(1.0)
    bias_o_regu: Regularizer = NoRegu()
    weight_o_cons: Constraint = NoCons()
    bias_o_cons: Constraint = NoCons()
    weight_o_lr: float = 1.0
    bias_o_lr: float = 1.0

    own_roles: ClassVar[tuple[str, ...]] = ("weight_o", "bias_o")

    def shapes_of(self, bottoms: list[Shape]) -> dict[str, Shape]:
        d = self.output_dim
        return super().shapes_of(bottoms) | {"weight_o": (d, d), "bias_o": (d,)}

    def step_through(
        self, drive: np.ndarray, cont: np.ndarray, start: list[np.ndarray], w: dict[str, np.ndarray]
    ) -> Any:
        before, h = np.empty_like(drive), np.empty_like(drive)
        (last,) = start
        for t in range(len(drive)):
            before[t] = kept(cont[t], last)
            last = h[t] = np.tanh(drive[t] + before[t] @ w["weight_h"].T)
        top = np.tanh(h @ w["weight_o"].T + w["bias_o"])
        return SimpleNamespace(top=top, last=[last], h=h, before=before, cont=cont)

    def step_back(
        self, tape: Any, dy: np.ndarray, ends: list[np.ndarray], w: dict[str, np.ndarray], dw: dict[str, np.ndarray]
    ) -> tuple[np.ndarray, list[np.ndarray]]:
        d = self.output_dim
        out = dy * (1 - tape.top**2)
        dw["weight_o"] += out.reshape(-1, d).T @ tape.h.reshape(-1, d)
        dw["bias_o"] += out.sum(axis=(0, 1))
        through = out @ w["weight_o"]
        drive = np.empty_like(tape.h)
        (dh,) = ends
        for t in reversed(range(len(drive))):
            drive[t] = (through[t] + dh) * (1 - tape.h[t] ** 2)
            dh = tape.cont[t] * (drive[t] @ w["weight_h"])
        dw["weight_h"] += drive.reshape(-1, d).T @ tape.before.reshape(-1, d)
        return drive, [dh]
