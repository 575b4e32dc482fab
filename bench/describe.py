"""From a recorded program of ours to the plain data of `description.py`.

Two things are folded, for every peer would do the same by itself: ReLU into the convolution before it (`"relu": true`), and
the moves that crop and concatenate into one `concat`. A deconvolution that only repeats each element is called `upsample`.
"""

from collections import Counter

import numpy as np
from fullmocha.backends.program import Program, Step, Value, Weight

from .description import Json


def describe(program: Program) -> tuple[Json, dict[str, np.ndarray]]:
    """The program's steps as plain data, and its weights by key.

    Raises
    ------
    NotImplementedError
        If the program has a step that no peer's translation knows.
    """
    weights: dict[str, np.ndarray] = {}
    steps: list[Json] = []
    readers = Counter(r.buffer for s in program.steps for r in s.reads if isinstance(r, Value))
    for step in program.steps:
        x = step.reads[0]
        assert isinstance(x, Value)
        if step.op == "move":
            _add_part(steps, step, x)
            continue
        before = steps[-1] if steps else None
        follows = before and before["op"] in ("conv", "deconv") and before["write"] == x.buffer
        if before and follows and _is_relu(step) and readers[x.buffer] == 1:
            before |= {"relu": True, "write": step.write.buffer, "shape": step.write.shape}
            continue
        made: Json = {"op": step.op, "layer": step.layer, "read": x.buffer, "read_shape": x.shape}
        made |= {"write": step.write.buffer, "shape": step.write.shape}
        if step.op in ("conv", "deconv"):
            for role, weight in zip(("w", "b"), step.reads[1:], strict=True):
                if isinstance(weight, Weight):
                    made[role] = f"{len(steps)}_{role}"
                    weights[made[role]] = np.array(weight.parameter.values()).reshape(weight.shape)
            made |= {**_geometry(step), "group": step.options["group"], "relu": False}
            if step.op == "deconv" and _repeats(made, weights[made["w"]]):
                del weights[made["w"]]
                made = {k: made[k] for k in ("layer", "read", "read_shape", "write", "shape")} | {
                    "op": "upsample",
                    "factor": made["stride"],
                }
        elif step.op == "max_pool" and step.options["window"].slides(x.shape[2:]) == step.write.shape[2:]:
            made |= _geometry(step)  # no window hangs over the edge
        elif step.op == "softmax" and step.options["axis"] == 1:
            pass
        elif _is_relu(step):
            made["op"] = "relu"
        else:
            raise NotImplementedError(
                f"the peers' translation knows no {step.op} {dict(step.options)} (layer {step.layer})"
            )
        steps.append(made)
    for made in steps:
        if made["op"] == "concat":
            _check_concat(made)
    (output,) = program.outputs
    net = {
        "input": program.input.buffer,
        "input_shape": program.input.shape,
        "output": output.buffer,
        "output_shape": output.shape,
        "flops": program.flops,
        "steps": steps,
    }
    return net, weights


def _is_relu(step: Step) -> bool:
    return step.op == "activate" and (step.options["kind"], step.options["parameters"]) == ("relu", (0.0,))


def _geometry(step: Step) -> Json:
    window = step.options["window"]
    return {name: list(getattr(window, name)) for name in ("kernel", "stride", "pad", "dilation")}


def _repeats(step: Json, weight: np.ndarray) -> bool:
    """Whether a deconvolution puts every element into a block of its own, unchanged."""
    alone = weight.shape[1] == 1 and step["group"] == len(weight)
    blocks = step["kernel"] == step["stride"] and not any(step["pad"]) and "b" not in step
    return alone and blocks and bool((weight == 1).all())


def _add_part(steps: list[Json], step: Step, x: Value) -> None:
    """A move becomes a part of the `concat` that writes its target."""
    if step.options.get("add"):
        raise NotImplementedError(f"the peers' translation knows no adding move (layer {step.layer})")
    whole = next((s for s in steps if s["op"] == "concat" and s["write"] == step.write.buffer), None)
    if whole is None:
        whole = {
            "op": "concat",
            "layer": step.layer,
            "write": step.write.buffer,
            "shape": step.write.shape,
            "parts": [],
        }
        steps.append(whole)
    part = {k: tuple(step.options[k]) for k in ("source", "target", "size")}
    whole["parts"].append({"read": x.buffer, "read_shape": x.shape, **part})


def _check_concat(step: Json) -> None:
    """Parts must follow one another along the channels and fill the whole: what every peer's concatenation does."""
    channel = 0
    for part in step["parts"]:
        start = (0, channel, *[0] * (len(step["shape"]) - 2))
        size = (step["shape"][0], part["size"][1], *step["shape"][2:])
        if (part["target"], part["size"]) != (start, size):
            raise NotImplementedError(f"the peers' translation concatenates whole maps only (layer {step['layer']})")
        channel += part["size"][1]
    if channel != step["shape"][1]:
        raise NotImplementedError(f"layer {step['layer']} leaves maps unwritten; the peers' translation needs them all")
