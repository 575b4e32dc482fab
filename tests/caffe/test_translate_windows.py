"""Caffe's windows over any number of axes, its pyramids, taps as channels and crops: read, refused, and written back."""

import textwrap

import numpy as np
import pytest

import fullmocha as fm
from fullmocha.caffe import load_caffe
from fullmocha.caffe.schema import text_message
from fullmocha.caffe.writing import describe_net

MAX, MEAN = fm.Pooling.Max(), fm.Pooling.Mean()
WIRED = {"name": "l", "bottoms": ["a"], "tops": ["b"]}


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("kernel_size: 3", {"kernel": 3}),
        ("kernel_size: [2, 3, 4]", {"kernel": (4, 3, 2)}),
        ("kernel_size: [2, 2, 2] stride: [1, 1]", {"kernel": 2, "stride": 1}),
        ("kernel_size: 3 stride: [2, 1, 2] pad: 1 pad: 0 pad: 2 dilation: 2",
         {"kernel": 3, "stride": (2, 1, 2), "pad": (2, 0, 1), "dilation": 2}),
        ("kernel_h: 2 kernel_w: 3 pad_w: 1", {"kernel": (3, 2), "pad": (1, 0)}),
        ("kernel_size: 1 axis: 2 force_nd_im2col: true", {"kernel": 1, "axis": 2}),
        ("kernel_size: 1 axis: -1", {"kernel": 1, "axis": -1}),
    ],
)  # fmt: skip
def test_convolution_over_any_number_of_axes(one, text, fields):
    for kind, layer in (("Convolution", fm.ConvolutionLayer), ("Deconvolution", fm.DeconvolutionLayer)):
        found = one(kind, f"convolution_param {{ num_output: 2 {text} }}")
        names = ("kernel", "stride", "pad", "dilation", "axis")
        wanted = layer(**WIRED, n_filter=2, **fields)
        assert [getattr(found, n) for n in names] == [getattr(wanted, n) for n in names]


def test_pooling_as_greentea_writes_it(one):
    found = one("Pooling", "pooling_param { pool: MAX kernel_size: [1, 2, 2] stride: [1, 2, 2] pad: 0 }")
    assert (found.kernel, found.stride, found.pad) == ((2, 2, 1), (2, 2, 1), 0)
    assert found.shape([(2, 3, 5, 7, 6)]) == [(2, 3, 5, 4, 3)]
    assert one("Pooling", "pooling_param { kernel_size: 2 kernel_size: 3 }").kernel == (3, 2)


def test_the_places_of_maxima_are_a_second_top(one):
    wiring = 'bottom: "a" top: "b" top: "c"'
    found = one("Pooling", "pooling_param { pool: MAX kernel_size: 2 }", wiring=wiring)
    assert found.places and found.shape([(1, 2, 4, 5)]) == [(1, 2, 3, 4)] * 2
    assert (
        one("Pooling", "pooling_param { pool: MAX global_pooling: true }", wiring=wiring).shape([(1, 2, 4, 5)])
        == [(1, 2, 1, 1)] * 2
    )


def test_spp_and_im2col(one):
    assert one("SPP", "spp_param { pyramid_height: 3 }") == fm.SPPLayer(**WIRED, pyramid_height=3)
    assert one("SPP", "spp_param { pyramid_height: 2 pool: AVE }").pooling == MEAN
    found = one("Im2col", "convolution_param { kernel_size: [3, 2] stride: 2 pad: 1 dilation: [1, 2] }")
    assert found == fm.Im2colLayer(**WIRED, kernel=(2, 3), stride=2, pad=1, dilation=(2, 1))


REFUSED = [
    ("Pooling", "pooling_param { pool: AVE kernel_size: 2 }", 'bottom: "a" top: "b" top: "c"', "pool: MAX only"),
    ("Pooling", "pooling_param { pool: STOCHASTIC kernel_size: 2 }", None, "STOCHASTIC is not built"),
    ("Pooling", "pooling_param { global_pooling: true pad: [0, 1] }", None, r"takes only pad 0; got \(0, 1\)"),
    ("Convolution", "convolution_param { num_output: 1 kernel_size: [3, 0, 1] }", None, r"kernel_size is \[3, 0, 1\]"),
    ("SPP", "spp_param { }", None, "pyramid_height is missing"),
    ("SPP", "spp_param { pyramid_height: 2 pool: STOCHASTIC }", None, "STOCHASTIC is not built"),
    ("SPP", "spp_param { pyramid_height: 99 }", None, "pyramid_height 99 asks for grids"),
    ("Im2col", "convolution_param { kernel_size: 2 axis: 2 }", None, "axis 2 is not built"),
    ("Im2col", "convolution_param { stride: 2 }", None, "kernel_size is missing"),
    ("Im2col", "convolution_param { kernel_size: 2 num_output: 3 }", None, "sets num_output"),
]


