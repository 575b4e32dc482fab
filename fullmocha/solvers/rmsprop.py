"""RMSProp: AdaGrad with a memory that fades."""

from typing import TYPE_CHECKING, Any, ClassVar

from ..blob import Parameter
from .method import Method
from .policies import LRPolicy

if TYPE_CHECKING:
    from .state import SolverState


class RMSProp(Method):
    """h = rms_decay * h + (1 - rms_decay) * g^2;  w -= rate * g / (sqrt(h) + epsilon), by element.

    Mocha has no such method; names and defaults are Caffe's (its delta is `epsilon`).
    """

    name = "RMSProp"
    memories = ("squares",)
    defaults: ClassVar[dict[str, Any]] = {"rms_decay": 0.99, "epsilon": 1e-8, "lr_policy": LRPolicy.Fixed(0.01)}

    def update(self, ops: Any, parameter: Parameter, memories: list[Any], state: "SolverState") -> None:
        keep = state.params["rms_decay"]
        numbers = {"rate": state.rate_of(parameter), "keep": keep, "take": 1 - keep, "epsilon": state.params["epsilon"]}
        ops.squares_step(parameter.grad, *memories, parameter.array, **numbers)
