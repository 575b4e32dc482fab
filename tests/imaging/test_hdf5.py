"""HDF5: which dataset, which axes, and files that do not hold what they declare."""

import numpy as np
import pytest

from fullmocha.errors import FormatError
from fullmocha.imaging import create_output, hdf5, open_sections

h5py = pytest.importorskip("h5py")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "x.h5"


def store(path, name="raw", attributes=None, **options):
    with h5py.File(path, "a") as file:
        file.create_dataset(name, **options).attrs.update(attributes or {})


def stack_of(location, axes=None):
    with open_sections(location, axes) as sections:
        return np.stack([section.read(0, 0, *section.shape[1:]) for section in sections])


@pytest.mark.parametrize(
    ("shape", "axes", "attribute", "expected"),
    [
        ((5, 7), None, None, (1, 1, 5, 7)),
        ((4, 5, 7), None, None, (4, 1, 5, 7)),
        ((4, 5, 7), "SHW", "CHW", (4, 1, 5, 7)),
        ((4, 5, 7), "CHW", None, (1, 4, 5, 7)),
        ((4, 5, 7), None, "CHW", (1, 4, 5, 7)),
        ((4, 5, 7), None, np.bytes_(b"CHW"), (1, 4, 5, 7)),
        ((4, 5, 7), None, "zyx", (4, 1, 5, 7)),
        ((4, 5, 7), None, "cyx", (1, 4, 5, 7)),
        ((4, 5, 7), None, ["c", "y", "x"], (1, 4, 5, 7)),
        ((4, 5, 7), None, np.array([b"z", b"y", b"x"]), (4, 1, 5, 7)),
        ((4, 5, 7), "CHW", "yxz", (1, 4, 5, 7)),  # the caller knows better
        ((2, 3, 5, 7), None, None, (2, 3, 5, 7)),
    ],
)
@pytest.mark.parametrize("storage", [{}, {"chunks": True}, {"chunks": True, "compression": "gzip", "shuffle": True}])
def test_axes(path, rng, shape, axes, attribute, expected, storage):
    data = rng.integers(0, 1000, shape, np.uint16)
    store(path, data=data, attributes=None if attribute is None else {"axes": attribute}, **storage)
    np.testing.assert_array_equal(stack_of(f"{path}:/raw", axes), data.reshape(expected))
    with open_sections(f"{path}:/raw", axes) as sections:
        np.testing.assert_array_equal(sections[-1].read(2, 1, 3, 5), data.reshape(expected)[-1, :, 2:5, 1:6])


@pytest.mark.parametrize("dtype", ["<u1", ">u2", "<i2", ">f4", "<f8", "<u4", ">i8", "<f2"])
def test_every_type_arrives_in_native_order(path, rng, dtype):
    data = rng.integers(0, 100, (6, 5)).astype(dtype)
    store(path, data=data)
    got = stack_of(path)
    assert got.dtype == np.dtype(dtype).newbyteorder("=")
    np.testing.assert_array_equal(got[0, 0], data)


def test_a_lone_dataset_needs_no_name_and_others_are_listed(path):
    store(path, name="volumes/raw", data=np.arange(6).reshape(2, 3))
    store(path, name="count", data=3)
    assert stack_of(path)[0, 0].tolist() == [[0, 1, 2], [3, 4, 5]]
    store(path, name="volumes/labels", data=np.zeros((2, 3), np.uint8))
    listed = r"those with 2 to 4 axes: /volumes/labels \(2, 3\) uint8, /volumes/raw \(2, 3\) int64"
    for name, reason in (
        ("", "expected the name of a dataset after a colon"),
        (":", "expected the name of a dataset after a colon"),
        (":/row", "dataset /row does not exist"),
        (":/volumes", "dataset /volumes is a group"),
        (":/volumes/raw/x", "does not exist"),
    ):
        with pytest.raises(FormatError, match=f"{reason}.*{listed}"):
            open_sections(f"{path}{name}")
    with pytest.raises(FormatError, match=r"shape \(\) .*expected 2 to 4 axes|shape \(\) with axes None"):
        open_sections(f"{path}:/count")


