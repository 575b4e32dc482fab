"""Blobs and parameters: named arrays that belong to a backend, and their gradients."""

from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import ShapeError

if TYPE_CHECKING:
    from .constraints import Constraint
    from .initializers import Initializer
    from .regularizers import Regularizer

Shape = tuple[int, ...]


class Blob:
    """One array of a net, N, C, H, W; the storage is made when it is first needed.

    Attributes
    ----------
    array
        The backend's own storage.
    diff : Blob or None
        The gradient, where the net needs one.
    """

    def __init__(self, name: str, shape: Shape, dtype: np.dtype, ops: Any) -> None:
        self.name, self.dtype, self.ops = name, dtype, ops
        self.shape = tuple(shape)
        self.diff: Blob | None = None
        self._array: Any = None

    def reshape(self, shape: Shape) -> None:
        """Takes another shape; the contents are lost where it differs."""
        if tuple(shape) != self.shape:
            self.shape, self._array = tuple(shape), None
        if self.diff is not None:
            self.diff.reshape(shape)

    @property
    def array(self) -> Any:
        if self._array is None:
            self._array = self.ops.empty(self.shape, self.dtype)
        return self._array

    @property
    def grad(self) -> Any:
        """The gradient's storage, or None where none is wanted: what a backward rule passes on."""
        return None if self.diff is None else self.diff.array

    @property
    def data(self) -> np.ndarray:
        """The blob as an ndarray; on a host backend this is the storage itself."""
        return self.ops.to_host(self.array)

    @data.setter
    def data(self, value: Any) -> None:
        self._write(value)

    def _write(self, value: Any) -> None:
        """Copies numbers of the blob's shape, or one for all, into the storage."""
        given = np.asarray(value)
        if given.dtype.kind not in "biuf":
            raise ShapeError(
                f"blob {self.name!r} holds real numbers, {self.dtype}; got {given.dtype}: convert it first"
            )
        if given.shape not in ((), self.shape):
            raise ShapeError(
                f"blob {self.name!r} has the shape {self.shape}, the values {given.shape}; give that shape or one number"
            )
        self.ops.from_host(np.broadcast_to(given, self.shape), self.array)

    def free(self) -> None:
        self._array = None
        if self.diff is not None:
            self.diff.free()

    def __repr__(self) -> str:
        return f"Blob({self.name!r}, {' x '.join(map(str, self.shape))}, {self.dtype})"


class Still:
    """A blob as a reader sees it that passes no gradient on (Caffe's ``propagate_down: false``)."""

    diff = grad = None

    def __init__(self, blob: Blob) -> None:
        self._blob = blob

    def __getattr__(self, name: str) -> Any:
        return getattr(self._blob, name)


class _Zeroed(Blob):
    """A blob whose storage begins as zeros."""

    @property
    def array(self) -> Any:
        if self._array is None:
            self._array = self.ops.empty(self.shape, self.dtype)
            self.ops.fill(self._array, value=0.0)
        return self._array


class Parameter(_Zeroed):
    """A trained array, shared by every layer and net that names the same key on one backend.

    `version` grows with every write, so that whatever was derived from the values can be made again. Asking for
    `data` hands out a writable array and therefore counts as a write; code that only reads uses `array`. Write
    through `data` anew each time: an ndarray kept from earlier changes the values unseen.

    Attributes
    ----------
    role : str
        Mocha's name of it: "filter", "weight" or "bias".
    local_rate : float
        Multiplies the learning rate (Mocha's weight_lr, Caffe's lr_mult).
    initialised : bool
        Whether values were loaded, drawn, or put into the array that `data` handed out (it is no longer all zero);
        `init` leaves such a parameter alone.
    """

    def __init__(
        self,
        name: str,
        role: str,
        shape: Shape,
        dtype: np.dtype,
        ops: Any,
        *,
        initializer: "Initializer",
        regularizer: "Regularizer",
        constraint: "Constraint",
        local_rate: float,
    ) -> None:
        super().__init__(name, shape, dtype, ops)
        self.role, self.local_rate = role, local_rate
        self.initializer, self.regularizer, self.constraint = initializer, regularizer, constraint
        self.version = 0
        self._written = self._handed_out = False

    @property
    def data(self) -> np.ndarray:
        """The values as a writable ndarray; asking for it counts as a write."""
        self.version += 1
        self._handed_out = True
        return self.ops.to_host(self.array)

    @data.setter
    def data(self, value: Any) -> None:
        self._write(value)
        self.touch()

    def touch(self) -> None:
        """Says that the storage was written to."""
        self.version += 1
        self._written = True

    @property
    def initialised(self) -> bool:
        return self._written or (self._handed_out and bool(np.any(self.ops.to_host(self.array))))

    def values(self) -> np.ndarray:
        """A copy for reading."""
        return np.array(self.ops.to_host(self.array))

    def need_gradient(self) -> Blob:
        """The gradient's blob; its storage is made, and zeroed, when it is first used: a net that only answers never does."""
        if self.diff is None:
            self.diff = _Zeroed(f"{self.name} gradient", self.shape, self.dtype, self.ops)
        return self.diff

    @property
    def gradient(self) -> np.ndarray:
        """Mocha's name for the gradient as an ndarray."""
        return self.need_gradient().data
