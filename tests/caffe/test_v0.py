"""Nets of 2013 against the same nets in today's words, written by hand from Caffe's rules, text and weights."""

import struct

import numpy as np
import pytest

import fullmocha as fm
from fullmocha.caffe.binary import decode_caffemodel
from fullmocha.caffe.rules import upgrade
from fullmocha.caffe.text import parse_prototxt
from fullmocha.caffe.wire import put_blob, put_bytes
from fullmocha.errors import FormatError


def up(text):
    return upgrade(parse_prototxt(text, "f"), "f")


def layer(fields, wires=""):
    return up(f"layers {{ layer {{ {fields} }} {wires} }}").layer[0]


def today(text):
    return parse_prototxt(text, "f").layer[0]


# V0's fields of a layer -> the same in V2. A pair for every field of V0LayerParameter that means something.
PAIRS = [
    ('name: "c" type: "conv" num_output: 4 biasterm: false weight_filler { type: "xavier" } bias_filler { value: 2 } pad: 1 '
     "kernelsize: 5 group: 2 stride: 3 blobs_lr: 1 blobs_lr: 2 weight_decay: 1 weight_decay: 0",
     'name: "c" type: "Convolution" convolution_param { num_output: 4 bias_term: false weight_filler { type: "xavier" } '
     "bias_filler { value: 2 } pad: 1 kernel_size: 5 group: 2 stride: 3 } "
     "param { lr_mult: 1 decay_mult: 1 } param { lr_mult: 2 decay_mult: 0 }"),
    ('name: "i" type: "innerproduct" num_output: 4 biasterm: true weight_filler { std: 1 } bias_filler { }',
     'name: "i" type: "InnerProduct" inner_product_param { num_output: 4 bias_term: true weight_filler { std: 1 } bias_filler { } }'),
    ('type: "pool" pool: STOCHASTIC pad: 1 kernelsize: 3 stride: 2',
     'name: "" type: "Pooling" pooling_param { pool: STOCHASTIC pad: 1 kernel_size: 3 stride: 2 }'),
    ('type: "dropout" dropout_ratio: .25', 'name: "" type: "Dropout" dropout_param { dropout_ratio: .25 }'),
    ('type: "lrn" local_size: 3 alpha: 2 beta: .5 k: 4',
     'name: "" type: "LRN" lrn_param { local_size: 3 alpha: 2 beta: .5 k: 4 }'),
    ('type: "data" source: "s" batchsize: 3 rand_skip: 4 scale: .5 meanfile: "m" cropsize: 9 mirror: true',
     'name: "" type: "Data" data_param { source: "s" batch_size: 3 rand_skip: 4 } '
     'transform_param { scale: .5 mean_file: "m" crop_size: 9 mirror: true }'),
    ('type: "images" source: "s" batchsize: 3 rand_skip: 4 shuffle_images: true new_height: 5 new_width: 6',
     'name: "" type: "ImageData" image_data_param { source: "s" batch_size: 3 rand_skip: 4 shuffle: true new_height: 5 new_width: 6 }'),
    ('type: "hdf5_data" source: "s" batchsize: 3', 'name: "" type: "HDF5Data" hdf5_data_param { source: "s" batch_size: 3 }'),
    ('type: "hdf5_output" hdf5_output_param { file_name: "o" }',
     'name: "" type: "HDF5Output" hdf5_output_param { file_name: "o" }'),
    ('type: "infogain_loss" source: "h"', 'name: "" type: "InfogainLoss" infogain_loss_param { source: "h" }'),
    ('type: "concat" concat_dim: 0', 'name: "" type: "Concat" concat_param { concat_dim: 0 }'),
    ('type: "window_data" source: "s" batchsize: 2 det_fg_threshold: .1 det_bg_threshold: .2 det_fg_fraction: .3 '
     'det_context_pad: 4 det_crop_mode: "square"',
     'name: "" type: "WindowData" window_data_param { source: "s" batch_size: 2 fg_threshold: .1 bg_threshold: .2 '
     'fg_fraction: .3 context_pad: 4 crop_mode: "square" }'),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new"), PAIRS)
def test_fields_move_to_their_blocks(old, new):
    assert layer(old, 'bottom: "a" bottom: "b" top: "t"') == today(
        f'layer {{ {new} bottom: "a" bottom: "b" top: "t" }}'
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [("accuracy", "Accuracy"), ("bnll", "BNLL"), ("euclidean_loss", "EuclideanLoss"), ("flatten", "Flatten"), ("im2col", "Im2col"),
     ("multinomial_logistic_loss", "MultinomialLogisticLoss"), ("relu", "ReLU"), ("sigmoid", "Sigmoid"), ("softmax", "Softmax"),
     ("softmax_loss", "SoftmaxWithLoss"), ("split", "Split"), ("tanh", "TanH")],
)  # fmt: skip
def test_types_without_fields(old, new):
    assert layer(f'type: "{old}"').type == new


def test_padding_goes_to_the_layer_that_reads_it():
    new = up("""input: "x" input_dim: [1, 1, 9, 9]
                layers { layer { name: "p" type: "padding" pad: 2 } bottom: "x" top: "px" }
                layers { layer { name: "c" type: "conv" num_output: 1 kernelsize: 5 } bottom: "px" top: "c" }
                layers { layer { name: "p2" type: "padding" pad: 3 } bottom: "c" top: "c" }
                layers { layer { name: "q" type: "pool" kernelsize: 7 } bottom: "c" top: "q" }""")
    assert [(n.name, list(n.bottom)) for n in new.layer] == [("input", []), ("c", ["x"]), ("q", ["c"])]
    assert list(new.layer[1].convolution_param.pad) == [2] and list(new.layer[2].pooling_param.pad) == [3]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('layers { layer { name: "l" type: "relu" num_output: 3 } }', r"layer 'l' \(relu\): num_output has no meaning"),
        ('layers { layer { name: "l" type: "conv" new_num: 3 } }', "new_num has no meaning"),
        ('layers { layer { name: "l" type: "Convolution" } }', "V0 has no such type; expected one of accuracy"),
        ('layers { layer { name: "l" } }', "without a type"),
        ('layers { layer { type: "relu" } } layers { name: "m" type: RELU }', "layer 'm' is of another version"),
        ('layers { layer { name: "p" type: "padding" } bottom: "x" top: "y" } layers { layer { name: "l" type: "relu" } bottom: "y" }',
         r"layer 'l' \(relu\) reads the padding layer 'p'; only a conv or pool"),
        ("layer { } layers { layer { } }", "both 'layer' and the older 'layers'"),
    ],
)  # fmt: skip
def test_what_is_refused(text, message):
    with pytest.raises(FormatError, match=message):
        up(text)


