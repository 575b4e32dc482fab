"""Where results go: a list of arrays, or an HDF5 file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np

from ..beside import Beside, Patient
from ..errors import FormatError
from ..lattice import Lattice
from .base import Layer, Node, Shape


@dataclass(frozen=True, kw_only=True)
class OutputLayer(Layer):
    """What outputs share: they take any blobs, and keep every batch."""

    is_sink: ClassVar[bool] = True
    differentiable: ClassVar[bool] = False

    def shape(self, bottoms: list[Shape]) -> list[Shape]:
        return []

    def forward(self, ops: Any, at: Node) -> None:
        self.keep(at.state, [np.array(x.data) for x in at.bottoms])

    def keep(self, state: Any, batches: list[np.ndarray]) -> None:
        """Takes one batch per bottom."""
        raise NotImplementedError

    def backward(self, ops: Any, at: Node) -> None:
        return

    def dense(self, lattices: list[Lattice | None]) -> tuple[Layer, Lattice | None]:
        return self, None


@dataclass(frozen=True, kw_only=True)
class MemoryOutputLayer(OutputLayer):
    """Keeps every batch: `get_layer_state(net, name).outputs[i]` is the list of batches of bottom i."""

    name: str = "memory-output"

    def setup(self, ops: Any, dtype: np.dtype, rng: np.random.Generator) -> Any:
        return SimpleNamespace(outputs=[[] for _ in self.bottoms])

    def keep(self, state: Any, batches: list[np.ndarray]) -> None:
        for kept, batch in zip(state.outputs, batches, strict=True):
            kept.append(batch)


def reset_outputs(state: Any) -> None:
    """Forgets what a MemoryOutputLayer kept."""
    for kept in state.outputs:
        kept.clear()


@dataclass(frozen=True, kw_only=True)
class HDF5OutputLayer(OutputLayer):
    """Appends every batch to datasets of an HDF5 file, which appears when it is closed (`net.destroy()`).

    Parameters
    ----------
    filename : path
        The file; what exists is refused unless `force_overwrite`.
    datasets : names, optional
        One per bottom; the bottoms' names by default.
    """

    name: str = "hdf5-output"
    filename: str | Path
    datasets: Sequence[str] = ()
    force_overwrite: bool = False

    def check(self) -> None:
        if self.datasets and len(self.datasets) != len(self.bottoms):
            raise self.refuse(f"needs one dataset name per bottom; got {list(self.datasets)} for {list(self.bottoms)}")
        if len(set(self.names)) < len(self.names):
            raise self.refuse(
                f"writes every bottom to a dataset of its own; name {list(self.names)} apart with datasets"
            )

    @property
    def names(self) -> Sequence[str]:
        """The datasets, one per bottom."""
        return self.datasets or self.bottoms

    def setup(self, ops: Any, dtype: np.dtype, rng: np.random.Generator) -> Any:
        self._check_free()
        return SimpleNamespace(file=None, beside=None, raw=None)

    def _check_free(self) -> None:
        if Path(self.filename).exists() and not self.force_overwrite:
            raise FormatError(f"{self.filename}: exists already; set force_overwrite=True to replace it")

    def _open(self, state: Any) -> None:
        import h5py

        self._check_free()
        state.beside = Beside(self.filename)
        state.raw = Patient(state.beside.path)
        state.file = h5py.File(state.raw, "w")

    def keep(self, state: Any, batches: list[np.ndarray]) -> None:
        if state.file is None:
            self._open(state)
        batches = [np.atleast_1d(batch) for batch in batches]  # a score is a single value
        for name, batch in zip(self.names, batches, strict=True):
            sample = batch.shape[1:]
            if name not in state.file:
                chunks = tuple(max(1, n) for n in batch.shape)
                state.file.create_dataset(name, (0, *sample), batch.dtype, maxshape=(None, *sample), chunks=chunks)
            kept = state.file[name]
            if kept.shape[1:] != sample:
                raise FormatError(
                    f'{self.filename}: dataset "{name}" holds samples of {kept.shape[1:]}, this batch has samples of {sample}; '
                    "write maps of another size to another file"
                )
            start = len(kept)
            kept.resize(start + len(batch), axis=0)
            kept[start:] = batch
        if state.raw.problem is not None:
            self.close(state)

    def close(self, state: Any) -> None:
        if state.file is None:
            return
        state.file.close()
        state.raw.close()
        state.file, problem = None, state.raw.problem
        if problem is not None:
            state.beside.discard()
            raise FormatError(
                f"{self.filename}: cannot be written, {problem.strerror or problem}; choose a folder with room that you may write to"
            )
        state.beside.commit()
