"""Small whole files to start from: one for each feature of a format that a reader treats apart."""

import io
import struct
import zlib

import h5py
import numpy as np
import tifffile
from PIL import Image

from fullmocha.caffe.state import CaffeState, encode_state
from fullmocha.caffe.wire import put_blob, put_bytes, put_int

RNG = np.random.default_rng(11)
STACK = np.cumsum(RNG.integers(0, 3, (2, 24, 20)), axis=2).astype(np.uint16)

V2 = """name: "n" input: "data" input_shape { dim: [1, 3, 12, 9] } state { level: 1 stage: "a" }
layer { name: "c" type: "Convolution" bottom: "data" top: "c" param { name: "w" lr_mult: 1 } param { decay_mult: 0 }
  convolution_param { num_output: 4 kernel_size: 3 stride: 2 pad: 1 group: 1 dilation: 1 weight_filler { type: "xavier" } } }
layer { name: "r" type: "ReLU" bottom: "c" top: "c" relu_param { negative_slope: .1 } }
layer { name: "b" type: "BatchNorm" bottom: "c" top: "b" param { } param { } param { } }
layer { name: "s" type: "Scale" bottom: "b" top: "b" scale_param { bias_term: true axis: 1 } }
layer { name: "p" type: "Pooling" bottom: "b" top: "p" pooling_param { pool: MAX kernel_size: 2 stride: 2 } }
layer { name: "i" type: "InnerProduct" bottom: "p" top: "i" inner_product_param { num_output: 2 } }
layer { name: "prob" type: "Softmax" bottom: "i" top: "prob" include { phase: TEST not_stage: "b" } }
layer { name: "l" type: "DummyData" top: "t" dummy_data_param { shape { dim: [1, 1] } } include { phase: TRAIN } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "i" bottom: "t" top: "loss" loss_weight: 2 loss_param { ignore_label: 3 }
  include { phase: TRAIN } }"""
V1 = """input: "data" input_dim: 1 input_dim: 3 input_dim: 8 input_dim: 8
layers { name: "c" type: CONVOLUTION bottom: "data" top: "c" blobs_lr: 1 weight_decay: 0 param: "w"
  convolution_param { num_output: 4 kernel_size: 3 } }
layers { name: "d" type: DATA top: "x" data_param { source: "s" scale: .5 batch_size: 2 } include: { phase: TRAIN } }
layers { name: "s" type: SOFTMAX bottom: "c" top: "s" }"""
V0 = """input: "data" input_dim: [1, 3, 8, 8]
layers { layer { name: "p" type: "padding" pad: 1 } bottom: "data" top: "p" }
layers { layer { name: "c" type: "conv" num_output: 2 kernelsize: 3 weight_filler { type: "gaussian" std: .1 } } bottom: "p" top: "c" }"""
MORE = """layer { name: "m" type: "MemoryData" top: "d" top: "l" memory_data_param { dim: [1, 2, 20, 20] } }
layer { type: "PoolingSK" name: "p" bottom: "d" top: "p" pooling_param { kernel_size: [2, 2] kstride: 2 stride: 1 } }
layer { type: "Deconvolution" name: "u" bottom: "p" top: "u" convolution_param { num_output: 2 kernel_size: 2 stride: 2 group: 2 } }
layer { type: "MergeCrop" name: "x" bottom: "p" bottom: "u" top: "x" mergecrop_param { forward: [1, 1] backward: true } }
layer { type: "Slice" name: "q" bottom: "x" top: "q" top: "z" slice_param { slice_point: 1 axis: 1 } }
layer { type: "Reshape" name: "e" bottom: "z" top: "e" reshape_param { shape { dim: [0, -1] } } }
layer { type: "Eltwise" name: "w" bottom: "e" bottom: "e" top: "w" eltwise_param { operation: SUM coeff: [1, -1] } }
layer { type: "LRN" name: "n" bottom: "q" top: "n" lrn_param { local_size: 3 } }
layer { type: "Crop" name: "k" bottom: "n" bottom: "d" top: "k" crop_param { axis: 2 offset: 1 } }
layer { type: "Silence" name: "h" bottom: "l" }"""
SOLVER = """train_net: "n" base_lr: .01 lr_policy: "multistep" stepvalue: [2, 3] gamma: .1 momentum: .9 solver_type: NESTEROV
test_state { stage: "x" level: 2 } max_iter: 9 snapshot_format: HDF5 device: 0"""


