"""Which backend a name stands for, and what a user is told where one cannot do the work."""

import numpy as np
import pytest
from fullmocha.backends import cuda, protocol

import fullmocha as fm
from fullmocha.backend import make_backend


def with_device(monkeypatch: pytest.MonkeyPatch, answers: bool) -> None:
    """As if a device answered here, or none did."""
    monkeypatch.setattr(cuda, "available", lambda: answers)


@pytest.mark.parametrize(
    ("device", "complete", "chosen"),
    [(True, True, fm.GPUBackend), (True, False, fm.CPUBackend), (False, True, fm.CPUBackend)],
)
def test_auto_is_the_device_only_if_it_can_do_everything(
    monkeypatch: pytest.MonkeyPatch, device: bool, complete: bool, chosen: type
) -> None:
    with_device(monkeypatch, device)
    monkeypatch.setattr(cuda, "complete", lambda: complete)
    assert type(make_backend("auto")) is chosen


def test_complete_asks_for_every_op(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = [op for op in vars(protocol.Ops) if not op.startswith("_") and not hasattr(cuda.Ops, op)]
    assert cuda.complete() == (not missing)
    for op in missing:
        monkeypatch.setattr(cuda.Ops, op, None, raising=False)
    assert cuda.complete()
    monkeypatch.delattr(cuda.Ops, "conv")
    assert not cuda.complete()


def test_a_net_runs_with_auto_whatever_is_here(monkeypatch: pytest.MonkeyPatch) -> None:
    with_device(monkeypatch, True)
    layers = [
        fm.InputLayer(tops=["x"], shapes=[(2, 3)]),
        fm.InnerProductLayer(name="a", bottoms=["x"], tops=["a"], output_dim=2),
        fm.SoftmaxLayer(bottoms=["a"], tops=["p"]),
    ]
    if cuda.complete():
        pytest.skip("the device would be asked, and here is perhaps none")
    net = fm.Net("net", "auto", layers)
    net.init()
    net.forward({"x": np.ones((2, 3))})
    np.testing.assert_allclose(net.output_blobs["p"].data.sum(1), 1, rtol=1e-6)  # two terms, float32


def test_cuda_without_a_device_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with_device(monkeypatch, False)
    with pytest.raises(fm.UnsupportedError, match=r'no CUDA device answers on this machine; use backend="cpu"'):
        fm.Net("net", "cuda", [fm.InputLayer(tops=["x"], shapes=[(2, 3)])])


def test_an_op_that_a_device_lacks_is_unsupported(monkeypatch: pytest.MonkeyPatch) -> None:
    """The user meets our exception; a missing op needs no device to say so."""
    with_device(monkeypatch, True)
    ops = fm.GPUBackend().ops
    with pytest.raises(fm.UnsupportedError, match=r'no activate\(kind="tanh"\) yet; use backend "cpu"'):
        ops.activate(None, None, kind="tanh", parameters=())
    missing = [op for op in vars(protocol.Ops) if not op.startswith("_") and not hasattr(cuda.Ops, op)]
    for op in missing:
        with pytest.raises(fm.UnsupportedError, match=f'"cuda" has no {op} yet'):
            getattr(ops, op)()


@pytest.mark.parametrize("backend", ["cray", "", [], None, 3, fm.CPUBackend, np.ones(2)])
def test_what_is_no_backend_is_refused(backend: object) -> None:
    with pytest.raises(fm.UnsupportedError, match="is unknown; choose one of auto, cpu, cuda, reference, or"):
        fm.Net("net", backend, [fm.InputLayer(tops=["x"], shapes=[(2, 3)])])


def test_an_object_is_itself() -> None:
    backend = fm.ReferenceBackend()
    assert make_backend(backend) is backend