def test_a_name_is_split_at_the_last_suffix():
    assert hdf5.split_location("a.h5") == ("a.h5", None)
    assert hdf5.split_location("C:/b.h5/c.HDF5:/d:e") == ("C:/b.h5/c.HDF5", "/d:e")
    assert hdf5.split_location("x.tif:/raw") == ("x.tif:/raw", None)


@pytest.mark.parametrize(
    "data",
    [np.zeros((3, 4), np.complex64), np.zeros((3, 4), bool), np.full((3, 4), b"x"), np.zeros((3, 4), "i4,f4")],
    ids=["complex", "bool", "text", "compound"],
)
def test_values_that_are_not_grey_are_refused(path, data):
    store(path, data=data)
    with pytest.raises(FormatError, match=r"values are of type .* save it as uint8"):
        open_sections(path)


def test_wrong_axes_are_refused(path):
    store(path, data=np.zeros((3, 4, 5)))
    store(path, name="line", data=np.zeros(3))
    for location, axes in ((f"{path}:/raw", "HW"), (f"{path}:/raw", "HWC"), (f"{path}:/line", None)):
        with pytest.raises(FormatError, match="expected 2 to 4 axes, one of HW, SHW, CHW, SCHW"):
            open_sections(location, axes)
    with pytest.raises(FormatError, match="no datasets and no axes"):
        tif = path.with_suffix(".tif")
        with create_output(tif, 1, 1, 1, 1) as output:
            output.write(0, 0, 0, 0, np.ones((1, 1), np.float32))
        open_sections(tif, "CHW")


@pytest.mark.parametrize(
    ("attribute", "named"),
    [
        ("yxz", "'yxz'"),
        (np.bytes_(b"HWC"), "b'HWC'"),
        (["time", "y", "x"], "'time', 'y', 'x'"),
        (7, "7"),
        (h5py.Empty("f4"), "Empty"),
    ],
)
def test_an_attribute_that_says_something_else_is_refused(path, attribute, named):
    store(path, data=np.zeros((3, 4, 5)), attributes={"axes": attribute})
    with pytest.raises(FormatError, match=f"attribute axes is .*{named}.*one of HW, SHW, CHW, SCHW.*; correct it"):
        open_sections(path)
    assert stack_of(path, "SHW").shape == (3, 1, 4, 5)


def test_what_is_declared_but_not_there_is_refused(path, tmp_path):
    store(path, name="hole", shape=(100_000, 100_000), dtype="f4", chunks=(1000, 1000))
    store(path, name="empty", shape=(3, 0), dtype="f4")
    store(path, name="chunk", shape=(40_000, 40_000), dtype="u1", chunks=(40_000, 40_000), compression="gzip")
    store(path, name="null", data=h5py.Empty("f4"))
    (tmp_path / "raw.bin").write_bytes(bytes(12))
    store(path, name="external", shape=(3, 4), dtype="u1", external=[(str(tmp_path / "raw.bin"), 0, 12)])
    with h5py.File(path, "a") as file:
        layout = h5py.VirtualLayout((3, 4), "u1")
        layout[:] = h5py.VirtualSource(str(tmp_path / "missing.h5"), "raw", (3, 4))
        file.create_virtual_dataset("virtual", layout)
        file["chunk"].id.write_direct_chunk((0, 0), b"x")  # declares 1.6 GB
    for name, reason in {
        "hole": r"declares \(100000, 100000\) float32, but 0 bytes are stored",
        "empty": "holds no pixel",
        "null": "holds no pixel",
        "chunk": r"chunks of \(40000, 40000\) uint8 are larger than",
        "external": "its bytes lie in other files",
        "virtual": "its bytes lie in other files",
    }.items():
        with pytest.raises(FormatError, match=reason):
            open_sections(f"{path}:/{name}")


def test_a_damaged_chunk_is_one_message_when_it_is_read(path, rng):
    store(path, data=rng.integers(0, 9, (64, 64), np.uint8), chunks=(16, 64), compression="gzip")
    with h5py.File(path, "r+") as file:
        file["raw"].id.write_direct_chunk((16, 0), b"no deflate stream")
    with open_sections(path) as sections:
        sections[0].read(0, 0, 16, 64)
        with pytest.raises(FormatError, match=r"x.h5:/raw, section 0: rows 10..29 cannot be read"):
            sections[0].read(10, 3, 20, 9)


