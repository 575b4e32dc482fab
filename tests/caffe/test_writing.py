"""What is written: the same layers and the same bytes of weights come back, and other programs read it."""

import os
from pathlib import Path

import h5py
import numpy as np
import pytest

import fullmocha as fm
from fullmocha.caffe.blobs import read_blob
from fullmocha.caffe.load import describe
from fullmocha.caffe.schema import text_message
from fullmocha.caffe.weights import read_weights
from fullmocha.caffe.writing import describe_net, write_blob, write_caffemodel, write_caffemodel_h5, write_prototxt
from fullmocha.models import lenet, n4
from fullmocha.net import Net

DATA = Path(os.environ.get("FULLMOCHA_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))

# Every model's net and weights, by folder.
MODELS = [
    ("cifar10_full_v1_2014", "cifar10_full.prototxt", "cifar10_full_iter_70000.caffemodel"),
    ("cifar10_quick_h5", "cifar10_quick.prototxt", "cifar10_quick_iter_4000.caffemodel"),
    ("cifar10_quick_h5", "cifar10_quick.prototxt", "cifar10_quick_iter_5000.caffemodel.h5"),
    ("lenet_v1_2014", "lenet.prototxt", "lenet_iter_10000.caffemodel"),
    ("lenet_v2", "lenet.prototxt", "lenet_iter_10000.caffemodel"),
    *(("mtcnn", f"det{i}.prototxt", f"det{i}.caffemodel") for i in (1, 2, 3, 4)),
    ("resnet20_cifar10_ljf", "test_ResNet_20.deploy_noloss.prototxt", "cifar10_ResNet_20_iter_64000.caffemodel"),
    ("vdsr", "VDSR_net_deploy.prototxt", "VDSR_Adam.caffemodel"),
    ("waifu2x_srcnn7", "srcnn.deploy_noloss.prototxt", "scale2.0x_model.json.caffemodel"),
    ("waifu2x_upconv7", "srcnn.deploy_noloss.prototxt", "scale2.0x_model.json.caffemodel"),
]
OPENCV = [m for m in MODELS if not m[2].endswith(".h5")]  # which it does not read
WRITERS = {".caffemodel": write_caffemodel, ".caffemodel.h5": write_caffemodel_h5}


def loaded(data_dir, folder, prototxt, weights):
    folder = data_dir / "caffemodels" / folder
    return fm.load_caffe(folder / prototxt, folder / weights, backend="reference"), read_weights(folder / weights)


def same_bytes(found, wanted):
    """Blob by blob; the shapes may have lost the ones that old files had in front."""
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours.dtype == theirs.dtype and ours.tobytes() == theirs.tobytes()
        assert [n for n in ours.shape if n > 1] == [n for n in theirs.shape if n > 1]


# ------------------------------------------------------------------------------------------------------------- weights
@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.parametrize(("folder", "prototxt", "weights"), MODELS, ids=[f"{m[0]}-{m[2]}" for m in MODELS])
def test_weights_of_every_model_come_back_as_the_same_bytes(data_dir, tmp_path, folder, prototxt, weights, suffix):
    net, theirs = loaded(data_dir, folder, prototxt, weights)
    WRITERS[suffix](tmp_path / f"net{suffix}", net)
    ours = read_weights(tmp_path / f"net{suffix}")
    assert set(ours) == set(net.params) and len(ours) > 2
    for layer in ours:
        same_bytes(ours[layer], theirs[layer])
    WRITERS[suffix](tmp_path / f"alone{suffix}", theirs)
    alone = read_weights(tmp_path / f"alone{suffix}")
    assert set(alone) == set(theirs)
    for layer in alone:
        same_bytes(alone[layer], theirs[layer])
        assert [a.shape for a in alone[layer]] == [a.shape for a in theirs[layer]]


@pytest.mark.parametrize("suffix", WRITERS)
def test_doubles_stay_doubles(tmp_path, suffix, rng):
    net = Net("n", "reference", lenet(), dtype="float64")
    for parameter in net.parameters:
        parameter.data = rng.normal(size=parameter.shape)
    WRITERS[suffix](tmp_path / f"n{suffix}", net)
    found = read_weights(tmp_path / f"n{suffix}")
    assert list(found) == list(net.params)
    for layer, params in net.params.items():
        same_bytes(found[layer], [p.values() for p in params])
        assert found[layer][0].dtype == np.float64


def test_protobuf_with_caffes_schema_reads_the_same(data_dir, tmp_path):
    net, _ = loaded(data_dir, *MODELS[4])
    write_caffemodel(tmp_path / "n.caffemodel", net)
    message = text_message("NetParameter").FromString((tmp_path / "n.caffemodel").read_bytes())
    assert message.name == "LeNet"
    kinds = [(layer.name, layer.type, list(layer.bottom), list(layer.top)) for layer in message.layer]
    assert kinds[:3] == [
        ("data", "Input", [], ["data"]),
        ("conv1", "Convolution", ["data"], ["conv1"]),
        ("pool1", "Pooling", ["conv1"], ["pool1"]),
    ]
    for layer in message.layer:
        params = net.params.get(layer.name, [])
        assert [list(blob.shape.dim) for blob in layer.blobs] == [list(p.shape) for p in params]
        for blob, parameter in zip(layer.blobs, params, strict=True):
            np.testing.assert_array_equal(np.array(blob.data, np.float32), parameter.values().ravel())


def test_a_transposed_inner_product_is_written_as_it_is_held(tmp_path, rng):
    text = (
        'input: "a" input_shape { dim: [2, 3] } layer { name: "l" type: "InnerProduct" bottom: "a" top: "b" '
        "inner_product_param { num_output: 4 transpose: true } }"
    )
    (tmp_path / "n.prototxt").write_text(text)
    write_caffemodel(tmp_path / "n.caffemodel", {"l": [rng.random((3, 4), np.float32), rng.random(4, np.float32)]})
    first = fm.load_caffe(tmp_path / "n.prototxt", tmp_path / "n.caffemodel", backend="reference")
    write_prototxt(tmp_path / "o.prototxt", first)
    write_caffemodel(tmp_path / "o.caffemodel", first)
    assert read_weights(tmp_path / "o.caffemodel")["l"][0].shape == (4, 3)
    second = fm.load_caffe(tmp_path / "o.prototxt", tmp_path / "o.caffemodel", backend="reference")
    x = rng.random((2, 3), np.float32)
    for net in (first, second):
        net.forward({"a": x})
    np.testing.assert_array_equal(second.output_blobs["b"].data, first.output_blobs["b"].data)


def test_weights_that_are_not_there_yet_are_refused(tmp_path):
    with pytest.raises(
        fm.WeightsError, match=r"layer 'conv1': its filter has no values yet; load weights, or call net\.init"
    ):
        write_caffemodel(tmp_path / "n.caffemodel", Net("n", "reference", lenet()))
    with pytest.raises(fm.WeightsError, match="layer 'l': a blob holds int64; Caffe's hold float32 or float64"):
        write_caffemodel(tmp_path / "n.caffemodel", {"l": [np.arange(3)]})
    big = np.broadcast_to(np.float32(0), (2**15, 2**14))  # 2 GiB that take no memory
    with pytest.raises(
        fm.WeightsError, match=r"exceed the 2,147,483,647 that a \.caffemodel may have; write \.caffemodel\.h5"
    ):
        write_caffemodel(tmp_path / "n.caffemodel", {"l": [big]})
    assert not list(tmp_path.iterdir())


def test_a_mean_image_as_caffe_writes_it(data_dir, tmp_path):
    theirs = data_dir / "caffemodels" / "resnet20_cifar10_ljf" / "cifar10_mean.binaryproto"
    write_blob(tmp_path / "mean.binaryproto", read_blob(theirs))
    assert (tmp_path / "mean.binaryproto").read_bytes() == theirs.read_bytes()


# -------------------------------------------------------------------------------------------------------------- layers
GOLDEN = DATA / "caffe_golden"
NETS = sorted(
    str(path.relative_to(GOLDEN))
    for pattern in ("layers/*/net.prototxt", "nets/*/*.prototxt", "solvers/*/net.prototxt")
    for path in GOLDEN.glob(pattern)
)
# What reads back as another layer that does the same: an axis counted from the other end, a copy by another name.
OTHERWISE = {"concat_axis_neg", "dropout_test", "dropout_train"}
UNSPOKEN = {"infogain_file": "Caffe reads the matrix from a file of its own"}


@pytest.mark.parametrize("phase", ["train", "test"])
def test_every_golden_net_reads_back_as_the_same_layers(data_dir, tmp_path, phase, monkeypatch):
    compared = 0
    for name in NETS:
        monkeypatch.chdir((GOLDEN / name).parent)  # data lie beside some nets
        case = name.split("/")[1]
        found = describe(Path(name).name, phase)
        if not found.layers:
            continue
        net = Net(found.name, "reference", found.layers)
        if case in UNSPOKEN:
            with pytest.raises(fm.UnsupportedError, match=UNSPOKEN[case]):
                describe_net(net)
            continue
        write_prototxt(tmp_path / "again.prototxt", net)
        read = describe(tmp_path / "again.prototxt", phase)
        again = Net(read.name, "reference", read.layers)
        if case not in OTHERWISE:
            assert [k.layer for k in again.wiring.links] == [k.layer for k in net.wiring.links], name
            compared += 1
        write_prototxt(tmp_path / "third.prototxt", again)
        assert (tmp_path / "third.prototxt").read_text() == (tmp_path / "again.prototxt").read_text(), name
    assert compared > 300


def test_neurons_and_shared_parameters_get_layers_and_names(tmp_path, rng):
    relu, tanh = fm.Neurons.ReLU(), fm.Neurons.Tanh()
    layers = [
        fm.InputLayer(tops=["a", "b"], shapes=[(2, 3, 9, 7)] * 2),
        fm.ConvolutionLayer(name="c", bottoms=["a", "b"], tops=["x", "y"], kernel=(3, 2), n_filter=4, neuron=relu),
        fm.InnerProductLayer(name="i", bottoms=["x", "y"], tops=["p", "q"], output_dim=3),
        fm.ConvolutionLayer(name="d", param_key="c", bottoms=["a"], tops=["z"], kernel=(3, 2), n_filter=4, neuron=tanh),
        fm.InnerProductLayer(name="j", bottoms=["z"], tops=["r"], output_dim=3, param_names=["i_weight", ""]),
    ]
    net = Net("shares", "reference", layers)
    net.init()
    said = {layer.name: layer for layer in describe_net(net).layer}
    assert {name: (layer.type, [spec.name for spec in layer.param]) for name, layer in said.items()} == {
        "input": ("Input", []),
        "c": ("Convolution", ["c_filter", "c_bias"]),
        "c_relu": ("ReLU", []),
        "c-2": ("Convolution", ["c_filter", "c_bias"]),
        "c_relu-2": ("ReLU", []),
        "i": ("InnerProduct", ["i_weight-2", "i_bias"]),
        "i-2": ("InnerProduct", ["i_weight-2", "i_bias"]),
        "d": ("Convolution", ["c_filter", "c_bias"]),
        "d_tanh": ("TanH", []),
        "j": ("InnerProduct", ["i_weight", ""]),
    }
    assert list(said["c_relu"].bottom) == list(said["c_relu"].top) == ["x"]
    write_prototxt(tmp_path / "n.prototxt", net)
    x = {name: rng.normal(size=(2, 3, 9, 7)).astype(np.float32) for name in "ab"}
    net.forward(x)
    for suffix, write in WRITERS.items():
        write(tmp_path / f"n{suffix}", net)
        again = fm.load_caffe(tmp_path / "n.prototxt", tmp_path / f"n{suffix}", backend="reference")
        assert len(again.parameters) == len(net.parameters) == 6
        again.forward(x)
        for name in "pqr":
            np.testing.assert_array_equal(again.output_blobs[name].data, net.output_blobs[name].data)
    with h5py.File(tmp_path / "n.caffemodel.h5") as file:  # Caffe stops at a shared parameter that is there twice
        assert {name: sorted(group) for name, group in file["data"].items() if len(group)} == {
            "c": ["0", "1"], "i": ["0", "1"], "j": ["0", "1"],
        }  # fmt: skip
        assert set(file["data"]) == set(said)


def test_a_patch_that_is_smaller_than_the_data_is_what_is_written():
    data = fm.MemoryDataLayer(batch_size=2, tops=["data"], data=[np.zeros((4, 1, 40, 50))])
    convolution = fm.ConvolutionLayer(name="c", bottoms=["data"], tops=["c"], kernel=3, n_filter=2)
    net = Net("n", "reference", [data, convolution], patch=(7, 9))
    assert [list(s.dim) for s in describe_net(net).layer[0].input_param.shape] == [[2, 1, 9, 7]]


def test_outputs_that_are_kept_in_memory_are_left_out():
    data = fm.InputLayer(tops=["a"], shapes=[(1, 2)])
    net = Net("n", "reference", [data, fm.MemoryOutputLayer(bottoms=["a"])])
    assert [layer.type for layer in describe_net(net).layer] == ["Input"]


def test_what_caffe_has_no_words_for_is_refused_by_name(tmp_path):
    class Mine(fm.SplitLayer):
        pass

    net = Net("n", "reference", [fm.InputLayer(tops=["a"], shapes=[(1, 2)]), Mine(name="m", bottoms=["a"], tops=["b"])])
    with pytest.raises(fm.UnsupportedError, match=r"m \(Mine\): Caffe has no layer like it"):
        write_prototxt(tmp_path / "n.prototxt", net)
    assert not list(tmp_path.iterdir())


# -------------------------------------------------------------------------------------------------------------- OpenCV
@pytest.mark.parametrize("model", [lenet, n4])
def test_opencv_gives_the_answers_of_our_nets(tmp_path, model, rng):
    cv2 = pytest.importorskip("cv2")
    net = Net(model.__name__, "reference", model() if model is lenet else model(maps=8, hidden=20, classes=3))
    net.backend.seed(3)
    net.init()
    for name, params in net.params.items():
        params[1].data = rng.normal(0, 0.2, params[1].shape)  # biases start as zeros
        if name.startswith("ip"):
            params[0].data = 3 * params[0].values()  # so that the answers differ by more than rounding
    write_prototxt(tmp_path / "n.prototxt", net)
    write_caffemodel(tmp_path / "n.caffemodel", net)
    theirs = cv2.dnn.readNetFromCaffe(str(tmp_path / "n.prototxt"), str(tmp_path / "n.caffemodel"))
    answers = []
    for _ in range(3):
        image = rng.random(net.source_shapes()["data"]).astype(np.float32)
        net.forward({"data": image})
        theirs.setInput(image)
        answers.append(net.output_blobs["prob"].data.copy())
        assert np.abs(theirs.forward() - answers[-1]).max() < 1e-5
    assert np.ptp(np.concatenate(answers), axis=0).max() > 1e-3


@pytest.mark.parametrize(("folder", "prototxt", "weights"), OPENCV, ids=[f"{m[0]}-{m[2]}" for m in OPENCV])
def test_opencv_gives_the_same_answers_for_what_we_wrote_of_a_model(data_dir, tmp_path, folder, prototxt, weights):
    cv2 = pytest.importorskip("cv2")
    net, _ = loaded(data_dir, folder, prototxt, weights)
    write_prototxt(tmp_path / "n.prototxt", net)
    write_caffemodel(tmp_path / "n.caffemodel", net)
    (shape,) = net.source_shapes().values()
    image = np.random.default_rng(0).random((1, *shape[1:])).astype(np.float32)
    folder = data_dir / "caffemodels" / folder
    answers = []
    for files in ((folder / prototxt, folder / weights), (tmp_path / "n.prototxt", tmp_path / "n.caffemodel")):
        theirs = cv2.dnn.readNetFromCaffe(*map(str, files))
        theirs.setInput(image)
        answers.append(theirs.forward())
    np.testing.assert_array_equal(answers[1], answers[0])
    assert np.ptp(answers[0]) > 0


def branchy(data, phase, loss):
    """Two branches with normalisations, joined by sums and channels; 4 classes of 12 x 10 images."""

    def conv(n, bottom, maps, kernel, **fields):
        return fm.ConvolutionLayer(
            name=f"conv{n}", bottoms=[bottom], tops=[f"conv{n}"], n_filter=maps, kernel=kernel, **fields
        )

    def inplace(kind, n, **fields):
        return kind(name=f"{kind.__name__}{n}", bottoms=[f"conv{n}"], tops=[f"conv{n}"], **fields)

    return [
        data,
        conv(1, "data", 6, (3, 2), pad=(1, 1), neuron=fm.Neurons.ReLU()),
        conv(2, "conv1", 6, 3, pad=1, stride=(2, 1), bias=False),
        inplace(fm.BatchNormLayer, 2, use_global_stats=phase == "test", moving_average_fraction=0.9),
        inplace(fm.ScaleLayer, 2, bias=True),
        inplace(fm.PReLULayer, 2),
        conv(3, "conv1", 6, 3, pad=1, stride=(2, 1), n_group=2, neuron=fm.Neurons.Tanh()),
        fm.ElementWiseLayer(name="sum", bottoms=["conv2", "conv3"], tops=["sum"], operation=fm.ElementWiseFunctors.Add()),
        fm.LRNLayer(name="norm", bottoms=["sum"], tops=["norm"], kernel=3, scale=0.5),
        fm.PoolingLayer(name="pool", bottoms=["norm"], tops=["pool"], kernel=3, stride=2, pooling=fm.Pooling.Mean(), divisor="caffe"),
        fm.DeconvolutionLayer(name="up", bottoms=["pool"], tops=["up"], kernel=2, stride=2, n_filter=5, neuron=fm.Neurons.Sigmoid()),
        fm.CropLayer(name="crop", bottoms=["sum", "up"], tops=["crop"]),
        fm.ConcatLayer(name="both", bottoms=["crop", "up"], tops=["both"]),
        fm.InnerProductLayer(name="ip", bottoms=["both"], tops=["ip"], output_dim=4),
        loss,
    ]  # fmt: skip


def test_opencv_runs_what_was_trained_here(tmp_path, rng):
    cv2 = pytest.importorskip("cv2")
    images, labels = rng.normal(size=(20, 2, 12, 10)).astype(np.float32), rng.integers(0, 4, (20, 1))
    images += np.arange(4)[labels][:, :, None, None] * 0.5  # something to learn
    backend = fm.ReferenceBackend()
    data = fm.MemoryDataLayer(batch_size=10, data=[images, labels.astype(np.float32)])
    train = Net("train", backend, branchy(data, "train", fm.SoftmaxLossLayer(bottoms=["ip", "label"])))
    train.init()
    first = {name: [p.values() for p in params] for name, params in train.params.items()}
    for _ in range(6):
        train.forward_backward()
        for parameter in train.trainable:
            parameter.data = parameter.values() - 0.1 * parameter.local_rate * parameter.gradient
    assert all(
        np.abs(p.values() - old).max() > 1e-4
        for k, v in first.items()
        for p, old in zip(train.params[k], v, strict=True)
    )
    fed = fm.InputLayer(tops=["data"], shapes=[(1, 2, 12, 10)])
    net = Net("test", backend, branchy(fed, "test", fm.SoftmaxLayer(name="prob", bottoms=["ip"], tops=["prob"])))
    write_prototxt(tmp_path / "n.prototxt", net)
    write_caffemodel(tmp_path / "n.caffemodel", net)
    theirs = cv2.dnn.readNetFromCaffe(str(tmp_path / "n.prototxt"), str(tmp_path / "n.caffemodel"))
    answers = []
    for image in images:
        net.forward({"data": image[None]})
        theirs.setInput(image[None])
        answers.append(net.output_blobs["prob"].data.copy())
        assert np.abs(theirs.forward() - answers[-1]).max() < 1e-5
    assert np.ptp(np.concatenate(answers), axis=0).min() > 0.05


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["conv1", "conv1/0"], "'conv1/0': its place is that of a blob of layer 'conv1'"),
        (["/conv1"], "'/conv1': HDF5 drops its slashes or dots"),
        (["a/./b"], "write .caffemodel"),
    ],
)
def test_names_that_hdf5_would_change_are_refused(tmp_path, names, said):
    weights = {name: [np.ones((2, 3), np.float32)] for name in names}
    with pytest.raises(fm.WeightsError, match=said):
        write_caffemodel_h5(tmp_path / "x.caffemodel.h5", weights)
    assert not list(tmp_path.iterdir())
    write_caffemodel(tmp_path / "x.caffemodel", weights)
    assert set(read_weights(tmp_path / "x.caffemodel")) == set(names)


def test_names_with_slashes_are_groups_within_groups(tmp_path):
    weights = {name: [np.full(2, i, np.float32)] for i, name in enumerate(["a", "a/b", "inception/1x1", "a.0"])}
    write_caffemodel_h5(tmp_path / "x.caffemodel.h5", weights)
    read = read_weights(tmp_path / "x.caffemodel.h5")
    assert {name: array.tolist() for name, (array,) in read.items()} == {
        name: array.tolist() for name, (array,) in weights.items()
    }
