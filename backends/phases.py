"""Strided kernels on fragments: the same program, with every dilated convolution done densely.

Outputs d apart of a convolution of dilation d read inputs d apart, so the d phases of a map never meet. Split into them by
`fragment`, one dilated convolution becomes d * d dense ones on smaller maps, and for those there are faster algorithms.

A map is split, or stitched together again, in front of the step that wants it otherwise than it is, and no earlier. So a pool's
output is split rather than its larger input, a neuron stays beside its convolution, and what is stitched at the end are the few
maps of the answer.
"""

from collections.abc import Iterator
from dataclasses import replace
from math import gcd, prod

from .program import Program, Step, Value
from .shapes import Shape

Splits = tuple[Shape, ...]  # the strides of all splits of a value, in the order in which they were made

_WINDOWED = ("conv", "max_pool", "mean_pool")


def split_phases(program: Program) -> Program:
    """The program with its dilated convolutions on fragments; it gives the same answers.

    A convolution works on as many fragments as its dilation says, and what combines several maps element by element on those of the
    map that is split the most, so that a residual branch stays as it is. Pools, pointwise steps, softmax over the channels and kernels
    of one element take the fragments that are there. Whatever else there is, windows with a stride or padding among it, reads whole
    maps, and so does the caller.
    """
    rewriting = _Rewriting(program)
    for step in program.steps:
        rewriting.take(step)
    outputs = tuple(rewriting.whole(value, "") for value in program.outputs)
    return replace(program, steps=tuple(rewriting.steps), outputs=outputs)


def wanted(step: Step, present: Shape) -> Shape:
    """Into how many phases per axis the step wants its map split, which is split into `present` as it stands."""
    if _keeps_to_pixels(step):
        return present
    if step.op in _WINDOWED and _slides_freely(step):
        window = step.options["window"]
        axes = zip(present, window.kernel, window.dilation, strict=True)
        if step.op == "conv":
            return tuple(p if k == 1 else d for p, k, d in axes)
        return tuple(p if k == 1 else gcd(p, d) for p, k, d in axes)  # no pool gains by a split of its own
    return (1,) * len(present)


def _keeps_to_pixels(step: Step) -> bool:
    """Whether each pixel's answer depends on that pixel's channels alone, wherever it is."""
    if step.op in ("softmax", "scale"):
        return bool(step.options["axis"] == 1)
    return step.op in ("activate", "standardize", "prelu") or (step.op == "lrn" and not step.options["within"])


def _slides_freely(step: Step) -> bool:
    """Whether every element under the window at every place is one of the map: no stride, no padding, nothing hanging over."""
    x, window = step.reads[0], step.options["window"]
    assert isinstance(x, Value)
    plain = max(window.stride) == 1 and max(window.pad) == 0
    return plain and step.write.shape[2:] == window.slides(x.shape[2:])


