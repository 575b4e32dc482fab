"""A net for people to look at: as a listing, and as a graph."""

from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from .net import Net


def listing(net: "Net") -> str:
    """Name, backend, and every layer with its blobs, as Mocha prints it; shapes are N x C x H x W."""
    lines = [
        f"NAME: {net.name}",
        f"BACKEND: {net.backend!r}",
        f"ARCHITECTURE: {len(net.nodes)} layers (N x C x H x W)",
    ]
    for node in net.nodes:
        kind = type(node.layer).__name__.removesuffix("Layer")
        text = node.layer.describe_over([b.shape for b in node.bottoms])
        lines.append(f"  {kind}({node.layer.name})" + (f": {text}" if text else ""))
        for title, blobs in (("Inputs", node.bottoms), ("Outputs", node.tops)):
            lines += [f"    {title:7} {b.name}: Blob({' x '.join(map(str, b.shape))})" for b in blobs]
    return "\n".join(lines)


def net2dot(io: TextIO, net: "Net") -> None:
    """Writes the net as a graph for Graphviz: boxes are layers, arrows blobs with their shapes."""

    def quoted(text: str) -> str:
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

    print(f"digraph {quoted(net.name)} {{\n  node [shape=box];", file=io)
    writer: dict[str, int] = {}
    for i, node in enumerate(net.nodes):
        kind = type(node.layer).__name__.removesuffix("Layer")
        print(f"  n{i} [label={quoted(f'{node.layer.name}: {kind}')}];", file=io)
        for b in node.bottoms:
            label = f"{b.name} {'x'.join(map(str, b.shape))}"
            print(f"  n{writer[b.name]} -> n{i} [label={quoted(label)}];", file=io)
        writer |= {t.name: i for t in node.tops}
    print("}", file=io)
