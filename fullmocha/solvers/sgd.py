"""Stochastic gradient descent with momentum."""

from typing import TYPE_CHECKING, Any, ClassVar

from ..blob import Parameter
from .method import Method
from .policies import LRPolicy, MomPolicy

if TYPE_CHECKING:
    from .state import SolverState


class SGD(Method):
    """v = momentum * v - rate * local_rate * g;  w += v.

    Notes
    -----
    The momentum is that of the update before in Mocha's convention, of the same update in Caffe's; they differ only
    where it changes.
    """

    name = "SGD"
    memories = ("velocity",)
    defaults: ClassVar[dict[str, Any]] = {"lr_policy": LRPolicy.Fixed(0.01), "mom_policy": MomPolicy.Fixed(0.0)}

    def update(self, ops: Any, parameter: Parameter, memories: list[Any], state: "SolverState") -> None:
        rate = state.learning_rate * parameter.local_rate
        ops.momentum_step(parameter.grad, *memories, parameter.array, rate=rate, momentum=state.used_momentum)
