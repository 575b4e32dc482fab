"""Each Caffe layer type to our config, and what is refused by name."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fullmocha import layers
from fullmocha.caffe.translate import TRANSLATIONS
from fullmocha.errors import FormatError, ShapeError, UnsupportedError
from fullmocha.initializers import (
    BilinearInitializer,
    ConstantInitializer,
    GaussianInitializer,
    MSRAInitializer,
    PositiveUnitballInitializer,
    UniformInitializer,
    XavierInitializer,
)
from fullmocha.regularizers import L2Regu, NoRegu


def test_importing_the_package_loads_neither_protobuf_nor_h5py():
    code = "import sys, fullmocha.caffe; print([m for m in ('google.protobuf', 'h5py', 'numba') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_convolution_turns_rows_before_columns(one):
    layer = one(
        "Convolution",
        "convolution_param { num_output: 6 kernel_h: 3 kernel_w: 5 stride: [2, 4] pad_h: 1 pad_w: 2 dilation: 3 "
        "dilation: 1 group: 2 bias_term: false engine: CUDNN }",
    )
    assert layer == layers.ConvolutionLayer(
        name="l", bottoms=["a"], tops=["b"], kernel=(5, 3), stride=(4, 2), pad=(2, 1), dilation=(1, 3), n_filter=6,
        n_group=2, bias=False, filter_init=ConstantInitializer(0.0), filter_regu=L2Regu(1.0, "caffe"),
    )  # fmt: skip
    assert layer.window.kernel == (3, 5)


def test_caffes_rates_and_decay(one):
    layer = one("InnerProduct", "inner_product_param { num_output: 3 }")
    assert (layer.weight_lr, layer.bias_lr) == (1, 1)
    assert layer.weight_regu == layer.bias_regu == L2Regu(1.0, "caffe")
    layer = one(
        "InnerProduct",
        "param { lr_mult: 3 decay_mult: 0.5 } param { lr_mult: 0 decay_mult: 0 } inner_product_param { num_output: 3 }",
    )
    assert (layer.weight_lr, layer.bias_lr) == (3, 0)
    assert (layer.weight_regu, layer.bias_regu) == (L2Regu(0.5, "caffe"), NoRegu())


@pytest.mark.parametrize(
    ("filler", "initializer"),
    [
        ("", ConstantInitializer(0.0)),
        ("value: 2.5", ConstantInitializer(2.5)),
        ('type: "uniform" min: -1', UniformInitializer(-1.0, 1.0)),
        ('type: "gaussian" mean: 1 std: 0.5', GaussianInitializer(1.0, 0.5)),
        ('type: "xavier" std: 0.1', XavierInitializer("fan_in")),  # as in GoogLeNet: the std means nothing
        ('type: "xavier" variance_norm: FAN_OUT', XavierInitializer("fan_out")),
        ('type: "msra" variance_norm: AVERAGE', MSRAInitializer("average")),
        ('type: "bilinear"', BilinearInitializer()),
        ('type: "gaussian" sparse: 2', GaussianInitializer(0.0, 1.0, 2)),
        ('type: "positive_unitball"', PositiveUnitballInitializer()),
    ],
)
def test_fillers(one, filler, initializer):
    text = f"num_output: 3 kernel_size: 2 weight_filler {{ {filler} }} bias_filler {{ {filler} }}"
    layer = one("Convolution", f"convolution_param {{ {text} }}")
    assert layer.filter_init == layer.bias_init == initializer


def test_a_transposed_inner_product_counts_its_fans_on_caffes_shape(one):
    text = 'num_output: 3 transpose: {} weight_filler {{ type: "xavier" variance_norm: {} }}'
    for transpose, norm, ours in (
        ("true", "FAN_IN", "fan_out"),
        ("true", "FAN_OUT", "fan_in"),
        ("false", "FAN_IN", "fan_in"),
    ):
        layer = one("InnerProduct", f"inner_product_param {{ {text.format(transpose, norm)} }}")
        assert layer.weight_init == XavierInitializer(ours)


def test_pooling(one):
    layer = one("Pooling", "pooling_param { pool: AVE kernel_h: 2 kernel_w: 3 stride: 2 dilation: 4 }")
    assert layer == layers.PoolingLayer(
        name="l", bottoms=["a"], tops=["b"], kernel=(3, 2), stride=2, dilation=4, pooling=layers.Pooling.Mean(),
        round="ceil", divisor="caffe",
    )  # fmt: skip
    assert one("Pooling", "pooling_param { kernel_size: 2 round_mode: FLOOR }").round == "floor"
    assert one("Pooling", "pooling_param { kernel_size: 2 ceil_mode: false }").round == "floor"
    assert one("Pooling", "pooling_param { kernel_size: 2 }").pooling == layers.Pooling.Max()
    assert one("Pooling", "pooling_param { pool: AVE global_pooling: true stride: 1 pad: 0 }").whole


def test_the_losses_normalisation(one):
    wiring = 'bottom: "a" bottom: "label"'
    expected = {
        "": "valid",
        "normalization: FULL": "full",
        "normalization: NONE": "none",
        "normalize: true": "valid",
        "normalize: false": "batch_size",
        "normalize: false normalization: FULL": "full",
    }
    for text, normalization in expected.items():
        layer = one("SoftmaxWithLoss", f"loss_param {{ {text} }}", wiring=wiring)
        assert (layer.normalization, layer.weight, layer.ignore_label, layer.tops) == (normalization, 1.0, None, ())
    layer = one(
        "SoftmaxWithLoss", "loss_weight: 0.25 loss_param { ignore_label: 0 } softmax_param { axis: 2 }", wiring=wiring
    )
    assert (layer.weight, layer.ignore_label, layer.axis) == (0.25, 0, 2)


def test_dropout_drops_in_training_only(one):
    text = "dropout_param { dropout_ratio: 0.25 }"
    assert isinstance(one("Dropout", text), layers.IdentityLayer)
    dropout = one("Dropout", text, "train", 'bottom: "a" top: "a"')
    assert isinstance(dropout, layers.DropoutLayer) and dropout.ratio == 0.25 and dropout.tops == ("a",)
    assert isinstance(one("Dropout", text + " phase: TRAIN"), layers.DropoutLayer)  # the layer's own phase
    nothing = one("Dropout", "dropout_param { dropout_ratio: 0 }", "train")
    assert isinstance(nothing, layers.IdentityLayer) and nothing.tops == ("b",)
    with pytest.raises(ShapeError, match=r"net\.prototxt: .*ratio must lie between 0 and 1"):
        one("Dropout", "dropout_param { dropout_ratio: 1 }", "train")


def test_the_others(one):
    two = 'bottom: "a" bottom: "c" top: "b"'
    names = {"name": "l", "bottoms": ["a", "c"], "tops": ["b"]}
    assert one("Crop", "crop_param { axis: 1 offset: 2 offset: 0 offset: 1 }", wiring=two) == layers.CropLayer(
        **names, axis=1, offset=(2, 0, 1)
    )
    assert one("Concat", "concat_param { concat_dim: 2 }", wiring=two).axis == 2
    assert one("Concat", "concat_param { axis: -1 }", wiring=two).axis == -1
    merge = one("MergeCrop", wiring=two)
    assert (merge.operation, merge.forward_of, merge.backward_of) == ("stack", (True, True), (True, False))
    merge = one("MergeCrop", "mergecrop_param { operation: ADD backward: true backward: true }", wiring=two)
    assert (merge.operation, merge.backward_of) == ("add", (True, True))
    assert one("ReLU", "relu_param { negative_slope: 0.5 engine: CAFFE }").negative_slope == 0.5
    assert one("Softmax", "softmax_param { axis: 2 }").axis == 2
    accuracy = one("Accuracy", "accuracy_param { top_k: 3 ignore_label: 7 }", wiring='bottom: "a" bottom: "c" top: "b"')
    assert (accuracy.top_k, accuracy.ignore_label, accuracy.axis) == (3, 7, 1)
    assert one("Silence", wiring='bottom: "a" bottom: "c"').bottoms == ("a", "c")


def test_data_that_the_caller_brings(one, tmp_path):
    top = 'top: "data" top: "datai"'
    old = one("MemoryData", "memory_data_param { batch_size: 2 channels: 3 height: 5 width: 7 }", wiring=top)
    assert old.shapes == ((2, 3, 5, 7), (2,)) and old.tops == ("data", "datai")
    new = one("MemoryData", "memory_data_param { dim: [1, 3, 5, 7] }", wiring='top: "data"')
    assert new.shapes == ((1, 3, 5, 7),)
    shared = one("Input", "input_param { shape { dim: [2, 3] } }", wiring=top)
    assert shared.shapes == ((2, 3), (2, 3))
    layer = one(
        "MemoryData",
        "memory_data_param { dim: [1, 2, 3, 3] } transform_param { scale: 0.5 mean_value: 3 mean_value: 4 }",
        wiring=top,
    )
    x = np.zeros((1, 2, 3, 3), np.float32)
    for name, transform in layer.transformers:
        assert name == "data"
        x = transform(x)
    np.testing.assert_array_equal(x[0, :, 0, 0], [-1.5, -2])  # the mean goes first, then the scale


def test_a_mean_file(one, data_dir):
    file = data_dir / "caffemodels" / "resnet20_cifar10_ljf" / "cifar10_mean.binaryproto"
    layer = one(
        "MemoryData",
        f'memory_data_param {{ dim: [1, 3, 32, 32] }} transform_param {{ mean_file: "{file}" }}',
        wiring='top: "data"',
    )
    ((_, transform),) = layer.transformers
    changed = transform(np.zeros((1, 3, 32, 32), np.float32))
    assert changed.shape == (1, 3, 32, 32) and -150 < changed.mean() < -100


@pytest.mark.parametrize(
    ("dim", "mean", "message"),
    [
        (
            "[2, 3, 5, 4]",
            "mean_value: 1 mean_value: 2",
            r"does not fit the shape \(2, 3, 5, 4\): .*each of the 3 channels",
        ),
        ("2", "mean_value: 1 mean_value: 2", r"does not fit the shape \(2,\)"),
        ("[2, 3, 5, 4]", 'mean_file: "FOLDER/mean"', r"does not fit .*a mean of whole images fits no other size"),
        ("[2, 3, 5, 5]", 'mean_file: "FOLDER/nan"', "nan holds NaN or infinity"),
        ("[2, 3, 5, 5]", 'mean_file: "FOLDER/absent"', "mean_file: .*absent does not exist; a .binaryproto"),
    ],
)
def test_a_mean_that_cannot_be_used_names_the_layer(one, tmp_path, dim, mean, message):
    shape = b"\x08\x01\x10\x03\x18\x05\x20\x05"  # num 1, channels 3, height 5, width 5
    for name, value in (("mean", 1), ("nan", np.nan)):
        data = np.full(75, value, "<f4").tobytes()
        (tmp_path / name).write_bytes(shape + b"\x2a\xac\x02" + data)  # field 5, of 300 bytes
    text = f"memory_data_param {{ dim: {dim} }} transform_param {{ {mean.replace('FOLDER', str(tmp_path))} }}"
    with pytest.raises(FormatError, match=r"net\.prototxt: layer 'l' \(MemoryData\): .*" + message):
        one("MemoryData", text, wiring=TOP)


SHARED = """
    layer {{ name: "data" type: "Input" top: "a" top: "b" input_param {{ shape {{ dim: [2, 3] }} }} }}
    layer {{ name: "l1" type: "InnerProduct" bottom: "a" top: "c" {0} inner_product_param {{ num_output: 4 {2} }} }}
    layer {{ name: "l2" type: "InnerProduct" bottom: "b" top: "d" {1} inner_product_param {{ num_output: 4 {2} }} }}
