"""Caffe's files: nets in prototxt, weights in .caffemodel and .caffemodel.h5.

    prototxt -> text.py -> rules.py -> sharing.py, translate.py -> layer configs -> Net
    weights  -> binary.py or hdf5.py -> weights.py (names, shapes, values) ----------^

Importing this package reads no file and loads neither protobuf nor h5py.
"""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from ..backend import Backend
    from ..net import Net


def load_caffe(
    prototxt: str | os.PathLike[str],
    weights: str | os.PathLike[str] | None = None,
    backend: "str | Backend" = "auto",
    phase: Literal["train", "test"] = "test",
    dtype: str = "float32",
    allow_missing: bool = False,
    stages: Sequence[str] = (),
    level: int | None = None,
) -> "Net":
    """A net from Caffe's files; everything is read, and checked, before it returns.

    Parameters
    ----------
    prototxt : path
        The net in text, in the words of BVLC Caffe 1.0, of its older forms, or of Greentea.
    weights : path, optional
        A .caffemodel (V0, V1 or V2) or .caffemodel.h5; the content says which. Layers are matched by name. Without it,
        fillers set the parameters.
    backend : str or Backend
        Where to compute.
    phase : {"train", "test"}
        Which layers the ``include`` and ``exclude`` rules leave; dropout drops in training only.
    dtype : {"float32", "float64"}
        What to compute in.
    allow_missing : bool
        Whether layers that the file of weights lacks keep their initial values.
    stages : list of str
        For the `stage` and `not_stage` rules; those of the net's own `state` are added.
    level : int, optional
        For the `min_level` and `max_level` rules; that of the net's own `state`, or 0, unless given.

    Raises
    ------
    FormatError
        If a file is missing, cut, corrupt, or has a syntax error (with line and column).
    UnsupportedError
        If the net has a layer type or option that is not built.
    WeightsError
        If weights are missing, mis-shaped or not finite.
    TopologyError, ShapeError
        If the layers do not make a net.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "net.prototxt"
    >>> _ = path.write_text('''
    ...     input: "data" input_shape { dim: 1 dim: 1 dim: 5 dim: 5 }
    ...     layer { name: "c" type: "Convolution" bottom: "data" top: "c" convolution_param { num_output: 2 kernel_size: 5 } }
    ... ''')
    >>> net = fm.load_caffe(path, backend="reference")
    >>> fm.predict(net, np.ones((6, 7))).shape
    (2, 6, 7)
    """
    from .load import load

    return load(prototxt, weights, backend, phase, dtype, allow_missing, stages, level)


__all__ = ["load_caffe"]
