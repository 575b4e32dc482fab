"""The ONNX nodes of every op that a program may hold; opset 17."""

from collections.abc import Callable
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from fullmocha.backends.program import Step, Weight
from fullmocha.backends.shapes import Window

from ..blob import Shape

if TYPE_CHECKING:
    from .export import Exporter


def conv(to: "Exporter", step: Step, twin: Step) -> None:
    """Conv; an inner product, which the program has as a convolution of single elements, is a Gemm."""
    x, w, b = step.reads
    window: Window = step.options["window"]
    assert x is not None and w is not None
    points = all(set(s.reads[0].shape[2:]) | set(s.write.shape[2:]) == {1} for s in (step, twin))  # type: ignore[union-attr]
    if points and set(window.kernel) == {1} and step.options["group"] == 1:
        held = to.held[x.buffer]  # type: ignore[union-attr]
        flat, larger = x.shape[:2], twin.reads[0].shape[:2]  # type: ignore[union-attr]
        source = held.name if held.shape == flat else to.reshape(held, flat, larger, step.layer)
        inputs = [source, to.weight(_reshaped(w, w.shape[:2])), *([] if b is None else [to.weight(b)])]
        name = to.graph.node("Gemm", inputs, step.layer, transB=1)
        to.hold(step, name, step.write.shape[:2], twin.write.shape[:2])
        return
    _windowed(to, step, twin, "Conv")


def deconv(to: "Exporter", step: Step, twin: Step) -> None:
    _windowed(to, step, twin, "ConvTranspose")


def _windowed(to: "Exporter", step: Step, twin: Step, kind: str) -> None:
    window: Window = step.options["window"]
    inputs = [to.read(r, t, step.layer) for r, t in zip(step.reads, twin.reads, strict=True) if r is not None]
    to.simple(
        step, twin, kind, inputs, kernel_shape=window.kernel, strides=window.stride, dilations=window.dilation,
        pads=(*window.pad, *window.pad), group=step.options["group"],
    )  # fmt: skip


def _reshaped(weight: Any, shape: Shape) -> Any:
    return type(weight)(weight.parameter, shape)


def max_pool(to: "Exporter", step: Step, twin: Step) -> None:
    x = to.read(step.reads[0], twin.reads[0], step.layer)
    window: Window = step.options["window"]
    to.simple(
        step, twin, "MaxPool", [x], kernel_shape=window.kernel, strides=window.stride, dilations=window.dilation,
        pads=(*window.pad, *_pads_behind(to, step, twin)),
    )  # fmt: skip


def _pads_behind(to: "Exporter", step: Step, twin: Step) -> Shape:
    """How far the last window reaches over the end, along each axis: the padding before, where nothing hangs over that."""
    window: Window = step.options["window"]
    if all(s.write.shape[2:] == window.slides(s.reads[0].shape[2:]) for s in (step, twin)):  # type: ignore[union-attr]
        return window.pad

    def beyond(s: Step) -> Shape:
        x: Any = s.reads[0]
        axes = zip(s.write.shape[2:], window.stride, window.extent, window.pad, x.shape[2:], strict=True)
        return tuple(max(0, (o - 1) * stride + e - p - n) for o, stride, e, p, n in axes)

    if beyond(step) != beyond(twin):
        raise to.refuse(
            step, f"its last window hangs {beyond(step)} over the edge here and {beyond(twin)} in a larger image"
        )
    return beyond(step)


