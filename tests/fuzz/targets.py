"""What is fuzzed: for each kind of file, everything that reads it before a user has said that it can be trusted.

A target takes the bytes of a file. Whatever they are, it returns, or raises one of fullmocha's own exceptions; within 2 seconds, and
within 256 MB. `guarded` holds it to that.
"""

import contextlib
import os
import resource
import signal
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

from fullmocha.caffe.binary import decode_caffemodel
from fullmocha.caffe.blobs import decode_blob
from fullmocha.caffe.hdf5 import read_caffemodel_h5
from fullmocha.caffe.load import build, describe_message
from fullmocha.caffe.rules import upgrade_solver
from fullmocha.caffe.state import decode_state, read_state
from fullmocha.caffe.text import parse_prototxt
from fullmocha.errors import FullMochaError
from fullmocha.imaging import open_sections
from fullmocha.onnx import load_onnx
from fullmocha.solvers.jld import is_jld, read_jld_params, read_jld_state
from fullmocha.solvers.model import read_model, reading

SECONDS, MEGABYTES = 2, 256
SHM = Path("/dev/shm")  # in memory where there is such a place: fuzzers write thousands of files
SMALL = 64  # pixels of an image's corner that are read


class TooSlow(BaseException):
    """A target took more than its seconds of processor time."""


def text(raw: bytes) -> None:
    """A prototxt: a net, built in both phases but for its values; and a solver."""
    string = raw.decode("utf-8-sig", errors="replace")
    with contextlib.suppress(FullMochaError):
        upgrade_solver(parse_prototxt(string, "f", "SolverParameter"), "f")
    message = parse_prototxt(string, "f")
    for phase in ("train", "test"):
        with contextlib.suppress(FullMochaError):
            build(describe_message(message, "f", phase), "f", None, "reference", "float32", False, draw=False)


def binary(raw: bytes) -> None:
    """A .caffemodel, and a .binaryproto."""
    with contextlib.suppress(FullMochaError):
        decode_blob(raw, "f")
    decode_caffemodel(raw, "f")


def state(raw: bytes) -> None:
    """A .solverstate."""
    decode_state(raw, "f")


def hdf5(raw: bytes) -> None:
    """Everything that may be in HDF5: weights of Caffe, Mocha and ours, solver states, images."""
    with a_file(raw, "f.h5") as path:
        for reader in (read_caffemodel_h5, read_state, _model, _corners):
            with contextlib.suppress(FullMochaError):
                reader(path)


def _model(path: Path) -> None:
    with reading(path) as file:
        if is_jld(file):
            with contextlib.suppress(FullMochaError):
                read_jld_state(file)
            read_jld_params(file)
        read_model(file)


def tiff(raw: bytes) -> None:
    """An image whose content, or else whose suffix, says TIFF."""
    with a_file(raw, "f.tif") as path:
        _corners(path)


def png(raw: bytes) -> None:
    """The same for PNG."""
    with a_file(raw, "f.png") as path:
        _corners(path)


def onnx(raw: bytes) -> None:
    """A graph, for a patch of its own and for a given one."""
    with a_file(raw, "f.onnx") as path:
        for patch in (None, (13, 11)):
            with contextlib.suppress(FullMochaError):
                load_onnx(path, "reference", patch)


def _corners(path: Path) -> None:
    """The first and the last pixels of the first and the last section."""
    with open_sections(path) as sections:
        for source in (sections[0], sections[-1]) if len(sections) else ():
            _, height, width = source.shape
            h, w = min(height, SMALL), min(width, SMALL)
            for y, x in ((0, 0), (height - h, width - w)):
                source.read(y, x, h, w)


TARGETS: dict[str, Callable[[bytes], None]] = {
    "text": text,
    "binary": binary,
    "state": state,
    "hdf5": hdf5,
    "tiff": tiff,
    "png": png,
    "onnx": onnx,
}


def guarded(target: str, raw: bytes) -> None:
    """Runs a target within its limits; only what breaks a rule is raised."""
    with limits(), warnings.catch_warnings(), contextlib.suppress(FullMochaError):
        warnings.simplefilter("ignore")
        TARGETS[target](raw)


@contextlib.contextmanager
def limits() -> Iterator[None]:
    """2 seconds of processor time, and 256 MB more of address space: what is promised memory counts, used or not."""

    def stop(*_: object) -> None:
        raise TooSlow(f"took more than {SECONDS} s")

    pages = int(Path("/proc/self/statm").read_text().split()[0]) if os.path.exists("/proc/self/statm") else None
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    before = signal.signal(signal.SIGPROF, stop)
    try:
        if pages is not None:
            resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEGABYTES * 2**20, hard))
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@contextlib.contextmanager
def a_file(raw: bytes, name: str) -> Iterator[Path]:
    """A file of that content, as long as it is needed."""
    with tempfile.TemporaryDirectory(dir=SHM if SHM.is_dir() else None) as folder:
        path = Path(folder) / name
        path.write_bytes(raw)
        yield path
