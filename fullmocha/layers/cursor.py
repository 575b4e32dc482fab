"""Where a data layer stands in its samples and random numbers, so that a training can go on from there bit for bit."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from .base import Layer


class Cursor:
    """Walks over samples again and again, wrapping within a batch; `epoch` grows when the last sample is taken."""

    def __init__(self, samples: int, shuffle: bool, rng: np.random.Generator) -> None:
        """`rng` is the layer's own: how far one net has walked must not change what another draws."""
        self.samples, self.shuffle, self.rng = samples, shuffle, rng
        self.epoch = self.at = 0
        self.order = self._deal()

    def _deal(self) -> np.ndarray:
        return self.rng.permutation(self.samples) if self.shuffle else np.arange(self.samples)

    def take(self, count: int) -> np.ndarray:
        """The next `count` sample numbers."""
        taken: list[np.ndarray] = []
        while count:
            some = self.order[self.at : self.at + count]
            taken.append(some)
            count -= len(some)
            self.at += len(some)
            if self.at == self.samples:
                self.at, self.epoch = 0, self.epoch + 1
                self.order = self._deal()
        return np.concatenate(taken)

    def place(self) -> dict[str, Any]:
        """Where the walk is; `order` is replaced, never changed."""
        return {"at": self.at, "order": self.order}

    def restore(self, layer: Layer, saved: Mapping[str, Any]) -> None:
        self.order = saved_order(layer, "samples", self.samples, saved["order"])
        self.at = saved_index(layer, "samples", self.samples, saved["at"])


def own_generator(rng: np.random.Generator) -> np.random.Generator:
    """A generator of the layer's own, seeded by the backend's."""
    return np.random.Generator(np.random.PCG64(int(rng.integers(2**63))))


def generator_state(rng: np.random.Generator) -> np.ndarray:
    """The state of such a generator as bytes, for a snapshot: its two numbers of 128 bits, and half a draw kept back."""
    found = rng.bit_generator.state
    numbers = [found["state"]["state"], found["state"]["inc"], found["has_uint32"], found["uinteger"]]
    return np.frombuffer(b"".join(int(n).to_bytes(16, "little") for n in numbers), np.uint8)


def set_generator_state(layer: Layer, rng: np.random.Generator, saved: Any) -> None:
    """Puts such a generator into a saved state; refuses bytes that are none."""
    found = np.asarray(saved)
    if found.dtype != np.uint8 or found.shape != (64,):
        raise layer.refuse(f"its saved random state is {found.dtype} {found.shape}, not the 64 bytes of a generator")
    state, inc, kept, half = (int.from_bytes(found[i : i + 16].tobytes(), "little") for i in range(0, 64, 16))
    if kept > 1 or half >= 2**32 or inc % 2 == 0:
        raise layer.refuse("its saved random state is no generator's; the snapshot is damaged")
    rng.bit_generator.state = {
        "bit_generator": "PCG64",
        "state": {"state": state, "inc": inc},
        "has_uint32": kept,
        "uinteger": half,
    }


def saved_order(layer: Layer, what: str, count: int, saved: Any) -> np.ndarray:
    """A saved order of so many samples or files, if it is one."""
    order = np.asarray(saved)
    if not np.array_equal(np.sort(order, axis=None), np.arange(count)):
        raise layer.refuse(f"has {count} {what}, its saved place is in an order of {order.size}; give it the same data")
    return order.astype(np.intp)


def saved_index(layer: Layer, what: str, count: int, saved: Any) -> int:
    """A saved place among so many, if it lies there."""
    if not 0 <= int(saved) < count:
        raise layer.refuse(f"has {count} {what}, its saved place is number {int(saved)}; give it the same data")
    return int(saved)
