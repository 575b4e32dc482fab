"""Convolutions with the factors and terms of the layers behind them.

s (W x + b) + t is (s W) x + (s b + t): what normalises or scales channels behind a convolution costs nothing when it is put into the
weights, which happens again whenever one of the parameters was written to.
"""

from collections.abc import Sequence
from typing import Any
from weakref import WeakValueDictionary

import numpy as np

from ..program import Weight
from .channels import Link, compose

_made: "WeakValueDictionary[tuple[Any, ...], Folded]" = WeakValueDictionary()


class Folded:
    """The filters, or the bias, of a convolution and a chain of scale and standardize behind it; a parameter to a program."""

    def __init__(
        self, of: Weight | None, chain: Sequence[Link], operands: Sequence[Any], channels: int, bias: bool
    ) -> None:
        self.of, self.chain, self.operands, self.channels, self.bias = of, tuple(chain), list(operands), channels, bias
        self.parameters = [w.parameter for w in (of, *operands) if w is not None]

    @property
    def version(self) -> int:
        """Grows with every write to one of them."""
        return sum(p.version for p in self.parameters)

    @property
    @np.errstate(all="ignore")
    def array(self) -> np.ndarray:
        given = [None if w is None else w.parameter.array for w in self.operands]
        factors, terms, _ = compose(self.chain, given, self.channels)
        dtype = self.parameters[0].array.dtype
        if not self.bias:
            assert self.of is not None
            filters = self.of.parameter.array.reshape(self.channels, -1)
            return filters * factors.astype(dtype)[:, None]
        start = 0.0 if self.of is None else self.of.parameter.array.astype(np.float64)
        return (factors * start + terms).astype(dtype)


def fold(w: Weight, b: Weight | None, chain: Sequence[Link], operands: Sequence[Any]) -> tuple[Weight, Weight]:
    """Filters and bias with the chain in them; programs that ask for the same get the same, and share what is made of it."""
    channels = w.shape[0]
    found = []
    for of, shape, bias in ((w, w.shape, False), (b, (channels,), True)):
        used = tuple(None if o is None else id(o.parameter) for o in (of, *operands))
        key = (used, tuple(chain), channels, bias)
        known = _made.get(key)
        if known is None:
            known = _made[key] = Folded(of, chain, operands, channels, bias)
        found.append(Weight(known, shape))
    return found[0], found[1]