@pytest.mark.parametrize(("kind", "text", "wiring", "message"), REFUSED, ids=[f"{r[0]}-{r[3][:20]}" for r in REFUSED])
def test_what_cannot_be_had_is_refused_by_name(one, kind, text, wiring, message):
    with pytest.raises((fm.UnsupportedError, fm.FormatError, fm.ShapeError), match=message) as error:
        one(kind, text, wiring=wiring or 'bottom: "a" top: "b"')
    assert "net.prototxt: " in str(error.value)


def test_a_last_window_that_would_be_empty_is_refused_where_caffe_writes_out_of_bounds(tmp_path):
    file = tmp_path / "gap.prototxt"
    file.write_text(
        textwrap.dedent("""
        layer { name: "a" type: "Input" top: "a" input_param { shape { dim: [1, 1, 5, 5] } } }
        layer { name: "p" type: "Pooling" bottom: "a" top: "b" pooling_param { kernel_size: 1 stride: 4 } }
        layer { name: "q" type: "Pooling" bottom: "a" top: "c" pooling_param { kernel_size: 1 stride: 3 } }
        """)
    )
    with pytest.raises(
        fm.ShapeError, match=r"q .*the last of 3 windows along axis 2 starts at 6, outside the bottom's 5"
    ):
        load_caffe(file)


def conv(**fields):
    return fm.ConvolutionLayer(**WIRED, n_filter=2, filter_regu=fm.L2Regu(1.0, "caffe"), bias_regu=fm.L2Regu(1.0, "caffe"),
                               bias_lr=1.0, **fields)  # fmt: skip


def pool(**fields):
    return fm.PoolingLayer(**WIRED, **{"divisor": "caffe", **fields})


