"""How good the net is on data that it is not trained on."""

from collections.abc import Callable

from ..errors import SolverError
from ..net import Net
from .coffee import Coffee, Progress
from .log import logger
from .lounge import CoffeeLounge, dump_statistics

Listener = Callable[[CoffeeLounge, Net, Progress], object]
RULE = "-" * 57


class ValidationPerformance(Coffee):
    """Runs a second net over one epoch of its data, shows its averages (accuracy, ...) and keeps them in the lounge.

    Parameters
    ----------
    validation_net : Net
        A net on the same backend object as the trained one, so that layers of equal names share their parameters.
    """

    def __init__(self, validation_net: Net) -> None:
        self.validation_net = validation_net
        self.listeners: list[Listener] = []

    def register(self, listener: Listener) -> None:
        """Has `listener(lounge, net, state)` called after every validation."""
        self.listeners.append(listener)

    def init(self, net: Net) -> None:
        other = self.validation_net
        in_training = {id(node.state) for node in net.data_nodes if node.state is not None}
        if any(id(node.state) in in_training for node in other.data_nodes):
            raise SolverError(
                f"ValidationPerformance: net {other.name!r} takes its data from the one in training, and would use up "
                "its batches; make a second net with a data layer of its own, on the same backend object"
            )
        if other.parameters and not set(map(id, other.parameters)) & set(map(id, net.parameters)):
            raise SolverError(
                f"ValidationPerformance: net {other.name!r} shares no parameter with the trained {net.name!r}; "
                "build both on one backend object, with the same layer names"
            )
        other.init()

    def enjoy(self, lounge: CoffeeLounge, net: Net, state: Progress) -> None:
        self.validation_net.reset_statistics()
        self.validation_net.forward_epoch()
        logger.info("\n## Performance on Validation Set after %d iterations\n%s", state.iter, RULE)
        dump_statistics(lounge, self.validation_net, show=True)
        logger.info("%s\n", RULE)
        for listener in self.listeners:
            listener(lounge, net, state)
