"""The speed tables of the two reports, on this machine, beside the figures that they published.

    python -m bench.reports [--only jakubiuk,greentea] [--rounds 5] [--quick]

Jakubiuk 2015, Table 1: one image, window by window against all at once. Tschopp 2015 ("Greentea"), Tables 6.5 and 6.6: SK, USK
and U, and the sliding window that SK replaces. Window by window is measured on a sample of 256 windows, which each contestant
takes in one batch (ours in batches of 64), and scaled to the image: windows do not know of each other, so the time is theirs
times their number. Contestants take turns as in `labelling`. bench/results/jakubiuk-table-1.json, greentea-tables-6.5-6.6.json.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import fullmocha as fm

from . import nets, options
from .describe import describe
from .description import save
from .turns import Failed, Job, peak_flops, take_turns

SIDE = 16  # the sample: 16 x 16 neighbouring windows
TOLERANCE, SPREAD = 5e-5, 0.01  # as in labelling.py
SLIDERS = {  # label: contestant
    "fullmocha, window by window": "fullmocha sliding",
    "pytorch channels_last, window by window": "pytorch dilated channels_last",  # no patch net here has a dilation
    "pytorch nchw, window by window": "pytorch dilated nchw",
    "opencv (Caffe's files), window by window": "opencv",
}

JAKUBIUK = {
    "source": "Jakubiuk, Fully Convolutional Neural Networks in Julia, 2015, Table 1: forward pass over one image",
    "seconds": {
        "Caffe, GPU, window by window": 180,
        "Caffe, CPU, window by window": 954,
        "Mocha, CPU, window by window": 1526,
        "fully convolutional, Julia": 47,
        "fully convolutional, native C++": 3.8,
    },
    "not known": [
        "the net: the report says 7 layers, convolution and max pooling only, and a window of 49 x 49, but neither kernels nor "
        "maps; ours is 4x4, pool, 4x4, pool, 3x3, pool, 4x4 with 48 maps and 2 answers",
        'the image: printed as "100x1024"; the rates that follow differ tenfold if 1024 x 1024 was meant',
        "the processors",
    ],
}
GREENTEA = {
    "source": "Tschopp, Efficient Convolutional Neural Networks for Pixelwise Classification on Heterogeneous Hardware "
    "Systems, arXiv:1509.03371, 2015, Tables 6.5 and 6.6: processing",
    "pixels per second": {
        "i7-4790K, OpenCL": {"sk-128": 3504, "usk-256": 19414, "u-388": 32692, "sliding window": 98},
        "i7-4790K, Caffe's own CPU code": {"sliding window": 73},
        "GTX 980, OpenCL": {"sk-128": 28461, "usk-256": 267478, "u-388": 390156},
        "GTX 980, CUDA": {"sk-128": 85460, "usk-256": 658018, "u-388": 1058125},
        "W9100, OpenCL": {"sk-128": 59513, "usk-256": 354865, "u-388": 483766},
    },
    "times as fast as the sliding window": {
        "CPU": {"sk-128": 48},
        "GTX 980, CUDA": {"sk-128": 57},
        "AMD GPUs, OpenCL": {"sk-128": 54, "usk-256": 320, "u-388": 437},
    },
    "memory MiB": {"sk-128": 2758.6, "usk-256": 1621.0, "u-388": 1710.0},
    "not known": [
        "the rows of Table 6.6 beyond the ratios that the abstract and the text give",
        "the sliding window's batch; its net is taken to be SK's windows, 102 x 102, of which SK is the dense form",
        "the sliding window's pixels per second on the GPUs other than by these ratios",
    ],
}


@dataclass(frozen=True)
class Sample:
    """256 windows of a patch net, written out for everybody.

    Attributes
    ----------
    folder : Path
        The described patch net for one batch of all windows, `windows.npy` (256, C, p, p), and `image.npy`, which they lie in.
    """

    case: nets.Case
    folder: Path

    @classmethod
    def write(cls, case: nets.Case, folder: Path) -> "Sample":
        net = case.drawn()
        nets.keep(net, folder)
        patch = net.output_blobs["data"].shape
        count, size = SIDE * SIDE, tuple(n + SIDE - 1 for n in patch[2:])
        save(folder, *describe(fm.densify(net, "sliding").program((count, *patch[1:]))))
        image = nets.image((1, patch[1], *size))
        view = np.lib.stride_tricks.sliding_window_view(image[0], patch[2:], axis=(1, 2))  # C y x p p
        windows = np.ascontiguousarray(view.transpose(1, 2, 0, 3, 4)).reshape(count, *patch[1:])
        np.save(folder / "image.npy", image)
        np.save(folder / "windows.npy", windows)
        return cls(case, folder)

    def jobs(self) -> list[Job]:
        """Everybody's, window by window. Our own takes the image, and cuts it itself."""
        jobs = []
        for label, name in SLIDERS.items():
            what = "image.npy" if name.startswith("fullmocha") else "windows.npy"
            paths = (self.folder, self.folder / what, self.folder / f"{name}.npy")
            jobs.append(Job(label, name, *paths, {"net": self.case.name}))
        return jobs

    def check(self, jobs: list[Job]) -> dict[str, float]:
        """Max |difference| to our dense answer; refuses what differs too much."""
        dense = fm.densify(self.case.loaded(self.folder)).forward(np.load(self.folder / "image.npy"))
        expected = dense[0].transpose(1, 2, 0).reshape(SIDE * SIDE, -1)
        if not np.ptp(expected, axis=0).max() > SPREAD:
            raise Failed("the windows' answers hardly differ, so that others agree says nothing")
        found = {}
        for job in jobs:
            answer = np.load(job.answer)
            if answer.shape[0] == 1:  # ours: one map for each class
                answer = answer[0].transpose(1, 2, 0)
            found[job.label] = float(np.abs(answer.reshape(expected.shape) - expected).max())
        wrong = {label: worst for label, worst in found.items() if not worst < TOLERANCE}
        if wrong:
            raise Failed(f"answers differ from our dense ones by more than {TOLERANCE}: {wrong}")
        return found