def blobs() -> list[bytes]:
    six = np.arange(6, dtype="<f4")
    one_by_one = b"".join(b"\x2d" + struct.pack("<f", x) for x in six) + put_bytes(7, put_int(1, 2) + put_int(1, 3))
    legacy = b"".join(put_int(i, n) for i, n in ((1, 1), (2, 1), (3, 2), (4, 3))) + put_bytes(5, six.tobytes())
    halves = put_bytes(7, put_bytes(1, b"\6")) + put_bytes(11, six.astype("<f2").tobytes()) + put_int(13, 1)
    chunks = put_bytes(5, six[:2].tobytes()) + put_bytes(7, put_bytes(1, b"\2\3")) + put_bytes(5, six[2:].tobytes())
    group = b"\xe3\x03" + put_int(5, 1) + b"\xe4\x03"
    return [put_blob(six.reshape(2, 3)), put_blob(six.astype(float)), one_by_one, legacy, halves, chunks + group]


def nets() -> list[bytes]:
    named = [put_bytes(1, b"net")]
    for i, blob in enumerate(blobs()):
        name = b"layer%d" % i
        named.append(put_bytes(100, put_bytes(1, name) + put_bytes(2, b"T") + put_bytes(7, blob)))
        named.append(put_bytes(2, put_bytes(4, b"old" + name) + put_int(5, 4) + put_bytes(6, blob)))
        named.append(put_bytes(2, put_bytes(1, put_bytes(1, b"oldest" + name) + put_bytes(50, blob))))
    return [*named[1:], b"".join(named)]


def hdf5_file(fill, **options) -> bytes:
    target = io.BytesIO()
    with h5py.File(target, "w", **options) as file:
        fill(file)
    return target.getvalue()


def hdf5_files() -> list[bytes]:
    six = np.arange(6, dtype="f4").reshape(2, 3)

    def caffe(file):
        file["data/a/0"], file["data/a/1"], file["data/a/b/0"], file["diff/a/0"] = six, six[0], six, six
        file.create_group("data/relu")

    def solver(file):
        file["iter"], file["current_step"], file["learned_net"] = np.int32([3]), np.int32([1]), np.bytes_("w")
        file["history/0"], file["history/1"] = six, six[0]

    def ours(file):
        file["conv1___filter"], file["conv1___bias"], file["solver_state/method"] = six[None, None], six[0], "sgd"

    def jld(file):
        refs = h5py.ref_dtype
        name, array = (
            file.create_dataset("_refs/1", data=np.bytes_("ip")),
            file.create_dataset("_refs/2", data=six.astype(float)),
        )
        arrays, keys = (
            file.create_dataset(f"_refs/{i}", data=np.array([item.ref], refs), dtype=refs)
            for i, item in ((3, array), (4, name))
        )
        values = file.create_dataset("_refs/5", data=np.array([arrays.ref], refs), dtype=refs)
        record = np.zeros((), [("keys_", refs), ("values_", refs)])
        record["keys_"], record["values_"] = keys.ref, values.ref
        file.create_dataset("params_all", data=record)
        file.create_dataset("solver_state", data=np.array((3, 0.5), [("iteration_", "i8"), ("obj_val_", "f8")]))

    def image(file):
        file.create_dataset("raw", data=STACK, chunks=(1, 8, 20), compression="gzip").attrs["axes"] = "zyx"

    def sparse(file):
        file.create_dataset("data/a/0", (1 << 20, 1 << 20), "f4", chunks=(1, 1 << 10))[0, 0] = 1

    def sections(file):
        file.create_dataset("raw", (1 << 40, 2, 2), "u1", chunks=(16, 2, 2))[0] = 1

    return [hdf5_file(fill) for fill in (caffe, solver, ours, jld, image, sparse, sections)] + [
        hdf5_file(jld, userblock_size=512)
    ]


def tiff_file(**options) -> bytes:
    target = io.BytesIO()
    tifffile.imwrite(
        target, options.pop("data", STACK), photometric=options.pop("photometric", "minisblack"), **options
    )
    return target.getvalue()