def test_a_result_does_not_destroy_other_data(path):
    store(path, data=np.zeros((3, 4)))
    before = path.read_bytes()
    with pytest.raises(FormatError, match="holds /raw, which would be lost"):
        create_output(f"{path}:/prob", 1, 1, 3, 4)
    assert path.read_bytes() == before
    with create_output(f"{path}:/raw", 1, 1, 3, 4) as output:  # that very dataset may be replaced
        output.write(0, None, 0, 0, np.ones((1, 3, 4), np.float32))
    assert stack_of(path).sum() == 12


@pytest.mark.parametrize("userblock", [0, 1024])
def test_a_file_that_cannot_be_read_does_not_count_as_empty(path, userblock):
    """Data that another program holds open, or half copied, may still be wanted."""
    with h5py.File(path, "w", userblock_size=userblock) as file:
        file["raw"] = np.ones((30, 40))
    held = path.read_bytes()
    fcntl = pytest.importorskip("fcntl", reason="locks of POSIX")
    with open(path, "rb") as locked:
        fcntl.flock(locked, fcntl.LOCK_EX)  # as HDF5 does in a program that writes
        with pytest.raises(FormatError, match=r"cannot be read.*close the program .* name a new file"):
            create_output(f"{path}:/prob", 1, 1, 3, 4)
    path.write_bytes(held[:-100])
    with pytest.raises(FormatError, match=r"cannot be read.* name a new file"):
        create_output(f"{path}:/prob", 1, 1, 3, 4)
    assert path.read_bytes() == held[:-100]
    for other in (b"", b"no HDF5"):
        path.write_bytes(other)
        create_output(f"{path}:/prob", 1, 1, 3, 4).discard()


@pytest.mark.parametrize("name", ["", "/", "a//b", "../x", "a/./b"])
def test_names_that_are_no_datasets_are_refused(path, name):
    with pytest.raises(FormatError, match="is no name of a dataset"):
        create_output(f"{path}:{name}", 1, 1, 3, 4)
    assert not path.exists()


def test_a_result_in_groups_with_its_axes(path, rng):
    stack = rng.normal(size=(2, 3, 4, 5))
    with create_output(f"{path}:/net/n4/prob", *stack.shape, "float64") as output:
        for section in (1, 0):
            output.write(section, None, 0, 0, stack[section])
    with h5py.File(path) as file:
        assert file["net/n4/prob"].attrs["axes"] == "SCHW"
        np.testing.assert_array_equal(file["net/n4/prob"], stack)
    np.testing.assert_array_equal(stack_of(f"{path}:/net/n4/prob"), stack)


def test_the_real_volume(data_dir):
    location = f"{data_dir / 'fib250' / 'fib250.h5'}"
    with h5py.File(location) as file, open_sections(f"{location}:/raw") as sections:
        assert len(sections) == 250
        assert sections[0].shape == (1, 250, 250)
        np.testing.assert_array_equal(sections[137].read(31, 90, 60, 101)[0], file["raw"][137, 31:91, 90:191])
    with pytest.raises(FormatError, match=r"/groundtruth .*/oversegmentation .*/raw"):
        open_sections(location)


def test_a_heap_without_an_end_is_refused_before_hdf5_walks_it(tmp_path):
    path = tmp_path / "endless.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("raw", data=np.ones((4, 5), np.uint8)).attrs["axes"] = "YX"
    raw = bytearray(path.read_bytes())
    heap = raw.index(b"GCOL")
    with open_sections(path) as sections:  # as it was written
        assert sections[0].shape == (1, 4, 5)
    free = (
        heap + 16 + 16 + 8
    )  # behind the heap's and the first object's headers, and that object's two bytes, rounded up
    assert raw[free : free + 2] == b"\0\0" and any(raw[free + 8 : free + 16])
    raw[free + 8 : free + 16] = bytes(8)
    path.write_bytes(raw)
    with pytest.raises(FormatError, match=rf"endless\.h5: has a heap at byte {heap} without an end"):
        open_sections(path)
