"""Upgrades of old nets and the choice of layers by phase, level and stage."""

import pytest

from fullmocha.caffe import load_caffe
from fullmocha.caffe.rules import select, state_of, upgrade, upgrade_solver
from fullmocha.caffe.schema import text_message
from fullmocha.caffe.text import parse_prototxt, read_prototxt
from fullmocha.errors import FormatError, UnsupportedError


def up(text):
    return upgrade(parse_prototxt(text, "f"), "f")


def kept(text, phase="test"):
    return [layer.name for layer in select(up(text), phase, "f").layer]


def test_a_v1_layer_becomes_the_same_v2_layer():
    new = up("""layers { name: "c" type: CONVOLUTION bottom: "a" bottom: "b" top: "t" blobs_lr: 1 blobs_lr: 2
                  weight_decay: 1 weight_decay: 0 param: "w" blob_share_mode: PERMISSIVE loss_weight: .5
                  include { phase: TEST } convolution_param { num_output: 3 kernel_size: 5 } }""")
    assert new == parse_prototxt(
        """layer { name: "c" type: "Convolution" bottom: "a" bottom: "b" top: "t" loss_weight: .5
             param { name: "w" share_mode: PERMISSIVE lr_mult: 1 decay_mult: 1 } param { lr_mult: 2 decay_mult: 0 }
             include { phase: TEST } convolution_param { num_output: 3 kernel_size: 5 } }""",
        "f",
    )


def test_every_v1_type_has_the_name_of_its_v2_type():
    enum = text_message("V1LayerParameter").DESCRIPTOR.fields_by_name["type"].enum_type
    types = {v.name: up(f"layers {{ type: {v.name} }}").layer[0].type for v in enum.values if v.number}
    # By hand from Caffe's list of V1 types.
    words = """Accuracy BNLL Concat Convolution Data Dropout EuclideanLoss Flatten HDF5Data HDF5Output Im2col ImageData
        InfogainLoss InnerProduct LRN MultinomialLogisticLoss Pooling ReLU Sigmoid Softmax SoftmaxWithLoss Split TanH
        WindowData Eltwise Power SigmoidCrossEntropyLoss HingeLoss MemoryData ArgMax Threshold DummyData Slice MVN
        AbsVal Silence ContrastiveLoss Exp Deconvolution"""
    assert sorted(types.values()) == sorted(words.split())
    assert types["INNER_PRODUCT"] == "InnerProduct" and types["SOFTMAX_LOSS"] == "SoftmaxWithLoss"


def test_transformations_of_v1_data_layers_move():
    layer = up('layers { type: DATA data_param { source: "s" scale: 0.25 mirror: true crop_size: 9 } }').layer[0]
    assert (layer.transform_param.scale, layer.transform_param.mirror, layer.transform_param.crop_size) == (
        0.25,
        True,
        9,
    )
    assert layer.data_param.source == "s" and not layer.data_param.HasField("scale")


@pytest.mark.parametrize(
    "declaration",
    [
        'input: "x" input: "y" input_dim: [2, 3, 5, 7, 2, 1, 1, 1]',
        'input: "x" input: "y" input_shape { dim: [2, 3, 5, 7] } input_shape { dim: [2, 1, 1, 1] }',
    ],
)
def test_input_declarations_become_one_input_layer_in_front(declaration):
    net = up(declaration + ' layer { name: "l" type: "ReLU" }')
    assert [(layer.name, layer.type) for layer in net.layer] == [("input", "Input"), ("l", "ReLU")]
    assert list(net.layer[0].top) == ["x", "y"] and not net.input and not net.input_dim and not net.input_shape
    assert [list(s.dim) for s in net.layer[0].input_param.shape] == [[2, 3, 5, 7], [2, 1, 1, 1]]


@pytest.mark.parametrize(
    "declaration",
    [
        'input: "x"',
        'input: "x" input_dim: 1 input_dim: 2',
        "input_dim: [1, 2, 3, 4]",
        'input: "x" input: "y" input_dim: [1, 2, 3, 4]',
    ],
)
def test_an_input_without_its_shape_is_refused(declaration):
    with pytest.raises(FormatError, match=r"f declares . inputs"):
        up(declaration)


def test_greenteas_types_and_strides_of_2015():
    conv, pool, pool_hw = up("""layer { type: "ConvolutionSK" convolution_param { kstride: 4 } }
                                layer { type: "PoolingSK" pooling_param { kstride: 0 } }
                                layer { type: "PoolingND" pooling_param { kstride_h: 2 kstride_w: 3 } }""").layer
    assert (conv.type, list(conv.convolution_param.dilation)) == ("Convolution", [4])
    assert (pool.type, list(pool.pooling_param.dilation)) == ("Pooling", [1])
    assert list(pool_hw.pooling_param.dilation) == [2, 3] and not pool_hw.pooling_param.HasField("kstride_h")


def test_what_is_refused():
    with pytest.raises(FormatError, match="both 'layer' and the older 'layers'"):
        up("layer { } layers { }")
    with pytest.raises(FormatError, match="layer 'l' has both kstride and dilation"):
        up('layer { name: "l" type: "PoolingSK" pooling_param { kstride: 2 dilation: 2 } }')
    with pytest.raises(FormatError, match="layer 'l' has both include and exclude"):
        kept('layer { name: "l" include { } exclude { } }')
    with pytest.raises(UnsupportedError, match="phase is 'deploy'"):
        kept("", "deploy")
    with pytest.raises(UnsupportedError, match="stages is 'deploy'; expected a list"):
        select(up(""), "test", "f", "deploy")


