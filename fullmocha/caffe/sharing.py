"""Parameters that layers share by name (``param { name: "w" }``): one array each, whoever reads it."""

from collections import defaultdict
from collections.abc import Sequence

from .layertext import LayerText
from .schema import Message


def settle_sharing(texts: Sequence[LayerText]) -> None:
    """One rate and one decay for each shared parameter: what the layers say must agree, what one leaves out another may say."""
    users: dict[str, list[tuple[LayerText, Message]]] = defaultdict(list)
    for text in texts:
        for spec in text.specs:
            if spec.name:
                users[spec.name].append((text, spec))
    for name, sharers in users.items():
        for field in ("lr_mult", "decay_mult"):
            said = {text.name: getattr(spec, field) for text, spec in sharers if spec.HasField(field)}
            if len(set(said.values())) > 1:
                raise sharers[0][0].wrong(f"the layers that share '{name}' disagree about its {field}: {said}")
            for value in said.values():
                for _, spec in sharers:
                    setattr(spec, field, value)
