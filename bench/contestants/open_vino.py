"""OpenVINO on the same ONNX file. It is told to compute in float32: left alone it takes bfloat16 where the processor has it."""

from pathlib import Path

import numpy as np

from . import Options, Run

SETTINGS = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}


def load(folder: Path, threads: int, form: list[str], options: Options) -> Run:
    import openvino

    core = openvino.Core()
    model = core.compile_model(
        core.read_model(str(folder / "net.onnx")), "CPU", SETTINGS | {"INFERENCE_NUM_THREADS": threads}
    )
    request = model.create_infer_request()

    def run(image: np.ndarray) -> np.ndarray:
        return np.array(request.infer({"image": image}, share_inputs=True, share_outputs=True)["answer"])

    return run
