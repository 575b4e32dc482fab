"""Every net and solver of Greentea's models: parses, and builds in each phase or is refused for a reason that stands in the file."""

import os
from pathlib import Path

import pytest

from fullmocha.caffe.load import build, describe
from fullmocha.caffe.rules import upgrade_solver
from fullmocha.caffe.text import read_prototxt
from fullmocha.errors import FullMochaError

NETS = Path(os.environ.get("FULLMOCHA_DATA", Path(__file__).resolve().parents[3] / "shared" / "data")) / "greentea_nets"
FILES = sorted(str(f.relative_to(NETS)) for f in NETS.rglob("*.prototxt") if not f.name.startswith("train_process"))
SOLVERS = [name for name in FILES if "solver" in name]

# File (and phase, where the other one builds) -> what the refusal says; each reason stands in the file.
MALIS = (
    "layer type '(Affinity|ConnectedComponent|MalisLoss)' is not built"  # Turaga's loss and what prepares its inputs
)
SCALED = (
    r"takes 2 bottoms, got 3: \['\w+', 'label', 'scale'\]"  # PyGreentea's EuclideanLoss has a weight for each voxel
)
REFUSED = {
    "dataset_06/net/anisonet_euclid.prototxt": SCALED,
    "dataset_06/net/anisonet_malis.prototxt": MALIS,
    "dataset_08/net/net_train_malis.prototxt": MALIS,
    "malis_setup/neuraltissue_net.prototxt train": MALIS,
    "malis_setup/neuraltissue_net.prototxt test": "its bottom \"data\" is no layer's top",  # the only data layer is TRAIN's
    "net_old/neuraltissue_test.prototxt": "backend LEVELDB",  # and then DataRandTransform, which no Caffe has
    "net_old/neuraltissue_train.prototxt": "backend LEVELDB",
    "net_sk_2out/neuraltissue_net_malis.prototxt train": MALIS,
    "net_u_2out/neuraltissue_net_malis.prototxt train": MALIS,
    "net_usk_2out/neuraltissue_net_malis.prototxt train": MALIS,
    "net_u_small/net_train.prototxt": r"need one label each, .*the labels are \(1, 2, 196, 196\)",  # MemoryData's dim
    "pygt_01/net_train.prototxt": SCALED,
    "pygt_fibsem/net_train_euclid.prototxt": SCALED,
    "pygt_fibsem/net_train_malis.prototxt": MALIS,
    "pygt_isbi2012/net_train_euclid.prototxt": SCALED,
    "pygt_isbi2012/net_train_malis.prototxt": MALIS,
    "pygt_snemi_aniso/net_train_euclid.prototxt": SCALED,
    "pygt_snemi_aniso/net_train_malis.prototxt": MALIS,
    "pygt_uvisual/net_train_euclid.prototxt": SCALED,
    "pygt_uvisual/net_train_malis.prototxt": MALIS,
}  # fmt: skip


def files(data_dir: Path) -> list[str]:
    assert data_dir == NETS.parent and len(FILES) == 53
    return FILES


def test_no_file_is_forgotten(data_dir: Path) -> None:
    assert {key.split()[0] for key in REFUSED} <= set(files(data_dir)) and len(SOLVERS) == 11


@pytest.mark.parametrize("phase", ["train", "test"])
@pytest.mark.parametrize("name", [name for name in FILES if name not in SOLVERS])
def test_a_net_builds_or_says_why_not(name: str, phase: str) -> None:
    expected = REFUSED.get(name) or REFUSED.get(f"{name} {phase}")
    try:
        net = build(describe(NETS / name, phase), name, None, "reference", "float32", False, draw=False)  # type: ignore[arg-type]
    except FullMochaError as error:
        assert expected is not None, error
        with pytest.raises(FullMochaError, match=expected):
            raise
        return
    assert expected is None and len(net.nodes) >= 3


@pytest.mark.parametrize("name", SOLVERS)
def test_a_solver_is_read(name: str) -> None:
    solver = upgrade_solver(read_prototxt(NETS / name, "SolverParameter"), name)
    assert solver.max_iter > 0 and solver.base_lr > 0 and solver.lr_policy in ("inv", "fixed", "step")
    assert solver.type in ("SGD", "Adam", "Nesterov", "AdaGrad", "RMSProp", "AdaDelta")
    assert solver.train_net or solver.net
