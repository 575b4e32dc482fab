"""The coffee lounge: which coffee is taken when, and what the coffees wrote down.

break due       every_n_iter    iterations 0, n, 2n, ...; also the iteration that a resumed run starts from
                every_n_epoch   the iteration whose batch ends epoch n, 2n, ... of the first data layer
taken           after the forward pass that follows the iteration's update; early coffees before it
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from ..beside import Beside
from ..errors import FormatError, SolverError
from ..net import Net
from .coffee import Coffee, Progress
from .log import logger

FileExists = Literal["merge", "overwrite", "panic"]


@dataclass(frozen=True)
class CoffeeBreak:
    """A coffee and its times; where both are given, iterations count."""

    coffee: Coffee
    every_n_iter: int = 0
    every_n_epoch: int = 0

    def due(self, iteration: int, last_epoch: int, epoch: int) -> bool:
        if self.every_n_iter:
            return iteration % self.every_n_iter == 0
        return epoch // self.every_n_epoch > last_epoch // self.every_n_epoch


class CoffeeLounge:
    """Where a solver takes its breaks, and where what they found out is kept.

    Parameters
    ----------
    save_into : path
        A JSON file for the statistics, {name: {iteration: value}}; empty keeps them in memory only.
    every_n_iter : int
        How often the file is written; 0 for at the end only.
    file_exists : {"merge", "overwrite", "panic"}
        What to do with statistics that the file already holds: go on from them, drop them, or refuse.
    """

    def __init__(
        self, save_into: str | os.PathLike[str] = "", every_n_iter: int = 1, file_exists: FileExists = "merge"
    ) -> None:
        self.statistics: dict[str, dict[int, float]] = {}
        self.breaks: list[CoffeeBreak] = []
        self.curr_iter = self._last_epoch = 0
        self._modified = False
        self.configure(save_into, every_n_iter, file_exists)

    def configure(self, save_into: str | os.PathLike[str], every_n_iter: int, file_exists: FileExists) -> None:
        """Sets where the statistics go, without touching the breaks."""
        if file_exists not in ("merge", "overwrite", "panic"):
            raise SolverError(f"file_exists must be 'merge', 'overwrite' or 'panic', got {file_exists!r}")
        if every_n_iter < 0:
            raise SolverError(f"every_n_iter of the lounge must be at least 0, got {every_n_iter}")
        self.path = Path(save_into) if os.fspath(save_into) else None
        self.save_every_n_iter, self.file_exists = every_n_iter, file_exists

    def add(self, coffee: Coffee, every_n_iter: int = 0, every_n_epoch: int = 0) -> None:
        """Adds a break."""
        if min(every_n_iter, every_n_epoch) < 0 or not (every_n_iter or every_n_epoch):
            raise SolverError(
                f"a break for {type(coffee).__name__} needs every_n_iter or every_n_epoch of at least 1; "
                f"got every_n_iter={every_n_iter}, every_n_epoch={every_n_epoch}"
            )
        if coffee.early and not every_n_iter:
            raise SolverError(f"{type(coffee).__name__} is taken before the batch, so it goes by every_n_iter only")
        self.breaks.append(CoffeeBreak(coffee, every_n_iter, every_n_epoch))

    # ---- the times
    def epoch(self, net: Net) -> int:
        """The net's epoch, if any break goes by it."""
        return net.get_epoch() if any(not b.every_n_iter for b in self.breaks) else 0

    def setup(self, net: Net, state: Progress, epoch: int) -> None:
        """Opens the lounge; `epoch` is what `self.epoch(net)` was before the first forward pass."""
        if self.path and self.path.exists():
            self._meet(self.path)
        self.curr_iter, self._last_epoch = state.iter, epoch
        for one in self.breaks:
            if not one.coffee.early:
                one.coffee.init(net)

    def take_early_break(self, net: Net, state: Progress) -> None:
        """Takes the early coffees that are due: after the update, before the next forward pass."""
        self.curr_iter = state.iter
        for one in self.breaks:
            if one.coffee.early and state.iter % one.every_n_iter == 0:
                one.coffee.enjoy(self, net, state)

    def take_break(self, net: Net, state: Progress) -> None:
        """Takes the coffees that are due, in the order in which they were added."""
        self.curr_iter, epoch = state.iter, self.epoch(net)
        for one in self.breaks:
            if not one.coffee.early and one.due(state.iter, self._last_epoch, epoch):
                one.coffee.enjoy(self, net, state)
        self._last_epoch = epoch
        if self.save_every_n_iter and state.iter % self.save_every_n_iter == 0:
            self.save_statistics()

    def shutdown(self, net: Net) -> None:
        """Closes the lounge, with the statistics saved."""
        for one in self.breaks:
            one.coffee.destroy(net)
        self.save_statistics()

    # ---- the statistics
    def update_statistics(self, key: str, value: float) -> None:
        """Writes down a value for the present iteration."""
        self.statistics.setdefault(key, {})[self.curr_iter] = float(value)
        self._modified = True

    def get_statistics(self, key: str) -> dict[int, float]:
        """All values of that name, by iteration."""
        return self.statistics.get(key, {})

    def save_statistics(self) -> None:
        """Writes the file, if there is one and there is news."""
        if self.path and self._modified:
            with Beside(self.path, make_folder=True) as file:
                file.path.write_text(json.dumps(self.statistics), encoding="utf-8")
            self._modified = False

    def _meet(self, path: Path) -> None:
        """Does what `file_exists` says with the file that is there."""
        if self.file_exists == "panic":
            raise SolverError(
                f"{path}: exists, and file_exists='panic'; name another file, or choose merge or overwrite"
            )
        if self.file_exists == "overwrite":
            logger.warning("Overwriting the statistics in %s", path)
            return
        logger.info("Merging with the statistics in %s", path)
        for key, values in _read_statistics(path).items():
            self.statistics[key] = values | self.statistics.get(key, {})


def _read_statistics(path: Path) -> dict[str, dict[int, float]]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {str(key): {int(i): float(v) for i, v in values.items()} for key, values in found.items()}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as problem:
        raise FormatError(
            f"{path}: cannot be read as statistics, JSON {{name: {{iteration: value}}}} ({problem}); "
            "name another file in save_into, or set file_exists='overwrite'"
        ) from problem


class _HasLounge(Protocol):
    lounge: CoffeeLounge


def setup_coffee_lounge(
    solver: _HasLounge, save_into: str | os.PathLike[str] = "", every_n_iter: int = 1, file_exists: FileExists = "merge"
) -> None:
    """Says where a solver's statistics go; breaks that were added before stay. See `CoffeeLounge`."""
    solver.lounge.configure(save_into, every_n_iter, file_exists)


def add_coffee_break(solver: _HasLounge, coffee: Coffee, every_n_iter: int = 0, every_n_epoch: int = 0) -> None:
    """Has a solver take this coffee every n iterations (iteration 0 included), or whenever n epochs are complete."""
    solver.lounge.add(coffee, every_n_iter, every_n_epoch)


def dump_statistics(storage: CoffeeLounge | None, net: Net, show: bool = False) -> None:
    """Writes a net's running averages into a lounge, if there is one, and shows them if asked."""
    if storage is not None:
        for key, value in net.statistics().items():
            storage.update_statistics(key, value)
    if show:
        for node in net.nodes:
            if line := node.layer.summary(node.state):
                logger.info("  %s", line)
