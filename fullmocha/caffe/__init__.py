"""Caffe's files: nets in prototxt, weights in .caffemodel and .caffemodel.h5.

    prototxt -> text.py -> rules.py -> sharing.py, translate -> layer configs -> Net
    weights  -> binary.py (wire.py, blobs.py), hdf5.py -> weights.py ---------------^
    solver.prototxt -> solver.py -> a training; snapshots.py and state.py keep it

Importing this package reads no file and loads neither protobuf nor h5py.
"""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from ..backend import Backend
    from ..net import Net
    from .solver import CaffeTraining


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


def load_caffe_solver(
    prototxt: str | os.PathLike[str],
    backend: "str | Backend" = "auto",
    weights: str | os.PathLike[str] | None = None,
    resume: str | os.PathLike[str] | None = None,
    dtype: str = "float32",
) -> "CaffeTraining":
    """A training from Caffe's solver file: `training.solve()` goes through it as Caffe's does, with tests and snapshots.

    Parameters
    ----------
    prototxt : path
        The solver. Nets that it names are looked for in the working directory, then beside it.
    backend : str or Backend
        Where to compute; the file's solver_mode and device are not asked.
    weights : path, optional
        To begin with, in place of those that the file names; layers are matched by name, and what it lacks is drawn by fillers.
        With `resume`, in place of those that the state names.
    resume : path, optional
        A .solverstate or .solverstate.h5, of Caffe or of ours, to go on from. After Caffe's the data begin with their first sample,
        as in Caffe; after ours the training has the bits of one that never stopped.
    dtype : {"float32", "float64"}
        What to compute in.

    Returns
    -------
    CaffeTraining
        With `solver`, `net`, `test_nets`.

    Raises
    ------
    FormatError, UnsupportedError, SolverError
        If the file lacks something, asks for what is not built, or the state is of another net or solver.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "solver.prototxt"
    >>> _ = path.write_text('''
    ...     base_lr: 0.1 lr_policy: "inv" gamma: 1 power: 0.5 momentum: 0.9 max_iter: 3 snapshot_after_train: false
    ...     net_param {
    ...       layer { name: "x" type: "Input" top: "x" top: "y" input_param { shape { dim: 2 dim: 4 } shape { dim: 2 } } }
    ...       layer { name: "ip" type: "InnerProduct" bottom: "x" top: "ip" inner_product_param { num_output: 3 } }
    ...       layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "y" }
    ...     }
    ... ''')
    >>> training = fm.load_caffe_solver(path, backend="reference")
    >>> training.net.output_blobs["x"].data[...], training.net.output_blobs["y"].data[...] = np.ones((2, 4)), [0, 2]
    >>> training.solver.method, training.solve().iter
    (SGD(), 3)
    """
    from .solver import load_solver

    return load_solver(prototxt, backend, weights, resume, dtype)


__all__ = ["load_caffe", "load_caffe_solver"]
