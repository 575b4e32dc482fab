"""Factors, terms and slopes of channels in a compiled program: inside a convolution's weights, or one pass over blocked maps."""

import numpy as np
import pytest
from fullmocha.backends.cpu import Ops
from fullmocha.backends.program import Value

from fullmocha.plan import lay_out

from .programs import Draft, by_reference, compiled, errors, names, source
from .test_lower import BOUND, Build


def scale(d: Draft, x: Value, terms: bool = True, factors: bool = True, shape: tuple[int, ...] | None = None) -> Value:
    size = (x.shape[1],) if shape is None else shape
    s, b = d.weight(*size) if factors else None, d.weight(*size) if terms else None
    return d.call("scale", (x, s, b), x.shape, axis=1)


def standardize(d: Draft, x: Value) -> Value:
    mean, variance, factor = d.weight(x.shape[1]), d.weight(x.shape[1]), d.weight(1)
    for positive in (variance, factor):
        positive.parameter.array[...] = np.abs(positive.parameter.array) + 0.5
    return d.call("standardize", (x, mean, variance, factor), x.shape, eps=0.01)


def prelu(d: Draft, x: Value, shape: tuple[int, ...] | None = None) -> Value:
    return d.call("prelu", (x, d.weight(*((x.shape[1],) if shape is None else shape))), x.shape)


def lrn(d: Draft, x: Value) -> Value:
    return d.call("lrn", (x,), x.shape, size=5, alpha=1.0, beta=0.75, k=1.0, within=False)


def folded(d: Draft, x: Value) -> tuple[Value, ...]:
    """As in a ResNet; the pooling and the split stay with the convolution."""
    a = d.activate(scale(d, standardize(d, d.conv(x, 20, (3, 3), bias=False))))
    return (d.conv(d.fragment(d.max_pool(a, (2, 2)), (2, 2)), 5, (3, 2)),)


def with_classes(d: Draft, x: Value) -> tuple[Value, ...]:
    """A bias, one factor for all, terms alone; then the classes."""
    a = d.activate(scale(d, scale(d, d.conv(x, 18, (3, 3)), shape=()), factors=False))
    return (d.softmax(d.conv(a, 3, (1, 1))),)


def upsampled(d: Draft, x: Value) -> tuple[Value, ...]:
    a = d.activate(d.conv(x, 19, (3, 3)))
    near = d.activate(standardize(d, d.conv(d.deconv(a, 19, (2, 2), (2, 2), group=19, equal=True), 33, (1, 1))))
    far = standardize(d, d.conv(d.deconv(a, 19, (2, 2), (2, 2), group=19), 33, (1, 1)))
    return d.conv(near, 4, (2, 2)), d.conv(far, 4, (2, 2))


def in_front(d: Draft, x: Value) -> tuple[Value, ...]:
    """As in nets that activate first: behind a sum, so in no convolution's weights. Channels end within a vector."""
    a = d.conv(x, 18, (3, 3))
    b = d.call("combine", (a, d.conv(a, 18, (1, 1))), a.shape, operation="sum", coefficients=())
    c = d.activate(scale(d, standardize(d, b)), "relu", 0.1)
    return d.conv(c, 5, (2, 2)), b


def slopes(d: Draft, x: Value) -> tuple[Value, ...]:
    """What is bent is not linear any more, so a chain ends there."""
    a = scale(d, prelu(d, scale(d, d.conv(x, 18, (3, 3)))), terms=False)
    return (d.conv(prelu(d, a, ()), 5, (2, 2)),)


def seen_twice(d: Draft, x: Value) -> tuple[Value, ...]:
    """The convolution's own answer is wanted too, and so is what lies inside a chain."""
    a = d.conv(x, 18, (3, 3))
    b = scale(d, a)
    c = d.activate(standardize(d, b))
    return a, d.conv(b, 5, (1, 1)), d.conv(c, 5, (2, 2))


