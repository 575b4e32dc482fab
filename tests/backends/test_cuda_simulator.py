"""The CUDA kernels in numba's simulator: the suites of this folder, in a process of its own, on a few tiny shapes
(the published bound asks for long sums, which would take a minute here).

numba decides between device and simulator when it is first imported, hence the process. Where a device answers, the
suites run on it as on any other backend.
"""

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from fullmocha.backends import cuda, protocol

HERE = Path(__file__).parent
SUITES = ("test_windows.py", "test_ops.py", "test_program.py")
OFFERED = {
    "test_conv",
    "test_one_pixel",
    "test_max_pool",
    "test_max_pool_keeps_out_the_padding",
    "test_nan_never_wins",
    "test_mean_pool",
    "test_mean_pool_divisors_by_hand",
    "test_relu",
    "test_same_bits_as_the_calls",
    "test_the_caller_may_keep_answers",
    "test_views_of_one_arena_are_its_bytes",
    "test_from_host_converts",
    "test_same_names_same_parameters",
}


def test_the_suites_in_the_simulator(tmp_path: Path) -> None:
    """All that this backend offers passes; all else is skipped because the backend says that it has no such op."""
    report = tmp_path / "report.xml"
    options = ["-q", "-p", "no:cacheprovider", "-k", "cuda and not published", f"--junitxml={report}"]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *(str(HERE / suite) for suite in SUITES)],
        env={**os.environ, "NUMBA_ENABLE_CUDASIM": "1"},
        cwd=HERE.parent.parent,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    cases = list(ElementTree.parse(report).iter("testcase"))
    skips = {case.get("name", ""): case.find("skipped") for case in cases}
    passed = {name.split("[")[0] for name, skip in skips.items() if skip is None}
    assert passed >= OFFERED
    for name, skip in skips.items():
        assert skip is None or 'backend "cuda" has no' in skip.get("message", ""), name


def test_available_is_false_without_a_device() -> None:
    """On a machine without one it answers, and does not raise; where there is one, the suites run on it."""
    if cuda.available():
        pytest.skip("a device answers here")
    assert cuda.available() is False


def test_what_is_missing_is_said_by_name() -> None:
    """Without numba.cuda: a missing op needs no device."""
    ops = object.__new__(cuda.Ops)
    with pytest.raises(NotImplementedError, match=r'backend "cuda" has no deconv yet; use backend "cpu"'):
        ops.deconv(None, None, None, None, window=None, group=1)
    with pytest.raises(NotImplementedError, match=r'no activate\(kind="tanh"\)'):
        ops.activate(None, None, kind="tanh", parameters=())
    with pytest.raises(AttributeError):
        ops.no_op_of_the_protocol  # noqa: B018
    assert {name for name in vars(protocol.Ops) if not name.startswith("_")} > {"conv", "deconv"}
