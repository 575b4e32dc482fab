"""Caffe's layers that go by channel, or by sample, in both directions: every option, and what is refused."""

import re

import numpy as np
import pytest

from fullmocha import layers
from fullmocha.backend import ReferenceBackend
from fullmocha.caffe import load_caffe
from fullmocha.caffe.writing import describe_net
from fullmocha.errors import FormatError, ShapeError, UnsupportedError
from fullmocha.initializers import ConstantInitializer, GaussianInitializer, UniformInitializer
from fullmocha.net import Net
from fullmocha.regularizers import L2Regu, NoRegu

ONE, TWO = 'bottom: "a" top: "y"', 'bottom: "a" bottom: "b" top: "y"'
NAMES = {"name": "l", "bottoms": ["a"], "tops": ["y"]}
BOTH = NAMES | {"bottoms": ["a", "b"]}
DECAY = L2Regu(1.0, "caffe")
S, B = {"scale_regu": DECAY, "bias_regu": NoRegu()}, {"bias_regu": DECAY}
IMAGE = [(2, 3, 4, 5)]
WITHIN = layers.LRNMode.WithinChannel()

# type, wiring, the rest of the text, our config, and shapes of the bottoms
READ = [
    ("Scale", ONE, "", layers.ScaleLayer(**NAMES, **S), IMAGE),
    ("Scale", ONE, "scale_param { axis: -3 num_axes: 2 bias_term: true bias_filler { value: 0.5 } }",
     layers.ScaleLayer(**NAMES, axis=-3, num_axes=2, bias=True, bias_init=ConstantInitializer(0.5), **S | B), IMAGE),
    ("Scale", ONE, "scale_param { num_axes: 0 filler { } }",
     layers.ScaleLayer(**NAMES, num_axes=0, scale_init=ConstantInitializer(0.0), **S), IMAGE),
    ("Scale", ONE, 'param { lr_mult: 3 decay_mult: 0 } param { lr_mult: 0.5 } scale_param { bias_term: true filler { type: "uniform" } }',
     layers.ScaleLayer(**NAMES, bias=True, scale_lr=3.0, bias_lr=0.5, scale_init=UniformInitializer(0.0, 1.0), **B), IMAGE),
    ("Scale", TWO, "scale_param { axis: 0 }", layers.ScaleLayer(**BOTH, axis=0), IMAGE * 2),
    ("Scale", TWO, "param { lr_mult: 2 } scale_param { bias_term: true }",
     layers.ScaleLayer(**BOTH, bias=True, bias_lr=2.0, **B), [*IMAGE, (3,)]),
    ("Bias", ONE, "", layers.BiasLayer(**NAMES, **B), IMAGE),
    ("Bias", ONE, "param { decay_mult: 0 } bias_param { axis: 2 num_axes: -1 filler { type: \"gaussian\" std: 2 } }",
     layers.BiasLayer(**NAMES, axis=2, num_axes=-1, bias_init=GaussianInitializer(0.0, 2.0)), IMAGE),
    ("Bias", TWO, "bias_param { axis: -2 }", layers.BiasLayer(**BOTH, axis=-2), [*IMAGE, (4, 5)]),
    ("BatchNorm", ONE, "batch_norm_param { use_global_stats: true }",
     layers.BatchNormLayer(**NAMES, use_global_stats=True, eps=float(np.float32(1e-5)),
                           moving_average_fraction=float(np.float32(0.999))), IMAGE),
    ("BatchNorm", ONE, "batch_norm_param { use_global_stats: false moving_average_fraction: 0.5 eps: 0.25 }",
     layers.BatchNormLayer(**NAMES, moving_average_fraction=0.5, eps=0.25), [(7, 3)]),
    ("PReLU", ONE, "", layers.PReLULayer(**NAMES, slope_regu=DECAY), IMAGE),
    ("PReLU", ONE, "param { lr_mult: 0 } prelu_param { channel_shared: true filler { value: 0.5 } }",
     layers.PReLULayer(**NAMES, channel_shared=True, slope_init=ConstantInitializer(0.5), slope_lr=0.0, slope_regu=DECAY), [(2, 3)]),
    ("PReLU", ONE, "prelu_param { filler { } }",
     layers.PReLULayer(**NAMES, slope_init=ConstantInitializer(0.0), slope_regu=DECAY), IMAGE),
    ("LRN", ONE, "", layers.LRNLayer(**NAMES), IMAGE),
    ("LRN", ONE, "lrn_param { local_size: 3 alpha: 0.5 beta: 0.25 k: 2 }",
     layers.LRNLayer(**NAMES, kernel=3, scale=0.5, power=0.25, shift=2.0), [(2, 3)]),
    ("LRN", ONE, "lrn_param { local_size: 3 norm_region: WITHIN_CHANNEL }",
     layers.LRNLayer(**NAMES, kernel=3, mode=WITHIN), IMAGE),
    ("MVN", ONE, "", layers.MVNLayer(**NAMES, eps=float(np.float32(1e-9))), IMAGE),
    ("MVN", ONE, "mvn_param { normalize_variance: false across_channels: true eps: 0.5 }",
     layers.MVNLayer(**NAMES, normalize_variance=False, across_channels=True, eps=0.5), IMAGE),
    ("Softmax", ONE, "", layers.SoftmaxLayer(**NAMES, axis=1), IMAGE),
    ("Softmax", ONE, "softmax_param { axis: 2 }", layers.SoftmaxLayer(**NAMES, axis=2), IMAGE),
    ("InnerProduct", ONE, "inner_product_param { num_output: 4 bias_term: false axis: 2 }",
     layers.InnerProductLayer(**NAMES, output_dim=4, bias=False, axis=2, weight_init=ConstantInitializer(0.0), weight_regu=DECAY), IMAGE),
    ("InnerProduct", ONE, 'inner_product_param { num_output: 4 weight_filler { type: "gaussian" std: 2 } bias_filler { value: 1 } }',
     layers.InnerProductLayer(**NAMES, output_dim=4, weight_init=GaussianInitializer(0.0, 2.0), bias_init=ConstantInitializer(1.0),
                              weight_regu=DECAY, bias_regu=DECAY, bias_lr=1.0), IMAGE),
]  # fmt: skip