def mean_pool(to: "Exporter", step: Step, twin: Step) -> None:
    """AveragePool; where it has no such divisor, or dilation, the sums of a Conv times what they are divided by."""
    x = to.read(step.reads[0], twin.reads[0], step.layer)
    window: Window = step.options["window"]
    behind = _pads_behind(to, step, twin)
    pads = (*window.pad, *behind)
    plain = set(window.dilation) == {1} and (not step.options["clip_divisor"] or behind <= window.pad)
    if (plain and all(b <= p for b, p in zip(behind, window.pad, strict=True))) or (plain and not any(pads)):
        to.simple(
            step,
            twin,
            "AveragePool",
            [x],
            kernel_shape=window.kernel,
            strides=window.stride,
            pads=pads,
            count_include_pad=1,
        )
        return
    channels = step.write.shape[1]
    ones = to.graph.constant("ones", np.ones((channels, 1, *window.kernel)))
    sums = to.graph.node(
        "Conv", [x, ones], f"{step.layer}_sums", kernel_shape=window.kernel, strides=window.stride,
        dilations=window.dilation, pads=pads, group=channels,
    )  # fmt: skip
    shares = 1 / _divisors(step)
    if np.ptp(shares) == 0:
        shares = shares.reshape(-1)[:1]
    elif step.write.shape[2:] != twin.write.shape[2:]:
        raise to.refuse(step, "the divisor of its mean differs at the edge, which moves with the image")
    to.simple(step, twin, "Mul", [sums, to.graph.constant("shares", shares)])


def _divisors(step: Step) -> np.ndarray:
    """Taps that count, at every place of the map."""
    window: Window = step.options["window"]
    x: Any = step.reads[0]
    if not step.options["clip_divisor"]:
        return np.full(step.write.shape[2:], float(prod(window.kernel)))
    counts = np.ones(())
    for n, o, k, s, p, d in zip(
        x.shape[2:], step.write.shape[2:], window.kernel, window.stride, window.pad, window.dilation, strict=True
    ):
        taps = np.arange(o)[:, None] * s - p + np.arange(k) * d
        counts = np.multiply.outer(counts, (taps < n + p).sum(1))
    return counts


def activate(to: "Exporter", step: Step, twin: Step) -> None:
    x = to.read(step.reads[0], twin.reads[0], step.layer)
    kind, given = step.options["kind"], step.options["parameters"]
    if kind in _PLAIN:
        to.simple(step, twin, _PLAIN[kind], [x])
    elif kind == "relu":
        (slope,) = given
        to.simple(step, twin, "LeakyRelu" if slope else "Relu", [x], **({"alpha": float(slope)} if slope else {}))
    elif kind == "elu":
        to.simple(step, twin, "Elu", [x], alpha=float(given[0]))
    elif kind == "at_least":
        to.simple(step, twin, "Clip", [x, _number(to, given[0])])
    elif kind == "clip":
        to.simple(step, twin, "Clip", [x, *(_number(to, bound) for bound in given)])
    elif kind == "exponential":
        factor, rate = given
        to.write(step, twin, _affine(to, step, to.graph.node("Exp", [_affine(to, step, x, rate)], step.layer), factor))
    elif kind == "power":
        power, scale, shift = given
        base = _affine(to, step, x, scale, shift)
        to.write(step, twin, base if power == 1 else to.graph.node("Pow", [base, _number(to, power)], step.layer))
    elif kind == "log":
        factor, scale, shift = given
        to.write(
            step,
            twin,
            _affine(to, step, to.graph.node("Log", [_affine(to, step, x, scale, shift)], step.layer), factor),
        )
    elif kind == "swish":
        gate = to.graph.node("Sigmoid", [_affine(to, step, x, given[0])], f"{step.layer}_gate")
        to.simple(step, twin, "Mul", [x, gate])
    elif kind == "threshold":
        above = to.graph.node("Greater", [x, _number(to, given[0])], f"{step.layer}_above")
        to.write(step, twin, to.floats(above, step.layer))
    else:
        raise to.refuse(step, f"the function {kind!r} has no ONNX form")


_PLAIN = {"sigmoid": "Sigmoid", "tanh": "Tanh", "bnll": "Softplus", "absval": "Abs"}


def _number(to: "Exporter", value: float) -> str:
    return to.graph.constant("number", value)


def _affine(to: "Exporter", step: Step, x: str, scale: float, shift: float = 0.0) -> str:
    """shift + scale x, by as few nodes as can be."""
    if scale != 1:
        x = to.graph.node("Mul", [x, _number(to, scale)], f"{step.layer}_scaled")
    return x if shift == 0 else to.graph.node("Add", [x, _number(to, shift)], f"{step.layer}_shifted")