"""


def test_layers_share_single_parameters_by_name(read):
    wb = 'param { name: "w" lr_mult: 3 } param { name: "b" }'
    _, first, second = read(SHARED.format(wb, 'param { name: "w" } param { name: "v" decay_mult: 0 }', ""))
    assert (first.param_names, second.param_names) == (["w", "b"], ["w", "v"])
    # What one of them says holds for both.
    assert first.weight_lr == second.weight_lr == 3
    assert first.bias_regu == L2Regu(1.0, convention="caffe") and second.bias_regu == NoRegu()
    _, first, second = read(SHARED.format("", "param { lr_mult: 2 }", ""))
    assert (first.param_names, second.param_names) == ((), ())


def test_layers_that_share_and_disagree(read):
    with pytest.raises(FormatError, match="disagree about its lr_mult"):
        read(SHARED.format('param { name: "w" lr_mult: 1 }', 'param { name: "w" lr_mult: 2 }', "bias_term: false"))


# type, text, wiring (or None), and what the message must hold
TOP = 'top: "a"'
SCORES = 'bottom: "a" bottom: "l" top: "x"'
REFUSED = [
    ("Data", 'data_param { source: "lmdb" }', TOP, "deploy prototxt"),
    ("HDF5Data", "hdf5_data_param { batch_size: 1 }", TOP, "source is missing"),
    ("Convolution3", "", None, "layer type 'Convolution3' is not built; near to it: Convolution, Deconvolution"),
    ("Quux", "", None, "types that are: .*Accuracy, .*Concat"),
    ("", "", None, "layer type '' is not built"),
    ("ReLU", "pooling_param { kernel_size: 2 }", None, "pooling_param has no meaning for this type"),
    ("ReLU", "propagate_down: true propagate_down: true", None, "2 propagate_down for 1 bottoms"),
    ("ReLU", "blobs { }", None, "weights stand in the prototxt"),
    ("Input", "input_param { shape { dim: 0 } }", TOP, "sizes of at least 1"),
    ("Input", "input_param { shape { dim: 9223372036854775807 } }", TOP, "blobs hold at most 2147483647"),
    ("Input", "input_param { shape { dim: [2, 1] } shape { dim: [65536, 32768] } }", TOP + ' top: "b"',
     r"shape \(65536, 32768\) has 2147483648 numbers"),
    ("MemoryData", "memory_data_param { dim: [32768, 65536] }", TOP, "has 2147483648 numbers"),
    ("Input", "", TOP, "has 0 shapes for 1 tops"),
    ("Input", "input_param { shape { dim: 1 } } transform_param { }", TOP, "transform_param has no meaning"),
    ("MemoryData", "memory_data_param { batch_size: 2 }", TOP, "channels, height and width"),
    ("MemoryData", "memory_data_param { dim: 1 } transform_param { mirror: true }", TOP, "mirror is not built"),
    ("MemoryData", "memory_data_param { dim: 1 } transform_param { crop_size: 9 }", TOP, "crop_size is not built"),
    ("MemoryData", 'memory_data_param { dim: 1 } transform_param { mean_file: "m" mean_value: 1 }', TOP, "both"),
    ("Convolution", "convolution_param { num_output: 2 }", None, "kernel_size is missing"),
    ("Convolution", "convolution_param { kernel_size: 2 }", None, "num_output is missing"),
    ("Convolution", "convolution_param { num_output: 2 kernel_size: [2, 3, 2] stride: [1, 2] }", None, "different numbers of axes"),
    ("Pooling", "pooling_param { kernel_size: 2 axis: 2 }", None, "axis 2 is not built"),
    ("Convolution", "convolution_param { num_output: 2 kernel_size: 2 kernel_h: 2 }", None, "both kernel_size"),
    ("Convolution", "convolution_param { num_output: 2 kernel_h: 2 }", None, r"kernel_size is \[2, 0\]"),
    ("Convolution", "convolution_param { num_output: 2 kernel_size: 2 stride: 0 }", None, r"stride is \[0\]"),
    ("Convolution", "convolution_param { num_output: 2 kernel_size: 2 group: 3 }", None, "n_group must divide"),
    ("InnerProduct", 'inner_product_param { num_output: 2 transpose: true weight_filler { type: "gaussian" sparse: 3 } }', None,
     "a sparse filler, or positive_unitball, of transposed weights is not built"),
    ("InnerProduct", 'inner_product_param { num_output: 2 weight_filler { type: "gauss" } }', None,
     "filler 'gauss' is not built; choose one of bilinear"),
    ("InnerProduct", "param { } param { } param { } inner_product_param { num_output: 2 }", None, "3 param blocks for"),
    ("Pooling", "pooling_param { pool: STOCHASTIC kernel_size: 2 }", None, "STOCHASTIC is not built"),
    ("Pooling", "pooling_param { pool: AVE kernel_size: 2 }", 'bottom: "a" top: "b" top: "c"', "the places of the maxima"),
    ("Pooling", "pooling_param { global_pooling: true kernel_size: 2 }", None, "both global_pooling and a kernel"),
    ("Pooling", "pooling_param { global_pooling: true stride: 2 }", None, "global_pooling takes only stride 1"),
    ("Concat", "concat_param { axis: 1 concat_dim: 1 }", None, "both axis and concat_dim"),
    ("MergeCrop", "mergecrop_param { forward: true }", None, "1 values of forward"),
    ("SoftmaxWithLoss", "loss_weight: 1 loss_weight: 2", SCORES, "2 loss_weight for 1 tops"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "text", "wiring", "message"), REFUSED, ids=[f"{r[0]}-{r[3][:24]}" for r in REFUSED])
def test_what_cannot_be_had_is_refused_by_name(one, kind, text, wiring, message):
    with pytest.raises((UnsupportedError, FormatError, ShapeError), match=message) as error:
        one(kind, text, wiring=wiring or 'bottom: "a" top: "b"')
    assert re.search(r"net\.prototxt: (layer 'l'|l) \(", str(error.value))


# type, text, and what the message must hold
IP, WITH_FILLER = "InnerProduct", "inner_product_param {{ num_output: 2 {}_filler {{ {} }} }}"
NUMBERS = [
    (IP, WITH_FILLER.format("weight", 'type: "gaussian" std: -1'), "std is -1; expected a finite number of at least 0"),
    (IP, WITH_FILLER.format("bias", 'type: "gaussian" mean: nan'), "mean is nan; expected a finite number$"),
    (IP, WITH_FILLER.format("weight", 'type: "gaussian" std: 1e39'), "std is inf"),
    (IP, WITH_FILLER.format("weight", 'type: "uniform" min: 1 max: 0'), "filler's min 1 is above its max 0"),
    (IP, WITH_FILLER.format("weight", 'type: "uniform" min: -inf'), "min is -inf"),
    (IP, WITH_FILLER.format("bias", "value: nan"), "value is nan"),
    (IP, "param { lr_mult: nan } inner_product_param { num_output: 2 }", "lr_mult is nan"),
    (IP, "param { } param { decay_mult: -1 } inner_product_param { num_output: 2 }", "decay_mult is -1; .*at least 0"),
    ("ReLU", "relu_param { negative_slope: nan }", "negative_slope is nan"),
    ("Dropout", "dropout_param { dropout_ratio: -0.5 }", "dropout_ratio is -0.5"),
    ("MemoryData", "memory_data_param { dim: 1 } transform_param { mean_value: inf }", "mean_value is inf"),
    ("MemoryData", "memory_data_param { dim: 1 } transform_param { scale: nan }", "scale is nan"),
    ("SoftmaxWithLoss", "loss_weight: nan", "loss_weight is nan"),
]


@pytest.mark.parametrize(("kind", "text", "message"), NUMBERS, ids=[n[2][:20] for n in NUMBERS])
def test_numbers_are_finite_and_in_their_range(one, kind, text, message):
    with pytest.raises(FormatError, match=message) as error:
        one(kind, text, wiring='top: "a"' if kind == "MemoryData" else 'bottom: "a" top: "b"')
    assert "net.prototxt: layer 'l' (" in str(error.value)


def test_what_a_filler_does_not_use_may_be_anything(one):
    layer = one("InnerProduct", 'inner_product_param { num_output: 2 weight_filler { type: "xavier" std: -1 } }')
    assert layer.weight_init == XavierInitializer("fan_in")


def test_propagate_down(one):
    assert one("ReLU", "propagate_down: true").propagate_down == (True,)
    loss = one("SoftmaxWithLoss", "propagate_down: true propagate_down: false", wiring='bottom: "a" bottom: "label"')
    assert loss.propagates(0) and not loss.propagates(1)


def test_two_layers_of_one_name_with_weights(read):
    text = 'layer {{ name: "{}" type: "InnerProduct" bottom: "{}" top: "{}" inner_product_param {{ num_output: 2 }} }}'
    assert len(read(text.format("l", "a", "b") + text.format("m", "b", "c"))) == 2
    with pytest.raises(UnsupportedError, match=r"layer 'l' .*another layer with weights has this name"):
        read(text.format("l", "a", "b") + text.format("l", "b", "c"))


def test_every_translation_is_tested():
    text = "".join(file.read_text() for file in sorted(Path(__file__).parent.glob("test_translate*.py")))
    assert [kind for kind in TRANSLATIONS if f'"{kind}"' not in text and kind not in SEEN_ELSEWHERE] == []


SEEN_ELSEWHERE = {"Deconvolution", "Sigmoid", "TanH", "Split"}  # in the golden cases
