"""Testing while training, as Caffe does: the mean of what a second net puts out over so many batches."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ..net import Net
from .coffee import Coffee, Progress
from .log import logger
from .lounge import CoffeeLounge

MOST = 100  # numbers of one output; Caffe would list a whole map, pixel by pixel


class TestScores(Coffee):
    """Runs a net over so many batches, says the mean of its outputs, and keeps them in the lounge as "test 0 accuracy".

    Parameters
    ----------
    net : Net
        On the same backend object as the trained one, so that they share their parameters.
    batches : int
        Caffe's test_iter.
    number : int
        Which of the test nets it is.
    at_start : bool
        Whether to test before the first update too (Caffe's test_initialization).
    say : function of a string
        Where the lines go; the log by default.
    stopping : function
        Asked before each batch; where it says True, the test is given up.

    Notes
    -----
    Outputs are the blobs that no layer reads, losses without their weight, of at most 100 numbers; and the losses and scores of
    layers without a top. Each number is averaged over the batches by itself.
    """

    early = True
    __test__ = False  # for pytest: the name begins with Test

    def __init__(
        self,
        net: Net,
        batches: int,
        number: int = 0,
        at_start: bool = True,
        say: Callable[[str], object] = logger.info,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self.stopping = stopping
        self.net, self.batches, self.number, self.at_start, self.say = net, batches, number, at_start, say

    def enjoy(self, lounge: CoffeeLounge, net: Net, state: Progress) -> None:
        if state.stop or (state.iter == 0 and not self.at_start):
            return
        self.say(f"Iteration {state.iter}, testing net #{self.number}")
        scores = self.scores()
        if self.stopping():
            self.say("    Test interrupted")
            return
        for name, value in scores.items():
            self.say(f"    Test net output: {name} = {value:g}")
            lounge.update_statistics(f"test {self.number} {name}", value)

    def scores(self) -> dict[str, float]:
        """The means over the next batches, by name."""
        totals: dict[str, Any] = {}
        for _ in range(self.batches):
            if self.stopping():
                break
            self.net.reset_statistics()
            self.net.forward()
            for name, value in self._outputs().items():
                totals[name] = totals.get(name, 0.0) + value / self.batches
        scores: dict[str, float] = {}
        for name, total in sorted(totals.items()):
            numbers = np.atleast_1d(total)
            scores |= {name if len(numbers) == 1 else f"{name}[{i}]": float(n) for i, n in enumerate(numbers)}
        return scores

    def _outputs(self) -> dict[str, Any]:
        """Of the present batch."""
        found: dict[str, Any] = {}
        read = {bottom.name for node in self.net.nodes for bottom in node.bottoms}
        for node in self.net.nodes:
            if not node.tops and node.layer.has_loss:
                found[node.layer.name] = node.state.value
            elif not node.tops:
                found |= node.layer.statistics(node.state)
        for name, blob in self.net.output_blobs.items():
            source = any(blob is top for node in self.net.data_nodes for top in node.tops)
            if blob.name not in read and not source and np.prod(blob.shape) <= MOST:
                found[name] = np.array(blob.data, np.float64).ravel()
        return found
