"""Saving the training, to go on from there or to use the net."""

import os
from pathlib import Path

from ..net import Net
from .coffee import Coffee, Progress
from .log import logger
from .lounge import CoffeeLounge


class Snapshot(Coffee):
    """Writes `snapshot-000100.h5` and so on into a folder, which is made if need be.

    `load_from=folder` in the solver's parameters resumes from the newest of them.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self.directory = Path(directory)

    def enjoy(self, lounge: CoffeeLounge, net: Net, state: Progress) -> None:
        path = self.directory / f"snapshot-{state.iter:06d}.h5"
        state.save(net, path)
        logger.info("Saved %s", path)
