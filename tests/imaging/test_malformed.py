"""Files that are damaged, cut short, or something else: one message that names the file, no other exception."""

import io
import struct

import numpy as np
import pytest

from fullmocha.errors import FormatError, FullMochaError
from fullmocha.imaging import hdf5, open_sections, png, tiff

tifffile = pytest.importorskip("tifffile")
h5py = pytest.importorskip("h5py")
image = pytest.importorskip("PIL.Image")

RNG = np.random.default_rng(3)
STACK = np.cumsum(RNG.integers(0, 3, (2, 24, 20)), axis=2).astype(np.uint16)


def tiff_bytes(**options):
    target = io.BytesIO()
    tifffile.imwrite(target, STACK, photometric="minisblack", **options)
    return target.getvalue()


def png_bytes():
    target = io.BytesIO()
    image.fromarray(STACK[0].astype(np.uint8)).save(target, "PNG")
    return target.getvalue()


def hdf5_bytes(**options):
    target = io.BytesIO()
    with h5py.File(target, "w") as file:
        file.create_dataset("raw", data=STACK, **options)
    return target.getvalue()


WHOLE = {
    "plain.tif": tiff_bytes(),
    "strips.tif": tiff_bytes(rowsperstrip=7, compression="zlib", predictor=True),
    "tiles.tif": tiff_bytes(tile=(16, 16), compression="zlib", byteorder=">"),
    "big.tif": tiff_bytes(bigtiff=True, rowsperstrip=5),
    "imagej.tif": tiff_bytes(imagej=True),
    "grey.png": png_bytes(),
    "plain.h5": hdf5_bytes(),
    "gzip.h5": hdf5_bytes(chunks=(1, 8, 20), compression="gzip"),
}


def read_everything(path):
    with open_sections(path) as sections:
        return [section.read(0, 0, *section.shape[1:]) for section in sections]


