"""TIFF files as others write them: layouts, codecs, predictors, byte orders, channels, and files beyond memory."""

import sys
import threading
import tracemalloc

import numpy as np
import pytest

from fullmocha.errors import FormatError
from fullmocha.imaging import create_output, open_sections, tiff
from fullmocha.imaging.tiff_codecs import decode, unlzw, unpack_bits

tifffile = pytest.importorskip("tifffile")


def values(rng, shape, dtype):
    """Smooth enough to compress, with the extremes of the type in it."""
    dtype = np.dtype(dtype)
    data = np.cumsum(rng.integers(-3, 4, shape), axis=-1)
    if dtype.kind == "f":
        return (data * 0.37).astype(dtype)
    data = data.astype(dtype)
    data.flat[0], data.flat[-1] = np.iinfo(dtype).min, np.iinfo(dtype).max
    return data


def assert_reads_as(path, stack, rng, windows=15):
    """The sections equal (S, C, H, W) as a whole and in random windows."""
    with open_sections(path) as sections:
        assert len(sections) == len(stack)
        for section, whole in zip(sections, stack, strict=True):
            assert section.shape == whole.shape
            assert section.dtype == whole.dtype.newbyteorder("=")
            assert section.dtype.isnative
            height, width = whole.shape[1:]
            np.testing.assert_array_equal(section.read(0, 0, height, width), whole)
            for _ in range(windows):
                y, x = rng.integers(0, height), rng.integers(0, width)
                h, w = rng.integers(1, height - y + 1), rng.integers(1, width - x + 1)
                np.testing.assert_array_equal(section.read(y, x, h, w), whole[:, y : y + h, x : x + w])


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32", "uint32"])
@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize(
    "layout",
    [
        {},
        {"rowsperstrip": 5},
        {"rowsperstrip": 1, "compression": "zlib"},
        {"tile": (16, 32)},
        {"tile": (16, 16), "compression": "zlib"},
        {"rowsperstrip": 7, "compression": "zlib", "predictor": True},
        {"tile": (32, 16), "compression": "zlib", "predictor": True},
    ],
    ids=str,
)
def test_every_layout_of_a_grey_stack(tmp_path, rng, dtype, byteorder, layout):
    if layout.get("predictor") and dtype == "float32":
        pytest.skip("tifffile writes the float predictor only with the imagecodecs package")
    stack = values(rng, (3, 37, 41), dtype)
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, stack, byteorder=byteorder, photometric="minisblack", **layout)
    assert_reads_as(path, stack[:, None], rng)


@pytest.mark.parametrize("bigtiff", [False, True])
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("tile", [None, (16, 16)])
def test_samples_are_channels(tmp_path, rng, bigtiff, compression, planar, tile):
    stack = values(rng, (2, 3, 23, 19), "uint16")
    stored = stack if planar == "separate" else stack.transpose(0, 2, 3, 1)
    options = {"photometric": "rgb", "planarconfig": planar, "compression": compression, "tile": tile}
    tifffile.imwrite(tmp_path / "rgb.tif", stored, bigtiff=bigtiff, **options)
    assert_reads_as(tmp_path / "rgb.tif", stack, rng)


@pytest.mark.parametrize("kind", ["assocalpha", "unassalpha", "unspecified"])
def test_alpha_is_dropped_where_the_file_says_that_it_is_alpha(tmp_path, rng, kind):
    rgba = values(rng, (21, 17, 4), "uint8")
    tifffile.imwrite(tmp_path / "rgba.tif", rgba, photometric="rgb", extrasamples=[kind])
    kept = 4 if kind == "unspecified" else 3
    assert_reads_as(tmp_path / "rgba.tif", rgba.transpose(2, 0, 1)[None, :kept], rng)
    tifffile.imwrite(tmp_path / "grey.tif", rgba[..., :2], photometric="minisblack", extrasamples=[kind])
    kept = 2 if kind == "unspecified" else 1
    assert_reads_as(tmp_path / "grey.tif", rgba.transpose(2, 0, 1)[None, :kept], rng)


