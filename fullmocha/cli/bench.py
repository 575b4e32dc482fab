"""`fullmocha bench`: where the time goes, layer by layer."""

from __future__ import annotations

from functools import partial
from math import prod
from statistics import median
from typing import TYPE_CHECKING, Any

import click

from .options import dense_options, memory_option, net_options
from .tables import duration, size, table

if TYPE_CHECKING:
    from ..net import Net


@click.command(short_help="Time every layer of a net.")
@partial(net_options, draw=True)
@dense_options
@click.option("--image", metavar="HxW", help="Size of the image that is planned for; by default 512x512.")
@memory_option
@click.option(
    "--rounds", type=click.IntRange(1, 1000), default=5, show_default=True, help="Times are medians of so many."
)
def bench(net: Net, how: dict[str, Any], image: str | None, memory: str | None, rounds: int) -> None:
    """Label one tile of made-up pixels by NET, as predict would, and show what every step takes.

    GFLOP are those of direct sums, whatever the algorithm: an algorithm that multiplies less exceeds the peak.
    """
    import numpy as np

    from ..forms import densify
    from ..labelling import plan_labelling
    from ..progress import progress
    from ..sliding import SlidingNet
    from .info import read_size

    dense = densify(net, **how)
    if isinstance(dense, SlidingNet):
        raise click.UsageError("bench times a dense pass; choose --engine fragments or strided")
    outputs = read_size(image) or (dense.declared_windows if dense.native else (512, 512))
    plan = plan_labelling(dense, (dense.channels, *outputs), "symmetric", memory).plan
    counts = {windows: sum(t.windows == windows for t in plan.tiles) for windows in plan.plans}
    windows = max(counts, key=lambda w: counts[w] * prod(w))
    program, chosen = plan.plans[windows]
    ops = dense.backend.ops
    before = ops.peak(net.dtype)
    run = ops.compile(program, chosen)
    x = np.random.default_rng(0).normal(size=program.input.shape).astype(net.dtype)
    run.timed(x)  # compiles, and makes the weights ready
    times = [run.timed(x) for _ in progress(range(rounds), rounds, "timing")]
    peak = max(before, ops.peak(net.dtype))
    steps = [median(of_step) for of_step in zip(*times, strict=True)]
    whole = median(sum(of_round) for of_round in times)

    rows = []
    for step, method, seconds in zip(program.steps, chosen.algorithms, steps, strict=True):
        rate = _rate(step.flops, seconds, peak) if step.flops else ["-", "-", "-"]
        rows.append([step.layer, method.algorithm, size(step.write.shape), f"{1e3 * seconds:.2f}", *rate])
    rows.append(["in all", "", "", f"{1e3 * whole:.2f}", *_rate(program.flops, whole, peak)])
    place = f"{dense.engine} on backend {net.backend.name}, {net.dtype}"
    click.echo(f'net "{net.name}" by {place}: a tile of {size(windows)} pixels, {counts[windows]} of {len(plan.tiles)}')
    if peak:
        click.echo(f"peak of multiply-adds, measured: {peak / 1e9:,.0f} GFLOP/s")
    click.echo("")
    click.echo(
        "\n".join(
            table(["layer", "algorithm", "writes", "ms", "GFLOP", "GFLOP/s", "of peak"], rows, right=[3, 4, 5, 6])
        )
    )
    click.echo(
        f"\n{prod(windows) / whole:,.0f} pixels per second; the planner thought {duration(chosen.seconds)} a tile"
    )


def _rate(flops: int, seconds: float, peak: float) -> list[str]:
    of_peak = f"{100 * flops / seconds / peak:.0f} %" if peak else "-"
    return [f"{flops / 1e9:,.2f}", f"{flops / seconds / 1e9:,.0f}", of_peak]
