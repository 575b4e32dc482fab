"""Caffe's layers that join, cut, reshape, combine and pick, in both directions: every option, and what is refused."""

import re

import pytest

from fullmocha import layers
from fullmocha.backend import ReferenceBackend
from fullmocha.caffe import load_caffe
from fullmocha.caffe.writing import describe_net
from fullmocha.errors import FormatError, ShapeError, UnsupportedError
from fullmocha.initializers import ConstantInitializer, XavierInitializer
from fullmocha.net import Net
from fullmocha.regularizers import L2Regu, NoRegu

F = layers.ElementWiseFunctors
ONE, TWO = 'bottom: "a" top: "y"', 'bottom: "a" bottom: "b" top: "y"'
NAMES = {"name": "l", "bottoms": ["a"], "tops": ["y"]}
BOTH = NAMES | {"bottoms": ["a", "b"]}
LAST = {"ties": "last"}
EMBED = {"weight_regu": L2Regu(1.0, "caffe"), "bias_regu": L2Regu(1.0, "caffe"), "bias_lr": 1.0}

# type, wiring, the rest of the text, our config, and shapes of the bottoms
READ = [
    ("Eltwise", TWO, "", layers.ElementWiseLayer(**BOTH), [(2, 3, 4)] * 2),
    ("Eltwise", TWO, "eltwise_param { operation: SUM coeff: [1, -0.5] }",
     layers.ElementWiseLayer(**BOTH, coefficients=[1, -0.5]), [(2, 3, 4)] * 2),
    ("Eltwise", TWO, "eltwise_param { operation: PROD stable_prod_grad: false }",
     layers.ElementWiseLayer(**BOTH, operation=F.Multiply(), stable_gradient=False), [(2, 3, 4)] * 2),
    ("Eltwise", TWO, "eltwise_param { operation: MAX }", layers.ElementWiseLayer(**BOTH, operation=F.Maximum()), [(2, 3, 4)] * 2),
    ("Slice", 'bottom: "a" top: "x" top: "y"', "slice_param { axis: -1 slice_point: 2 }",
     layers.SliceLayer(**NAMES | {"tops": ["x", "y"]}, axis=-1, points=[2]), [(2, 3, 5)]),
    ("Slice", 'bottom: "a" top: "x" top: "y"', "", layers.SliceLayer(**NAMES | {"tops": ["x", "y"]}), [(3, 4)]),
    ("Concat", TWO, "concat_param { axis: 2 }", layers.ConcatLayer(**BOTH, axis=2), [(2, 3, 4)] * 2),
    ("Flatten", ONE, "flatten_param { axis: 2 end_axis: -2 }", layers.FlattenLayer(**NAMES, axis=2, end_axis=-2), [(2, 3, 4, 5, 6)]),
    ("Reshape", ONE, "reshape_param { shape { dim: [0, -1] } axis: 1 num_axes: 2 }",
     layers.ReshapeLayer(**NAMES, dims=[0, -1], axis=1, num_axes=2), [(2, 3, 4, 5)]),
    ("Tile", ONE, "tile_param { axis: 2 tiles: 3 }", layers.TileLayer(**NAMES, axis=2, tiles=3), [(2, 3, 4)]),
    ("Reduction", ONE, "", layers.ReductionLayer(**NAMES), [(2, 3, 4)]),
    ("Reduction", ONE, "reduction_param { operation: SUMSQ axis: -2 coeff: 0.25 }",
     layers.ReductionLayer(**NAMES, operation="sumsq", axis=-2, coefficient=0.25), [(2, 3, 4)]),
    ("Reduction", ONE, "reduction_param { operation: ASUM }", layers.ReductionLayer(**NAMES, operation="asum"), [(2, 3, 4)]),
    ("Reduction", ONE, "reduction_param { operation: MEAN }", layers.ReductionLayer(**NAMES, operation="mean"), [(2, 3, 4)]),
    ("ArgMax", ONE, "", layers.ArgmaxLayer(**NAMES, **LAST, whole=True), [(2, 3, 4)]),
    ("ArgMax", ONE, "argmax_param { out_max_val: true top_k: 2 }",
     layers.ArgmaxLayer(**NAMES, **LAST, whole=True, output="both", top_k=2), [(2, 3, 4)]),
    ("ArgMax", ONE, "argmax_param { top_k: 2 axis: 2 }", layers.ArgmaxLayer(**NAMES, **LAST, axis=2, top_k=2), [(2, 3, 4)]),
    ("ArgMax", ONE, "argmax_param { out_max_val: true axis: 0 }",
     layers.ArgmaxLayer(**NAMES, **LAST, axis=0, output="value"), [(2, 3, 4)]),
    ("Embed", ONE, 'embed_param { num_output: 4 input_dim: 7 weight_filler { type: "xavier" } bias_filler { value: 0.5 } }',
     layers.EmbedLayer(**NAMES, **EMBED, input_dim=7, output_dim=4, bias_init=ConstantInitializer(0.5)), [(3, 5)]),
    ("Embed", ONE, "param { lr_mult: 2 decay_mult: 0 } embed_param { num_output: 4 input_dim: 7 bias_term: false }",
     layers.EmbedLayer(**NAMES, input_dim=7, output_dim=4, bias=False, weight_init=ConstantInitializer(0.0), weight_lr=2.0,
                       weight_regu=NoRegu()), [(3, 5)]),
    ("BatchReindex", TWO, "", layers.BatchReindexLayer(**BOTH), [(3, 5), (7,)]),
    ("Filter", TWO, "", layers.FilterLayer(**BOTH), [(6, 5), (6, 1)]),
    ("Parameter", 'top: "y"', "param { lr_mult: 3 } parameter_param { shape { dim: [2, 3] } }",
     layers.ParameterBlobLayer(name="l", tops=["y"], dims=[2, 3], blob_lr=3.0, blob_regu=L2Regu(1.0, "caffe")), []),
    ("Split", 'bottom: "a" top: "x" top: "y"', "", layers.SplitLayer(**NAMES | {"tops": ["x", "y"]}), [(2, 3)]),
    ("Silence", 'bottom: "a" bottom: "b"', "", layers.SilenceLayer(**BOTH | {"tops": []}), [(2, 3), (1,)]),
]  # fmt: skip


