"""Losses and scores: worked by hand, against PyTorch, densely, and what they refuse."""

from typing import Any

import numpy as np
import pytest

import fullmocha as fm
from fullmocha.fully import training_net
from fullmocha.layers import Layer

BACKENDS = ["reference", "cpu"]


def build(loss: Layer, backend: str = "reference", **inputs: Any) -> tuple[fm.Net, dict[str, np.ndarray]]:
    """A net of inputs a, b, ... and a loss, in float64."""
    values = {name: np.asarray(value, np.float64) for name, value in inputs.items()}
    data = fm.InputLayer(tops=list(values), shapes=[v.shape for v in values.values()])
    return fm.Net("loss", backend, [data, loss], dtype="float64"), values


def evaluate(loss: Layer, backend: str = "reference", **inputs: Any) -> tuple[float, dict[str, np.ndarray]]:
    """The value, and the gradients of the inputs that have one."""
    net, values = build(loss, backend, **inputs)
    value = net.forward_backward(inputs=values)
    return value, {name: blob.data for name, blob in net.diff_blobs.items()}


# ------------------------------------------------------------------------------------------------------- worked by hand
def test_square_loss() -> None:
    value, grads = evaluate(fm.SquareLossLayer(bottoms=["a", "b"], weight=3.0), a=[[1, 2], [3, 5]], b=[[0, 2], [1, 1]])
    assert value == 3 * (1 + 0 + 4 + 16) / (2 * 2)
    np.testing.assert_array_equal(grads["a"], [[1.5, 0], [3, 6]])
    np.testing.assert_array_equal(grads["b"], -grads["a"])


def test_hinge_with_mochas_signs() -> None:
    """The second score is beyond the margin, the third on it: neither has a slope."""
    loss = fm.HingeLossLayer(bottoms=["a", "b"], weight=0.5)
    value, grads = evaluate(loss, a=[[0.5, -2, 1, -0.25]], b=[[1, -1, 1, 1]])
    assert value == 0.5 * (0.5 + 0 + 0 + 1.25)
    np.testing.assert_array_equal(grads["a"], [[-0.5, 0, 0, -0.5]])
    np.testing.assert_array_equal(grads["b"], [[-0.25, 0, 0, 0.125]])


def test_hinge_squared_with_classes() -> None:
    loss = fm.HingeLossLayer(bottoms=["a", "b"], norm="L2", labels="classes")
    value, grads = evaluate(loss, a=[[0.5, -2, 1], [0, 3, 0]], b=[2, 1])
    assert value == (1.5**2 + 0 + 0 + 1 + 0 + 1) / 2
    np.testing.assert_array_equal(grads["a"], [[1.5, 0, 0], [1, 0, 1]])


def test_multinomial_logistic_cuts_at_its_smallest_probability() -> None:
    loss = fm.MultinomialLogisticLossLayer(bottoms=["a", "b"])
    value, grads = evaluate(loss, a=[[0.25, 0.75], [0, 1]], b=[0, 0])
    assert value == pytest.approx((-np.log(0.25) - np.log(1e-20)) / 2, rel=1e-15)
    np.testing.assert_allclose(grads["a"], [[-2, 0], [-0.5e20, 0]], rtol=1e-15)


def test_contrastive() -> None:
    """Pairs at distance 5: a like one, an unlike one within the margin, and one beyond it (its distance is 13)."""
    pairs = {"a": [[3, 4], [3, 4], [5, 12]], "b": [[0, 0]] * 3, "c": [1, 0, 0]}
    loss = fm.ContrastiveLossLayer(bottoms=["a", "b", "c"], margin=7.0, epsilon=0.0)
    value, grads = evaluate(loss, **pairs)
    assert value == (25 + 2**2 + 0) / 6
    np.testing.assert_allclose(grads["a"] * 3, [[3, 4], [-3 * 2 / 5, -4 * 2 / 5], [0, 0]], rtol=1e-15)
    np.testing.assert_array_equal(grads["b"], -grads["a"])
    value, grads = evaluate(loss.copy(legacy_version=True, margin=27.0), **pairs)
    assert value == (25 + 2 + 0) / 6
    np.testing.assert_allclose(grads["a"] * 3, [[3, 4], [-3, -4], [0, 0]], rtol=1e-15)


def test_equal_points_of_an_unlike_pair_divide_by_no_zero() -> None:
    for epsilon in (1e-4, 0.0):
        loss = fm.ContrastiveLossLayer(bottoms=["a", "b", "c"], epsilon=epsilon)
        value, grads = evaluate(loss, a=[[1, 2]], b=[[1, 2]], c=[0])
        assert value == 0.5
        np.testing.assert_array_equal(grads["a"], 0)


