"""A net's geometry alone: its links and the shapes of its sources, without arrays."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from .blob import Shape
from .patch import label_values
from .wiring import Link, Wiring


def infer(links: Sequence[Link], sources: Mapping[str, Shape]) -> dict[str, Shape]:
    """Every value's shape when the sources' tops have these shapes.

    Raises
    ------
    ShapeError
        Where a layer's own rule is broken.
    """
    known: dict[str, Shape] = {}
    for link in links:
        source = link.layer.is_source
        tops = [sources[t] for t in link.tops] if source else link.layer.shape([known[b] for b in link.bottoms])
        if len(tops) != len(link.tops):
            raise link.layer.refuse(f"makes {len(tops)} tops, but names {list(link.layer.tops)}")
        known.update(zip(link.tops, tops, strict=True))
    return known


def needed(links: Sequence[Link], outputs: Sequence[str]) -> list[Link]:
    """The links on which the outputs depend, in order."""
    wanted, kept = set(outputs), []
    for link in reversed(links):
        if any(top in wanted for top in link.tops):
            kept.append(link)
            wanted.update(link.bottoms)
    return kept[::-1]


@dataclass(frozen=True)
class Sketch:
    """What decides where everything sits: the links, and the source shapes for one patch."""

    name: str
    wiring: Wiring
    declared: Mapping[str, Shape]

    @property
    def links(self) -> Sequence[Link]:
        return self.wiring.links

    @property
    def labels(self) -> set[str]:
        """The values that are labels, not pixels."""
        return label_values(self.wiring)

    def shapes(self, sources: Mapping[str, Shape] | None = None) -> dict[str, Shape]:
        """Every value's shape, for the patch or for other source shapes."""
        return infer(self.links, self.declared if sources is None else sources)

    def only(self, outputs: Sequence[str]) -> "Sketch":
        """What the outputs depend on, and nothing else: losses and side branches have no say in it."""
        links = tuple(needed(self.links, outputs))
        kept = {top for link in links for top in link.tops}
        first, last = (
            {name: value for name, value in names.items() if value in kept}
            for names in (self.wiring.first, self.wiring.last)
        )
        return replace(self, wiring=Wiring(links, first, last))

    def with_source(self, source: str, shape: Shape) -> "Sketch":
        """The same for another patch."""
        return replace(self, declared={**self.declared, source: shape})
