"""ONNX graphs as an outsider runs them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="onnx is not installed (extra onnx)")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra peers)")


@pytest.fixture
def run() -> Callable[[Path, np.ndarray], np.ndarray]:
    """Checks a graph as strictly as onnx can, and runs it in onnxruntime."""

    def answer(path: Path, x: np.ndarray) -> np.ndarray:
        model = onnx.load(path)
        onnx.checker.check_model(model, full_check=True)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        (y,) = session.run(None, {session.get_inputs()[0].name: x})
        assert [opset.version for opset in model.opset_import] == [17]
        return y

    return answer