def png_file(array: np.ndarray, **options) -> bytes:
    target = io.BytesIO()
    Image.fromarray(array).save(target, "PNG", **options)
    return target.getvalue()


def png_bomb() -> bytes:
    """A header of 60000 x 60000 before a few bytes."""

    def part(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", 60000, 60000, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", head) + part(b"IDAT", zlib.compress(bytes(1000))) + part(b"IEND", b"")


def graphs() -> list[bytes]:
    """Small graphs with most operators; none where onnx is not installed."""
    try:
        from onnx import TensorProto, helper, numpy_helper
    except ImportError:
        return []

    def graph(nodes, shape, **constants):
        values = [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()]
        x, y = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape), helper.make_tensor_value_info("y", 1, None)
        opsets = [helper.make_opsetid("", 17)]
        return helper.make_model(
            helper.make_graph(nodes, "g", [x], [y], values), opset_imports=opsets
        ).SerializeToString()

    node, ones = helper.make_node, np.ones(3, np.float32)
    conv = node("Conv", ["p", "w", "b"], ["c"], strides=[1, 2], dilations=[2, 1], pads=[1, 0, 1, 0])
    long = np.array([0, -1])
    return [
        graph(
            [node("Pad", ["x", "pads"], ["p"]), conv, node("Relu", ["c"], ["r"]), node("MaxPool", ["r"], ["m"], kernel_shape=[2, 2]),
             node("Flatten", ["m"], ["f"]), node("Gemm", ["f", "g"], ["y"], transB=1)],
            ["n", 2, 9, 8], w=np.ones((3, 2, 3, 2), np.float32), b=ones, pads=np.array([0, 0, 1, 1, 0, 0, 1, 1]),
            g=np.ones((2, 72), np.float32),
        ),
        graph(
            [node("BatchNormalization", ["x", "a", "a", "a", "a"], ["b"]), node("PRelu", ["b", "s"], ["c"]), node("Mul", ["c", "s"], ["d"]),
             node("Shape", ["d"], ["h"]), node("Gather", ["h", "i"], ["k"]), node("Concat", ["k", "l"], ["t"], axis=0),
             node("Reshape", ["d", "t"], ["e"]), node("Softmax", ["e"], ["y"], axis=-1)],
            [1, 3, 4, 5], a=ones, s=ones.reshape(3, 1, 1), i=np.array([0]), l=np.array([-1]),
        ),
        graph(
            [node("Split", ["x"], ["a", "b"], axis=1), node("Add", ["a", "b"], ["c"]), node("Resize", ["c", "", "s"], ["d"]),
             node("Slice", ["d", "o", "e", "o"], ["f"]), node("Clip", ["f", "", "m"], ["g"]),
             node("ReduceMean", ["g"], ["y"], axes=[2, 3])],
            ["n", 4, "h", "w"], s=np.array([1, 1, 2, 2], np.float32), o=np.array([2, 3]), e=long, m=np.float32(6),
        ),
    ]  # fmt: skip


SEEDS: dict[str, list[bytes]] = {
    "text": [t.encode() for t in (V2, V1, V0, MORE, SOLVER)],
    "binary": [*blobs(), *nets()],
    "state": [
        encode_state(CaffeState(3, "w", 1, [np.arange(6, dtype="f4"), np.zeros((1, 1, 1, 2))])),
        encode_state(CaffeState(0)),
    ],
    "hdf5": hdf5_files(),
    "tiff": [
        tiff_file(),
        tiff_file(rowsperstrip=7, compression="zlib", predictor=True),
        tiff_file(tile=(16, 16), compression="zlib", byteorder=">"),
        tiff_file(bigtiff=True, rowsperstrip=5, data=STACK.astype(np.float32)),
        tiff_file(imagej=True),
        tiff_file(data=RNG.integers(0, 256, (9, 7, 3)).astype(np.uint8), photometric="rgb"),
    ],
    "png": [
        png_file(STACK[0].astype(np.uint8)),
        png_file(STACK[0]),
        png_file(RNG.integers(0, 256, (9, 7, 3)).astype(np.uint8)),
        png_file(STACK[0] > 9),
        png_bomb(),
    ],
    "onnx": graphs(),
}
