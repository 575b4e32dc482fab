"""Where a dense pass could quietly be another one: rims, fractions of a stride, side branches, frozen layers, names."""

import numpy as np
import pytest

import fullmocha as fm
from fullmocha.labelling import plan_labelling
from fullmocha.memory import resident
from fullmocha.models import lenet, n4

from .test_labelling import label_in_tiles


def data(*size: int) -> fm.InputLayer:
    return fm.InputLayer(tops=["data"], shapes=[(1, 1, *size)])


def conv(name: str, bottom: str, **fields: object) -> fm.ConvolutionLayer:
    return fm.ConvolutionLayer(name=name, bottoms=[bottom], tops=[name], n_filter=2, **fields)


def up(name: str, bottom: str, kernel: int, stride: int) -> fm.DeconvolutionLayer:
    return fm.DeconvolutionLayer(name=name, bottoms=[bottom], tops=[name], kernel=kernel, stride=stride, n_filter=2)


def pool(name: str, bottom: str, stride: int) -> fm.PoolingLayer:
    return fm.PoolingLayer(name=name, bottoms=[bottom], tops=[name], kernel=stride, stride=stride)


def ip(name: str, bottom: str) -> fm.InnerProductLayer:
    return fm.InnerProductLayer(name=name, bottoms=[bottom], tops=[name], output_dim=2)


def build(*layers: object, dtype: str = "float64", **options: object) -> fm.Net:
    net = fm.Net("net", fm.ReferenceBackend(5), layers, dtype=dtype, **options)
    net.init()
    return net


@pytest.mark.parametrize(
    ("layers", "why"),
    [
        (
            [data(9, 9), conv("a", "data", kernel=3), pool("b", "a", 2), up("c", "b", 2, 2)],
            "a window hangs over the edge",
        ),
        (
            [data(10, 10), conv("a", "data", kernel=3), pool("b", "a", 2), up("c", "b", 4, 2)],
            "kernels overlap at the rim",
        ),
        ([data(10, 10), conv("a", "data", kernel=3, pad=1), pool("b", "a", 2), up("c", "b", 2, 2)], "zeros at the rim"),
    ],
)
def test_nets_whose_rim_is_special_are_never_cut(layers: list, why: str, rng: np.random.Generator) -> None:
    net = build(*layers)
    dense = fm.densify(net)
    assert (dense.native, dense.tileable) == (True, False), why
    image = rng.normal(size=(1, 40, 42))
    job = plan_labelling(dense, image.shape, "valid")
    assert job.plan.grid == (1, 1)
    with pytest.raises(fm.BudgetError, match="cannot be tiled"):
        plan_labelling(dense, image.shape, memory=resident())


def test_tiles_keep_in_step_where_strides_are_fractions(rng: np.random.Generator) -> None:
    """Up 3, down 2, up 2, down 3: strides 1/3, 2/3, 1/3 and 1; only shifts by 2 move the answer along unchanged."""
    net = build(
        data(12, 12),
        up("a", "data", 3, 3),
        pool("b", "a", 2),
        up("c", "b", 2, 2),
        pool("d", "c", 3),
        conv("e", "d", kernel=2),
    )
    dense = fm.densify(net)
    assert (dense.native, dense.align, dense.tileable) == (True, (2, 2), True)
    image = rng.normal(size=(1, 23, 20)).astype(np.float32)
    np.testing.assert_array_equal(label_in_tiles(dense, image, "symmetric", (5, 7)), fm.predict(dense, image))


@pytest.mark.parametrize(
    "layers",
    [
        [data(12, 12), fm.CropLayer(bottoms=["data"], tops=["c"], crop_size=8), conv("d", "c", kernel=3)],
        [data(12, 12), conv("a", "data", kernel=3), fm.CropLayer(bottoms=["a"], tops=["c"], crop_size=(7, 6))],
    ],
)
def test_a_crop_of_fixed_size_follows_the_image(layers: list, rng: np.random.Generator) -> None:
    net = build(*layers)
    x = rng.normal(size=(1, 1, 20, 21))
    expected = fm.densify(net, "sliding").forward(x)
    assert expected.shape[2] == 20 - fm.densify(net).context[0]
    for engine in ("strided", "fragments"):
        np.testing.assert_array_equal(fm.densify(net, engine).forward(x), expected)


