"""Progress of long work: a bar on a terminal, a plain line now and then when piped."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")
_QUIET_SECONDS = 10.0  # between two lines of a log


def progress(items: Iterable[T], total: int, what: str, enabled: bool = True) -> Iterator[T]:
    """The items, while standard error says how many of them have been taken."""
    if not enabled:
        yield from items
        return
    if sys.stderr.isatty():
        from tqdm import tqdm

        yield from tqdm(items, total=total, desc=what, unit="tile", leave=False)
        return
    started = spoken = time.monotonic()
    for done, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if now - spoken >= _QUIET_SECONDS and done < total:
            spoken, left = now, (now - started) / done * (total - done)
            print(f"{what}: {done} of {total}, about {left:.0f} s left", file=sys.stderr, flush=True)
