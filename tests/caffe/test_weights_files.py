"""Reading .caffemodel (V1, V2) and .caffemodel.h5: real files, bytes made by hand, and files that are broken."""

import os
import struct
import time

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fullmocha.caffe.binary import decode_caffemodel
from fullmocha.caffe.blobs import read_blob
from fullmocha.caffe.weights import read_weights
from fullmocha.errors import FormatError, UnsupportedError

# --- the wire format, written by hand, so that the reader is not judged by its own descriptors


def varint(n):
    n &= (1 << 64) - 1
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    return bytes(out + bytes([n]))


def number(field, n):
    return varint(field << 3) + varint(n)


def chunk(field, payload):
    return varint(field << 3 | 2) + varint(len(payload)) + payload


def floats(*values):
    return struct.pack(f"<{len(values)}f", *values)


def shape(*dims):
    return chunk(7, chunk(1, b"".join(varint(n) for n in dims)))


def v2(name, *blobs):
    return chunk(100, chunk(1, name) + chunk(2, b"T") + chunk(3, b"in") + b"".join(chunk(7, b) for b in blobs))


def v1(name, *blobs):
    return chunk(2, chunk(4, name) + number(5, 4) + b"".join(chunk(6, b) for b in blobs))


SIX = [1.5, -2, 3, 4, 5, 6]
# Six numbers in every encoding that a writer may choose.
ENCODINGS = {
    "packed": shape(2, 3) + chunk(5, floats(*SIX)),
    "shape last": chunk(5, floats(*SIX)) + shape(2, 3),
    "unpacked": shape(2, 3) + b"".join(varint(5 << 3 | 5) + floats(x) for x in SIX),
    "two chunks": chunk(5, floats(*SIX[:2])) + shape(2, 3) + chunk(5, floats(*SIX[2:])),
    "mixed": shape(2, 3) + chunk(5, floats(*SIX[:5])) + varint(5 << 3 | 5) + floats(SIX[5]),
    "unpacked shape": chunk(7, number(1, 2) + number(1, 3)) + chunk(5, floats(*SIX)),
    "with diff": shape(2, 3) + chunk(5, floats(*SIX)) + chunk(6, floats(*[9] * 6)),
    "greentea's halves": shape(2, 3) + chunk(11, np.float16(SIX).tobytes()) + number(13, 1),
    "greentea's floats": shape(2, 3) + chunk(11, floats(*SIX)) + number(13, 0),
    "unknown fields": number(99, 7) + shape(2, 3) + chunk(5, floats(*SIX)) + varint(77 << 3 | 1) + bytes(8)
    + varint(60 << 3 | 3) + chunk(5, b"inside a group") + varint(60 << 3 | 4),
}  # fmt: skip


@pytest.mark.parametrize("layout", [v1, v2])
@pytest.mark.parametrize("blob", ENCODINGS.values(), ids=ENCODINGS)
def test_known_bytes(layout, blob):
    weights = decode_caffemodel(chunk(1, b"net") + layout(b"ip", blob), "f")
    assert list(weights) == ["ip"] and len(weights["ip"]) == 1
    assert weights["ip"][0].dtype == np.float32
    np.testing.assert_array_equal(weights["ip"][0], [[1.5, -2, 3], [4, 5, 6]])


def test_old_shapes_doubles_and_scalars():
    old = b"".join(number(i + 1, n) for i, n in enumerate((1, 1, 2, 3))) + chunk(5, floats(*SIX))
    double = shape(2) + chunk(8, struct.pack("<2d", 0.1, 1e300))
    weights = decode_caffemodel(v1(b"a", old) + v2(b"b", double, chunk(5, floats(7))) + v2(b"relu"), "f")
    np.testing.assert_array_equal(weights["a"][0], np.reshape(SIX, (1, 1, 2, 3)))
    assert weights["b"][0].dtype == np.float64 and weights["b"][0].tolist() == [0.1, 1e300]
    assert weights["b"][1].shape == () and weights["b"][1] == 7
    assert list(weights) == ["a", "b"]  # a layer without blobs is left out


