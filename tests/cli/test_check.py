"""`fullmocha check` passes what is right, and fails what is wrong."""

import re
from pathlib import Path

import numpy as np
import pytest

import fullmocha as fm

from .conftest import Run

STRIDED = """
import fullmocha as fm

def several():
    # one patch gives 2 x 3 answers, 2 pixels apart
    return [
        fm.InputLayer(tops=["data"], shapes=[(1, 1, 8, 10)]),
        fm.ConvolutionLayer(name="conv", bottoms=["data"], tops=["conv"], kernel=5, stride=2, n_filter=3, neuron=fm.Neurons.Tanh()),
    ]

def u():
    # in step with shifts by 2, so dense as it stands: 12 x 12 to 7 x 7
    return [
        fm.InputLayer(tops=["data"], shapes=[(1, 1, 12, 12)]),
        fm.ConvolutionLayer(name="a", bottoms=["data"], tops=["a"], kernel=3, n_filter=3, neuron=fm.Neurons.ReLU()),
        fm.PoolingLayer(name="b", bottoms=["a"], tops=["b"], kernel=2, stride=2),
        fm.DeconvolutionLayer(name="c", bottoms=["b"], tops=["c"], kernel=2, stride=2, n_filter=3),
        fm.MergeCropLayer(name="d", bottoms=["c", "a"], tops=["d"]),
        fm.ConvolutionLayer(name="e", bottoms=["d"], tops=["e"], kernel=4, n_filter=2),
        fm.SoftmaxLayer(name="prob", bottoms=["e"], tops=["prob"]),
    ]
"""


@pytest.mark.parametrize("net", ["mynet:tiny", "several:several", "several:u"])
@pytest.mark.parametrize("border", ["symmetric", "valid"])
def test_passes(run: Run, folder: Path, sections: np.ndarray, net: str, border: str) -> None:
    (folder / "several.py").write_text(STRIDED)
    done = run(
        "check",
        net,
        "in.tif",
        "--backend",
        "reference",
        "--scale",
        "0.004",
        "--border",
        border,
        "-n",
        "20",
        "--allow-missing",
    )
    assert done.status == 0, done
    assert "20 of " in done.out and "passed: the limit is 5e-05" in done.out
    difference = float(re.search(r"difference (\S+)", done.out)[1])  # type: ignore[index]
    assert 0 < difference < 5e-6  # float32 against float64: no map is compared with itself
    assert ("relative" in done.out) == (net == "several:several")


def test_fails_where_the_dense_map_is_wrong(
    run: Run, folder: Path, sections: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shift the dense answers by one pixel, as a border on the wrong side would."""
    from fullmocha.dense import DenseNet

    command = ("check", "mynet:tiny", "-w", "tiny.h5", "in.tif", "--backend", "reference")
    assert run(*command).status == 0
    true = DenseNet.forward
    monkeypatch.setattr(DenseNet, "forward", lambda self, x=None: np.roll(true(self, x), 1, axis=-1))
    done = run(*command)
    assert done.status == 3
    assert "FAILED: the limit is 5e-05" in done.out


def test_nan_fails(run: Run, folder: Path, sections: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    from fullmocha.dense import DenseNet

    true = DenseNet.forward

    def holed(self: fm.DenseNet, x: np.ndarray) -> np.ndarray:
        y = true(self, x)
        y[0, 1, 3:9] = np.nan
        return y

    monkeypatch.setattr(DenseNet, "forward", holed)
    done = run("check", "mynet:tiny", "-w", "tiny.h5", "in.tif", "--backend", "reference")
    assert done.status == 3 and "class 1" in done.out