def combine(to: "Exporter", step: Step, twin: Step) -> None:
    arrays = [to.read(r, t, step.layer) for r, t in zip(step.reads, twin.reads, strict=True)]
    factors = step.options.get("coefficients") or (1.0,) * len(arrays)
    if step.options["operation"] == "sum":
        arrays = [_affine(to, step, x, c) for x, c in zip(arrays, factors, strict=True)]
    if step.options["operation"] in _FOLDED:  # of two operands at a time
        kind, (first, *others) = _FOLDED[step.options["operation"]], arrays
        for other in others:
            first = to.graph.node(kind, [first, other], step.layer)
        to.write(step, twin, first)
    else:
        to.simple(step, twin, {"sum": "Sum", "maximum": "Max"}[step.options["operation"]], arrays)


_FOLDED = {"product": "Mul", "quotient": "Div"}


def reduce(to: "Exporter", step: Step, twin: Step) -> None:
    x: Any = step.reads[0]
    axis, operation, factor = (step.options[name] for name in ("axis", "operation", "scale"))
    kind = {"sum": "ReduceSum", "asum": "ReduceL1", "sumsq": "ReduceSumSquare"}[operation]
    inputs = [to.read(x, twin.reads[0], step.layer)]
    where: dict[str, Any] = {"axes": [axis]}
    if kind == "ReduceSum":  # whose axes became an input before the others'
        inputs.append(to.graph.integers("axes", [axis]))
        where = {}
    kept = to.graph.node(kind, inputs, step.layer, keepdims=1, **where)
    shapes = [(*s[:axis], 1, *s[axis + 1 :]) for s in (x.shape, twin.reads[0].shape)]  # type: ignore[union-attr]
    to.hold(step, _affine(to, step, kept, factor), *shapes)


def arg_max(to: "Exporter", step: Step, twin: Step) -> None:
    x = to.read(step.reads[0], twin.reads[0], step.layer)
    axis, top_k = step.options["axis"], step.options["top_k"]
    if step.options["values"] and top_k == 1:
        to.simple(step, twin, "ReduceMax", [x], axes=[axis], keepdims=1)
    elif top_k == 1:
        place = to.graph.node(
            "ArgMax", [x], f"{step.layer}_place", axis=axis, keepdims=1, select_last_index=int(step.options["last"])
        )
        to.write(step, twin, to.floats(place, step.layer))
    else:
        raise to.refuse(
            step, f"the {top_k} largest are not exported, because ONNX leaves open which of equal ones leads"
        )


def scale(to: "Exporter", step: Step, twin: Step) -> None:
    """y = s x + b along some axes."""
    x, s, b = step.reads
    assert x is not None
    name, axis = to.read(x, twin.reads[0], step.layer), step.options["axis"]
    for kind, operand, other in (("Mul", s, twin.reads[1]), ("Add", b, twin.reads[2])):
        if operand is not None:
            name = to.graph.node(kind, [name, _spread(to, operand, other, axis, len(x.shape), step.layer)], step.layer)
    to.write(step, twin, name)


def _spread(to: "Exporter", operand: Any, twin: Any, axis: int, rank: int, wish: str) -> str:
    """An operand whose first axis is `axis` of a blob with `rank` axes, shaped for numpy's rule of broadcasting."""
    behind = (1,) * (rank - axis - len(operand.shape))
    if isinstance(operand, Weight):
        return to.weight(_reshaped(operand, operand.shape + behind))
    held = to.held[operand.buffer]
    return to.reshape(held, operand.shape + behind, twin.shape + behind, wish) if behind else held.name


def prelu(to: "Exporter", step: Step, twin: Step) -> None:
    x, slope = step.reads
    assert x is not None and isinstance(slope, Weight)
    one = prod(slope.shape) == 1
    shape = (1,) if one else (prod(slope.shape), *(1,) * (len(x.shape) - 2))
    to.simple(step, twin, "PRelu", [to.read(x, twin.reads[0], step.layer), to.weight(_reshaped(slope, shape))])


