"""One dense update equals the update on the minibatch of all windows."""

import numpy as np
import pytest

import fullmocha as fm
from fullmocha.fully import training_net
from fullmocha.models import n4, u

# Sums of some thousand float64 terms in two different orders: about sqrt(4000) * 1.1e-16 of their size, with room for cancellation.
BOUND = 1e-12


def windows_of(x: np.ndarray, labels: np.ndarray, patch: int) -> tuple[np.ndarray, np.ndarray]:
    """The minibatch that the tiles stand for: every window with its label."""
    view = np.lib.stride_tricks.sliding_window_view(x, (patch, patch), axis=(2, 3))  # N C h w p p
    n, c, h, w = view.shape[:4]
    return view.transpose(0, 2, 3, 1, 4, 5).reshape(n * h * w, c, patch, patch), labels.reshape(-1, 1)


def pair(layers_of: object, patch: int, tile: tuple[int, int], loss: dict, seed: int = 0) -> tuple[fm.Net, fm.Net]:
    """The same net for the tiles and for all their windows, with the same weights."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(2, 1, *tile))
    outputs = tuple(t - patch + 1 for t in tile)
    labels = rng.integers(-1 if "ignore_label" in loss else 0, 2, (2, 1, *outputs))
    nets = []
    for data, label in ((x, labels), windows_of(x, labels, patch)):
        source = fm.MemoryDataLayer(batch_size=len(data), data=[data, label.astype(np.float64)])
        layers = [*layers_of(source), fm.SoftmaxLossLayer(name="loss", bottoms=["ip2", "label"], **loss)]
        layers.append(fm.AccuracyLayer(name="accuracy", bottoms=["ip2", "label"]))
        if "ignore_label" in loss:
            layers[-1] = layers[-1].copy(ignore_label=-1)
        nets.append(fm.Net("net", fm.ReferenceBackend(7), layers, patch=patch))
        nets[-1].init()
    return nets[0], nets[1]


LOSSES = [
    {},
    {"weight": 0.3},
    {"normalization": "batch_size"},
    {"normalization": "full", "ignore_label": -1},
    {"normalization": "valid", "ignore_label": -1},
    {"normalization": "batch_size", "ignore_label": -1},
    {"normalization": "none", "ignore_label": -1},
]


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_one_update_of_n4(loss: dict) -> None:
    tiles, windows = pair(lambda data: n4(3, 5, data=data, softmax=False), 95, (98, 97), loss)
    before = {p.name: p.values() for p in tiles.parameters}
    params = fm.make_solver_parameters(fm.SGD(), max_iter=1, regu_coef=0.01, lr_policy=fm.LRPolicy.Fixed(0.1))
    fm.solve_fully(fm.Solver(fm.SGD(), params), tiles)
    fm.solve(fm.Solver(fm.SGD(), params), windows)
    for ours, theirs in zip(tiles.parameters, windows.parameters, strict=True):
        assert np.abs(theirs.values() - before[ours.name]).max() > 0, "an update that does nothing shows nothing"
        assert np.abs(ours.values() - theirs.values()).max() / np.abs(theirs.values()).max() < BOUND
    assert tiles.statistics() == pytest.approx(windows.statistics(), abs=0)


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_gradients_with_overlapping_pools_and_strides(loss: dict) -> None:
    def layers(data: fm.MemoryDataLayer) -> list:
        return [
            data,
            fm.ConvolutionLayer(
                name="c1", bottoms=["data"], tops=["c1"], kernel=(2, 3), stride=2, n_filter=4, neuron=fm.Neurons.Tanh()
            ),
            fm.PoolingLayer(
                name="p1", bottoms=["c1"], tops=["p1"], kernel=3, stride=2, pooling=fm.Pooling.Mean(), round="floor"
            ),
            fm.ConvolutionLayer(
                name="c2", bottoms=["p1"], tops=["c2"], kernel=2, n_filter=4, n_group=2, neuron=fm.Neurons.Sigmoid()
            ),
            fm.PoolingLayer(name="p2", bottoms=["c2"], tops=["p2"], kernel=2, stride=1),
            fm.InnerProductLayer(name="ip2", bottoms=["p2"], tops=["ip2"], output_dim=2),
        ]

    tiles, windows = pair(layers, 22, (25, 29), loss)
    dense = training_net(tiles)
    a, b = dense.forward_backward(0.01), windows.forward_backward(0.01)
    assert a == pytest.approx(b, rel=1e-13)
    for ours, theirs in zip(tiles.parameters, windows.parameters, strict=True):
        scale = np.abs(theirs.gradient).max()
        assert scale > 0
        assert np.abs(ours.gradient - theirs.gradient).max() / scale < BOUND


def test_fragments_have_the_same_gradients(rng: np.random.Generator) -> None:
    net = fm.Net("n4", fm.ReferenceBackend(1), n4(2, 3), dtype="float64")
    net.init()
    x = rng.normal(size=(2, 1, 99, 96))
    seed = rng.normal(size=(2, 2, 5, 2))
    grads = []
    for engine in ("strided", "fragments"):
        dense = fm.densify(net, engine)
        dense.forward_backward(inputs={"data": x}, seeds={"prob": seed})
        grads.append([dense.diff_blobs["data"].data.copy(), *(p.gradient.copy() for p in net.parameters)])
    for a, b in zip(*grads, strict=True):
        assert np.abs(b).max() > 0
        assert np.abs(a - b).max() / np.abs(b).max() < BOUND


def test_a_dense_net_trains_as_itself(rng: np.random.Generator) -> None:
    """U nets are dense already: solve_fully is solve, on any size in step with the net."""
    x, label = rng.normal(size=(1, 1, 188, 188)), rng.integers(0, 2, (1, 1, 4, 4)).astype(float)

    def net_of(seed: int) -> fm.Net:
        data = fm.MemoryDataLayer(batch_size=1, data=[x, label])
        layers = u(data=data, softmax=False, maps=2)
        layers.append(fm.SoftmaxLossLayer(name="loss", bottoms=[layers[-1].tops[0], "label"]))
        net = fm.Net("u", fm.ReferenceBackend(seed), layers)
        net.init()
        return net

    one, two = net_of(3), net_of(3)
    dense = training_net(one)
    assert dense.forward_backward() == two.forward_backward()
    for a, b in zip(one.parameters, two.parameters, strict=True):
        np.testing.assert_array_equal(a.gradient, b.gradient)


def test_labels_that_are_not_one_per_window_are_refused(rng: np.random.Generator) -> None:
    data = fm.MemoryDataLayer(batch_size=1, data=[rng.normal(size=(3, 1, 100, 99)), np.zeros((3, 1, 6, 6))])
    layers = [*n4(2, 3, data=data, softmax=False), fm.SoftmaxLossLayer(name="loss", bottoms=["ip2", "label"])]
    with pytest.raises(fm.ShapeError, match="one label"):
        net = fm.Net("net", "reference", layers, patch=95)
        training_net(net)


def test_solve_refuses_tiles(rng: np.random.Generator) -> None:
    data = fm.MemoryDataLayer(batch_size=1, data=[rng.normal(size=(3, 1, 100, 99)), np.zeros((3, 1, 6, 5))])
    layers = [*n4(2, 3, data=data, softmax=False), fm.SoftmaxLossLayer(name="loss", bottoms=["ip2", "label"])]
    net = fm.Net("net", "reference", layers, patch=95)
    net.init()
    with pytest.raises(fm.ShapeError, match="solve_fully"):
        net.forward()


def test_without_a_loss_it_fills_the_outputs_with_an_epoch(rng: np.random.Generator, tmp_path: object) -> None:
    images = rng.normal(size=(3, 1, 101, 98)).astype(np.float32)
    data = fm.MemoryDataLayer(
        batch_size=2, tops=["data"], data=[images], transformers=[("data", fm.DataTransformers.Scale(0.5))]
    )
    outputs = [
        fm.MemoryOutputLayer(name="memory", bottoms=["prob"]),
        fm.HDF5OutputLayer(name="file", bottoms=["prob", "ip1"], filename=tmp_path / "out.h5"),
    ]
    net = fm.Net("n4", "reference", [*n4(2, 3, data=data), *outputs], patch=95)
    net.init()
    fm.solve_fully(None, net)
    kept = np.concatenate(net.node("memory").state.outputs[0])
    assert kept.shape == (4, 2, 7, 4)  # two batches of two: the fourth image is the first again
    expected = fm.densify(net, "sliding", output="prob").forward(images * np.float32(0.5))
    np.testing.assert_array_equal(kept[:3], expected)
    net.destroy()
    import h5py

    with h5py.File(tmp_path / "out.h5") as file:
        np.testing.assert_array_equal(file["prob"], kept)
        assert file["ip1"].shape == (4, 3, 7, 4)


def test_two_data_layers_each_feed_their_own_output(rng: np.random.Generator) -> None:
    images = {name: rng.normal(size=(2, 1, 7, 6)).astype(np.float32) for name in "ab"}
    layers: list = [fm.MemoryDataLayer(name=n, batch_size=1, tops=[n], data=[x]) for n, x in images.items()]
    layers += [fm.PoolingLayer(name=f"p{n}", bottoms=[n], tops=[f"p{n}"], kernel=7) for n in images]
    layers = [layer if layer.is_source else layer.copy(kernel=(6, 7)) for layer in layers]
    net = fm.Net("two", "reference", [*layers, fm.MemoryOutputLayer(bottoms=["pa", "pb"])])
    fm.solve_fully(None, net)
    for kept, x in zip(net.node("memory-output").state.outputs, images.values(), strict=True):
        np.testing.assert_array_equal(np.concatenate(kept).ravel(), x.max(axis=(1, 2, 3)))