def one(kind, rest="", wiring=ONE):
    return f'layer {{ name: "l" type: "{kind}" {wiring} {rest} }}'


def inputs(shapes):
    blobs = "".join(f' top: "{name}"' for name in "ab"[: len(shapes)])
    sizes = "".join(f" shape {{ dim: {list(shape)} }}" for shape in shapes)
    return f'layer {{ name: "in" type: "Input"{blobs} input_param {{{sizes} }} }}'


@pytest.mark.parametrize(
    ("kind", "wiring", "rest", "config", "shapes"), READ, ids=[f"{r[0]} {r[2][:50]}" for r in READ]
)
def test_there_and_back(read, kind, wiring, rest, config, shapes, plain):
    text = one(kind, rest, wiring)
    (layer,) = read(text)
    assert plain(layer) == config
    data, _ = read(inputs(shapes), text)
    written = str(describe_net(Net("net", ReferenceBackend(), [data, layer])))
    assert plain(read(written)[-1]) == config, written
    said = re.findall(r"(?!input)\b\w+_param \{", written.partition('name: "l"')[2])
    assert len(said) == len(re.findall(r"\w+_param \{", rest)), written  # no more than what was read


def test_the_phase_decides_whose_statistics(read):
    for rest, phase, stored in (
        ("", "test", True),
        ("", "train", False),
        ("batch_norm_param { use_global_stats: false }", "test", False),
        ("batch_norm_param { use_global_stats: true }", "train", True),
    ):
        (layer,) = read(one("BatchNorm", rest), phase=phase)
        assert layer.use_global_stats is stored


def test_old_files_keep_the_solver_off_the_statistics(read):
    three = 'param { name: "m" lr_mult: 0 } param { name: "v" decay_mult: 0 } param { name: "f" }'
    (layer,) = read(one("BatchNorm", three))
    assert layer.param_names == ("m", "v", "f") or list(layer.param_names) == ["m", "v", "f"]
    data, _ = read(inputs(IMAGE), one("BatchNorm", three))
    net = Net("net", ReferenceBackend(), [data, layer])
    assert [p.local_rate for p in net.parameters] == [0, 0, 0]


def test_within_a_channel_k_means_nothing(read):
    (layer,) = read(one("LRN", "lrn_param { norm_region: WITHIN_CHANNEL k: 7 }"))
    assert layer.shift == 1