def standardize(to: "Exporter", step: Step, twin: Step) -> None:
    """BatchNormalization, whose statistics are those that the parameters stand for now."""
    x, *stored = step.reads
    mean, variance, factor = (np.asarray(w.parameter.values(), np.float64) for w in stored)  # type: ignore[union-attr]
    share = 1 / factor[0] if factor[0] else 0.0
    statistics = [np.ones_like(mean), np.zeros_like(mean), mean * share, variance * share]
    named = zip(("scale", "bias", "mean", "variance"), statistics, strict=True)
    inputs = [to.graph.constant(f"{step.layer}.{name}", values) for name, values in named]
    to.simple(
        step,
        twin,
        "BatchNormalization",
        [to.read(x, twin.reads[0], step.layer), *inputs],
        epsilon=float(step.options["eps"]),
    )


def lrn(to: "Exporter", step: Step, twin: Step) -> None:
    x = to.read(step.reads[0], twin.reads[0], step.layer)
    size, alpha, beta, k = (step.options[name] for name in ("size", "alpha", "beta", "k"))
    if not step.options.get("within"):
        if size % 2 == 0 or len(step.write.shape) != 4:
            raise to.refuse(
                step,
                f"runtimes of ONNX take odd windows of channels of images; this one has {size} of {step.write.shape}",
            )
        to.simple(step, twin, "LRN", [x], size=size, alpha=float(alpha), beta=float(beta), bias=float(k))
        return
    squares = to.graph.node("Mul", [x, x], f"{step.layer}_squares")
    before = (size - 1) // 2
    pads = [before, before, size - 1 - before, size - 1 - before]
    means = to.graph.node(
        "AveragePool", [squares], f"{step.layer}_means", kernel_shape=[size, size], pads=pads, count_include_pad=1
    )
    powered = to.graph.node("Pow", [_affine(to, step, means, alpha, k), _number(to, beta)], f"{step.layer}_divisor")
    to.simple(step, twin, "Div", [x, powered])


def mvn(to: "Exporter", step: Step, twin: Step) -> None:
    """Rows less their means, divided by their standard deviations + eps."""
    graph, wish = to.graph, step.layer
    x = to.read(step.reads[0], twin.reads[0], wish)
    mean = graph.node("ReduceMean", [x], f"{wish}_mean", axes=[1], keepdims=1)
    centred = graph.node("Sub", [x, mean], f"{wish}_centred")
    if not step.options["scaled"]:
        to.write(step, twin, centred)
        return
    squares = graph.node("Mul", [centred, centred], f"{wish}_squares")
    variance = graph.node("ReduceMean", [squares], f"{wish}_variance", axes=[1], keepdims=1)
    deviation = _affine(to, step, graph.node("Sqrt", [variance], f"{wish}_deviation"), 1.0, step.options["eps"])
    to.simple(step, twin, "Div", [centred, deviation])


def unfold(to: "Exporter", step: Step, twin: Step) -> None:
    """A convolution of each channel with filters that hold a single 1."""
    x: Any = step.reads[0]
    window: Window = step.options["window"]
    channels, taps = x.shape[1], prod(window.kernel)
    picks = np.tile(np.eye(taps).reshape(taps, 1, *window.kernel), (channels, *(1,) * (1 + len(window.kernel))))
    to.simple(
        step, twin, "Conv", [to.read(x, twin.reads[0], step.layer), to.graph.constant("picks", picks)], strides=window.stride,
        kernel_shape=window.kernel, dilations=window.dilation, pads=(*window.pad, *window.pad), group=channels,
    )  # fmt: skip


def gather(to: "Exporter", step: Step, twin: Step) -> None:
    table, index = (to.read(r, t, step.layer) for r, t in zip(step.reads, twin.reads, strict=True))
    shapes = [(prod(s.reads[1].shape), *s.reads[0].shape[1:]) for s in (step, twin)]  # type: ignore[union-attr]
    flat = to.graph.node("Reshape", [index, to.graph.integers("shape", [-1])], f"{step.layer}_index")
    to.hold(step, to.graph.node("Gather", [table, to.integers(flat, step.layer)], step.layer, axis=0), *shapes)


def softmax(to: "Exporter", step: Step, twin: Step) -> None:
    x = to.read(step.reads[0], twin.reads[0], step.layer)
    to.simple(step, twin, "Softmax", [x], axis=step.options["axis"])


def fill(to: "Exporter", step: Step, twin: Step) -> None:
    """Nothing yet: what is added to it later starts from there."""
    to.filled[step.write.buffer] = float(step.options["value"])


