"""The gradients of an update: summed over its batches, clipped, averaged, and with what the regularizers add."""

from math import inf, sqrt

from ..net import Net
from .state import SolverState


def keep(net: Net, state: SolverState, first: bool) -> None:
    """Adds the present gradients to the sums; `first` begins them anew."""
    ops = net.backend.ops
    for parameter in net.trainable:
        if parameter not in state.sums:
            state.sums[parameter] = ops.empty(parameter.shape, parameter.dtype)
            ops.fill(state.sums[parameter], value=0.0)
        ops.axpby(parameter.grad, state.sums[parameter], alpha=1.0, beta=0.0 if first else 1.0)


def finish(net: Net, state: SolverState) -> None:
    """Turns the last batch's gradients, and the sums of those before it, into what the method follows; in Caffe's order."""
    ops, params = net.backend.ops, state.params
    learning = net.trainable
    if params["iter_size"] > 1:
        for parameter in learning:
            if parameter in state.sums:
                ops.axpby(state.sums[parameter], parameter.grad, alpha=1.0, beta=1.0)
    scale = 1 / params["iter_size"]
    if params["clip_gradients"] < inf:
        # Caffe computes no gradient for what has a local rate of 0, so it does not count
        norm = sqrt(sum(ops.sum_squares(p.grad) for p in learning if p.local_rate))
        if norm > params["clip_gradients"]:
            scale *= params["clip_gradients"] / norm
    for parameter in learning:
        if scale != 1:
            ops.axpby(parameter.grad, parameter.grad, alpha=scale, beta=0.0)
        if params["regu_coef"]:
            parameter.regularizer.add_gradient(ops, parameter, params["regu_coef"])
