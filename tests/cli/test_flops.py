"""The counts: the reports' own figures, and the exact ones against the programs that run."""

from collections.abc import Callable
from math import prod
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fullmocha as fm
from fullmocha import flops
from fullmocha.labelling import plan_labelling
from fullmocha.memory import resident
from fullmocha.models import lenet, n4, sk, u, usk

from ..strategies import PatchNet, patch_nets


def net_of(layers: list[Any]) -> fm.Net:
    return fm.Net("counted", "reference", layers)


def program_flops(dense: fm.DenseNet, windows: tuple[int, ...]) -> int:
    """What the recorded steps multiply: read off the arrays, not off the formulas."""
    shape = (1, dense.channels, *(w + v for w, v in zip(windows, dense.context, strict=True)))
    return dense.program(shape).flops


def test_n4_on_512_as_in_the_reports() -> None:
    net = net_of(n4())
    slid, dense = flops.patchwise(net, (512, 512)), flops.dense_as_reported(net, (512, 512))
    # s_l = 92, 42, 18 and 6; the reports print 63,636 GFLOP, 81.6 GFLOP and 779.8
    assert slid == 2 * 512**2 * (48 * 16 * 92**2 + 48 * 48 * (25 * 42**2 + 16 * 18**2 + 16 * 6**2))
    assert int(slid / 1e9) == 63636
    # 559, 279, 139 and 69 a side with 1, 4, 16 and 64 fragments
    assert dense == 2 * (48 * 16 * 559**2 + 48 * 48 * (25 * 279**2 * 4 + 16 * 139**2 * 16 + 16 * 69**2 * 64))
    assert f"{dense / 1e9:.1f}" == "81.6"
    assert f"{slid / dense:.1f}" == "779.8"


@pytest.mark.parametrize(
    ("layers", "windows", "gflop"),
    [
        (n4, 512, "133.98"),
        (sk, 128, "694.64"),
        (u, 388, "301.68"),
        (usk, 512, {"strided": "964.14", "fragments": "991.91"}),  # 318 and 258 a side become 320 and 264
        (usk, 256, {"strided": "271.20", "fragments": "285.41"}),  # 190 and 130 become 192 and 136
        (lenet, 60, None),
    ],
)
@pytest.mark.parametrize("engine", ["strided", "fragments"])
def test_closed_form_is_what_the_program_does(
    layers: Callable[[], list], windows: int, gflop: str | dict[str, str] | None, engine: Any
) -> None:
    net = net_of(layers())
    work = flops.dense(net, (windows, windows), engine)
    total = sum(w.total for w in work)
    assert total == program_flops(fm.densify(net, engine), (windows, windows))
    assert gflop is None or f"{total / 1e9:.2f}" == (gflop if isinstance(gflop, str) else gflop[engine])
    assert min(w.halo for w in work) >= 0


@pytest.mark.parametrize(("layers", "gflop"), [(sk, "694.6"), (u, "301.5"), (usk, None)])
def test_greenteas_own_columns(layers: Callable[[], list], gflop: str | None) -> None:
    """The sums of the FLOPs columns in the benchmark files of Project Greentea; its USK gives 256 x 256."""
    data = fm.InputLayer(tops=["data"], shapes=[(1, 3, 436, 436)])
    net = net_of(layers(data=data) if layers is usk else layers())
    assert f"{flops.as_greentea(net) / 1e9:.1f}" == (gflop or "271.1")


