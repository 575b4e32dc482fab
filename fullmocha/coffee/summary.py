"""One line on how the training goes."""

from ..errors import SolverError
from ..net import Net
from .coffee import Coffee, Progress
from .log import logger
from .lounge import CoffeeLounge

FIELDS = ("iter", "obj_val", "learning_rate", "momentum")


class TrainingSummary(Coffee):
    """Shows values, and keeps all but the iteration in the lounge: " TRAIN iter=000100 obj_val=0.99267456".

    Parameters
    ----------
    names : str
        "iter", "obj_val", "learning_rate", "momentum", or the name of a layer with a loss; by default the first two.
    """

    def __init__(self, *names: str) -> None:
        self.names = names or ("iter", "obj_val")

    def enjoy(self, lounge: CoffeeLounge, net: Net, state: Progress) -> None:
        shown = []
        for name in self.names:
            value = self._value(name, state)
            shown.append(f"{name}={value:06d}" if name == "iter" else f"{name}={_decimal(value)}")
            if name != "iter":
                lounge.update_statistics(name, value)
        logger.info(" TRAIN %s", " ".join(shown))

    def _value(self, name: str, state: Progress) -> float:
        if name in FIELDS:
            return getattr(state, name)
        if name not in state.losses:
            raise SolverError(
                f"TrainingSummary: {name!r} is neither one of {list(FIELDS)} nor a layer with a loss; "
                f"those are {sorted(state.losses)}"
            )
        return state.losses[name]


def _decimal(value: float) -> str:
    """Eight decimals, or as many digits where those would be zeros."""
    return f"{value:.8f}" if not 0 < abs(value) < 1e-4 else f"{value:.8e}"
