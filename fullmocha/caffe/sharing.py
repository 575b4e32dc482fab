"""Parameters that layers share by name (``param { name: "w" }``).

Our nets share all parameters of a layer or none. So layers that share must share every one of theirs.
"""

from collections import defaultdict
from collections.abc import Sequence

from .layertext import LayerText


def settle_sharing(texts: Sequence[LayerText]) -> None:
    """Point every layer that shares at the first one, and give all of them the same specs."""
    groups: dict[int, list[LayerText]] = {}
    users: dict[str, list[LayerText]] = defaultdict(list)
    for text in texts:
        for name in {spec.name for spec in text.specs} - {""}:
            users[name].append(text)
    for name, sharers in users.items():
        owner, *others = sharers
        for text in others:
            wanted, found = ([spec.name for spec in t.specs] for t in (owner, text))
            if wanted != found or "" in found or len(set(found)) < len(found):
                raise text.refuse(
                    f"shares the parameter '{name}' with layer '{owner.name}', but not all of theirs ({found} and "
                    f"{wanted}); share all parameters of both layers, in the same order"
                )
            if owner.message.type != text.message.type:
                raise text.refuse(f"shares '{name}' with layer '{owner.name}' of another type, {owner.message.type}")
            if not owner.name or owner.name == text.name:
                raise text.refuse(f"shares '{name}' with a layer named '{owner.name}'; give both a name of their own")
            text.shared, owner.shared, text.param_key = True, True, owner.name
        groups.setdefault(id(owner), sharers)
    for sharers in groups.values():
        _agree(sharers)


def _agree(sharers: Sequence[LayerText]) -> None:
    """One rate and one decay per parameter: what the layers say must agree; what one leaves out another may say."""
    for i, spec in enumerate(sharers[0].specs):
        for field in ("lr_mult", "decay_mult"):
            said = {text.name: getattr(text.specs[i], field) for text in sharers if text.specs[i].HasField(field)}
            if len(set(said.values())) > 1:
                raise sharers[0].wrong(f"the layers that share '{spec.name}' disagree about its {field}: {said}")
            for value in said.values():
                for text in sharers:
                    setattr(text.specs[i], field, value)