def test_branches_may_differ_along_an_axis_of_single_elements(rng: np.random.Generator) -> None:
    a, b = conv("a", "data", kernel=2, stride=(1, 4)), conv("b", "a", kernel=1, stride=(1, 2))
    join = fm.ConcatLayer(bottoms=["a", "b"], tops=["c"])
    net = build(data(4, 6), a, b, join)  # one row of each
    x = rng.normal(size=(1, 1, 6, 8))
    expected = fm.densify(net, "sliding").forward(x)
    for engine in ("strided", "fragments"):
        np.testing.assert_array_equal(fm.densify(net, engine).forward(x), expected)


def test_the_definition_refuses_answers_that_lie_nowhere() -> None:
    net = build(data(8, 8), conv("a", "data", kernel=3), up("b", "a", 2, 2))
    with pytest.raises(fm.NotDenseError, match="1/2 and 1/2 pixels apart"):
        fm.densify(net, "sliding")


def test_pixels_that_no_whole_window_reaches_are_nan(rng: np.random.Generator) -> None:
    net = build(data(10, 10), conv("a", "data", kernel=2, stride=4))  # 3 x 3 answers, 4 apart
    x = rng.normal(size=(1, 1, 10, 11))
    sliding = fm.densify(net, "sliding").forward(x)
    reached = ~np.isnan(sliding)
    np.testing.assert_array_equal(fm.densify(net).forward(x)[reached], sliding[reached])
    assert not reached.all() and reached[0, 0, 0, :2].all()


def test_the_net_that_was_trained_labels(rng: np.random.Generator) -> None:
    """Losses, scores and labels have no say in what labelling needs."""
    source = fm.MemoryDataLayer(batch_size=2, data=[rng.normal(size=(3, 1, 28, 28)), np.zeros((3, 1))])
    scores = [fm.SoftmaxLossLayer(bottoms=["ip2", "label"]), fm.AccuracyLayer(bottoms=["ip2", "label"])]
    net = build(*lenet(source, softmax=False), *scores)
    fm.solve(fm.Solver(fm.SGD(), fm.make_solver_parameters(fm.SGD(), max_iter=1)), net)
    image = rng.normal(size=(30, 31))
    prob = fm.predict(net, image, border="valid")
    net.forward({"data": image[None, None, 2:30, 3:31], "label": np.zeros((1, 1))})
    np.testing.assert_array_equal(prob[:, 2, 3], net.output_blobs["ip2"].data[0].astype(np.float32))
    net.forward()  # and the data layer goes on as before
    assert net.output_blobs["data"].shape == (2, 1, 28, 28)


def test_a_side_branch_that_is_not_dense_does_not_matter(rng: np.random.Generator) -> None:
    side = [conv("s", "data", kernel=3, pad=1), ip("t", "s")]
    net = build(data(12, 12), conv("a", "data", kernel=3), pool("b", "a", 2), ip("c", "b"), *side)
    x = rng.normal(size=(1, 1, 14, 13))
    expected = fm.densify(net, "sliding", output="c").forward(x)
    np.testing.assert_array_equal(fm.densify(net, output="c").forward(x), expected)
    with pytest.raises(fm.NotDenseError, match=r"s .*pad"):
        fm.densify(net, output="t")