@pytest.mark.parametrize(
    ("compression", "predictor"),
    [("raw", 1), ("tiff_lzw", 1), ("tiff_lzw", 2), ("packbits", 1), ("tiff_adobe_deflate", 2), ("tiff_deflate", 1)],
)
@pytest.mark.parametrize("mode", ["L", "RGB", "I;16", "F"])
def test_what_libtiff_writes(tmp_path, rng, compression, predictor, mode):
    image = pytest.importorskip("PIL.Image")
    shape = (61, 53, 3) if mode == "RGB" else (61, 53)
    data = values(rng, shape, {"I;16": "uint16", "F": "float32"}.get(mode, "uint8"))
    noisy = rng.integers(0, 2**8, shape).astype(data.dtype)
    data[20:40] = noisy[20:40]  # so that tables of codes fill up
    options = {"tiffinfo": {317: predictor}} if predictor > 1 else {}
    image.fromarray(data).save(tmp_path / "x.tif", compression=compression, **options)
    with tifffile.TiffFile(tmp_path / "x.tif") as check:
        assert check.pages[0].predictor == predictor
    stack = data.transpose(2, 0, 1)[None] if mode == "RGB" else data[None, None]
    assert_reads_as(tmp_path / "x.tif", stack, rng)


def test_the_lzw_table_fills_up_and_starts_again(tmp_path, rng):
    """300 kB of noise in one strip: every code width, and the code that clears the table, many times."""
    image = pytest.importorskip("PIL.Image")
    data = rng.integers(0, 256, (600, 500), np.uint8)
    image.fromarray(data).save(tmp_path / "x.tif", compression="tiff_lzw", tiffinfo={278: 600})
    assert_reads_as(tmp_path / "x.tif", data[None, None], rng, windows=2)


@pytest.mark.parametrize(
    ("compression", "mode", "predictor"),
    [(name, *kind) for name in ("tiff_lzw", "tiff_adobe_deflate") for kind in (("L", 1), ("L", 2), ("F", 3))]
    + [("packbits", "L", 1)],
)
def test_reading_holds_no_more_than_it_says(tmp_path, rng, compression, mode, predictor):
    """One strip of a megabyte or more, a window of 5 x 5: what a plan of memory counts on."""
    image = pytest.importorskip("PIL.Image")
    data = rng.integers(0, 4, (1200, 900)).astype("f4" if mode == "F" else "u1")  # few values: strings of codes
    info = {278: 1200} | ({317: predictor} if predictor > 1 else {})
    image.fromarray(data).save(tmp_path / "x.tif", compression=compression, tiffinfo=info)
    with open_sections(tmp_path / "x.tif") as sections:
        tracemalloc.start()
        try:
            np.testing.assert_array_equal(sections[0].read(7, 9, 5, 5)[0], data[7:12, 9:14])
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        # 256 kB for what has one size whatever the strip: LZW's table, numpy's buffers, the modules' objects.
        assert peak <= sections.working_bytes + 2**18


def test_float_predictor_as_opencv_writes_it(tmp_path, rng):
    cv2 = pytest.importorskip("cv2", reason="opencv-python-headless writes the float predictor")
    data = rng.normal(size=(33, 29)).astype(np.float32)
    options = [cv2.IMWRITE_TIFF_COMPRESSION, 8, cv2.IMWRITE_TIFF_PREDICTOR, 3]
    assert cv2.imwrite(str(tmp_path / "x.tif"), data, options)
    with tifffile.TiffFile(tmp_path / "x.tif") as check:
        assert check.pages[0].predictor == 3
    assert_reads_as(tmp_path / "x.tif", data[None, None], rng)


def test_float_predictor_with_several_samples_by_hand():
    """Two pixels of two samples: the bytes in planes, high byte first, then differences two apart."""
    import zlib

    data = np.array([[[1.5, -2.0], [3.25, 1e-3]]], np.float32)  # (1 row, 2 columns, 2 samples)
    planes = np.frombuffer(data.astype(">f4").tobytes(), np.uint8).reshape(4, 4).T.ravel()
    differences = planes.copy()
    differences[2:] -= planes[:-2]
    stored = zlib.compress(differences.tobytes())
    np.testing.assert_array_equal(decode(8, stored, data.shape, np.dtype("<f4"), 3), data)


def test_packbits_example_of_apple():
    """The 24 bytes of technical note TN1023, packed into 15; the code 128, which it lacks, does nothing."""
    packed = bytes.fromhex("feaa0280002afdaa0380002a22f7aa")
    plain = bytes.fromhex("aaaaaa80002aaaaaaaaa80002a22aaaaaaaaaaaaaaaaaaaa")
    assert unpack_bits(packed, 24) == plain
    assert unpack_bits(b"\x80" + packed, 24) == plain
    assert unpack_bits(packed, 5) == plain[:5]


def test_damaged_lzw_is_a_value_error():
    with pytest.raises(ValueError, match="before its definition"):
        unlzw(bytes([0x80, 0x5F, 0xFF, 0xFF]), 100)  # clear, then a code that does not exist yet
    with pytest.raises(ValueError, match="1988"):
        unlzw(b"\0\1\2", 100)


