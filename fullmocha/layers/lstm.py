"""Long short-term memory."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np

from .host import sigmoid
from .recurrent import RecurrentLayer, kept


@dataclass(frozen=True, kw_only=True)
class LSTMLayer(RecurrentLayer):
    r"""A recurrent net whose memory c is written, kept and read through gates.

    .. math::
        (i, f, o, g)_t = (\sigma, \sigma, \sigma, \tanh)(W_h (k_t h_{t-1}) + W_x x_t + b + W_s s), \qquad
        c_t = k_t f_t c_{t-1} + i_t g_t, \qquad h_t = o_t \tanh c_t

    Parameters
    ----------
    bottoms : two names or more
        x (T, N, ...), T steps of N streams; cont (T, N), k above, whose 0 cuts a stream from what came before and whose 1 goes on;
        perhaps s (N, ...), which every step sees; and with `expose_hidden` the initial h and c, (1, N, output_dim) each.
    output_dim : int
        Numbers per state and output.
    expose_hidden : bool
        The last h and c are a second and third top, (1, N, output_dim), and the initial ones bottoms. Otherwise a pass begins where
        the one before it ended.

    Notes
    -----
    Top h (T, N, output_dim). Parameters, in Caffe's order: weight_x (4 D, F), bias (4 D,), weight_static (4 D, S) where s is there,
    weight_h (4 D, D); their rows are those of i, f, o and g. Gradients go back through the whole sequence, not into the pass before
    it. Caffe's LSTM, with one difference: there no gradient passes through exposed states, here they are blobs like others.

    Raises
    ------
    ShapeError
        If the bottoms do not match.

    Examples
    --------
    >>> LSTMLayer(name="lstm", bottoms=["x", "cont"], tops=["h"], output_dim=8).shape([(20, 4, 3), (20, 4)])
    [(20, 4, 8)]
    """

    states: ClassVar[int] = 2
    gates: ClassVar[int] = 4

    def step_through(
        self, drive: np.ndarray, cont: np.ndarray, start: list[np.ndarray], w: dict[str, np.ndarray]
    ) -> Any:
        steps, streams, _ = drive.shape
        d = self.output_dim
        gates = np.empty_like(drive)
        before, memory, c, h = (np.empty((steps, streams, d), drive.dtype) for _ in range(4))
        last_h, last_c = start
        for t in range(steps):
            before[t], memory[t] = kept(cont[t], last_h), kept(cont[t], last_c)
            sums = drive[t] + before[t] @ w["weight_h"].T
            gates[t, :, : 3 * d], gates[t, :, 3 * d :] = sigmoid(sums[:, : 3 * d]), np.tanh(sums[:, 3 * d :])
            i, f, o, g = np.split(gates[t], 4, axis=1)
            last_c = c[t] = f * memory[t] + i * g
            last_h = h[t] = o * np.tanh(last_c)
        return SimpleNamespace(top=h, last=[last_h, last_c], gates=gates, before=before, memory=memory, c=c, cont=cont)

    def step_back(
        self, tape: Any, dy: np.ndarray, ends: list[np.ndarray], w: dict[str, np.ndarray], dw: dict[str, np.ndarray]
    ) -> tuple[np.ndarray, list[np.ndarray]]:
        d = self.output_dim
        drive = np.empty_like(tape.gates)
        dh, dc = ends
        for t in reversed(range(len(drive))):
            i, f, o, g = np.split(tape.gates[t], 4, axis=1)
            squashed = np.tanh(tape.c[t])
            dh = dh + dy[t]
            dc = dc + dh * o * (1 - squashed**2)
            parts = (
                dc * g * i * (1 - i),
                dc * tape.memory[t] * f * (1 - f),
                dh * squashed * o * (1 - o),
                dc * i * (1 - g**2),
            )
            drive[t] = np.concatenate(parts, axis=1)
            dh, dc = tape.cont[t] * (drive[t] @ w["weight_h"]), tape.cont[t] * f * dc
        dw["weight_h"] += drive.reshape(-1, 4 * d).T @ tape.before.reshape(-1, d)
        return drive, [dh, dc]
