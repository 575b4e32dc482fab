"""Random patch nets, built from the output back to the input so that every draw is a net that can be dense."""

from dataclasses import dataclass

from hypothesis import strategies as st

import fullmocha as fm


@dataclass(frozen=True)
class PatchNet:
    """Layers for a patch, and what an image must at least be."""

    layers: list
    patch: tuple[int, int]  # rows, columns
    channels: int
    classes: int


_NEURONS = [fm.Neurons.Identity(), fm.Neurons.ReLU(), fm.Neurons.Tanh(), fm.Neurons.Sigmoid(), fm.Neurons.LReLU()]


_GAUSS, _POSITIVE = fm.GaussianInitializer(std=0.7), fm.UniformInitializer(0.5, 2.0)
_STORED = {
    "use_global_stats": True,
    "mean_init": _GAUSS,
    "variance_init": _POSITIVE,
    "factor_init": fm.ConstantInitializer(1.7),
}
_BY_PIXEL = [
    (fm.BatchNormLayer, _STORED),
    (fm.ScaleLayer, {"scale_init": _POSITIVE, "bias": True, "bias_init": _GAUSS}),
    (fm.ScaleLayer, {"scale_init": _POSITIVE, "num_axes": 0}),
    (fm.BiasLayer, {"bias_init": _GAUSS}),
    (fm.PReLULayer, {"slope_init": _GAUSS}),
    (fm.LRNLayer, {"kernel": 3}),
    (fm.ELULayer, {}),
    (fm.SwishLayer, {"beta": 1.5}),
    (fm.ClipLayer, {"least": -0.5, "most": 2.0}),
]  # fmt: skip


