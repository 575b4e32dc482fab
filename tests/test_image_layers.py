"""Layers that deliver images: pixels as OpenCV gives them, Caffe's transformation by hand, order, and places to resume from."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import fullmocha as fm
from fullmocha.backend import ReferenceBackend
from fullmocha.datum import decode_datum, encode_datum
from fullmocha.layers.images import decode, resize
from fullmocha.solvers.place import go_to_place, take_place


def pictures(folder: Path, count: int, shape: tuple[int, ...] = (9, 7, 3), kind: str = "png") -> list[np.ndarray]:
    """Images of random pixels, and list.txt that gives image i the label 10 i; as (C, h, w), blue first."""
    rng = np.random.default_rng(1)
    arrays = [rng.integers(0, 256, shape).astype(np.uint8) for _ in range(count)]
    lines = []
    for i, array in enumerate(arrays):
        Image.fromarray(array).save(folder / f"image {i}.{kind}")
        lines.append(f"{folder}/image {i}.{kind} {10 * i}\n")
    (folder / "list.txt").write_text("".join(lines))
    return [a[:, :, ::-1].transpose(2, 0, 1) if a.ndim == 3 else a[None] for a in arrays]


def listed(folder: Path, **fields: Any) -> fm.ImageDataLayer:
    return fm.ImageDataLayer(source=folder / "list.txt", **{"batch_size": 2} | fields)


def stored(folder: Path, samples: list[bytes]) -> Path:
    lmdb = pytest.importorskip("lmdb")
    folder.mkdir(exist_ok=True)
    with lmdb.open(str(folder / "db"), map_size=2**20) as env, env.begin(write=True) as transaction:
        for i, sample in enumerate(samples):
            transaction.put(f"{i:08d}".encode(), sample)
    return folder / "db"


def run(layer: Any, batches: int, seed: int = 0) -> tuple[fm.Net, list[np.ndarray], list[list[float]], list[int]]:
    """The net, and of each batch its images, its labels, and the epoch after it."""
    net = fm.Net("n", ReferenceBackend(seed), [layer])
    images, labels, epochs = [], [], []
    for _ in range(batches):
        net.forward()
        images.append(net.output_blobs["data"].data.copy())
        labels.append(net.output_blobs["label"].data.tolist())
        epochs.append(net.get_epoch())
    return net, images, labels, epochs


# ---------------------------------------------------------------------------------------------------------------- pixels
@pytest.mark.parametrize("kind", ["png", "bmp", "tif", "jpg"])
@pytest.mark.parametrize("flag", ["color", "grey"])
def test_pixels_are_opencvs(tmp_path: Path, kind: str, flag: Any) -> None:
    """Colour becomes grey by the same weights, rounded otherwise (1); JPEG's colours pass through other rounding (a few levels)."""
    cv2 = pytest.importorskip("cv2")
    smooth = np.add.outer(np.arange(16) * 9, np.arange(24) * 4)[:, :, None] + np.array([0, 30, 7])
    for array in (smooth.clip(0, 255).astype(np.uint8), smooth[:, :, 0].clip(0, 255).astype(np.uint8)):
        path = str(tmp_path / f"a.{kind}")
        Image.fromarray(array).save(path)
        theirs = cv2.imread(path, cv2.IMREAD_COLOR if flag == "color" else cv2.IMREAD_GRAYSCALE)
        theirs = theirs.transpose(2, 0, 1) if theirs.ndim == 3 else theirs[None]
        ours = decode(path, path, flag)
        assert ours.shape == theirs.shape and ours.dtype == np.uint8
        exact = kind != "jpg" and (flag == "color" or array.ndim == 2)
        assert np.abs(ours.astype(int) - theirs).max() <= (0 if exact else 3 if kind == "jpg" else 1)


