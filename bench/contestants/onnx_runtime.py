"""onnxruntime on the dense net with dilated kernels. Its threads may not spin, or they would slow whoever runs next."""

from pathlib import Path

import numpy as np

from . import Options, Run

SETTINGS = {"session.intra_op.allow_spinning": "0"}


def load(folder: Path, threads: int, form: list[str], options: Options) -> Run:
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads, settings.inter_op_num_threads = threads, 1
    for key, value in SETTINGS.items():
        settings.add_session_config_entry(key, value)
    session = onnxruntime.InferenceSession(str(folder / "net.onnx"), settings, providers=["CPUExecutionProvider"])

    def run(image: np.ndarray) -> np.ndarray:
        return session.run(["answer"], {"image": image})[0]

    return run