def test_sum_loss() -> None:
    value, grads = evaluate(fm.SumLossLayer(bottoms=["a"], weight=0.5), a=[[1, 2], [3, -8]])
    assert value == -1
    np.testing.assert_array_equal(grads["a"], 0.5)


def test_a_weight_of_0_silences_what_is_not_finite() -> None:
    value, grads = evaluate(fm.SquareLossLayer(bottoms=["a", "b"], weight=0.0), a=[[np.inf]], b=[[0]])
    assert value == 0
    np.testing.assert_array_equal(grads["a"], 0)


# ------------------------------------------------------------------------------------------------------ against PyTorch
# Sums of some dozen float64 terms of size 1 in another order.
TORCH: dict[str, Any] = {"rtol": 1e-13, "atol": 1e-15}


@pytest.mark.parametrize("backend", BACKENDS)
def test_against_pytorch(backend: str, rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is the outsider here")
    a, t = rng.normal(size=(5, 4)) * 3, rng.uniform(size=(5, 4))
    label = rng.integers(0, 4, 5)
    matrix = rng.uniform(0.1, 2, (4, 4))
    f, (ta, tt, tl) = torch.nn.functional, map(torch.tensor, (a, t, label))
    logs = f.log_softmax(ta, 1)
    expected: list[tuple[Layer, Any, dict[str, Any]]] = [
        (fm.SquareLossLayer(bottoms=["a", "b"]), f.mse_loss(ta, tt, reduction="sum") / 10, {"b": t}),
        (
            fm.SigmoidCrossEntropyLossLayer(bottoms=["a", "b"], normalization="full"),
            f.binary_cross_entropy_with_logits(ta, tt),
            {"b": t},
        ),
        (
            fm.InfogainLossLayer(bottoms=["a", "b"], infogain=matrix.tolist()),
            -(torch.tensor(matrix)[tl] * logs).sum() / 5,
            {"b": label},
        ),
        (fm.InfogainLossLayer(bottoms=["a", "b", "c"]), f.cross_entropy(ta, tl), {"b": label, "c": np.eye(4)}),
        (
            fm.HingeLossLayer(bottoms=["a", "b"], labels="classes"),
            f.hinge_embedding_loss((2 * f.one_hot(tl, 4) - 1) * ta, -torch.ones_like(ta), 1, reduction="sum") / 5,
            {"b": label},
        ),
    ]
    for loss, value, others in expected:
        found, _ = evaluate(loss, backend, a=a, **others)
        np.testing.assert_allclose(found, value.item(), **TORCH, err_msg=loss.label)


def test_scores_of_any_size() -> None:
    """Where exp(x) or exp(-x) overflows the loss is |x| or 0, and its slope -1, 0 or 1."""
    loss = fm.SigmoidCrossEntropyLossLayer(bottoms=["a", "b"], normalization="none")
    with np.errstate(over="raise", invalid="raise"):
        value, grads = evaluate(loss, a=[[1000, -1000, 1000, -1000]], b=[[1, 0, 0, 1]])
    assert value == 2000
    np.testing.assert_array_equal(grads["a"], [[0, 0, 1, -1]])


def test_caffe_cuts_targets_to_integers_before_it_ignores_them() -> None:
    loss = fm.SigmoidCrossEntropyLossLayer(bottoms=["a", "b"], normalization="valid", ignore_label=0)
    value, grads = evaluate(loss, a=[[0, 0, 0, 0]], b=[[0.9, -0.9, 1, 0]])
    assert value == pytest.approx(np.log(2))  # only the 1 is left
    np.testing.assert_array_equal(grads["a"], [[0, 0, -0.5, 0]])


@pytest.mark.parametrize("kind", [fm.SoftmaxLossLayer, fm.InfogainLossLayer], ids=lambda k: k.__name__)
@pytest.mark.parametrize("backend", BACKENDS)
def test_the_second_top_is_the_softmax(kind: type, backend: str, rng: np.random.Generator) -> None:
    matrix = {"infogain": np.eye(3).tolist()} if kind is fm.InfogainLossLayer else {}
    loss = kind(bottoms=["a", "b"], tops=["loss", "prob"], weight=0.25, **matrix)
    x, label = rng.normal(size=(2, 3, 4, 5)), rng.integers(0, 3, (2, 1, 4, 5))
    net, values = build(loss, backend, a=x, b=label)
    value = net.forward(values)
    e = np.exp(x)
    np.testing.assert_allclose(net.output_blobs["prob"].data, e / e.sum(axis=1, keepdims=True), rtol=1e-13)
    assert value == pytest.approx(0.25 * float(net.output_blobs["loss"].data), rel=1e-15)


# ------------------------------------------------------------------------------------------------------------- accuracy
SCORES = [[3, 1, 2], [1, 3, 2], [2, 2, 1], [0, 1, 2], [5, 5, 5]]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("fields", "share", "classes"),
    [
        ({}, 3 / 5, [1, 1 / 3, 0]),
        ({"ties": "miss"}, 2 / 5, [1 / 2, 1 / 3, 0]),
        ({"top_k": 2, "ties": "miss"}, 4 / 5, [1, 2 / 3, 0]),
        ({"ignore_label": 1}, 2 / 2, [1, 0, 0]),
    ],
)
def test_accuracy_of_each_class(backend: str, fields: dict, share: float, classes: list[float]) -> None:
    """Labels 0, 1, 0, 1, 1: nobody is of class 2."""
    layer = fm.AccuracyLayer(bottoms=["a", "b"], tops=["all", "each"], **fields)
    net, values = build(layer, backend, a=SCORES, b=[0, 1, 0, 1, 1])
    net.forward(values)
    assert net.output_blobs["all"].data == pytest.approx(share, rel=1e-15)
    np.testing.assert_allclose(net.output_blobs["each"].data, classes, rtol=1e-15)