def test_pixels_and_halo_by_hand() -> None:
    """A 6 x 7 patch: conv 3x2 to 4 x 6, pool 2x2 to 2 x 3, inner product; on 5 x 8 windows (rows x columns)."""
    layers = [
        fm.InputLayer(tops=["data"], shapes=[(1, 2, 6, 7)]),
        fm.ConvolutionLayer(name="conv", bottoms=["data"], tops=["conv"], kernel=(2, 3), n_filter=5),
        fm.PoolingLayer(name="pool", bottoms=["conv"], tops=["pool"], kernel=2, stride=2),
        fm.InnerProductLayer(name="ip", bottoms=["pool"], tops=["ip"], output_dim=3),
    ]
    conv, ip = flops.dense(net_of(layers), (5, 8))
    weights = 5 * 2 * 3 * 2
    assert conv == flops.Work("conv", 2 * weights * 5 * 8, 2 * weights * ((5 + 3) * (8 + 5) - 5 * 8))
    assert ip == flops.Work("ip", 2 * 3 * (5 * 2 * 3) * 5 * 8, 0)
    assert flops.patchwise(net_of(layers), (5, 8)) == 2 * weights * 4 * 6 * 5 * 8
    slid = flops.dense(net_of(layers), (5, 8), "sliding")
    assert [w.total for w in slid] == [2 * weights * 4 * 6 * 5 * 8, ip.total]


@settings(max_examples=60, deadline=None)
@given(patch_nets(), st.tuples(st.integers(1, 20), st.integers(1, 20)), st.sampled_from(["strided", "fragments"]))
def test_random_nets(spec: PatchNet, windows: tuple[int, int], engine: Any) -> None:
    net = net_of(spec.layers)
    work = flops.dense(net, windows, engine)
    assert sum(w.total for w in work) == program_flops(fm.densify(net, engine), windows)
    assert sum(w.pixels for w in work) == 2 * prod(windows) * sum(p.weights for p in flops.products(net))


@st.composite
def strided_kernels(draw: st.DrawFn) -> list[Any]:
    """Nets that are dense as they stand: stacks of windows with gaps, then as large an answer as there is room for."""
    pair = lambda low, high: (draw(st.integers(low, high)), draw(st.integers(low, high)))  # noqa: E731
    layers, bottom = [fm.InputLayer(tops=["data"], shapes=[(1, 1, 36, 37)])], "data"
    for i in range(draw(st.integers(1, 4))):
        window = {"kernel": pair(1, 3), "dilation": draw(st.sampled_from([(1, 1), (2, 2), (4, 4), (2, 1), (3, 4)]))}
        names = {"name": f"layer{i}", "bottoms": [bottom], "tops": [f"layer{i}"]}
        neuron = draw(st.sampled_from([fm.Neurons.Identity(), fm.Neurons.ReLU()]))
        kind = draw(st.sampled_from([fm.ConvolutionLayer, fm.ConvolutionLayer, fm.PoolingLayer]))
        layers.append(
            kind(**names, **window, neuron=neuron, **({"n_filter": 2} if kind is fm.ConvolutionLayer else {}))
        )
        bottom = f"layer{i}"
    return [*layers, fm.ConvolutionLayer(name="last", bottoms=[bottom], tops=["last"], kernel=1, n_filter=2)]


@settings(max_examples=200, deadline=None)
@given(strided_kernels(), st.tuples(st.integers(1, 40), st.integers(1, 40)), st.sampled_from(["strided", "fragments"]))
def test_random_nets_that_are_dense_already(layers: list[Any], windows: tuple[int, int], engine: Any) -> None:
    net = net_of(layers)
    dense = fm.densify(net, engine)
    assert (dense.native, dense.engine) == (True, engine)
    assert sum(w.total for w in flops.dense(net, windows, engine)) == program_flops(dense, windows)


@pytest.mark.parametrize("engine", ["strided", "fragments"])
def test_plan_does_what_the_formula_says_for_its_tiles_and_no_more(engine: Any) -> None:
    net = net_of(n4(6, 10))
    dense = fm.densify(net, engine)
    whole = plan_labelling(dense, (1, 150, 210))
    job = plan_labelling(dense, (1, 150, 210), memory=(resident() + whole.plan.peak) // 2)
    tiles = [t.windows for t in job.plan.tiles]
    assert len(tiles) > 1
    assert job.plan.flops == sum(w.total for windows in tiles for w in flops.dense(net, windows, engine))
    assert job.plan.flops > whole.plan.flops == sum(w.total for w in flops.dense(net, (150, 210), engine))


def test_out_of_step_is_refused() -> None:
    with pytest.raises(fm.ShapeError, match="389x388 outputs"):
        flops.dense(net_of(u()), (389, 388))
