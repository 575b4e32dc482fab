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
        (velocity,) = memories
        rate = state.learning_rate * parameter.local_rate
        ops.axpby(parameter.grad, velocity, alpha=-rate, beta=state.used_momentum)
        ops.axpby(velocity, parameter.array, alpha=1.0, beta=1.0)