def inputs(shapes):
    blobs = "".join(f' top: "{name}"' for name in "ab"[: len(shapes)])
    sizes = "".join(f" shape {{ dim: {list(shape)} }}" for shape in shapes)
    return f'layer {{ name: "in" type: "Input"{blobs} input_param {{{sizes} }} }}' if shapes else ""


@pytest.mark.parametrize(
    ("kind", "wiring", "rest", "config", "shapes"), READ, ids=[f"{r[0]} {r[2][:40]}" for r in READ]
)
def test_there_and_back(read, kind, wiring, rest, config, shapes, plain):
    text = f'layer {{ name: "l" type: "{kind}" {wiring} {rest} }}'
    (layer,) = read(text)
    assert plain(layer) == config
    data, *_ = read(inputs(shapes), text) if shapes else (None,)
    net = Net("net", ReferenceBackend(), [layer] if data is None else [data, layer])
    written = str(describe_net(net))
    again = read(written)[-1]
    assert plain(again) == config, written
    # what is written says no more than what was read
    said = re.findall(r"\w+_param \{.*", rest)
    assert bool(said) == ("_param {" in written.partition('name: "l"')[2]), written


def test_shapes_are_caffes(tmp_path):
    """ArgMax without an axis has three axes or more; a sum over everything has none."""
    text = inputs([(2, 3, 4, 5)]) + "".join(
        f'layer {{ name: "{kind}{i}" type: "{kind}" bottom: "a" top: "{kind}{i}" {rest} }}'
        for i, (kind, rest) in enumerate(
            [
                ("ArgMax", ""),
                ("ArgMax", "argmax_param { out_max_val: true top_k: 3 }"),
                ("Reduction", ""),
                ("Flatten", ""),
            ]
        )
    )
    (tmp_path / "net.prototxt").write_text(text)
    net = load_caffe(tmp_path / "net.prototxt", backend="reference")
    found = {name: blob.shape for name, blob in net.output_blobs.items() if name != "a"}
    assert found == {"ArgMax0": (2, 1, 1, 1), "ArgMax1": (2, 2, 3, 1), "Reduction2": (), "Flatten3": (2, 60)}


def test_a_maximum_takes_no_notice_of_coefficients(read):
    (layer,) = read(f'layer {{ name: "l" type: "Eltwise" {TWO} eltwise_param {{ operation: MAX coeff: [2, 3] }} }}')
    assert layer == layers.ElementWiseLayer(**BOTH, operation=F.Maximum())