def test_frozen_layers_stay_frozen_in_solve_fully(rng: np.random.Generator) -> None:
    source = fm.MemoryDataLayer(batch_size=1, data=[rng.normal(size=(2, 1, 14, 13)), rng.integers(0, 2, (2, 1, 3, 2))])
    layers = [
        source,
        conv("a", "data", kernel=3),
        pool("b", "a", 2),
        ip("c", "b"),
        fm.SoftmaxLossLayer(bottoms=["c", "label"]),
    ]
    net = build(*layers, patch=12)
    net.freeze("a")
    before = {p.name: p.values() for p in net.parameters}
    fm.solve_fully(fm.Solver(fm.SGD(), fm.make_solver_parameters(fm.SGD(), max_iter=3)), net)
    moved = {p.name: np.abs(p.values() - before[p.name]).max() > 0 for p in net.parameters}
    assert moved == {"a filter": False, "a bias": False, "c weight": True, "c bias": True}


def test_image_and_labels_may_come_from_two_layers(rng: np.random.Generator) -> None:
    images = fm.MemoryDataLayer(batch_size=1, tops=["data"], data=[rng.normal(size=(2, 1, 14, 13))])
    labels = fm.MemoryDataLayer(batch_size=1, tops=["label"], data=[rng.integers(0, 2, (2, 1, 3, 2)).astype(float)])
    net = build(images, labels, conv("a", "data", kernel=12), fm.SoftmaxLossLayer(bottoms=["a", "label"]), patch=12)
    before = net.params["a"][0].values()
    fm.solve_fully(fm.Solver(fm.SGD(), fm.make_solver_parameters(fm.SGD(), max_iter=1)), net)
    assert np.abs(net.params["a"][0].values() - before).max() > 0


def test_scale_and_mean_hold_when_a_layer_changes_the_data_in_place(rng: np.random.Generator) -> None:
    """As in Mocha's MNIST example with dropout on the data."""
    images = rng.integers(0, 255, (3, 1, 28, 28)).astype(np.float32)
    changes = [("data", fm.DataTransformers.Scale(0.01))]
    source = fm.MemoryDataLayer(batch_size=1, tops=["data"], data=[images], transformers=changes)
    net = build(
        *lenet(source), fm.DropoutLayer(bottoms=["data"]), fm.MemoryOutputLayer(bottoms=["prob"]), dtype="float32"
    )
    plain = build(*lenet(), dtype="float32")
    plain.load_params({name: [p.values() for p in params] for name, params in net.params.items()})
    expected = fm.predict(plain, images[0] * np.float32(0.01))
    np.testing.assert_array_equal(fm.predict(net, images[0]), expected)
    fm.solve_fully(None, net)
    kept = np.concatenate(net.node("memory-output").state.outputs[0])
    np.testing.assert_array_equal(kept[0], fm.predict(plain, images[0] * np.float32(0.01), border="valid"))


def test_an_epoch_may_keep_labels_and_data_beside_the_answer(rng: np.random.Generator) -> None:
    images, labels = rng.normal(size=(3, 1, 14, 13)), np.arange(3.0)[:, None]
    source = fm.MemoryDataLayer(batch_size=1, data=[images, labels])
    out = fm.MemoryOutputLayer(bottoms=["b", "label", "data"])
    net = build(source, conv("a", "data", kernel=3), pool("b", "a", 2), out, patch=12)
    fm.solve_fully(None, net)
    answers, kept_labels, kept_images = (np.concatenate(kept) for kept in net.node("memory-output").state.outputs)
    np.testing.assert_array_equal(kept_labels, labels)
    np.testing.assert_array_equal(kept_images, images)
    np.testing.assert_array_equal(answers, fm.densify(net, "sliding", output="b").forward(images))


def test_inner_blobs_of_fragments_are_stitched_to_their_own_size(rng: np.random.Generator) -> None:
    out = fm.MemoryOutputLayer(name="out", bottoms=["b"])
    net = build(data(12, 12), conv("a", "data", kernel=3), pool("b", "a", 2), ip("c", "b"), out)
    x = rng.normal(size=(1, 1, 15, 17))
    kept = [fm.densify(net, engine, output="b").forward(x) for engine in ("strided", "fragments")]
    assert kept[0].shape == (1, 2, 15 - 3, 17 - 3)
    np.testing.assert_array_equal(*kept)


