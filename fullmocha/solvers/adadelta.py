"""AdaDelta: the size of a step follows from the sizes of the steps before it."""

from typing import TYPE_CHECKING, Any, ClassVar

from ..blob import Parameter
from .method import Method
from .policies import LRPolicy

if TYPE_CHECKING:
    from .state import SolverState


class Adadelta(Method):
    """h = rho * h + (1 - rho) * g^2;  u = g * sqrt((d + eps) / (h + eps));  d = rho * d + (1 - rho) * u^2;  w -= rate * u.

    Notes
    -----
    Zeiler, arXiv:1212.5701. It needs no rate, and Mocha's has none; Caffe multiplies by `lr_policy` and the local rate, and calls
    rho its momentum.
    """

    name = "Adadelta"
    memories = ("squares", "steps")
    defaults: ClassVar[dict[str, Any]] = {"rho": 0.95, "eps": 1e-6, "lr_policy": LRPolicy.Fixed(1.0)}

    def update(self, ops: Any, parameter: Parameter, memories: list[Any], state: "SolverState") -> None:
        p = state.params
        numbers = {"rate": state.rate_of(parameter), "keep": p["rho"], "epsilon": p["eps"]}
        ops.adadelta_step(parameter.grad, *memories, parameter.array, **numbers)