def test_accuracy_where_nothing_counts_is_0_as_in_caffe() -> None:
    layer = fm.AccuracyLayer(name="acc", bottoms=["a", "b"], tops=["all", "each"], ignore_label=7)
    net, values = build(layer, a=SCORES, b=[7] * 5)
    net.forward(values)
    assert net.output_blobs["all"].data == 0
    np.testing.assert_array_equal(net.output_blobs["each"].data, 0)
    assert net.statistics() == {"acc-accuracy": 0.0}


def test_mochas_running_means() -> None:
    layer = fm.SquareLossLayer(name="l", bottoms=["a", "b"], weight=2.0)
    net, values = build(layer, a=[[2.0], [0.0]], b=[[0.0], [0.0]])
    net.forward(values)
    net.forward({"a": np.array([[4.0]]), "b": np.array([[0.0]])})  # a batch of one
    assert net.statistics() == {"l-square-loss": pytest.approx((2 * 2.0 + 1 * 16.0) / 3)}
    assert net.node("l").layer.summary(net.node("l").state).startswith("Square-loss (avg over 3) = 6.6667")
    net.reset_statistics()
    assert net.statistics() == {"l-square-loss": 0.0}


# --------------------------------------------------------------------------------------------------------------- densely
def maps_net(loss: Layer, data: list[np.ndarray], outputs: int, softmax: bool) -> fm.Net:
    """A net for 9 x 10 patches with a stride in it."""
    layers = [
        fm.MemoryDataLayer(batch_size=len(data[0]), tops=["data", "label"][: len(data)], data=data),
        fm.ConvolutionLayer(
            name="c1", bottoms=["data"], tops=["c1"], kernel=(3, 2), n_filter=3, neuron=fm.Neurons.Tanh()
        ),
        fm.PoolingLayer(name="p1", bottoms=["c1"], tops=["p1"], kernel=2, stride=2, pooling=fm.Pooling.Mean()),
        fm.InnerProductLayer(name="ip", bottoms=["p1"], tops=["ip"], output_dim=outputs),
        *([fm.SoftmaxLayer(bottoms=["ip"], tops=["prob"])] if softmax else []),
        loss,
    ]
    net = fm.Net("maps", fm.ReferenceBackend(5), layers, patch=(10, 9))
    net.init()
    return net


TARGETS, CLASSES = "targets", "classes"
MATRIX = [[1.0, 0.5], [0.2, 2.0]]
DENSE = [
    (fm.SquareLossLayer(bottoms=["ip", "label"], weight=0.7), TARGETS),
    (fm.SigmoidCrossEntropyLossLayer(bottoms=["ip", "label"]), TARGETS),
    *((fm.SigmoidCrossEntropyLossLayer(bottoms=["ip", "label"], normalization=n, ignore_label=-1), TARGETS)
      for n in ("full", "valid", "none")),
    (fm.HingeLossLayer(bottoms=["ip", "label"]), TARGETS),
    (fm.HingeLossLayer(bottoms=["ip", "label"], labels="classes", norm="L2"), CLASSES),
    (fm.MultinomialLogisticLossLayer(bottoms=["prob", "label"]), CLASSES),
    *((fm.InfogainLossLayer(bottoms=["ip", "label"], infogain=MATRIX, normalization=n), CLASSES)
      for n in ("full", "batch_size", "none")),
    (fm.InfogainLossLayer(bottoms=["ip", "label"], infogain=MATRIX, ignore_label=1, tops=["v", "p"]), CLASSES),
    (fm.SoftmaxLossLayer(bottoms=["ip", "label"], tops=["v", "p"]), CLASSES),
    (fm.SumLossLayer(bottoms=["ip"], weight=0.1), TARGETS),
]  # fmt: skip


