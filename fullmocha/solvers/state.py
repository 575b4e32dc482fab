"""What a training is made of besides the net: how far it is, its rates, and what its method remembers."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..blob import Parameter
from ..net import Net
from .method import Method
from .place import Place, take_place
from .policies import MultiStep
from .snapshot import save_snapshot


class SolverState:
    """The state of one training.

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
    used_momentum : float
        The momentum that the convention wants for the old velocity.
    current_step : int
        How many steps of an `LRPolicy.MultiStep` are behind.
    params : dict
        The solver's parameters, as of the last update.
    place : Place
        Where data and random numbers stood before the last forward pass.
    before : dict of ndarray
        What forward passes change by themselves (BatchNorm's sums), as it was before the last one; by parameter.
    last_snapshot : path or None
        Where the training was last saved to, or resumed from.
    stop : bool
        Set by a coffee that wants the training to end after the present iteration.
    """

    def __init__(self, method: Method, params: Mapping[str, Any], net: Net) -> None:
        self.method, self.params = method, params
        self.iter = self.current_step = 0
        self.stop = False
        self.obj_val = 0.0
        self.losses: dict[str, float] = {}
        self.learning_rate = _rate(params, "lr_policy", 0)
        self.momentum = self.used_momentum = _rate(params, "mom_policy", 0)
        self.place: Place = take_place(net)
        self.last_snapshot: str | os.PathLike[str] | None = None
        self.memories: dict[Parameter, list[Any]] = {}
        self.sums: dict[Parameter, Any] = {}
        self.before: dict[Parameter, np.ndarray] = {}
        self._versions: dict[Parameter, int] | None = None

    def keep_before(self, net: Net) -> None:
        """To be called before a forward pass, which is repeated where a training is resumed; fills `before`.

        What the passes do not train may be what they change; after the first one that is known by the parameters' versions.
        """
        if self._versions is None:
            running = [p for p in net.parameters if p.local_rate == 0]
            self._versions = {p: p.version for p in running}
        elif self.before:
            running = [p for p in self.before if p.version != self._versions[p]]
        else:
            running = []
        self.before = {p: p.values() for p in running}

    def set_rates(self, params: Mapping[str, Any]) -> None:
        """Takes the rates of the present iteration."""
        self.params = params
        caffe = params["convention"] == "caffe"
        count = self.iter - caffe
        before, self.momentum = self.momentum, _rate(params, "mom_policy", count)
        self.used_momentum = self.momentum if caffe else before
        policy = params.get("lr_policy")
        if isinstance(policy, MultiStep):
            self.current_step = policy.advance(self.current_step, count)
        self.learning_rate = self._learning_rate(count, self.current_step)

    def coming_rate(self) -> float:
        """The learning rate that the next update will have."""
        count = self.iter + (self.params["convention"] != "caffe")
        policy = self.params.get("lr_policy")
        step = policy.advance(self.current_step, count) if isinstance(policy, MultiStep) else 0
        return self._learning_rate(count, step)

    def _learning_rate(self, count: int, step: int) -> float:
        policy = self.params.get("lr_policy")
        return policy.rate(step) if isinstance(policy, MultiStep) else _rate(self.params, "lr_policy", count)

    def rate_of(self, parameter: Parameter) -> float:
        """The learning rate of one parameter, for the methods whose rate is not local in Mocha but in Caffe."""
        return self.learning_rate * (parameter.local_rate if self.params["convention"] == "caffe" else 1.0)

    def memories_of(self, parameter: Parameter) -> list[Any]:
        """The method's arrays for a parameter, made and zeroed when first needed."""
        if parameter not in self.memories:
            arrays = [parameter.ops.empty(parameter.shape, parameter.dtype) for _ in self.method.memories]
            for array in arrays:
                parameter.ops.fill(array, value=0.0)
            self.memories[parameter] = arrays
        return self.memories[parameter]

    def save(self, net: Net, path: str | os.PathLike[str]) -> None:
        """Writes a snapshot: see `save_snapshot`."""
        save_snapshot(net, self, path)


def _rate(params: Mapping[str, Any], name: str, count: int) -> float:
    """A policy's rate, 0 where the method has no such policy."""
    return float(params[name](count)) if name in params else 0.0
