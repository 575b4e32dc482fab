"""The definition of a dense net: the patch net, run window by window."""

from typing import Any

import numpy as np

from .dense import DenseNet
from .errors import ShapeError
from .layers.windowed import by


class SlidingNet(DenseNet):
    """The definition: the patch net, run on every window of the image. For checking; K x K times the work."""

    batch = 64

    def forward(self, x: Any = None) -> Any:
        """As `DenseNet.forward`, window by window.

        Where one window gives several answers, some pixels of a small image may lie in none of its whole windows; they are NaN.
        """
        if not isinstance(x, np.ndarray):
            return super().forward(x)
        self.check_input(x)
        axes = len(self.patch)
        run = self.compile((self.batch, self.channels, *self.patch))
        starts = [n - p + 1 for n, p in zip(x.shape[2:], self.patch, strict=True)]
        elements = (*self.blobs[self.output].shape[2:], *(1,) * axes)[:axes]  # outputs of one patch
        step = [(d - 1) // max(1, n - 1) for d, n in zip(self.declared_windows, elements, strict=True)]
        if min(starts) < 1:
            raise ShapeError(
                f"the {by(x.shape[2:])} image is smaller than the {by(self.patch)} patch; sliding needs one whole window"
            )
        windows = np.lib.stride_tricks.sliding_window_view(
            x, self.patch, axis=tuple(range(2, 2 + axes))
        )  # N C h w ph pw
        places = list(np.ndindex(len(x), *starts))
        size = tuple(n - v for n, v in zip(x.shape[2:], self.context, strict=True))
        y = np.full((len(x), self.classes, *size), np.nan, self.dtype)
        batch = np.zeros((self.batch, self.channels, *self.patch), self.dtype)
        for start in range(0, len(places), self.batch):
            some = places[start : start + self.batch]
            for k, (n, *at) in enumerate(some):
                batch[k] = windows[n, :, *at]
            (answers,) = run(batch)
            answers = answers.reshape(self.batch, self.classes, *elements)
            for (n, *at), answer in zip(some, answers, strict=False):
                for element in np.ndindex(*elements):
                    pixel = (i + e * s for i, e, s in zip(at, element, step, strict=True))
                    y[n, :, *pixel] = answer[:, *element]
        return y
