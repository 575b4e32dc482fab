"""predict: borders, tiles, budgets. On the reference the answer does not depend on the tiling at all."""

from itertools import pairwise

import numpy as np
import pytest
from fullmocha.backends.program import Value
from hypothesis import given, settings
from hypothesis import strategies as st

import fullmocha as fm
from fullmocha.labelling import Labelling, plan_labelling
from fullmocha.memory import parse_bytes, resident
from fullmocha.models import n4, u
from fullmocha.plan import Tile, TilePlan, _lives, cut, lay_out

from .strategies import PatchNet, patch_nets


def small_net(patch: int = 20, channels: int = 1, transformers: tuple = ()) -> fm.Net:
    data = fm.MemoryDataLayer(
        batch_size=1, tops=["data"], data=[np.zeros((1, channels, patch, patch), np.float32)], transformers=transformers
    )
    layers = [
        data,
        fm.ConvolutionLayer(name="c1", bottoms=["data"], tops=["c1"], kernel=3, n_filter=4, neuron=fm.Neurons.ReLU()),
        fm.PoolingLayer(name="p1", bottoms=["c1"], tops=["p1"], kernel=2, stride=2),
        fm.ConvolutionLayer(name="c2", bottoms=["p1"], tops=["c2"], kernel=2, n_filter=4, neuron=fm.Neurons.ReLU()),
        fm.PoolingLayer(name="p2", bottoms=["c2"], tops=["p2"], kernel=2, stride=2),
        fm.InnerProductLayer(name="ip", bottoms=["p2"], tops=["ip"], output_dim=3),
        fm.SoftmaxLayer(name="prob", bottoms=["ip"], tops=["prob"]),
    ]
    net = fm.Net("small", fm.ReferenceBackend(4), layers)
    net.init()
    return net