def test_sixteen_bits_keep_the_upper_byte(tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    deep = np.random.default_rng(0).integers(0, 65536, (5, 6)).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    for flag, mode in (("grey", cv2.IMREAD_GRAYSCALE), ("color", cv2.IMREAD_COLOR)):
        theirs = cv2.imread(str(tmp_path / "deep.png"), mode)
        ours = decode(tmp_path / "deep.png", "deep", flag)  # type: ignore[arg-type]
        np.testing.assert_array_equal(ours, theirs[None] if theirs.ndim == 2 else theirs.transpose(2, 0, 1))
        np.testing.assert_array_equal(ours[0], deep >> 8)


@pytest.mark.parametrize("size", [(5, 9), (13, 4), (37, 50), (7, 11), (14, 22), (3, 3)])
def test_resizing_is_opencvs(size: tuple[int, int], rng: np.random.Generator) -> None:
    """Within a level, for OpenCV computes in fixed point; pillow's averages over what it shrinks, and is far away."""
    cv2 = pytest.importorskip("cv2")
    image = rng.integers(0, 256, (3, 14, 22)).astype(np.uint8)
    ours = resize(image, *size)
    theirs = cv2.resize(image.transpose(1, 2, 0), size[::-1], interpolation=cv2.INTER_LINEAR).transpose(2, 0, 1)
    off = ours.astype(int) - theirs
    assert ours.shape == theirs.shape and np.abs(off).max() <= 1
    assert abs(off.mean()) < 0.2  # cut instead of rounded it would be a half
    if size == (3, 3):
        pillows = np.asarray(Image.fromarray(image[0]).resize(size[::-1], Image.Resampling.BILINEAR))
        assert np.abs(pillows.astype(int) - theirs[0]).max() > 10


# ------------------------------------------------------------------------------------------------------------- ImageData
def test_images_in_their_order_with_labels(tmp_path: Path) -> None:
    arrays = pictures(tmp_path, 3)
    _, images, labels, epochs = run(listed(tmp_path), 3)
    want = np.stack(arrays)[[0, 1, 2, 0, 1, 2]].reshape(3, 2, 3, 9, 7)
    np.testing.assert_array_equal(images, want)
    assert labels == [[0, 10], [20, 0], [10, 20]] and epochs == [0, 1, 2]


def test_the_transformation_by_hand(tmp_path: Path) -> None:
    arrays = pictures(tmp_path, 2)
    mean = np.random.default_rng(9).random((3, 9, 7))
    steps = [("data", fm.DataTransformers.SubMean(mean_blob=mean)), ("data", fm.DataTransformers.Scale(0.5))]
    net, images, _, _ = run(listed(tmp_path, crop_size=4, transformers=steps), 1)
    want = (np.stack(arrays) - mean)[:, :, 2:6, 1:5] / 2  # rows (9 - 4) // 2, columns (7 - 4) // 2
    np.testing.assert_allclose(images[0], want, rtol=1e-6, atol=1e-5)  # float32 of numbers up to 128
    assert net.output_blobs["data"].shape == (2, 3, 4, 4)


def test_crops_lie_anywhere_and_half_are_mirrored(tmp_path: Path) -> None:
    (image,) = pictures(tmp_path, 1)
    _, images, _, _ = run(listed(tmp_path, batch_size=64, crop_size=5, crop="random", mirror=True), 4)
    seen: dict[tuple[int, int, bool], int] = {}
    for crop in np.concatenate(images):
        places = [
            (y, x, m)
            for y in range(5)
            for x in range(3)
            for m in (False, True)
            if np.array_equal(crop[:, :, ::-1] if m else crop, image[:, y : y + 5, x : x + 5])
        ]
        assert len(places) == 1
        seen[places[0]] = seen.get(places[0], 0) + 1
    assert len(seen) == 30  # each is missed with probability (29 / 30) ** 256, 1.7e-4; the seed is fixed
    assert 96 < sum(n for (_, _, m), n in seen.items() if m) < 160  # 128, standard deviation 8


def test_sizes_may_differ_where_a_crop_makes_them_equal(tmp_path: Path) -> None:
    pictures(tmp_path, 2)
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(tmp_path / "image 1.png")
    _, images, _, _ = run(listed(tmp_path, crop_size=6), 1)
    assert images[0].shape == (2, 3, 6, 6) and not images[0][1].any()
    with pytest.raises(
        fm.FormatError, match=r"image 1\.png \(image 2 of .*list\.txt\) is \(3, 20, 30\) .*first image \(3, 9, 7\)"
    ):
        run(listed(tmp_path), 1)
    _, images, _, _ = run(listed(tmp_path, new_height=4, new_width=5), 1)
    assert images[0].shape == (2, 3, 4, 5)


@pytest.mark.parametrize("database", [False, True])
def test_a_training_goes_on_from_its_place(tmp_path: Path, database: bool) -> None:
    arrays = pictures(tmp_path, 5)
    how: dict[str, Any] = {"crop_size": 5, "crop": "random", "mirror": True, "rand_skip": 4, "batch_size": 3}
    layer: Any = listed(tmp_path, shuffle=True, **how)
    if database:
        layer = fm.DataLayer(source=stored(tmp_path, [encode_datum(a, i) for i, a in enumerate(arrays)]), **how)
    net, _, _, _ = run(layer, 3)
    place = take_place(net)
    after = [
        (net.forward(), net.output_blobs["data"].data.copy(), net.output_blobs["label"].data.copy()) for _ in range(4)
    ]
    again = fm.Net("n", ReferenceBackend(77), [layer])
    go_to_place(again, place)
    for _, image, label in after:
        again.forward()
        np.testing.assert_array_equal(again.output_blobs["data"].data, image)
        np.testing.assert_array_equal(again.output_blobs["label"].data, label)
    assert again.get_epoch() == net.get_epoch()


def test_shuffled_epochs_have_every_image_once(tmp_path: Path) -> None:
    pictures(tmp_path, 6)
    _, _, labels, _ = run(listed(tmp_path, shuffle=True, batch_size=3), 6)
    orders = [labels[i] + labels[i + 1] for i in (0, 2, 4)]
    assert all(sorted(order) == [0, 10, 20, 30, 40, 50] for order in orders) and len(set(map(tuple, orders))) == 3


def test_a_random_start(tmp_path: Path) -> None:
    pictures(tmp_path, 6)
    starts = {run(listed(tmp_path, rand_skip=3), 1, seed)[2][0][0] for seed in range(40)}
    assert starts == {0, 10, 20}  # below rand_skip


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("image 0.png", r"list\.txt:2: expected 'path label', label an integer; found 'image 0\.png'"),
        ("7", r"list\.txt:2: expected 'path label'; found the label 7 alone"),
        ("a.png 1.5", r"list\.txt:2: expected 'path label', label an integer"),
    ],
)
def test_lines_that_are_none(tmp_path: Path, line: str, message: str) -> None:
    pictures(tmp_path, 1)
    with open(tmp_path / "list.txt", "a") as file:
        file.write(line + "\n")
    with pytest.raises(fm.FormatError, match=message):
        listed(tmp_path)