def test_what_has_no_values_yet_does_not_answer() -> None:
    net = fm.Net("net", "reference", lenet())
    with pytest.raises(fm.WeightsError, match=r"conv1 filter.*net.init\(\)"):
        fm.predict(net, np.zeros((30, 30)))


def test_a_dense_net_is_not_made_dense_twice(rng: np.random.Generator) -> None:
    net = build(*n4(2, 3))
    dense = fm.densify(net)
    x = rng.normal(size=(1, 1, 97, 96))
    np.testing.assert_array_equal(fm.densify(dense, "strided").forward(x), dense.forward(x))
    with pytest.raises(fm.ShapeError, match="dense already, by fragments"):
        fm.predict(dense, x[0, 0], engine="strided")
    with pytest.raises(fm.ShapeError, match="threads must be an integer"):
        fm.densify(net, threads=0)


def test_layers_may_come_from_a_generator() -> None:
    assert len(fm.Net("net", "reference", (layer for layer in lenet())).params) == 4


def test_a_refused_size_leaves_the_net_as_it_was(rng: np.random.Generator) -> None:
    source = fm.MemoryDataLayer(batch_size=2, tops=["data"], data=[rng.normal(size=(2, 1, 12, 12))])
    net = build(source, conv("a", "data", kernel=3), ip("b", "a"))
    with pytest.raises(fm.ShapeError, match="parameters would change"):
        net.forward({"data": rng.normal(size=(1, 1, 14, 14))})
    assert net.output_blobs["a"].shape == (2, 2, 10, 10)
    net.forward()


def test_a_budget_too_small_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """However large the image, only the smallest tile is looked at."""
    net = build(*n4(2, 3), dtype="float32")
    dense = fm.densify(net)
    seen = []
    record = fm.DenseNet.program
    monkeypatch.setattr(fm.DenseNet, "program", lambda self, shape: seen.append(shape) or record(self, shape))
    with pytest.raises(fm.BudgetError, match="its smallest tile"):
        plan_labelling(dense, (1, 100_000, 100_000), memory=resident())
    assert set(seen) == {(1, 1, 95, 95)}


def test_copies_of_wide_pixels_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """A window is read, its rows are repeated, then its columns: three copies of 294 x 394 pixels."""
    monkeypatch.setattr("fullmocha.labelling.resident", lambda: 10**8)
    dense = fm.densify(build(*n4(2, 3), dtype="float32"))
    narrow, wide = (plan_labelling(dense, (1, 200, 300), pixel_bytes=b).plan.peak for b in (1, 8))
    assert wide - narrow == 7 * 3 * 294 * 394


def test_what_is_silenced_is_no_answer(rng: np.random.Generator) -> None:
    layers = [
        fm.InputLayer(tops=["data"], shapes=[(1, 4, 3, 5)]),
        fm.SliceLayer(name="cut", bottoms=["data"], tops=["a", "rest"], points=[1]),
        fm.SilenceLayer(bottoms=["rest"]),
        fm.InnerProductLayer(name="ip", bottoms=["a"], tops=["ip"], output_dim=2),
    ]
    net = fm.Net("net", "reference", layers)
    net.init()
    assert fm.densify(net).output == "ip"
    with pytest.raises(fm.ShapeError, match=r"2 outputs, \['ip', 'rest'\]"):
        fm.densify(fm.Net("net", "reference", [layers[0], layers[1], layers[3]]))


@pytest.mark.parametrize("output", ["said", "more"])
@pytest.mark.parametrize("engine", ["auto", "sliding"])
@pytest.mark.parametrize("kind", [fm.SoftmaxLossLayer, fm.AccuracyLayer])
def test_what_a_loss_or_score_says_of_a_batch_is_no_dense_output(kind: type, engine: str, output: str) -> None:
    labels = fm.InputLayer(name="labels", tops=["label"], shapes=[(1, 1)])
    score = kind(name="s", bottoms=["c", "label"], tops=["said"])
    more = fm.PowerLayer(name="more", bottoms=["said"], tops=["more"], scale=2.0)
    net = build(data(5, 5), labels, conv("c", "data", kernel=5), score, more)
    with pytest.raises(fm.NotDenseError, match=rf"net 'net': '{output}' depends on s \(.*a whole batch.*output='c'"):
        fm.densify(net, engine, output=output)