def test_one_flipped_bit_in_a_deflate_strip_is_never_a_pixel(tmp_path, rng):
    """A stream that unfolds to more than its strip was cut there, before its checksum could say that it is damaged."""
    path = tmp_path / "x.tif"
    data = values(rng, (31, 27), "uint8")
    tifffile.imwrite(path, data, compression="zlib", photometric="minisblack")
    with tifffile.TiffFile(path) as check:
        (at,), (count,) = check.pages[0].dataoffsets, check.pages[0].databytecounts
    whole = path.read_bytes()
    for place in [*rng.integers(at, at + count, 60), at + count - 1]:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        with open_sections(path) as sections:
            try:
                got = sections[0].read(0, 0, 31, 27)
            except FormatError as error:
                assert "strip 0 cannot be read" in str(error)
            else:  # bits that mean nothing (the window size) may differ
                np.testing.assert_array_equal(got[0], data)


def test_a_deflate_segment_holds_neither_more_nor_less_than_its_pixels():
    import zlib

    stored, byte = zlib.compress(bytes(range(12))), np.dtype("u1")
    assert decode(8, stored + b"padding", (3, 4, 1), byte, 1).ravel().tolist() == list(range(12))
    for rows, data, reason in (
        (2, stored, "more than the 8 bytes expected"),
        (4, stored, "12 bytes where 16 were expected"),
        (3, stored[:-1], "stream ends before its checksum"),
    ):
        with pytest.raises(ValueError, match=reason):
            decode(8, data, (rows, 4, 1), byte, 1)


def test_where_zero_is_white_values_are_turned_round(tmp_path, rng):
    for dtype in ("uint8", "uint16"):
        data = values(rng, (1, 9, 11), dtype)
        tifffile.imwrite(tmp_path / "x.tif", data, photometric="miniswhite")
        assert_reads_as(tmp_path / "x.tif", np.iinfo(dtype).max - data[:, None], rng)
    tifffile.imwrite(tmp_path / "x.tif", data.astype("float32"), photometric="miniswhite")
    with pytest.raises(FormatError, match="0 is white, which has no meaning for float32"):
        open_sections(tmp_path / "x.tif")


@pytest.mark.parametrize("how", [{"imagej": True}, {"shaped": True}])
def test_many_pages_behind_one_directory(tmp_path, rng, how):
    """As ImageJ writes stacks beyond 4 GB."""
    stack = values(rng, (7, 12, 13), "uint16")
    path = tmp_path / "x.tif"
    with tifffile.TiffWriter(path, **how) as writer:
        writer.write(stack, photometric="minisblack", truncate=True, metadata={"axes": "ZYX"})
    with tifffile.TiffFile(path) as check:
        assert len(check.pages) == 1
    assert_reads_as(path, stack[:, None], rng)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(FormatError, match="truncated, its description counts 7 images of 312 bytes"):
        open_sections(path)


def test_reduced_copies_are_not_sections(tmp_path, rng):
    stack = values(rng, (2, 20, 24), "uint8")
    with tifffile.TiffWriter(tmp_path / "x.tif") as writer:
        for page in stack:
            writer.write(page, photometric="minisblack")
            writer.write(page[::2, ::2], photometric="minisblack", subfiletype=1)
    assert_reads_as(tmp_path / "x.tif", stack[:, None], rng)


def test_sections_must_agree(tmp_path):
    for other in (np.zeros((5, 8), np.uint8), np.zeros((5, 7), np.uint16)):
        with tifffile.TiffWriter(tmp_path / "x.tif") as writer:
            writer.write(np.zeros((5, 7), np.uint8))
            writer.write(other)
        with pytest.raises(FormatError, match=r"page 1 is 5 x .*, page 0 is 5 x 7 x 1 uint8"):
            open_sections(tmp_path / "x.tif")


