"""An output's bits depend on its own window alone: not on tiles, the batch, the place in the image, or the threads."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from fullmocha.backends.cpu import Ops
from fullmocha.backends.shapes import Window

from ..neurons import NEURONS

Draw = Callable[..., np.ndarray]
Conv = Callable[..., np.ndarray]

WINDOWS = [
    Window.of((5, 4), dilation=2),
    Window.of((3, 3), dilation=16),
    Window((2, 3), (2, 3), (0, 0), (1, 2)),
    Window.of((1, 1)),
]


def tiles(window: Window, size: tuple[int, int]) -> list[tuple[slice, slice, slice, slice]]:
    """Places of outputs, and the inputs behind them: narrow and wide ones, at the edges and between them."""
    (h, w), result = window.slides(size), []
    for top, left, rows, columns in [(0, 0, 1, w), (h // 2, w // 3, 3, 7), (h - 2, w - 5, 2, 5), (1, w - 1, h - 1, 1)]:
        box = [slice(top, top + rows), slice(left, left + columns)]
        reads = [
            slice(o.start * s, (o.stop - 1) * s + e) for o, s, e in zip(box, window.stride, window.extent, strict=True)
        ]
        result.append((*box, *reads))
    return result


@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_a_tile_has_the_bits_of_the_image(conv: Conv, draw: Draw, window: Window) -> None:
    """21 channels, so that sums take more than one block of terms; 11 maps, so that the last rows of a block are empty."""
    x, w, b = draw(2, 21, 61, 78), draw(11, 21, *window.kernel), draw(11)
    whole = conv(x, w, b, window)
    for rows, columns, read_rows, read_columns in tiles(window, x.shape[2:]):
        tile = conv(x[:, :, read_rows, read_columns], w, b, window)
        np.testing.assert_array_equal(tile, whole[:, :, rows, columns])


@pytest.mark.parametrize("images", [1, 5, 40])
def test_an_image_has_its_bits_in_every_batch(conv: Conv, draw: Draw, images: int) -> None:
    """Of 40 small images the vectors run over the batch, of one or five along the rows."""
    x, w, b = draw(40, 13, 9, 8), draw(6, 13, 5, 5), draw(6)
    window = Window.of((5, 5), pad=1)
    np.testing.assert_array_equal(conv(x[:images], w, b, window), conv(x, w, b, window)[:images])


def test_an_inner_product_has_its_bits_in_every_batch(conv: Conv, draw: Draw) -> None:
    x, w, b = draw(50, 700, 1, 1), draw(33, 700, 1, 1), draw(33)
    whole = conv(x, w, b, Window.of((1, 1)))
    for n in (0, 49):
        np.testing.assert_array_equal(conv(x[n : n + 1], w, b, Window.of((1, 1))), whole[n : n + 1])


def test_fragments_have_the_bits_of_the_dilated_map(ops: Ops, conv: Conv, draw: Draw) -> None:
    x, w, b = draw(1, 30, 40, 40), draw(9, 30, 3, 3), draw(9)
    parts = np.empty((16, 30, 10, 10), x.dtype)
    ops.fragment(x, parts, strides=((2, 2), (2, 2)))
    split = conv(parts, w, b, Window.of((3, 3)))
    whole = np.empty((1, 9, 32, 32), x.dtype)
    ops.stitch(split, whole, strides=((2, 2), (2, 2)))
    np.testing.assert_array_equal(whole, conv(x, w, b, Window.of((3, 3), dilation=4)))


@pytest.mark.parametrize("stride", [1, 2])
def test_deconvolution_in_tiles(ops: Ops, draw: Draw, stride: int) -> None:
    """Output tiles whose every term lies inside the tile of inputs."""
    window = Window.of((4, 4), stride=stride)
    x, w, b = draw(1, 40, 20, 43), draw(40, 5, 4, 4), draw(5)

    def spread(x: np.ndarray) -> np.ndarray:
        y = np.empty((1, 5, *window.spread(x.shape[2:])), x.dtype)
        ops.deconv(np.ascontiguousarray(x), w, b, y, window=window, group=1)
        return y

    whole, tile = spread(x), spread(x[:, :, 3:15, 4:36])
    inner = whole[:, :, 3 * stride + 3 : 14 * stride + 1, 4 * stride + 3 : 35 * stride + 1]
    np.testing.assert_array_equal(tile[:, :, 3 : 11 * stride + 1, 3 : 31 * stride + 1], inner)


ELEMENTWISE: list[tuple[str, dict[str, Any]]] = [
    *[("activate", {"kind": kind, "parameters": parameters}) for kind, parameters in NEURONS],
    ("softmax", {"axis": 1}),
]


@pytest.mark.parametrize(("op", "options"), ELEMENTWISE, ids=[f"{op}-{o.get('kind')}" for op, o in ELEMENTWISE])
def test_pixels_by_themselves(ops: Ops, draw: Draw, op: str, options: dict[str, Any]) -> None:
    """Every column alone: what is a vector's body in the row is an edge here."""
    x = draw(1, 3, 2, 37)
    whole = np.empty_like(x)
    getattr(ops, op)(x, whole, **options)
    for column in range(37):
        alone = np.empty((1, 3, 2, 1), x.dtype)
        getattr(ops, op)(np.ascontiguousarray(x[..., column : column + 1]), alone, **options)
        np.testing.assert_array_equal(alone, whole[..., column : column + 1])