def plain(d: Draft, x: Value) -> tuple[Value, ...]:
    """On the image itself, by groups, and beside what knows plain maps alone."""
    a = d.activate(standardize(d, d.conv(scale(d, x), 24, (3, 3), group=3)))
    return (d.conv(prelu(d, lrn(d, a)), 5, (2, 2)),)


def products(d: Draft, x: Value) -> tuple[Value, ...]:
    a, b = d.conv(x, 18, (3, 3)), d.activate(d.conv(x, 18, (3, 3)), "sigmoid")
    square, terms = (d.call("scale", reads, a.shape, axis=0) for reads in ((a, b, None), (a, None, b)))
    return d.conv(square, 5, (2, 2)), d.conv(terms, 5, (2, 2))


STEPS: list[tuple[Build, list[str]]] = [
    (folded, ["convolve", "convolve", "unblock"]),
    (with_classes, ["convolve"]),
    (upsampled, ["convolve", "up_convolve", "up_convolve", "convolve", "convolve", "unblock", "unblock"]),
    (in_front, ["convolve", "convolve", "combine", "blocked_affine", "convolve", "unblock", "unblock"]),
    (slopes, ["convolve", "blocked_affine", "blocked_affine", "convolve", "unblock"]),
    (seen_twice, ["convolve", "blocked_affine", "blocked_affine", "convolve", "convolve", *["unblock"] * 3]),
    (plain, ["scale", "conv", "standardize", "activate", "lrn", "prelu", "block", "convolve", "unblock"]),
    (products, ["convolve", "convolve", "activate", "scale", "unblock", "unblock", "scale", "convolve", "block", "convolve",
                "unblock", "unblock"]),
]  # fmt: skip


@pytest.mark.parametrize(("build", "steps"), STEPS, ids=[build.__name__ for build, _ in STEPS])
def test_the_steps(build: Build, steps: list[str]) -> None:
    d = Draft(np.dtype("float32"), (2, 3, 13, 16))
    found = names(Ops().lower(d.program(*build(d, d.x))))
    assert sorted(found) == sorted(steps), found


@pytest.mark.parametrize("build", [build for build, _ in STEPS])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_answers(build: Build, dtype: str) -> None:
    d = Draft(np.dtype(dtype), (2, 3, 13, 16))
    program = d.program(*build(d, d.x))
    x = source(program)
    for exact in (True, False):
        # Where a factor cancels a sum's mean, the sum's own error stays: no more than three times of it with these numbers.
        assert max(errors(compiled(Ops(), program, exact)(x), by_reference(program, x))) <= 3 * BOUND[dtype]


@pytest.mark.parametrize("build", [folded, upsampled, in_front])
def test_every_parameter_is_followed(build: Build) -> None:
    d = Draft(np.dtype("float32"), (1, 3, 13, 16))
    program = d.program(*build(d, d.x))
    x, run = source(program), compiled(Ops(), program)
    before = run(x)
    for parameter in d.params:
        parameter.array *= 1.5
        parameter.version += 1
        after = run(x)
        assert max(errors(after, by_reference(program, x))) <= 3 * BOUND["float32"]
        assert max(errors(after, before)) > 1e-3
        before = after


def test_programs_of_other_sizes_share_the_weights() -> None:
    """The next tile's program takes over what the last one's made, and the plan counts the copy that making them takes."""
    ops, d = Ops(), Draft(np.dtype("float32"), (1, 3, 13, 16))
    program = d.program(*folded(d, d.x))
    run = compiled(ops, program)
    run(source(program))
    held = ops.shelf.nbytes
    again = compiled(ops, program)
    again(source(program))
    assert ops.shelf.nbytes == held > 0
    bare = Draft(np.dtype("float32"), (1, 3, 13, 16))
    a = bare.activate(bare.conv(bare.x, 20, (3, 3)))
    lowered = ops.lower(bare.program(bare.conv(bare.fragment(bare.max_pool(a, (2, 2)), (2, 2)), 5, (3, 2))))
    assert again.plan.kept == lay_out(ops, lowered).kept + 4 * 20 * 3 * 9
