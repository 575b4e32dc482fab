"""Small nets to train: awkward sizes (H != W, odd), a batch that wraps, float64."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from fullmocha.backend import Backend, ReferenceBackend
from fullmocha.layers import (
    AccuracyLayer,
    ConvolutionLayer,
    DropoutLayer,
    HDF5DataLayer,
    InnerProductLayer,
    Layer,
    MemoryDataLayer,
    SoftmaxLossLayer,
)
from fullmocha.net import Net
from fullmocha.neurons import Neurons
from fullmocha.solvers import SGD, MomPolicy, Solver, SolverState, make_solver_parameters

SAMPLES, CLASSES = 13, 3


def samples(count: int = SAMPLES, seed: int = 3, dtype: Any = np.float64) -> tuple[np.ndarray, np.ndarray]:
    """Images (count, 2, 5, 6) and labels (count, 1)."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, 2, 5, 6)).astype(dtype), rng.integers(0, CLASSES, (count, 1)).astype(dtype)


def memory_data(batch_size: int = 4, shuffle: bool = True, **fields: Any) -> MemoryDataLayer:
    return MemoryDataLayer(batch_size=batch_size, data=list(samples()), shuffle=shuffle, **fields)


def hdf5_data(folder: Path, sizes: tuple[int, ...], batch_size: int = 4, shuffle: bool = True) -> HDF5DataLayer:
    """The same samples in files of these sizes."""
    data, label = samples(sum(sizes))
    starts = np.cumsum((0, *sizes))
    names = [folder / f"{i}.h5" for i in range(len(sizes))]
    for name, a, b in zip(names, starts[:-1], starts[1:], strict=True):
        with h5py.File(name, "w") as file:
            file["data"], file["label"] = data[a:b], label[a:b]
    source = folder / "list.txt"
    source.write_text("\n".join(map(str, names)) + "\n")
    return HDF5DataLayer(source=source, batch_size=batch_size, shuffle=shuffle)


def trunk(**conv: Any) -> list[Layer]:
    """The layers that nets share; kernel (width, height)."""
    return [
        ConvolutionLayer(
            name="conv1", bottoms=["data"], tops=["conv1"], kernel=(2, 3), n_filter=4, neuron=Neurons.Tanh()
        ).copy(**conv),
        InnerProductLayer(name="ip1", bottoms=["conv1"], tops=["ip1"], output_dim=CLASSES),
    ]


def training(data: Layer, backend: Backend | None = None, dropout: bool = True, **conv: Any) -> Net:
    layers = [data, *trunk(**conv), SoftmaxLossLayer(name="loss", bottoms=["ip1", "label"])]
    if dropout:
        layers.append(DropoutLayer(name="drop", bottoms=["conv1"], ratio=0.4))
    return Net("train", backend or ReferenceBackend(11), layers)


def validation(backend: Backend, shuffle: bool = False, batch_size: int | None = None) -> Net:
    data = memory_data(batch_size or SAMPLES, shuffle, name="test-data")
    return Net("test", backend, [data, *trunk(), AccuracyLayer(name="acc", bottoms=["ip1", "label"])])


def solver(max_iter: float = 3, **params: Any) -> Solver:
    method = SGD()
    params = {"mom_policy": MomPolicy.Fixed(0.9)} | params
    return Solver(method, make_solver_parameters(method, max_iter=max_iter, **params))


def bits(net: Net, state: SolverState) -> Mapping[str, bytes]:
    """Everything that a training is made of, to the bit."""
    found: dict[str, Any] = {
        "random": repr(net.backend.rng.bit_generator.state).encode(),
        "numbers": np.array([state.iter, state.obj_val, state.learning_rate, state.momentum]).tobytes(),
    }
    for parameter in net.parameters:
        found[parameter.name] = parameter.values().tobytes()
        for i, array in enumerate(state.memories_of(parameter)):
            found[f"{parameter.name} {i}"] = net.backend.ops.to_host(array).tobytes()
    for i, node in enumerate(net.data_nodes):
        for name, value in node.layer.place(node.state).items():
            found[f"data {i} {name}"] = np.asarray(value, np.int64).tobytes()
    return found
