"""Every type of layer on blobs of every rank, one number included: a net, or a refusal of ours."""

import pytest

from fullmocha.caffe.translate import TRANSLATIONS

from .targets import guarded

SHAPES = ([], [1], [2], [1, 1], [2, 3], [2, 3, 4], [1, 3, 4, 5], [1, 2, 3, 4, 5], [1, 1, 2, 2, 2, 2])
# What a type needs, or turns around; the others run with their defaults.
BLOCKS = {
    "ArgMax": ["", "argmax_param { axis: -1 }", "argmax_param { out_max_val: true }"],
    "Bias": ["", "bias_param { axis: 0 num_axes: -1 }", "bias_param { num_axes: 0 }"],
    "Clip": ["clip_param { min: 0 max: 1 }"],
    "Concat": ["", "concat_param { axis: 0 }"],
    "Convolution": ["convolution_param { num_output: 2 kernel_size: 1 }", "convolution_param { num_output: 2 kernel_size: 1 axis: -1 }"],
    "Crop": ["", "crop_param { axis: 0 offset: 0 }"],
    "Deconvolution": ["convolution_param { num_output: 2 kernel_size: 1 }"],
    "Embed": ["embed_param { num_output: 2 input_dim: 3 }"],
    "Flatten": ["", "flatten_param { axis: 0 }"],
    "Im2col": ["convolution_param { kernel_size: 1 }"],
    "InnerProduct": ["inner_product_param { num_output: 2 }", "inner_product_param { num_output: 2 axis: 0 }"],
    "LRN": ["", "lrn_param { norm_region: WITHIN_CHANNEL local_size: 3 }"],
    "LSTM": ["recurrent_param { num_output: 2 }"],
    "MergeCrop": ["", "mergecrop_param { operation: ADD }"],
    "Parameter": ["parameter_param { shape { dim: 2 } }", "parameter_param { shape { } }"],
    "Pooling": ["pooling_param { kernel_size: 1 }", "pooling_param { global_pooling: true }"],
    "PReLU": ["", "prelu_param { channel_shared: true }"],
    "Reduction": ["", "reduction_param { axis: -1 }"],
    "Reshape": ["reshape_param { shape { dim: [0, -1] } }", "reshape_param { shape { } }", "reshape_param { shape { dim: 1 } axis: 5 }"],
    "RNN": ["recurrent_param { num_output: 2 }"],
    "Scale": ["", "scale_param { axis: 0 num_axes: -1 }", "scale_param { num_axes: 0 }"],
    "Slice": ["", "slice_param { axis: 0 }"],
    "Softmax": ["", "softmax_param { axis: 0 }"],
    "SPP": ["spp_param { pyramid_height: 2 }"],
    "Tile": ["tile_param { tiles: 2 }", "tile_param { tiles: 2 axis: -1 }"],
}  # fmt: skip


@pytest.mark.parametrize("kind", sorted(TRANSLATIONS))
def test_a_net_or_a_refusal(kind: str) -> None:
    for block in BLOCKS.get(kind, [""]):
        for shape in SHAPES:
            for count in range(4):
                inputs = "".join(
                    f'layer {{ name: "in{i}" type: "Input" top: "b{i}" input_param {{ shape {{ dim: {shape} }} }} }} '
                    for i in range(count)
                )
                bottoms = "".join(f'bottom: "b{i}" ' for i in range(count))
                guarded("text", f'{inputs} layer {{ name: "l" type: "{kind}" {bottoms} top: "t" {block} }}'.encode())
