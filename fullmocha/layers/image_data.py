"""Batches of images that a text file lists."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from ..errors import FormatError
from .checks import integer_of
from .cursor import Cursor, generator_state, own_generator, set_generator_state
from .images import ImageSourceLayer, decode, resize


@dataclass(frozen=True, kw_only=True)
class ImageDataLayer(ImageSourceLayer):
    """Images of a list, decoded when their turn comes (Caffe's ImageData).

    Parameters
    ----------
    source : path
        A text file with a line "path label" for each image, label an integer; relative to the working directory.
    root_folder : str
        Put before each path as it is, so it ends in a slash.
    new_height, new_width : int
        Both, or neither: the size to which images are brought, see `images.resize`.
    is_color : bool
        Three channels, blue, green, red; or one.
    shuffle : bool
        A new order for every epoch.
    batch_size, crop_size, crop, mirror, rand_skip, transformers
        See `ImageSourceLayer`.

    Raises
    ------
    FormatError
        With the list's line, if it or its image cannot be read.
    """

    name: str = "image-data"
    source: str | Path
    root_folder: str = ""
    new_height: int = 0
    new_width: int = 0
    is_color: bool = True
    shuffle: bool = False
    files: tuple[tuple[str, int], ...] = field(init=False, repr=False)

    def check(self) -> None:
        integer_of(self, "new_height", "new_width", least=0)
        if bool(self.new_height) != bool(self.new_width):
            raise self.refuse(
                f"needs both new_height and new_width, or neither; got {self.new_height}, {self.new_width}"
            )
        object.__setattr__(self, "files", self._listed())
        super().check()
        self.check_skip(len(self.files), f"images of {self.source}")

    def _listed(self) -> tuple[tuple[str, int], ...]:
        try:
            lines = Path(self.source).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as problem:
            raise FormatError(f"{self.source}: cannot be read as a list of images: {problem}") from problem
        files = []
        for number, line in enumerate(lines, 1):
            path, _, label = line.rstrip().rpartition(" ")
            if not line.strip():
                continue
            try:
                files.append((path.strip(), int(label)))
            except ValueError:
                raise FormatError(
                    f"{self.source}:{number}: expected 'path label', label an integer; found {line[:80]!r}"
                ) from None
            if not files[-1][0]:
                raise FormatError(f"{self.source}:{number}: expected 'path label'; found the label {label} alone")
        if not files:
            raise FormatError(f"{self.source}: lists no images; write lines of 'path label'")
        return tuple(files)

    def first(self) -> np.ndarray:
        return self._image(0)[0]

    def _image(self, number: int) -> tuple[np.ndarray, float, str]:
        path, label = self.files[number]
        where = f"{self.root_folder}{path} (image {number + 1} of {self.source})"
        image = decode(self.root_folder + path, where, "color" if self.is_color else "grey")
        return resize(image, self.new_height, self.new_width) if self.new_height else image, label, where

    def setup(self, ops: Any, dtype: np.dtype, rng: np.random.Generator) -> Any:
        rng = own_generator(rng)
        cursor = Cursor(len(self.files), self.shuffle, rng)
        if self.rand_skip:
            cursor.at = int(rng.integers(self.rand_skip))
        return SimpleNamespace(cursor=cursor, rng=rng)

    def next_samples(self, state: Any) -> list[tuple[np.ndarray, float, str]]:
        return [self._image(number) for number in state.cursor.take(self.batch_size)]

    def place(self, state: Any) -> dict[str, Any]:
        return {"epoch": state.cursor.epoch, "random": generator_state(state.rng)} | state.cursor.place()

    def restore(self, state: Any, saved: Mapping[str, Any]) -> None:
        state.cursor.restore(self, saved)
        set_generator_state(self, state.rng, saved["random"])
        state.cursor.epoch = int(saved["epoch"])
