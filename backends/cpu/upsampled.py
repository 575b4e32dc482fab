"""Upsampling, then a 1 x 1 convolution: how Greentea's U and USK go up.

The upsampling is a deconvolution of each channel by itself whose windows lie side by side. Where its weights are the
same at all taps, as for nearest neighbours, all pixels of a window are equal, so the convolution may as well come first:
sy * sx times less work. Weights are looked at when they have changed; any others are done in the order of the net.
"""

from collections.abc import Callable
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from ..program import Step
from ..shapes import Shape
from . import blocked
from .conv.direct import Direct
from .conv.problem import Problem
from .jit import Threads


class Upsampled:
    """Both orders of one such pair of layers."""

    def __init__(self, step: Step) -> None:
        self.low: Problem = step.options["problem"]
        self.stride: Shape = step.options["stride"]
        rows, columns = (n * s for n, s in zip(self.low.size, self.stride, strict=True))
        self.first, self.last = Direct(self.low), Direct(replace(self.low, size=(rows, columns)))
        self.ones = np.ones((self.low.outputs, 1, *self.stride), self.low.dtype)

    @property
    def workspace(self) -> int:
        """Bytes: the small result, or the upsampled source."""
        p, size = self.low, self.last.problem.size
        return p.dtype.itemsize * p.images * p.lanes * max(p.output_blocks * prod(p.size), p.blocks * prod(size))

    @property
    def kept(self) -> int:
        return self.first.kept

    @property
    def seconds(self) -> float:
        """With equal taps."""
        return 2 * self.first.seconds

    def prepare(self, up: np.ndarray, up_bias: Any, w: np.ndarray, b: Any) -> tuple[bool, np.ndarray, np.ndarray]:
        """Whether the convolution may come first, and its weights and bias if so, else as they are."""
        p = self.low
        w = w.reshape(p.outputs, p.channels)
        taps = up.reshape(p.channels, -1)
        bias = np.zeros(p.output_blocks * p.lanes, p.dtype)
        bias[: p.outputs] = 0 if b is None else b
        may = bool((taps == taps[:, :1]).all())
        if may:
            if up_bias is not None:
                bias[: p.outputs] += (w * up_bias).sum(1)
            w = w * taps[:, 0]
        return may, self.first.prepare(w[:, :, None, None]), bias

    def runner(
        self,
        x: np.ndarray,
        y: np.ndarray,
        scratch: np.ndarray,
        upsampling: Callable[[], Any],
        ready: Callable[[], Any],
        threads: Threads,
    ) -> Callable[[], None]:
        """The step as a call without arguments; `upsampling` gives its weights and bias, `ready` what `prepare` made."""
        p = self.low
        none = np.zeros(1, p.dtype)
        small_shape = (p.images, p.output_blocks, *p.size, p.lanes)
        large_shape = (p.images, p.blocks, *self.last.problem.size, p.lanes)
        small, large = (scratch[: prod(shape)].reshape(shape) for shape in (small_shape, large_shape))

        def run() -> None:
            first, w, bias = ready()
            if first:
                self.first.run(x.reshape(-1), w, bias, none, none, small.reshape(-1), none, threads)
                blocked.spread_out(small, self.ones, None, y, self.stride, threads)
            else:
                up, up_bias = upsampling()
                blocked.spread_out(x, up, up_bias, large, self.stride, threads)
                self.last.run(large.reshape(-1), w, bias, none, none, y.reshape(-1), none, threads)

        return run
