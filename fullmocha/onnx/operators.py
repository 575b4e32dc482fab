"""The ONNX nodes of every op that a program may hold; opset 17."""

from collections.abc import Callable
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from fullmocha.backends.program import Step
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
    """How far the last window reaches over the end, along each axis; less than nothing is nothing."""
    window: Window = step.options["window"]

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
    kind, parameter = step.options["kind"], step.options["parameter"]
    if kind == "relu" and parameter:
        to.simple(step, twin, "LeakyRelu", [x], alpha=float(parameter))
        return
    to.simple(step, twin, {"relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh", "exponential": "Exp"}[kind], [x])


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
    "axpby": axpby,
    "conv": conv,
    "deconv": deconv,
    "fill": fill,
    "max_pool": max_pool,
    "mean_pool": mean_pool,
    "move": move,
    "multiply": multiply,
    "softmax": softmax,
}
