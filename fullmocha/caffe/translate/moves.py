"""Caffe's layers that pass blobs on, join them, take them apart, or pick from them."""

from collections.abc import Callable
from typing import Any

from ... import layers
from ...initializers import ConstantInitializer
from ...layers.reduction import Operation as Reduction
from ..layertext import Config, LayerText, Parameters
from ..wording import Wording

_FUNCTIONS = (
    layers.ElementWiseFunctors.Multiply(),
    layers.ElementWiseFunctors.Add(),
    layers.ElementWiseFunctors.Maximum(),
)  # as Caffe numbers them
_REDUCTIONS: tuple[Reduction, ...] = ("sum", "asum", "sumsq", "mean")  # from 1 on


def split(text: LayerText) -> Config:
    return layers.SplitLayer(**text.wiring)


def write_split(layer: layers.SplitLayer, to: Wording) -> None:
    if not layer.in_place:
        to.block("Split")


def silence(text: LayerText) -> Config:
    return layers.SilenceLayer(name=text.name, bottoms=text.bottoms)


def write_silence(layer: layers.SilenceLayer, to: Wording) -> None:
    to.block("Silence")


def concat(text: LayerText) -> Config:
    return layers.ConcatLayer(**text.wiring, axis=_axis(text, text.block("concat_param"), "concat_dim"))


def _axis(text: LayerText, block: Parameters, older: str) -> int:
    """The axis, under today's name or its older one."""
    if block.has("axis") and block.has(older):
        raise text.wrong(f"has both axis and {older}; expected one of them")
    return int(getattr(block, older if block.has(older) else "axis"))


def write_concat(layer: layers.ConcatLayer, to: Wording) -> None:
    to.say(to.block("Concat", "concat_param"), axis=layer.at_axis(len(to.bottoms[0])))


def slice_(text: LayerText) -> Config:
    block = text.block("slice_param")
    axis, points = _axis(text, block, "slice_dim"), [int(p) for p in block.slice_point]
    return layers.SliceLayer(**text.wiring, axis=axis, points=points)


def write_slice(layer: layers.SliceLayer, to: Wording) -> None:
    block = to.block("Slice", "slice_param")
    to.say(block, axis=layer.axis)
    if layer.points:
        block.slice_point.extend(layer.points)


def eltwise(text: LayerText) -> Config:
    block = text.block("eltwise_param")
    operation = _FUNCTIONS[block.operation]
    coefficients = text.numbers(block, "coeff")
    if coefficients and operation.kind == "multiply":
        raise text.wrong("has coeff, which a product cannot take; remove it, or choose operation: SUM")
    return layers.ElementWiseLayer(
        **text.wiring,
        operation=operation,
        coefficients=coefficients if operation.kind == "add" else (),  # a maximum takes no notice of them
        stable_gradient=bool(block.stable_prod_grad),
    )


def write_eltwise(layer: layers.ElementWiseLayer, to: Wording) -> None:
    if layer.operation.kind == "divide":
        raise to.refuse("a quotient has no words in Caffe; use Power with power -1, and a product")
    block = to.block("Eltwise", "eltwise_param")
    kinds = {"multiply": block.PROD, "add": block.SUM, "subtract": block.SUM, "maximum": block.MAX}
    to.say(block, operation=kinds[layer.operation.kind], stable_prod_grad=layer.stable_gradient)
    if kinds[layer.operation.kind] == block.SUM and set(layer.factors) != {1.0}:
        block.coeff.extend(layer.factors)


def flatten(text: LayerText) -> Config:
    block = text.block("flatten_param")
    return layers.FlattenLayer(**text.wiring, axis=int(block.axis), end_axis=int(block.end_axis))


def write_flatten(layer: layers.FlattenLayer, to: Wording) -> None:
    to.say(to.block("Flatten", "flatten_param"), axis=layer.axis, end_axis=layer.end_axis)


def reshape(text: LayerText) -> Config:
    block = text.block("reshape_param")
    dims = [int(d) for d in block.shape.dim]
    return layers.ReshapeLayer(**text.wiring, dims=dims, axis=int(block.axis), num_axes=int(block.num_axes))


def write_reshape(layer: layers.ReshapeLayer, to: Wording) -> None:
    block = to.block("Reshape", "reshape_param")
    if layer.sample:
        block.shape.dim.extend((0, *layer.sample[::-1]))
    else:
        to.say(block, axis=layer.axis, num_axes=layer.num_axes)
        block.shape.dim.extend(layer.dims)


def tile(text: LayerText) -> Config:
    block = text.block("tile_param")
    if block.tiles < 1:
        raise text.wrong("tiles is missing; expected an integer of at least 1")
    return layers.TileLayer(**text.wiring, axis=int(block.axis), tiles=int(block.tiles))


