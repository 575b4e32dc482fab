"""The options that every script of this folder has, and the file that it writes."""

import argparse
import contextlib
import json
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from .machine import ROOT, cores, describe
from .turns import environment

RESULTS = ROOT / "bench" / "results"


def parser(doc: str | None, only: str) -> argparse.ArgumentParser:
    """`only` says what --only chooses from."""
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--rounds", type=int, default=5, help="runs that count, of each contestant (5)")
    made.add_argument("--only", default="", help=f"comma-separated parts of the names of {only}")
    made.add_argument("--quick", action="store_true", help="tiny nets and images: whether it works, not how fast it is")
    made.add_argument("--threads", type=int, default=cores(), help="for every contestant (all cores)")
    made.add_argument("--limit", type=float, default=60.0, help="seconds; a slower contestant has one round (60)")
    made.add_argument("--into", type=Path, help="folder of the results (bench/results; with --quick a temporary one)")
    return made


def read(made: argparse.ArgumentParser, words: list[str] | None) -> argparse.Namespace:
    """The options, with the folder of the results made."""
    options = made.parse_args(words)
    if options.rounds < 1 or options.threads < 1:
        made.error("--rounds and --threads must be at least 1")
    if options.into is None:
        options.into = Path(tempfile.mkdtemp(prefix="bench-")) if options.quick else RESULTS
    options.into.mkdir(parents=True, exist_ok=True)
    return options


def chosen(names: Iterable[str], only: str) -> list[str]:
    """Those of which --only names a part; all, where it names nothing."""
    parts = [part for part in only.split(",") if part]
    found = [name for name in names if not parts or any(part in name for part in parts)]
    if not found:
        sys.exit(f"--only {only} chooses nothing of {', '.join(names)}")
    return found


def keep(options: argparse.Namespace, name: str, result: dict[str, Any]) -> Path:
    """Writes one result with all that it must say about its making."""
    asked = {key: getattr(options, key) for key in ("rounds", "threads", "limit", "quick")}
    record = {"name": name, **result, "options": asked, **describe(environment(options.threads))}
    path = options.into / f"{name}.json"
    path.write_text(json.dumps(record, indent=1) + "\n")
    return path


@contextlib.contextmanager
def workplace() -> Iterator[Path]:
    """A folder for nets, images and answers, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        yield Path(folder)
