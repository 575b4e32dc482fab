"""`fullmocha demo`: the main job on a made-up micrograph, with nothing to download."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .options import BACKENDS
from .tables import duration

if TYPE_CHECKING:
    import numpy as np

    from ..dense import DenseNet
    from ..net import Net
    from .jobs import Job

SIDE = 512
SAMPLE = 32  # rows and columns of windows that are slid over, to be timed
PICTURES = ("picture", "probability", "truth", "overlay")


@click.command(short_help="Label a made-up micrograph, and write the pictures.")
@click.option("-o", "--out", metavar="DIR", default="fullmocha-demo", show_default=True, help="Where the pictures go.")
@click.option("--backend", type=click.Choice(BACKENDS), default="auto", show_default=True, help="Where to compute.")
@click.option("--seed", type=click.IntRange(min=0), default=4, show_default=True, help="Which picture is made up.")
def demo(out: str, backend: str, seed: int) -> None:
    """Label a made-up electron micrograph, and write what was made and found as PNG.

    The small net ships with the package, which trained it on such pictures (examples/membrane_demo.py). Written are the picture, the
    probability of cell interior, the truth, and an overlay: membranes that were found in blue, invented ones in yellow, missed ones
    in orange.
    """
    import numpy as np

    from ..forms import densify
    from ..imaging import ArraySource, drawing, png, scores, synthetic
    from ..models.membrane import trained_membrane
    from .jobs import plan_job

    with _folder(Path(out)) as files:
        picture, truth = synthetic.em_picture(SIDE, SIDE, np.random.default_rng(seed))
        click.echo(f"picture   {SIDE} x {SIDE} pixels of made-up nervous tissue, seed {seed}")
        net = trained_membrane(backend)
        start = time.perf_counter()
        dense = densify(net)
        job = plan_job(dense, (1, SIDE, SIDE), "symmetric", None, held=12 * SIDE * SIDE)
        took = duration(time.perf_counter() - start)
        click.echo(f"kernels   ready on {net.backend.name} after {took} (compiled once per machine, then kept)")
        click.echo(job.describe())
        prob = np.empty((dense.classes, *job.outputs), np.float32)
        start = time.perf_counter()
        for y, x, block in job.blocks(ArraySource(picture)):
            prob[:, y : y + block.shape[1], x : x + block.shape[2]] = block
        dense_seconds = time.perf_counter() - start
        click.echo(f"labelled  {prod(job.outputs):,} pixels in {duration(dense_seconds)}")
        sliding_seconds, difference = _slide(net, picture, prob)
        click.echo(
            f"          {sliding_seconds / dense_seconds:,.0f} times faster than sliding the window, which does "
            f"{_arithmetic(net, job):,.0f} times the arithmetic and takes {duration(sliding_seconds)} here\n"
            f"          (extrapolated from {SAMPLE**2:,} windows, whose answers differ by {difference:.1g} from the map)"
        )
        error, threshold = scores.pixel_error(prob[1], truth)
        click.echo(f"correct   pixel error {error:.4f} (1 - F1 of cell interior, at a threshold of {threshold:.1f})")
        drawn = picture, drawing.probability_png(prob[1]), truth * 255, drawing.overlay(picture, prob[1], truth)
        for file, image in zip(files, drawn, strict=True):
            png.encode(file, np.ascontiguousarray(image, np.uint8))
    click.echo("wrote     " + ", ".join(str(Path(out) / f"{name}.png") for name in PICTURES))


@contextlib.contextmanager
def _folder(path: Path) -> Iterator[list[Path]]:
    """Files to write to, which appear under the pictures' names in the end, all of them or none."""
    from ..beside import Beside

    made = not path.exists()
    path.mkdir(parents=True, exist_ok=True)
    try:
        with contextlib.ExitStack() as stack:
            yield [stack.enter_context(Beside(path / f"{name}.png")).path for name in PICTURES]
    except BaseException:
        if made:
            with contextlib.suppress(OSError):  # somebody has put something into it
                path.rmdir()
        raise


def _slide(net: Net, picture: np.ndarray, prob: np.ndarray) -> tuple[float, float]:
    """Seconds for all windows at the rate of some of them, and how far their answers are from the map."""
    import numpy as np

    from ..forms import densify

    sliding = densify(net, "sliding")
    top = (SIDE - SAMPLE) // 2
    before = tuple(v - v // 2 for v in sliding.context)
    rows, columns = (slice(top - b, top - b + SAMPLE + v) for b, v in zip(before, sliding.context, strict=True))
    window = _seen(sliding, picture[rows, columns])
    sliding.forward(window[:, :, : sliding.patch[0], : sliding.patch[1]])  # compiles, untimed
    start = time.perf_counter()
    answer = sliding.forward(window)[0]
    seconds = time.perf_counter() - start
    inner = slice(top, top + SAMPLE)
    return seconds * prob[0].size / SAMPLE**2, float(np.abs(answer - prob[:, inner, inner]).max())


def _arithmetic(net: Net, job: Job) -> float:
    """How often sliding multiplies for each multiplication of the plan."""
    from .. import flops

    return sum(work.total for work in flops.dense(net, job.outputs, "sliding")) / job.flops


def _seen(net: DenseNet, image: np.ndarray) -> np.ndarray:
    """An image (h, w) as the net sees it."""
    seen: np.ndarray = net.transform(image.astype(net.dtype)[None, None])
    return seen
