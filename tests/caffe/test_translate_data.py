"""Caffe's data layers in both directions: every option, and what is refused."""

import numpy as np
import pytest
from PIL import Image

import fullmocha as fm
from fullmocha import layers
from fullmocha.caffe.load import describe
from fullmocha.caffe.schema import text_message
from fullmocha.caffe.writing import describe_net, write_blob, write_prototxt
from fullmocha.datum import encode_datum
from fullmocha.errors import FormatError, ShapeError, UnsupportedError
from fullmocha.initializers import ConstantInitializer, GaussianInitializer, UniformInitializer


@pytest.fixture
def one(read, tmp_path, monkeypatch):
    """The config of one data layer, in a folder with four images, a list of them, a database and a mean."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(4)
    for i in range(4):
        Image.fromarray(rng.integers(0, 256, (9, 7, 3)).astype(np.uint8)).save(f"{i}.png")
    (tmp_path / "list.txt").write_text("".join(f"{i}.png {3 * i}\n" for i in range(4)))
    write_blob("mean.binaryproto", rng.random((3, 9, 7)).astype(np.float32))

    def made(kind, rest, phase="test", tops='top: "data" top: "label"', bottoms=""):
        (layer,) = read(f'layer {{ name: "l" type: "{kind}" {bottoms} {tops} {rest} }}', phase=phase)
        return layer

    return made


@pytest.fixture
def database(tmp_path):
    """An LMDB of four samples, 3 x 9 x 7 bytes."""
    lmdb = pytest.importorskip("lmdb")
    rng = np.random.default_rng(7)
    pixels = rng.integers(0, 256, (4, 3, 9, 7)).astype(np.uint8)
    with lmdb.open(str(tmp_path / "db"), map_size=2**20) as env, env.begin(write=True) as transaction:
        for i, image in enumerate(pixels):
            transaction.put(f"{i:08d}".encode(), encode_datum(image, 5 * i))
    return pixels


TRANSFORM = "transform_param { scale: 0.5 mean_value: [1, 2, 3] crop_size: 5 mirror: true }"


def test_image_data(one):
    text = (
        'image_data_param { source: "list.txt" batch_size: 3 rand_skip: 2 shuffle: true new_height: 8 new_width: 6 '
        f'is_color: true root_folder: "./" }} {TRANSFORM}'
    )
    layer = one("ImageData", text, "train")
    assert layer == layers.ImageDataLayer(
        name="l", source="list.txt", root_folder="./", batch_size=3, rand_skip=2, shuffle=True, new_height=8, new_width=6,
        crop_size=5, crop="random", mirror=True,
        transformers=[
            ("data", fm.DataTransformers.SubMean(mean_blob=np.array([1.0, 2, 3]))),
            ("data", fm.DataTransformers.Scale(0.5)),
        ],
    )  # fmt: skip
    assert layer.delivers() == [(3, 3, 5, 5), (3,)]
    assert one("ImageData", text).crop == "centre"
    assert one("ImageData", text + " phase: TRAIN").crop == "random"
    grey = one("ImageData", 'image_data_param { source: "list.txt" is_color: false }', tops='top: "data"')
    assert grey.delivers() == [(1, 1, 9, 7)] and grey.transformers == ()


def test_data(one, database):
    text = 'data_param { source: "db" batch_size: 2 backend: LMDB rand_skip: 3 prefetch: 9 } ' + TRANSFORM
    layer = one("Data", text, "train")
    assert isinstance(layer, layers.DataLayer)
    assert (layer.batch_size, layer.rand_skip, layer.crop_size, layer.crop, layer.mirror) == (2, 3, 5, "random", True)
    assert [type(t).__name__ for _, t in layer.transformers] == ["SubMean", "Scale"]
    colour = one("Data", 'data_param { source: "db" batch_size: 2 backend: LMDB force_encoded_color: true }')
    assert colour.force_color and not colour.force_gray
    grey = one("Data", 'data_param { source: "db" batch_size: 2 backend: LMDB } transform_param { force_gray: true }')
    assert grey.force_gray and not grey.force_color


def test_a_mean_file_meets_whole_images(one, database):
    text = 'data_param { source: "db" batch_size: 1 backend: LMDB } transform_param { mean_file: "mean.binaryproto" crop_size: 4 }'
    layer = one("Data", text)
    net = fm.Net("n", "reference", [layer])
    net.forward()
    mean = layer.transformers[0][1].mean[0]
    want = (database[0].astype(np.float32) - mean.astype(np.float32))[:, 2:6, 1:5]
    np.testing.assert_array_equal(net.output_blobs["data"].data[0], want)


def test_dummy_data(one):
    layer = one(
        "DummyData",
        "dummy_data_param { shape { dim: 2 dim: 3 } shape { dim: 4 } data_filler { value: 2 } "
        'data_filler { type: "gaussian" std: 0.5 } }',
    )
    assert layer.shapes == ((2, 3), (4,))
    assert layer.fillers == (ConstantInitializer(2.0), GaussianInitializer(0.0, 0.5))
    old = one("DummyData", "dummy_data_param { num: 2 num: 5 channels: 3 height: 4 width: [6, 7] }")
    assert old.delivers() == [(2, 3, 4, 6), (5, 3, 4, 7)] and old.fillers == (ConstantInitializer(0.0),) * 2
    every = one("DummyData", 'dummy_data_param { shape { dim: 2 } data_filler { type: "uniform" max: 3 } }')
    assert every.delivers() == [(2,), (2,)] and every.fillers == (UniformInitializer(0.0, 3.0),) * 2


def test_hdf5_output(one):
    both = 'bottom: "a" bottom: "b"'
    layer = one("HDF5Output", 'hdf5_output_param { file_name: "out.h5" }', tops="", bottoms=both)
    assert layer == layers.HDF5OutputLayer(
        name="l", bottoms=["a", "b"], filename="out.h5", datasets=("data", "label"), force_overwrite=True
    )


IMAGES = 'image_data_param { source: "list.txt" }'
LMDB = 'data_param { source: "db" backend: LMDB batch_size: 1 }'
REFUSED = [
    ("Data", 'data_param { source: "db" }', "backend LEVELDB.*not read; convert the database to LMDB"),
    ("Data", "data_param { backend: LMDB }", "source is missing"),
    ("Data", 'data_param { source: "none" backend: LMDB batch_size: 1 }', "none: does not exist"),
    ("Data", LMDB + " transform_param { force_color: true force_gray: true }", "both force_color and force_gray"),
    ("Data", LMDB + " transform_param { crop_size: 8 }", "crop_size 8 exceeds its first image, which is 9x7"),
    ("Data", 'data_param { source: "db" backend: LMDB batch_size: 0 }', "batch_size must be an integer >= 1, got 0"),
    ("Data", 'data_param { source: "db" backend: LMDB batch_size: 1 scale: 2 }', "data_param sets scale"),
    ("ImageData", "", "source is missing"),
    ("ImageData", 'image_data_param { source: "none.txt" }', "none.txt: cannot be read as a list of images"),
    ("ImageData", 'image_data_param { source: "list.txt" new_height: 5 }', "both new_height and new_width, or neither"),
    ("ImageData", IMAGES + " transform_param { force_gray: true }", "transform_param sets force_gray"),
    ("ImageData", IMAGES + " transform_param { mean_value: [1, 2] }", r"the mean is \(2,\), the samples are \(3, 9, 7\)"),
    ("ImageData", IMAGES + ' transform_param { mean_value: 1 mean_file: "m" }', "both mean_file and mean_value"),
    ("ImageData", IMAGES + ' transform_param { mean_file: "m" }', "transform_param mean_file: m does not exist"),
    ("ImageData", 'image_data_param { source: "list.txt" rand_skip: 9 }', "rand_skip 9 may skip more than the 4 images"),
    ("WindowData", "", "cut them out into images"),
    ("Python", 'python_param { module: "os" layer: "system" }', "is never done here"),
    ("DummyData", "", "has 0 shapes for 2 tops"),
    ("DummyData", "dummy_data_param { shape { dim: 0 } }", "expected sizes of at least 1"),
    ("DummyData", "dummy_data_param { shape { dim: 1 } num: 1 }", "both shape and num, channels"),
    ("DummyData", "dummy_data_param { num: 1 channels: 1 height: 1 }", r"has \[1, 1, 1, 0\] of num"),
    ("DummyData", "dummy_data_param { shape { dim: 1 } data_filler {} data_filler {} data_filler {} }", "3 data_filler"),
    ("DummyData", "dummy_data_param { shape { dim: 99999 dim: 99999 } }", "Caffe's blobs hold at most"),
    ("HDF5Output", "", "file_name is missing"),
    ("HDF5Output", 'hdf5_output_param { file_name: "a" }', "has 0 bottoms; expected two"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "text", "message"), REFUSED, ids=[f"{r[0]}-{r[2][:20]}" for r in REFUSED])
def test_what_cannot_be_had_is_refused_by_name(one, database, kind, text, message):
    with pytest.raises((UnsupportedError, FormatError, ShapeError), match=message):
        one(kind, text)


WRITTEN = [
    ("ImageData", f'image_data_param {{ source: "list.txt" batch_size: 3 new_height: 8 new_width: 6 }} {TRANSFORM}'),
    ("ImageData", 'image_data_param { source: "list.txt" is_color: false shuffle: true rand_skip: 1 }'),
    ("Data", f"{LMDB} {TRANSFORM}"),
    ("Data", LMDB + ' transform_param { mean_file: "mean.binaryproto" }'),
    ("DummyData", 'dummy_data_param { shape { dim: [2, 5] } shape { dim: 3 } data_filler { type: "xavier" } }'),
    (
        "MemoryData",
        "memory_data_param { batch_size: 2 channels: 3 height: 4 width: 5 } transform_param { scale: 0.25 }",
    ),
    ("MemoryData", "memory_data_param { dim: [2, 3, 4, 5, 6] } transform_param { mean_value: 7 }"),
    ("Input", "input_param { shape { dim: 2 dim: 3 } shape { dim: 2 } }"),
]


@pytest.mark.parametrize(("kind", "text"), WRITTEN, ids=[f"{i}-{w[0]}" for i, w in enumerate(WRITTEN)])
@pytest.mark.parametrize("phase", ["train", "test"])
def test_what_is_written_reads_the_same(one, database, tmp_path, kind, text, phase):
    layer = one(kind, text, phase)
    net = fm.Net("n", "reference", [layer])
    write_prototxt(tmp_path / "written.prototxt", net)
    for reading in ("train", "test"):  # the layer says its own phase, if that matters
        (again,) = describe(tmp_path / "written.prototxt", reading).layers
        if getattr(layer, "crop_size", 1) == 0:  # then the place of a crop is nobody's business
            again = again.copy(crop=layer.crop)
        assert again == layer
    assert describe_net(net).layer[0].type == kind


def test_arrays_in_memory_are_written_as_what_the_caller_feeds():
    arrays = [np.zeros((5, 3, 4, 6)), np.zeros((5, 1))]
    net = fm.Net("n", "reference", [fm.MemoryDataLayer(batch_size=2, data=arrays)])
    said = describe_net(net).layer[0]
    assert said.type == "Input" and [list(s.dim) for s in said.input_param.shape] == [[2, 3, 4, 6], [2, 1]]
    greys = [
        ("data", fm.DataTransformers.SubMean(mean_blob=np.array([128.0]))),
        ("data", fm.DataTransformers.Scale(0.5)),
    ]
    net = fm.Net("n", "reference", [fm.MemoryDataLayer(batch_size=2, data=arrays, transformers=greys)])
    want = text_message("LayerParameter")(name="memory-data", type="MemoryData", top=["data", "label"])
    block = want.memory_data_param
    block.batch_size, block.channels, block.height, block.width = 2, 3, 4, 6
    want.transform_param.mean_value.append(128)
    want.transform_param.scale = 0.5
    assert describe_net(net).layer[0] == want


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (fm.InputLayer(tops=["a"], shapes=[(1, 2, 3, 3)], transformers=[
            ("a", fm.DataTransformers.Scale(2)), ("a", fm.DataTransformers.SubMean(mean_blob=np.ones(1)))]),
         "which is one mean, and then one scale"),
        (fm.InputLayer(tops=["a", "b"], shapes=[(1, 2, 3, 3)] * 2, transformers=[("b", fm.DataTransformers.Scale(2))]),
         "and one label for each"),
        (fm.InputLayer(tops=["a", "b"], shapes=[(1, 2, 3, 3), (1,)], transformers=[("b", fm.DataTransformers.Scale(2))]),
         'transforms "b"; Caffe transforms a data layer\'s first top'),
        (fm.InputLayer(tops=["a"], shapes=[(1, 2, 3, 4)], transformers=[
            ("a", fm.DataTransformers.SubMean(mean_blob=np.ones((2, 3, 4))))]), r"a mean of \(2, 3, 4\)"),
    ],
)  # fmt: skip
def test_what_caffe_has_no_words_for(layer, message):
    with pytest.raises(UnsupportedError, match=message):
        describe_net(fm.Net("n", "reference", [layer]))


def test_a_patch_that_caffe_would_not_cut_out_is_refused(one):
    data = one("DummyData", "dummy_data_param { shape { dim: [1, 2, 9, 9] } }", tops='top: "data"')
    convolution = fm.ConvolutionLayer(name="c", bottoms=["data"], tops=["c"], kernel=3, n_filter=2)
    with pytest.raises(
        UnsupportedError, match=r"delivers \[\(1, 2, 9, 9\)\] to a net whose patch makes that \[\(1, 2, 5, 5\)\]"
    ):
        describe_net(fm.Net("n", "reference", [data, convolution], patch=5))


def test_hdf5_output_is_written_where_it_says_what_caffe_stores(tmp_path):
    data = fm.InputLayer(tops=["a", "b"], shapes=[(2, 3), (2,)])
    stored = fm.HDF5OutputLayer(
        name="o", bottoms=["a", "b"], filename=str(tmp_path / "o.h5"), datasets=["data", "label"]
    )
    said = describe_net(fm.Net("n", "reference", [data, stored])).layer[1]
    assert (said.type, said.hdf5_output_param.file_name, list(said.bottom)) == (
        "HDF5Output",
        str(tmp_path / "o.h5"),
        ["a", "b"],
    )
    other = fm.HDF5OutputLayer(name="o", bottoms=["a"], filename=tmp_path / "p.h5")
    with pytest.raises(
        UnsupportedError, match=r"o \(HDF5OutputLayer\): stores datasets \['a'\]; Caffe's HDF5Output stores two"
    ):
        describe_net(fm.Net("n", "reference", [data, other]))
