"""How the training goes, in Caffe's words: a line every so many iterations."""

import time
from collections import deque
from collections.abc import Callable

from ..layers.loss import LossLayer
from ..net import Net
from .coffee import Coffee, Progress
from .log import logger
from .lounge import CoffeeLounge


class Display(Coffee):
    """Says "Iteration 100 (52 iter/s), loss = 0.25, lr = 0.01", and keeps the loss in the lounge as "loss"; to be taken every iteration.

    Parameters
    ----------
    every : int
        Iterations between two lines; 0 for none.
    average : int
        How many iterations the loss is averaged over (Caffe's average_loss).
    say : function of a string
        Where the lines go; the log by default.

    Notes
    -----
    The loss is that of the batches of iteration n, before its update, the rate the one that the update will have: as Caffe counts.
    """

    def __init__(self, every: int, average: int = 1, say: Callable[[str], object] = logger.info) -> None:
        self.every, self.say = every, say
        self.recent: deque[float] = deque(maxlen=average)
        self._since: tuple[int, float] | None = None

    @property
    def loss(self) -> float:
        """The mean of the last losses."""
        return sum(self.recent) / len(self.recent)

    def enjoy(self, lounge: CoffeeLounge, net: Net, state: Progress) -> None:
        self.recent.append(state.obj_val)
        if not self.every or state.iter % self.every:
            return
        lounge.update_statistics("loss", self.loss)
        self.say(f"Iteration {state.iter}{self._speed(state.iter)}, loss = {self.loss:g}, lr = {state.coming_rate():g}")
        if len(state.losses) > 1:
            weights = {node.layer.name: node.layer.weight for node in net.nodes if isinstance(node.layer, LossLayer)}
            for name, loss in state.losses.items():
                weight = weights.get(name, 1.0)
                parts = (
                    f"{name} = {loss:g}"
                    if weight in (0, 1)
                    else f"{name} = {loss / weight:g} (* {weight:g} = {loss:g} loss)"
                )
                self.say(f"    Train net output: {parts}")

    def _speed(self, iteration: int) -> str:
        """Since the line before."""
        now, before = time.perf_counter(), self._since
        self._since = iteration, now
        if before is None or iteration == before[0]:
            return ""
        return f" ({(iteration - before[0]) / max(now - before[1], 1e-9):.4g} iter/s)"
