"""`fullmocha predict`: labels every pixel of images, from files to a file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from ..errors import FormatError, ShapeError
from .options import border_option, dense_options, grey_options, memory_option, net_options

if TYPE_CHECKING:
    import numpy as np

    from ..dense import DenseNet
    from ..net import Net
    from .images import Grey, Stack
    from .jobs import Job


@click.command(short_help="Label every pixel of images.")
@net_options
@click.argument("inputs", metavar="INPUT...", nargs=-1, required=True)
@click.option("-o", "--out", metavar="OUT", required=True, help="TIFF, PNG, or HDF5 as file.h5:/dataset.")
@dense_options
@memory_option
@border_option
@grey_options
@click.option(
    "--class",
    "classes",
    metavar="K",
    type=click.IntRange(min=0),
    multiple=True,
    help="Write class K; again for more. All by default.",
)
def predict(
    net: Net,
    inputs: tuple[str, ...],
    out: str,
    how: dict[str, Any],
    memory: str | None,
    border: str,
    grey: Grey,
    classes: tuple[int, ...],
) -> None:
    """Label every pixel of each INPUT (TIFF, PNG, or HDF5 as file.h5:/dataset) with NET.

    Pages of a grey stack are sections, and so are several INPUTs. OUT gets 32-bit floats, its pages section by section, then class
    (a PNG 8 bits, one class). It appears when all is done; nothing is left behind when anything fails.
    """
    from ..forms import densify
    from ..imaging import create_output
    from ..progress import progress
    from .images import Stack, outputs_of
    from .jobs import plan_job

    dense = densify(net, **how)
    grey.check_net(dense)
    chosen = _chosen(dense, classes)
    with Stack(inputs) as stack:
        _check_names(inputs, out)
        for name, source in stack.sources:
            outputs = outputs_of(dense, source.shape, border, grey, name)
        with create_output(out, len(stack.sources), len(chosen), *outputs) as result:
            pixel_bytes = dense.dtype.itemsize if grey.active else stack.pixel_bytes
            held = result.working_bytes + stack.working_bytes
            job = plan_job(dense, (dense.channels, *stack.shape[1:]), border, memory, pixel_bytes, held)
            click.echo(job.describe(len(stack.sources)))
            total = job.count * len(stack.sources)
            for section, y, x, block in progress(_blocks(job, dense, stack, grey), total, "labelling"):
                result.write(section, None, y, x, block if chosen == list(range(len(block))) else block[chosen])
    click.echo(
        f"wrote {out}: {len(stack.sources)} x {len(chosen)} x {outputs[0]} x {outputs[1]} (sections, classes, rows, columns)"
    )


def _blocks(job: Job, dense: DenseNet, stack: Stack, grey: Grey) -> Iterator[tuple[int, int, int, np.ndarray]]:
    """Section, row, column and answer, piece by piece."""
    import numpy as np

    for section, (name, source) in enumerate(stack.sources):
        seen = grey(source, dense.channels, dense.dtype, name)
        for y, x, block in job.blocks(seen):
            yield section, y, x, block.astype(np.float32, copy=False)


def _chosen(dense: DenseNet, classes: tuple[int, ...]) -> list[int]:
    """The classes to write."""
    wrong = [k for k in classes if k >= dense.classes]
    if wrong:
        raise ShapeError(f"--class {wrong[0]}: the net has classes 0 to {dense.classes - 1}")
    twice = [k for i, k in enumerate(classes) if k in classes[:i]]
    if twice:
        raise ShapeError(f"--class {twice[0]}: is named twice; name every class once")
    return list(classes) or list(range(dense.classes))


def _check_names(inputs: tuple[str, ...], out: str) -> None:
    """Refuses to write over what is read."""
    from ..imaging.hdf5 import split_location

    target = split_location(out)[0]
    for name in inputs:
        if os.path.exists(target) and os.path.samefile(split_location(name)[0], target):
            raise FormatError(f"{target}: is an input, too; name another file for the result")
