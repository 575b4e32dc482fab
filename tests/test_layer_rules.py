"""What single layers refuse, and by which words; and the dense forms of fields that few nets set."""

from typing import Any

import numpy as np
import pytest

import fullmocha as fm
from fullmocha.layers import Layer


def image(h: int = 12, w: int = 12, c: int = 1, n: int = 1, **fields: Any) -> fm.InputLayer:
    return fm.InputLayer(tops=["data"], shapes=[(n, c, h, w)], **fields)


def conv(name: str, bottom: str, **fields: Any) -> fm.ConvolutionLayer:
    return fm.ConvolutionLayer(name=name, bottoms=[bottom], tops=[name], **({"n_filter": 2, "kernel": 3} | fields))


def pool(name: str, bottom: str, kernel: Any, **fields: Any) -> fm.PoolingLayer:
    return fm.PoolingLayer(name=name, bottoms=[bottom], tops=[name], **({"kernel": kernel, "stride": kernel} | fields))


def ip(bottom: str, name: str = "ip", outputs: Any = 2, **fields: Any) -> fm.InnerProductLayer:
    return fm.InnerProductLayer(name=name, bottoms=[bottom], tops=[name], output_dim=outputs, **fields)


def build(*layers: Layer, backend: fm.Backend | None = None) -> fm.Net:
    net = fm.Net("rules", backend or fm.ReferenceBackend(1), list(layers))
    net.init()
    return net


def assert_dense_as_sliding(net: fm.Net, rng: np.random.Generator, h: int, w: int) -> None:
    """On the reference both engines give the sliding window's bits."""
    x = rng.normal(size=(1, 1, h, w)).astype(np.float32)
    expected = fm.densify(net, "sliding").forward(x)
    assert np.ptp(expected) > 0
    for engine in ("strided", "fragments"):
        np.testing.assert_array_equal(fm.densify(net, engine).forward(x), expected)


# ------------------------------------------------------------------------------------------------------------ MergeCrop
def merge(**fields: Any) -> fm.MergeCropLayer:
    return fm.MergeCropLayer(name="m", bottoms=["b", "a"], tops=["m"], **fields)


@pytest.mark.parametrize("offset", [(0, 0), (0, 2), None])
def test_merge_crop_keeps_its_offset_densely(offset: tuple[int, int] | None, rng: np.random.Generator) -> None:
    layers = [image(14, 16), pool("p", "data", 2), conv("a", "p"), conv("b", "a", kernel=(3, 2)), merge(offset=offset)]
    assert_dense_as_sliding(build(*layers, ip("m")), rng, 17, 18)


@pytest.mark.parametrize("offset", [(3, 0), (0, 3), (-1, 0), (1,), (0.0, 1), 1])
def test_merge_crop_refuses_an_offset_outside(offset: Any) -> None:
    with pytest.raises(fm.ShapeError, match=r"m \(MergeCropLayer\): offset"):
        build(image(9, 9), conv("a", "data"), conv("b", "a"), merge(offset=offset))


# ----------------------------------------------------------------------------------------------------------------- Crop
@pytest.mark.parametrize(("axis", "offset"), [(2, (1, 2)), (-2, (0, 3)), (3, (1,)), (-1, (3,)), (-2, ()), (3, ())])
def test_crop_cuts_densely_from_its_axis_on(axis: int, offset: tuple[int, ...], rng: np.random.Generator) -> None:
    crop = fm.CropLayer(name="c", bottoms=["a", "b"], tops=["c"], axis=axis, offset=offset)
    layers = [
        image(18, 20),
        pool("p", "data", 2),
        conv("a", "p", kernel=2),
        conv("b", "a", kernel=(4, 2)),
        crop,
        ip("c"),
    ]
    assert_dense_as_sliding(build(*layers), rng, 21, 22)


def test_crop_of_channels_has_no_dense_form() -> None:
    crop = fm.CropLayer(name="c", bottoms=["a", "b"], tops=["c"], axis=-3)
    net = build(image(), conv("a", "data", n_filter=3), conv("b", "a"), crop, ip("c"))
    with pytest.raises(fm.NotDenseError, match=r"c \(CropLayer\): axis=-3 also crops channels"):
        fm.densify(net)


@pytest.mark.parametrize(
    ("fields", "bottoms", "message"),
    [
        ({"crop_size": 3}, [], r"takes 1 bottom, got 0"),
        ({}, [], r"takes 2 bottoms, got 0"),
        ({"crop_size": 3}, ["data", "data"], r"takes 1 bottom, got 2"),
        ({"crop_size": 3, "offset": (1, 1)}, ["data"], r"crop_size cuts the centre, so offset=\(1, 1\)"),
        ({"random_crop": True, "offset": (1,)}, ["data", "data"], r"random_crop draws the place, so offset=\(1,\)"),
        ({"offset": 2}, ["data", "data"], r"offset must be integers >= 0, one, or one per cropped axis; got 2"),
        ({"offset": (-1,)}, ["data", "data"], r"offset must be integers >= 0"),
    ],
)
def test_crop_refuses(fields: dict[str, Any], bottoms: list[str], message: str) -> None:
    with pytest.raises(fm.ShapeError, match=r"c \(CropLayer\): " + message):
        build(image(), fm.CropLayer(name="c", bottoms=bottoms, tops=["c"], **fields))


# -------------------------------------------------------------------------------------------------------------- sources
def memory(*arrays: Any, batch_size: Any = 2, **fields: Any) -> fm.MemoryDataLayer:
    return fm.MemoryDataLayer(
        batch_size=batch_size, data=list(arrays), **({"tops": ["data", "label"][: len(arrays)]} | fields)
    )


@pytest.mark.parametrize("fed", [(1, 1, 12, 4), (2, 1, 4, 6), (2, 6, 4, 1), (4, 1, 6, 4), (2, 1, 6)])
def test_a_batch_of_another_shape_is_not_reshaped(fed: tuple[int, ...]) -> None:
    net = build(memory(np.zeros((2, 1, 6, 4))), fm.IdentityLayer(bottoms=["data"], tops=["y"]))
    net.forward({"data": np.zeros(fed)})
    with pytest.raises(fm.ShapeError) as refused:
        net.forward()
    assert f'delivers (2, 1, 6, 4) for "data", the net takes {fed}' in str(refused.value)
    assert "solve_fully" not in str(refused.value)


def test_a_batch_larger_than_the_patch_is_for_solve_fully() -> None:
    net = fm.Net("rules", "reference", [memory(np.zeros((2, 1, 6, 4))), conv("a", "data")], patch=(4, 5))
    with pytest.raises(fm.ShapeError, match=r"delivers \(2, 1, 6, 4\) .* takes \(2, 1, 5, 4\)\. .*solve_fully"):
        net.forward()


@pytest.mark.parametrize("trailing", [(), (1,), (1, 1, 1)])
def test_trailing_axes_of_length_one_come_and_go(trailing: tuple[int, ...], rng: np.random.Generator) -> None:
    labels = rng.integers(0, 9, (3, *trailing)).astype(float)
    net = build(memory(rng.normal(size=(3, 1, 2, 2)), labels, batch_size=3), fm.SilenceLayer(bottoms=["data", "label"]))
    net.forward({"data": np.zeros((3, 1, 2, 2)), "label": np.zeros((3, 1, 1))})
    net.forward()
    np.testing.assert_array_equal(net.output_blobs["label"].data, labels.reshape(3, 1, 1))
