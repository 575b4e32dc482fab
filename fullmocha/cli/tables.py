"""Tables and numbers for people."""

from collections.abc import Sequence


def table(head: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> list[str]:
    """Lines with aligned columns; those whose numbers stand in `right` are flush right.

    >>> table(["layer", "size"], [["conv1", "7"], ["ip", "100"]], right=[1])
    ['layer  size', 'conv1     7', 'ip      100']
    """
    every = [head, *rows]
    widths = [max(len(row[i]) for row in every) for i in range(len(head))]
    return [
        "  ".join(
            cell.rjust(w) if i in right else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in every
    ]


def size(pair: Sequence[object]) -> str:
    """Rows x columns.

    >>> size((512, 640))
    '512x640'
    """
    return "x".join(str(n) for n in pair)


def giga(flops: float) -> str:
    """Operations in the unit that people compare.

    >>> giga(133980724736), giga(2560)
    ('134.0 GFLOP', '2.6 kFLOP')
    """
    for unit, factor in (("GFLOP", 1e9), ("MFLOP", 1e6), ("kFLOP", 1e3)):
        if flops >= factor:
            return f"{flops / factor:,.1f} {unit}"
    return f"{flops:.0f} FLOP"


def duration(seconds: float) -> str:
    """A time in two digits or so.

    >>> duration(0.31), duration(75), duration(40000)
    ('0.31 s', '75 s', '11.1 h')
    """
    if seconds < 10:
        return f"{seconds:.2f} s"
    if seconds < 600:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
