"""The definition of every op, in numpy alone and written to be read; float32 and float64.

Forward results are the same bits for a pixel whatever is computed beside it (see `windows`), so sliding, fragments and
strided kernels can be compared by equality. Every other backend answers to this one.
"""

from math import prod

import numpy as np

from ..program import Candidate, Executable, Interpreter, Plan, Program, Step, Value
from . import channels, classes, combinations, moves, pointwise, select, storage, training, updates, windows


def available() -> bool:
    """Whether this machine can run the backend: numpy is all it needs."""
    return True


class Ops:
    """The ops of `protocol.Ops`, one line each; the files named here hold the equations."""

    name = "reference"

    empty = staticmethod(storage.empty)
    view = staticmethod(storage.view)
    reshape = staticmethod(storage.reshape)
    from_host = staticmethod(storage.from_host)
    to_host = staticmethod(storage.to_host)
    fill = staticmethod(storage.fill)

    conv = staticmethod(windows.conv)
    conv_backward = staticmethod(windows.conv_backward)
    deconv = staticmethod(windows.deconv)
    deconv_backward = staticmethod(windows.deconv_backward)
    max_pool = staticmethod(windows.max_pool)
    max_pool_backward = staticmethod(windows.max_pool_backward)
    mean_pool = staticmethod(windows.mean_pool)
    mean_pool_backward = staticmethod(windows.mean_pool_backward)
    max_pool_places = staticmethod(windows.max_pool_places)
    unfold = staticmethod(windows.unfold)
    unfold_backward = staticmethod(windows.unfold_backward)

    activate = staticmethod(pointwise.activate)
    activate_backward = staticmethod(pointwise.activate_backward)

    softmax = staticmethod(classes.softmax)
    softmax_backward = staticmethod(classes.softmax_backward)
    cross_entropy = staticmethod(classes.cross_entropy)
    softmax_loss_backward = staticmethod(classes.softmax_loss_backward)
    count_hits = staticmethod(classes.count_hits)

    combine = staticmethod(combinations.combine)
    maximum_backward = staticmethod(combinations.maximum_backward)
    reduce = staticmethod(combinations.reduce)
    reduce_backward = staticmethod(combinations.reduce_backward)
    arg_max = staticmethod(select.arg_max)

    scale = staticmethod(channels.scale)
    scale_backward = staticmethod(channels.scale_backward)
    prelu = staticmethod(channels.prelu)
    prelu_backward = staticmethod(channels.prelu_backward)
    channel_mean = staticmethod(channels.channel_mean)
    channel_variance = staticmethod(channels.channel_variance)
    standardize = staticmethod(channels.standardize)
    standardize_backward = staticmethod(channels.standardize_backward)
    batch_backward = staticmethod(channels.batch_backward)
    mvn = staticmethod(channels.mvn)
    mvn_backward = staticmethod(channels.mvn_backward)
    lrn = staticmethod(channels.lrn)
    lrn_backward = staticmethod(channels.lrn_backward)

    move = staticmethod(moves.move)
    fragment = staticmethod(moves.fragment)
    stitch = staticmethod(moves.stitch)

    gather = staticmethod(select.gather)
    scatter = staticmethod(select.scatter)

    multiply = staticmethod(training.multiply)
    axpby = staticmethod(training.axpby)
    add_sign = staticmethod(training.add_sign)
    clip_norm = staticmethod(training.clip_norm)
    sum_squares = staticmethod(updates.sum_squares)
    momentum_step = staticmethod(updates.momentum_step)
    nesterov_step = staticmethod(updates.nesterov_step)
    squares_step = staticmethod(updates.squares_step)
    adadelta_step = staticmethod(updates.adadelta_step)
    adam_step = staticmethod(updates.adam_step)

    def set_threads(self, count: int | None) -> None:
        """numpy's loops run on one."""

    def peak(self, dtype: np.dtype) -> float:
        return 0.0

    def lower(self, program: Program) -> Program:
        return program

    def candidates(self, step: Step) -> list[Candidate]:
        """One way only; about 1 GFLOP/s, and copies of what a step reads and writes."""
        activations = [v.shape for v in (*step.reads, step.write) if isinstance(v, Value)]
        return [Candidate("reference", step.flops / 1e9, 2 * step.dtype.itemsize * sum(map(prod, activations)))]

    def load(self, program: Program, plan: Plan) -> None:
        """Nothing: numpy is there."""

    def held(self) -> int:
        return 0

    def compile(self, program: Program, plan: Plan) -> Executable:
        return Interpreter(self, program, plan)
