"""Nesterov's accelerated gradient."""

from typing import TYPE_CHECKING, Any, ClassVar

from ..blob import Parameter
from .method import Method
from .policies import LRPolicy, MomPolicy

if TYPE_CHECKING:
    from .state import SolverState


class Nesterov(Method):
    """u = before * v - rate * local_rate * g;  w += (1 + momentum) * u - before * v;  v = u.

    Notes
    -----
    The gradient is taken where the momentum would carry the weights, which are kept there (Bengio et al., arXiv:1212.0901).
    `before` is the momentum of the update before in Mocha's convention; in Caffe's both are of the same update.
    """

    name = "Nesterov"
    memories = ("velocity",)
    defaults: ClassVar[dict[str, Any]] = {"lr_policy": LRPolicy.Fixed(0.01), "mom_policy": MomPolicy.Fixed(0.0)}

    def update(self, ops: Any, parameter: Parameter, memories: list[Any], state: "SolverState") -> None:
        rate = state.learning_rate * parameter.local_rate
        before, ahead = state.used_momentum, state.momentum
        ops.nesterov_step(parameter.grad, *memories, parameter.array, rate=rate, momentum=before, ahead=ahead)
