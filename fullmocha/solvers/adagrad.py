"""AdaGrad: every weight has a rate of its own, which falls with the squares of its gradients."""

from typing import TYPE_CHECKING, Any, ClassVar

from ..blob import Parameter
from .method import Method
from .policies import LRPolicy

if TYPE_CHECKING:
    from .state import SolverState


class Adagrad(Method):
    """h += g^2;  w -= gamma * rate * g / (sqrt(h) + epsilon), by element.

    Notes
    -----
    Mocha has one sum h for a whole array, which is not AdaGrad (Duchi et al. 2011); this is. Its rate is `gamma` alone; Caffe's is
    `lr_policy`, times the local rate in its convention.
    """

    name = "Adagrad"
    memories = ("squares",)
    defaults: ClassVar[dict[str, Any]] = {"gamma": 1.0, "epsilon": 1e-8, "lr_policy": LRPolicy.Fixed(1.0)}

    def update(self, ops: Any, parameter: Parameter, memories: list[Any], state: "SolverState") -> None:
        p = state.params
        rate = p["gamma"] * state.rate_of(parameter)
        numbers = {"rate": rate, "keep": 1.0, "take": 1.0, "epsilon": p["epsilon"]}
        ops.squares_step(parameter.grad, *memories, parameter.array, **numbers)
