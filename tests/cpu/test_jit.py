"""The cache sees every source; parallel regions take turns; threads are limited politely."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numba
import numpy as np
import pytest
from fullmocha.backends.cpu import Ops, cache, jit
from numba.core import caching

RunPython = Callable[..., str]

MAIN = """
from numba import prange
from .helper import changed
from .jit import kernel, parallel_kernel

@kernel
def one(x):
    return changed(x)

@parallel_kernel
def many(x):
    for i in prange(len(x)):
        x[i] = changed(x[i])
"""
HELPER = """
from .jit import kernel

@kernel
def changed(x):
    return x * {factor}
"""
ASK = """
import numpy as np
from fullmocha.backends.cpu import main
x = np.full(3, 10.0)
main.many(x)
print(main.one(10.0), x[2], sum(main.one.stats.cache_hits.values()), sum(main.many.stats.cache_hits.values()))
"""


def test_a_change_in_a_helper_of_another_file_is_seen(run_python: RunPython, tmp_path: Path) -> None:
    """The file that holds the cached kernel stays as it is; numba alone would answer 20 again."""
    folder = tmp_path / "fullmocha" / "backends" / "cpu"
    folder.mkdir(parents=True)
    for package in (folder, folder.parent, folder.parent.parent):
        (package / "__init__.py").touch()
    for module in (jit, cache):
        shutil.copy(module.__file__, folder)
    (folder / "main.py").write_text(MAIN)

    def ask(factor: int) -> list[float]:
        (folder / "helper.py").write_text(HELPER.format(factor=factor))
        places = {"PYTHONPATH": str(tmp_path), "PYTHONSAFEPATH": "1", "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
        answer = run_python(ASK, **places)
        return [float(number) for number in answer.split()]

    assert ask(2) == [20, 20, 0, 0]  # compiled
    assert ask(2) == [20, 20, 1, 1]  # found
    assert ask(3) == [30, 30, 0, 0]  # compiled anew
    assert ask(2) == [20, 20, 1, 1]  # the older one is still there


def test_another_numba_means_no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the private method that the key extends, kernels work and say that they are not kept."""
    monkeypatch.delattr(caching.Cache, "_index_key")
    with pytest.warns(RuntimeWarning, match="compiled anew in every process"):
        double = jit.kernel(lambda x: 2 * x)
    assert double(21) == 42
    assert type(double._cache) is caching.NullCache


def test_importing_the_backend_does_not_load_numba(run_python: RunPython) -> None:
    code = "import sys; from fullmocha.backends import cpu; cpu.available(); print('numba' in sys.modules)"
    assert run_python(code).strip() == "False"


CONCURRENT = """
import threading
import numba
import numpy as np
from fullmocha.backends.cpu import Ops
from fullmocha.backends.shapes import Window

x, w, window = np.ones((1, 8, 120, 120), np.float32), np.ones((8, 8, 3, 3), np.float32), Window.of((3, 3))
wrong = []

def work(ops, y):
    for _ in range(100):
        ops.conv(x, w, None, y, window=window, group=1)
        ops.activate(y, y, kind="relu", parameters=(0.0,))
        if not (y == 72).all():
            wrong.append(y.copy())

threads = [threading.Thread(target=work, args=(Ops(), np.empty((1, 8, 118, 118), np.float32))) for _ in range(4)]
for t in threads: t.start()
for t in threads: t.join()
print(numba.threading_layer(), len(wrong))
"""


@pytest.mark.parametrize("layer", ["workqueue", "default"])
def test_python_threads_may_call_at_once(run_python: RunPython, layer: str) -> None:
    """Numba's workqueue aborts the process when parallel regions meet."""
    chosen, wrong = run_python(CONCURRENT, NUMBA_THREADING_LAYER=layer, NUMBA_NUM_THREADS="2").split()
    assert layer in (chosen, "default") and wrong == "0"


def test_limiting_threads(ops: Ops) -> None:
    most = numba.config.NUMBA_NUM_THREADS
    for asked, given in ((1, 1), (most + 7, most), (None, most)):
        ops.set_threads(asked)
        assert ops.threads.count == given
    with pytest.raises(ValueError, match="at least 1"):
        ops.set_threads(0)


def test_a_call_leaves_numbas_own_thread_count(ops: Ops) -> None:
    """The caller's other numba code keeps its setting."""
    before = numba.get_num_threads()
    ops.set_threads(1)
    y = np.ones(10**6, np.float32)
    ops.activate(y, y, kind="relu", parameters=(0.0,))
    assert numba.get_num_threads() == before
