"""Mocha's functions by name: each does what its method does, and layer states have Mocha's fields."""

import copy as standard_copy

import numpy as np
import pytest

from fullmocha import mocha
from fullmocha.backend import ReferenceBackend
from fullmocha.coffee import CoffeeLounge, ValidationPerformance, dump_statistics
from fullmocha.layers import InnerProductLayer, MemoryOutputLayer, SplitLayer
from fullmocha.net import Net
from fullmocha.neurons import Neurons
from fullmocha.solvers import solve

from .nets import CLASSES, memory_data, samples, solver, training, trunk, validation


@pytest.fixture
def net() -> Net:
    net = training(memory_data(batch_size=4), dropout=False)
    return mocha.init(net)


def test_init_takes_nets_and_backends() -> None:
    net, backend = training(memory_data()), ReferenceBackend(1)
    assert mocha.init(net) is net and all(p.initialised for p in net.parameters)
    assert mocha.init(backend) is backend


def test_passes(net: Net) -> None:
    twin = training(memory_data(batch_size=4), dropout=False)
    mocha.init(twin)
    loss = mocha.forward(net, 0.1)
    mocha.backward(net, 0.1)
    assert loss == mocha.forward_backward(twin, 0.1) == mocha.get_layer_state(net, "loss").loss
    for a, b in zip(net.parameters, twin.parameters, strict=True):
        assert np.array_equal(a.gradient, b.gradient) and np.abs(a.gradient).max() > 0


def test_epochs(net: Net) -> None:
    mocha.forward_epoch(net)
    assert mocha.get_epoch(net) == mocha.get_layer_state(net, "memory-data").epoch == 1


def test_freezing(net: Net) -> None:
    def frozen() -> list[bool]:
        return [mocha.is_frozen(mocha.get_layer_state(net, name)) for name in ("conv1", "ip1")]

    assert frozen() == [False, False]
    mocha.freeze(net, "conv1")
    assert frozen() == [True, False]
    mocha.freeze_all(net)
    assert frozen() == [True, True] and net.trainable == []
    mocha.unfreeze(net, "ip1")
    assert frozen() == [True, False]
    mocha.unfreeze_all(net)
    assert frozen() == [False, False]


def test_layers_by_name_and_place(net: Net) -> None:
    assert mocha.get_layer(net, "ip1") is net.node("ip1").layer
    assert mocha.get_layer(net, 0).name == "memory-data"
    layer = mocha.copy(mocha.get_layer(net, "ip1"), name="ip2")
    assert (layer.name, layer.output_dim) == ("ip2", CLASSES)


def test_data_in_memory_can_be_overwritten(net: Net) -> None:
    """Mocha's idiom for inference."""
    layer = mocha.get_layer(net, "memory-data")
    layer.data[0][...] = 7.0
    mocha.forward(net)
    assert (net.output_blobs["data"].data == 7.0).all()


def test_fields_of_an_inner_product(net: Net) -> None:
    mocha.forward_backward(net)
    state = mocha.get_layer_state(net, "ip1")
    weight, bias = net.params["ip1"]
    assert state.parameters == [weight, bias] and state.W is weight and state.b is bias
    assert np.array_equal(state.grad_W.data, weight.gradient) and np.abs(state.grad_W.data).max() > 0
    assert np.array_equal(state.grad_b.data, bias.gradient) and np.abs(state.grad_b.data).max() > 0
    (blob,) = state.blobs
    assert blob is net.output_blobs["ip1"] and state.blobs_diff == [net.diff_blobs["ip1"]]
    assert isinstance(state.layer, InnerProductLayer)


def test_fields_of_a_convolution_with_a_neuron(net: Net) -> None:
    """The blob is what the neuron made of it."""
    mocha.forward_backward(net)
    state = mocha.get_layer_state(net, "conv1")
    assert (state.filter, state.bias) == tuple(net.params["conv1"])
    assert np.abs(state.grad_filter.data).max() > 0 and np.abs(state.grad_bias.data).max() > 0
    (blob,) = state.blobs
    np.testing.assert_array_equal(blob.data, np.tanh(net.blobs["conv1#1"].data))


def test_fields_of_a_layer_with_two_bottoms() -> None:
    ip = InnerProductLayer(name="ip", bottoms=["a", "b"], tops=["x", "y"], output_dim=2, neuron=Neurons.ReLU())
    split = SplitLayer(name="split", bottoms=["data"], tops=["a", "b"])
    net = Net("two", ReferenceBackend(1), [memory_data(tops=["data", "label"]), split, ip])
    assert mocha.get_layer_state(net, "ip").blobs == [net.output_blobs["x"], net.output_blobs["y"]]


def test_outputs() -> None:
    out = MemoryOutputLayer(name="out", bottoms=["ip1", "label"])
    net = mocha.init(Net("out", ReferenceBackend(1), [memory_data(shuffle=False), *trunk(), out]))
    mocha.forward(net)
    mocha.forward(net)
    outputs = mocha.get_layer_state(net, "out").outputs
    assert [len(batches) for batches in outputs] == [2, 2]
    assert np.array_equal(np.concatenate(outputs[1]), samples()[1][:8])


def test_unknown_field_lists_what_there_is(net: Net) -> None:
    state = mocha.get_layer_state(net, "ip1")
    with pytest.raises(AttributeError, match=r"ip1 \(InnerProductLayer\) has no 'filter'.*'weight', 'bias'"):
        state.filter  # noqa: B018
    assert standard_copy.copy(state).W is state.W


def test_blobs() -> None:
    blob = mocha.make_blob(ReferenceBackend(1), np.float32, (2, 3))
    mocha.copy_to(blob, np.arange(6))
    array = mocha.to_array(blob)
    assert array.dtype == np.float32 and array.tolist() == [[0, 1, 2], [3, 4, 5]]
    mocha.fill(blob, 2.5)
    assert array[1, 2] == 5 and (mocha.to_array(blob) == 2.5).all()
    mocha.erase(blob)
    assert not mocha.to_array(blob).any()


def test_writing_a_parameter_counts(net: Net) -> None:
    weight = net.params["ip1"][0]
    before = weight.version
    mocha.to_array(weight)
    assert weight.version == before
    for write in (
        lambda: mocha.fill(weight, 1.0),
        lambda: mocha.erase(weight),
        lambda: mocha.copy_to(weight, weight.values()),
    ):
        write()
        assert weight.version == (before := before + 1)


def test_statistics() -> None:
    backend = ReferenceBackend(2)
    net, lounge = mocha.init(validation(backend)), CoffeeLounge()
    mocha.forward_epoch(net)
    dump_statistics(lounge, net)
    assert mocha.get_statistics(lounge, "acc-accuracy") == {0: net.statistics()["acc-accuracy"]}
    mocha.update_statistics(lounge, "mine", 3)
    assert mocha.get_statistics(lounge, "mine") == {0: 3.0} and mocha.get_statistics(lounge, "none") == {}
    mocha.reset_statistics(net)
    assert net.node("acc").state.counted == 0


def test_register() -> None:
    backend, heard = ReferenceBackend(2), []
    net = training(memory_data(), backend)
    coffee, s = ValidationPerformance(validation(backend)), solver(0)
    mocha.register(coffee, lambda lounge, net, state: heard.append(state.iter))
    s.lounge.add(coffee, every_n_iter=1)
    solve(s, net)
    assert heard == [0]


def test_destroy_and_check(net: Net) -> None:
    mocha.check_bp_topology(net)
    mocha.forward(net)
    mocha.destroy(net)
    assert mocha.forward(net) > 0, "blobs are made anew when they are needed"
