"""Which arrays a layer trains: its own, those of another layer of its key, or single ones that layers share by name; what fits them.

A backend's registry has a list of parameters per key, a layer's `param_key` or name (Mocha), and one of a single parameter per
shared name (Caffe's `param { name: "w" }`). One parameter is one array, with one gradient and one update.
"""

import warnings
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from .backend import Backend
from .blob import Parameter, Shape
from .errors import ShapeError, WeightsError
from .layers.base import Layer, Node, ParameterLayer, ParameterSpec


def parameters_of(
    layer: Layer, bottoms: list[Shape], dtype: np.dtype, backend: Backend, others: Iterable[Parameter]
) -> list[Parameter]:
    """The layer's parameters on this backend, made where there are none.

    Parameters
    ----------
    bottoms : shapes
    others : parameters
        Those that layers of the same net have already.

    Raises
    ------
    ShapeError
        Where a shared parameter has another shape or type, or another layer of the net wants it trained otherwise.
    """
    specs = layer.parameters(bottoms)
    if not specs:
        return []
    key = (layer.param_key if isinstance(layer, ParameterLayer) else "") or layer.name
    names = layer.shared_names(len(specs)) if isinstance(layer, ParameterLayer) else [""] * len(specs)
    found = backend.registry.setdefault(key, [])
    if not found:
        found.extend(_named(name, key, spec, dtype, backend) for name, spec in zip(names, specs, strict=True))
    known = {id(other) for other in others}
    for spec, parameter in zip(specs, found, strict=False):
        if spec.shape != parameter.shape or dtype != parameter.dtype:
            raise ShapeError(
                f"{layer.label}: its {spec.role} is {spec.shape} {dtype}, but the backend's parameter {parameter.name!r} of key "
                f"{key!r} is {parameter.shape} {parameter.dtype}; name the layer otherwise, set param_key, or use another backend "
                "object"
            )
        _same_training(layer, key, spec, parameter, id(parameter) in known)
    if len(specs) != len(found):
        raise ShapeError(
            f"{layer.label}: has {len(specs)} parameters, but those of key {key!r} are {len(found)}; set param_key"
        )
    return found


def _named(name: str, key: str, spec: ParameterSpec, dtype: np.dtype, backend: Backend) -> Parameter:
    """The parameter shared under that name, if it has one; made where it is not there."""
    shared = backend.registry.setdefault(f"={name}", []) if name else []
    if not shared:
        made = Parameter(
            f"{key} {spec.role}",
            spec.role,
            spec.shape,
            dtype,
            backend.ops,
            initializer=spec.initializer,
            regularizer=spec.regularizer,
            constraint=spec.constraint,
            local_rate=spec.local_rate,
        )
        shared.append(made)
    return shared[0]


def _same_training(layer: Layer, key: str, spec: ParameterSpec, parameter: Parameter, same_net: bool) -> None:
    """A shared parameter is one, with one update: says so where this layer asks for another than the first one did."""
    asked = (spec.regularizer, spec.constraint, spec.local_rate)
    kept = (parameter.regularizer, parameter.constraint, parameter.local_rate)
    if asked == kept:
        return
    both = f"{layer.label}: asks for {asked} on its {spec.role}, but the parameter of key {key!r} has {kept}"
    if same_net:
        raise ShapeError(f"{both} from another layer of this net; give both layers the same, or keys of their own")
    warnings.warn(f"{both}, which stays; call registry_reset or use another backend object to begin anew", stacklevel=6)


def keep_parameters(node: Node, layer: Layer, bottoms: list[Shape]) -> None:
    """Refuses bottoms for which the layer would need other parameters than it has."""
    wanted, present = [spec.shape for spec in layer.parameters(bottoms)], [p.shape for p in node.params]
    if wanted != present:
        raise layer.refuse(
            f"parameters would change from {present} to {wanted}; feed the size for which the net was made, or label any size with "
            "predict"
        )


def fitting_values(
    net: str, params: Mapping[str, Sequence[Parameter]], values: Mapping[str, Sequence[np.ndarray]]
) -> dict[str, list[np.ndarray]]:
    """Values by layer name as arrays, once all of them are known to fit the net's parameters.

    Raises
    ------
    WeightsError
    """
    arrays = {name: [np.asarray(value) for value in many] for name, many in values.items()}
    for name, many in arrays.items():
        if name not in params:
            raise WeightsError(f"net {net!r} has no layer {name!r} with parameters; it has {sorted(params)}")
        shapes, wanted = [tuple(array.shape) for array in many], [p.shape for p in params[name]]
        if shapes != wanted:
            raise WeightsError(f"layer {name!r}: the values are shaped {shapes}, its parameters {wanted}")
        for array, parameter in zip(many, params[name], strict=True):
            if not np.isfinite(array).all():
                raise WeightsError(
                    f"layer {name!r}: its {parameter.role} holds NaN or infinity; train again or use other weights"
                )
    return arrays
