"""An ONNX graph under construction: nodes, constants, and names that are taken only once."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

OPSET = 17
IR_VERSION = 8  # what opset 17 came with, so that runtimes of 2022 read it


class Graph:
    """Collects nodes and initializers."""

    def __init__(self, dtype: np.dtype) -> None:
        self.dtype = dtype
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []
        self._taken: set[str] = set()
        self._constants: dict[Any, str] = {}

    def name(self, wish: str) -> str:
        """A name like that, which nothing has yet."""
        found, i = wish, 1
        while found in self._taken:
            i += 1
            found = f"{wish}_{i}"
        self._taken.add(found)
        return found

    def node(self, kind: str, inputs: list[str], wish: str, **attributes: Any) -> str:
        """Adds a node of one output, and returns the output's name."""
        from onnx import helper

        output = self.name(wish)
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def constant(self, wish: str, values: Any, dtype: Any = None, key: Any = None) -> str:
        """The name of an initializer; one with an equal `key`, or else equal values, is made once."""
        from onnx import numpy_helper

        array = np.ascontiguousarray(values, self.dtype if dtype is None else dtype)
        key = key or (array.shape, array.dtype.str, array.tobytes())
        if key not in self._constants:
            self._constants[key] = self.name(wish)
            self.initializers.append(numpy_helper.from_array(array, self._constants[key]))
        return self._constants[key]

    def integers(self, wish: str, values: Any) -> str:
        """A constant of int64, as shapes and bounds are."""
        return self.constant(wish, values, np.int64)


def alive(nodes: Sequence[Any], outputs: Iterable[str]) -> list[Any]:
    """The nodes on which the outputs depend, in order."""
    wanted, kept = set(outputs), []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            kept.append(node)
            wanted.update(node.input)
    return kept[::-1]