def bare(*layers: object) -> fm.Net:
    """A net whose blobs "r" and "t" hold one number per window, (N,)."""
    sums = [fm.ReductionLayer(name=top, bottoms=["c"], tops=[top], axis=1, operation=how)
            for top, how in (("r", "sum"), ("t", "sumsq"))]  # fmt: skip
    source = fm.InputLayer(tops=["data"], shapes=[(2, 1, 4, 5)])
    return build(source, conv("c", "data", kernel=(5, 4)), *sums, *layers)


@pytest.mark.parametrize("engine", ["strided", "fragments"])
@pytest.mark.parametrize(
    "layer",
    [
        fm.SigmoidLayer(name="y", bottoms=["r"], tops=["y"]),
        fm.ElementWiseLayer(name="y", bottoms=["r", "t"], tops=["y"], operation=fm.ElementWiseFunctors.Divide()),
    ],
)
def test_arithmetic_on_one_number_per_window(layer: object, engine: str, rng: np.random.Generator) -> None:
    net = bare(layer)
    x = rng.normal(size=(2, 1, 7, 6))
    expected = fm.densify(net, "sliding", output="y").forward(x)
    np.testing.assert_array_equal(fm.densify(net, engine, output="y").forward(x), expected)


@pytest.mark.parametrize(
    "layer",
    [
        fm.ScaleLayer(name="y", bottoms=["r"], tops=["y"], axis=-1),
        fm.ScaleLayer(name="y", bottoms=["c", "r"], tops=["y"], axis=0),
        fm.ConcatLayer(name="y", bottoms=["r", "t"], tops=["y"], axis=-1),
        fm.TileLayer(name="y", bottoms=["r"], tops=["y"], axis=-1, tiles=2),
        fm.SliceLayer(name="y", bottoms=["r"], tops=["y", "z"], axis=-1),
        fm.ArgmaxLayer(name="y", bottoms=["r"], tops=["y"], whole=True),
    ],
)
def test_one_number_per_window_has_no_axis_but_the_batch(layer: object) -> None:
    """-1 is the batch there, and would be the channels of a dense map."""
    with pytest.raises(fm.NotDenseError, match=r"y \(\w+\): reads one number per window, \(N,\).*sliding"):
        fm.densify(bare(layer), output="y")


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_numbers_for_each_sample_fit_one_batch_alone(backend: str) -> None:
    """Sliding takes windows in batches of its own size; the cpu took the factor of another sample."""
    factors = fm.ScaleLayer(name="s", bottoms=["c"], tops=["s"], axis=0)
    source = fm.InputLayer(tops=["data"], shapes=[(2, 1, 5, 5)])
    net = fm.Net("net", backend, [source, conv("c", "data", kernel=5), factors])
    net.init()
    with pytest.raises(
        fm.ShapeError, match=r"s \(ScaleLayer\): parameters would change from \[\(2,\)\] to \[\(64,\)\]"
    ):
        fm.densify(net, "sliding").forward(np.zeros((1, 1, 6, 6), np.float32))


@pytest.mark.parametrize(
    "layer",
    [
        fm.ArgmaxLayer(name="y", bottoms=["c"], tops=["y"], axis=0),
        fm.TileLayer(name="y", bottoms=["c"], tops=["y"], axis=0, tiles=2),
        fm.ReductionLayer(name="y", bottoms=["c"], tops=["y"]),
    ],
)
def test_what_joins_the_batch_has_no_answer_per_window(layer: object) -> None:
    net = build(data(5, 5), conv("c", "data", kernel=5), layer)
    with pytest.raises(fm.NotDenseError, match=r"net 'net': 'y' is \([\d, ]*\) for a batch of 1 and .* for one of 2"):
        fm.densify(net, "sliding", output="y")
