"""What a method is: the rule by which one parameter follows its gradient."""

from typing import TYPE_CHECKING, Any, ClassVar

from ..blob import Parameter

if TYPE_CHECKING:
    from .state import SolverState


class Method:
    """The contract.

    Attributes
    ----------
    name : str
        Written into snapshots; a training is resumed by the method that began it.
    memories : tuple of str
        The arrays that it keeps per parameter, shaped like it and zero at first. They belong to the backend, and
        snapshots have them.
    defaults : dict
        The solver parameters that only this method has, or has other defaults for.
    """

    name: ClassVar[str]
    memories: ClassVar[tuple[str, ...]] = ()
    defaults: ClassVar[dict[str, Any]] = {}

    def update(self, ops: Any, parameter: Parameter, memories: list[Any], state: "SolverState") -> None:
        """Changes `parameter.array` by its `grad`, at the state's rates; the loop calls `touch` after it."""
        raise NotImplementedError(f"{type(self).__name__}.update")

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"