def test_greenteas_quantised_numbers_are_refused_and_its_plain_ones_preferred():
    with pytest.raises(
        UnsupportedError, match=r"layer 'ip', blob 0 holds quantised numbers \(data_type 3 of Greentea\)"
    ):
        decode_caffemodel(v2(b"ip", shape(6) + chunk(11, b"abcdef") + number(13, 3)), "f")
    both = shape(1) + chunk(5, floats(2)) + chunk(11, b"a") + number(13, 3)
    assert decode_caffemodel(v2(b"ip", both), "f")["ip"][0].tolist() == [2]


def test_more_than_protobufs_64_mb():
    payload = np.zeros(20_000_000, "<f4")
    payload[-1] = 7
    weights = decode_caffemodel(
        v2(b"ip", shape(5000, 4000) + chunk(5, payload.tobytes())) + v1(b"old", ENCODINGS["packed"]), "f"
    )
    assert weights["ip"][0].shape == (5000, 4000) and weights["ip"][0][-1, -1] == 7 and "old" in weights


def test_fields_between_layers_are_stepped_over():
    inner = varint(9 << 3 | 3) + v2(b"no layer", ENCODINGS["packed"]) + varint(9 << 3 | 4)
    noise = number(5, 1) + varint(200 << 3 | 1) + bytes(8) + varint(201 << 3 | 5) + bytes(4) + inner
    assert list(decode_caffemodel(noise + v2(b"a", ENCODINGS["packed"]) + noise, "f")) == ["a"]


def test_a_name_that_is_not_utf8():
    assert list(decode_caffemodel(v2(b"a\xff", ENCODINGS["packed"]), "f")) == ["a\ufffd"]


BROKEN = {
    "count": (v2(b"ip", shape(2, 4) + chunk(5, floats(*SIX))), r"f: layer 'ip', blob 0 .* \(2, 4\).* 8 .* holds 6"),
    "negative": (v2(b"ip", shape(-2, -3) + chunk(5, floats(*SIX))), r"layer 'ip', blob 0 has shape \(-2, -3\)"),
    "huge": (v2(b"ip", shape(1 << 62, 1 << 62) + chunk(5, floats(*SIX))), "layer 'ip', blob 0 has shape"),
    "axes": (v2(b"ip", shape(*[1] * 33) + chunk(5, floats(1))), "layer 'ip', blob 0 has more than 32 axes"),
    "axes one by one": (v2(b"ip", chunk(7, number(1, 1) * 10**6)), "layer 'ip', blob 0 has more than 32 axes"),
    "no data": (v2(b"ip", shape(2, 3)), "holds 0"),
    "odd half": (v2(b"ip", shape(1) + chunk(11, b"xxx") + number(13, 1)), "layer 'ip', blob 0 cannot be decoded"),
    "odd floats": (v2(b"ip", shape(1) + chunk(5, b"xxxxx")), "layer 'ip', blob 0 cannot be decoded"),
    "floats cut": (v2(b"ip", shape(2) + varint(5 << 3 | 5) + floats(1) + varint(5 << 3 | 5) + b"x"), "cannot be decoded"),
    "twice": (v2(b"ip", ENCODINGS["packed"]) * 2, "layer 'ip' has weights twice"),
    "blob": (v2(b"ip", ENCODINGS["packed"], b"\x0f"), "f: layer 'ip', blob 1 cannot be decoded"),
    "layer": (v2(b"a") + chunk(100, b"\x0f"), "f: the layer after layer 'a' cannot be decoded"),
    "cut": (v2(b"a") + v2(b"b")[:-1], "f breaks off after layer 'a', at byte"),
    "group": (v2(b"a") + varint(9 << 3 | 3), "f breaks off after layer 'a'"),
    "text": (b'name: "lenet"\nlayer {', "f breaks off at the start, at byte 0 of"),
    "group of another number": (v2(b"a") + varint(9 << 3 | 3) + varint(8 << 3 | 4), "f breaks off after layer 'a'"),
    "groups without end": (v2(b"a") + varint(9 << 3 | 3) * 10**6, "f breaks off after layer 'a'"),
    "number 0": (v2(b"a") + b"\0\0", "f breaks off after layer 'a'"),
    "long varint": (b"\x88" + b"\x80" * 20, "f breaks off at the start"),
    "empty": (b"", "f holds no layers"),
    "only a name": (chunk(1, b"net"), "f holds no layers"),
}  # fmt: skip


