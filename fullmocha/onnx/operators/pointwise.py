"""Ops that meet each element, each channel or each row by itself."""

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from fullmocha.backends.program import Step, Weight

if TYPE_CHECKING:
    from ..export import Exporter


def activate(to: "Exporter", step: Step, twin: Step) -> None:
    x = to.operand(step, twin)
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
    arrays = to.operands(step, twin)
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
    axis, operation, factor = (step.options[name] for name in ("axis", "operation", "scale"))
    kind = {"sum": "ReduceSum", "asum": "ReduceL1", "sumsq": "ReduceSumSquare"}[operation]
    inputs = [to.operand(step, twin)]
    where: dict[str, Any] = {"axes": [axis]}
    if kind == "ReduceSum":  # whose axes became an input before the others'
        inputs.append(to.graph.integers("axes", [axis]))
        where = {}
    kept = to.graph.node(kind, inputs, step.layer, keepdims=1, **where)
    shapes = [(*s[:axis], 1, *s[axis + 1 :]) for s in (step.operand().shape, twin.operand().shape)]
    to.hold(step, _affine(to, step, kept, factor), *shapes)


def arg_max(to: "Exporter", step: Step, twin: Step) -> None:
    x = to.operand(step, twin)
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
    name, axis = to.operand(step, twin), step.options["axis"]
    for kind, operand, other in (("Mul", s, twin.reads[1]), ("Add", b, twin.reads[2])):
        if operand is not None:
            name = to.graph.node(kind, [name, _spread(to, operand, other, axis, len(x.shape), step.layer)], step.layer)
    to.write(step, twin, name)


def _spread(to: "Exporter", operand: Any, twin: Any, axis: int, rank: int, wish: str) -> str:
    """An operand whose first axis is `axis` of a blob with `rank` axes, shaped for numpy's rule of broadcasting."""
    behind = (1,) * (rank - axis - len(operand.shape))
    if isinstance(operand, Weight):
        return to.weight(operand, operand.shape + behind)
    held = to.held[operand.buffer]
    return to.reshape(held, operand.shape + behind, twin.shape + behind, wish) if behind else held.name


def prelu(to: "Exporter", step: Step, twin: Step) -> None:
    x, slope = step.reads
    assert x is not None and isinstance(slope, Weight)
    one = prod(slope.shape) == 1
    shape = (1,) if one else (prod(slope.shape), *(1,) * (len(x.shape) - 2))
    to.simple(step, twin, "PRelu", [to.operand(step, twin), to.weight(slope, shape)])


def standardize(to: "Exporter", step: Step, twin: Step) -> None:
    """BatchNormalization, whose statistics are those that the parameters stand for now."""
    stored: Any = step.reads[1:]
    mean, variance, factor = (np.asarray(w.parameter.values(), np.float64) for w in stored)
    share = 1 / factor[0] if factor[0] else 0.0
    statistics = [np.ones_like(mean), np.zeros_like(mean), mean * share, variance * share]
    named = zip(("scale", "bias", "mean", "variance"), statistics, strict=True)
    inputs = [to.graph.constant(f"{step.layer}.{name}", values) for name, values in named]
    to.simple(
        step,
        twin,
        "BatchNormalization",
        [to.operand(step, twin), *inputs],
        epsilon=float(step.options["eps"]),
    )


def lrn(to: "Exporter", step: Step, twin: Step) -> None:
    x = to.operand(step, twin)
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


def softmax(to: "Exporter", step: Step, twin: Step) -> None:
    x = to.operand(step, twin)
    to.simple(step, twin, "Softmax", [x], axis=step.options["axis"])


def axpby(to: "Exporter", step: Step, twin: Step) -> None:
    """y = alpha x + beta y."""
    x = to.operand(step, twin)
    alpha, beta, y = step.options["alpha"], step.options["beta"], step.write.buffer
    x = _affine(to, step, x, alpha)
    if beta == 0 or to.filled.pop(y, None) == 0.0:
        to.write(step, twin, x)
        return
    to.simple(step, twin, "Add", [_affine(to, step, to.held[y].name, beta), x])


def multiply(to: "Exporter", step: Step, twin: Step) -> None:
    """y (+)= a b."""
    a, b = to.operands(step, twin)
    if not step.options.get("add"):
        to.simple(step, twin, "Mul", [a, b])
        return
    product = to.graph.node("Mul", [a, b], f"{step.layer}_product")
    to.simple(step, twin, "Add", [to.held[step.write.buffer].name, product])
