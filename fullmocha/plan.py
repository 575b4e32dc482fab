"""The planner: where every buffer of a program lies, which algorithm does each step, and into which tiles an image is cut.

A tile's outputs need `context` more input on each axis than they have pixels, and every layer between computes its
own share of that border again in the next tile. Larger tiles waste less and take more memory; the planner takes the
cheapest that fits.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import inf, lcm, prod, sqrt
from typing import Any

from fullmocha.backends.program import Candidate, Plan, Program, Value

from .blob import Shape
from .errors import BudgetError
from .memory import GIB, format_bytes

ALIGNMENT = 64  # bytes: a cache line, and the widest vector
ERROR = 1.2e-5  # RMS over RMS of the last scores: probabilities, a quarter of it and some ten times for single pixels, stay within 5e-5
GROWTH = 1.15  # of an error at every convolution, measured on deep nets whose weights keep pixels apart
SPARE, FRESH = (
    2**29,
    1e10,
)  # bytes that are not worth saving; bytes per second at which the system hands out more of them
CLOSE = 1.02  # a cut that takes at most so many times the least possible ends the search
PATIENCE, FINALISTS = 4, 3  # cuts without a gain that end a family; cuts that are priced tile by tile
THRIFT = 0.1  # of a plan's time, that a GiB of memory may save
_IN_PLACE = ("activate",)  # element by element, so the result may take the argument's place


def lay_out(ops: Any, program: Program, exact: bool = False, budget: int | None = None) -> Plan:
    """An algorithm for every step, and an offset in one arena for every buffer, shared where lives do not overlap.

    Parameters
    ----------
    program : Program
        As the backend lowers it.
    exact : bool
        Only algorithms whose answers do not depend on what is computed beside them.
    budget : int, optional
        Bytes for buffers, workspace and prepared weights. The plan may exceed it where nothing fits.

    Notes
    -----
    The fastest algorithms are taken. While their errors, each grown by `GROWTH` at every convolution behind it, exceed `ERROR`
    together, that step changes which loses the least time for what it gains. Then, one after the other, that step changes
    which loses the least time for a byte: as long as the plan does not fit, or a GiB saved costs less than a tenth of the
    time (`THRIFT`).

    Buffers are placed largest first, each at the lowest offset that is free for its whole life (greedy by size;
    Pisarchyk and Lee 2020 found it within a few percent of the best for chains and U nets).
    """
    offsets, arena = _place(program)
    options = [[c for c in ops.candidates(step) if c.exact or not exact] for step in program.steps]
    chosen = [min(some, key=lambda c: c.seconds) for some in options]
    growth = _growth(program)
    while _error(chosen, growth) > ERROR:
        gains = list(_gains(options, chosen, growth))
        if not gains:
            break
        _, i, chosen[i] = min(gains, key=lambda g: g[:2])
    plan = Plan(tuple(chosen), offsets, arena, *_beside(chosen))
    price = THRIFT * plan.seconds / GIB
    options = [[c for c in some if c.error <= now.error] for some, now in zip(options, chosen, strict=True)]
    while True:
        least, change = min(_changes(options, chosen), key=lambda c: c[0], default=(price, None))
        if change is None or (least >= price and (budget is None or plan.nbytes <= budget)):
            return plan
        for i, candidate in change:
            chosen[i] = candidate
        plan = Plan(tuple(chosen), offsets, arena, *_beside(chosen))


def _growth(program: Program) -> list[float]:
    """By how much the error of each step has grown when it reaches the end: rectifiers and convolutions pass on more than they lose."""
    behind = sum(step.flops > 0 for step in program.steps)
    found = []
    for step in program.steps:
        behind -= step.flops > 0
        found.append(GROWTH**behind)
    return found


def _error(chosen: Sequence[Candidate], growth: Sequence[float]) -> float:
    """Of the whole program, as RMS: errors of different steps are independent."""
    return sqrt(sum((c.error * g) ** 2 for c, g in zip(chosen, growth, strict=True)))


def _gains(
    options: list[list[Candidate]], chosen: list[Candidate], growth: Sequence[float]
) -> Iterator[tuple[float, int, Candidate]]:
    """Seconds lost for the square of an error less, step and candidate, of every change that makes the answer more exact."""
    for i, (some, now, g) in enumerate(zip(options, chosen, growth, strict=True)):
        for c in some:
            if c.error < now.error:
                yield (c.seconds - now.seconds) / ((now.error**2 - c.error**2) * g**2), i, c


Change = list[tuple[int, Candidate]]


def _changes(options: list[list[Candidate]], chosen: list[Candidate]) -> Iterator[tuple[float, Change]]:
    """Seconds lost for a byte saved, and the change: of one step, or of all that share the largest workspace."""
    most, second, *_ = sorted([0, 0, *(c.workspace for c in chosen)], reverse=True)
    for i, (some, now) in enumerate(zip(options, chosen, strict=True)):
        others = second if now.workspace == most else most
        for c in some:
            saved = now.kept - c.kept + most - max(others, c.workspace)
            if saved > 0:
                yield (c.seconds - now.seconds) / saved, [(i, c)]
    if most == second > 0:
        largest = [i for i, c in enumerate(chosen) if c.workspace == most]
        smaller = [[c for c in options[i] if c.workspace < most] for i in largest]
        if all(smaller):
            change = [(i, min(some, key=lambda c: c.seconds)) for i, some in zip(largest, smaller, strict=True)]
            after = dict(enumerate(chosen)) | dict(change)
            saved = sum(_beside(chosen)) - sum(_beside(list(after.values())))
            if saved > 0:
                yield sum(c.seconds - chosen[i].seconds for i, c in change) / saved, change


def _beside(chosen: Sequence[Candidate]) -> tuple[int, int]:
    """Bytes of workspace, which steps use one after the other, and of prepared weights, which all stay."""
    return max((c.workspace for c in chosen), default=0), sum(c.kept for c in chosen)


def _place(program: Program) -> tuple[dict[int, int], int]:
    """Where every buffer lies in one arena, and the arena's size."""
    owner, lives = _lives(program)
    sizes: dict[int, int] = {}
    for buffer, size in program.sizes().items():
        sizes[owner[buffer]] = max(sizes.get(owner[buffer], 0), -(-size // ALIGNMENT) * ALIGNMENT)
    placed: list[tuple[int, int, int]] = []  # offset, end, buffer
    for buffer in sorted(sizes, key=lambda b: (-sizes[b], b)):
        born, dead = lives[buffer]
        at = 0
        for offset, end, other in sorted(placed):
            overlaps = lives[other][0] <= dead and born <= lives[other][1]
            if overlaps and offset < at + sizes[buffer]:
                at = max(at, end)
        placed.append((at, at + sizes[buffer], buffer))
    offsets = {buffer: offset for offset, _, buffer in placed}
    arena = max((end for _, end, _ in placed), default=0)
    return {buffer: offsets[owner[buffer]] for buffer in program.sizes()}, arena


def _lives(program: Program) -> tuple[dict[int, int], dict[int, tuple[int, int]]]:
    """Which buffer stands in for each (itself, or the one it overwrites), and each one's first and last step."""
    last_read: dict[int, int] = {}
    for i, step in enumerate(program.steps):
        last_read |= {r.buffer: i for r in step.reads if isinstance(r, Value)}
    last_read |= {output.buffer: len(program.steps) for output in program.outputs}
    owner = {program.input.buffer: program.input.buffer}
    lives = {program.input.buffer: (-1, last_read.get(program.input.buffer, -1))}
    for i, step in enumerate(program.steps):
        buffer, read = step.write.buffer, step.reads[0] if step.reads else None
        if buffer in owner:  # a further write into a buffer that some step has begun, as concatenation makes them
            continue
        dies = last_read.get(buffer, i)
        in_place = step.op in _IN_PLACE and isinstance(read, Value) and last_read[read.buffer] == i
        owner[buffer] = owner[read.buffer] if in_place and isinstance(read, Value) else buffer
        born = lives[owner[buffer]][0] if in_place else i
        lives[owner[buffer]] = (born, max(dies, i))
    return owner, lives


@dataclass(frozen=True)
class Tile:
    """Outputs [y, y + keep[0]) x [x, x + keep[1]); `windows` are computed, which a net's alignment may make more."""

    y: int
    x: int
    keep: Shape
    windows: Shape


@dataclass(frozen=True)
class TilePlan:
    """How one image is cut and run.

    Attributes
    ----------
    peak : int
        Bytes that the whole process is predicted to hold at most.
    flops : int
        Of all tiles together, halos included.
    plans : dict
        The program and plan for every shape of tile that occurs.
    """

    tiles: tuple[Tile, ...]
    outputs: Shape
    peak: int
    flops: int
    seconds: float
    plans: dict[Shape, tuple[Program, Plan]]

    @property
    def grid(self) -> Shape:
        return len({t.y for t in self.tiles}), len({t.x for t in self.tiles})


def cut(total: int, count: int, align: int, grain: int = 1) -> list[tuple[int, int]]:
    """(start, size) of at most `count` nearly equal pieces of `total`, starting at multiples of `align`.

    Larger pieces also start at multiples of `grain`, for fragments that do not have to be rounded up.
    """
    even = -(-total // count)
    step = lcm(align, grain) if even > 2 * grain else align
    size = -(-even // step) * step
    return [(start, min(size, total - start)) for start in range(0, total, size)]


def plan_tiles(
    outputs: Shape,
    *,
    align: Shape,
    fit: Callable[[Shape], Shape],
    program_of: Callable[[Shape], Program],
    ops: Any,
    around: Callable[[Shape], int],
    budget: int,
    fixed: int,
    tileable: bool,
    exact: bool = False,
    grain: Shape = (1, 1),
) -> TilePlan:
    """The cheapest tiling of `outputs` windows whose peak stays within the budget.

    Parameters
    ----------
    align : pair
        Tiles start at multiples of it.
    fit : callable
        The number of windows that can be computed for those wanted: as many, or a few more.
    program_of : callable
        The program for so many windows.
    around : callable
        Bytes that reading and writing a tile of so many windows takes, beside one copy of its input and output.
    budget, fixed : int
        Bytes for the whole process, and what it holds apart from the tile at hand.
    tileable : bool
        False where only the whole image will do.
    exact : bool
        As in `lay_out`.
    grain : pair
        The number of fragments along each axis.

    Raises
    ------
    BudgetError
        If not even the smallest tile fits.
    """
    plans: dict[Shape, tuple[Program, Plan]] = {}

    def planned(windows: Shape) -> tuple[Program, Plan]:
        if windows not in plans:
            program = ops.lower(program_of(windows))
            plans[windows] = program, lay_out(ops, program, exact, budget - beside(windows, program))
        return plans[windows]

    def beside(windows: Shape, program: Program) -> int:
        sizes = program.sizes()
        arrays = sizes[program.input.buffer] + sum(sizes[o.buffer] for o in program.outputs)  # the caller's own copies
        return fixed + arrays + around(windows)

    def hold(windows: Shape) -> int:
        program, plan = planned(windows)
        return beside(windows, program) + plan.nbytes

    def price(rows: list[tuple[int, int]], columns: list[tuple[int, int]]) -> tuple[int, float]:
        """Peak bytes and seconds of a cut; it has at most four shapes of tile, however many tiles."""
        heights, widths = (Counter(size for _, size in pieces) for pieces in (rows, columns))
        shapes = {(h, w): heights[h] * widths[w] for h in heights for w in widths}
        peak = max(hold(fit(shape)) for shape in shapes)
        plans_used = {shape: planned(fit(shape))[1] for shape in shapes}
        once = max(map(_handing_out, plans_used.values()))
        return peak, once + sum(n * plans_used[shape].seconds for shape, n in shapes.items())

    smallest = fit(align) if tileable else fit(outputs)
    if hold(smallest) > budget:
        what = "its smallest tile" if tileable else "the whole image at once (this net cannot be tiled exactly)"
        raise BudgetError(
            f"a memory budget of {format_bytes(budget)} is too small: {what} needs {format_bytes(hold(smallest))} in all, "
            f"of which {format_bytes(fixed)} are the process, its kernels and the net; raise --memory to at least that"
        )

    def pieces(count: Shape) -> list[list[tuple[int, int]]]:
        return [cut(n, c, a, g) for n, c, a, g in zip(outputs, count, align, grain, strict=True)]

    def rate(count: Shape) -> float:
        """Seconds for a pixel by the largest tile of a cut; infinite where that does not fit."""
        shape = tuple(max(size for _, size in some) for some in pieces(count))
        if hold(fit(shape)) > budget:
            return inf
        plan = planned(fit(shape))[1]
        return plan.seconds / prod(shape) + _handing_out(plan) / prod(outputs)

    finalists: list[Shape] = [(1, 1)]
    if tileable:
        least = lay_out(ops, planned(fit(outputs))[0], exact).seconds / prod(outputs)  # with memory for everything
        finalists = _search(rate, least, _cuts(outputs, align))
    best: tuple[float, int, list[tuple[int, int]], list[tuple[int, int]]] | None = None
    for count in finalists:
        rows, columns = pieces(count)
        peak, seconds = price(rows, columns)
        if peak <= budget and (best is None or seconds < best[0]):
            best = seconds, peak, rows, columns
    if best is None:  # a smaller tile of each cut took more memory than its largest one; single aligned tiles fit
        rows, columns = ([(i, min(a, n - i)) for i in range(0, n, a)] for n, a in zip(outputs, align, strict=True))
        peak, seconds = price(rows, columns)
        best = seconds, peak, rows, columns
    seconds, peak, rows, columns = best
    tiles = tuple(Tile(y, x, (h, w), fit((h, w))) for y, h in rows for x, w in columns)
    used = {t.windows for t in tiles}
    flops = sum(planned(t.windows)[0].flops for t in tiles)
    return TilePlan(tiles, outputs, peak, flops, seconds, {w: p for w, p in plans.items() if w in used})


def _handing_out(plan: Plan) -> float:
    """Seconds until a process has a plan's memory, once for a whole image; virtual machines are slower."""
    return max(0, plan.nbytes - SPARE) / FRESH


def _search(rate: Callable[[Shape], float], least: float, families: list[list[Shape]]) -> list[Shape]:
    """The best cuts by `rate`; each family goes from few tiles to many, and ends when that has long stopped to pay.

    None does better than `least`.
    """
    found: dict[Shape, float] = {}
    for family in families:
        worse, best = 0, inf
        for count in family:
            if count not in found:
                found[count] = rate(count)
            if found[count] <= CLOSE * least:
                return [count]
            worse = 0 if found[count] < best or found[count] == inf else worse + 1
            best = min(best, found[count])
            if worse == PATIENCE:
                break
    return sorted((c for c, seconds in found.items() if seconds < inf), key=found.__getitem__)[:FINALISTS]


def _cuts(outputs: Shape, align: Shape) -> list[list[Shape]]:
    """Families of cuts (rows, columns of tiles), each from one tile to the smallest: bands, wide, square and high tiles.

    The last one cuts single rows across, for where nothing larger fits.
    """
    high, wide = outputs
    most = [max(1, -(-n // a)) for n, a in zip(outputs, align, strict=True)]
    shapes = (0.0, 0.5, 1.0, 2.0)
    families: list[list[Shape]] = [
        list(dict.fromkeys((ny, min(most[1], max(1, round(shape * ny * wide / high)))) for ny in _counts(most[0])))
        for shape in shapes
    ]
    return [*families, [(most[0], nx) for nx in _counts(most[1])]]


def _counts(most: int) -> list[int]:
    """Numbers worth trying: every small one, then ever coarser steps."""
    counts, n = [], 1
    while n < most:
        counts.append(n)
        n += max(1, n // 4)
    return [*counts, most]
