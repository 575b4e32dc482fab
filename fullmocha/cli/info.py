"""`fullmocha info`: what a net is, what labelling costs, and how it would be done."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from math import prod
from typing import TYPE_CHECKING, Any

import click

from ..errors import NotDenseError
from .options import dense_options, memory_option, net_options
from .tables import duration, giga, size, table

if TYPE_CHECKING:
    from ..blob import Shape
    from ..dense import DenseNet
    from ..net import Net
    from .jobs import Job


@click.command(short_help="Show layers, arithmetic, tiles, time and memory.")
@partial(net_options, draw=True)
@dense_options
@click.option("--image", metavar="HxW", help="Plan for an image of this size; by default 512x512.")
@memory_option
def info(net: Net, how: dict[str, Any], image: str | None, memory: str | None) -> None:
    """Show layers, arithmetic and the plan of NET: tiles, algorithms, time and peak memory."""
    from ..conversion import find_output
    from ..forms import densify
    from ..sliding import SlidingNet

    asked = read_size(image)
    click.echo("\n".join(_net(net)))
    try:
        dense = densify(net, **how)
    except NotDenseError as problem:
        click.echo(f"\nnot dense: {problem}")
        dense = densify(net, **how | {"engine": "sliding"})
    images = len(dense.patch) == 2
    outputs = (asked if images else None) or (dense.declared_windows if dense.native or not images else (512, 512))
    click.echo("\n" + "\n".join(_geometry(dense)))
    click.echo("\n" + "\n".join(_arithmetic(net, dense, outputs, find_output(net.sketch, how["output"]))))
    if not images:
        click.echo(
            f"\nno plan: it takes arrays of {len(dense.patch)} spatial axes, and only images are labelled in tiles"
        )
        return
    from .jobs import plan_job

    job = plan_job(dense, (dense.channels, *outputs), "symmetric", memory)
    click.echo("\n" + "\n".join(_plan(job, outputs)))
    if not isinstance(dense, SlidingNet):
        click.echo("\n" + "\n".join(_steps(job)))


def read_size(text: str | None) -> Shape | None:
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,7})[xX](\d{1,7})", text.strip())
    if not match or "0" in (match[1].strip("0") or "0", match[2].strip("0") or "0"):
        raise click.UsageError(f"--image {text!r} is no size; write rows x columns, for example 1024x1024")
    return int(match[1]), int(match[2])


def _net(net: Net) -> Iterator[str]:
    """The net and its layers; shapes without the batch."""
    from ..conversion import axes_of, strides
    from ..layers import NeuronLayer

    sketch = net.sketch
    axes = axes_of(sketch)
    spaced, shapes_of = strides(sketch), sketch.shapes()
    rows: list[list[str]] = []
    for link in sketch.links:
        tops = [shapes_of[t] for t in link.tops]
        layer = link.layer
        if rows and isinstance(layer, NeuronLayer) and rows[-1][0] == layer.name:  # a field of the layer above
            rows[-1][2] = ", ".join(filter(None, [rows[-1][2], layer.describe()]))
            continue
        parameters = net.params.get(layer.name, [])
        spatial = [t for t, shape in zip(link.tops, tops, strict=True) if len(shape) == 2 + axes]
        stride = size(spaced[spatial[0]]) if spatial else "-"
        kind = type(layer).__name__.removesuffix("Layer")
        shapes = ", ".join(size(shape[1:]) or "1" for shape in tops) or "-"
        config = layer.describe_over([shapes_of[b] for b in link.bottoms])
        rows.append([layer.name, kind, config, shapes, stride, f"{sum(prod(p.shape) for p in parameters):,}"])
    total = sum(prod(p.shape) for p in net.parameters)
    yield f'net "{net.name}", backend {net.backend.name}, {net.dtype}, {total:,} parameters'
    yield ""
    yield from table(["layer", "type", "config", "patch form", "lattice", "parameters"], rows, right=[5])


def _geometry(dense: DenseNet) -> Iterator[str]:
    from ..imaging.borders import split_context

    yield f"patch    {size(dense.patch)}, channels {dense.channels}, classes {dense.classes}"
    border = ""
    if len(dense.patch) == 2:
        (top, bottom), (left, right) = (split_context(v) for v in dense.context)
        border = f": the border is {top} above, {bottom} below, {left} left, {right} right"
    yield f"context  {size(dense.context)}{border}"
    if dense.native:
        step = "" if max(dense.align) == 1 else f", in step with shifts by {size(dense.align)}"
        yield f"dense    as it stands: {size(dense.patch)} gives {size(dense.declared_windows)}{step}"
    else:
        yield f"dense    by {dense.engine}: one answer for every pixel"


def _arithmetic(net: Net, dense: DenseNet, outputs: Shape, answer: str) -> Iterator[str]:
    """The reports' counts, and the exact ones."""
    from .. import flops

    fitted = dense.fit(outputs)
    engine = dense.engine
    exact = sum(w.total for w in flops.dense(net, fitted, engine, answer))
    if dense.native:
        yield f"operations for {size(dense.declared_windows)} outputs, as Greentea counts them: {giga(flops.as_greentea(net, answer))}"
        yield f"operations for {size(fitted)} outputs, exactly: {giga(exact)}"
    else:
        slid, reported = flops.patchwise(net, outputs, answer), flops.dense_as_reported(net, outputs, answer)
        windows = sum(w.total for w in flops.dense(net, outputs, "sliding", answer))
        rows = [["as the reports count", giga(slid), giga(reported), f"{slid / max(1, reported):,.1f} x"]]
        rows.append(["exactly", giga(windows), giga(exact), f"{windows / max(1, exact):,.1f} x"])
        head = [f"operations for {size(outputs)} outputs", "patch by patch", "dense", "ratio"]
        yield from table(head, rows, right=[1, 2, 3])
    yield ""
    rows = []
    for work in flops.dense(net, fitted, engine, answer):
        share = f"{100 * work.halo / max(1, work.total):.1f} %"
        rows.append([work.layer, giga(work.pixels), giga(work.halo), share, giga(work.total)])
    yield from table(["layer, in one piece", "own pixels", "halo", "of it", "in all"], rows, right=[1, 2, 3, 4])