@pytest.mark.parametrize("stride", [1, 2])
def test_mean_pool_in_tiles(ops: Ops, draw: Draw, stride: int) -> None:
    window = Window.of((3, 2), stride=stride, dilation=2)
    x = draw(2, 3, 33, 50)

    def mean(x: np.ndarray) -> np.ndarray:
        y = np.empty((*x.shape[:2], *window.slides(x.shape[2:])), x.dtype)
        ops.mean_pool(np.ascontiguousarray(x), y, window=window, clip_divisor=False)
        return y

    whole = mean(x)
    for rows, columns, read_rows, read_columns in tiles(window, x.shape[2:]):
        np.testing.assert_array_equal(mean(x[:, :, read_rows, read_columns]), whole[:, :, rows, columns])


def all_ops(ops: Ops, draw: Draw) -> list[Any]:
    """The result of everything that works in parallel and adds, on arrays large enough for several threads."""
    window = Window((3, 4), (1, 2), (1, 1), (2, 1))
    x, w, b, y = draw(3, 12, 80, 101), draw(14, 12, 3, 4), draw(14), draw(3, 14, 78, 50)
    assert window.slides(x.shape[2:]) == y.shape[2:]
    results: list[Any] = [y.copy()]
    ops.conv(x, w, b, results[0], window=window, group=1)
    dx, dw, db = np.zeros_like(x), np.zeros_like(w), np.zeros_like(b)
    ops.conv_backward(y, x, w, dx, dw, db, window=window, group=1)
    small = [np.zeros_like(x), np.zeros_like(y), np.zeros_like(w)]
    ops.deconv(y, w, None, small[0], window=window, group=1)
    ops.deconv_backward(x, y, w, small[1], small[2], None, window=window, group=1)
    pool, pooled = Window.of((2, 3), stride=2), np.empty((3, 12, 40, 50), x.dtype)
    dpool = [np.zeros_like(x), np.zeros_like(x)]
    ops.mean_pool(x, pooled, window=pool, clip_divisor=False)
    ops.max_pool_backward(pooled, x, dpool[0], window=pool)
    ops.mean_pool_backward(pooled, dpool[1], window=pool, clip_divisor=False)
    p = np.empty_like(x)
    ops.softmax(x, p, axis=1)
    label = np.abs(np.rint(3 * x[:, :1])).astype(x.dtype) % 12
    losses = ops.cross_entropy(p, label, axis=1, ignore=3, floor=1e-20)
    hits = ops.count_hits(p, label, axis=1, ignore=3, top_k=2)
    clipped = w.copy()
    ops.clip_norm(clipped, limit=5.0)
    return [*results, dx, dw, db, *small, pooled, *dpool, p, clipped, losses, hits]


def test_any_number_of_threads(ops: Ops, dtype: np.dtype) -> None:
    """Gradients and sums over pixels too; and every plan is the same."""
    answers = []
    for count in (1, 2, None):
        ops.set_threads(count)
        rng = np.random.default_rng(1)
        answers.append(all_ops(ops, lambda *shape, rng=rng: rng.normal(size=shape).astype(dtype)))
    for other in answers[1:]:
        for a, b in zip(answers[0], other, strict=True):
            np.testing.assert_array_equal(a, b)