def move(to: "Exporter", step: Step, twin: Step) -> None:
    """A box of x: the whole of y, a part of it that others complete, or something added to it."""
    (x,), (other,) = step.reads, twin.reads
    assert x is not None and other is not None
    box = to.cut(step, twin, to.read(x, other, step.layer), x.shape, other.shape)
    y, target, size = step.write.buffer, step.options["target"], step.options["size"]
    whole = all(a == 0 for a in target) and tuple(size) == step.write.shape
    if step.options.get("add"):
        box = box if whole else _padded(to, step, twin, box)
        if to.filled.get(y) == 0.0:
            del to.filled[y]
            to.write(step, twin, box)
        else:
            to.simple(step, twin, "Add", [to.held[y].name, box])
    elif whole:
        to.write(step, twin, box)
    else:
        _part(to, step, twin, box)


def _padded(to: "Exporter", step: Step, twin: Step, box: str) -> str:
    """The box in its place, among zeros."""

    def around(s: Step) -> list[int]:
        behind = [n - t - m for n, t, m in zip(s.write.shape, s.options["target"], s.options["size"], strict=True)]
        return [*s.options["target"], *behind]

    if around(step) != around(twin):
        raise to.refuse(step, f"lies {around(step)} from the edges here and {around(twin)} in a larger image")
    return to.graph.node("Pad", [box, to.graph.integers("pads", around(step))], f"{step.layer}_padded")


def _part(to: "Exporter", step: Step, twin: Step, box: str) -> None:
    """Boxes that follow each other along one axis are joined when the last of them is there."""
    y, target, size, shape = step.write.buffer, step.options["target"], step.options["size"], step.write.shape
    parts = to.parts.setdefault(y, [])
    parts.append((tuple(target), tuple(size), box))
    apart = [axis for axis, (m, n) in enumerate(zip(size, shape, strict=True)) if m != n]
    if len(apart) != 1:
        raise to.refuse(step, f"writes a box {size} of {shape} that is smaller along {len(apart)} axes")
    (axis,) = apart
    if sum(s[axis] for _, s, _ in parts) < shape[axis]:
        return
    parts.sort(key=lambda part: part[0][axis])
    names = [name for _, _, name in parts]
    del to.parts[y]
    to.simple(step, twin, "Concat", names, axis=axis)


def axpby(to: "Exporter", step: Step, twin: Step) -> None:
    """y = alpha x + beta y."""
    x = to.read(step.reads[0], twin.reads[0], step.layer)
    alpha, beta, y = step.options["alpha"], step.options["beta"], step.write.buffer
    if alpha != 1:
        x = to.graph.node("Mul", [x, to.graph.constant("factor", [alpha])], f"{step.layer}_scaled")
    if beta == 0 or to.filled.pop(y, None) == 0.0:
        to.write(step, twin, x)
        return
    held = to.held[y].name
    if beta != 1:
        held = to.graph.node("Mul", [held, to.graph.constant("factor", [beta])], f"{step.layer}_scaled")
    to.simple(step, twin, "Add", [held, x])


def multiply(to: "Exporter", step: Step, twin: Step) -> None:
    """y (+)= a b."""
    a, b = (to.read(r, t, step.layer) for r, t in zip(step.reads, twin.reads, strict=True))
    if not step.options.get("add"):
        to.simple(step, twin, "Mul", [a, b])
        return
    product = to.graph.node("Mul", [a, b], f"{step.layer}_product")
    to.simple(step, twin, "Add", [to.held[step.write.buffer].name, product])


OPERATORS: dict[str, Callable[["Exporter", Step, Step], None]] = {
    "activate": activate,
    "arg_max": arg_max,
    "axpby": axpby,
    "combine": combine,
    "conv": conv,
    "deconv": deconv,
    "fill": fill,
    "gather": gather,
    "lrn": lrn,
    "max_pool": max_pool,
    "mean_pool": mean_pool,
    "move": move,
    "multiply": multiply,
    "mvn": mvn,
    "prelu": prelu,
    "reduce": reduce,
    "scale": scale,
    "softmax": softmax,
    "standardize": standardize,
    "unfold": unfold,
}
