"""Tables and pictures from the measurements: reads bench/results/*.json, writes TABLES.md, labelling.png and growth.png.

    python -m bench.report [--into FOLDER]

Measures nothing. Every figure of the README comes from TABLES.md, and TABLES.md holds nothing that is not in the files.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from .nets import LABELLING
from .options import RESULTS

Result = dict[str, Any]
MEMORY = "memory of a fresh process of ours MiB"
TITLES = {
    "n4": "N4", "sk": "SK", "usk": "USK", "u": "U", "n337": "n337 (2-D)", "n537": "n537 (2-D)", "n726": "n726 (2-D)", "n926": "n926 (2-D)",
}  # fmt: skip


def read(folder: Path) -> list[Result]:
    """All results, the nets in the order in which they are listed."""
    order = {case.name: i for i, case in enumerate(LABELLING)}
    found = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    known = [r for r in found if r.get("kind") in ("labelling", "growth", "report")]
    return sorted(known, key=lambda r: (order.get(r["name"], len(order)), r["name"]))


def tables(results: list[Result]) -> str:
    """The Markdown page."""
    of_kind: dict[str, list[Result]] = {
        kind: [r for r in results if r["kind"] == kind] for kind in ("labelling", "growth", "report")
    }
    parts = ["# Measured speed and memory", "", "Made by `python -m bench.report` from the JSON files beside it."]
    if of_kind["labelling"]:
        parts += [
            "",
            "## Dense labelling",
            "",
            *_labelling(of_kind["labelling"]),
            "",
            *_everybody(of_kind["labelling"]),
        ]
    for result in of_kind["growth"]:
        parts += ["", f"## How N4 grows under {result['memory budget']}", "", *_growth(result)]
    for result in of_kind["report"]:
        if result["name"].startswith("jakubiuk"):
            parts += ["", "## Jakubiuk 2015, Table 1", "", *_jakubiuk(result)]
        else:
            parts += ["", "## Tschopp 2015 (Greentea), Tables 6.5 and 6.6", "", *_greentea(result)]
    parts += ["", "## Where", "", *_where(results)]
    return "\n".join(parts) + "\n"


def _row(*cells: Any) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def _table(head: list[str], rows: list[list[Any]]) -> list[str]:
    return [_row(*head), _row(*["---"] * len(head)), *(_row(*row) for row in rows)]


def _title(result: Result) -> str:
    net = result["name"].split("-")[0]
    return f"{TITLES.get(net, net)}, {result['outputs'][0]} x {result['outputs'][1]}"


def _seconds(s: float) -> str:
    return f"{s:.3g} s" if s < 100 else f"{s:.0f} s"


def _labelling(results: list[Result]) -> list[str]:
    rows = []
    for r in results:
        ours, fastest = r["contestants"]["fullmocha"], r["fastest peer"]
        theirs = r["contestants"].get(fastest)
        peak = max(p["all threads"] for p in r["FMA peak GFLOP/s"].values())
        rows.append(
            [
                _title(r),
                f"{r['GFLOP']:.0f}",
                _seconds(ours["median s"]),
                f"{r['outputs'][0] * r['outputs'][1] / ours['median s'] / 1000:.0f}",
                "-" if theirs is None else f"{fastest}: {_seconds(theirs['median s'])}",
                "-" if theirs is None else f"**{theirs['time in ours']:.2f}**",
                f"{r['GFLOP'] / peak / ours['median s']:.2f}",
                f"{r[MEMORY]['peak']:.0f} MiB",
            ]
        )
    head = [
        "net and output",
        "GFLOP, direct",
        "ours",
        "kpx/s",
        "fastest peer",
        "times as fast",
        "ours, of FMA peak",
        "peak memory",
    ]
    note = (
        "Medians; `times as fast` is the median over the rounds of peer / ours. `of FMA peak` is the time that direct sums would take "
        "at the measured peak, over our time: above 1 where fewer sums are done. Memory is a fresh process's high-water mark after "
        "one run: interpreter, compiled kernels, weights, image and answer."
    )
    return [*_table(head, rows), "", note]


def _everybody(results: list[Result]) -> list[str]:
    names = list(dict.fromkeys(name for r in results for name in r["contestants"]))
    rows = []
    for r in results:
        cells = []
        for name in names:
            row = r["contestants"].get(name)
            cells.append(_seconds(row["median s"]) + ("*" if row.get("notes") else "") if row else "-")
        rows.append([_title(r), *cells])
    lines = ["### Everybody", "", *_table(["net and output", *names], rows)]
    notes = [
        f"- {_title(r)}, {name}: {note}"
        for r in results
        for name, row in r["contestants"].items()
        for note in row.get("notes", [])
    ]
    absent = [f"- {_title(r)}, {name} is absent: {why}" for r in results for name, why in r["absent"].items()]
    return lines + (["", "\\* fewer rounds:", *notes] if notes else []) + (["", *absent] if absent else [])


def _growth(result: Result) -> list[str]:
    best = max(row["px/s"] for row in result["sizes"].values())
    rows = [
        [f"{size} x {size}", f"{row['px/s'] / 1000:.0f}", f"{row['px/s'] / best:.0%}", _seconds(row["median s"]),
         _seconds(row["first run s"]), f"{row['peak MiB']:.0f} MiB"]
        for size, row in result["sizes"].items()
    ]  # fmt: skip
    return _table(["image", "kpx/s", "of the best", "median", "first run", "peak memory"], rows)


def _jakubiuk(result: Result) -> list[str]:
    here, rows = result["here"], []
    used = set()
    for label, seconds in result["published"]["seconds"].items():
        counterpart = result["row by row"].get(label)
        used.add(counterpart)
        row = here.get(counterpart)
        rows.append(
            [label, f"{seconds} s", "-" if row is None else f"{_seconds(row['seconds for the image'])} ({counterpart})"]
        )
    rows += [
        ["-", "-", f"{_seconds(row['seconds for the image'])} ({label})"]
        for label, row in here.items()
        if label not in used
    ]
    height, width = result["image"]
    head = ["row of the report", "published", f"here, {height} x {width} pixels"]
    return [*_table(head, rows), "", _unknown(result)]


def _greentea(result: Result) -> list[str]:
    published, here = result["published"], result["here"]
    rates = published["pixels per second"]
    rows = []
    for name in ("sk-128", "usk-256", "u-388"):
        if name in here:
            ratio = result["times as fast as the fastest sliding window"].get(name, "-")
            rows.append([name, *(rates[device].get(name, "-") for device in rates), here[name]["px/s"], ratio])
    slid = {label: row["px/s"] for label, row in here.items() if "window by window" in label}
    for i, label in enumerate(sorted(slid, key=slid.__getitem__, reverse=True)):
        known = [rates[device].get("sliding window", "-") if i == 0 else "-" for device in rates]
        rows.append([f"sliding window: {label.removesuffix(', window by window')}", *known, slid[label], ""])
    head = ["px/s", *rates, "here", "here, times the fastest sliding window"]
    said = published["times as fast as the sliding window"]
    ratios = "; ".join(f"{device}: {', '.join(f'{n} {x} x' for n, x in row.items())}" for device, row in said.items())
    return [*_table(head, rows), "", f"Published, times as fast as the sliding window: {ratios}.", "", _unknown(result)]


def _unknown(result: Result) -> str:
    return f"Source: {result['published']['source']}. Not known: " + "; ".join(result["published"]["not known"]) + "."


def _where(results: list[Result]) -> list[str]:
    """Machine, versions and commits; one line where all results agree."""
    lines: dict[str, list[str]] = {}
    for r in results:
        m = r["machine"]
        caches = ", ".join(f"{name} {size}" for name, size in m["caches"].items())
        peak = max(p["all threads"] for p in r["FMA peak GFLOP/s"].values())
        one = max(p["one core"] for p in r["FMA peak GFLOP/s"].values())
        versions = ", ".join(f"{name} {v}" for name, v in r["versions"].items())
        place = f"{m['processor']}, {m['cores']} cores, {caches}, {m['memory GiB']} GiB, {m['system']}; {versions}"
        text = f"{place}; {r['options']['threads']} threads, commit {r['commit'] or 'unknown'}"
        lines.setdefault(text, []).append(f"{r['name']} (FMA peak {one:.0f} GFLOP/s one core, {peak:.0f} all)")
    return [f"- {text}: {', '.join(names)}." for text, names in lines.items()]


def plots(results: list[Result], folder: Path) -> list[Path]:
    """One picture of all nets, one of the growth, where they were measured."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    made = []
    labelling = [r for r in results if r["kind"] == "labelling"]
    if labelling:
        figure, axes = plt.subplots(figsize=(10, 0.8 + 0.62 * len(labelling)))
        kinds = {"fullmocha": "C3", "onnxruntime": "C0", "openvino": "C1", "pytorch (its fastest form)": "C2"}
        for i, r in enumerate(reversed(labelling)):
            ours = r["contestants"]["fullmocha"]["median s"]
            for k, (kind, colour) in enumerate(kinds.items()):
                times = [row["median s"] for name, row in r["contestants"].items() if _belongs(name, kind)]
                if times:
                    y = i + 0.3 - 0.2 * k
                    axes.barh(y, min(times) / ours, 0.18, color=colour, label=kind if i == 0 else None)
                    text = f" {_seconds(min(times))}"
                    axes.text(min(times) / ours, y, text, va="center", fontsize=7)
        axes.set_yticks(range(len(labelling)), [_title(r) for r in reversed(labelling)])
        axes.set_xlabel("time, in multiples of fullmocha's (medians; shorter is faster)")
        axes.axvline(1, color="0.6", linewidth=0.8, zorder=0)
        axes.margins(x=0.08)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.5 / len(labelling) - 0.06), ncol=len(kinds), fontsize=8)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_title(
            f"Dense labelling, float32, {labelling[0]['options']['threads']} threads, {labelling[0]['machine']['processor']}",
            fontsize=10,
        )
        made.append(folder / "labelling.png")
        figure.savefig(made[-1], dpi=120, bbox_inches="tight")
        plt.close(figure)
    for r in results:
        if r["kind"] == "growth":
            sizes = list(map(int, r["sizes"]))
            figure, (speed, memory) = plt.subplots(1, 2, figsize=(9, 3.2))
            speed.plot(sizes, [row["px/s"] / 1e6 for row in r["sizes"].values()], "o-", color="C3")
            speed.set_ylabel("megapixels per second")
            memory.plot(sizes, [row["peak MiB"] for row in r["sizes"].values()], "o-", color="C3")
            memory.set_ylabel("peak memory, MiB")
            for axes in (speed, memory):
                axes.set_xscale("log", base=2)
                axes.set_xticks(sizes, list(map(str, sizes)))
                axes.set_xlabel("image side, pixels")
                axes.set_ylim(bottom=0)
                axes.spines[["top", "right"]].set_visible(False)
            figure.suptitle(f"N4 under a budget of {r['memory budget']}", fontsize=10)
            made.append(folder / "growth.png")
            figure.savefig(made[-1], dpi=120, bbox_inches="tight")
            plt.close(figure)
    return made


def _belongs(name: str, kind: str) -> bool:
    return name.startswith("pytorch") if kind.startswith("pytorch") else name == kind


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--into", type=Path, default=RESULTS, help="folder of the results, and of what is made from them"
    )
    folder = parser.parse_args(words).into
    results = read(folder)
    if not results:
        raise SystemExit(f"no results in {folder}: run python -m bench.labelling first")
    page = folder / "TABLES.md"
    page.write_text(tables(results))
    print(page)
    try:
        for path in plots(results, folder):
            print(path)
    except ImportError as missing:
        print(f"no pictures: {missing}; matplotlib is in the dev extra")


if __name__ == "__main__":
    main()
