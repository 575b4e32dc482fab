"""What a coffee is, and what it gets to see."""

from os import PathLike
from typing import TYPE_CHECKING, ClassVar, Protocol

from ..net import Net

if TYPE_CHECKING:
    from .lounge import CoffeeLounge


class Progress(Protocol):
    """What a coffee may rely on in the solver's state.

    Attributes
    ----------
    iter : int
        Updates done so far.
    obj_val : float
        The sum of the losses of the last forward pass, regularizers not included.
    losses : dict of float
        The loss of each layer that has one, by its name.
    learning_rate, momentum : float
        Of the last update; at iteration 0 the policies' first values.
    stop : bool
        To be set by a coffee that wants the training to end after the present iteration.
    """

    iter: int
    obj_val: float
    losses: dict[str, float]
    learning_rate: float
    momentum: float
    stop: bool

    def save(self, net: Net, path: str | PathLike[str]) -> None:
        """Writes a snapshot."""

    def coming_rate(self) -> float:
        """The learning rate that the next update will have."""


class Coffee:
    """Something done every n iterations; derive from it and write `enjoy`.

    Attributes
    ----------
    early : bool
        Whether its break is before the forward pass that follows the update, where Caffe tests and saves, and not after it. The
        loss is then still that of the batch before; `init` is not called.

    Examples
    --------
    >>> class Celebrate(Coffee):
    ...     def enjoy(self, lounge, net, state):
    ...         lounge.update_statistics("square", state.obj_val**2)
    """

    early: ClassVar[bool] = False

    def init(self, net: Net) -> None:
        """Called once, when the lounge opens: after the first forward pass, before the first break."""

    def enjoy(self, lounge: "CoffeeLounge", net: Net, state: Progress) -> None:
        """Called at each break, iteration 0 included."""
        raise NotImplementedError(f"{type(self).__name__}.enjoy")

    def destroy(self, net: Net) -> None:
        """Called once, when the training is over or has failed."""