# layer, the shapes of its bottoms, what Caffe's text must hold, and what it must not
WRITTEN = [
    (conv(kernel=3), [(1, 2, 5, 6, 7)], ["kernel_size: 3"], ["stride", "axis"]),
    (conv(kernel=(1, 2, 3), stride=(2, 1, 1), pad=(0, 1, 2), dilation=2), [(1, 2, 9, 9, 9)],
     ["kernel_size: 3 kernel_size: 2 kernel_size: 1", "stride: 1 stride: 1 stride: 2", "pad: 2 pad: 1 pad: 0", "dilation: 2"], []),
    (conv(kernel=2, axis=2), [(1, 2, 3, 5, 5)], ["axis: 2"], []),
    (fm.DeconvolutionLayer(**WIRED, kernel=2, stride=2, n_filter=2, filter_regu=fm.L2Regu(1.0, "caffe"), bias=False), [(1, 2, 3, 4)],
     ['type: "Deconvolution"', "kernel_size: 2", "stride: 2"], []),
    (pool(kernel=3, stride=2), [(1, 2, 7, 8)], ["kernel_size: 3", "stride: 2"], ["round_mode", "pool:"]),
    (pool(kernel=(3, 2), stride=(2, 1), pad=(1, 0), pooling=MEAN), [(1, 2, 7, 8)],
     ["pool: AVE", "kernel_h: 2", "kernel_w: 3", "stride_h: 1", "stride_w: 2", "pad_h: 0", "pad_w: 1"], ["kernel_size"]),
    (pool(kernel=2, stride=2, round="floor", dilation=3), [(1, 2, 7, 8)], ["round_mode: FLOOR", "dilation: 3"], []),
    (pool(kernel=2, stride=2, round="floor"), [(1, 2, 6, 8)], ["kernel_size: 2", "stride: 2"], ["round_mode"]),
    (pool(kernel=2, round="floor"), [(1, 2, 7, 8)], ["kernel_size: 2"], ["stride", "round_mode"]),
    (pool(kernel=(2, 2, 1), stride=(2, 2, 1)), [(1, 2, 3, 6, 6)], ["kernel_size: 1 kernel_size: 2 kernel_size: 2"], ["kernel_h"]),
    (pool(whole=True, pooling=MEAN), [(1, 2, 7, 8)], ["pool: AVE", "global_pooling: true"], ["kernel"]),
    (pool(kernel=2, stride=2, pooling=MEAN, divisor="mocha"), [(1, 2, 6, 8)], ["pool: AVE"], []),
    (fm.PoolingLayer(name="l", bottoms=["a"], tops=["b", "m"], kernel=2, places=True), [(1, 2, 6, 8)], ['top: "m"'], []),
    (fm.SPPLayer(**WIRED, pyramid_height=2, pooling=MEAN), [(1, 2, 6, 8)], ['type: "SPP"', "pyramid_height: 2", "pool: AVE"], []),
    (fm.Im2colLayer(**WIRED, kernel=(2, 3), pad=1), [(1, 2, 6, 8)], ["kernel_size: 3 kernel_size: 2", "pad: 1"], []),
    (fm.CropLayer(name="l", bottoms=["a", "c"], tops=["b"], axis=3, offset=(1, 2)), [(1, 2, 4, 6, 8), (1, 2, 4, 3, 4)],
     ["axis: 3", "offset: 1 offset: 2"], []),
    (fm.CropLayer(name="l", bottoms=["a", "c"], tops=["b"]), [(1, 2, 6, 8), (1, 2, 3, 4)], ['type: "Crop"'], ["axis", "offset"]),
    (fm.MergeCropLayer(name="l", bottoms=["a", "c"], tops=["b"]), [(1, 2, 4, 4), (1, 2, 8, 8)], ['type: "MergeCrop"'], ["backward"]),
    (fm.MergeCropLayer(name="l", bottoms=["a", "c"], tops=["b"], operation="add", backward_of=(True, True)), [(1, 2, 4, 4), (1, 2, 8, 8)],
     ["operation: ADD", "backward: true backward: true"], ["forward"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("layer", "bottoms", "said", "unsaid"), WRITTEN, ids=[type(w[0]).__name__ + str(i) for i, w in enumerate(WRITTEN)]
)
def test_what_is_written_is_read_back(layer, bottoms, said, unsaid, tmp_path):
    data = fm.InputLayer(tops=list(layer.bottoms), shapes=bottoms)
    net = fm.Net("written", "reference", [data, layer])
    message = describe_net(net)
    text = " ".join(str(message.layer[-1]).split())
    assert all(part in text for part in said) and not any(part in text for part in unsaid), text

    file = tmp_path / "net.prototxt"
    file.write_text(str(message))
    again = load_caffe(file, backend="reference")
    rng = np.random.default_rng(3)
    inputs = {
        name: rng.normal(size=shape).astype(np.float32) for name, shape in zip(layer.bottoms, bottoms, strict=True)
    }
    values = {name: [rng.normal(size=p.shape) for p in params] for name, params in net.params.items()}
    for made in (net, again):
        made.load_params(values)
        made.forward(inputs)
    for top in layer.tops:
        np.testing.assert_array_equal(again.output_blobs[top].data, net.output_blobs[top].data)


def test_a_pool_of_two_sizes_is_legal_in_bvlc_caffe():
    """There its fields hold one number each; a second one would be an error."""
    net = fm.Net(
        "n", "reference", [fm.InputLayer(tops=["a"], shapes=[(1, 1, 7, 8)]), pool(kernel=(3, 2), stride=(2, 1))]
    )
    block = describe_net(net).layer[-1].pooling_param
    assert [len(getattr(block, name)) for name in ("kernel_size", "stride", "pad")] == [0, 0, 0]
    assert isinstance(describe_net(net), text_message("NetParameter"))


@pytest.mark.parametrize(
    ("layer", "bottoms", "message"),
    [
        (pool(kernel=2, stride=2, pooling=MEAN, divisor="mocha"), [(1, 2, 7, 8)], "l .*Mocha's mean divides by the whole window"),
        (fm.CropLayer(**WIRED, crop_size=3), [(1, 2, 7, 8)], "l .*its size from a second bottom"),
        (fm.MergeCropLayer(name="l", bottoms=["a", "c"], tops=["b"], offset=(0, 1)), [(1, 2, 4, 4), (1, 2, 8, 8)], "l .*takes the centre"),
    ],
)  # fmt: skip
def test_what_caffe_has_no_words_for_is_not_written(layer, bottoms, message):
    net = fm.Net("n", "reference", [fm.InputLayer(tops=list(layer.bottoms), shapes=bottoms), layer])
    with pytest.raises(fm.UnsupportedError, match=message):
        describe_net(net)
