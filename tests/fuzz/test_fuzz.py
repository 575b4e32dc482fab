"""Whatever is in a file: fullmocha's own exceptions only, within the limits of targets.py. fuzz.py searches longer."""

import io

import h5py
import numpy as np
import pytest
from google.protobuf import text_format
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fullmocha.caffe.schema import text_message
from fullmocha.caffe.translate import TRANSLATIONS

from .seeds import SEEDS
from .targets import TARGETS, TooSlow, guarded

# The same examples each time: what is new is looked for by fuzz.py, not by whoever runs the suite.
MANY = settings(max_examples=80, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize(
    ("target", "broken"),
    [
        (lambda raw: bytearray(4 * 2**30), MemoryError),
        (lambda raw: np.empty(2**30, np.uint8), MemoryError),
        (lambda raw: next(x for x in iter(int, 1) if x), TooSlow),
        (lambda raw: 1 / 0, ZeroDivisionError),
    ],
)
def test_the_guard_notices(monkeypatch, target, broken):
    monkeypatch.setitem(TARGETS, "bad", target)
    with pytest.raises(broken):
        guarded("bad", b"")


@pytest.mark.parametrize(("target", "number"), [(name, i) for name, many in SEEDS.items() for i in range(len(many))])
def test_seeds(target, number):
    guarded(target, SEEDS[target][number])


EDITS = st.lists(
    st.tuples(
        st.floats(0, 1, exclude_max=True),
        st.sampled_from(["set", "cut", "insert", "double", "end"]),
        st.binary(min_size=1, max_size=8) | st.sampled_from([b"\xff\xff\xff\xff\xff\xff\xff\x7f", b"\0\0\0\x80", b"-1", b"99999999999"]),
    ),
    min_size=1,
    max_size=6,
)  # fmt: skip


def edited(raw, edits):
    for where, what, new in edits:
        at = int(where * len(raw))
        if what == "set":
            raw = raw[:at] + new + raw[at + len(new) :]
        elif what == "cut":
            raw = raw[:at] + raw[at + len(new) :]
        elif what == "insert":
            raw = raw[:at] + new + raw[at:]
        elif what == "double":
            raw = raw[:at] + 3 * raw[at : at + 40] + raw[at:]
        else:
            raw = raw[:at]
    return raw


@pytest.mark.parametrize("target", [t for t in TARGETS if SEEDS[t]])
def test_whole_files_with_some_bytes_changed(target):
    @MANY
    @given(st.sampled_from(SEEDS[target]), EDITS)
    def check(raw, edits):
        guarded(target, edited(raw, edits))

    check()


@pytest.mark.parametrize("target", [t for t in TARGETS if SEEDS[t]])
def test_any_bytes_behind_a_magic_number(target):
    @MANY
    @given(st.sampled_from([raw[:n] for raw in SEEDS[target] for n in (0, 4, 8, 16, 64)]), st.binary(max_size=200))
    def check(head, raw):
        guarded(target, head + raw)

    check()


# ------------------------------------------------------------------------------------------ messages of Caffe's schema
NUMBERS = st.integers(-3, 6) | st.sampled_from([2**31 - 1, -(2**31), 0, 1, 10**6])


@st.composite
def message(draw, kind, depth=0):
    made = text_message(kind)()
    fields = [f for f in made.DESCRIPTOR.fields if f.name not in ("blobs", "layers", "net_param", "clip_param")]
    for field in draw(st.lists(st.sampled_from(fields), max_size=4)):
        if field.message_type is not None:
            if depth < 3:
                inner = draw(message(field.message_type.name, depth + 1))
                target = getattr(made, field.name)
                (target.add() if field.is_repeated else target).CopyFrom(inner)
            continue
        if field.cpp_type == field.CPPTYPE_STRING:
            value = draw(st.sampled_from(["a", "b", "", "/", "xavier", "gaussian"]))
        elif field.cpp_type == field.CPPTYPE_ENUM:
            value = draw(st.sampled_from([v.number for v in field.enum_type.values]))
        elif field.cpp_type in (field.CPPTYPE_FLOAT, field.CPPTYPE_DOUBLE):
            value = draw(st.sampled_from([0.0, 1.0, -1.0, 0.5, 1e30, float("nan"), float("inf")]))
        elif field.cpp_type == field.CPPTYPE_BOOL:
            value = draw(st.booleans())
        else:
            value = draw(NUMBERS)
            value = (
                abs(value) % 2**32
                if field.cpp_type in (field.CPPTYPE_UINT32, field.CPPTYPE_UINT64)
                else max(value, -(2**31))
            )
            value = min(value, 2**31 - 1) if field.cpp_type == field.CPPTYPE_INT32 else value
        if field.is_repeated:
            getattr(made, field.name).extend([value] * draw(st.integers(1, 3)))
        else:
            setattr(made, field.name, value)
    return made


@st.composite
def chain(draw):
    """Layers of known types in a row, behind an input of some shape, each with one block of its own drawn at random."""
    net = text_message("NetParameter")()
    shape = draw(st.lists(st.integers(1, 9), min_size=1, max_size=5))
    net.layer.add(name="in", type="Input", top=["b0"]).input_param.shape.add(dim=shape)
    for i in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(sorted(TRANSLATIONS)))
        layer = net.layer.add(name=f"l{i}", type=kind)
        layer.bottom.extend(f"b{draw(st.integers(0, i))}" for _ in range(draw(st.sampled_from([1, 1, 1, 2, 0]))))
        layer.top.append(f"b{i + 1}")
        blocks = [
            f for f in layer.DESCRIPTOR.fields if f.name.endswith("_param") and f.name.split("_")[0] in kind.lower()
        ]
        for field in draw(st.lists(st.sampled_from(blocks), max_size=2)) if blocks else ():
            if field.name != "clip_param":
                getattr(layer, field.name).CopyFrom(draw(message(field.message_type.name, 2)))
    return net


