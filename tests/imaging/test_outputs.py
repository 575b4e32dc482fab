"""The promises that hold for every format that is written, and that all of them read back what they wrote."""

import itertools
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from fullmocha.errors import FormatError, ShapeError
from fullmocha.imaging import SUFFIXES, create_output, open_sections

STACKS = [
    (suffix, dtype)
    for suffix in sorted(set(SUFFIXES) - {".png"})
    for dtype in ("uint8", "int8", "uint16", "int16", "uint32", "float32", "float64")
]
SMALL = {"sections": 1, "channels": 1, "height": 4, "width": 5}


def random_stack(rng, shape, dtype):
    if np.dtype(dtype).kind == "f":
        return rng.normal(size=shape).astype(dtype)
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max, shape, dtype, endpoint=True)


def blocks(rng, shape, cut=4):
    """The whole of (S, C, H, W) as rectangles (section, channel or None, y, x, h, w), shuffled."""
    sections, channels, height, width = shape
    rows = sorted({0, height, *rng.integers(0, height, cut).tolist()})
    columns = sorted({0, width, *rng.integers(0, width, cut).tolist()})
    found = []
    for section in range(sections):
        for y, bottom in itertools.pairwise(rows):
            for x, right in itertools.pairwise(columns):
                split = rng.integers(3)
                wanted = [None] if split == 0 else range(channels) if split == 1 else [slice(0, 1), slice(1, None)]
                if channels == 1 and split == 2:
                    wanted = [slice(0, 1)]
                found += [(section, channel, y, x, bottom - y, right - x) for channel in wanted]
    rng.shuffle(found)
    return found


def read_all(path, **options):
    with open_sections(path, **options) as sections:
        return np.stack([section.read(0, 0, *section.shape[1:]) for section in sections])


@pytest.mark.parametrize(("suffix", "dtype"), STACKS)
@pytest.mark.parametrize("shape", [(2, 3, 13, 7), (3, 1, 5, 4), (1, 4, 3, 3), (1, 1, 1, 1)])
def test_blocks_in_any_order_are_read_back(tmp_path, rng, suffix, dtype, shape):
    stack = random_stack(rng, shape, dtype)
    path = tmp_path / f"out{suffix}"
    with create_output(path, *shape, dtype) as output:
        for section, channel, y, x, h, w in blocks(rng, shape):
            chosen = slice(None) if channel is None else channel
            output.write(section, channel, y, x, stack[section, chosen, y : y + h, x : x + w])
        assert not path.exists()  # not before it is whole
    got = read_all(path)
    assert got.dtype == stack.dtype
    np.testing.assert_array_equal(got.reshape(shape), stack)  # TIFF: section by section, then class
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("suffix", [".tif", ".h5"])
def test_any_window_equals_the_window_of_the_whole(tmp_path, rng, suffix):
    stack = random_stack(rng, (2, 1, 21, 17), "uint16")
    path = tmp_path / f"out{suffix}"
    with create_output(path, *stack.shape, "uint16") as output:
        for section in range(2):
            output.write(section, None, 0, 0, stack[section])
    with open_sections(path) as sections:
        for _ in range(100):
            y, x = rng.integers(0, 21), rng.integers(0, 17)
            h, w = rng.integers(1, 22 - y), rng.integers(1, 18 - x)
            for section, whole in zip(sections, stack, strict=True):
                np.testing.assert_array_equal(section.read(y, x, h, w), whole[:, y : y + h, x : x + w])


@pytest.mark.parametrize("suffix", sorted(SUFFIXES))
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_interrupted_result_leaves_nothing_and_keeps_the_old_one(tmp_path, suffix, error):
    path = tmp_path / f"out{suffix}"
    with create_output(path, **SMALL) as output:
        output.write(0, None, 0, 0, np.full((1, 4, 5), 0.5, np.float32))
    before = path.read_bytes()
    with pytest.raises(error), create_output(path, **SMALL) as output:
        output.write(0, None, 0, 0, np.zeros((1, 2, 5), np.float32))
        raise error
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("suffix", sorted(SUFFIXES))
def test_a_result_that_lacks_blocks_does_not_appear(tmp_path, suffix):
    output = create_output(tmp_path / f"out{suffix}", **SMALL)
    output.write(0, None, 0, 0, np.zeros((1, 3, 5), np.float32))
    with pytest.raises(FormatError, match="5 of 20 values never written"):
        output.close()
    assert os.listdir(tmp_path) == []
    output.close()  # a second time does no harm
    with pytest.raises(ShapeError, match="is closed"):
        output.write(0, None, 0, 0, np.zeros((1, 3, 5), np.float32))


