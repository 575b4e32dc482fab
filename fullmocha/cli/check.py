"""`fullmocha check`: is the dense map what sliding gives? Random pixels, in float64."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import click

from .options import Finite, border_option, dense_options, grey_options, net_options
from .tables import size

if TYPE_CHECKING:
    import numpy as np

    from ..blob import Shape
    from ..dense import DenseNet
    from ..imaging.borders import BorderedImage
    from ..imaging.sources import Source
    from ..net import Net
    from .images import Grey

FAILED = 3
LIMIT = 5e-5  # DESIGN: class probabilities are within this of the float64 reference
CROPS = 8  # places that are labelled densely; the first four are the corners, where borders go wrong
SIDE = 32  # rows and columns of a crop's answer


@click.command(short_help="Compare random pixels with sliding, in float64.")
@net_options
@click.argument("image", metavar="INPUT")
@dense_options
@border_option
@grey_options
@click.option("-n", "--pixels", type=click.IntRange(min=1), default=64, show_default=True, help="How many pixels.")
@click.option("--seed", type=int, default=1, show_default=True, help="Which pixels.")
@click.option(
    "--limit", type=Finite(min=0), default=LIMIT, show_default=True, help="The largest difference that passes."
)
@click.pass_context
def check(
    context: click.Context,
    net: Net,
    image: str,
    how: dict[str, Any],
    border: str,
    grey: Grey,
    pixels: int,
    seed: int,
    limit: float,
) -> None:
    """Compare the dense map of INPUT's first section with sliding.

    Each of n random pixels is computed by its definition: its window alone, through the patch net, on the reference backend in
    float64. (A net that is dense as it stands runs on the smallest part of the image that gives the pixel.) Differences are
    absolute for probabilities, else relative to the root mean square. Exit status 3 if the largest exceeds the limit.
    """
    import numpy as np

    from ..forms import densify
    from ..sliding import SlidingNet
    from .images import Stack, outputs_of

    dense = densify(net, **how)
    grey.check_net(dense)
    exact = densify(twin(net, "reference", "float64"), "sliding", output=how["output"])
    with Stack([image]) as stack:
        name, source = stack.sources[0]
        outputs = outputs_of(dense, source.shape, border, grey, name)
        whole = _bordered(grey(source, dense.channels, dense.dtype, name), dense, outputs, border)
        room: Shape = outputs  # where one patch gives several answers, only pixels at which a whole patch starts
        if isinstance(exact, SlidingNet):
            room = tuple(n - d + 1 for n, d in zip(outputs, exact.declared_windows, strict=True))
        samples = _sample(dense, room, pixels, np.random.default_rng(seed))
        found = _dense_values(dense, whole, samples)
        expected = _sliding_values(exact, whole, samples, dense.fit(outputs))
    absolute = _gives_probabilities(net, how["output"])
    unit = 1.0 if absolute else float(np.sqrt(np.mean(expected**2))) or 1.0
    difference = np.abs(found - expected) / unit
    worst = divmod(int(np.nan_to_num(difference, nan=np.inf).argmax()), difference.shape[1])
    largest, at = float(difference[worst]), samples[worst[0]]
    passed = largest <= limit  # NaN fails
    click.echo(f"{name}: {len(samples)} of {size(outputs)} pixels, sliding on reference in float64 against")
    click.echo(
        f"{dense.engine} on {net.backend.name} in {net.dtype}: {found[worst]:.9g} for {expected[worst]:.9g} at the worst,"
    )
    click.echo(
        f"row {at.y}, column {at.x}, class {worst[1]}; {'absolute' if absolute else 'relative'} difference {largest:.3g}"
    )
    click.echo(f"{'passed' if passed else 'FAILED'}: the limit is {limit:.3g}")
    context.exit(0 if passed else FAILED)


@dataclass(frozen=True)
class Sample:
    """A pixel of the answer, and the crop of it in which the pixel is looked up: its first pixel, and its size."""

    y: int
    x: int
    top: int
    left: int
    windows: Shape


def _bordered(source: Source, dense: DenseNet, outputs: Shape, border: str) -> BorderedImage:
    """The image with its border, and with what a net in step with S needs behind it to be whole, as `predict` has it."""
    from ..imaging.borders import BorderedImage
    from ..labelling import border_of

    before, after = border_of(dense, border)
    over = (f - n for f, n in zip(dense.fit(outputs), outputs, strict=True))
    bottom, right = (a + o for a, o in zip(after, over, strict=True))
    return BorderedImage(source, before, (bottom, right), "zero" if border == "valid" else border)


def _sample(dense: DenseNet, outputs: Shape, count: int, rng: np.random.Generator) -> list[Sample]:
    """Random pixels, in a few crops that start where tiles may."""
    whole = dense.fit(outputs)
    side = dense.fit(tuple(min(SIDE, n) for n in outputs)) if dense.tileable else whole
    last = tuple((n - s) // a for n, s, a in zip(whole, side, dense.align, strict=True))
    corners = [(0, 0), (0, last[1]), (last[0], 0), last]
    random = [(int(rng.integers(last[0] + 1)), int(rng.integers(last[1] + 1))) for _ in range(CROPS - len(corners))]
    samples = []
    for i in range(count):
        top, left = (n * a for n, a in zip((corners + random)[i % CROPS], dense.align, strict=True))
        y, x = (int(rng.integers(at, min(at + s, n))) for at, s, n in zip((top, left), side, outputs, strict=True))
        samples.append(Sample(y, x, top, left, side))
    return samples


def _dense_values(dense: DenseNet, image: BorderedImage, samples: list[Sample]) -> np.ndarray:
    """(n, K): the dense map at the samples, every crop computed once."""
    import numpy as np

    from ..progress import progress

    crops = sorted({(s.top, s.left, s.windows) for s in samples})
    answers = {}
    for top, left, windows in progress(crops, len(crops), f"{dense.engine} on {dense.backend.name}"):
        answers[top, left, windows] = dense.forward(_read(dense, image, top, left, windows))[0]
    return np.array([answers[s.top, s.left, s.windows][:, s.y - s.top, s.x - s.left] for s in samples], np.float64)


def _sliding_values(exact: DenseNet, image: BorderedImage, samples: list[Sample], whole: Shape) -> np.ndarray:
    """(n, K): the definition at the samples of an answer of that size."""
    import numpy as np

    from ..progress import progress
    from ..sliding import SlidingNet

    if not isinstance(exact, SlidingNet):
        return _dense_values(exact, image, [_least(exact, s, whole) for s in samples] if exact.tileable else samples)
    values = []
    starts = range(0, len(samples), exact.batch)
    for start in progress(starts, len(starts), "sliding on reference"):
        some = samples[start : start + exact.batch]
        windows = [_read(exact, image, s.y, s.x, exact.declared_windows) for s in some]
        values.append(exact.forward(np.concatenate(windows))[:, :, 0, 0])
    return np.concatenate(values)


def _least(exact: DenseNet, sample: Sample, whole: Shape) -> Sample:
    """The smallest crop that gives the pixel."""
    windows = exact.fit(tuple(at % a + 1 for at, a in zip((sample.y, sample.x), exact.align, strict=True)))
    top, left = (
        min(at // a * a, n - w) for at, a, n, w in zip((sample.y, sample.x), exact.align, whole, windows, strict=True)
    )
    return replace(sample, top=top, left=left, windows=windows)


def _read(dense: DenseNet, image: BorderedImage, top: int, left: int, windows: Shape) -> np.ndarray:
    """The input (1, C, h, w) for so many outputs from there on, as the net's data layer would give it."""
    x = image.read(top, left, *(n + v for n, v in zip(windows, dense.context, strict=True))).astype(dense.dtype)[None]
    transformed = dense.transform(x)
    return transformed


def _gives_probabilities(net: Net, output: str | None) -> bool:
    from ..conversion import find_output
    from ..layers import SoftmaxLayer

    return isinstance(net.node_of(find_output(net.sketch, output)).layer, SoftmaxLayer)


def twin(net: Net, backend: str, dtype: str) -> Net:
    """The same net with the same weights on another backend, in another precision."""
    from ..net import Net

    other = Net(net.name, backend, net.layers, patch=net.patch_asked, dtype=dtype)
    other.load_params({name: [p.values() for p in params] for name, params in net.params.items()})
    return other
