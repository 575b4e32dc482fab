"""What a step is to `lower`: a link of a chain by channel, a small pooling, an end to a few classes, a source of infinities."""

from ..program import Step, Value, Weight
from ..shapes import Shape, Window
from .channels import Link

MOST_CLASSES = 16  # of a tail: beyond it, a convolution of its own is faster
MOST_POOL = 4  # rows or columns of a window that is pooled in the cache


def link_of(step: Step) -> Link | None:
    """A step as a link of a chain that goes by channel, if it is one."""
    if len(step.write.shape) != 4:
        return None
    if not all(r is None or (isinstance(r, Weight) and len(r.shape) <= 1) for r in step.reads[1:]):
        return None
    if step.op == "scale" and step.options["axis"] == 1:
        return "scale", 0.0
    if step.op == "standardize":
        return "standardize", float(step.options["eps"])
    slope = rectifier(step)
    if slope is not None:
        return "relu", slope
    return ("prelu", 0.0) if step.op == "prelu" else None


def rectifier(step: Step) -> float | None:
    """The slope below 0 of a rectifier, if the step is one."""
    if step.op != "activate" or step.options["kind"] != "relu":
        return None
    return float(step.options["parameters"][0])


def escapes(step: Step) -> bool:
    """Whether a neuron, or a quotient, makes infinities or NaN of harmless numbers."""
    if step.op != "activate":
        return step.op == "combine" and step.options["operation"] == "quotient"
    kind, parameters = step.options["kind"], step.options["parameters"]
    return kind in ("exponential", "log") or (kind == "power" and parameters[0] not in (0, 1, 2))


def wild_buffers(steps: tuple[Step, ...]) -> set[int]:
    """The buffers that may hold infinities, or NaN, where a fragment is longer than its map: whatever follows such a step.

    Nobody asks for those numbers. But Fourier's and Winograd's sums mix all numbers of a tile.
    """
    wild: set[int] = set()
    for step in steps:
        reads = {r.buffer for r in step.reads if isinstance(r, Value)}
        if reads & wild or escapes(step):
            wild.add(step.write.buffer)
    return wild


def is_pool(step: Step, out: Shape) -> bool:
    """Whether a step is a maximum over small dense windows at every place."""
    if step.op != "max_pool":
        return False
    w: Window = step.options["window"]
    dense = w.stride == w.dilation == (1, 1) and w.pad == (0, 0) and max(w.kernel) <= MOST_POOL
    return dense and step.write.shape[2:] == w.slides(out)


def is_pointwise(step: Step) -> bool:
    """Whether a step is a 1 x 1 convolution."""
    if step.op != "conv" or step.options["group"] != 1:
        return False
    w: Window = step.options["window"]
    return w.kernel == w.stride == (1, 1) and w.pad == (0, 0)


def is_tail(step: Step) -> bool:
    """Whether a step is a 1 x 1 convolution to a few classes."""
    return is_pointwise(step) and step.write.shape[1] <= MOST_CLASSES


def is_end(step: Step) -> bool:
    """Whether a step makes probabilities of a few classes, or stitches their maps."""
    if step.write.shape[1] > MOST_CLASSES or len(step.write.shape) != 4:
        return False
    return (step.op == "softmax" and step.options["axis"] == 1) or (step.op == "stitch" and not step.options.get("add"))