@pytest.mark.parametrize("name", WHOLE)
def test_cut_anywhere(tmp_path, name):
    """Every length short of the whole, or about 400 of them."""
    whole, path = WHOLE[name], tmp_path / name
    path.write_bytes(whole)
    expected = read_everything(path)
    for length in sorted({*range(0, 40), *range(40, len(whole), max(1, len(whole) // 400)), len(whole) - 1}):
        path.write_bytes(whole[:length])
        try:
            got = read_everything(path)
        except FormatError as error:
            assert str(path) in str(error), length
        else:
            # Harmless only where nothing was lost but filling at the end.
            np.testing.assert_array_equal(got, expected, err_msg=str(length))
            assert length > len(whole) - 16, f"{name} cut at {length} of {len(whole)} was read"


@pytest.mark.parametrize("name", [name for name in WHOLE if not name.endswith(".h5")])
def test_damaged_anywhere(tmp_path, name):
    """Random bytes in random places, most of them where the structure is: read, or refused with our exception.

    HDF5 is left out: its library is not memory-safe on damaged files, as the module says.
    """
    rng = np.random.default_rng(17)
    whole, path = WHOLE[name], tmp_path / name
    pixels = whole.find(STACK[0].tobytes())
    structure = [at for at in range(len(whole)) if not (pixels >= 0 and pixels <= at < pixels + STACK.nbytes)]
    refused = 0
    for _ in range(400):
        damaged = bytearray(whole)
        for at in rng.choice(structure, rng.integers(1, 4)):
            damaged[at] = rng.choice([0, 1, 255, rng.integers(256)])
        path.write_bytes(damaged)
        try:
            read_everything(path)
        except FullMochaError as error:
            refused += 1
            assert str(path) in str(error)
    assert refused > 100


@pytest.mark.parametrize("content", [b"\xff\xd8\xff\xe0 jpeg", b"II*\0", b"MM\0+", b"GIF89a", b"x", b"\0" * 100])
@pytest.mark.parametrize("suffix", [".tif", ".png", ".h5", ".jpg", ""])
def test_not_an_image(tmp_path, content, suffix):
    path = tmp_path / f"x{suffix}"
    path.write_bytes(content)
    with pytest.raises(FormatError) as caught:
        open_sections(path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("module", [tiff, png, hdf5])
def test_not_a_file(tmp_path, module):
    (tmp_path / "empty").write_bytes(b"")
    for opened in (module.open_sections, open_sections):
        with pytest.raises(FormatError, match=r"missing\.tif: no such file"):
            opened(tmp_path / "missing.tif")
        with pytest.raises(FormatError, match="is a folder, expected an image file"):
            opened(tmp_path)
        with pytest.raises(FormatError, match="is empty"):
            opened(tmp_path / "empty")
        with pytest.raises(FormatError, match="device or pipe"):
            opened("/dev/null")
        with pytest.raises(FormatError, match="null"):
            opened("a\0b.tif")
    (tmp_path / "x.tif").write_bytes(WHOLE["grey.png"])
    if module is not png:
        with pytest.raises(FormatError, match="not a"):
            module.open_sections(tmp_path / "x.tif")


def test_the_content_decides_not_the_name(tmp_path):
    for name, whole in WHOLE.items():
        path = tmp_path / "x.dat"
        path.write_bytes(whole)
        if name.endswith(".h5") or name.endswith(".tif"):
            np.testing.assert_array_equal(read_everything(path), STACK[:, None])
        else:
            np.testing.assert_array_equal(read_everything(path), STACK[:1, None].astype(np.uint8))


def patched(tag, value, whole=None, kind=None):
    """A little-endian classic TIFF whose first directory has another value for a tag."""
    data = bytearray(whole or tiff_bytes())
    (start,) = struct.unpack_from("<I", data, 4)
    (entries,) = struct.unpack_from("<H", data, start)
    for at in range(start + 2, start + 2 + 12 * entries, 12):
        if struct.unpack_from("<H", data, at)[0] == tag:
            if kind is not None:
                struct.pack_into("<H", data, at + 2, kind)
            data[at + 8 : at + 12] = struct.pack("<I", value)
            return bytes(data)
    raise AssertionError(f"no tag {tag}")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (patched(256, 2**31, kind=4), "declares 103,079,215,104 bytes of pixels, but 960 are stored"),
        (patched(257, 0), "an image has at least one of each"),
        (patched(258, 1), "1 bits per sample"),
        (patched(258, 12), "12 bits per sample"),
        (patched(259, 7), "is compressed by JPEG, expected none, LZW, deflate, PackBits"),
        (patched(262, 3), "stores its colours as PALETTE"),
        (patched(262, 6), "stores its colours as YCBCR"),
        (patched(279, 2**31, kind=4), "truncated, one of its strips lies at bytes"),
        (patched(273, 10**6, kind=4), "truncated, one of its strips lies at bytes 1,000,000"),
        (patched(324, 2**31, tiff_bytes(tile=(16, 16), compression="zlib")), "tag 324 of page 0 lies at bytes"),
        (patched(322, 65520, tiff_bytes(tile=(16, 16), compression="zlib")), "but the file lists"),
        (patched(317, 5, tiff_bytes(compression="zlib", predictor=True)), "predictor 5 on uint16"),
        (patched(259, 1, tiff_bytes(compression="zlib", predictor=True)), "a predictor without compression"),
    ],
)
def test_tiff_declarations_that_cannot_be(tmp_path, content, reason):
    path = tmp_path / "x.tif"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=reason) as caught:
        open_sections(path)
    assert str(caught.value).startswith(f"{path}, page 0: ") or str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize("dtype", ["complex64", "bool"])
def test_tiff_types_that_are_not_grey(tmp_path, dtype):
    tifffile.imwrite(tmp_path / "x.tif", np.zeros((8, 16), dtype), photometric="minisblack")
    with pytest.raises(FormatError, match="save it as uint8, uint16 or float32"):
        open_sections(tmp_path / "x.tif")


def test_tiff_bits_in_reverse_order(tmp_path):
    # tifffile does not write FillOrder (266), so another tag is renamed.
    data = tiff_bytes(extratags=[(65000, "H", 1, 2, True)])
    assert data.count(struct.pack("<HHIH", 65000, 3, 1, 2)) == 1
    (tmp_path / "x.tif").write_bytes(data.replace(struct.pack("<H", 65000), struct.pack("<H", 266)))
    with pytest.raises(FormatError, match="bits in reverse order"):
        open_sections(tmp_path / "x.tif")


def test_tiff_positions_that_are_no_integers(tmp_path):
    """The one escape of 15,000 damaged files: strip positions as floating-point numbers; rounded, or refused."""
    path = tmp_path / "x.tif"
    for kind, value in ((11, 0x43800000), (11, 0x7FC00000)):  # float: 256, not a number
        path.write_bytes(patched(273, value, kind=kind))
        try:
            assert read_everything(path)[0].shape == (1, 24, 20)
        except FormatError as error:
            assert str(path) in str(error)


def test_tiff_pages_that_go_round(tmp_path):
    data = bytearray(WHOLE["plain.tif"])
    (start,) = struct.unpack_from("<I", data, 4)
    (entries,) = struct.unpack_from("<H", data, start)
    struct.pack_into("<I", data, start + 2 + 12 * entries, start)
    (tmp_path / "x.tif").write_bytes(data)
    with pytest.raises(FormatError, match="page 1 links back to an earlier page"):
        open_sections(tmp_path / "x.tif")


def test_one_large_compressed_strip_is_refused_before_it_is_unfolded(tmp_path, monkeypatch):
    monkeypatch.setattr("fullmocha.imaging.tiff_layout.SEGMENT_LIMIT", 900)
    (tmp_path / "x.tif").write_bytes(tiff_bytes(compression="zlib"))
    with pytest.raises(FormatError, match="its compressed strips hold 960 bytes each, more than 900; save it in tiles"):
        open_sections(tmp_path / "x.tif")


def test_a_stream_that_unfolds_to_more_than_declared_is_refused(tmp_path):
    """A strip of 960 declared bytes over a stream of 100 MB: not decoded beyond what is declared."""
    import tracemalloc
    import zlib

    bomb = zlib.compress(bytes(10**8))
    with tifffile.TiffWriter(tmp_path / "x.tif") as writer:
        writer.write(iter([bomb]), shape=(24, 20), dtype="uint16", compression="zlib", photometric="minisblack")
    tracemalloc.start()
    try:
        with pytest.raises(FormatError, match=r"strip 0 cannot be read, more than the 960 bytes expected"):
            read_everything(tmp_path / "x.tif")
        assert tracemalloc.get_traced_memory()[1] < 4 * len(bomb) + 2**20
    finally:
        tracemalloc.stop()


def test_a_file_that_shrinks_while_it_is_open(tmp_path):
    path = tmp_path / "x.tif"
    path.write_bytes(WHOLE["plain.tif"])
    with open_sections(path) as sections:
        with open(path, "rb+") as file:
            file.truncate(300)
        with pytest.raises(FormatError, match=r"x.tif, page 1: strip 0 cannot be read, the file has become shorter"):
            sections[1].read(0, 0, 24, 20)
