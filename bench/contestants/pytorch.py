"""PyTorch on a described net: with dilated kernels as the net has them, or on max-pooling fragments; NCHW or channels_last.

On fragments a map is split, before a layer of dilation d, into the d x d maps of every d-th pixel; the layer then has no
dilation. Splits nest, as max-pooling fragments do, and are undone where a layer wants neighbours again and at the end.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..description import Json, last_readers
from ..description import load as load_description
from . import Options, Run


@dataclass(frozen=True)
class _Maps:
    """A value: `x` is (N, C, H, W) split by each of `factors` in turn, so it has the product's square times N images."""

    x: Any
    factors: tuple[int, ...] = ()

    @property
    def split(self) -> int:
        return int(np.prod(self.factors, dtype=int))


class TorchNet:
    """Runs the steps one by one; a value is dropped after its last reader.

    Parameters
    ----------
    folder : Path
        Of the description.
    fragments : bool
        Undilated kernels on fragments, in place of dilated kernels.
    channels_last : bool
        Memory format of maps and filters.
    """

    def __init__(self, folder: Path, fragments: bool, channels_last: bool) -> None:
        import torch

        self.torch, self.fragments, self.channels_last = torch, fragments, channels_last
        self.format = torch.channels_last if channels_last else torch.contiguous_format
        self.net, weights = load_description(folder)
        self.dropped = last_readers(self.net)
        self.weights = {
            key: torch.from_numpy(w).to(memory_format=self.format) if w.ndim == 4 else torch.from_numpy(w)
            for key, w in weights.items()
        }

    def __call__(self, image: np.ndarray) -> np.ndarray:
        with self.torch.inference_mode():
            first = self.torch.from_numpy(image).to(memory_format=self.format)
            values = {self.net["input"]: _Maps(first)}
            del first
            for step, dropped in zip(self.net["steps"], self.dropped, strict=True):
                values[step["write"]] = self._step(step, values)
                for value in dropped:
                    del values[value]
            answer = self._resplit(values[self.net["output"]], 1, self.net["output_shape"])
            return answer.x.contiguous().numpy()

    def _step(self, step: Json, values: dict[int, _Maps]) -> _Maps:
        F, op = self.torch.nn.functional, step["op"]
        if op == "concat":
            parts = []
            for part in step["parts"]:
                x = self._resplit(values[part["read"]], 1, part["read_shape"]).x
                box = tuple(slice(a, a + n) for a, n in zip(part["source"], part["size"], strict=True))
                parts.append(x[box])
            return _Maps(self.torch.cat(parts, 1))
        maps = values[step["read"]]
        if not maps.factors and tuple(maps.x.shape) != tuple(step["read_shape"]):
            maps = _Maps(maps.x.reshape(step["read_shape"]))
        if op == "softmax":
            return replace(maps, x=F.softmax(maps.x, 1))
        if op == "relu":
            return replace(maps, x=F.relu(maps.x))
        if op in ("conv", "max_pool"):
            pointwise = max(step["kernel"]) == 1 and max(step["stride"]) == 1
            if not pointwise:
                maps = self._resplit(maps, self._wanted(step), step["read_shape"])
            x, dilation = maps.x, [1, 1] if self.fragments and self._wanted(step) > 1 else step["dilation"]
            if op == "max_pool":
                return replace(maps, x=F.max_pool2d(x, step["kernel"], step["stride"], step["pad"], dilation))
            w, b = self.weights[step["w"]], self.weights.get(step.get("b", ""))
            if pointwise and x.shape[2:] == (1, 1) and step["group"] == 1:  # an inner product
                y = F.linear(x.flatten(1), w.flatten(1), b)[:, :, None, None]
            else:
                y = F.conv2d(x, w, b, step["stride"], step["pad"], dilation, step["group"])
            return replace(maps, x=self.torch.relu_(y) if step["relu"] else y)
        x = self._resplit(maps, 1, step["read_shape"]).x
        if op == "upsample":
            return _Maps(F.interpolate(x, scale_factor=tuple(map(float, step["factor"])), mode="nearest"))
        assert op == "deconv", op
        w, b = self.weights[step["w"]], self.weights.get(step.get("b", ""))
        y = F.conv_transpose2d(x, w, b, step["stride"], step["pad"], 0, step["group"], step["dilation"])
        return _Maps(self.torch.relu_(y) if step["relu"] else y)

    def _wanted(self, step: Json) -> int:
        """The split on which a step's window has no dilation; 1 where the maps must be whole."""
        (d, *others) = step["dilation"]
        fits = self.fragments and step["stride"] == [1, 1] and not any(step["pad"]) and all(o == d for o in others)
        return d if fits else 1

    def _resplit(self, maps: _Maps, wanted: int, whole: Any) -> _Maps:
        """The same maps under another split; `whole` is the value's shape when it is not split."""
        if maps.split == wanted:
            return maps
        factors = list(maps.factors)
        x = maps.x
        if wanted % maps.split:
            while factors:
                x = self._stitch(x, factors.pop())
                done = int(np.prod(factors, dtype=int))
                x = x[:, :, : -(-whole[2] // done), : -(-whole[3] // done)]
        more = wanted // int(np.prod(factors, dtype=int))
        if more > 1:
            x = self._split(x, more)
            factors.append(more)
        return _Maps(x, tuple(factors))

    def _split(self, x: Any, f: int) -> Any:
        """(N, C, H, W) -> (N f f, C, ceil(H / f), ceil(W / f)), zero-padded; image (n, i, j) is every f-th pixel from (i, j)."""
        below, right = -x.shape[2] % f, -x.shape[3] % f
        if below or right:
            x = self.torch.nn.functional.pad(x, (0, right, 0, below)).contiguous(memory_format=self.format)
        n, c, h, w = x.shape
        if self.channels_last:
            y = x.permute(0, 2, 3, 1).reshape(n, h // f, f, w // f, f, c).permute(0, 2, 4, 1, 3, 5)
            return y.reshape(n * f * f, h // f, w // f, c).permute(0, 3, 1, 2)
        return x.reshape(n, c, h // f, f, w // f, f).permute(0, 3, 5, 1, 2, 4).reshape(n * f * f, c, h // f, w // f)

    def _stitch(self, x: Any, f: int) -> Any:
        """The inverse of `_split`, the padding still there."""
        n, c, h, w = x.shape
        if self.channels_last:
            y = x.permute(0, 2, 3, 1).reshape(n // (f * f), f, f, h, w, c).permute(0, 3, 1, 4, 2, 5)
            return y.reshape(n // (f * f), h * f, w * f, c).permute(0, 3, 1, 2)
        return x.reshape(n // (f * f), f, f, c, h, w).permute(0, 3, 4, 1, 5, 2).reshape(n // (f * f), c, h * f, w * f)


def load(folder: Path, threads: int, form: list[str], options: Options) -> Run:
    """`form`: "dilated" or "fragments" (a net without dilation runs alike in both), and "channels_last" or "nchw"."""
    import torch

    torch.set_num_threads(threads)
    torch.set_num_interop_threads(1)
    return TorchNet(folder, "fragments" in form, "channels_last" in form)
