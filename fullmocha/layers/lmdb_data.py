"""Batches of images from an LMDB database, as Caffe's convert_imageset makes them."""

import contextlib
import io
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from ..datum import decode_datum
from ..errors import FormatError, UnsupportedError
from .cursor import generator_state, own_generator, saved_index, set_generator_state
from .images import Color, ImageSourceLayer, decode


@dataclass(frozen=True, kw_only=True)
class DataLayer(ImageSourceLayer):
    """Samples of an LMDB database in the order of its keys, over and over (Caffe's Data).

    Parameters
    ----------
    source : path
        The database's folder; relative to the working directory.
    force_color, force_gray : bool
        Three channels, or one, of images that are stored compressed; others stay as they are.
    batch_size, crop_size, crop, mirror, rand_skip, transformers
        See `ImageSourceLayer`.

    Notes
    -----
    It needs the package lmdb. The database is opened for reading, for as long as a batch takes, and never locked.

    Raises
    ------
    FormatError
        If the database, or a sample of it, cannot be read.
    UnsupportedError
        If the package lmdb is missing.
    """

    name: str = "data"
    source: str | Path
    force_color: bool = False
    force_gray: bool = False

    def check(self) -> None:
        if self.force_color and self.force_gray:
            raise self.refuse("has both force_color and force_gray; choose one of them")
        super().check()
        self.check_skip(self._count(), f"samples of {self.source}")

    def _count(self) -> int:
        with self._opened() as (env, _):
            return int(env.stat()["entries"])

    def first(self) -> np.ndarray:
        with self._opened() as (_, cursor):
            if not cursor.first():
                raise FormatError(f"{self.source}: the database is empty")
            return self._sample(cursor)[0]

    @contextlib.contextmanager
    def _opened(self) -> Iterator[tuple[Any, Any]]:
        """The database and a cursor."""
        try:
            import lmdb
        except ImportError:
            raise UnsupportedError(
                f"{self.label}: LMDB databases are read by the package lmdb, which is missing; pip install fullmocha[lmdb]"
            ) from None
        path = os.fspath(self.source)
        if not os.path.exists(path):
            raise FormatError(f"{path}: does not exist; {self.label} reads an LMDB database, a folder with data.mdb")
        try:
            with (
                lmdb.open(path, subdir=os.path.isdir(path), readonly=True, lock=False, create=False) as env,
                env.begin(buffers=False) as transaction,
                transaction.cursor() as cursor,
            ):
                yield env, cursor
        except lmdb.Error as problem:
            raise FormatError(f"{path}: cannot be read as an LMDB database: {problem}") from problem

    def _sample(self, cursor: Any) -> tuple[np.ndarray, float, str]:
        where = f"{self.source}: the sample {cursor.key()[:60].decode('utf-8', 'replace')!r}"
        datum = decode_datum(cursor.value(), where)
        if datum.pixels is None:
            color: Color = "color" if self.force_color else "grey" if self.force_gray else "stored"
            return decode(io.BytesIO(datum.encoded), where, color), datum.label, where
        return datum.pixels, datum.label, where

    def setup(self, ops: Any, dtype: np.dtype, rng: np.random.Generator) -> Any:
        rng = own_generator(rng)
        skipped = int(rng.integers(self.rand_skip)) if self.rand_skip else 0
        return SimpleNamespace(cursor=SimpleNamespace(epoch=0), at=skipped, key=None, rng=rng)

    def next_samples(self, state: Any) -> list[tuple[np.ndarray, float, str]]:
        samples = []
        with self._opened() as (_, cursor):
            self._turn_to(cursor, state)
            for _ in range(self.batch_size):
                samples.append(self._sample(cursor))
                state.at += 1
                if not cursor.next():
                    state.cursor.epoch, state.at = state.cursor.epoch + 1, 0
                    cursor.first()
            state.key = cursor.key()
        return samples

    def _turn_to(self, cursor: Any, state: Any) -> None:
        """Puts a database's cursor where the layer stands: at a key it has seen, or after so many others."""
        if state.key is not None and cursor.set_key(state.key):
            return
        if not cursor.first():
            raise FormatError(f"{self.source}: the database is empty")
        for _ in range(state.at):
            if not cursor.next():
                raise FormatError(f"{self.source}: had more than {state.at} samples before; it has changed, begin anew")

    def place(self, state: Any) -> dict[str, Any]:
        return {"epoch": state.cursor.epoch, "at": state.at, "random": generator_state(state.rng)}

    def restore(self, state: Any, saved: Mapping[str, Any]) -> None:
        state.at = saved_index(self, "samples", self._count(), saved["at"])
        state.key, state.cursor.epoch = None, int(saved["epoch"])
        set_generator_state(self, state.rng, saved["random"])
