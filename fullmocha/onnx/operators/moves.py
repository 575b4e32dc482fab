"""Ops that move data."""

from math import prod
from typing import TYPE_CHECKING

from fullmocha.backends.program import Step

if TYPE_CHECKING:
    from ..export import Exporter


def gather(to: "Exporter", step: Step, twin: Step) -> None:
    table, index = to.operands(step, twin)
    shapes = [(prod(s.operand(1).shape), *s.operand().shape[1:]) for s in (step, twin)]
    flat = to.graph.node("Reshape", [index, to.graph.integers("shape", [-1])], f"{step.layer}_index")
    to.hold(step, to.graph.node("Gather", [table, to.integers(flat, step.layer)], step.layer, axis=0), *shapes)


def fill(to: "Exporter", step: Step, twin: Step) -> None:
    """Nothing yet: what is added to it later starts from there."""
    to.filled[step.write.buffer] = float(step.options["value"])


def move(to: "Exporter", step: Step, twin: Step) -> None:
    """A box of x: the whole of y, a part of it that others complete, or something added to it."""
    box = to.cut(step, twin, to.operand(step, twin), step.operand().shape, twin.operand().shape)
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
