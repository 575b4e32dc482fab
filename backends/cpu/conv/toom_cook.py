"""The transforms of Winograd's minimal filtering: F(m, r) makes m outputs of r taps from t = m + r - 1 products.

y[k] = sum_i g[i] d[k + i] for k < m is A^T ((G g) * (B^T d)), after Toom and Cook: polynomials are multiplied through
their values at t points. Points come in pairs +p and -p, with 0, infinity or both; then each matrix has an even and an
odd part, and a transform computes both, their sum and their difference.
"""

from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

SMALLEST, LARGEST = 3, 8  # tiles; the errors of larger ones are not acceptable in float32


class Points(NamedTuple):
    """Where polynomials are evaluated, in this order: at 0 or not, at +p and -p of each pair, at infinity or not."""

    zero: bool
    pairs: tuple[Fraction, ...]
    infinity: bool

    @property
    def tile(self) -> int:
        return self.zero + 2 * len(self.pairs) + self.infinity

    @property
    def finite(self) -> list[Fraction]:
        return [Fraction(0)] * self.zero + [q for p in self.pairs for q in (p, -p)]


class Step(NamedTuple):
    """value[a] + c * value[b], appended to the values; c * value[b] where a is negative."""

    a: int
    c: float
    b: int


class Schedule(NamedTuple):
    """A product with one of the matrices: values begin with the inputs, each step adds one, some are the results."""

    inputs: int
    steps: tuple[Step, ...]
    results: tuple[int, ...]


def _points(zero: bool, pairs: str, infinity: bool) -> Points:
    return Points(zero, tuple(Fraction(p) for p in pairs.split()), infinity)


# By tile, of the sets of small binary fractions (few bits, so that their powers are exact) the ones of least measured error
# for all m and r; 2/3 and 3/2 are no better. Scaling by powers of two would change no bit, and so is left out.
POINTS = {
    3: _points(False, "1", True),
    4: _points(True, "1", True),
    5: _points(False, "5/4 3/8", True),
    6: _points(True, "3/2 5/8", True),
    7: _points(False, "7/8 3/8 7/4", True),
    8: _points(True, "1 2 1/2", True),
}

Polynomial = list[Fraction]  # by rising powers


def _times(a: Polynomial, b: Polynomial) -> Polynomial:
    product = [Fraction(0)] * (len(a) + len(b) - 1)
    for i, p in enumerate(a):
        for j, q in enumerate(b):
            product[i + j] += p * q
    return product


def _vanishing(points: Points, but: Fraction | None = None) -> Polynomial:
    """The polynomial 1 * x^n + ... that is zero at all points but +-`but`; 0 stays a root unless `but` is 0."""
    product = [Fraction(1)]
    if points.zero and but != 0:
        product = [Fraction(0), *product]
    for p in points.pairs:
        if p != but:
            product = _times(product, [-p * p, Fraction(0), Fraction(1)])
    return product


def _value(polynomial: Polynomial, x: Fraction) -> Fraction:
    return sum((c * x**i for i, c in enumerate(polynomial)), Fraction(0))


def input_rows(points: Points) -> list[Polynomial]:
    """B^T, whose rows are polynomials that vanish at all points but their own."""
    rows = [_vanishing(points, Fraction(0))] * points.zero
    for p in points.pairs:
        rows += [_times([q, Fraction(1)], _vanishing(points, p)) for q in (p, -p)]
    rows += [_vanishing(points)] * points.infinity
    return [row + [Fraction(0)] * (points.tile - len(row)) for row in rows]


def weight_rows(points: Points, taps: int) -> list[Polynomial]:
    """G, of t rows and `taps` columns."""
    own = input_rows(points)
    rows = [[p**j / _value(row, p) for j in range(taps)] for p, row in zip(points.finite, own, strict=False)]
    return rows + [[Fraction(0)] * (taps - 1) + [Fraction(1)]] * points.infinity


def output_rows(points: Points, outputs: int) -> list[Polynomial]:
    """A^T, of `outputs` rows and t columns."""
    last = outputs - 1
    return [[p**j for p in points.finite] + [Fraction(j == last)] * points.infinity for j in range(outputs)]


class _Writer:
    """Collects the steps of a schedule."""

    def __init__(self, inputs: int) -> None:
        self.inputs, self.steps = inputs, list[Step]()

    def step(self, a: int, c: Fraction, b: int) -> int:
        self.steps.append(Step(a, float(c), b))
        return self.inputs + len(self.steps) - 1

    def total(self, terms: list[tuple[Fraction, int]]) -> int:
        """The sum of c * value; it starts with a term whose c is one, where there is one."""
        rest = [(c, b) for c, b in terms if c]
        start = next((i for i, (c, _) in enumerate(rest) if c == 1), None)
        if start is None:
            c, b = rest.pop(0)
            result = self.step(-1, c, b)
        else:
            result = rest.pop(start)[1]
        for c, b in rest:
            result = self.step(result, c, b)
        return result

    def schedule(self, results: list[int]) -> Schedule:
        return Schedule(self.inputs, tuple(self.steps), tuple(results))


@lru_cache
def input_schedule(points: Points) -> Schedule:
    """B^T d."""
    write = _Writer(points.tile)

    def evaluated(polynomial: Polynomial, shift: int = 0) -> int:
        return write.total([(c, i + shift) for i, c in enumerate(polynomial)])

    results = [evaluated(_vanishing(points, Fraction(0)))] if points.zero else []
    for p in points.pairs:
        others = _vanishing(points, p)  # the rows are (x + p) and (x - p) times this one, which is even or odd
        low, high = evaluated(others), evaluated(others, 1)
        results += [write.step(high, p, low), write.step(high, -p, low)]
    if points.infinity:
        results.append(evaluated(_vanishing(points)))
    return write.schedule(results)


@lru_cache
def output_schedule(points: Points, outputs: int) -> Schedule:
    """A^T m."""
    write = _Writer(points.tile)
    halves = []  # the sum and the difference of each pair
    for i in range(len(points.pairs)):
        a, b = points.zero + 2 * i, points.zero + 2 * i + 1
        halves.append([write.step(a, Fraction(sign), b) for sign in (1, -1)])
    results = []
    for j in range(outputs):
        terms = [(p**j, half[j % 2]) for p, half in zip(points.pairs, halves, strict=True)]
        if points.zero and j == 0:
            terms.insert(0, (Fraction(1), 0))
        if points.infinity and j == outputs - 1:
            terms.append((Fraction(1), points.tile - 1))
        results.append(write.total(terms))
    return write.schedule(results)