@pytest.mark.parametrize(("loss", "kind"), DENSE, ids=[f"{i} {d[0].name}" for i, d in enumerate(DENSE)])
def test_a_dense_pass_counts_every_window_as_a_sample(loss: Layer, kind: str, rng: np.random.Generator) -> None:
    """Value and gradients are those of the minibatch of all windows, up to the order of sums of some hundred terms."""
    x = rng.normal(size=(2, 1, 12, 15))
    shape = (2, 2 if kind == TARGETS else 1, 4, 6)
    label = rng.integers(-1 if kind == TARGETS else 0, 2, shape).astype(float)
    view = np.lib.stride_tricks.sliding_window_view(x, (9, 10), axis=(2, 3)).transpose(0, 2, 3, 1, 4, 5)
    per_window = label.transpose(0, 2, 3, 1).reshape(48, shape[1])
    softmax = isinstance(loss, fm.MultinomialLogisticLossLayer)
    count = len(loss.bottoms)
    tiles = maps_net(loss, [x, label][:count], 2, softmax)
    windows = maps_net(loss, [view.reshape(48, 1, 9, 10), per_window][:count], 2, softmax)
    dense = training_net(tiles)
    assert dense.forward_backward() == pytest.approx(windows.forward_backward(), rel=1e-13)
    for ours, theirs in zip(tiles.parameters, windows.parameters, strict=True):
        scale = np.abs(theirs.gradient).max()
        assert scale > 0
        assert np.abs(ours.gradient - theirs.gradient).max() / scale < 1e-12, ours.name


def test_a_loss_on_several_pixels_of_a_patch_is_not_dense() -> None:
    x = np.zeros((1, 1, 12, 15))
    layers = [
        fm.MemoryDataLayer(batch_size=1, tops=["data"], data=[x]),
        fm.ConvolutionLayer(name="c1", bottoms=["data"], tops=["c1"], kernel=3, stride=2, n_filter=2),
        fm.SumLossLayer(name="sum", bottoms=["c1"]),
    ]
    net = fm.Net("sums", fm.ReferenceBackend(5), layers, patch=(9, 9))
    with pytest.raises(fm.NotDenseError, match=r"sum \(SumLossLayer\): its bottom is 4x4 per window"):
        training_net(net)


def test_a_contrastive_loss_is_not_dense() -> None:
    layer = fm.ContrastiveLossLayer(name="c", bottoms=["a", "b", "s"])
    with pytest.raises(fm.NotDenseError, match=r"c \(ContrastiveLossLayer\): compares pairs of samples"):
        layer.dense([None, None, None])


