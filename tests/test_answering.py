"""`deploy`: what a training net answers with, fed by hand."""

import numpy as np
import pytest

import fullmocha as fm


def training(rng: np.random.Generator) -> fm.Net:
    images, labels = rng.normal(size=(4, 2, 7, 6)), rng.integers(0, 3, (4, 1)).astype(float)
    steps = [("data", fm.DataTransformers.Scale(0.5))]
    relu = fm.Neurons.ReLU()
    layers = [
        fm.MemoryDataLayer(name="set", tops=["data", "label"], batch_size=2, data=[images, labels], transformers=steps),
        fm.ConvolutionLayer(name="conv", bottoms=["data"], tops=["conv"], kernel=3, n_filter=4, neuron=relu),
        fm.TanHLayer(name="tanh", bottoms=["conv"], tops=["conv"]),
        fm.InnerProductLayer(name="ip", bottoms=["conv"], tops=["ip"], output_dim=3),
        fm.SoftmaxLayer(name="prob", bottoms=["ip"], tops=["prob"]),
        fm.AccuracyLayer(bottoms=["prob", "label"]),
        fm.SoftmaxLossLayer(name="loss", bottoms=["ip", "label"], tops=["loss"]),
    ]
    net = fm.Net("net", "reference", layers, dtype="float64")
    net.init()
    return net


def test_data_labels_and_losses_are_left_behind_and_parameters_shared(rng: np.random.Generator) -> None:
    net = training(rng)
    alone = fm.deploy(net)
    assert [layer.name for layer in alone.layers] == ["set", "conv", "tanh", "ip", "prob"]
    assert alone.data_nodes[0].layer.shapes == ((1, 2, 7, 6),) and list(alone.output_blobs) == [
        "data",
        "conv",
        "ip",
        "prob",
    ]
    assert alone.params["conv"][0] is net.params["conv"][0]
    image = rng.normal(size=(1, 2, 9, 11))
    np.testing.assert_array_equal(fm.predict(alone, image[0]), fm.predict(net, image[0]))  # the scale came along
    assert fm.predict(alone, image[0]).shape == (3, 9, 11)


def test_another_output_leaves_out_what_comes_behind_it(rng: np.random.Generator) -> None:
    assert [layer.name for layer in fm.deploy(training(rng), "conv").layers] == ["set", "conv", "tanh"]
    with pytest.raises(fm.ShapeError, match="has no blob 'cnv'"):
        fm.deploy(training(rng), "cnv")
