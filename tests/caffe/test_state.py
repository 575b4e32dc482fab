"""Caffe's solver states in both forms: real ones, ours, and broken ones."""

import struct

import h5py
import numpy as np
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from fullmocha.caffe.state import CaffeState, encode_state, read_state, write_state
from fullmocha.errors import FormatError


def theirs():
    """The message as Caffe's schema has it, for protobuf's own reader."""
    file = descriptor_pb2.FileDescriptorProto(name="state.proto", package="state", syntax="proto2")
    shape, blob, state = (file.message_type.add(name=name) for name in ("BlobShape", "BlobProto", "SolverState"))
    packed = descriptor_pb2.FieldOptions(packed=True)
    shape.field.add(name="dim", number=1, type=3, label=3, options=packed)
    blob.field.add(name="shape", number=7, type=11, type_name=".state.BlobShape", label=1)
    blob.field.add(name="data", number=5, type=2, label=3, options=packed)
    blob.field.add(name="double_data", number=8, type=1, label=3, options=packed)
    state.field.add(name="iter", number=1, type=5, label=1)
    state.field.add(name="learned_net", number=2, type=9, label=1)
    state.field.add(name="history", number=3, type=11, type_name=".state.BlobProto", label=3)
    state.field.add(name="current_step", number=4, type=5, label=1)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("state.SolverState"))


RESUMED = ["sgd_fixed", "sgd_multistep", "sgd_all", "nesterov_fixed", "adagrad_fixed", "rmsprop_fixed", "adadelta_fixed",
           "adam_fixed", "adam_inv", "adam_all", "sgd_batchnorm", "sgd_shared_params"]  # fmt: skip


@pytest.mark.parametrize("case", RESUMED)
def test_both_forms_of_a_golden_snapshot_say_the_same(data_dir, case):
    folder = data_dir / "caffe_golden" / "solvers" / case
    binary, hdf5 = read_state(folder / "snap_iter_3.solverstate"), read_state(folder / "snap_iter_3.solverstate.h5")
    assert binary.iter == hdf5.iter == 3
    assert binary.current_step == hdf5.current_step == (1 if case == "sgd_multistep" else 0)
    assert (binary.learned_net, hdf5.learned_net) == ("snap_iter_3.caffemodel", "snap_iter_3.caffemodel.h5")
    with np.load(folder / "golden.npz", allow_pickle=False) as golden:
        learnable = [golden[key].shape for key in golden.files if key.startswith("weights/3/")]
    shapes = [h.shape for h in binary.history]
    if case != "sgd_shared_params":  # whose shared ones stand there once, and in golden twice
        assert shapes == learnable * (2 if case.startswith("ada") and not case.startswith("adagrad") else 1)
    assert any(h.any() for h in binary.history)
    for a, b in zip(binary.history, hdf5.history, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("file", "iteration", "learned", "step", "count"),
    [
        ("lenet_v1_2014/lenet_iter_10000.solverstate", 10000, "lenet_iter_10000.caffemodel", 0, 8),
        ("cifar10_full_v1_2014/cifar10_full_iter_70000.solverstate", 70000, "cifar10_full_lr2_iter_70000.caffemodel", 0, 8),
        ("cifar10_quick_h5/cifar10_quick_iter_4000.solverstate", 4000, "cifar10_quick_iter_4000.caffemodel", 0, 10),
        ("cifar10_quick_h5/cifar10_quick_iter_5000.solverstate.h5", 5000, "cifar10_quick_iter_5000.caffemodel.h5", 0, 10),
        ("resnet20_cifar10_ljf/cifar10_ResNet_20_iter_64000.solverstate", 64000, "cifar10_ResNet_20_iter_64000.caffemodel", 2, 149),
    ],
)  # fmt: skip
def test_real_states(data_dir, file, iteration, learned, step, count):
    state = read_state(data_dir / "caffemodels" / file)
    assert (state.iter, state.current_step, len(state.history)) == (iteration, step, count)
    assert state.learned_net.endswith(learned)
    assert all(np.isfinite(h).all() for h in state.history) and state.history[0].any()


@pytest.mark.parametrize("suffix", ["", ".h5"])
def test_what_is_written_is_read(tmp_path, rng, suffix):
    history = [rng.normal(size=s).astype(np.float32) for s in ((3, 2, 5, 7), (3,), ())] + [rng.normal(size=(2, 3))]
    state = CaffeState(12345, "net_iter_12345.caffemodel", 7, history, b"a place")
    write_state(tmp_path / f"x.solverstate{suffix}", state)
    back = read_state(tmp_path / f"x.solverstate{suffix}")
    assert (back.iter, back.learned_net, back.current_step) == (12345, "net_iter_12345.caffemodel", 7)
    assert back.place == b"a place"
    for a, b in zip(history, back.history, strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape
        np.testing.assert_array_equal(a, b)


def test_protobuf_reads_what_we_write(rng):
    history = [rng.normal(size=(3, 2)).astype(np.float32), rng.normal(size=4)]
    message = theirs().FromString(encode_state(CaffeState(9, "w.caffemodel", 1, history)))
    assert (message.iter, message.learned_net, message.current_step) == (9, "w.caffemodel", 1)
    assert [list(b.shape.dim) for b in message.history] == [[3, 2], [4]]
    assert list(message.history[0].data) == history[0].ravel().tolist() and not message.history[0].double_data
    assert list(message.history[1].double_data) == history[1].tolist()


def test_hdf5_is_laid_out_as_caffe_does_it(data_dir, tmp_path):
    real = data_dir / "caffe_golden" / "solvers" / "adam_all" / "snap_iter_3.solverstate.h5"
    write_state(tmp_path / "ours.h5", read_state(real))

    def layout(path):
        found = {}
        with h5py.File(path) as file:
            file.visititems(
                lambda name, item: found.update({name: (getattr(item, "dtype", None), getattr(item, "shape", None))})
            )
            kind = file["learned_net"].id.get_type()
            found["string"] = kind.get_cset(), kind.get_strpad(), kind.get_size(), file["learned_net"][()]
        return found

    assert layout(tmp_path / "ours.h5") == layout(real)


GOOD = encode_state(CaffeState(3, "w", 1, [np.arange(6, dtype=np.float32).reshape(2, 3)]))


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "holds no iteration"),
        (GOOD[:-3], "x breaks off at byte|x: history 0|x holds no"),
        (b"\x08\x03\x1a\x06\x2a\x04" + struct.pack("<f", 1) + b"\x1a\x02\x28\x01", "history 1|breaks off"),
        (b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "iteration -1"),
        (b'iter: 5000\nlearned_net: "x"\n', "breaks off"),
    ],
)
def test_broken_states(tmp_path, monkeypatch, raw, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x").write_bytes(raw)
    with pytest.raises(FormatError, match=message):
        read_state("x")


@pytest.mark.parametrize("broken", ["iter", "history", "gap", "text", "unwritten"])
def test_broken_hdf5_states(tmp_path, broken):
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        if broken != "iter":
            file["iter"] = np.array([1.5 if broken == "text" else 3])
        if broken != "history":
            file["history/1" if broken == "gap" else "history/0"] = np.float32([1, 2])
        if broken == "unwritten":
            file.create_dataset("history/1", (1 << 20, 1 << 20), "f4", chunks=(1, 1 << 20))
    with pytest.raises(FormatError, match=r"x\.h5"):
        read_state(path)
