"""What a measurement must say about where it was made: machine, versions, commit, settings."""

import contextlib
import datetime
import os
import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = (
    "fullmocha", "numba", "llvmlite", "numpy", "scipy", "torch", "onnx", "onnxruntime", "openvino", "opencv-python-headless",
)  # fmt: skip
SETTINGS = ("OMP_", "NUMBA_", "MKL_", "OPENBLAS_", "ONEDNN_", "DNNL_", "GOMP_", "KMP_", "TBB_", "MALLOC_", "FULLMOCHA_")


def cores() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def describe(environment: Mapping[str, str]) -> dict[str, Any]:
    """Everything but the figures, with those settings of the workers' environment that bear on speed; no names of people,
    folders or hosts.
    """
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": {
            "processor": _processor(),
            "architecture": platform.machine(),
            "cores": cores(),
            "caches": _caches(),
            "vectors": _vectors(),
            "memory GiB": round(_memory() / 2**30, 1),
            "system": f"{platform.system()} {platform.release().split('-')[0]}",
        },
        "versions": {"python": platform.python_version(), **_versions()},
        "commit": _commit(),
        "environment": {k: v for k, v in sorted(environment.items()) if k.startswith(SETTINGS)},
    }


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _commit() -> str:
    """The commit of the checkout, with "+ changes" where tracked files differ from it; empty outside of git."""

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", "fullmocha", "backends", "bench/*.py")
        return git("rev-parse", "--short=12", "HEAD") + (" + changes" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return ""


def _cpuinfo(field: str) -> str:
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith(field))
    except (OSError, StopIteration):
        return ""


def _processor() -> str:
    name = _cpuinfo("model name") or platform.processor()
    try:
        import llvmlite.binding as llvm

        return f"{name} ({llvm.get_host_cpu_name()})"  # virtual machines often hide the model, LLVM knows the kind
    except ImportError:
        return name


def _vectors() -> list[str]:
    flags = _cpuinfo("flags").split() or _cpuinfo("Features").split()
    return [
        f for f in ("fma", "avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "asimd", "sve") if f in flags
    ]


def _caches() -> dict[str, str]:
    """Size of each cache that the first processor sees."""
    found = {}
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        with contextlib.suppress(OSError):
            level, kind, size = ((index / name).read_text().strip() for name in ("level", "type", "size"))
            found[f"L{level}{'' if kind == 'Unified' else kind[0].lower()}"] = size
    return found


def _memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return 0
