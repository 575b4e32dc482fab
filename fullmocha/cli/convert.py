"""`fullmocha convert`: nets, weights, solver states, images and mean images from one format to another."""

from __future__ import annotations

import os

import click

from ..errors import FormatError, UnsupportedError
from .convert_weights import WEIGHTS

IMAGES = (".tif", ".tiff", ".png", ".h5:/dataset")
MEAN = ".binaryproto"
READ_ONLY = {".jld": "Mocha's Julia files"}
NOT_YET = {".npz": "numpy archives", ".pth": "PyTorch's files", ".pt": "PyTorch's files", ".zarr": "Zarr"}


@click.command(short_help="Convert nets, weights or images to another format.")
@click.argument("source", metavar="IN")
@click.argument("target", metavar="OUT")
@click.option("--weights", "-w", metavar="FILE", help="The net's, where IN is a net.")
@click.option("--allow-missing", is_flag=True, help="Let layers without weights keep their initial values.")
@click.option(
    "--deploy", is_flag=True, help="Write what answers alone: fed by hand, without data files, labels and losses."
)
@click.option("--dense", is_flag=True, help="Write the net that answers for every window of an image (OUT in ONNX).")
@click.option(
    "--output",
    metavar="BLOB",
    help="Which blob answers, where the net has several outputs (with --deploy, or OUT in ONNX).",
)
def convert(
    source: str, target: str, weights: str | None, allow_missing: bool, deploy: bool, dense: bool, output: str | None
) -> None:
    """Convert a net, weights or images from IN to OUT; the suffix of OUT says what is written, whole or not at all.

    A net (a prototxt, an ONNX graph, or module:function) becomes a .prototxt (whole, or with --deploy what
    answers alone), and with --weights a .caffemodel beside it; an
    .onnx graph of opset 17, weights included, for one patch or with --dense for images of any size; or its weights alone, where
    OUT is a .caffemodel, .caffemodel.h5 or .h5.

    Weights alone go between .caffemodel, .caffemodel.h5 and our .h5, which has a dataset layer___filter or layer___weight,
    and layer___bias, for each layer; Mocha's .jld is read, too. Caffe's solver states go between .solverstate and
    .solverstate.h5. Images go between TIFF, PNG and HDF5 (file.h5:/dataset), mean images between these, .npy and Caffe's
    .binaryproto.
    """
    from . import convert_images, convert_means, convert_nets, convert_states, convert_weights

    _refuse_unknown(source, NOT_YET)
    _refuse_unknown(target, NOT_YET | READ_ONLY)
    _refuse_to_overwrite(source, target)
    if weights is not None:
        for written in (target, convert_nets.weights_beside(target)):
            _refuse_to_overwrite(weights, written)
    if convert_nets.is_net(source):
        click.echo(
            convert_nets.convert_net(
                source, target, weights, allow_missing, deployed=deploy, dense=dense, output=output
            )
        )
        return
    if weights is not None or allow_missing or deploy or dense or output is not None:
        raise FormatError(
            f"{source}: is no net (a .prototxt, an .onnx, or module:function), so it takes none of --weights, --allow-missing, "
            "--deploy, --dense and --output"
        )
    if any(map(convert_states.is_state, (source, target))):
        click.echo(convert_states.convert_state(source, target))
    elif MEAN in (os.path.splitext(name)[1].lower() for name in (source, target)):
        click.echo(convert_means.convert_mean(source, target))
    elif convert_images.is_image(source):
        click.echo(convert_images.convert_image(source, target))
    else:
        click.echo(convert_weights.convert_weights(source, target))


def _refuse_to_overwrite(source: str, target: str) -> None:
    from ..imaging.hdf5 import split_location
    from .nets import split_patch

    files = [split_patch(split_location(name)[0])[0] for name in (source, target)]
    if all(map(os.path.exists, files)) and os.path.samefile(*files):
        raise FormatError(f"{target}: is the input, too; name another file for the result")


def _refuse_unknown(name: str, unknown: dict[str, str]) -> None:
    suffix = os.path.splitext(name)[1].lower()
    if suffix in unknown:
        known = f"nets in .prototxt and .onnx, weights in {', '.join(WEIGHTS)}, images in {', '.join(IMAGES)}, means in {MEAN}"
        what = "not written" if suffix in READ_ONLY else "not converted yet"
        raise UnsupportedError(f"{name}: {unknown[suffix]} ({suffix}) are {what}; this version knows {known}")
