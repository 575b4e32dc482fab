"""Sums of maps and pieces of maps in a compiled program: on blocked maps wherever that gives the same answers."""

import numpy as np
import pytest
from fullmocha.backends.cpu import Ops
from fullmocha.backends.program import Value, Weight

from .programs import Draft, Shared, by_reference, compiled, errors, names, source
from .test_lower import BOUND, Build


def combine(d: Draft, *xs: Value, operation: str = "sum", coefficients: tuple[float, ...] = ()) -> Value:
    return d.call("combine", xs, xs[0].shape, operation=operation, coefficients=coefficients)


def residual(d: Draft, x: Value) -> tuple[Value, ...]:
    """Channels that end within a vector, and an activation that fills the lanes behind them."""
    a = d.activate(d.conv(x, 18, (3, 3)), "sigmoid")
    b = combine(d, a, d.conv(a, 18, (1, 1)))
    c = d.activate(combine(d, b, d.conv(b, 18, (1, 1)), a, coefficients=(1.0, -0.5, 2.0)))
    return (d.conv(c, 5, (2, 2)),)


def others(d: Draft, x: Value) -> tuple[Value, ...]:
    a, b = d.conv(x, 32, (3, 3)), d.activate(d.conv(x, 32, (3, 3)), "sigmoid")
    product, most = combine(d, a, b, a, operation="product"), combine(d, a, b, operation="maximum")
    return d.conv(product, 5, (2, 2)), d.conv(most, 5, (2, 2)), combine(d, a, a)


def pieces_out_of_step(d: Draft, x: Value) -> tuple[Value, ...]:
    """Channels that begin and end within vectors; lanes behind the last one hold nothing, and must be finite."""
    a, b = d.activate(d.conv(x, 37, (3, 3))), d.conv(x, 20, (5, 4))
    middle = d.crop(a, (1, 0), b.shape[2:], (3, 21))
    return d.conv(d.merge(middle, b, middle), 5, (2, 2)), d.conv(d.crop(a, (0, 1), (9, 8), (30, 7)), 5, (2, 2))


def pieces_of_the_image(d: Draft, x: Value) -> tuple[Value, ...]:
    """Nothing is blocked for the sake of a move."""
    return (d.conv(d.crop(x, (1, 1), (9, 11), (1, 2)), 5, (2, 2)),)


def quotients(d: Draft, x: Value) -> tuple[Value, ...]:
    """0 / 0 in a lane without a channel would make a NaN of a convolution's sum."""
    part, whole = (
        combine(d, d.conv(x, n, (3, 3)), d.activate(d.conv(x, n, (3, 3)), "sigmoid"), operation="quotient")
        for n in (18, 32)
    )
    return d.conv(part, 5, (2, 2)), d.conv(whole, 5, (2, 2))


def mixed(d: Draft, x: Value) -> tuple[Value, ...]:
    """One of them lies plain: it is blocked."""
    a = d.conv(x, 20, (3, 3))
    plain = d.mean_pool(d.conv(x, 20, (2, 2)), (2, 2))
    return (d.conv(combine(d, plain, a), 5, (2, 2)),)


def nothing_blocked(d: Draft, x: Value) -> tuple[Value, ...]:
    return (d.conv(combine(d, x, x), 5, (2, 2)),)


def pieces(d: Draft, x: Value) -> tuple[Value, ...]:
    """As Slice cuts: whole vectors, and one that ends where the map does."""
    a = d.conv(x, 50, (3, 3))
    first, last = (d.crop(a, (0, 0), a.shape[2:], part) for part in ((0, 32), (32, 18)))
    return d.conv(combine(d, first, first), 5, (2, 2)), d.conv(last, 5, (2, 2))


def parameter(d: Draft, x: Value) -> tuple[Value, ...]:
    """A parameter as a blob: a step that reads nothing else."""
    a = d.conv(x, 16, (3, 3))
    d.params.append(Shared(np.random.default_rng(1).normal(size=a.shape).astype(np.float32).astype(d.dtype)))
    w, zero = Weight(d.params[-1], a.shape), (0, 0, 0, 0)
    y = d.call("move", (w,), a.shape, source=zero, target=zero, size=a.shape)
    return (d.conv(combine(d, y, a, operation="product"), 5, (2, 2)),)


PROGRAMS: dict[str, tuple[Build, str]] = {
    "residual": (residual, "convolve activate convolve combine convolve combine activate convolve unblock"),
    "others": (others, "convolve convolve activate combine combine convolve convolve combine unblock unblock unblock"),
    "quotients": (
        quotients,
        "convolve convolve activate unblock unblock combine convolve convolve activate combine block convolve convolve "
        "unblock unblock",
    ),
    "mixed": (mixed, "convolve convolve unblock mean_pool block combine convolve unblock"),
    "nothing blocked": (nothing_blocked, "combine convolve unblock"),
    "pieces": (pieces, "convolve move move combine convolve convolve unblock unblock"),
    "pieces out of step": (
        pieces_out_of_step,
        "convolve convolve blocked_move blocked_move blocked_move blocked_move convolve blocked_move convolve unblock unblock",
    ),
    "pieces of the image": (pieces_of_the_image, "move convolve unblock"),
    "parameter": (parameter, "convolve move block combine convolve unblock"),
}


@pytest.mark.parametrize(("make", "steps"), PROGRAMS.values(), ids=PROGRAMS)
def test_steps(ops: Ops, make: Build, steps: str) -> None:
    """In float32, with the vectors of AVX-512 that the channels were chosen for."""
    draft = Draft(np.dtype(np.float32), (2, 3, 19, 22))
    lowered = ops.lower(draft.program(*make(draft, draft.x)))
    problems = [s.options["problem"] for s in lowered.steps if "problem" in s.options]
    if problems[0].lanes == 16:
        assert " ".join(names(lowered)) == steps


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("make", [make for make, _ in PROGRAMS.values()], ids=PROGRAMS)
def test_same_answers(ops: Ops, make: Build, dtype: str) -> None:
    draft = Draft(np.dtype(dtype), (2, 3, 19, 22))
    program = draft.program(*make(draft, draft.x))
    x = source(program)
    exact = by_reference(program, x)
    assert max(errors(compiled(ops, program, exact=True)(x), exact)) <= BOUND[dtype]
