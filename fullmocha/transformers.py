"""Mocha's data transformers: what a data layer does to a batch before it delivers it."""

from dataclasses import dataclass, field

import numpy as np

from .blob import Shape
from .errors import FormatError, ShapeError
from .stored import open_hdf5, stored_array


class Transformer:
    """Changes a batch's values, never its shape."""

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class SubMean(Transformer):
    """x - mean; the mean has a sample's shape, one value per channel, or one, from an array or an HDF5 file's dataset "mean".

    `source` is the file of another kind that `mean_blob` was read from, for whoever writes the net down.
    """

    mean_file: str = ""
    mean_blob: np.ndarray | None = None
    source: str = ""
    mean: np.ndarray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        mean = self.mean_blob
        if self.mean_file:
            import h5py

            with open_hdf5(self.mean_file, "a mean") as file:
                stored = file.get("mean")
                if not isinstance(stored, h5py.Dataset):
                    raise FormatError(f'{self.mean_file}: has no dataset "mean"; it has {sorted(file)[:8]}')
                mean = stored_array(stored, f"{self.mean_file}:/mean")
        if mean is None:
            raise FormatError("SubMean: give mean_file or mean_blob; neither was given")
        object.__setattr__(self, "mean", np.asarray(mean, np.float64))

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and np.array_equal(other.mean, self.mean)

    def __hash__(self) -> int:
        return hash(self.mean.tobytes())

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        return batch - self._fit(batch.shape[1:]).astype(batch.dtype)

    def _fit(self, sample: Shape) -> np.ndarray:
        """The mean, shaped for samples of this shape.

        Raises
        ------
        ShapeError
            If it belongs to samples of another shape.
        """
        shape, per_channel = self.mean.shape, (*sample[:1], *(1,) * (len(sample) - 1))
        while len(shape) > len(sample) and shape[0] == 1:  # the batch axis of a mean file's blob
            shape = shape[1:]
        if self.mean.size == 1:
            return self.mean.reshape(())
        if shape in (sample[:1], per_channel):
            return self.mean.reshape(per_channel)
        if shape == sample or (1, *shape) == sample:
            return self.mean.reshape(sample)
        whole = len(shape) > 1 and max(shape[1:]) > 1
        raise ShapeError(
            f"the mean {self.mean_file and self.mean_file + ' '}is {shape}, the samples are {sample}; "
            + (
                "a mean of whole images fits no other size: give one value per channel, mean.mean(axis=(1, 2))"
                if whole and shape[0] == sample[0]
                else f"give one value for each of the {sample[0]} channels"
            )
        )


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
