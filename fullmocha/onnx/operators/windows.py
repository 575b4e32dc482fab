"""Ops that slide over rows and columns."""

from math import prod
from typing import TYPE_CHECKING

import numpy as np

from fullmocha.backends.program import Step, Value, Weight
from fullmocha.backends.shapes import Window

from ...blob import Shape

if TYPE_CHECKING:
    from ..export import Exporter


def conv(to: "Exporter", step: Step, twin: Step) -> None:
    """Conv; an inner product, which the program has as a convolution of single elements, is a Gemm."""
    x, w, b = step.reads
    window: Window = step.options["window"]
    assert isinstance(x, Value) and isinstance(w, Weight)
    points = all(set(s.operand().shape[2:]) | set(s.write.shape[2:]) == {1} for s in (step, twin))
    if points and set(window.kernel) == {1} and step.options["group"] == 1:
        held = to.held[x.buffer]
        flat, larger = x.shape[:2], twin.operand().shape[:2]
        source = held.name if held.shape == flat else to.reshape(held, flat, larger, step.layer)
        inputs = [source, to.weight(w, w.shape[:2]), *([] if b is None else [to.operand(step, twin, 2)])]
        name = to.graph.node("Gemm", inputs, step.layer, transB=1)
        to.hold(step, name, step.write.shape[:2], twin.write.shape[:2])
        return
    _windowed(to, step, twin, "Conv")


def deconv(to: "Exporter", step: Step, twin: Step) -> None:
    _windowed(to, step, twin, "ConvTranspose")


def _windowed(to: "Exporter", step: Step, twin: Step, kind: str) -> None:
    window: Window = step.options["window"]
    inputs = to.operands(step, twin)
    to.simple(
        step, twin, kind, inputs, kernel_shape=window.kernel, strides=window.stride, dilations=window.dilation,
        pads=(*window.pad, *window.pad), group=step.options["group"],
    )  # fmt: skip


def max_pool(to: "Exporter", step: Step, twin: Step) -> None:
    x = to.operand(step, twin)
    window: Window = step.options["window"]
    to.simple(
        step, twin, "MaxPool", [x], kernel_shape=window.kernel, strides=window.stride, dilations=window.dilation,
        pads=(*window.pad, *_pads_behind(to, step, twin)),
    )  # fmt: skip


def _pads_behind(to: "Exporter", step: Step, twin: Step) -> Shape:
    """How far the last window reaches over the end, along each axis: the padding before, where nothing hangs over that."""
    window: Window = step.options["window"]
    if all(s.write.shape[2:] == window.slides(s.operand().shape[2:]) for s in (step, twin)):
        return window.pad

    def beyond(s: Step) -> Shape:
        axes = zip(s.write.shape[2:], window.stride, window.extent, window.pad, s.operand().shape[2:], strict=True)
        return tuple(max(0, (o - 1) * stride + e - p - n) for o, stride, e, p, n in axes)

    if beyond(step) != beyond(twin):
        raise to.refuse(
            step, f"its last window hangs {beyond(step)} over the edge here and {beyond(twin)} in a larger image"
        )
    return beyond(step)


def mean_pool(to: "Exporter", step: Step, twin: Step) -> None:
    """AveragePool; where it has no such divisor, or dilation, the sums of a Conv times what they are divided by."""
    x = to.operand(step, twin)
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
    if not step.options["clip_divisor"]:
        return np.full(step.write.shape[2:], float(prod(window.kernel)))
    counts = np.ones(())
    sizes = step.operand().shape[2:], step.write.shape[2:]
    for n, o, k, s, p, d in zip(*sizes, window.kernel, window.stride, window.pad, window.dilation, strict=True):
        taps = np.arange(o)[:, None] * s - p + np.arange(k) * d
        counts = np.multiply.outer(counts, (taps < n + p).sum(1))
    return counts


def unfold(to: "Exporter", step: Step, twin: Step) -> None:
    """A convolution of each channel with filters that hold a single 1."""
    window: Window = step.options["window"]
    channels, taps = step.operand().shape[1], prod(window.kernel)
    picks = np.tile(np.eye(taps).reshape(taps, 1, *window.kernel), (channels, *(1,) * (1 + len(window.kernel))))
    to.simple(
        step, twin, "Conv", [to.operand(step, twin), to.graph.constant("picks", picks)], strides=window.stride,
        kernel_shape=window.kernel, dilations=window.dilation, pads=(*window.pad, *window.pad), group=channels,
    )  # fmt: skip