@st.composite
def patch_nets(draw: st.DrawFn, depth: int = 4) -> PatchNet:
    """Convolutions, pools (max and mean, overlapping, ceil or floor), branches, skips, residues, crops, layers by pixel, in place."""
    pair = lambda low, high: (draw(st.integers(low, high)), draw(st.integers(low, high)))  # noqa: E731
    channels, classes = draw(st.integers(1, 3)), draw(st.integers(2, 3))
    size = pair(1, 3)  # what the inner product sees
    steps: list[dict] = []
    total = (1, 1)
    for _ in range(draw(st.integers(1, depth))):
        kind = draw(
            st.sampled_from(
                ["conv", "normed", "max", "mean", "branch", "skip", "crop", "sum", "cut", "residue", "tile"]
            )
        )
        if kind == "tile":
            steps.append({"kind": kind})
            continue
        if kind == "crop":
            steps.append({"kind": kind, "kept": size})
            size = tuple(n + e for n, e in zip(size, pair(0, 3), strict=True))
            continue
        kernel = pair(1, 3)
        room = tuple(12 // t for t in total)
        stride = (
            tuple(min(s, max(1, r)) for s, r in zip(pair(1, 3), room, strict=True))
            if kind in ("conv", "normed", "max", "mean")
            else (1, 1)
        )
        dilation = pair(1, 2) if kind != "mean" else (1, 1)
        extent = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True))
        if kind in ("max", "mean"):
            stride = tuple(min(s, e) for s, e in zip(stride, extent, strict=True))  # no empty windows
        floor = kind in ("conv", "normed") or draw(st.booleans())
        left = tuple(draw(st.integers(0, s - 1)) if floor else 0 for s in stride)
        size = tuple((n - 1) * s + e + o for n, s, e, o in zip(size, stride, extent, left, strict=True))
        total = tuple(t * s for t, s in zip(total, stride, strict=True))
        step = {"kind": kind, "kernel": kernel, "stride": stride, "dilation": dilation, "floor": floor}
        steps.append(step | {"group": draw(st.sampled_from([1, 1, 2])), "neuron": draw(st.sampled_from(_NEURONS))})
    layers: list = [fm.InputLayer(tops=["data"], shapes=[(2, channels, *size)])]
    bottom, maps = "data", channels
    for i, step in enumerate(reversed(steps)):
        top = f"blob{i}"
        if step["kind"] == "crop":
            layers.append(fm.CropLayer(name=f"crop{i}", bottoms=[bottom], tops=[top], crop_size=step["kept"][::-1]))
            layers.append(
                fm.NeuronLayer(name=f"tanh{i}", bottoms=[top], tops=[top], function=fm.Neurons.Tanh())
            )  # in place
            bottom = top
            continue
        if step["kind"] == "tile":
            layers.append(fm.TileLayer(name=f"tile{i}", bottoms=[bottom], tops=[top], tiles=2))
            bottom, maps = top, 2 * maps
            continue
        window = {key: step[key][::-1] for key in ("kernel", "stride", "dilation")}  # Mocha's (width, height)
        group = step["group"] if maps % step["group"] == 0 else 1
        if step["kind"] in ("conv", "normed"):
            n = 2 * draw(st.integers(1, 2))
            layers.append(
                fm.ConvolutionLayer(
                    name=f"conv{i}",
                    bottoms=[bottom],
                    tops=[top],
                    n_filter=n,
                    n_group=group,
                    neuron=step["neuron"] if step["kind"] == "conv" else fm.Neurons.Identity(),
                    **window,
                )
            )
            maps = n
        elif step["kind"] == "skip":
            inner = top + "a"
            layers.append(fm.ConvolutionLayer(name=f"conv{i}", bottoms=[bottom], tops=[inner], n_filter=2, **window))
            layers.append(fm.MergeCropLayer(name=f"merge{i}", bottoms=[inner, bottom], tops=[top]))
            maps += 2
        elif step["kind"] == "residue":
            inner, rest = top + "a", top + "b"
            layers.append(fm.ConvolutionLayer(name=f"conv{i}", bottoms=[bottom], tops=[inner], n_filter=maps, **window))
            layers.append(fm.CropLayer(name=f"rest{i}", bottoms=[bottom, inner], tops=[rest]))
            layers.append(fm.ElementWiseLayer(name=f"residue{i}", bottoms=[inner, rest], tops=[top]))
        elif step["kind"] == "cut":
            layers.append(
                fm.ConvolutionLayer(name=f"conv{i}", bottoms=[bottom], tops=[top + "all"], n_filter=5, **window)
            )
            parts = [f"{top}{part}" for part in "abc"]
            layers.append(fm.SliceLayer(name=f"slice{i}", bottoms=[top + "all"], tops=parts, points=[2, 3]))
            layers.append(fm.SilenceLayer(bottoms=[parts[1]]))
            product = fm.ElementWiseFunctors.Multiply()
            layers.append(
                fm.ElementWiseLayer(name=f"times{i}", bottoms=[parts[0], parts[2]], tops=[top], operation=product)
            )
            maps = 2
        elif step["kind"] == "sum":
            for side in "ab":
                layers.append(
                    fm.ConvolutionLayer(
                        name=f"conv{i}{side}", bottoms=[bottom], tops=[top + side], n_filter=2, **window
                    )
                )
            function = draw(st.sampled_from([fm.ElementWiseFunctors.Subtract(), fm.ElementWiseFunctors.Maximum()]))
            layers.append(
                fm.ElementWiseLayer(name=f"sum{i}", bottoms=[top + "a", top + "b"], tops=[top], operation=function)
            )
            maps = 2
        elif step["kind"] == "branch":
            for side in "ab":
                layers.append(
                    fm.ConvolutionLayer(
                        name=f"conv{i}{side}", bottoms=[bottom], tops=[top + side], n_filter=2, **window
                    )
                )
            layers.append(fm.ConcatLayer(name=f"concat{i}", bottoms=[top + "a", top + "b"], tops=[top]))
            maps = 4
        else:
            pooling = fm.Pooling.Max() if step["kind"] == "max" else fm.Pooling.Mean()
            rounding = "floor" if step["floor"] else "ceil"
            layers.append(
                fm.PoolingLayer(
                    name=f"pool{i}", bottoms=[bottom], tops=[top], pooling=pooling, round=rounding, **window
                )
            )
        bottom = top
        pixel = (_BY_PIXEL[:2] if step["kind"] == "normed" else []) + draw(
            st.lists(st.sampled_from(_BY_PIXEL), max_size=3)
        )
        for j, (layer, fields) in enumerate(pixel):
            layers.append(layer(name=f"pixel{i}{j}", bottoms=[bottom], tops=[bottom], **fields))
    layers += [
        fm.InnerProductLayer(name="ip1", bottoms=[bottom], tops=["ip1"], output_dim=3, neuron=fm.Neurons.Tanh()),
        fm.InnerProductLayer(name="ip2", bottoms=["ip1"], tops=["ip2"], output_dim=classes),
        fm.SoftmaxLayer(name="prob", bottoms=["ip2"], tops=["prob"]),
    ]
    return PatchNet(layers, size, channels, classes)
