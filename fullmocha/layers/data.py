"""Where batches come from: arrays in memory, HDF5 files, or the caller's hand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np

from ..errors import FormatError, ShapeError
from ..transformers import Transformer
from .base import Layer, Node, Shape, count_of, is_integer
from .cursor import Cursor, generator_state, own_generator, saved_index, saved_order, set_generator_state

Transformers = Sequence[tuple[str, Transformer]]


@dataclass(frozen=True, kw_only=True)
class SourceLayer(Layer):
    """What sources share: they have no bottoms, and know what they deliver before the first batch."""

    transformers: Transformers = ()

    is_source: ClassVar[bool] = True
    differentiable: ClassVar[bool] = False

    def check(self) -> None:
        for name, transformer in self.transformers:
            if name not in self.tops:
                raise self.refuse(f"transformers name {name!r}, which is none of its tops {list(self.tops)}")
            if not isinstance(transformer, Transformer):
                raise self.refuse(f'the transformer of "{name}" must be a Transformer, got {transformer!r}')

    def delivers(self) -> list[Shape]:
        """The tops' shapes as delivered."""
        raise NotImplementedError

    def dtype(self) -> np.dtype | None:
        """The floating type of what is delivered; None where it is integers or anybody's guess."""
        return None

    def shape(self, bottoms: list[Shape]) -> list[Shape]:
        return self.delivers()

    def next_batch(self, state: Any) -> list[np.ndarray]:
        """The next batch, one array per top; moves the cursor."""
        raise NotImplementedError

    def place(self, state: Any) -> dict[str, Any]:
        """Where in its data the layer stands, in integers and arrays that nobody changes; empty where nowhere."""
        return {}

    def restore(self, state: Any, saved: Mapping[str, Any]) -> None:
        """Goes back to a place. May draw from the random generator, so the generator is restored after it."""

    def transform(self, batches: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The batches as the net sees them."""
        for name, transformer in self.transformers:
            if name in batches:
                try:
                    batches = batches | {name: transformer(batches[name])}
                except ShapeError as problem:
                    raise self.refuse(f'its transformer of "{name}": {problem}') from problem
        return batches

    def batch(self, state: Any, dtype: np.dtype) -> dict[str, np.ndarray]:
        """The next batch by the tops' names, cast and transformed."""
        arrays = (a.astype(dtype, copy=False) for a in self.next_batch(state))
        return self.transform(dict(zip(self.tops, arrays, strict=True)))

    def forward(self, ops: Any, at: Node) -> None:
        delivered = self.batch(at.state, at.tops[0].dtype)
        for name, top in zip(self.tops, at.tops, strict=True):
            batch = delivered[name]
            if _stripped(batch.shape) != _stripped(top.shape):
                larger = batch.shape[:2] == top.shape[:2] and all(map(int.__ge__, batch.shape[2:], top.shape[2:]))
                raise self.refuse(
                    f'delivers {batch.shape} for "{name}", the net takes {top.shape}'
                    + (
                        ". A net whose patch is smaller than what is delivered is trained or run by solve_fully(solver, net)"
                        if larger and batch.ndim == 4 == len(top.shape)
                        else "; reshape the net to what is delivered, or feed it by hand"
                    )
                )
            ops.from_host(np.ascontiguousarray(batch).reshape(top.shape), top.array)

    def backward(self, ops: Any, at: Node) -> None:
        return


@dataclass(frozen=True, kw_only=True)
class InputLayer(SourceLayer):
    """Blobs that the caller fills: `net.forward(inputs={"data": array})`, or `net.output_blobs["data"].data[...] = array`.

    Parameters
    ----------
    shapes : list of shapes
        One per top, (N, C, H, W). Caffe's Input, `input:` and MemoryData without data become this.
    """

    name: str = "input"
    shapes: Sequence[Shape] = ()

    def check(self) -> None:
        super().check()
        if len(self.shapes) != len(self.tops):
            raise self.refuse(f"needs one shape per top; got {len(self.shapes)} shapes for tops {list(self.tops)}")
        for shape in self.shapes:
            if not isinstance(shape, (tuple, list)) or not all(is_integer(n) and n >= 1 for n in shape):
                raise self.refuse(f"a shape is a tuple of integers >= 1; got {shape!r}")

    def delivers(self) -> list[Shape]:
        return [tuple(map(int, s)) for s in self.shapes]

    def forward(self, ops: Any, at: Node) -> None:
        return  # the caller has written the tops


def _stripped(shape: Shape) -> Shape:
    """Without trailing axes of length 1: labels (N,), (N, 1) and (N, 1, 1, 1) are the same."""
    return _stripped(shape[:-1]) if shape[-1:] == (1,) else tuple(shape)


@dataclass(frozen=True, kw_only=True)
class MemoryDataLayer(SourceLayer):
    """Delivers batches from arrays, over and over.

    Parameters
    ----------
    data : list of arrays
        One per top, samples along the first axis. The arrays are not copied: writing into them changes the next batch.
    batch_size : int
        Samples per batch; a batch may wrap around the end.
    shuffle : bool
        A new order for every epoch.
    transformers : list of (top, transformer)
        Applied in order.

    Examples
    --------
    >>> layer = MemoryDataLayer(batch_size=2, data=[np.zeros((5, 1, 8, 9)), np.zeros((5, 1))])
    >>> layer.delivers()
    [(2, 1, 8, 9), (2, 1)]
    """

    name: str = "memory-data"
    tops: Sequence[str] = ("data", "label")
    batch_size: int
    data: Sequence[np.ndarray] = field(repr=False)
    shuffle: bool = False

    def check(self) -> None:
        super().check()
        count_of(self, "batch_size")
        if len(self.data) != len(self.tops):
            raise self.refuse(f"needs one array per top; got {len(self.data)} arrays for tops {list(self.tops)}")
        object.__setattr__(self, "data", tuple(map(self._numbers, self.tops, self.data)))
        counts = {len(a) for a in self.data}
        if len(counts) != 1 or 0 in counts:
            raise self.refuse(f"all arrays need the same number of samples, at least one; got {sorted(counts)}")

    def _numbers(self, top: str, data: Any) -> np.ndarray:
        """The data of one top as an array, the same one where it is one already."""
        try:
            array = np.asarray(data)
        except ValueError as problem:
            raise self.refuse(f'the data of "{top}" are no array: {problem}') from problem
        if not array.ndim:
            raise self.refuse(
                f'the data of "{top}" need samples along their first axis; got the single value {array!r}'
            )
        if unfit := _unfit(array.dtype):
            raise self.refuse(f'the data of "{top}" are {unfit}')
        return array

    def delivers(self) -> list[Shape]:
        return [(self.batch_size, *a.shape[1:]) for a in self.data]

    def dtype(self) -> np.dtype | None:
        return _floating(self.data[0].dtype)

    def setup(self, ops: Any, dtype: np.dtype, rng: np.random.Generator) -> Any:
        return SimpleNamespace(cursor=Cursor(len(self.data[0]), self.shuffle, own_generator(rng)))

    def next_batch(self, state: Any) -> list[np.ndarray]:
        at = state.cursor.take(self.batch_size)
        return [a[at] for a in self.data]

    def place(self, state: Any) -> dict[str, Any]:
        return {"epoch": state.cursor.epoch, "random": generator_state(state.cursor.rng)} | state.cursor.place()

    def restore(self, state: Any, saved: Mapping[str, Any]) -> None:
        state.cursor.restore(self, saved)
        set_generator_state(self, state.cursor.rng, saved["random"])
        state.cursor.epoch = int(saved["epoch"])


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
                    unfit = _unfit(kept.dtype) if isinstance(kept, h5py.Dataset) else "a group; name a dataset"
                    if unfit:
                        raise FormatError(f'{path}: "{top}" is {unfit}')
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
        return _floating(self.found[0][1])

    def setup(self, ops: Any, dtype: np.dtype, rng: np.random.Generator) -> Any:
        rng = own_generator(rng)
        order = rng.permutation(len(self.files)) if self.shuffle else np.arange(len(self.files))
        return SimpleNamespace(order=order, visit=0, cursor=SimpleNamespace(epoch=0), inside=None, loaded=None, rng=rng)

    def _open(self, state: Any) -> None:
        """Reads the next file whole: sample order is then free, and files stay closed between visits."""
        import h5py

        number = int(state.order[state.visit])
        path = self.files[number]
        try:
            with h5py.File(path, "r") as file:
                loaded = [file[t][...] for t in self.tops]
        except (OSError, KeyError) as problem:
            raise FormatError(f"{path} (listed in {self.source}): can no longer be read: {problem}") from problem
        wanted = [(self.samples[number], *shape) for shape, _ in self.found]
        if [a.shape for a in loaded] != wanted:
            raise FormatError(f"{path}: was {wanted} when the net was made, and is {[a.shape for a in loaded]} now")
        state.loaded = loaded
        state.inside = Cursor(self.samples[number], self.shuffle, state.rng)

    def next_batch(self, state: Any) -> list[np.ndarray]:
        parts: list[list[np.ndarray]] = []
        missing = self.batch_size
        while missing:
            if state.inside is None:
                self._open(state)
            at = state.inside.take(min(missing, state.inside.samples - state.inside.at))
            parts.append([a[at] for a in state.loaded])
            missing -= len(at)
            if state.inside.epoch:
                state.inside = None if len(self.files) > 1 else Cursor(self.samples[0], self.shuffle, state.rng)
                state.visit = (state.visit + 1) % len(self.files)
                state.cursor.epoch += state.visit == 0
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
        state.inside = None
        if "order" in saved:  # in the middle of a file
            self._open(state)
            state.inside.restore(self, saved)
        set_generator_state(self, state.rng, saved["random"])  # last, because opening draws


def _floating(dtype: np.dtype) -> np.dtype | None:
    return dtype if dtype in (np.float32, np.float64) else None


def _unfit(dtype: np.dtype) -> str:
    """Why values of this type are no numbers to compute with; empty where they are."""
    if dtype.kind in "biuf":
        return ""
    if dtype.kind == "c":
        return f"complex ({dtype}), and their imaginary part would be lost; give the real part, or both as two channels"
    return f"of type {dtype}; give integers or floats"
