"""Weights of a file put to a net's parameters: by name, through sharing, in other shapes; BatchNorm of forks."""

import h5py
import numpy as np
import pytest

import fullmocha as fm
from fullmocha.caffe.binary import SHARED
from fullmocha.caffe.hdf5 import read_caffemodel_h5
from fullmocha.caffe.weights import Wanted, fit
from fullmocha.errors import FormatError, WeightsError

F32 = np.dtype(np.float32)


def one(want, *blobs, **others):
    return fit({"l": list(blobs), **others}, {"l": want}, "f", F32)["l"]


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        ((5, 24), (5, 2, 3, 4)),
        ((1, 1, 5, 24), (5, 2, 3, 4)),
        ((5, 2, 3, 4), (5, 24)),
        ((5, 24), (5, 2, 3, 2, 2)),
        ((5, 2, 3, 2, 2), (5, 24)),
        ((5, 24), (5, 6, 4)),
        ((1, 1, 1, 24), (1, 2, 3, 4)),
    ],
)
def test_an_inner_products_weights_are_a_convolutions_of_any_number_of_axes(rng, found, wanted):
    values = rng.normal(size=found).astype(F32)
    (got,) = one(Wanted("l", [wanted], reshapes=True), values)
    assert got.shape == wanted
    np.testing.assert_array_equal(got.ravel(), values.ravel())
    with pytest.raises(WeightsError, match="layer 'l', blob 0 has shape"):
        one(Wanted("l", [wanted]), values)


@pytest.mark.parametrize("found", [(6, 20), (24, 5), (5, 4, 3, 2, 1), (120,)])
def test_another_inner_product_is_not(rng, found):
    with pytest.raises(WeightsError, match="the net wants"):
        one(Wanted("l", [(5, 2, 3, 4)], reshapes=True), rng.normal(size=found))


@pytest.mark.parametrize(
    ("found", "wanted"), [((1, 1, 1, 7), (7,)), ((1,), ()), ((1, 1, 1, 1), ()), ((), (1,)), ((7,), (7,))]
)
def test_leading_ones_do_not_count(rng, found, wanted):
    values = rng.normal(size=found).astype(F32)
    (got,) = one(Wanted("l", [wanted]), values)
    assert got.shape == wanted and got.ravel().tolist() == values.ravel().tolist()


def test_a_parameter_that_another_layer_has(rng):
    w, b = rng.normal(size=(3, 4)).astype(F32), rng.normal(size=3).astype(F32)
    want = Wanted("l", [(3, 4), (3,)], [[("other", 0), ("l", 0)], []])
    assert one(want, SHARED, b, other=[w, b + 1])[0].tolist() == w.tolist()
    assert one(want, SHARED, b, other=[w, b + 1])[1].tolist() == b.tolist()
    with pytest.raises(WeightsError, match=r"layer 'l' has 2 blobs"):
        one(want, SHARED, b)
    both = Wanted("l", [(3, 4), (3,)], [[("other", 0)], [("other", 1)]])
    assert (
        fit({"other": [w, b]}, {"l": both}, "f", F32)["l"][1].tolist() == b.tolist()
    )  # the layer has nothing of its own
    with pytest.raises(WeightsError, match="no weights for layer l"):
        fit({"other": [w, b]}, {"l": want}, "f", F32)


SHARING = """input: "x" input_shape { dim: 2 dim: 3 }
layer { name: "a" type: "InnerProduct" bottom: "x" top: "a" inner_product_param { num_output: 3 }
        param { name: "w" } param { } }
layer { name: "b" type: "InnerProduct" bottom: "a" top: "b" inner_product_param { num_output: 3 }
        param { name: "w" } param { name: "v" } }
layer { name: "c" type: "InnerProduct" bottom: "b" top: "c" inner_product_param { num_output: 3 }
        param { name: "u" } param { name: "v" } }"""


def test_caffes_hdf5_has_a_shared_parameter_once(tmp_path, rng):
    arrays = {"a/0": (3, 3), "a/1": (3,), "b/1": (3,), "c/0": (3, 3)}
    arrays = {name: rng.normal(size=shape).astype(F32) for name, shape in arrays.items()}
    with h5py.File(tmp_path / "w.h5", "w") as file:
        for name, array in arrays.items():
            file[f"data/{name}"] = array
            file[f"diff/{name}"] = array + 100  # gradients, which nobody asked for
    (tmp_path / "net.prototxt").write_text(SHARING)
    net = fm.load_caffe(tmp_path / "net.prototxt", tmp_path / "w.h5", backend="reference", dtype="float64")
    x = rng.normal(size=(2, 3))
    net.forward(inputs={"x": x})
    y = x @ arrays["a/0"].T.astype(float) + arrays["a/1"]
    y = y @ arrays["a/0"].T + arrays["b/1"]
    y = y @ arrays["c/0"].T + arrays["b/1"]
    np.testing.assert_allclose(net.output_blobs["c"].data, y, rtol=1e-12)
    for gone in ("a/0", "b/1", "a/1"):
        with h5py.File(tmp_path / "w.h5", "a") as file:
            del file[f"data/{gone}"]
        with pytest.raises(WeightsError, match=r"layer '[abc]' has|no weights for"):
            fm.load_caffe(tmp_path / "net.prototxt", tmp_path / "w.h5", backend="reference")
        with h5py.File(tmp_path / "w.h5", "a") as file:
            file[f"data/{gone}"] = arrays[gone]