@settings(MANY, max_examples=300)
@given(chain() | message("NetParameter"))
def test_nets_of_the_schema(net):
    guarded("text", text_format.MessageToString(net).encode())


@MANY
@given(message("SolverParameter"))
def test_solvers_of_the_schema(solver):
    guarded("text", text_format.MessageToString(solver).encode())


# --------------------------------------------------------------------------------------------- bytes that look protobuf
def varint(n):
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    return bytes([*out, n])


FIELDS = st.sampled_from([1, 2, 3, 4, 5, 6, 7, 8, 11, 13, 50, 100])


def field(inner):
    """A field of any wire type, around `inner`."""
    return st.one_of(
        st.tuples(FIELDS, st.integers(0, 2**64 - 1)).map(lambda f: varint(f[0] << 3) + varint(f[1])),
        st.tuples(FIELDS, st.binary(min_size=4, max_size=4)).map(lambda f: varint(f[0] << 3 | 5) + f[1]),
        st.tuples(FIELDS, inner).map(lambda f: varint(f[0] << 3 | 2) + varint(len(f[1])) + f[1]),
        st.tuples(FIELDS, st.integers(0, 2**40)).map(lambda f: varint(f[0] << 3 | 2) + varint(f[1])),
        st.tuples(FIELDS, inner).map(lambda f: varint(f[0] << 3 | 3) + f[1] + varint(f[0] << 3 | 4)),
    )


MESSAGES = st.recursive(
    st.binary(max_size=24), lambda inner: st.lists(field(inner), max_size=5).map(b"".join), max_leaves=12
)


@pytest.mark.parametrize("target", ["binary", "state"])
def test_bytes_that_look_like_messages(target):
    @settings(MANY, max_examples=300)
    @given(MESSAGES)
    def check(raw):
        guarded(target, raw)

    check()


# ------------------------------------------------------------------------------------------------------- HDF5 of any kind
NAMES = ["data/a/0", "data/a/1", "data/a/b/0", "data", "a___filter", "a___bias", "history/0", "iter", "current_step",
         "learned_net", "params_all", "solver_state", "raw"]  # fmt: skip
KINDS = ["f4", ">f4", "f8", "f2", "i4", "u1", "S3", "?", "c8", h5py.ref_dtype, h5py.string_dtype(),
         np.dtype([("keys_", h5py.ref_dtype), ("values_", h5py.ref_dtype)]), np.dtype([("iteration_", "i8")])]  # fmt: skip


@MANY
@given(
    st.dictionaries(
        st.sampled_from(NAMES),
        st.tuples(
            st.sampled_from(KINDS),
            st.lists(st.integers(0, 9) | st.sampled_from([2**20, 2**40]), max_size=4),
            st.booleans(),
            st.sampled_from([None, "zyx", b"CHW", 7, "\udcff"]),
        ),
        max_size=5,
    )
)
def test_hdf5_of_any_layout(datasets):
    target = io.BytesIO()
    with h5py.File(target, "w") as file:
        for name, (kind, shape, chunked, axes) in datasets.items():
            try:
                chunks = tuple(min(n, 16) for n in shape) if chunked and shape and all(shape) else None
                made = file.create_dataset(name, tuple(shape), kind, chunks=chunks)
                if chunks and kind in ("f4", "u1"):
                    made[(0,) * len(shape)] = 1
                if axes is not None:
                    made.attrs["axes"] = axes
            except (ValueError, TypeError, OSError, UnicodeError, OverflowError, RuntimeError):
                continue  # HDF5 itself does not have such a one
    guarded("hdf5", target.getvalue())