def _plan(job: Job, image: Shape) -> Iterator[str]:
    from ..memory import format_bytes

    yield f"plan for a {size(image)} image"
    yield f"  work    {job.pieces}"
    yield f"  memory  {format_bytes(job.peak)} at most, of a budget of {format_bytes(job.budget)}"
    yield f"  flops   {giga(job.flops)}"
    yield f"  time    about {duration(job.seconds)}"


def _steps(job: Any) -> Iterator[str]:
    """Every step of the tile shape that covers most: how it is done, what it takes, and what it holds.

    Weights stay for as long as the plan does; the workspace is shared by all steps, and so is the arena for their results.
    """
    from ..memory import format_bytes

    plan = job.labelling.plan
    counts = {windows: sum(t.windows == windows for t in plan.tiles) for windows in plan.plans}
    windows = max(counts, key=lambda w: counts[w] * prod(w))
    program, chosen = plan.plans[windows]
    rows = [
        [
            step.layer,
            step.op,
            how.algorithm,
            size(step.write.shape),
            giga(step.flops) if step.flops else "-",
            duration(how.seconds),
            format_bytes(how.kept) if how.kept else "-",
            format_bytes(how.workspace) if how.workspace else "-",
        ]
        for step, how in zip(program.steps, chosen.algorithms, strict=True)
    ]
    others = sum(counts.values()) - counts[windows]
    note = f"{counts[windows]} of them" + (f", {others} are smaller" if others else "")
    yield f"steps of a {size(windows)} tile ({note})"
    yield ""
    head = ["layer", "step", "algorithm", "writes", "flops", "time", "weights", "workspace"]
    yield from table(head, rows, right=[4, 5, 6, 7])
    arena, shared, kept = (format_bytes(n) for n in (chosen.arena, chosen.workspace, chosen.kept))
    yield f"\nresults {arena}, workspace {shared}, prepared weights {kept}"
