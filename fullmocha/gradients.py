"""Which values of a net take a gradient, and which trained layers none would reach."""

from collections.abc import Iterable, Sequence

from .layers.base import Node


def wanting(nodes: Iterable[Node], labels: set[str], forced: bool) -> set[str]:
    """The values that lie above something trained, or with `forced` above an image: backward passes through them.

    Of labels, those of a loss that passes a gradient to its targets count as images.
    """
    nodes = list(nodes)
    wanted: set[str] = set()
    targets = {n.bottoms[i].name for n in nodes for i in n.layer.target_bottoms}
    for node in nodes:
        layer = node.layer
        below = (bool(node.params) and not node.frozen) or any(
            b.name in wanted and layer.propagates(i) for i, b in enumerate(node.bottoms)
        )
        for top in node.tops:
            image = layer.is_source and forced and (top.name not in labels or top.name in targets)
            if image or (below and layer.differentiable and not layer.is_sink):
                wanted.add(top.name)
    return wanted


def reached(nodes: Sequence[Node]) -> set[str]:
    """The values on which a loss depends, through what passes gradients back."""
    found: set[str] = set()
    for node in reversed(nodes):
        if node.layer.has_loss or (node.layer.differentiable and any(t.name in found for t in node.tops)):
            found.update(b.name for i, b in enumerate(node.bottoms) if node.layer.propagates(i))
    return found


def out_of_reach(nodes: Sequence[Node]) -> list[Node]:
    """The nodes with something to train on which no loss depends, in running order."""
    found = reached(nodes)
    return [n for n in nodes if n.params and not n.frozen and not any(t.name in found for t in n.tops)]


def dead_ends(nodes: Sequence[Node]) -> list[tuple[Node, str]]:
    """The losses of which another loss reads a top, and that top: no gradient comes back through it."""
    found = reached(nodes)
    return [(n, t.name) for n in nodes if n.layer.has_loss for t in n.tops if t.name in found]