def label_in_tiles(dense: fm.DenseNet, image: np.ndarray, border: str, tile: tuple[int, int]) -> np.ndarray:
    """The answer through tiles of a given size, whatever the planner would choose."""
    job = plan_labelling(dense, image.shape, border)
    rows, columns = (cut(n, -(-n // t), a) for n, t, a in zip(job.outputs, tile, dense.align, strict=True))
    tiles = tuple(Tile(y, x, (h, w), dense.fit((h, w))) for y, h in rows for x, w in columns)
    plans = {}
    for t in tiles:
        program = dense.program((1, dense.channels, *(n + v for n, v in zip(t.windows, dense.context, strict=True))))
        plans[t.windows] = program, lay_out(dense.backend.ops, program)
    plan = TilePlan(tiles, job.outputs, 0, 0, 0.0, plans)
    answer = np.full((dense.classes, *job.outputs), np.nan, np.float32)
    for t, block in Labelling(dense, job.image, border, 0, plan).blocks(image):
        answer[:, t.y : t.y + t.keep[0], t.x : t.x + t.keep[1]] = block
    return answer


@pytest.mark.parametrize("border", ["symmetric", "reflect", "zero", "valid"])
def test_every_pixel_is_its_window(border: str, rng: np.random.Generator) -> None:
    net = small_net(21 - 1)  # even patch: 10 before, 9 after
    image = rng.integers(0, 255, (23, 31)).astype(np.uint8)
    answer = fm.predict(net, image, border)
    assert answer.dtype == np.float32
    modes = {"zero": "constant", "valid": None}
    mode = modes.get(border, border)
    bordered = image if mode is None else np.pad(image, [(10, 9), (10, 9)], mode=mode)
    windows = np.lib.stride_tricks.sliding_window_view(bordered.astype(np.float32), (20, 20))
    assert answer.shape == (3, *windows.shape[:2]) == (3, *((23, 31) if mode else (4, 12)))
    for y, x in [(0, 0), (3, 11), (windows.shape[0] - 1, windows.shape[1] - 1)]:
        net.forward({"data": windows[y, x][None, None]})
        np.testing.assert_array_equal(answer[:, y, x], net.output_blobs["prob"].data[0])


def test_odd_context_has_the_longer_half_before() -> None:
    """The report's border for a patch of 102: 51 before, 50 after."""
    net = fm.Net("n", "reference", small_net(20).layers)
    net.init()
    assert fm.densify(net).context == (19, 19)
    image = np.zeros((30, 30), np.float32)
    image[0, 0] = 1
    changed = np.argwhere((fm.predict(net, image, "zero") != fm.predict(net, image * 0, "zero")).any(0))
    assert changed.max() <= 10  # pixel (0, 0) lies in windows of outputs up to 10 rows below it


@settings(max_examples=25, deadline=None)
@given(patch_nets(3), st.tuples(st.integers(1, 9), st.integers(1, 9)), st.sampled_from(["strided", "fragments"]))
def test_tiles_change_nothing(spec: PatchNet, tile: tuple[int, int], engine: str) -> None:
    net = fm.Net("random", fm.ReferenceBackend(1), spec.layers)
    net.init()
    image = np.random.default_rng(3).normal(size=(spec.channels, 11, 14)).astype(np.float32)
    dense = fm.densify(net, engine)
    np.testing.assert_array_equal(label_in_tiles(dense, image, "symmetric", tile), fm.predict(dense, image))


def test_u_net_in_tiles_is_the_net_on_the_whole_image(rng: np.random.Generator) -> None:
    """U is equivariant to shifts by 16 only: tiles start at multiples of 16, and the image is padded to be in step."""
    net = fm.Net("u", fm.ReferenceBackend(2), u(maps=2))
    net.init()
    dense = fm.densify(net)
    assert (dense.align, dense.context, dense.tileable) == ((16, 16), (184, 184), True)
    image = rng.normal(size=(3, 37, 50)).astype(np.float32)
    whole = fm.predict(dense, image)
    assert whole.shape == (2, 37, 50)
    bordered = np.pad(image, [(0, 0), (92, 92 + 15), (92, 92 + 2)], mode="symmetric")  # 52 = 4 + 3 * 16 outputs, twice
    np.testing.assert_array_equal(net_forward(net, bordered)[:, :37, :50], whole)
    np.testing.assert_array_equal(label_in_tiles(dense, image, "symmetric", (20, 17)), whole)


def net_forward(net: fm.Net, image: np.ndarray) -> np.ndarray:
    net.forward({"data": image[None]})
    return net.output_blobs["prob"].data[0]


def test_a_padded_net_is_never_cut(rng: np.random.Generator) -> None:
    layers = [fm.InputLayer(tops=["data"], shapes=[(1, 1, 9, 9)])]
    layers += [fm.ConvolutionLayer(name="c", bottoms=["data"], tops=["c"], kernel=3, pad=1, n_filter=2)]
    net = fm.Net("same", "reference", layers)
    net.init()
    image = rng.normal(size=(1, 14, 11)).astype(np.float32)
    assert not fm.densify(net).tileable
    np.testing.assert_array_equal(fm.predict(net, image), net_forward_of(net, image, "c"))
    with pytest.raises(fm.BudgetError, match="the whole image at once"):
        fm.predict(net, image, memory="1MB")


def net_forward_of(net: fm.Net, image: np.ndarray, blob: str) -> np.ndarray:
    net.forward({"data": image[None]})
    return net.output_blobs[blob].data[0]


def test_the_data_layers_scale_and_mean_are_applied(rng: np.random.Generator) -> None:
    changes = (
        ("data", fm.DataTransformers.SubMean(mean_blob=np.array([100.0]))),
        ("data", fm.DataTransformers.Scale(1 / 128)),
    )
    image = rng.integers(0, 255, (25, 22)).astype(np.uint8)
    plain = small_net()
    changed = small_net(transformers=changes)
    expected = fm.predict(plain, (image.astype(np.float32) - 100) / 128)
    np.testing.assert_array_equal(fm.predict(changed, image), expected)
    assert np.abs(fm.predict(plain, image) - expected).max() > 0


def test_a_smaller_budget_means_more_tiles_and_the_same_answer(rng: np.random.Generator) -> None:
    net = fm.Net("n4", fm.ReferenceBackend(0), n4(4, 8))
    net.init()
    dense = fm.densify(net)
    image = rng.normal(size=(1, 90, 81)).astype(np.float32)
    whole = plan_labelling(dense, image.shape, memory="100GB")
    assert whole.plan.grid == (1, 1)
    budget = resident() + (whole.plan.peak - resident()) * 2 // 3
    tiled = plan_labelling(dense, image.shape, memory=budget)
    assert np.prod(tiled.plan.grid) > 1
    assert tiled.plan.peak <= budget < whole.plan.peak
    assert tiled.plan.flops > whole.plan.flops  # halos
    answer = np.empty((2, 90, 81), np.float32)
    for t, block in tiled.blocks(image):
        answer[:, t.y : t.y + t.keep[0], t.x : t.x + t.keep[1]] = block
    np.testing.assert_array_equal(answer, fm.predict(dense, image))


def test_a_budget_too_small_for_one_tile_says_what_would_do(rng: np.random.Generator) -> None:
    with pytest.raises(fm.BudgetError, match=r"10 MiB is too small: its smallest tile needs \d+ MiB in all"):
        fm.predict(small_net(), np.zeros((40, 40)), memory="10MiB")


@pytest.mark.parametrize(
    ("image", "options", "message"),
    [
        (np.zeros((2, 3, 30, 30)), {}, r"one image"),
        (np.zeros((3, 30, 30)), {}, "3 channels, net 'small' takes 1"),
        (np.zeros((19, 40)), {"border": "valid"}, "19x40 image is smaller than the 20x20 window"),
        (np.zeros((30, 40)), {"output": "nothing"}, "no blob 'nothing'"),
        (np.zeros((30, 40)), {"engine": "magic"}, "engine must be one of"),
        (np.zeros((30, 40)), {"memory": "lots"}, "no amount of bytes"),
    ],
)
def test_bad_calls_say_what_to_do(image: np.ndarray, options: dict, message: str) -> None:
    with pytest.raises(fm.FullMochaError, match=message):
        fm.predict(small_net(), image, **options)


@given(st.integers(1, 200), st.integers(1, 40), st.integers(1, 16))
def test_cuts_cover_everything_once(total: int, count: int, align: int) -> None:
    pieces = cut(total, count, align)
    assert [i for start, size in pieces for i in range(start, start + size)] == list(range(total))
    assert all(start % align == 0 for start, _ in pieces)
    assert len(pieces) <= count


@pytest.mark.parametrize("layers", [n4(2, 3), u(maps=2)])
def test_live_buffers_never_share_a_byte(layers: list) -> None:
    net = fm.Net("net", "reference", layers)
    dense = fm.densify(net)
    program = dense.program((1, dense.channels, *(d + v for d, v in zip((20, 20), dense.context, strict=True))))
    plan = lay_out(net.backend.ops, program)
    owner, _ = _lives(program)
    sizes = program.sizes()
    reads = [{r.buffer for r in s.reads if isinstance(r, Value)} for s in program.steps]
    for i, step in enumerate(program.steps):
        later = set().union(*reads[i:], {o.buffer for o in program.outputs})
        written = {program.input.buffer, *(s.write.buffer for s in program.steps[: i + 1])}
        live = {b for b in later & written if b != step.write.buffer and owner[b] != owner[step.write.buffer]} | {
            step.write.buffer
        }
        spans = sorted((plan.offsets[b], plan.offsets[b] + sizes[b]) for b in live)
        assert all(a[1] <= b[0] for a, b in pairwise(spans))
        assert spans[-1][1] <= plan.arena
    assert plan.arena < sum(sizes.values()) / 2


@pytest.mark.parametrize(
    ("text", "count"), [("4GiB", 2**32), ("512 MB", 512 * 10**6), ("1.5e3", 1500), (77, 77), ("2k", 2000)]
)
def test_amounts_of_memory(text: str, count: int) -> None:
    assert parse_bytes(text) == count