def test_slice_dim_is_the_old_axis(read):
    (layer,) = read('layer { name: "l" type: "Slice" bottom: "a" top: "x" top: "y" slice_param { slice_dim: 0 } }')
    assert layer.axis == 0


WRONG = [
    ("Eltwise", TWO, "eltwise_param { operation: PROD coeff: [1, 2] }", "coeff, which a product cannot take"),
    ("Eltwise", TWO, "eltwise_param { coeff: [1, nan] }", "coeff is nan"),
    ("Slice", ONE, "slice_param { axis: 1 slice_dim: 1 }", "both axis and slice_dim"),
    ("Slice", ONE, "slice_param { slice_point: 1 }", "1 points for 1 tops"),
    ("Reshape", ONE, "reshape_param { shape { dim: [-1, -1] } }", "one -1 at most"),
    ("Reshape", ONE, "reshape_param { num_axes: -2 }", "num_axes one >= -1"),
    ("Tile", ONE, "", "tiles is missing"),
    ("Reduction", ONE, "reduction_param { coeff: inf }", "coeff is inf"),
    ("ArgMax", ONE, "argmax_param { top_k: 0 }", "top_k is 0"),
    ("Embed", ONE, "embed_param { num_output: 4 }", "input_dim is missing"),
    ("Embed", ONE, "embed_param { input_dim: 4 }", "num_output is missing"),
    ("Parameter", 'top: "y"', "parameter_param { shape { dim: [2, 0] } }", r"shape is \[2, 0\]"),
    ("Parameter", ONE, "parameter_param { shape { dim: 2 } }", "no bottoms and one top"),
]


@pytest.mark.parametrize(("kind", "wiring", "rest", "message"), WRONG, ids=[f"{w[0]} {w[3][:24]}" for w in WRONG])
def test_what_caffe_refuses_too(read, kind, wiring, rest, message):
    with pytest.raises((FormatError, ShapeError), match=message) as error:
        read(f'layer {{ name: "l" type: "{kind}" {wiring} {rest} }}')
    assert re.search(r"net\.prototxt: (layer 'l'|l) \(", str(error.value))


def written(*made, shapes):
    data = layers.InputLayer(name="in", tops=list("ab")[: len(shapes)], shapes=shapes)
    return describe_net(Net("net", ReferenceBackend(), [data, *made])).layer[1:]


def test_mochas_layers_in_caffes_words():
    (message,) = written(layers.ElementWiseLayer(**BOTH, operation=F.Subtract()), shapes=[(2, 3)] * 2)
    assert (message.type, list(message.eltwise_param.coeff)) == ("Eltwise", [1, -1])
    (message,) = written(layers.ReshapeLayer(**NAMES, shape=[5, 4, 3]), shapes=[(2, 60)])
    assert (message.type, list(message.reshape_param.shape.dim)) == ("Reshape", [0, 3, 4, 5])
    (message,) = written(layers.ConcatLayer(**BOTH), shapes=[(2, 3, 4, 5)] * 2)
    assert (message.type, message.concat_param.axis) == ("Concat", 1)
    (message,) = written(layers.ConcatLayer(**BOTH, dim=1), shapes=[(2, 3, 4, 5)] * 2)
    assert message.concat_param.axis == 3
    (message,) = written(layers.ArgmaxLayer(**NAMES), shapes=[(2, 3, 4)])
    assert (message.type, message.argmax_param.axis, message.argmax_param.HasField("axis")) == ("ArgMax", 1, True)
    (message,) = written(layers.IdentityLayer(**NAMES), shapes=[(2, 3)])
    assert message.type == "Split"
    embed = layers.EmbedLayer(**NAMES, input_dim=4, output_dim=2, weight_init=XavierInitializer("fan_out"))
    (message,) = written(embed, shapes=[(3,)])
    assert [(p.lr_mult, p.decay_mult) for p in message.param] == [(1, 2), (2, 0)]  # Mocha's coefficient counts twice


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (layers.ElementWiseLayer(**BOTH, operation=F.Divide()), "a quotient has no words in Caffe"),
        (layers.ArgmaxLayer(**NAMES, whole=True, output="value"), "no words in Caffe"),
    ],
)
def test_what_caffe_has_no_words_for(layer, message):
    with pytest.raises(UnsupportedError, match=message):
        written(layer, shapes=[(2, 3)] * len(layer.bottoms))
