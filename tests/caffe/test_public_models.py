"""The public models, whole, against what OpenCV computed from the same files."""

import os
from pathlib import Path

import numpy as np
import pytest

from fullmocha.caffe.load import build, describe_message
from fullmocha.caffe.rules import upgrade
from fullmocha.caffe.text import read_prototxt

MODELS = Path(os.environ.get("FULLMOCHA_DATA", Path(__file__).resolve().parents[3] / "shared" / "data")) / "caffemodels"
STORED = sorted(f.stem for f in (MODELS / "_cv2_reference").glob("*.npz"))
LIMIT = 1e-4  # of the largest value: both sum in float32, in other orders


def load(name: str, backend: str):
    """The net at the size that OpenCV ran it in, its layers' tops, its input's name, and what OpenCV got."""
    with np.load(MODELS / "_cv2_reference" / f"{name}.npz", allow_pickle=False) as file:
        stored = {key: file[key] for key in file.files}
    prototxt, weights = MODELS / str(stored["prototxt"]), MODELS / str(stored["caffemodel"])
    message = upgrade(read_prototxt(prototxt), str(prototxt))
    (data,) = [layer for layer in message.layer if layer.type == "Input"]
    data.input_param.shape[0].dim[:] = stored["input"].shape
    net = build(describe_message(message, name, "test"), name, weights, backend, "float32", False)
    return net, {layer.name: layer.top[0] for layer in message.layer if layer.top}, data.top[0], stored


@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize("name", STORED)
def test_outputs_are_opencvs(name: str, backend: str) -> None:
    net, tops, data, stored = load(name, backend)
    net.forward(inputs={data: stored["input"]})
    outputs = {key.removeprefix("out_"): value for key, value in stored.items() if key.startswith("out_")}
    assert outputs
    for blob, theirs in outputs.items():
        ours = net.output_blobs[tops.get(blob, blob)].data.reshape(theirs.shape)  # OpenCV says the layer's name
        assert np.ptp(theirs) > 1e-3, "must not be constant"
        assert np.abs(ours - theirs).max() < LIMIT * np.abs(theirs).max(), blob


def test_all_twelve_are_there(data_dir: Path) -> None:
    assert data_dir == MODELS.parent and len(STORED) == 12
