"""The command line run inside this process, with small nets that a test describes in a prototxt or a module of its own."""

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

import fullmocha as fm

LAYERS = '''
import fullmocha as fm

def tiny(classes=2, channels=1):
    """Two stages of convolution and max pooling; the patch is 14 x 14."""
    relu = fm.Neurons.ReLU()
    return [
        fm.InputLayer(tops=["data"], shapes=[(1, channels, 14, 14)]),
        fm.ConvolutionLayer(name="conv1", bottoms=["data"], tops=["conv1"], kernel=3, n_filter=4, neuron=relu),
        fm.PoolingLayer(name="pool1", bottoms=["conv1"], tops=["pool1"], kernel=2, stride=2),
        fm.ConvolutionLayer(name="conv2", bottoms=["pool1"], tops=["conv2"], kernel=3, n_filter=5, neuron=relu),
        fm.PoolingLayer(name="pool2", bottoms=["conv2"], tops=["pool2"], kernel=2, stride=2),
        fm.InnerProductLayer(name="ip1", bottoms=["pool2"], tops=["ip1"], output_dim=classes),
        fm.SoftmaxLayer(name="prob", bottoms=["ip1"], tops=["prob"]),
    ]

def one():
    return tiny(classes=3)

def colour():
    return tiny(channels=3)

def net(backend):
    return fm.Net("made", backend, tiny())

def fixed():
    net = fm.Net("fixed", "cpu", tiny())
    net.params["ip1"][1].data = [3.0, -3.0]
    return net

def broken():
    return 1 / 0

def leaves():
    raise SystemExit("bye")

def strings():
    return ["a"]

number = 7
'''


class Done(NamedTuple):
    status: int
    out: str
    err: str


Run = Callable[..., Done]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """`run("info", "net.prototxt")`, as the shell would; a traceback fails the test."""
    from fullmocha.cli import main

    def call(*arguments: object) -> Done:
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main([str(a) for a in arguments])
        out, err = capsys.readouterr()
        return Done(int(end.value.code or 0), out, err)

    return call


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working directory of a user: the module mynet.py and weights for its nets; two sections of 37 x 45."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mynet.py").write_text(LAYERS, encoding="utf-8")
    for name in ("tiny", "one", "colour"):
        fm.save_network(build(name), tmp_path / f"{name}.h5")
    yield tmp_path
    sys.modules.pop("mynet", None)


def build(name: str, backend: str = "reference") -> fm.Net:
    """A net of mynet.py, with values drawn from a fixed seed, such that 8-bit greys make the classes differ by pixel."""
    sys.path.insert(0, ".")
    try:
        layers = getattr(importlib.import_module("mynet"), name)()
    finally:
        sys.path.remove(".")
    net = fm.Net(name, backend, layers)
    rng = np.random.default_rng(3)
    for layer, params in net.params.items():
        for p in params:
            p.data = rng.normal(0, 0.5, p.shape) / (512 if layer == "conv1" else 1)
    return net


@pytest.fixture
def sections(folder: Path) -> np.ndarray:
    """in.tif: two sections of 37 x 45, 8-bit."""
    import tifffile

    stack = np.random.default_rng(8).integers(0, 256, (2, 37, 45)).astype(np.uint8)
    tifffile.imwrite(folder / "in.tif", stack, photometric="minisblack")
    return stack


def names(folder: Path) -> list[str]:
    """Everything in a folder, hidden files too, but for Python's caches."""
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if "__pycache__" not in p.parts)