def dense_job(case: nets.Case, shape: tuple[int, ...], folder: Path, label: str) -> Job:
    """`fullmocha.predict` of an image (C, H, W), every pixel of it."""
    nets.keep(case.drawn(), folder)
    np.save(folder / "image.npy", nets.image(shape))
    told = {"net": case.name, "memory": None}
    return Job(label, "fullmocha predict", folder, folder / "image.npy", folder / "answer.npy", told)


def jakubiuk(asked: Any) -> dict[str, Any]:
    """Table 1: seconds for one image of 100 x 1024 pixels."""
    case = nets.find("seven-layers-quick" if asked.quick else "seven-layers")
    height, width = (10, 12) if asked.quick else (100, 1024)
    with options.workplace() as folder:
        sample = Sample.write(case, folder / "sample")
        dense = dense_job(case, (1, height, width), folder / "dense", "fullmocha, dense")
        ran, absent = take_turns([*sample.jobs(), dense], asked.threads, asked.rounds, asked.limit)
        worst = sample.check([job for job in ran if job is not dense])
    rows = {}
    for job in ran:
        scale = 1.0 if job is dense else height * width / SIDE**2
        how = {} if job is dense else {"sample": SIDE**2, "scaled by": scale, "max difference": worst[job.label]}
        rows[job.label] = {"seconds for the image": round(job.median * scale, 4), **how, **job.record()}
    beside = {
        "Caffe, CPU, window by window": "opencv (Caffe's files), window by window",
        "Mocha, CPU, window by window": "fullmocha, window by window",
        "fully convolutional, Julia": "fullmocha, dense",
        "fully convolutional, native C++": "fullmocha, dense",
    }
    return {"image": [height, width], "published": JAKUBIUK, "here": rows, "row by row": beside, "absent": absent}


def greentea(asked: Any) -> dict[str, Any]:
    """Tables 6.5 and 6.6: pixels per second."""
    case = nets.find("sw-102-quick" if asked.quick else "sw-102")
    names = ("sk-3", "usk-4", "u-20") if asked.quick else ("sk-128", "usk-256", "u-388")
    rows: dict[str, dict[str, Any]] = {}
    absent: dict[str, str] = {}
    with options.workplace() as folder:
        sample = Sample.write(case, folder / "sample")
        for name in names:
            net = nets.find(name)
            size = net.outputs
            job = dense_job(net, (3, size, size), folder / name, name)
            ran, missing = take_turns([job], asked.threads, asked.rounds, asked.limit)
            absent |= missing
            for job in ran:
                rows[name] = {"px/s": round(size * size / job.median), "outputs": [size, size], **job.record()}
        sliders, missing = take_turns(sample.jobs(), asked.threads, asked.rounds, asked.limit)
        absent |= missing
        worst = sample.check(sliders)
    for job in sliders:
        rows[job.label] = {
            "px/s": round(SIDE**2 / job.median, 1),
            "sample": SIDE**2,
            "max difference": worst[job.label],
            **job.record(),
        }
    fastest = max((rows[job.label]["px/s"] for job in sliders), default=None)
    ratios = {name: round(rows[name]["px/s"] / fastest, 1) for name in names if name in rows and fastest}
    return {
        "published": GREENTEA,
        "here": rows,
        "times as fast as the fastest sliding window": ratios,
        "absent": absent,
    }


TABLES = {"jakubiuk-table-1": jakubiuk, "greentea-tables-6.5-6.6": greentea}


def main(words: list[str] | None = None) -> None:
    asked = options.read(options.parser(__doc__, "tables"), words)
    failures: list[str] = []
    for name in options.chosen(TABLES, asked.only):
        before = peak_flops(asked.threads, 0.05 if asked.quick else 0.5)
        try:
            result = {"kind": "report", **TABLES[name](asked)}
        except Failed as failed:
            failures.append(f"{name}: {failed}")
            print(f"\n{failures[-1]}", flush=True)
            continue
        after = peak_flops(asked.threads, 0.05 if asked.quick else 0.5)
        print(f"\n{name}")
        for label, row in result["here"].items():
            figure = "seconds for the image" if "seconds for the image" in row else "px/s"
            print(f"  {label:50} {row[figure]:12.4g} {figure}")
        for label, why in result["absent"].items():
            print(f"  {label:50} absent: {why}")
        print(
            f"  -> {options.keep(asked, name, result | {'FMA peak GFLOP/s': {'before': before, 'after': after}})}",
            flush=True,
        )
    if failures:
        raise SystemExit("\n".join(failures))


if __name__ == "__main__":
    main()
