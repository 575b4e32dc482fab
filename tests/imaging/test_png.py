"""PNG: what is read as what, and what a picture of a result looks like."""

import struct
import tracemalloc
import zlib

import numpy as np
import pytest

from fullmocha.errors import FormatError, ShapeError
from fullmocha.imaging import create_output, open_sections

image = pytest.importorskip("PIL.Image")


def read(path):
    with open_sections(path) as sections:
        assert len(sections) == 1
        return sections[0].read(0, 0, *sections[0].shape[1:])


def write(path, stack, dtype, cut=3):
    channels, height, width = stack.shape
    with create_output(path, 1, channels, height, width, dtype) as output:
        output.write(0, None, cut, 0, stack[:, cut:])
        for channel in range(channels):
            output.write(0, channel, 0, 0, stack[channel, :cut])


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize(
    ("mode", "channels", "kept"), [("L", 1, 1), ("LA", 2, 1), ("RGB", 3, 3), ("RGBA", 4, 3), ("I;16", 1, 1)]
)
def test_grey_colour_and_alpha(tmp_path, rng, mode, channels, kept, interlaced):
    dtype = np.uint16 if mode == "I;16" else np.uint8
    data = rng.integers(0, np.iinfo(dtype).max, (13, 9, channels), dtype, endpoint=True)
    picture = image.fromarray(data[..., 0] if channels == 1 else data)
    assert picture.mode == mode
    picture.save(tmp_path / "x.png", interlace=interlaced)
    got = read(tmp_path / "x.png")
    assert got.dtype == dtype
    np.testing.assert_array_equal(got, data.transpose(2, 0, 1)[:kept])  # alpha is dropped, colours stay as they are


@pytest.mark.parametrize(("channels", "dtype"), [(1, "uint8"), (3, "uint8"), (1, "uint16")])
def test_integers_are_written_as_they_are(tmp_path, rng, channels, dtype):
    stack = rng.integers(0, np.iinfo(dtype).max, (channels, 7, 11), dtype, endpoint=True)
    write(tmp_path / "x.png", stack, dtype)
    got = read(tmp_path / "x.png")
    assert got.dtype == stack.dtype
    np.testing.assert_array_equal(got, stack)


def test_probabilities_become_the_nearest_grey(tmp_path):
    write(tmp_path / "x.png", np.array([[[0, 1], [0.5, 0.499], [1.0004, -0.0004], [0.1, 0.9]]], np.float32), "float32")
    assert read(tmp_path / "x.png")[0].tolist() == [[0, 255], [128, 127], [255, 0], [26, 230]]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -0.5, 1.5])
def test_values_that_are_no_probabilities_are_refused(tmp_path, bad):
    stack = np.full((1, 4, 4), 0.5, np.float32)
    stack[0, 3, 2] = bad
    with pytest.raises(
        FormatError, match=r"probabilities in \[0, 1\], received values from .* write float32 to a .tif"
    ):
        write(tmp_path / "x.png", stack, "float32")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("sections", "channels", "dtype", "reason"),
    [
        (2, 1, "float32", "1 section, received 2; name a .tif"),
        (1, 2, "float32", r"1 class .* or 3 .*, received 2 .* keep one class"),
        (1, 3, "uint16", "received 3 of uint16"),
        (1, 1, "int32", "received int32; name a .tif"),
    ],
)
def test_what_does_not_fit_is_refused_at_once(tmp_path, sections, channels, dtype, reason):
    with pytest.raises((FormatError, ShapeError), match=reason):
        create_output(tmp_path / "x.png", sections, channels, 4, 5, dtype)
    assert not list(tmp_path.iterdir())


def png(width, height, bits, colour, data, extra=b""):
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("bits", "colour"), [(1, 0), (2, 0), (4, 0), (8, 3), (4, 3), (16, 2), (16, 4), (16, 6)])
def test_other_kinds_are_refused_by_name(tmp_path, bits, colour):
    (tmp_path / "x.png").write_bytes(png(2, 2, bits, colour, zlib.compress(bytes(100))))
    with pytest.raises(
        FormatError, match=f"colour type {colour} with {bits} bits, expected .* convert it to 8-bit grey"
    ):
        open_sections(tmp_path / "x.png")


def test_a_small_file_cannot_ask_for_a_lot_of_memory(tmp_path):
    (tmp_path / "x.png").write_bytes(png(100_000, 100_000, 8, 0, zlib.compress(bytes(1000))))
    with pytest.raises(FormatError, match="declares 100,000 x 100,000 pixels in 10,000,000,000 bytes, but"):
        open_sections(tmp_path / "x.png")


def test_a_large_picture_of_one_grey_is_read(tmp_path):
    """More than Pillow's own limit (179 megapixels raise there), in a file of 200 kB."""
    rows = zlib.compressobj()
    data = b"".join(rows.compress(bytes(20_001)) for _ in range(9_500)) + rows.flush()
    (tmp_path / "x.png").write_bytes(png(20_000, 9_500, 8, 0, data))
    with open_sections(tmp_path / "x.png") as sections:
        assert sections[0].shape == (1, 9_500, 20_000)
        assert not sections[0].read(9_400, 19_900, 100, 100).any()


def test_a_picture_that_is_in_memory_is_not_counted_again(tmp_path, rng):
    """Opening has decoded it; windows take nothing beyond themselves."""
    image.fromarray(rng.integers(0, 256, (700, 900), np.uint8)).save(tmp_path / "x.png")
    with open_sections(tmp_path / "x.png") as sections:
        tracemalloc.start()
        try:
            window = sections[0].read(5, 6, 300, 200)
            assert tracemalloc.get_traced_memory()[1] < window.nbytes + 2**13
        finally:
            tracemalloc.stop()
        assert sections.working_bytes == 0


def test_an_animation_is_refused(tmp_path):
    frames = [image.fromarray(np.full((4, 4), value, np.uint8)) for value in (0, 200)]
    frames[0].save(tmp_path / "x.png", save_all=True, append_images=frames[1:])
    with pytest.raises(FormatError, match="animation"):
        open_sections(tmp_path / "x.png")
