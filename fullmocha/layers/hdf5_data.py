"""Batches from HDF5 files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from ..errors import FormatError
from .base import Shape
from .checks import count_of
from .cursor import Cursor, generator_state, own_generator, saved_index, saved_order, set_generator_state
from .data import SourceLayer, floating, unfit


@dataclass(frozen=True, kw_only=True)
class HDF5DataLayer(SourceLayer):
    """Delivers batches from HDF5 files, over and over.

    Parameters
    ----------
    source : path
        A text file with the path of one HDF5 file per line, relative to the working directory, as Mocha and Caffe
        have it.
    batch_size : int
        Samples per batch; a batch may span files.
    tops : names
        Also the names of the datasets, whose first axis counts samples.
    shuffle : bool
        A new order of files, once, and of the samples of a file at every visit.

    Raises
    ------
    FormatError
        If a file or dataset is missing, empty, or unlike the first.
    """

    name: str = "hdf5-data"
    tops: Sequence[str] = ("data", "label")
    source: str | Path
    batch_size: int
    shuffle: bool = False
    files: tuple[Path, ...] = field(init=False, repr=False)
    samples: tuple[int, ...] = field(init=False, repr=False)
    found: tuple[tuple[Shape, np.dtype], ...] = field(init=False, repr=False)

    def check(self) -> None:
        super().check()
        count_of(self, "batch_size")
        try:
            lines = Path(self.source).read_text().splitlines()
        except (OSError, UnicodeDecodeError) as problem:
            raise FormatError(f"{self.source}: cannot be read as a list of HDF5 files: {problem}") from problem
        files = tuple(Path(line.strip()) for line in lines if line.strip())
        if not files:
            raise FormatError(f"{self.source}: lists no HDF5 file; write one path per line")
        tables = [self._inspect(file) for file in files]
        for file, table in zip(files[1:], tables[1:], strict=True):
            if [s[1:] for s, _ in table] != [s[1:] for s, _ in tables[0]]:
                raise FormatError(
                    f"{file}: samples are shaped {[s[1:] for s, _ in table]}, those of {files[0]} {[s[1:] for s, _ in tables[0]]}"
                )
        object.__setattr__(self, "files", files)
        object.__setattr__(self, "samples", tuple(table[0][0][0] for table in tables))
        object.__setattr__(self, "found", tuple((s[1:], d) for s, d in tables[0]))

    def _inspect(self, path: Path) -> list[tuple[Shape, np.dtype]]:
        """Shape and type of each top's dataset in one file."""
        import h5py

        try:
            with h5py.File(path, "r") as file:
                missing = [t for t in self.tops if t not in file]
                if missing:
                    raise FormatError(f"{path}: has no dataset {missing[0]!r}; it has {sorted(file)}")
                for top in self.tops:
                    kept = file[top]
                    why = unfit(kept.dtype) if isinstance(kept, h5py.Dataset) else "a group; name a dataset"
                    if why:
                        raise FormatError(f'{path}: "{top}" is {why}')
                table = [(file[t].shape, file[t].dtype) for t in self.tops]
        except OSError as problem:
            raise FormatError(f"{path} (listed in {self.source}): not a readable HDF5 file: {problem}") from problem
        if len({s[0] if s else 0 for s, _ in table}) != 1 or not table[0][0] or not table[0][0][0]:
            raise FormatError(
                f"{path}: datasets {list(self.tops)} need equally many samples, at least one; shapes are {[s for s, _ in table]}"
            )
        return table

    def delivers(self) -> list[Shape]:
        return [(self.batch_size, *shape) for shape, _ in self.found]

    def dtype(self) -> np.dtype | None:
        return floating(self.found[0][1])

    def setup(self, ops: Any, dtype: np.dtype, rng: np.random.Generator) -> Any:
        rng = own_generator(rng)
        order = rng.permutation(len(self.files)) if self.shuffle else np.arange(len(self.files))
        return SimpleNamespace(order=order, visit=0, cursor=SimpleNamespace(epoch=0), inside=None, held=None, rng=rng)

    def _visit(self, state: Any) -> None:
        """Turns to the next file."""
        state.inside = Cursor(self.samples[state.order[state.visit]], self.shuffle, state.rng)
        state.held = None

    def _read(self, state: Any, at: np.ndarray) -> list[np.ndarray]:
        """These samples of the present file, which is closed between batches.

        Only they are read, unless rows in any order would each cost a chunk of many: such a file is read whole, once per visit.
        """
        import h5py

        if state.held is not None:
            return [array[at] for array in state.held]
        number = int(state.order[state.visit])
        path = self.files[number]
        try:
            with h5py.File(path, "r") as file:
                kept = [file[t] for t in self.tops]
                wanted = [(self.samples[number], *shape) for shape, _ in self.found]
                if [d.shape for d in kept] != wanted:
                    raise FormatError(
                        f"{path}: was {wanted} when the net was made, and is {[d.shape for d in kept]} now"
                    )
                if np.array_equal(at, np.arange(at[0], at[0] + len(at))):
                    return [d[at[0] : at[-1] + 1] for d in kept]
                if all(d.chunks is None or d.chunks[0] == 1 for d in kept):
                    rising = np.argsort(at)
                    return [d[at[rising]][np.argsort(rising)] for d in kept]
                state.held = [d[...] for d in kept]
        except FormatError:
            raise
        except (OSError, KeyError) as problem:
            raise FormatError(f"{path} (listed in {self.source}): can no longer be read: {problem}") from problem
        return [array[at] for array in state.held]

    def next_batch(self, state: Any) -> list[np.ndarray]:
        parts: list[list[np.ndarray]] = []
        missing = self.batch_size
        while missing:
            if state.inside is None:
                self._visit(state)
            at = state.inside.take(min(missing, state.inside.samples - state.inside.at))
            parts.append(self._read(state, at))
            missing -= len(at)
            if state.inside.epoch:
                state.visit = (state.visit + 1) % len(self.files)
                state.cursor.epoch += state.visit == 0
                if len(self.files) > 1:
                    state.inside = state.held = None
                else:
                    state.inside = Cursor(self.samples[0], self.shuffle, state.rng)
        return [np.concatenate(column) for column in zip(*parts, strict=True)]

    def place(self, state: Any) -> dict[str, Any]:
        place = {
            "epoch": state.cursor.epoch,
            "visit": state.visit,
            "files": state.order,
            "random": generator_state(state.rng),
        }
        return place if state.inside is None else place | state.inside.place()

    def restore(self, state: Any, saved: Mapping[str, Any]) -> None:
        state.order = saved_order(self, "files", len(self.files), saved["files"])
        state.visit = saved_index(self, "files", len(self.files), saved["visit"])
        state.cursor.epoch = int(saved["epoch"])
        state.inside = state.held = None
        if "order" in saved:  # in the middle of a file
            self._visit(state)
            state.inside.restore(self, saved)
        set_generator_state(self, state.rng, saved["random"])  # last, because a visit draws
