"""Mocha's data transformers: what a data layer does to a batch before it delivers it."""

from dataclasses import dataclass, field

import numpy as np

from .errors import FormatError


class Transformer:
    """Changes a batch's values, never its shape."""

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        raise NotImplementedError


@dataclass(frozen=True)
class SubMean(Transformer):
    """x - mean; the mean has a sample's shape, or one value per channel, from an array or an HDF5 file's dataset "mean"."""

    mean_file: str = ""
    mean_blob: np.ndarray | None = None
    _mean: np.ndarray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        mean = self.mean_blob
        if self.mean_file:
            import h5py

            try:
                with h5py.File(self.mean_file, "r") as file:
                    mean = file["mean"][...]
            except (OSError, KeyError) as problem:
                raise FormatError(
                    f'{self.mean_file}: no HDF5 dataset "mean" can be read from it: {problem}'
                ) from problem
        if mean is None:
            raise FormatError("SubMean: give mean_file or mean_blob; neither was given")
        mean = np.asarray(mean, np.float64)
        object.__setattr__(self, "_mean", mean[:, None, None] if mean.ndim == 1 else mean.reshape(mean.shape[-3:]))

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        return batch - self._mean.astype(batch.dtype)


@dataclass(frozen=True)
class Scale(Transformer):
    """scale * x."""

    scale: float = 1.0

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        return batch * batch.dtype.type(self.scale)


class DataTransformers:
    """The transformers under Mocha's names."""

    SubMean = SubMean
    Scale = Scale
