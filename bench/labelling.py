"""Dense labelling beside PyTorch, onnxruntime and OpenVINO: the same net, weights, image and threads, in turns.

    python -m bench.labelling [--only n4,u-388] [--peers onnxruntime] [--rounds 5] [--quick]

Each net of `nets.LABELLING` is written out from the program of our dense net, so every contestant has the same weights, and
all answers must agree with ours to 1e-4 before a run counts. PyTorch runs in four forms: dilated kernels or fragments,
NCHW or channels_last. The FMA peak is measured before and after each net. One file per net: bench/results/NET.json.
"""

from pathlib import Path
from typing import Any

import numpy as np

import fullmocha as fm

from . import nets, onnx_file, options
from .describe import describe
from .description import save
from .turns import Absent, Failed, Job, fresh_peak, median_ratio, peak_flops, take_turns

OURS = "fullmocha"
FORMS = (OURS, "fullmocha exact")
PEERS = (
    *(f"pytorch {kernels} {layout}" for kernels in ("dilated", "fragments") for layout in ("channels_last", "nchw")),
    "onnxruntime",
    "openvino",
)
TOLERANCE = (
    1e-4  # of probabilities: the 5e-5 that ours may be off, and as much for theirs, whose float32 sums are rounded too
)
SPREAD = 0.01  # probabilities must differ at least so much between pixels, or agreement would say nothing


def prepare(case: nets.Case, folder: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Writes the net and its image; returns what is measured, and the peers that do not take part, with the reason."""
    drawn = case.drawn()
    nets.keep(drawn, folder)
    dense = fm.densify(drawn, "strided")
    outputs = (case.outputs, case.outputs)
    assert dense.fit(outputs) == outputs, f"{case.name}: {outputs} is not in step with the net"
    program = dense.program(dense.input_shape(outputs))
    net, weights = describe(program)
    save(folder, net, weights)
    np.save(folder / "image.npy", nets.image(program.input.shape))
    absent: dict[str, str] = {}
    if not any(max(step.get("dilation", [1])) > 1 for step in net["steps"]):
        alike = "the net has no dilated layer, so this is the dilated form again"
        absent |= {peer: alike for peer in PEERS if "fragments" in peer}
    try:
        onnx_file.write(folder / "net.onnx", net, weights)
    except ImportError as missing:
        absent |= dict.fromkeys(("onnxruntime", "openvino"), f"not installed: {missing}")
    facts = {"outputs": list(outputs), "input": list(program.input.shape), "GFLOP": round(program.flops / 1e9, 3)}
    return facts, absent


def differences(jobs: list[Job], folder: Path) -> dict[str, float]:
    """Max |difference| of every answer to ours."""
    ours = np.load(folder / f"{OURS}.npy")
    if not np.ptp(ours, axis=(0, 2, 3)).max() > SPREAD:
        raise Failed("our answers hardly differ between pixels, so that others agree says nothing")
    return {job.label: float(np.abs(np.load(job.answer) - ours).max()) for job in jobs}


def measure(case: nets.Case, asked: Any) -> dict[str, Any]:
    """One net: everybody's times, memory and differences."""
    with options.workplace() as folder:
        facts, absent = prepare(case, folder)
        image = folder / "image.npy"
        asked_for = [] if asked.peers == "none" else options.chosen(PEERS, asked.peers)
        absent = {peer: why for peer, why in absent.items() if peer in asked_for}
        names = [*FORMS, *(peer for peer in asked_for if peer not in absent)]
        jobs = [Job(name, name, folder, image, folder / f"{name}.npy", {"net": case.name}) for name in names]
        try:
            memory = fresh_peak(OURS, asked.threads, vars(jobs[0]))
        except Absent as why:
            raise Failed(f"{OURS} does not run: {why}") from None
        before = peak_flops(asked.threads, 0.05 if asked.quick else 0.5)
        ran, missing = take_turns(jobs, asked.threads, asked.rounds, asked.limit)
        after = peak_flops(asked.threads, 0.05 if asked.quick else 0.5)
        if not any(job.label == OURS for job in ran):
            raise Failed(f"{OURS} did not run: {missing[OURS]}")
        worst = differences(ran, folder)
    wrong = {name: d for name, d in worst.items() if not d < TOLERANCE}
    if wrong:
        raise Failed(f"answers differ from ours by more than {TOLERANCE}: {wrong}")
    ours = next(job for job in ran if job.label == OURS)
    peers = {job.label: job for job in ran if job.label not in FORMS}
    fastest = min(peers, key=lambda name: peers[name].median, default=None)
    top = max(before["all threads"], after["all threads"])
    contestants = {
        job.label: job.record()
        | {
            "max difference": worst[job.label],
            "nominal share of FMA peak": round(facts["GFLOP"] / job.median / top, 4),
            **({} if job is ours else {"time in ours": round(median_ratio(job, ours), 3)}),
        }
        for job in ran
    }
    return {
        "kind": "labelling",
        **facts,
        "contestants": contestants,
        "absent": absent | missing,
        "fastest peer": fastest,
        "times as fast as the fastest peer": None if fastest is None else contestants[fastest]["time in ours"],
        "memory of a fresh process of ours MiB": memory,
        "FMA peak GFLOP/s": {"before": before, "after": after},
    }


def main(words: list[str] | None = None) -> None:
    made = options.parser(__doc__, "nets")
    made.add_argument("--peers", default="", help="comma-separated parts of the peers' names, or none")
    asked = options.read(made, words)
    cases = {case.name: case for case in (nets.QUICK if asked.quick else nets.LABELLING)}
    failures: list[str] = []
    for name in options.chosen(cases, asked.only):
        try:
            result = measure(cases[name], asked)
        except Failed as failed:
            failures.append(f"{name}: {failed}")
            print(f"\n{failures[-1]}", flush=True)
            continue
        print(
            f"\n{name}: {result['GFLOP']} GFLOP, FMA peak {result['FMA peak GFLOP/s']['before']['all threads']:.0f} GFLOP/s"
        )
        for label, row in result["contestants"].items():
            ratio = f"{row['time in ours']:6.2f} x ours" if "time in ours" in row else " " * 13
            memory = "" if row["peak MiB"] is None else f"{row['peak MiB']:7.0f} MiB"
            print(
                f"  {label:34} {row['median s']:9.4f} s {ratio} {memory}  max |difference| {row['max difference']:.1e}"
            )
        for label, why in result["absent"].items():
            print(f"  {label:34} absent: {why}")
        print(f"  -> {options.keep(asked, name, result)}", flush=True)
    if failures:
        raise SystemExit("\n".join(failures))


if __name__ == "__main__":
    main()