def rule(text):
    return f'layer {{ name: "plain" }} layer {{ name: "ruled" {text} }}'


def test_phases():
    assert kept(rule("include { phase: TRAIN }")) == ["plain"]
    assert kept(rule("include { phase: TRAIN }"), "train") == ["plain", "ruled"]
    assert kept(rule("exclude { phase: TEST }")) == ["plain"]
    assert kept(rule("exclude { phase: TEST }"), "train") == ["plain", "ruled"]
    assert kept(rule("include { phase: TRAIN } include { phase: TEST }")) == ["plain", "ruled"]
    assert kept(rule("phase: TRAIN")) == ["plain", "ruled"]  # the layer's own phase, not a rule


@pytest.mark.parametrize(
    ("condition", "met"),
    [
        ("min_level: 2", True),
        ("min_level: 3", False),
        ("max_level: 2", True),
        ("max_level: 1", False),
        ('stage: "a"', True),
        ('stage: "a" stage: "b"', True),
        ('stage: "a" stage: "c"', False),
        ('not_stage: "c"', True),
        ('not_stage: "b"', False),
        ('phase: TEST min_level: 1 stage: "b" not_stage: "c"', True),
    ],
)
def test_levels_and_stages(condition, met):
    state = 'state { level: 2 stage: "a" stage: "b" } '
    assert kept(state + rule(f"include {{ {condition} }}")) == ["plain"] + ["ruled"] * met
    assert kept(state + rule(f"exclude {{ {condition} }}")) == ["plain"] + ["ruled"] * (not met)


def test_given_stages_are_added_and_a_given_level_replaces_the_nets():
    net = up('state { level: 2 stage: "a" } ' + rule('include { min_level: 2 stage: "a" stage: "b" }'))
    names = lambda *state: [layer.name for layer in select(net, "test", "f", *state).layer][1:]  # noqa: E731
    assert names() == [] and names(["b"]) == ["ruled"] and names(["b"], 3) == ["ruled"] and names(["b"], 0) == []


def test_load_caffe_takes_stages_and_a_level(tmp_path):
    layer = 'layer {{ name: "{0}" type: "ReLU" bottom: "x" top: "{0}" include {{ {1} }} }} '
    (tmp_path / "n.prototxt").write_text(
        'input: "x" input_shape { dim: 1 dim: 2 } state { stage: "mine" } '
        + layer.format("a", 'stage: "deploy"') + layer.format("b", 'stage: "mine" max_level: 1') + layer.format("c", "min_level: 2")
    )  # fmt: skip

    def names(**options):
        net = load_caffe(tmp_path / "n.prototxt", backend="reference", **options)
        return [layer.name for layer in net.layers][1:]

    assert names() == ["b"] and names(stages=["deploy"]) == ["a", "b"]
    assert names(level=2) == ["c"] and names(stages=("deploy",), level=3, phase="train") == ["a", "c"]


def test_a_solvers_state_is_stronger_than_the_nets_and_that_than_the_default():
    state = lambda text: parse_prototxt(text, "f", "NetState")  # noqa: E731
    assert state_of("train") == ("train", 0, [])
    assert state_of("train", state("phase: TEST level: 1 stage: 'a'")) == ("test", 1, ["a"])
    assert state_of("test", state("level: 1 stage: 'a'"), state("phase: TRAIN stage: 'b'")) == ("train", 1, ["a", "b"])


def test_a_batch_norm_of_three_params_keeps_the_solver_off_its_sums():
    three, two, other = (
        up("""layer { type: "BatchNorm" param { lr_mult: 1 name: "m" } param { decay_mult: 2 } param { } }
                              layer { type: "BatchNorm" param { lr_mult: 1 } param { } }
                              layer { type: "LSTM" param { } param { } param { } }""").layer
    )
    assert [(p.lr_mult, p.decay_mult, p.HasField("lr_mult")) for p in three.param] == [(0, 0, True)] * 3
    assert three.param[0].name == "m"
    assert [p.lr_mult for p in (*two.param, *other.param)] == [1] * 5


@pytest.mark.parametrize(
    ("number", "name"), list(enumerate(["SGD", "Nesterov", "AdaGrad", "RMSProp", "AdaDelta", "Adam"]))
)
def test_a_solvers_type_was_an_enum(number, name):
    for value in (number, name.upper()):
        new = upgrade_solver(parse_prototxt(f"solver_type: {value} device: 3", "s", "SolverParameter"), "s")
        assert (new.type, new.device_id) == (name, 3) and not new.HasField("solver_type")


def test_a_solver_of_today_stays_and_two_types_are_refused():
    plain = parse_prototxt('base_lr: .5 type: "Adam"', "s", "SolverParameter")
    assert upgrade_solver(plain, "s") == plain
    with pytest.raises(FormatError, match="s has both type and the older solver_type"):
        upgrade_solver(parse_prototxt('type: "SGD" solver_type: SGD', "s", "SolverParameter"), "s")


def test_one_file_for_both_phases(data_dir):
    net = upgrade(read_prototxt(data_dir / "greentea_nets" / "net_sk_2out" / "neuraltissue_net.prototxt"), "sk")
    train, test = ([layer.name for layer in select(net, phase, "sk").layer] for phase in ("train", "test"))
    assert train[:3] == ["label", "data", "silence"] and train[-1] == "loss" and "prob" not in train
    assert test[:2] == ["data", "silence"] and test[-1] == "prob" and "loss" not in test
