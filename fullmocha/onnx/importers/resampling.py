"""Operators by which images grow or shrink by whole factors: deconvolutions and convolutions with fixed filters."""

import math
from typing import Any

import numpy as np

from ... import layers
from ..padding import FIXED
from ..reader import Attributes, Reader
from .windows import ones_like, window

_MOST_FILTERS = 2**21
_MOST_PLACES = 2**20  # along one axis


def resize(to: Reader, node: Any, given: Attributes) -> None:
    """By whole factors: every element becomes a block of equal ones, or straight lines lead from one to the next."""
    bottom = to.blob(node)
    channels, *sizes = to.shapes[bottom][1:]
    factors, mode = _factors(to, node, given), given.get("mode", "nearest")
    grid = given.get("coordinate_transformation_mode", "half_pixel" if to.opset > 10 else "asymmetric")
    grown = [n * f for n, f in zip(sizes, factors, strict=True)]
    if math.prod((channels, *factors)) > _MOST_FILTERS or max(grown) > _MOST_PLACES:
        raise to.refuse(node, f"{channels} channels by {factors}, to {grown}, are more than is read")
    rounding = given.get("nearest_mode", "round_prefer_floor" if to.opset > 10 else "floor")
    if mode == "nearest" and all(_is_block(grid, rounding, n, f) for n, f in zip(sizes, factors, strict=True)):
        weights, fields = _upsampling(channels, [np.ones(f) for f in factors], factors)
        to.add(node, layers.DeconvolutionLayer, [bottom], weights, **fields)
    elif mode == "linear" and grid in ("half_pixel", "pytorch_half_pixel"):
        lines = [1 - np.abs(np.arange(1 - f, f + 1 - f % 2) - (1 - f % 2) / 2) / f for f in factors]
        weights, fields = _upsampling(channels, lines, factors)
        sums = [
            to.step(node, layers.DeconvolutionLayer, b, values=weights, **fields)
            for b in (bottom, ones_like(to, node, bottom))
        ]
        to.add(
            node, layers.ElementWiseLayer, sums, operation=layers.ElementWiseFunctors.Divide()
        )  # less than 1 at the edge
    else:
        raise to.refuse(
            node, f"{mode} with {grid} is not read; use nearest, or bilinear with align_corners=False, or ConvTranspose"
        )


def _factors(to: Reader, node: Any, given: Attributes) -> list[int]:
    """By how much rows and columns grow."""
    shape = to.shapes[to.blob(node)]
    scales = to.constant(node, 1 if node.op_type == "Upsample" or to.opset < 11 else 2)
    scales = np.asarray(given["scales"]) if "scales" in given else scales
    axes = [a % len(shape) for a in given.get("axes", range(len(shape)))]
    if scales is None or not scales.size:
        scales = to.needed(node, 3) / np.array([shape[a] for a in axes])
    by = dict.fromkeys(range(len(shape)), 1.0) | dict(zip(axes, scales.tolist(), strict=True))
    if by.pop(0) != 1 or by.pop(1) != 1 or any(s % 1 or s < 1 for s in by.values()):
        raise to.refuse(node, f"only whole factors of rows and columns are read; got {scales.tolist()}")
    return [int(s) for s in by.values()]


def _is_block(grid: str, rounding: str, size: int, factor: int) -> bool:
    """Whether each of `factor` places in a row reads the same element, by ONNX's rules."""
    places = np.arange(size * factor)
    at = {"asymmetric": places / factor, "align_corners": places * (size - 1) / max(1, size * factor - 1)}
    x = at.get(grid, (places + 0.5) / factor - 0.5)
    rounded = {"floor": np.floor(x), "ceil": np.ceil(x), "round_prefer_ceil": np.floor(x + 0.5)}
    read = np.clip(rounded.get(rounding, np.ceil(x - 0.5)), 0, size - 1)
    return bool(np.array_equal(read, places // factor))


def _upsampling(channels: int, lines: list[np.ndarray], factors: list[int]) -> tuple[list[np.ndarray], Attributes]:
    """A deconvolution of each channel by itself, with the outer product of the lines."""
    filter_: np.ndarray = np.ones((channels, 1))
    for line in lines:
        filter_ = np.multiply.outer(filter_, line)
    pad = [(len(line) - f + 1) // 2 for line, f in zip(lines, factors, strict=True)]
    slides = window([len(line) for line in lines], factors, (1,) * len(factors), pad)
    return [filter_], {"n_filter": channels, "n_group": channels, **FIXED, **slides}


def depth_to_space(to: Reader, node: Any, given: Attributes) -> None:
    """A deconvolution with filters that hold a single 1."""
    b, channels = int(given["blocksize"]), to.shapes[to.blob(node)][1]
    if channels % b**2 or channels**2 > _MOST_FILTERS:
        raise to.refuse(node, f"{channels} channels are no whole number of {b} x {b} blocks, or too many")
    picks: np.ndarray = np.eye(channels)
    if given.get("mode", "DCR") == "DCR":
        picks = picks.reshape(channels, b, b, -1).transpose(0, 3, 1, 2)
    _blocks(to, node, layers.DeconvolutionLayer, picks.reshape(channels, -1, b, b), b)


def space_to_depth(to: Reader, node: Any, given: Attributes) -> None:
    b, (channels, *size) = int(given["blocksize"]), to.shapes[to.blob(node)][1:]
    if any(n % b for n in size) or channels * b > math.isqrt(_MOST_FILTERS):
        raise to.refuse(node, f"{size} are no whole number of {b} x {b} blocks, or there are too many channels")
    picks = np.einsum("pq,cd->pcdq", np.eye(b * b), np.eye(channels))  # (place, channel; channel, place)
    filters = picks.reshape(channels * b * b, channels, b, b)
    _blocks(to, node, layers.ConvolutionLayer, filters, b)


def _blocks(to: Reader, node: Any, kind: Any, filters: np.ndarray, b: int) -> None:
    n = filters.shape[0 if kind is layers.ConvolutionLayer else 1]
    to.add(node, kind, [to.blob(node)], [filters], kernel=b, stride=b, n_filter=n, **FIXED)