@pytest.mark.parametrize("suffix", sorted(SUFFIXES))
def test_a_program_that_ends_without_closing_leaves_nothing(tmp_path, suffix):
    path = tmp_path / f"out{suffix}"
    code = f"""
import sys, numpy as np
from fullmocha.imaging import create_output
output = create_output({str(path)!r}, 1, 1, 4, 5)
output.write(0, None, 0, 0, np.zeros((1, 2, 5), np.float32))
sys.exit(3)
"""
    assert subprocess.run([sys.executable, "-c", code], cwd=Path.cwd()).returncode == 3
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("suffix", sorted(SUFFIXES))
def test_a_target_that_cannot_be_written_is_refused_before_any_work(tmp_path, suffix, monkeypatch):
    (tmp_path / "file").write_text("x")
    (tmp_path / f"folder{suffix}").mkdir()
    for name, reason in (
        (tmp_path / "missing" / f"out{suffix}", "does not exist; create it first"),
        (tmp_path / "file" / f"out{suffix}", "is not a folder"),
        (tmp_path / f"folder{suffix}", "it is a folder"),
        (Path(f"/proc/out{suffix}"), "cannot be written"),  # not even by root
    ):
        with pytest.raises(FormatError, match=reason) as caught:
            create_output(name, **SMALL)
        assert str(name) in str(caught.value)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(total=100, free=7))
    with pytest.raises(FormatError, match="bytes, but its disk has 7 left"):
        create_output(tmp_path / f"out{suffix}", **SMALL)
    assert sorted(os.listdir(tmp_path)) == ["file", f"folder{suffix}"]


def test_a_link_is_followed_and_the_usual_permissions_apply(tmp_path):
    (tmp_path / "real").mkdir()
    link = tmp_path / "out.tif"
    link.symlink_to(tmp_path / "real" / "target.tif")
    with create_output(link, **SMALL) as output:
        output.write(0, 0, 0, 0, np.ones((4, 5), np.float32))
    assert link.is_symlink()
    assert read_all(tmp_path / "real" / "target.tif").tolist() == np.ones((1, 1, 4, 5)).tolist()
    (tmp_path / "plain").write_text("")
    assert link.stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((2, None, 0, 0, (3, 4, 5)), "section 2"),
        ((-1, None, 3, 0, (3, 1, 5)), "section -1"),
        ((0, None, 1, 0, (3, 4, 5)), "row 1"),
        ((0, None, 0, -1, (3, 4, 5)), "column -1"),
        ((0, None, 0, 0, (2, 4, 5)), r"shape \(2, 4, 5\)"),
        ((0, 3, 0, 0, (4, 5)), "channels 3..3"),
        ((0, slice(0, 2), 0, 0, (3, 4, 5)), "channels 0..1"),
        ((0, slice(0, 3, 2), 0, 0, (2, 4, 5)), "consecutive"),
        ((0, None, 0, 0, (4, 5)), r"shape \(4, 5\)"),
        ((0, None, 0, 0, (3, 0, 5)), r"shape \(3, 0, 5\)"),
    ],
)
def test_a_block_that_does_not_fit_is_refused(tmp_path, arguments, reason):
    output = create_output(tmp_path / "out.tif", 2, 3, 4, 5)
    *place, shape = arguments
    with pytest.raises(ShapeError, match=reason):
        output.write(*place, np.zeros(shape, np.float32))
    output.discard()
    assert os.listdir(tmp_path) == []


def test_kinds_of_values_are_not_mixed_silently(tmp_path):
    output = create_output(tmp_path / "out.tif", **SMALL, dtype="uint8")
    with pytest.raises(ShapeError, match="block of float32 cannot be stored as uint8"):
        output.write(0, None, 0, 0, np.zeros((1, 4, 5), np.float32))
    output.discard()
    for dtype in ("complex64", "bool", "U3"):
        for suffix in SUFFIXES:
            with pytest.raises(FormatError, match="uint8"):
                create_output(tmp_path / f"out{suffix}", **SMALL, dtype=dtype)
    for name in ("out.jpg", "out", "out.h5x"):
        with pytest.raises(FormatError, match=r"use one of \.tif, "):
            create_output(tmp_path / name, **SMALL)
    with pytest.raises(ShapeError, match="width = 0"):
        create_output(tmp_path / "out.tif", 1, 1, 4, 0)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("suffix", [".tif", ".h5"])
def test_a_disk_that_fills_up_is_one_message(tmp_path, suffix):
    resource = pytest.importorskip("resource", reason="limits on file size exist on POSIX only")
    block = np.ones((1, 100, 100), np.float32)
    begun = create_output(tmp_path / f"begun{suffix}", 1, 1, 100, 100)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(FormatError, match="writing failed, File too large; nothing is left behind"), begun:
            begun.write(0, None, 0, 0, block)
        with pytest.raises(FormatError, match="cannot be written, File too large"):  # known before any work
            create_output(tmp_path / f"not_begun{suffix}", 1, 1, 100, 100)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, old)
    assert os.listdir(tmp_path) == []