def test_a_file_larger_than_memory_is_read_and_written_by_blocks(tmp_path, rng):
    """A BigTIFF with holes: 3 pages of 40000 x 30000, of which a block beyond 4 GB is written and read."""
    import shutil

    needed = 3 * 40_000 * 30_000 * 4
    if shutil.disk_usage(tmp_path).free < needed:
        pytest.skip(f"needs {needed:,} bytes of free disk, though it fills none")
    block = rng.normal(size=(1, 50, 60)).astype(np.float32)
    path = tmp_path / "big.tif"
    tracemalloc.start()
    output = create_output(path, 3, 1, 40_000, 30_000)
    output.write(2, None, 39_950, 29_940, block)
    output.write(0, 0, 0, 0, block[0])
    output._missing = 0  # the rest stays a hole
    output.close()
    with path.open("rb") as file:
        assert file.read(4) == b"II+\0"
    with open_sections(path) as sections:
        assert len(sections) == 3
        assert sections.working_bytes == 0
        np.testing.assert_array_equal(sections[2].read(39_950, 29_940, 50, 60), block)
        np.testing.assert_array_equal(sections[0].read(0, 0, 50, 60), block)
        assert not sections[1].read(20_000, 0, 3, 30_000).any()
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()
    with tifffile.TiffFile(path) as check:
        assert check.series[0].shape == (3, 1, 40_000, 30_000)


@pytest.mark.parametrize("sections", [1, 2])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_colours_are_written_as_colours(tmp_path, rng, sections, dtype):
    """Three grey pages would read back as three sections."""
    stack = rng.integers(0, 256, (sections, 3, 11, 7)).astype(dtype)
    with create_output(tmp_path / "x.tif", *stack.shape, dtype) as output:
        for section in reversed(range(sections)):
            output.write(section, None, 4, 0, stack[section, :, 4:])
            output.write(section, slice(0, 2), 0, 0, stack[section, :2, :4])
            output.write(section, 2, 0, 0, stack[section, 2, :4])
    assert_reads_as(tmp_path / "x.tif", stack, rng)
    with tifffile.TiffFile(tmp_path / "x.tif") as check:
        assert [page.photometric.name for page in check.pages] == ["RGB"] * sections
        np.testing.assert_array_equal(check.asarray().reshape(stack.shape), stack)


def test_small_files_are_classic_tiff(tmp_path):
    with create_output(tmp_path / "x.tif", 1, 1, 3, 4) as output:
        output.write(0, None, 0, 0, np.ones((1, 3, 4), np.float32))
    assert (tmp_path / "x.tif").read_bytes()[:4] == b"II*\0"


def test_what_is_decoded_is_remembered_within_a_limit(tmp_path, rng, monkeypatch):
    stack = values(rng, (4, 64, 64), "uint8")
    tifffile.imwrite(tmp_path / "x.tif", stack, tile=(16, 16), compression="zlib", photometric="minisblack")
    calls = []
    monkeypatch.setattr(tiff, "decode", lambda *a: calls.append(a) or decode(*a))
    with open_sections(tmp_path / "x.tif") as sections:
        for _ in range(3):
            sections[0].read(0, 0, 64, 64)
        assert len(calls) == 16
        sections[0].read(17, 17, 3, 3)
        assert len(calls) == 16
        # Sixteen tiles of 256 bytes, while decoding one stored, plain and as samples.
        assert 4 * 4096 <= sections.working_bytes <= 4 * 4096 + 3 * 300
    calls.clear()
    monkeypatch.setattr(tiff, "CACHE_BYTES", 1024)  # four tiles: a row of them, so that every pass decodes anew
    with open_sections(tmp_path / "x.tif") as sections:
        for _ in range(2):
            np.testing.assert_array_equal(sections[0].read(0, 0, 64, 64)[0], stack[0])
        assert len(calls) == 32


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_windows_may_be_read_from_several_threads(tmp_path, rng, compression, monkeypatch):
    stack = values(rng, (3, 90, 80), "uint16")
    tifffile.imwrite(tmp_path / "x.tif", stack, tile=(16, 16), compression=compression, photometric="minisblack")
    monkeypatch.setattr(tiff, "CACHE_BYTES", 2048)
    wrong = []
    often = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # so that threads meet between finding a place in the file and reading there
    with open_sections(tmp_path / "x.tif") as sections:

        def work(seed):
            own = np.random.default_rng(seed)
            for _ in range(60):
                s, y, x = own.integers(0, 3), own.integers(0, 60), own.integers(0, 50)
                if not np.array_equal(sections[s].read(y, x, 30, 30)[0], stack[s, y : y + 30, x : x + 30]):
                    wrong.append((s, y, x))

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    sys.setswitchinterval(often)
    assert not wrong


@pytest.mark.parametrize("name", ["ds1/test-raw.tif", "isbi2012/train-labels.tif", "partlabels/validation-images.tif"])
def test_real_stacks(data_dir, rng, name):
    stack = tifffile.imread(data_dir / name)
    assert_reads_as(data_dir / name, stack[:, None] if stack.ndim == 3 else stack.transpose(0, 3, 1, 2), rng, 3)