def test_a_filler_that_nothing_begins_with(read):
    text = "scale_param { filler { value: 3 } bias_filler { value: 3 } }"
    assert read(one("Scale", text, TWO)) == [layers.ScaleLayer(**BOTH)]
    assert read(one("Bias", "bias_param { filler { value: 3 } }", TWO)) == [layers.BiasLayer(**BOTH)]


WRONG = [
    ("LRN", ONE, "lrn_param { local_size: 4 }", "local_size is 4; expected an odd number"),
    ("LRN", ONE, "lrn_param { alpha: inf }", "alpha is inf"),
    ("MVN", ONE, "mvn_param { eps: -1 }", "eps is -1"),
    ("BatchNorm", ONE, "param { lr_mult: 1 }", "lr_mult is not 0; statistics are not trained"),
    ("BatchNorm", ONE, "param { } " * 4, "4 param blocks for 3 parameters"),
    ("BatchNorm", ONE, "batch_norm_param { moving_average_fraction: 2 }", r"must lie in 0 \.\. 1, got 2"),
    ("BatchNorm", ONE, "batch_norm_param { eps: nan }", "eps is nan"),
    ("Scale", ONE, "param { } param { }", "2 param blocks for 1 parameters"),
    ("Scale", TWO, "param { }", "1 param blocks for 0 parameters"),
    ("Scale", ONE, "scale_param { num_axes: -2 }", "num_axes must be an integer >= -1"),
    ("Bias", ONE, "bias_param { num_axes: -2 }", "num_axes must be an integer >= -1"),
    ("PReLU", ONE, 'prelu_param { filler { type: "odd" } }', "filler 'odd' is not built"),
]


@pytest.mark.parametrize(("kind", "wiring", "rest", "why"), WRONG, ids=[f"{w[0]} {w[2][:40]}" for w in WRONG])
def test_what_is_wrong_is_refused(read, kind, wiring, rest, why):
    with pytest.raises((FormatError, ShapeError, UnsupportedError), match=f"'?l'? .*{why}"):
        read(one(kind, rest, wiring))


MISFITS = [
    ("Scale", ONE, "scale_param { axis: 4 }", IMAGE, "axis 4 is not one of the bottom's 4"),
    ("Scale", ONE, "scale_param { axis: 3 num_axes: 2 }", IMAGE, "2 axes from axis 3 on are more than the bottom"),
    ("Scale", TWO, "", [*IMAGE, (4,)], r"the second bottom is \(4,\), the first one's axes from 1 on are \(3,\)"),
    ("BatchNorm", ONE, "", [(3,)], "needs a bottom with channels"),
    ("PReLU", ONE, "", [(3,)], "needs a bottom with channels"),
    ("LRN", ONE, "lrn_param { norm_region: WITHIN_CHANNEL }", [(2, 3)], "needs .*axes"),
]


@pytest.mark.parametrize(("kind", "wiring", "rest", "shapes", "why"), MISFITS)
def test_bottoms_that_do_not_fit(tmp_path, kind, wiring, rest, shapes, why):
    (tmp_path / "net.prototxt").write_text(inputs(shapes) + one(kind, rest, wiring))
    with pytest.raises(ShapeError, match=why):
        load_caffe(tmp_path / "net.prototxt", backend="reference")


OURS_ALONE = [
    (layers.LRNLayer(**NAMES, kernel=4), "windows are odd"),
    (layers.LRNLayer(**NAMES, mode=WITHIN, shift=2.0), "within a channel Caffe adds 1"),
    (layers.LRNLayer(**NAMES, channel_dim=2), "runs over channels"),
]


@pytest.mark.parametrize(("layer", "why"), OURS_ALONE)
def test_what_caffe_has_no_words_for(layer, why):
    data = layers.InputLayer(tops=["a"], shapes=IMAGE)
    with pytest.raises(UnsupportedError, match=why):
        describe_net(Net("net", ReferenceBackend(), [data, layer]))


def test_shared_statistics_are_written(read):
    names = [f"{role}s" for role in ("mean", "variance", "factor")]
    twice = [
        layers.BatchNormLayer(name=n, bottoms=["a"], tops=[t], param_names=names) for n, t in (("l", "y"), ("m", "z"))
    ]
    net = Net("net", ReferenceBackend(), [layers.InputLayer(tops=["a"], shapes=IMAGE), *twice])
    again = read(str(describe_net(net)))[1:]
    assert [list(layer.param_names) for layer in again] == [names, names]