class _Rewriting:
    """The program being rewritten: its steps so far, and every form in which a value exists by now.

    A value that is one whole map keeps its buffer; fragments and stitched maps made of it get new ones.
    """

    def __init__(self, program: Program) -> None:
        self.steps: list[Step] = []
        self.readable, self.computed = _convertible(program)
        self.sizes = {value.buffer: value.shape for _, value, _ in _values(program)}
        self.forms: dict[int, dict[Splits, Value]] = {program.input.buffer: {(): program.input}}
        self.makers: dict[int, str] = {}
        self.buffers = 1 + max(self.sizes)
        self.dtype = program.dtype

    def take(self, step: Step) -> None:
        """Adds a step, with the conversions that it wants in front."""
        x, *others = step.reads or (None,)
        y = step.write
        if step.op == "combine" and self._take_together(step):
            return
        if not isinstance(x, Value) or any(isinstance(r, Value) for r in others) or not self._free(x, y):
            reads = tuple(self.whole(r, step.layer) if isinstance(r, Value) else r for r in step.reads)
            self._add(replace(step, reads=reads), ())
            return
        first = next(iter(self.forms[x.buffer]))  # as it was computed
        split = wanted(step, _phases(first, len(x.shape[2:])))
        splits = self._form(x, split, step.layer)
        options = dict(step.options)
        if step.op in _WINDOWED:
            window = options["window"]
            spread = zip(window.kernel, window.dilation, split, strict=True)
            options["window"] = replace(window, dilation=tuple(d // s if k > 1 else 1 for k, d, s in spread))
        write = replace(y, shape=_shape(y.shape, splits))
        self._add(replace(step, reads=(self.forms[x.buffer][splits], *others), write=write, options=options), splits)

    def _take_together(self, step: Step) -> bool:
        """Adds a step that meets several maps element by element, on the fragments of that one which is split the most.

        Says whether it could.
        """
        reads = [r for r in step.reads if isinstance(r, Value)]
        if len(reads) < len(step.reads) or not all(self._free(r, step.write) for r in reads):
            return False
        axes = len(step.write.shape[2:])
        computed = (next(iter(self.forms[r.buffer])) for r in reads)
        splits = max(computed, key=lambda held: prod(_phases(held, axes)))
        there = tuple(self._split_alike(r, splits, step.layer) for r in reads)
        self._add(replace(step, reads=there, write=replace(step.write, shape=_shape(step.write.shape, splits))), splits)
        return True

    def _split_alike(self, value: Value, splits: Splits, reader: str) -> Value:
        """The value in just these fragments, in just this order."""
        forms = self.forms[value.buffer]
        if splits not in forms:
            begun = [splits[:n] for n in range(len(splits) - 1, -1, -1) if splits[:n] in forms]
            kept = begun[0] if begun else self._form(value, (1,) * len(value.shape[2:]), reader)
            self._convert(value, "fragment", kept, splits, splits[len(kept) :], reader)
        return forms[splits]

    def whole(self, value: Value, reader: str) -> Value:
        """The value as one map."""
        if value.buffer not in self.readable:
            return value
        return self.forms[value.buffer][self._form(value, (1,) * len(value.shape[2:]), reader)]

    def _free(self, x: Value, y: Value) -> bool:
        """Whether a step from x to y may run on fragments of x, and leave fragments of y."""
        alike = len(x.shape) == len(y.shape) and x.shape[:1] == y.shape[:1]
        return alike and x.buffer in self.readable and y.buffer in self.computed

    def _add(self, step: Step, splits: Splits) -> None:
        self.steps.append(step)
        self.makers[step.write.buffer] = step.layer
        self.forms[step.write.buffer] = {splits: step.write}

    def _form(self, value: Value, split: Shape, reader: str) -> Splits:
        """Sees to it that the value exists in so many phases, by as few passes as can be; says by which splits."""
        forms = self.forms[value.buffer]
        splits = min(forms, key=lambda held: _passes(held, split))
        kept, quotient = _path(splits, split)
        if kept != splits:  # the last splits can be undone alone, since each one splits the fragments before it
            self._convert(value, "stitch", splits, kept, splits[len(kept) :], reader)
        if max(quotient, default=1) == 1:
            return kept
        self._convert(value, "fragment", kept, (*kept, quotient), (quotient,), reader)
        return (*kept, quotient)

    def _convert(self, value: Value, op: str, old: Splits, new: Splits, strides: Splits, reader: str) -> None:
        forms = self.forms[value.buffer]
        forms[new] = Value(self.buffers, _shape(self.sizes[value.buffer], new))
        self.buffers += 1
        layer = self.makers.get(value.buffer, reader)  # the image has no maker
        self.steps.append(Step(op, (forms[old],), forms[new], {"strides": strides}, layer, self.dtype))


def _values(program: Program) -> Iterator[tuple[int, Value, bool]]:
    """Every mention of a value: the number of the step, the value, and whether it is written there."""
    yield -1, program.input, True
    for i, step in enumerate(program.steps):
        yield from ((i, r, False) for r in step.reads if isinstance(r, Value))
        yield i, step.write, True
    yield from ((len(program.steps), output, False) for output in program.outputs)


def _convertible(program: Program) -> tuple[set[int], set[int]]:
    """The buffers that may be read in other forms, and those of them that one step alone computes, in whatever form.

    The first are seen under one shape, and not read before they are complete.
    """
    shapes: dict[int, set[Shape]] = {}
    writes: dict[int, list[int]] = {}
    reads: dict[int, list[int]] = {}
    for i, value, written in _values(program):
        shapes.setdefault(value.buffer, set()).add(value.shape)
        (writes if written else reads).setdefault(value.buffer, []).append(i)
    readable = {b for b, at in writes.items() if len(shapes[b]) == 1 and max(at) < min(reads.get(b, [max(at) + 1]))}
    return readable, {b for b in readable if len(writes[b]) == 1}


def _phases(splits: Splits, axes: int) -> Shape:
    """How many there are per axis."""
    return tuple(prod(s[axis] for s in splits) for axis in range(axes))


def _shape(whole: Shape, splits: Splits) -> Shape:
    """Of all fragments of a map; they are rounded up to equal sizes."""
    if not splits:
        return whole
    phases = _phases(splits, len(whole) - 2)
    return (whole[0] * prod(phases), whole[1], *(-(-n // p) for n, p in zip(whole[2:], phases, strict=True)))


def _path(splits: Splits, split: Shape) -> tuple[Splits, Shape]:
    """The way from one form to so many phases: the splits to keep, and what to split by then."""
    for kept in (splits[:n] for n in range(len(splits), -1, -1)):
        pairs = list(zip(split, _phases(kept, len(split)), strict=True))
        if not any(n % have for n, have in pairs):
            break
    return kept, tuple(n // have for n, have in pairs)


def _passes(splits: Splits, split: Shape) -> int:
    """How many steps that way takes."""
    kept, quotient = _path(splits, split)
    return (kept != splits) + (max(quotient, default=1) > 1)