def test_images_that_are_none(tmp_path: Path) -> None:
    pictures(tmp_path, 3)
    (tmp_path / "image 1.png").write_bytes((tmp_path / "image 1.png").read_bytes()[:60])
    (tmp_path / "image 2.png").unlink()
    with pytest.raises(fm.FormatError, match=r"image 1\.png \(image 2 of .*list\.txt\): cannot be read as an image"):
        run(listed(tmp_path), 1)
    with pytest.raises(fm.FormatError, match=r"image 2\.png \(image 3 of .*list\.txt\): does not exist; .*root_folder"):
        run(listed(tmp_path, batch_size=1, rand_skip=3), 1, seed=2)
    (tmp_path / "list.txt").write_text("\n")
    with pytest.raises(fm.FormatError, match=r"list\.txt: lists no images"):
        listed(tmp_path)


# ------------------------------------------------------------------------------------------------------------------ Data
def test_samples_in_bytes_in_floats_and_compressed(tmp_path: Path, rng: np.random.Generator) -> None:
    pixels = rng.integers(0, 256, (3, 5, 4)).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels.transpose(1, 2, 0)[:, :, ::-1]).save(file, "png")
    floats = rng.normal(size=(3, 5, 4)).astype(np.float32)
    assert 128 <= len(file.getvalue()) < 2**14  # a length of two bytes
    length = bytes([len(file.getvalue()) & 127 | 128, len(file.getvalue()) >> 7])
    compressed = b"\x22" + length + file.getvalue() + b"\x28\x09\x38\x01"  # data, label 9, encoded true
    source = stored(tmp_path, [encode_datum(pixels, 3), encode_datum(floats, 2**31 - 1), compressed])
    _, images, labels, epochs = run(fm.DataLayer(source=source, batch_size=3), 2)
    for batch in images:
        np.testing.assert_array_equal(batch, np.stack([pixels, floats, pixels]))
    assert labels == [[3, 2.0**31, 9]] * 2 and epochs == [1, 2]
    _, images, _, _ = run(fm.DataLayer(source=stored(tmp_path / "other", [compressed]), force_gray=True), 1)
    b, g, r = pixels.astype(float)
    assert images[0].shape == (1, 1, 5, 4) and np.abs(images[0][0, 0] - (0.299 * r + 0.587 * g + 0.114 * b)).max() < 1