@pytest.mark.parametrize(("raw", "message"), BROKEN.values(), ids=BROKEN)
def test_broken_bytes_name_file_and_layer(raw, message):
    with pytest.raises(FormatError, match=message):
        decode_caffemodel(raw, "f")


# --- real files

LENET = {"conv1": [(20, 1, 5, 5), (20,)], "conv2": [(50, 20, 5, 5), (50,)], "ip1": [(500, 800), (500,)],
         "ip2": [(10, 500), (10,)]}  # fmt: skip
LENET_OLD = {"conv1": [(20, 1, 5, 5), (1, 1, 1, 20)], "conv2": [(50, 20, 5, 5), (1, 1, 1, 50)],
             "ip1": [(1, 1, 500, 800), (1, 1, 1, 500)], "ip2": [(1, 1, 10, 500), (1, 1, 1, 10)]}  # fmt: skip
QUICK = {"conv1": [(32, 3, 5, 5), (32,)], "conv2": [(32, 32, 5, 5), (32,)], "conv3": [(64, 32, 5, 5), (64,)],
         "ip1": [(64, 1024), (64,)], "ip2": [(10, 64), (10,)]}  # fmt: skip


@pytest.mark.parametrize(
    ("file", "shapes"),
    [
        ("lenet_v2/lenet_iter_10000.caffemodel", LENET),
        ("lenet_v1_2014/lenet_iter_10000.caffemodel", LENET_OLD),
        ("cifar10_quick_h5/cifar10_quick_iter_4000.caffemodel", QUICK),
        ("cifar10_quick_h5/cifar10_quick_iter_5000.caffemodel.h5", QUICK),
    ],
)
def test_real_files(data_dir, file, shapes):
    weights = read_weights(data_dir / "caffemodels" / file)
    assert {name: [b.shape for b in blobs] for name, blobs in weights.items()} == shapes
    assert all(b.dtype == np.float32 and np.isfinite(b).all() and b.any() for blobs in weights.values() for b in blobs)