V0 = """input: "data" input_dim: [2, 3, 11, 9]
layers { layer { name: "pad1" type: "padding" pad: 1 } bottom: "data" top: "padded" }
layers { layer { name: "conv1" type: "conv" num_output: 4 kernelsize: 3 stride: 2 } bottom: "padded" top: "conv1" }
layers { layer { name: "relu1" type: "relu" } bottom: "conv1" top: "conv1" }
layers { layer { name: "pool1" type: "pool" pool: MAX kernelsize: 2 stride: 2 } bottom: "conv1" top: "pool1" }
layers { layer { name: "ip" type: "innerproduct" num_output: 5 biasterm: false } bottom: "pool1" top: "ip" }
layers { layer { name: "prob" type: "softmax" } bottom: "ip" top: "prob" }"""
V2 = """input: "data" input_shape { dim: [2, 3, 11, 9] }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1" convolution_param { num_output: 4 kernel_size: 3 stride: 2 pad: 1 } }
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1" pooling_param { kernel_size: 2 stride: 2 } }
layer { name: "ip" type: "InnerProduct" bottom: "pool1" top: "ip" inner_product_param { num_output: 5 bias_term: false } }
layer { name: "prob" type: "Softmax" bottom: "ip" top: "prob" }"""


def test_the_same_net_in_both_versions_gives_the_same(tmp_path, rng):
    arrays = {
        "conv1": [rng.normal(size=(4, 3, 3, 3)), rng.normal(size=(1, 1, 1, 4))],
        "ip": [rng.normal(size=(1, 1, 5, 36))],
    }
    v0 = v2 = b""
    for name, blobs in arrays.items():
        packed = [put_blob(b.astype(np.float32)) for b in blobs]
        inner = put_bytes(1, name.encode()) + b"".join(put_bytes(50, b) for b in packed)
        v0 += put_bytes(2, put_bytes(1, inner) + put_bytes(2, b"bottom") + put_bytes(3, b"top"))
        v2 += put_bytes(100, put_bytes(1, name.encode()) + b"".join(put_bytes(7, b) for b in packed))
    outputs, x = [], rng.normal(size=(2, 3, 11, 9)).astype(np.float32)
    for text, raw in ((V0, v0), (V2, v2), (V2, v0)):
        (tmp_path / "net.prototxt").write_text(text)
        (tmp_path / "w.caffemodel").write_bytes(raw)
        net = fm.load_caffe(tmp_path / "net.prototxt", tmp_path / "w.caffemodel", backend="reference")
        net.forward(inputs={"data": x})
        outputs.append(net.output_blobs["prob"].data.copy())
    assert np.ptp(outputs[0]) > 0.1
    np.testing.assert_array_equal(outputs[0], outputs[1])
    np.testing.assert_array_equal(outputs[0], outputs[2])


def test_a_message_in_parts_is_joined():
    """protobuf allows a nested message to come in parts; a name then comes from one, blobs from the other."""
    blob = put_bytes(7, put_bytes(1, b"\2")) + put_bytes(5, struct.pack("<2f", 1, 2))
    raw = put_bytes(2, put_bytes(1, put_bytes(1, b"a")) + put_bytes(1, put_bytes(50, blob)))
    weights = decode_caffemodel(raw, "f")
    assert weights["a"][0].tolist() == [1, 2]
