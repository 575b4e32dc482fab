"""A program in this backend's own steps: blocked maps, and convolutions that take what follows them along.

A convolution, its rectifier, and the pooling and split into fragments behind it become one step; so do a convolution,
its rectifier and a 1 x 1 convolution to a few classes with softmax and stitching. What lies between stays in the cache. Factors and
terms of channels go into the weights of the convolution before them, or become one step together with a rectifier.

A value may be wanted in both layouts; it is brought into the other one once. Steps that no rule names run by the ops,
on plain maps: everything works, and what matters is fast.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

from ..program import Program, Step, Value, Weight
from ..shapes import Shape, Window
from .channels import Link
from .conv.problem import Problem, Tail
from .folded import fold
from .patterns import escapes, is_end, is_pointwise, is_pool, is_tail, link_of, rectifier, wild_buffers
from .simd import lanes

FEW_CHANNELS = 8  # a plain source with fewer is read as it is


def lower(program: Program) -> Program:
    """The same answers by the backend's own steps."""
    return _Lowering(program).result()


@dataclass
class _Lowering:
    """The pass over one program; values are known by the buffer that they have in it."""

    program: Program
    steps: list[Step] = field(default_factory=list)
    plain: dict[int, Value] = field(default_factory=dict)
    blocked: dict[int, Value] = field(default_factory=dict)
    buffers: int = 0

    def __post_init__(self) -> None:
        steps = self.program.steps
        self.writes = Counter(s.write.buffer for s in steps)
        self.last_write = {s.write.buffer: i for i, s in enumerate(steps)}
        self.readers: dict[int, list[int]] = {}
        for i, step in enumerate(steps):
            for read in step.reads:
                if isinstance(read, Value):
                    self.readers.setdefault(read.buffer, []).append(i)
        self.written = {s.write.buffer: s.write for s in reversed(steps)}  # under the shape that its first writer sees
        self.ends = {v.buffer for v in self.program.outputs}
        self.wild = wild_buffers(steps)
        self.fused: set[int] = set()
        self.width = lanes(self.program.dtype)

    def result(self) -> Program:
        source = self.program.input
        self.plain[source.buffer] = self.new(source.shape)
        for i, step in enumerate(self.program.steps):
            if i not in self.fused:
                rule: Callable[[int, Step], bool] | None = getattr(self, f"_{step.op}", None)
                if rule is None or not rule(i, step):
                    self._by_ops(step)
        outputs = tuple(replace(self.as_plain(v), shape=v.shape) for v in self.program.outputs)
        return Program(tuple(self.steps), self.plain[source.buffer], outputs, self.program.dtype)

    # ---- values
    def new(self, shape: Shape) -> Value:
        self.buffers += 1
        return Value(self.buffers - 1, tuple(shape))

    def new_blocked(self, shape: Shape) -> Value:
        """The blocked map of (N, C, H, W)."""
        return self.new(self.shape_of_blocked(shape))

    def add(self, like: Step, op: str, reads: tuple[Any, ...], write: Value, **options: Any) -> None:
        self.steps.append(Step(op, reads, write, options, like.layer, like.dtype))

    def as_plain(self, value: Value) -> Value:
        if value.buffer not in self.plain:
            made = self.plain[value.buffer] = self.new(self.written[value.buffer].shape)
            source = self.blocked[value.buffer]
            self.steps.append(Step("unblock", (source,), made, {}, self._maker(value), self.program.dtype))
        return replace(self.plain[value.buffer], shape=value.shape)

    def as_blocked(self, value: Value) -> Value:
        if self.has(value):
            return self.blocked[value.buffer]
        source, made = self.as_plain(value), self.new_blocked(value.shape)
        self.blocked.setdefault(value.buffer, made)  # but not in place of its form under another shape
        self.steps.append(Step("block", (source,), made, {}, self._maker(value), self.program.dtype))
        return made

    def _maker(self, value: Value) -> str:
        return next((s.layer for s in self.program.steps if s.write.buffer == value.buffer), "input")

    def is_done(self, value: Value, i: int) -> bool:
        """Whether step i reads a map to which no later step writes, so that it may be blocked."""
        return len(value.shape) == 4 and self.last_write.get(value.buffer, -1) < i

    def is_written_once(self, value: Value) -> bool:
        """Whether one step makes a map, which it may do in blocked form."""
        return len(value.shape) == 4 and self.writes[value.buffer] == 1

    def has(self, value: Value) -> bool:
        """Whether a value is at hand in blocked form, under its own shape."""
        made = self.blocked.get(value.buffer)
        return made is not None and len(value.shape) == 4 and made.shape == self.shape_of_blocked(value.shape)

    def shape_of_blocked(self, shape: Shape) -> Shape:
        n, c, h, w = shape
        return (n, -(-c // self.width), h, w, self.width)

    def only_reader(self, value: Value) -> tuple[int, Step] | None:
        """The one step that reads a value which nothing else wants."""
        readers = self.readers.get(value.buffer, [])
        if len(readers) != 1 or value.buffer in self.ends or self.writes[value.buffer] != 1:
            return None
        step = self.program.steps[readers[0]]
        return (readers[0], step) if step.reads[0] == value else None

    # ---- rules, one per op; each says whether it applied
    def _conv(self, i: int, step: Step) -> bool:
        x, w, _ = step.reads
        window: Window = step.options["window"]
        assert isinstance(x, Value) and isinstance(w, Weight)
        if len(window.kernel) != 2 or step.options["group"] != 1 or not self.is_done(x, i) or 0 in x.shape:
            return False
        plain = x.shape[1] < FEW_CHANNELS and x.buffer in self.plain and not any(window.pad)
        source = replace(self.plain[x.buffer], shape=x.shape) if plain else self.as_blocked(x)
        if any(window.pad):
            n, b, h, wide, width = source.shape
            padded = self.new((n, b, h + 2 * window.pad[0], wide + 2 * window.pad[1], width))
            self.add(step, "pad", (source,), padded, pad=window.pad)
            source = padded
        _, _, rows, columns = source.shape[:4] if plain else (0, 0, *source.shape[2:4])
        problem = Problem(
            x.shape[0], x.shape[1], (rows, columns), w.shape[0], window.kernel, window.stride, window.dilation,
            step.dtype, plain=plain,
        )  # fmt: skip
        self._finish(step, source, problem)
        return True

    def _finish(self, step: Step, source: Value, problem: Problem) -> None:
        """Takes along what follows the convolution, as far as nothing else wants what lies between."""
        parts = [step]
        last, weights = self._fold(parts, step.write, step.reads[1:])
        extra: tuple[Value | Weight | None, ...] = ()
        following = self.only_reader(last)
        if following and (slope := rectifier(following[1])) is not None:
            problem = replace(problem, slope=slope)
            last = self._take(parts, following)
            following = self.only_reader(last)
        if following and is_pool(following[1], problem.out):
            problem = replace(problem, pool=following[1].options["window"].kernel)
            last = self._take(parts, following)
            following = self.only_reader(last)
        if following and following[1].op == "fragment" and not following[1].options.get("add"):
            problem = replace(problem, split=tuple(prod(s) for s in zip(*following[1].options["strides"], strict=True)))
            if len(following[1].options["strides"]) == 1:
                last = self._take(parts, following)
            else:
                problem = replace(problem, split=(1, 1))
        elif following and problem.pool == (1, 1) and (is_tail(following[1]) or is_end(following[1])):
            softmax, splits, size = False, (), problem.out
            if is_tail(following[1]):
                extra = following[1].reads[1:]
                last = self._take(parts, following)
                following = self.only_reader(last)
            if following and following[1].op == "softmax" and following[1].options["axis"] == 1:
                softmax = True
                last = self._take(parts, following)
                following = self.only_reader(last)
            if following and following[1].op == "stitch" and not following[1].options.get("add"):
                splits, size = following[1].options["strides"], following[1].write.shape[2:]
                last = self._take(parts, following)
            classes = last.shape[1]
            problem = replace(problem, tail=Tail(classes, softmax, tuple(splits), tuple(size), own=not extra))
        write = self.new(problem.written)
        if problem.tail is None:
            self.blocked[last.buffer] = write
        else:
            self.plain[last.buffer] = write
        names = dict.fromkeys(p.layer for p in parts)
        reads = (source, *weights, *extra)
        read = step.reads[0]
        wild = isinstance(read, Value) and read.buffer in self.wild
        options = {"problem": problem, "flops": sum(p.flops for p in parts), "apart": wild}
        self.steps.append(Step("convolve", reads, write, options, " + ".join(names), step.dtype))

    def _fold(self, parts: list[Step], last: Value, weights: tuple[Any, ...]) -> tuple[Value, tuple[Any, ...]]:
        """Takes along the factors and terms behind a convolution; its top, and its weights with them inside."""
        chain, operands = self._chain(parts, last, affine=True)
        if not chain:
            return last, weights
        w, b = weights
        return parts[-1].write, fold(w, b, chain, operands)

    def _chain(self, parts: list[Step], last: Value, affine: bool) -> tuple[list[Link], list[Any]]:
        """Takes along what multiplies channels and adds to them, and unless it must be `affine` a rectifier at the end."""
        chain: list[Link] = []
        operands: list[Any] = []
        while (following := self.only_reader(last)) and (link := link_of(following[1])):
            rectifies = link[0] in ("prelu", "relu")
            if (rectifies and affine) or not self.is_written_once(following[1].write):
                break
            last = self._take(parts, following)
            chain.append(link)
            operands.extend(following[1].reads[1:])
            if rectifies:
                break
        return chain, operands

    def _take(self, parts: list[Step], following: tuple[int, Step]) -> Value:
        self.fused.add(following[0])
        parts.append(following[1])
        return following[1].write

    def _blocked_step(self, i: int, step: Step, op: str, **options: Any) -> bool:
        """A step with one blocked bottom and a blocked top."""
        x = step.reads[0]
        assert isinstance(x, Value)
        if not (self.is_done(x, i) and self.is_written_once(step.write) and self.has(x)):
            return False
        write = self.blocked[step.write.buffer] = self.new_blocked(step.write.shape)
        self.add(step, op, (self.blocked[x.buffer], *step.reads[1:]), write, **options)
        return True

    def _combine(self, i: int, step: Step) -> bool:
        """Element by element, so in any layout; lanes without a channel must stay finite, which products and quotients may not."""
        reads = [r for r in step.reads if isinstance(r, Value)]
        ready = all(self.is_done(r, i) for r in reads) and self.is_written_once(step.write)
        whole = step.write.shape[1:2] and step.write.shape[1] % self.width == 0
        if any(isinstance(r, Weight) for r in step.reads):  # a parameter that is a blob
            return False
        if (
            not ready
            or not any(map(self.has, reads))
            or (step.options.get("operation") in ("product", "quotient") and not whole)
        ):
            return False
        sources = tuple(self.as_blocked(r) if isinstance(r, Value) else None for r in step.reads)
        write = self.blocked[step.write.buffer] = self.new_blocked(step.write.shape)
        self.add(step, step.op, sources, write, **step.options)
        return True

    def _activate(self, i: int, step: Step) -> bool:
        """Lanes without a channel come to hold anything finite, which weights of 0 undo; nothing undoes an infinity."""
        x = step.reads[0]
        assert isinstance(x, Value)
        full = len(x.shape) == 4 and x.shape[1] % self.width == 0
        return (full or not escapes(step)) and self._blocked_step(i, step, step.op, **step.options)

    def _by_channel(self, i: int, step: Step) -> bool:
        """Factors, terms and slopes of channels, as many as follow one another, in one pass."""
        x, link = step.reads[0], link_of(step)
        assert isinstance(x, Value)
        if link is None or not (self.is_done(x, i) and self.is_written_once(step.write) and self.has(x)):
            return False
        parts = [step]
        chain, operands = self._chain(parts, step.write, affine=False) if link[0] != "prelu" else ([], [])
        last = parts[-1].write
        write = self.blocked[last.buffer] = self.new_blocked(last.shape)
        reads = (self.blocked[x.buffer], *step.reads[1:], *operands)
        names = dict.fromkeys(p.layer for p in parts)
        options = {"chain": (link, *chain), "channels": last.shape[1]}
        self.steps.append(Step("blocked_affine", reads, write, options, " + ".join(names), step.dtype))
        return True

    _standardize = _prelu = _by_channel

    def _scale(self, i: int, step: Step) -> bool:
        """By numbers of channels, or of one map by another."""
        x, s, b = step.reads
        if isinstance(s, Value) and b is None and isinstance(x, Value) and s.shape == x.shape:
            return self._combine(i, step)
        return self._by_channel(i, step)

    def _max_pool(self, i: int, step: Step) -> bool:
        window: Window = step.options["window"]
        return len(window.kernel) == 2 and self._blocked_step(i, step, "blocked_max_pool", window=window)

    def _deconv(self, i: int, step: Step) -> bool:
        """Each channel by itself, with windows side by side: how Greentea's nets go up."""
        x, w, _ = step.reads
        window: Window = step.options["window"]
        assert isinstance(x, Value) and isinstance(w, Weight)
        alone = len(window.kernel) == 2 and step.options["group"] == x.shape[1] == step.write.shape[1]
        if not alone or window.kernel != window.stride or any(window.pad) or window.dilation != (1, 1):
            return False
        following = self.only_reader(step.write)
        if following and is_pointwise(following[1]) and self.is_done(x, i):
            self._up(step, x, following)
            return True
        return self._blocked_step(i, step, "blocked_spread", stride=window.stride, flops=step.flops)

    def _up(self, step: Step, x: Value, following: tuple[int, Step]) -> None:
        """Upsampling and a 1 x 1 convolution: they may change places, see `upsampled`."""
        parts, stride = [step], step.options["window"].stride
        last = self._take(parts, following)
        last, weights = self._fold(parts, last, following[1].reads[1:])
        w = weights[0]
        n, c, *size = x.shape
        low = Problem(n, c, tuple(size), w.shape[0], (1, 1), (1, 1), (1, 1), step.dtype)
        activation = self.only_reader(last)
        if activation and (slope := rectifier(activation[1])) is not None:
            low = replace(low, slope=slope)
            last = self._take(parts, activation)
        reads = (self.as_blocked(x), *step.reads[1:], *weights)
        write = self.blocked[last.buffer] = self.new_blocked(last.shape)
        options = {"problem": low, "stride": stride, "flops": sum(p.flops for p in parts)}
        names = dict.fromkeys(p.layer for p in parts)
        self.steps.append(Step("up_convolve", reads, write, options, " + ".join(names), step.dtype))

    def _fragment(self, i: int, step: Step) -> bool:
        options = step.options
        return not options.get("add") and self._blocked_step(i, step, "blocked_fragment", strides=options["strides"])

    def _stitch(self, i: int, step: Step) -> bool:
        options = step.options
        return not options.get("add") and self._blocked_step(i, step, "blocked_stitch", strides=options["strides"])

    def _move(self, i: int, step: Step) -> bool:
        """Boxes of a map, such as a crop, a slice or a merge; a buffer of several is blocked if all its parts can be."""
        x, y = step.reads[0], step.write
        if not isinstance(x, Value):  # a parameter that is a blob
            return False
        first = y.buffer not in self.blocked and y.buffer not in self.plain
        if first:
            writers = [(j, s) for j, s in enumerate(self.program.steps) if s.write.buffer == y.buffer]
            if not all(self._can_move(j, s) for j, s in writers):
                return False
            if not (self.has(x) or all(self._in_step(s) for _, s in writers)):
                return False
            self.blocked[y.buffer] = self.new_blocked(y.shape)
        elif y.buffer not in self.blocked:
            return False
        if not self._in_step(step):
            box = {key: step.options[key] for key in ("source", "target", "size")}
            last = box["target"][1] + box["size"][1] == y.shape[1]
            self.add(step, "blocked_move", (self.as_blocked(x),), self.blocked[y.buffer], **box, last=last)
            return True
        (sn, sc, *source), (tn, tc, *target) = step.options["source"], step.options["target"]
        n, c, *size = step.options["size"]
        places = {
            "source": (sn, sc // self.width, *source, 0),
            "target": (tn, tc // self.width, *target, 0),
            "size": (n, -(-c // self.width), *size, self.width),
        }
        self.add(step, "move", (self.as_blocked(x),), self.blocked[y.buffer], **places, add=False)
        return True

    def _can_move(self, i: int, step: Step) -> bool:
        x, y = step.reads[0], step.write
        if step.op != "move" or step.options.get("add") or not isinstance(x, Value) or len(y.shape) != 4:
            return False
        return self.is_done(x, i)

    def _in_step(self, step: Step) -> bool:
        """Whether a box holds whole vectors of channels, or ends with both maps."""
        x, y = step.reads[0], step.write
        assert isinstance(x, Value)
        source, target, size = (step.options[k][1] for k in ("source", "target", "size"))
        whole = size % self.width == 0 or (target + size == y.shape[1] and source + size == x.shape[1])
        return whole and source % self.width == target % self.width == 0

    def _by_ops(self, step: Step) -> None:
        reads = tuple(self.as_plain(r) if isinstance(r, Value) else r for r in step.reads)
        y = step.write
        if y.buffer not in self.plain:
            self.plain[y.buffer] = self.new(y.shape)
        write = replace(self.plain[y.buffer], shape=y.shape)
        self.steps.append(replace(step, reads=reads, write=write))


__all__ = ["lower"]