@pytest.mark.parametrize("net", ["lenet", "unet"])
def test_both_formats_hold_the_same_values(data_dir, net):
    folder = data_dir / "caffe_golden" / "nets" / net
    binary, hdf5 = read_weights(folder / "weights.caffemodel"), read_weights(folder / "weights.caffemodel.h5")
    assert set(binary) == set(hdf5) and len(binary) >= 4
    for name, blobs in binary.items():
        assert len(blobs) == len(hdf5[name])
        for a, b in zip(blobs, hdf5[name], strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_golden_layer_has_the_values_that_caffe_wrote(data_dir):
    folder = data_dir / "caffe_golden" / "layers" / "ip"
    golden = np.load(folder / "golden.npz")
    weights = read_weights(folder / "weights.caffemodel")
    for i in (0, 1):
        np.testing.assert_array_equal(weights["l"][i], golden[f"param/l/{i}"])


def test_the_content_and_not_the_suffix_chooses_the_format(data_dir, tmp_path):
    file = tmp_path / "weights.caffemodel"
    file.write_bytes((data_dir / "caffe_golden/nets/unet/weights.caffemodel.h5").read_bytes())
    assert len(read_weights(file)) == 15


def test_a_mean_image(data_dir):
    mean = read_blob(data_dir / "caffemodels" / "resnet20_cifar10_ljf" / "cifar10_mean.binaryproto")
    assert mean.shape == (1, 3, 32, 32) and 100 < mean.mean() < 150


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(FormatError, match="does not exist"):
        read_weights(tmp_path / "absent")
    with pytest.raises(FormatError, match="is a folder"):
        read_weights(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_or_device_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in ("/dev/null", tmp_path / "pipe"):
        with pytest.raises(FormatError, match=rf"{path} is a pipe or device; a file of weights is a file"):
            read_weights(path)


# --- HDF5 made here


def h5(path, datasets):
    with h5py.File(path, "w") as file:
        for name, values in datasets.items():
            file[name] = values
    return path


def test_names_with_slashes_and_empty_groups(tmp_path, rng):
    w, b = rng.normal(size=(3, 2, 1, 2)), rng.normal(size=3).astype("f4")
    file = h5(tmp_path / "w", {"data/block/conv/0": w, "data/block/conv/1": b, "data/block/0": b, "diff/block/0": b})
    with h5py.File(file, "a") as f:
        f.create_group("data/relu")
    weights = read_weights(file)
    assert {name: len(blobs) for name, blobs in weights.items()} == {"block": 1, "block/conv": 2}
    np.testing.assert_array_equal(weights["block/conv"][0], w)
    assert weights["block/conv"][0].dtype == np.float64 and weights["block/conv"][1].dtype == np.float32


def test_hdf5_that_is_no_caffemodel(tmp_path):
    b = np.ones(3, "f4")
    cases = [
        (h5(tmp_path / "1", {"conv1___filter": b}), r"no group /data, .* it holds conv1___filter"),
        (
            h5(tmp_path / "2", {"data": b}),
            r"/data is a dataset of shape \(3,\), .* if it is an image, name it .*2:/data",
        ),
        (h5(tmp_path / "4", {"data/ip/0": np.arange(3)}), "layer 'ip', blob 0 is int64"),
        (h5(tmp_path / "5", {"data/ip/0": "text"}), "layer 'ip', blob 0 is object"),
    ]
    with h5py.File(tmp_path / "6", "w") as file:
        file.create_dataset("data/ip/0", (1 << 40,), "f4")  # 4 TB that were never written
    for file, message in [*cases, (tmp_path / "6", "never written")]:
        with pytest.raises(FormatError, match=message):
            read_weights(file)


# --- broken files: a FormatError or a valid beginning, and quickly


@pytest.mark.parametrize("file", ["lenet_v2/lenet_iter_10000.caffemodel", "lenet_v1_2014/lenet_iter_10000.caffemodel"])
def test_a_cut_caffemodel(data_dir, file):
    raw = (data_dir / "caffemodels" / file).read_bytes()
    whole = decode_caffemodel(raw, "f")
    begin, prefixes = time.perf_counter(), 0
    for at in [*range(0, 2500, 7), *np.linspace(2500, len(raw) - 1, 60, dtype=int)]:
        try:
            part = decode_caffemodel(raw[:at], "f")
        except FormatError as error:
            assert str(error).startswith("f ") or str(error).startswith("f: layer")
        else:  # cut exactly between two layers
            prefixes += 1
            assert set(part) < set(whole)
            assert all(np.array_equal(a, b) for name in part for a, b in zip(part[name], whole[name], strict=True))
    assert prefixes < 20 and time.perf_counter() - begin < 20


def test_a_cut_h5(data_dir, tmp_path):
    raw = (data_dir / "caffe_golden" / "nets" / "unet" / "weights.caffemodel.h5").read_bytes()
    file = tmp_path / "cut.h5"
    for at in np.linspace(0, len(raw) - 1, 40, dtype=int):
        file.write_bytes(raw[:at])
        with pytest.raises(FormatError):
            read_weights(file)


def test_a_corrupt_caffemodel(data_dir, rng):
    raw = (data_dir / "caffe_golden" / "nets" / "unet" / "weights.caffemodel").read_bytes()
    refused = 0
    for at in [*range(60), *rng.integers(0, len(raw), 200)]:
        changed = bytearray(raw)
        changed[at] ^= int(rng.integers(1, 256))
        try:
            decode_caffemodel(bytes(changed), "f")
        except FormatError:
            refused += 1
    assert refused > 10  # most other bytes are digits of weights


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_random_bytes(raw):
    for bytes_ in (raw, chunk(100, raw), chunk(2, raw), v2(b"a", raw)):
        try:
            decode_caffemodel(bytes_, "f")
        except FormatError as error:
            assert str(error).startswith("f")