def write_tile(layer: layers.TileLayer, to: Wording) -> None:
    to.say(to.block("Tile", "tile_param"), axis=layer.axis, tiles=layer.tiles)


def reduction(text: LayerText) -> Config:
    block = text.block("reduction_param")
    return layers.ReductionLayer(
        **text.wiring,
        operation=_REDUCTIONS[block.operation - 1],
        axis=int(block.axis),
        coefficient=text.number(block, "coeff"),
    )


def write_reduction(layer: layers.ReductionLayer, to: Wording) -> None:
    operation = _REDUCTIONS.index(layer.operation) + 1
    block = to.block("Reduction", "reduction_param")
    to.say(block, operation=operation, axis=layer.axis, coeff=float(layer.coefficient))


def arg_max(text: LayerText) -> Config:
    block = text.block("argmax_param")
    if block.top_k < 1:
        raise text.wrong(f"top_k is {block.top_k}; expected at least 1")
    fields: dict[str, Any] = {**text.wiring, "top_k": int(block.top_k), "ties": "last"}
    if block.has("axis"):
        return layers.ArgmaxLayer(**fields, axis=int(block.axis), output="value" if block.out_max_val else "index")
    return layers.ArgmaxLayer(**fields, whole=True, output="both" if block.out_max_val else "index")


def write_arg_max(layer: layers.ArgmaxLayer, to: Wording) -> None:
    """Ties are Caffe's from then on: it has no words for the first of equals."""
    if layer.whole and layer.output == "value":
        raise to.refuse('output "value" of whole samples has no words in Caffe; use "both", or an axis')
    block = to.block("ArgMax", "argmax_param")
    to.say(block, top_k=layer.top_k, out_max_val=layer.output != "index")
    if not layer.whole:
        block.axis = layer.at_axis(len(to.bottoms[0]))


def embed(text: LayerText) -> Config:
    block = text.block("embed_param")
    if block.input_dim < 1:
        raise text.wrong("input_dim is missing; expected the number of rows")
    return layers.EmbedLayer(
        **text.wiring,
        input_dim=int(block.input_dim),
        output_dim=text.num_output(block),
        **text.weight_and_bias("weight", block),
    )


def write_embed(layer: layers.EmbedLayer, to: Wording) -> None:
    block = to.block("Embed", "embed_param")
    to.say(block, input_dim=layer.input_dim, num_output=layer.output_dim)
    to.weight_and_bias(block, "weight")


def filter_(text: LayerText) -> Config:
    return layers.FilterLayer(**text.wiring)


def write_filter(layer: layers.FilterLayer, to: Wording) -> None:
    to.block("Filter")


def batch_reindex(text: LayerText) -> Config:
    return layers.BatchReindexLayer(**text.wiring)


def write_batch_reindex(layer: layers.BatchReindexLayer, to: Wording) -> None:
    to.block("BatchReindex")


def parameter(text: LayerText) -> Config:
    dims = [int(n) for n in text.block("parameter_param").shape.dim]
    if any(n < 1 for n in dims):
        raise text.wrong(f"shape is {dims}; expected sizes of at least 1")
    return layers.ParameterBlobLayer(**text.wiring, dims=dims, **text.parameters({"blob": ConstantInitializer(0.0)}))


def write_parameter(layer: layers.ParameterBlobLayer, to: Wording) -> None:
    to.block("Parameter", "parameter_param").shape.dim.extend(layer.dims)
    to.parameters("blob")


READERS: dict[str, Callable[[LayerText], Config]] = {
    "ArgMax": arg_max,
    "BatchReindex": batch_reindex,
    "Concat": concat,
    "Eltwise": eltwise,
    "Embed": embed,
    "Filter": filter_,
    "Flatten": flatten,
    "Parameter": parameter,
    "Reduction": reduction,
    "Reshape": reshape,
    "Silence": silence,
    "Slice": slice_,
    "Split": split,
    "Tile": tile,
}

WRITERS: dict[type[layers.Layer], Callable[[Any, Wording], None]] = {
    layers.ArgmaxLayer: write_arg_max,
    layers.BatchReindexLayer: write_batch_reindex,
    layers.ConcatLayer: write_concat,
    layers.ElementWiseLayer: write_eltwise,
    layers.EmbedLayer: write_embed,
    layers.FilterLayer: write_filter,
    layers.FlattenLayer: write_flatten,
    layers.IdentityLayer: write_split,
    layers.ParameterBlobLayer: write_parameter,
    layers.ReductionLayer: write_reduction,
    layers.ReshapeLayer: write_reshape,
    layers.SilenceLayer: write_silence,
    layers.SliceLayer: write_slice,
    layers.SplitLayer: write_split,
    layers.TileLayer: write_tile,
}
