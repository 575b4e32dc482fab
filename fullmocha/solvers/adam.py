"""Adam: momentum, divided by the root of the mean square of the gradients."""

from math import sqrt
from typing import TYPE_CHECKING, Any, ClassVar

from ..blob import Parameter
from .method import Method
from .policies import LRPolicy

if TYPE_CHECKING:
    from .state import SolverState


class Adam(Method):
    """m = beta1 * m + (1 - beta1) * g;  s = beta2 * s + (1 - beta2) * g^2;  w -= rate_t * m / (sqrt(s) + epsilon).

    Notes
    -----
    rate_t = rate * sqrt(1 - beta2^t) / (1 - beta1^t) at update t, counted from 1 (Kingma and Ba, arXiv:1412.6980). Mocha's own s
    never fades, a mistake that is not repeated here. Mocha ignores the local rates; Caffe's convention multiplies by them.
    """

    name = "Adam"
    memories = ("mean", "squares")
    defaults: ClassVar[dict[str, Any]] = {
        "lr_policy": LRPolicy.Inv(0.003, 0.0001, 0.5),
        "beta1": 0.9,
        "beta2": 0.999,
        "epsilon": 1e-8,
    }

    def update(self, ops: Any, parameter: Parameter, memories: list[Any], state: "SolverState") -> None:
        numbers = {name: state.params[name] for name in ("beta1", "beta2", "epsilon")}
        unbiased = sqrt(1 - numbers["beta2"] ** state.iter) / (1 - numbers["beta1"] ** state.iter)
        rate = state.rate_of(parameter) * unbiased
        ops.adam_step(parameter.grad, *memories, parameter.array, rate=rate, **numbers)
