"""Five iterations of real Caffe: the same weights and losses."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from fullmocha.caffe import load_caffe
from fullmocha.regularizers import L1Regu
from fullmocha.solvers import SGD, LRPolicy, MomPolicy, Solver, init_solve, make_solver_parameters, onestep_solve
from fullmocha.solvers.policies import Policy

CASES = [
    "sgd_fixed", "sgd_step", "sgd_exp", "sgd_inv", "sgd_multistep", "sgd_l1", "sgd_l2", "sgd_mults", "sgd_no_momentum",
    "sgd_type_missing", "sgd_shared_params",
]  # fmt: skip
# From the data's README: another BLAS moves Caffe's own weights by 1.3e-5 of the largest; it suggests this limit.
LIMIT = 1e-4


def settings(path: Path) -> dict[str, list[str]]:
    """The fields of a solver.prototxt, which is flat in these cases."""
    found: dict[str, list[str]] = {}
    for name, value in re.findall(r'^(\w+): "?([^"\n]*)"?$', path.read_text(), re.MULTILINE):
        found.setdefault(name, []).append(value)
    return found


def policy(text: dict[str, list[str]]) -> Policy:
    base, gamma, power = (float(text.get(name, ["0"])[0]) for name in ("base_lr", "gamma", "power"))
    if text["lr_policy"] == ["multistep"]:
        ends = [int(step) for step in text["stepvalue"]]
        lengths = [*np.diff([0, *ends]).tolist(), 1]
        return LRPolicy.Staged(*((n, LRPolicy.Fixed(base * gamma**i)) for i, n in enumerate(lengths)))
    return {
        "fixed": lambda: LRPolicy.Fixed(base),
        "step": lambda: LRPolicy.Step(base, gamma, int(text["stepsize"][0])),
        "exp": lambda: LRPolicy.Exp(base, gamma),
        "inv": lambda: LRPolicy.Inv(base, gamma, power),
    }[text["lr_policy"][0]]()


def close(ours: np.ndarray, theirs: np.ndarray) -> bool:
    return bool(np.abs(ours - theirs).max() / (np.abs(theirs).max() + 1e-3) < LIMIT)


@pytest.mark.parametrize("case", CASES)
def test_as_caffe(data_dir: Path, case: str) -> None:
    folder = data_dir / "caffe_golden" / "solvers" / case
    text, golden = settings(folder / "solver.prototxt"), np.load(folder / "golden.npz", allow_pickle=False)
    assert json.loads((folder.parent / "index.json").read_text())[case]["iter_size"] == 1
    net = load_caffe(folder / "net.prototxt", folder / "init.caffemodel", backend="reference", phase="train")
    if text.get("regularization_type") == ["L1"]:
        for parameter in net.parameters:
            parameter.regularizer = L1Regu(parameter.regularizer.coef)

    batches = iter([{k: golden[f"batch/{k}"][i] for k in ("data", "label")} for i in (0, 1, 2, 3, 4, 4)])
    forward = net.forward
    net.forward = lambda: forward(next(batches))
    method = SGD()
    params = make_solver_parameters(
        method,
        convention="caffe",
        lr_policy=policy(text),
        mom_policy=MomPolicy.Fixed(float(text.get("momentum", ["0"])[0])),
        regu_coef=float(text.get("weight_decay", ["0"])[0]),
    )
    solver = Solver(method, params)
    state = init_solve(solver, net)
    for iteration in range(1, 6):
        assert close(np.array(state.obj_val), golden["loss"][iteration - 1, 0])
        onestep_solve(solver, net, state)
        if "lr" in golden.files:
            assert state.learning_rate == pytest.approx(
                float(golden["lr"][iteration - 1]), rel=1e-6
            )  # Caffe's is float32
        for key in golden.files:
            if key.startswith(f"weights/{iteration}/"):
                _, _, layer, i = key.split("/")
                assert close(net.params[layer][int(i)].values(), golden[key]), (case, key)