# -------------------------------------------------------------------------------------------------------------- refusals
X = np.zeros((4, 3))
REFUSED = [
    (fm.SquareLossLayer(bottoms=["a", "b"]), {"b": np.zeros((4, 2))}, r"as many values per sample, got \(4, 3\) and \(4, 2\)"),
    (fm.SquareLossLayer(bottoms=["a", "b"]), {"b": np.zeros((3, 4))}, r"got \(4, 3\) and \(3, 4\)"),
    (fm.SquareLossLayer(bottoms=["a"]), {}, "takes 2 bottoms, got 1"),
    (fm.SigmoidCrossEntropyLossLayer(bottoms=["a", "b"]), {"b": np.zeros(4)}, "as many values per sample"),
    (fm.HingeLossLayer(bottoms=["a", "b"]), {"b": np.zeros(4)}, "as many values per sample"),
    (fm.HingeLossLayer(bottoms=["a", "b"], labels="classes"), {"b": np.zeros((4, 3))}, "need 4 labels, one per sample"),
    (fm.HingeLossLayer(bottoms=["a", "b"], labels="classes"), {"b": [0, 1, 3, 2]}, "label 3 is not one of the 3 classes"),
    (fm.HingeLossLayer(bottoms=["a", "b"], labels="classes"), {"b": [0, 1, -1, 2]}, "label -1 is not one of"),
    (fm.MultinomialLogisticLossLayer(bottoms=["a", "b"]), {"b": np.zeros(3)}, "need one label each"),
    (fm.MultinomialLogisticLossLayer(bottoms=["a", "b"]), {"b": [0, 1, 0.5, 2]}, "label 0.5 is not one of the 3"),
    (fm.InfogainLossLayer(bottoms=["a", "b"]), {"b": np.zeros(4)}, "takes 3 bottoms without the field infogain"),
    (fm.InfogainLossLayer(bottoms=["a", "b", "c"], infogain=[[1]]), {"b": np.zeros(4), "c": np.eye(3)}, "takes 2 bottoms with"),
    (fm.InfogainLossLayer(bottoms=["a", "b"], infogain=MATRIX), {"b": np.zeros(4)}, r"matrix of 3x3, got \(2, 2\)"),
    (fm.InfogainLossLayer(bottoms=["a", "b", "c"]), {"b": np.zeros(4), "c": np.zeros((2, 1, 3, 3))}, r"got \(2, 1, 3, 3\)"),
    (fm.InfogainLossLayer(bottoms=["a", "b", "c"]), {"b": [np.nan, 0, 1, 2], "c": np.eye(3)}, "label nan is not one of"),
    (fm.ContrastiveLossLayer(bottoms=["a", "b", "c"]), {"b": np.zeros((4, 2)), "c": np.zeros(4)}, "features of one shape"),
    (fm.ContrastiveLossLayer(bottoms=["a", "b", "c"]), {"b": X, "c": np.zeros(3)}, r"4 pairs need one mark each; the marks are \(3,\)"),
    (fm.ContrastiveLossLayer(bottoms=["a", "b", "c"]), {"b": X, "c": [0, 1, 2, 1]}, "label 2 is not one of the 2 classes"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("loss", "others", "message"), REFUSED, ids=[f"{i} {r[0].name}" for i, r in enumerate(REFUSED)]
)
def test_what_does_not_fit_is_refused_with_the_layers_name(loss: Layer, others: dict, message: str) -> None:
    with pytest.raises(fm.ShapeError, match=rf"{loss.name} \({type(loss).__name__}\): .*{message}"):
        evaluate(loss, a=X, **others)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: fm.HingeLossLayer(norm="L3"), "norm must be one of 'L1', 'L2'; got 'L3'"),  # type: ignore[arg-type]
        (lambda: fm.HingeLossLayer(labels="one-hot"), "labels must be one of"),  # type: ignore[arg-type]
        (lambda: fm.SigmoidCrossEntropyLossLayer(normalization="mocha"), "normalization must be one of"),  # type: ignore[arg-type]
        (lambda: fm.SigmoidCrossEntropyLossLayer(ignore_label=0.5), "ignore_label must be an integer, got 0.5"),  # type: ignore[arg-type]
        (
            lambda: fm.InfogainLossLayer(infogain=[[1, 2]]),
            r"a square of finite numbers, \(K, K\); it is shaped \(1, 2\)",
        ),
        (lambda: fm.InfogainLossLayer(infogain=[[np.nan]]), "a square of finite numbers"),
    ],
)
def test_fields_that_no_input_could_make_right(make: Any, message: str) -> None:
    with pytest.raises(fm.ShapeError, match=message):
        make()


@pytest.mark.parametrize("backend", BACKENDS)
def test_two_losses_on_one_blob_add_their_gradients(backend: str, rng: np.random.Generator) -> None:
    """Caffe's HingeLoss keeps its margins in the blob's gradient between the passes, where another loss may write."""
    a, b, c = rng.normal(size=(5, 3)), rng.normal(size=(5, 3)), rng.integers(0, 3, 5).astype(float)
    square = fm.SquareLossLayer(name="square", bottoms=["a", "b"], weight=0.3)
    hinge = fm.HingeLossLayer(name="hinge", bottoms=["a", "c"], labels="classes", norm="L2")
    data = fm.InputLayer(tops=["a", "b", "c"], shapes=[(5, 3), (5, 3), (5,)])
    alone = [evaluate(square, backend, a=a, b=b), evaluate(hinge, backend, a=a, c=c)]
    for order in ([square, hinge], [hinge, square]):
        net = fm.Net("both", backend, [data, *order], dtype="float64")
        assert net.forward_backward(inputs={"a": a, "b": b, "c": c}) == pytest.approx(
            sum(v for v, _ in alone), rel=1e-15
        )
        np.testing.assert_allclose(net.diff_blobs["a"].data, sum(g["a"] for _, g in alone), rtol=1e-13)
