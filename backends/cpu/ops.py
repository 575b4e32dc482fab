"""The backend's first door: every op of the protocol, on this processor's cores; the second interprets programs with them."""

import numpy as np

from ..program import Candidate, Executable, Plan, Program, Step
from ..protocol import Activation, Combination, Reduction
from ..reference import windows  # for ops of rare layers, which copy and compare slices
from ..shapes import Shape, Window
from . import axes, channels, classes, combinations, cost, lrn, moves, peak, pointwise, select, training, updates
from .compiled import Compiled, Shelf, load
from .jit import Threads
from .lower import lower


class Ops:
    """The ops of `protocol.Ops`; arrays are plain ndarrays."""

    name = "cpu"

    def __init__(self) -> None:
        self.threads = Threads()
        self.shelf = Shelf()

    def set_threads(self, count: int | None) -> None:
        """Uses at most `count` threads, or all with None; no answer changes by it."""
        self.threads.limit(count)

    def peak(self, dtype: np.dtype) -> float:
        return peak.peak(dtype, self.threads.count)

    # ---- storage
    def empty(self, shape: Shape, dtype: np.dtype) -> np.ndarray:
        return np.empty(shape, dtype)

    def view(self, arena: np.ndarray, offset: int, shape: Shape, dtype: np.dtype) -> np.ndarray:
        return np.ndarray(shape, dtype, arena, offset)

    def reshape(self, x: np.ndarray, shape: Shape) -> np.ndarray:
        return x.reshape(shape)

    def from_host(self, host: np.ndarray, y: np.ndarray) -> None:
        np.copyto(y, host, casting="unsafe")

    def to_host(self, x: np.ndarray) -> np.ndarray:
        return x

    def fill(self, y: np.ndarray, *, value: float) -> None:
        y.fill(value)

    # ---- windows over the spatial axes
    def conv(
        self, x: np.ndarray, w: np.ndarray, b: np.ndarray | None, y: np.ndarray, *, window: Window, group: int
    ) -> None:
        axes.conv(x, w, b, y, window, group, self.threads)

    def conv_backward(
        self, dy: np.ndarray, x: np.ndarray, w: np.ndarray, dx: np.ndarray | None, dw: np.ndarray | None,
        db: np.ndarray | None, *, window: Window, group: int,
    ) -> None:  # fmt: skip
        axes.conv_backward(dy, x, w, dx, dw, db, window, group, self.threads)

    def deconv(
        self, x: np.ndarray, w: np.ndarray, b: np.ndarray | None, y: np.ndarray, *, window: Window, group: int
    ) -> None:
        axes.deconv(x, w, b, y, window, group, self.threads)

    def deconv_backward(
        self, dy: np.ndarray, x: np.ndarray, w: np.ndarray, dx: np.ndarray | None, dw: np.ndarray | None,
        db: np.ndarray | None, *, window: Window, group: int,
    ) -> None:  # fmt: skip
        axes.deconv_backward(dy, x, w, dx, dw, db, window, group, self.threads)

    def max_pool(self, x: np.ndarray, y: np.ndarray, *, window: Window) -> None:
        axes.max_pool(x, y, window, self.threads)

    def max_pool_backward(self, dy: np.ndarray, x: np.ndarray, dx: np.ndarray, *, window: Window) -> None:
        axes.max_pool_backward(dy, x, dx, window, self.threads)

    def mean_pool(self, x: np.ndarray, y: np.ndarray, *, window: Window, clip_divisor: bool) -> None:
        axes.mean_pool(x, y, window, clip_divisor, self.threads)

    def mean_pool_backward(self, dy: np.ndarray, dx: np.ndarray, *, window: Window, clip_divisor: bool) -> None:
        axes.mean_pool_backward(dy, dx, window, clip_divisor, self.threads)

    def max_pool_places(self, x: np.ndarray, y: np.ndarray, *, window: Window) -> None:
        windows.max_pool_places(x, y, window=window)

    def unfold(self, x: np.ndarray, y: np.ndarray, *, window: Window) -> None:
        windows.unfold(x, y, window=window)

    def unfold_backward(self, dy: np.ndarray, dx: np.ndarray, *, window: Window) -> None:
        windows.unfold_backward(dy, dx, window=window)

    # ---- pointwise, and along one axis
    def activate(self, x: np.ndarray, y: np.ndarray, *, kind: Activation, parameters: tuple[float, ...]) -> None:
        pointwise.activate(x, y, kind, parameters, self.threads)

    def activate_backward(
        self,
        dy: np.ndarray,
        x: np.ndarray,
        y: np.ndarray,
        dx: np.ndarray,
        *,
        kind: Activation,
        parameters: tuple[float, ...],
    ) -> None:
        pointwise.activate_backward(dy, x, y, dx, kind, parameters, self.threads)

    def softmax(self, x: np.ndarray, y: np.ndarray, *, axis: int) -> None:
        classes.softmax(x, y, axis, self.threads)

    def softmax_backward(self, dy: np.ndarray, y: np.ndarray, dx: np.ndarray, *, axis: int) -> None:
        classes.softmax_backward(dy, y, dx, axis, self.threads)

    def cross_entropy(
        self, p: np.ndarray, label: np.ndarray, *, axis: int, ignore: int | None, floor: float
    ) -> tuple[float, int]:
        return classes.cross_entropy(p, label, axis, ignore, floor, self.threads)

    def softmax_loss_backward(
        self, p: np.ndarray, label: np.ndarray, dx: np.ndarray, *, axis: int, ignore: int | None, scale: float
    ) -> None:
        classes.softmax_loss_backward(p, label, dx, axis, ignore, scale, self.threads)

    def count_hits(
        self, x: np.ndarray, label: np.ndarray, *, axis: int, ignore: int | None, top_k: int, ties_ahead: bool = False
    ) -> tuple[int, int]:
        return classes.count_hits(x, label, axis, ignore, top_k, ties_ahead, self.threads)

    # ---- several numbers to one
    def combine(self, *arrays: np.ndarray, operation: Combination, coefficients: tuple[float, ...] = ()) -> None:
        combinations.combine(*arrays, operation=operation, coefficients=coefficients, threads=self.threads)

    def maximum_backward(
        self, dy: np.ndarray, y: np.ndarray, x: np.ndarray, rival: np.ndarray, dx: np.ndarray, *, ties: bool
    ) -> None:
        combinations.maximum_backward(dy, y, x, rival, dx, ties, self.threads)

    def reduce(self, x: np.ndarray, y: np.ndarray, *, axis: int, operation: Reduction, scale: float) -> None:
        combinations.reduce(x, y, axis, operation, scale, self.threads)

    def reduce_backward(
        self, dy: np.ndarray, x: np.ndarray, dx: np.ndarray, *, axis: int, operation: Reduction, scale: float
    ) -> None:
        combinations.reduce_backward(dy, x, dx, axis, operation, scale, self.threads)

    def arg_max(self, x: np.ndarray, y: np.ndarray, *, axis: int, top_k: int, last: bool, values: bool) -> None:
        select.arg_max(x, y, axis, top_k, last, values, self.threads)

    # ---- channels
    def scale(
        self, x: np.ndarray, s: np.ndarray | None, b: np.ndarray | None, y: np.ndarray, *, axis: int
    ) -> None:  # fmt: skip
        channels.scale(x, s, b, y, axis, self.threads)

    def scale_backward(
        self, dy: np.ndarray, x: np.ndarray, s: np.ndarray | None, dx: np.ndarray | None, ds: np.ndarray | None,
        db: np.ndarray | None, *, axis: int,
    ) -> None:  # fmt: skip
        channels.scale_backward(dy, x, s, dx, ds, db, axis, self.threads)

    def prelu(self, x: np.ndarray, slope: np.ndarray, y: np.ndarray) -> None:
        channels.prelu(x, slope, y, self.threads)

    def prelu_backward(
        self, dy: np.ndarray, x: np.ndarray, slope: np.ndarray, dx: np.ndarray | None, dslope: np.ndarray | None
    ) -> None:
        channels.prelu_backward(dy, x, slope, dx, dslope, self.threads)

    def channel_mean(self, x: np.ndarray, y: np.ndarray) -> None:
        channels.channel_mean(x, y, self.threads)

    def channel_variance(self, x: np.ndarray, mean: np.ndarray, y: np.ndarray) -> None:
        channels.channel_variance(x, mean, y, self.threads)

    def standardize(
        self, x: np.ndarray, mean: np.ndarray, variance: np.ndarray, factor: np.ndarray, y: np.ndarray, *, eps: float
    ) -> None:
        channels.standardize(x, mean, variance, factor, y, eps, self.threads)

    def standardize_backward(
        self, dy: np.ndarray, variance: np.ndarray, factor: np.ndarray, dx: np.ndarray, *, eps: float
    ) -> None:
        channels.standardize_backward(dy, variance, factor, dx, eps, self.threads)

    def batch_backward(
        self, dy: np.ndarray, y: np.ndarray, variance: np.ndarray, dx: np.ndarray, *, eps: float
    ) -> None:
        channels.batch_backward(dy, y, variance, dx, eps, self.threads)

    def mvn(self, x: np.ndarray, y: np.ndarray, *, scaled: bool, eps: float) -> None:
        channels.mvn(x, y, scaled, eps, self.threads)

    def mvn_backward(
        self, dy: np.ndarray, x: np.ndarray, y: np.ndarray, dx: np.ndarray, *, scaled: bool, eps: float
    ) -> None:
        channels.mvn_backward(dy, x, y, dx, scaled, eps, self.threads)

    def lrn(
        self, x: np.ndarray, y: np.ndarray, *, size: int, alpha: float, beta: float, k: float, within: bool = False
    ) -> None:
        lrn.lrn(x, y, size, alpha, beta, k, within, self.threads)

    def lrn_backward(
        self, dy: np.ndarray, x: np.ndarray, y: np.ndarray, dx: np.ndarray, *, size: int, alpha: float, beta: float,
        k: float, within: bool = False,
    ) -> None:  # fmt: skip
        lrn.lrn_backward(dy, x, y, dx, size, alpha, beta, k, within, self.threads)

    # ---- moving data
    def move(
        self, x: np.ndarray, y: np.ndarray, *, source: Shape, target: Shape, size: Shape, add: bool = False
    ) -> None:
        moves.move(x, y, source, target, size, add, self.threads)

    def fragment(self, x: np.ndarray, y: np.ndarray, *, strides: tuple[Shape, ...], add: bool = False) -> None:
        axes.fragment(x, y, strides, add, self.threads)

    def stitch(self, x: np.ndarray, y: np.ndarray, *, strides: tuple[Shape, ...], add: bool = False) -> None:
        axes.stitch(x, y, strides, add, self.threads)

    def gather(self, x: np.ndarray, index: np.ndarray, y: np.ndarray) -> None:
        select.gather(x, index, y)

    def scatter(self, x: np.ndarray, index: np.ndarray, y: np.ndarray) -> None:
        select.scatter(x, index, y)

    # ---- training
    def multiply(self, a: np.ndarray, b: np.ndarray, y: np.ndarray, *, add: bool = False) -> None:
        training.multiply(a, b, y, add, self.threads)

    def axpby(self, x: np.ndarray, y: np.ndarray, *, alpha: float, beta: float) -> None:
        training.axpby(x, y, alpha, beta, self.threads)

    def add_sign(self, x: np.ndarray, y: np.ndarray, *, alpha: float) -> None:
        training.add_sign(x, y, alpha, self.threads)

    def clip_norm(self, y: np.ndarray, *, limit: float) -> None:
        training.clip_norm(y, limit, self.threads)

    def sum_squares(self, x: np.ndarray) -> float:
        return updates.sum_squares(x, self.threads)

    def momentum_step(self, g: np.ndarray, v: np.ndarray, w: np.ndarray, *, rate: float, momentum: float) -> None:
        updates.step(updates.momentum_step, (g, v, w), (rate, momentum), self.threads)

    def nesterov_step(
        self, g: np.ndarray, v: np.ndarray, w: np.ndarray, *, rate: float, momentum: float, ahead: float
    ) -> None:
        updates.step(updates.nesterov_step, (g, v, w), (rate, momentum, 1 + ahead), self.threads)

    def squares_step(
        self, g: np.ndarray, h: np.ndarray, w: np.ndarray, *, rate: float, keep: float, take: float, epsilon: float
    ) -> None:
        updates.step(updates.squares_step, (g, h, w), (rate, keep, take, epsilon), self.threads)

    def adadelta_step(
        self, g: np.ndarray, h: np.ndarray, d: np.ndarray, w: np.ndarray, *, rate: float, keep: float, epsilon: float
    ) -> None:
        updates.step(updates.adadelta_step, (g, h, d, w), (rate, keep, 1 - keep, epsilon), self.threads)

    def adam_step(
        self, g: np.ndarray, m: np.ndarray, s: np.ndarray, w: np.ndarray, *, rate: float, beta1: float, beta2: float,
        epsilon: float,
    ) -> None:  # fmt: skip
        numbers = rate, beta1, 1 - beta1, beta2, 1 - beta2, epsilon
        updates.step(updates.adam_step, (g, m, s, w), numbers, self.threads)

    # ---- the second door
    def candidates(self, step: Step) -> list[Candidate]:
        return cost.candidates(step)

    def lower(self, program: Program) -> Program:
        return lower(program)

    def load(self, program: Program, plan: Plan) -> None:
        """Runs every convolution's algorithm on the smallest problem of its kind; the other kernels hold next to nothing."""
        load(self, program, plan)

    def held(self) -> int:
        return self.shelf.spare

    def compile(self, program: Program, plan: Plan) -> Executable:
        return Compiled(self, program, plan)