def test_names_with_slashes_are_nested_groups(tmp_path):
    with h5py.File(tmp_path / "w.h5", "w") as file:
        for name in ("conv/bn/0", "conv/0", "conv/1", "conv/bn/extra", "conv/bn/00x"):
            file[f"data/{name}"] = np.float32([len(name)])
        file.create_group("data/relu")
    found = read_caffemodel_h5(tmp_path / "w.h5")
    assert {name: [b.tolist() for b in blobs] for name, blobs in found.items()} == {
        "conv": [[6], [6]],
        "conv/bn": [[9]],
    }


@pytest.mark.parametrize("how", ["chunks", "some chunks", "deflate", "virtual"])
def test_numbers_that_are_not_there_take_no_memory(tmp_path, how):
    with h5py.File(tmp_path / "w.h5", "w") as file:
        if how == "virtual":
            layout = h5py.VirtualLayout((1 << 20, 1 << 12), "f4")
            file.create_virtual_dataset("data/l/0", layout)
        else:
            data = file.create_dataset(
                "data/l/0",
                (1 << 14, 1 << 14),
                "f4",
                chunks=(1, 1 << 14),
                compression="gzip" if how == "deflate" else None,
            )
            if how != "chunks":
                data[3] = 1
    with pytest.raises(FormatError, match=r"layer 'l', blob 0 (of shape|has its numbers in another file)"):
        read_caffemodel_h5(tmp_path / "w.h5")


# ----------------------------------------------------------------------------------------------------------- BatchNorm
STATISTICS = Wanted("l", [(3,), (3,), (1,)], statistics=True)
MEAN, VARIANCE = np.float32([1, 2, 3]), np.float32([4, 5, 6])
ONE, ZERO = np.float32([1]), np.float32([0])


def test_statistics_as_they_should_be():
    assert [a.tolist() for a in one(STATISTICS, MEAN, VARIANCE, 2 * ONE)] == [[1, 2, 3], [4, 5, 6], [2]]
    assert [a.tolist() for a in one(STATISTICS, 0 * MEAN, 0 * VARIANCE, ZERO)] == [[0] * 3, [0] * 3, [0]]  # untrained


def test_a_factor_of_0_counts_as_in_caffe_with_a_warning():
    with pytest.warns(
        UserWarning, match=r"layer 'l' \(BatchNorm\): its factor is 0, so its mean and variance count as 0"
    ):
        assert one(STATISTICS, MEAN, VARIANCE, ZERO)[2].tolist() == [0]


def test_nvidias_blobs():
    extra = [np.ones(3, F32), np.zeros(3, F32)]
    with pytest.warns(UserWarning, match="as NVIDIA's Caffe writes it; its statistics are taken as they are"):
        blobs = one(STATISTICS, MEAN, VARIANCE, ZERO, *extra)
    assert [a.tolist() for a in blobs] == [[1, 2, 3], [4, 5, 6], [1]]
    assert one(STATISTICS, MEAN, VARIANCE, ONE, extra[0])[2].tolist() == [1]
    with pytest.raises(WeightsError, match="add a Scale layer"):
        one(STATISTICS, MEAN, VARIANCE, ZERO, extra[0] * 2, extra[1])
    with pytest.raises(WeightsError, match="layer 'l' has 6 blobs"):
        one(STATISTICS, MEAN, VARIANCE, ONE, *extra, ONE)


def test_a_golden_snapshot_with_shared_parameters_is_the_same_in_both_formats(data_dir):
    folder = data_dir / "caffe_golden" / "solvers" / "sgd_shared_params"
    nets = [
        fm.load_caffe(
            folder / "net.prototxt", folder / f"snap_iter_3.caffemodel{suffix}", backend="reference", phase="train"
        )
        for suffix in ("", ".h5")
    ]
    stored = {
        name: sum(b is not SHARED for b in blobs)
        for name, blobs in read_caffemodel_h5(folder / "snap_iter_3.caffemodel.h5").items()
    }
    assert sum(stored.values()) < sum(map(len, nets[0].params.values()))  # some are left out
    for name, params in nets[0].params.items():
        for a, b in zip(params, nets[1].params[name], strict=True):
            np.testing.assert_array_equal(a.data, b.data)