def test_the_bytes_of_a_datum() -> None:
    """By Caffe's schema: channels, height, width, data, label, and float_data are fields 1 to 6."""
    said = encode_datum(np.array([[[7, 9]]], np.uint8), 3)
    assert said == b"\x08\x01\x10\x01\x18\x02\x22\x02\x07\x09\x28\x03"
    said = encode_datum(np.array([[[1.0]]], np.float32), 0)
    assert said == b"\x08\x01\x10\x01\x18\x01\x28\x00\x35\x00\x00\x80\x3f"


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        (b"\xff\xff", "is no Datum of Caffe's"),
        (encode_datum(np.zeros((1, 2, 3), np.uint8), 0)[:-3] + b"", "is no Datum of Caffe's"),
        (b"\x08\x02\x10\x02\x18\x02\x22\x03abc", r"has shape \(2, 2, 2\) .* but holds 3 values"),
        (b"", r"has shape \(0, 0, 0\)"),
        (b"\x22\x03abc\x38\x01", "cannot be read as an image"),
    ],
)
def test_samples_that_are_none(tmp_path: Path, sample: bytes, message: str) -> None:
    good = encode_datum(np.zeros((1, 2, 3), np.uint8), 0)
    layer = fm.DataLayer(source=stored(tmp_path, [good, sample]), batch_size=2)
    with pytest.raises(
        fm.FormatError, match=r"db: the sample '00000001' .*" + message + "|db: the sample '00000001': " + message
    ):
        run(layer, 1)


def test_databases_that_are_none(tmp_path: Path) -> None:
    pytest.importorskip("lmdb")
    (tmp_path / "data.mdb").write_bytes(b"no database" * 999)
    with pytest.raises(fm.FormatError, match="cannot be read as an LMDB database"):
        fm.DataLayer(source=tmp_path)
    with pytest.raises(fm.FormatError, match=r"data \(DataLayer\) reads an LMDB database, a folder with data\.mdb"):
        fm.DataLayer(source=tmp_path / "none")
    with pytest.raises(fm.FormatError, match="the database is empty"):
        fm.DataLayer(source=stored(tmp_path / "other", []))


def test_without_lmdb_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "lmdb", None)
    with pytest.raises(fm.UnsupportedError, match=r"pip install fullmocha\[lmdb\]"):
        fm.DataLayer(source=tmp_path)


def test_a_datum_that_is_encoded_is_decoded(rng: np.random.Generator) -> None:
    for pixels in (rng.integers(0, 256, (2, 3, 5)).astype(np.uint8), rng.normal(size=(1, 2, 7)).astype(np.float32)):
        datum = decode_datum(encode_datum(pixels, 5), "it")
        assert datum.pixels is not None and datum.label == 5
        np.testing.assert_array_equal(datum.pixels, pixels)
        assert datum.pixels.dtype == pixels.dtype


def test_a_huge_image_in_a_few_bytes_takes_no_memory() -> None:
    file = io.BytesIO()
    Image.fromarray(np.zeros((2, 2), np.uint8)).save(file, "bmp")
    raw = bytearray(file.getvalue())
    raw[18:26] = (12_000).to_bytes(4, "little") * 2  # its width and height
    with pytest.raises(fm.FormatError, match=r"it: claims 12000 x 12000 pixels in \d+ bytes; the file is corrupt"):
        decode(io.BytesIO(bytes(raw)), "it", "grey")


def test_mutilated_images_are_refused_or_read(rng: np.random.Generator) -> None:
    """Whatever pillow makes of them: no other exception, no warning."""
    picture = Image.fromarray(rng.integers(0, 256, (9, 7, 3)).astype(np.uint8))
    refused = 0
    for kind in ("bmp", "jpeg", "png", "ppm", "tiff", "webp"):
        file = io.BytesIO()
        picture.save(file, kind)
        for _ in range(100):
            raw = bytearray(file.getvalue())
            for _ in range(rng.integers(1, 5)):
                raw[rng.integers(len(raw))] = rng.integers(256)
            try:
                decode(io.BytesIO(bytes(raw[: rng.integers(10, 2 * len(raw))])), "it", "color")
            except fm.FormatError as error:
                assert str(error).startswith("it: ")
                refused += 1
    assert refused > 100
