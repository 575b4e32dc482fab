"""The ops: names, shapes, equations. A backend is an object that has them; `reference` is their definition.

Conventions
- Arrays belong to the backend (`Array`); the caller owns every buffer and passes it in. Geometry is solved before the
  call, so an op trusts its shapes. `x` and `y` are bottom and top; `dx`, `dy`, `dw`, `db` gradients.
- Forward ops overwrite their last positional argument. Backward ops ADD to the gradients they are given; one that is
  None is not wanted. All arrays of a call share one dtype, float32 or float64, and are C-contiguous.
- Positional arguments are arrays, keyword arguments plain values: that is what lets `program.Recorder` stand in for a
  backend.
- `window` is a `shapes.Window`; `axis` counts from 0.
"""

from typing import Any, Literal, Protocol

import numpy as np

from .program import Candidate, Executable, Plan, Program, Step
from .shapes import Shape, Window

Array = Any
Activation = Literal[
    "relu", "at_least", "sigmoid", "tanh", "exponential", "elu", "bnll", "absval", "power", "log", "threshold", "swish",
    "clip",
]  # fmt: skip
Combination = Literal["sum", "product", "quotient", "maximum"]
Reduction = Literal["sum", "asum", "sumsq"]


class Ops(Protocol):
    """What every backend offers; a missing op raises `NotImplementedError` with backend and op named."""

    name: str

    def set_threads(self, count: int | None) -> None:
        """Uses so many threads, None for all; answers never depend on it, and a backend without threads ignores it."""

    # ---- storage
    def empty(self, shape: Shape, dtype: np.dtype) -> Array:
        """A new C-contiguous array with undefined contents."""

    def view(self, arena: Array, offset: int, shape: Shape, dtype: np.dtype) -> Array:
        """The array of that shape that starts `offset` bytes into a one-dimensional uint8 arena; no copy."""

    def reshape(self, x: Array, shape: Shape) -> Array:
        """The same elements under another shape; no copy."""

    def from_host(self, host: np.ndarray, y: Array) -> None:
        """y = host, converted to y's dtype."""

    def to_host(self, x: Array) -> np.ndarray:
        """x as an ndarray: the array itself where the storage is the host's, else a copy."""

    def fill(self, y: Array, *, value: float) -> None:
        """y = value."""

    # ---- windows over the spatial axes
    def conv(self, x: Array, w: Array, b: Array | None, y: Array, *, window: Window, group: int) -> None:
        """y[n,o,h] = b[o] + sum_{c,i} w[o,c,i] x[n, c + C/g * group(o), h*stride - pad + i*dilation], zero outside x.

        x (N, C, *in), w (K, C/group, *kernel), b (K,), y (N, K, *out). Summed in the order c, then i; the bias comes
        first.
        """

    def conv_backward(
        self,
        dy: Array,
        x: Array,
        w: Array,
        dx: Array | None,
        dw: Array | None,
        db: Array | None,
        *,
        window: Window,
        group: int,
    ) -> None:
        """Adds the gradients of `conv` to dx, dw and db."""

    def deconv(self, x: Array, w: Array, b: Array | None, y: Array, *, window: Window, group: int) -> None:
        """The adjoint of `conv` in x: y[n,o,h*stride - pad + i*dilation] += w[c,o,i] x[n,c,h], plus b[o].

        x (N, C, *in), w (C, K/group, *kernel), b (K,), y (N, K, *out). Each output sums in the order c, then i.
        """

    def deconv_backward(
        self,
        dy: Array,
        x: Array,
        w: Array,
        dx: Array | None,
        dw: Array | None,
        db: Array | None,
        *,
        window: Window,
        group: int,
    ) -> None:
        """Adds the gradients of `deconv` to dx, dw and db."""

    def max_pool(self, x: Array, y: Array, *, window: Window) -> None:
        """y = max over the window's part inside x; NaN never wins. x (N, C, *in), y (N, C, *out)."""

    def max_pool_backward(self, dy: Array, x: Array, dx: Array, *, window: Window) -> None:
        """Adds dy to the element that won: the first one in row-major order among equals."""

    def mean_pool(self, x: Array, y: Array, *, window: Window, clip_divisor: bool) -> None:
        """y = sum over the window's part inside x / divisor.

        The divisor is the number of taps of the whole window (Mocha), or with `clip_divisor` only of those taps that
        lie inside the padded input (Caffe: padding counts, what hangs over beyond it does not).
        """

    def mean_pool_backward(self, dy: Array, dx: Array, *, window: Window, clip_divisor: bool) -> None:
        """Adds dy / divisor to every tap inside x."""

    def max_pool_places(self, x: Array, y: Array, *, window: Window) -> None:
        """y = the flat index in its map of the element that `max_pool` takes; -1 where the window holds nothing but NaN."""

    def unfold(self, x: Array, y: Array, *, window: Window) -> None:
        """y[n, (c, i), h] = x[n, c, h*stride - pad + i*dilation], zero outside x. x (N, C, *in), y (N, C * taps, *out)."""

    def unfold_backward(self, dy: Array, dx: Array, *, window: Window) -> None:
        """Adds dy to the elements that `unfold` shows."""

    # ---- pointwise, and along one axis
    def activate(self, x: Array, y: Array, *, kind: Activation, parameters: tuple[float, ...]) -> None:
        """y = f(x) element by element; NaN stays NaN, but for `threshold` and where a power is constant.

        kind         parameters            f(x)                           f'(x)
        relu         slope                 x > 0 ? x : slope x            x > 0 ? 1 : slope
        at_least     floor                 max(floor, x)                  x > floor ? 1 : 0
        sigmoid                            1 / (1 + exp(-x))              y (1 - y)
        tanh                               tanh x                         1 - y^2
        exponential  factor, rate          factor exp(rate x)             rate y
        elu          alpha                 x > 0 ? x : alpha (exp x - 1)  x > 0 ? 1 : alpha exp x
        bnll                               log(1 + exp x)                 1 / (1 + exp(-x))
        absval                             |x|                            sign of x, 0 at 0
        power        power, scale, shift   u^power, u = shift + scale x   power scale u^(power - 1)
        log          factor, scale, shift  factor log u, the same u       factor scale / u
        threshold    level                 x > level ? 1 : 0              0
        swish        beta                  x s, s = sigmoid(beta x)       s + beta x s (1 - s)
        clip         least, most           min(max(x, least), most)       least <= x <= most ? 1 : 0

        Where power or scale is 0, a power is shift^power whatever x is, and 0^0 is 1. A negative u has a power that is a
        whole number; its other powers, and its logarithm, are NaN.
        """

    def activate_backward(
        self, dy: Array, x: Array, y: Array, dx: Array, *, kind: Activation, parameters: tuple[float, ...]
    ) -> None:
        """Adds dy * f'(x) to dx."""

    def softmax(self, x: Array, y: Array, *, axis: int) -> None:
        """y = exp(x - max) / sum exp(x - max) along the axis, summed in its order."""

    def softmax_backward(self, dy: Array, y: Array, dx: Array, *, axis: int) -> None:
        """dx += y * (dy - sum_axis dy * y)."""

    def cross_entropy(
        self, p: Array, label: Array, *, axis: int, ignore: int | None, floor: float
    ) -> tuple[float, int]:
        """(sum of -log max(p[label], floor), number of labels counted); labels equal to `ignore` are left out.

        p (*outer, K, *inner), label any shape of outer * inner elements. A label outside 0 .. K - 1 raises ValueError.
        """

    def softmax_loss_backward(
        self, p: Array, label: Array, dx: Array, *, axis: int, ignore: int | None, scale: float
    ) -> None:
        """dx += scale * (p - onehot(label)); nothing at ignored labels. The gradient of cross_entropy(softmax(x))."""

    def count_hits(
        self, x: Array, label: Array, *, axis: int, ignore: int | None, top_k: int, ties_ahead: bool = False
    ) -> tuple[int, int]:
        """(labels with fewer than top_k classes ahead of them along the axis, labels counted).

        A class is ahead with a higher score, or an equal one and a lower number; with `ties_ahead` every equal score is.
        A score that is NaN is no hit.
        """

    # ---- several numbers to one
    def combine(self, *arrays: Array, operation: Combination, coefficients: tuple[float, ...] = ()) -> None:
        """y = sum_i coefficients[i] x_i (1 unless given), prod_i x_i, x_0 / x_1, or max_i x_i; from the first to the last.

        The last array is y, all have one shape. A maximum keeps what it has unless the next is larger, but of the first two
        the second where neither is.
        """

    def maximum_backward(self, dy: Array, y: Array, x: Array, rival: Array, dx: Array, *, ties: bool) -> None:
        """dx += dy where x = y and x > rival; with `ties` also where x = rival."""

    def reduce(self, x: Array, y: Array, *, axis: int, operation: Reduction, scale: float) -> None:
        """y = scale * sum_k f(x[k]) along the axis, with f(x) = x, |x| or x^2; summed in float64, from 0 up.

        x (*outer, K, *inner), y any shape of outer * inner elements.
        """

    def reduce_backward(self, dy: Array, x: Array, dx: Array, *, axis: int, operation: Reduction, scale: float) -> None:
        """dx[k] += scale * f'(x[k]) * dy, where f' is 1, sign(x) or 2 x."""

    def arg_max(self, x: Array, y: Array, *, axis: int, top_k: int, last: bool, values: bool) -> None:
        """y = the places, or with `values` the values, of the top_k largest elements along the axis, the largest first.

        Of equal elements the first one leads, or with `last` the last one; NaN lies behind all numbers. x (*outer, K,
        *inner), y (*outer, top_k, *inner).
        """

    # ---- channels: axis 1 unless an axis is given
    def scale(self, x: Array, s: Array | None, b: Array | None, y: Array, *, axis: int) -> None:
        """y = s * x + b, s and b spread over the axes of x that they lack; their first one is `axis` of x."""

    def scale_backward(
        self,
        dy: Array,
        x: Array,
        s: Array | None,
        dx: Array | None,
        ds: Array | None,
        db: Array | None,
        *,
        axis: int,
    ) -> None:
        """Adds s * dy to dx, the sums of dy * x to ds, those of dy to db."""

    def prelu(self, x: Array, slope: Array, y: Array) -> None:
        """y = x > 0 ? x : slope[c] * x; a single slope is every channel's."""

    def prelu_backward(self, dy: Array, x: Array, slope: Array, dx: Array | None, dslope: Array | None) -> None:
        """Adds x > 0 ? dy : slope[c] * dy to dx, the sum of dy * x over x <= 0 to dslope."""

    def channel_mean(self, x: Array, y: Array) -> None:
        """y[c] = the mean of channel c; x (N, C, ...), y (C,)."""

    def channel_variance(self, x: Array, mean: Array, y: Array) -> None:
        """y[c] = the mean of (x - mean[c])^2 over channel c."""

    def standardize(self, x: Array, mean: Array, variance: Array, factor: Array, y: Array, *, eps: float) -> None:
        """y = (x - mean[c] / f) / sqrt(variance[c] / f + eps), f = factor[0]; where f is 0, 0 stands for either quotient."""

    def standardize_backward(self, dy: Array, variance: Array, factor: Array, dx: Array, *, eps: float) -> None:
        """Adds dy / sqrt(variance[c] / f + eps): the statistics are given, whatever x is."""

    def batch_backward(self, dy: Array, y: Array, variance: Array, dx: Array, *, eps: float) -> None:
        """Adds the gradient of `standardize` by x's own mean and variance, with factor 1.

        dx += (dy - mean(dy) - y * mean(dy * y)) / sqrt(variance[c] + eps), the means over the channel.
        """

    def mvn(self, x: Array, y: Array, *, scaled: bool, eps: float) -> None:
        """y[i] = x[i] - mean(x[i]) for every row of a matrix, and with `scaled` that divided by its standard deviation + eps."""

    def mvn_backward(self, dy: Array, x: Array, y: Array, dx: Array, *, scaled: bool, eps: float) -> None:
        """dx += (dy - mean(dy) - y * mean(dy * y) * (d + eps) / d) / (d + eps), d being the row's standard deviation.

        Without `scaled` dy - mean(dy); in a row of equal numbers the term with y is 0.
        """

    def lrn(self, x: Array, y: Array, *, size: int, alpha: float, beta: float, k: float, within: bool = False) -> None:
        """y = x / u^beta, u = k + alpha / n * the sum of x^2 over a window of n elements; outside x there are zeros.

        The window is `size` channels, or with `within` so many places along each spatial axis, (size - 1) // 2 of them before
        the element.
        """

    def lrn_backward(
        self,
        dy: Array,
        x: Array,
        y: Array,
        dx: Array,
        *,
        size: int,
        alpha: float,
        beta: float,
        k: float,
        within: bool = False,
    ) -> None:
        """dx += dy / u^beta - 2 alpha beta / n * x * the sum of dy * y / u over those in whose windows x lies."""

    # ---- moving data
    def move(self, x: Array, y: Array, *, source: Shape, target: Shape, size: Shape, add: bool = False) -> None:
        """y[target : target + size] (+)= x[source : source + size], per axis; the rest of y stays."""

    def fragment(self, x: Array, y: Array, *, strides: tuple[Shape, ...], add: bool = False) -> None:
        """Splits maps into fragments, Giusti 2013: batch entry (n, i, j) of y is x[n, :, i::sy, j::sx], zero-padded to y's size.

        With several strides the first splits first: entry (n, i1, j1, i2, j2) starts at row i1 + s1 * i2. x (N, C, H,
        W), y (N * F, C, ceil(H / s), ceil(W / s)).
        """

    def stitch(self, x: Array, y: Array, *, strides: tuple[Shape, ...], add: bool = False) -> None:
        """The inverse of `fragment`: x (N * F, C, h, w) -> y (N, C, H, W); what exceeds H or W is dropped."""

    def gather(self, x: Array, index: Array, y: Array) -> None:
        """y[i] = x[index[i]]. x (R, *row), index of I elements in any shape, y (I, *row); another number than 0 .. R - 1
        raises ValueError.
        """

    def scatter(self, x: Array, index: Array, y: Array) -> None:
        """y[index[i]] += x[i], one after the other: the gradient of `gather`."""

    # ---- training
    def multiply(self, a: Array, b: Array, y: Array, *, add: bool = False) -> None:
        """y (+)= a * b."""

    def axpby(self, x: Array, y: Array, *, alpha: float, beta: float) -> None:
        """y = alpha * x + beta * y; as in BLAS, y is not read where beta is 0."""

    def add_sign(self, x: Array, y: Array, *, alpha: float) -> None:
        """y += alpha * sign(x)."""

    def clip_norm(self, y: Array, *, limit: float) -> None:
        """Rescales every y[i] (the whole of a one-dimensional y) whose Euclidean norm exceeds `limit` to that norm."""

    def sum_squares(self, x: Array) -> float:
        """sum x^2, in float64."""

    # one update of a parameter w by its gradient g; all arrays but g are written, in the order of the equations
    def momentum_step(self, g: Array, v: Array, w: Array, *, rate: float, momentum: float) -> None:
        """v = momentum * v - rate * g;  w += v."""

    def nesterov_step(self, g: Array, v: Array, w: Array, *, rate: float, momentum: float, ahead: float) -> None:
        """u = momentum * v - rate * g;  w += (1 + ahead) * u - momentum * v;  v = u."""

    def squares_step(
        self, g: Array, h: Array, w: Array, *, rate: float, keep: float, take: float, epsilon: float
    ) -> None:
        """h = keep * h + take * g^2;  w -= rate * g / (sqrt(h) + epsilon): AdaGrad, RMSProp."""

    def adadelta_step(
        self, g: Array, h: Array, d: Array, w: Array, *, rate: float, keep: float, epsilon: float
    ) -> None:
        """h = keep * h + (1 - keep) * g^2;  u = g * sqrt((d + epsilon) / (h + epsilon));  d = keep * d + (1 - keep) * u^2;
        w -= rate * u.
        """

    def adam_step(
        self, g: Array, m: Array, s: Array, w: Array, *, rate: float, beta1: float, beta2: float, epsilon: float
    ) -> None:
        """m = beta1 * m + (1 - beta1) * g;  s = beta2 * s + (1 - beta2) * g^2;  w -= rate * m / (sqrt(s) + epsilon)."""

    def peak(self, dtype: np.dtype) -> float:
        """Floating-point operations per second that the processor can do at most, measured; 0 where nobody knows."""

    # ---- the second door
    def lower(self, program: Program) -> Program:
        """The same answers in this backend's own steps, which it may fuse; what is planned and compiled. The default is `program`."""

    def candidates(self, step: Step) -> list[Candidate]:
        """The ways this backend can do one step, with their cost; the planner chooses."""

    def load(self, program: Program, plan: Plan) -> None:
        """Loads, or compiles, the kernels of the convolutions that running this will need, on next to no data."""

    def held(self) -> int:
        """Bytes of prepared weights that are held for the next program alone; its plan counts them."""

    def compile(self, program: Program, plan: Plan) -> Executable:
        """The whole program as one callable; the default is `program.Interpreter`."""
