"""What our reader takes from a message is what protobuf takes from it with Caffe's whole schema.

Messages are made at random from the schema, serialised by protobuf, then written anew in the other ways that mean the same: fields
in another order, numbers packed, one by one and in several chunks, nested messages in parts, fields and groups that nobody knows.
"""

import re
import struct

import numpy as np
import pytest
from google.protobuf.message import DecodeError

from fullmocha.caffe.binary import decode_caffemodel
from fullmocha.caffe.blobs import decode_blob
from fullmocha.caffe.schema import text_message
from fullmocha.errors import FormatError

NUMBERS = {"BlobProto": {5: 4, 6: 4, 8: 8, 9: 8}}  # message -> its fields of packed numbers, and how many bytes one has
PACKED_DATA = re.compile(rb"\x5a|\xda\x80*\x00")
UNKNOWN = (90, 500, 5000, (1 << 29) - 1)  # no message of the schema has these


def varint(n, rng=None):
    """Sometimes longer than needed, which is allowed."""
    n &= (1 << 64) - 1
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    out.append(n)
    if rng is not None and len(out) < 4 and rng.random() < 0.03:
        out[-1] |= 128
        out.append(0)
    return bytes(out)


def parse(raw):
    """The fields of what protobuf wrote: (number, wire type, payload or number). It writes no groups."""
    at, found = 0, []

    def take():
        nonlocal at
        value = shift = 0
        while True:
            byte = raw[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(raw):
        key = take()
        wire = key & 7
        if wire == 0:
            value = take()
        else:
            size = {1: 8, 2: None, 5: 4}[wire]
            size = take() if size is None else size
            value, at = raw[at : at + size], at + size
        found.append((key >> 3, wire, value))
    return found


def emit(number, wire, value, rng):
    key = varint(number << 3 | wire, rng)
    if wire == 0:
        return key + varint(value, rng)
    return key + (varint(len(value), rng) if wire == 2 else b"") + value


def unknown(rng, depth=0):
    number, kind = int(rng.choice(UNKNOWN)), rng.integers(5 if depth < 3 else 4)
    if kind == 4:
        inner = b"".join(unknown(rng, depth + 1) for _ in range(rng.integers(3)))
        inner += emit(7, 2, b"\x0a\x01\x05", rng) if rng.random() < 0.5 else b""  # a shape, were it not in a group
        return varint(number << 3 | 3) + inner + varint(number << 3 | 4)
    wire = (0, 1, 2, 5)[kind]
    return emit(number, wire, int(rng.integers(1 << 63)) if wire == 0 else rng.bytes({1: 8, 2: 5, 5: 4}[wire]), rng)


def rewritten(raw, descriptor, rng):
    """The same message in other bytes, field by field."""
    groups = {}  # the order matters only within one number
    for number, wire, value in parse(raw):
        field = descriptor.fields_by_number.get(number)
        pieces = groups.setdefault(number, [])
        width = NUMBERS.get(descriptor.name, {}).get(number)
        if width and wire == 2:
            pieces += numbers(number, value, width, rng)
        elif descriptor.name == "BlobShape" and wire == 2:
            pieces += dims(value, rng)
        elif field is not None and field.message_type is not None:
            inner = rewritten(value, field.message_type, rng)
            if not field.is_repeated and rng.random() < 0.3:  # in two parts
                at = int(rng.integers(len(inner) + 1))
                pieces += [emit(number, 2, b"".join(part), rng) for part in (inner[:at], inner[at:])]
            else:
                pieces.append(emit(number, 2, b"".join(inner), rng))
        else:
            pieces.append(emit(number, wire, value, rng))
            if field is not None and not field.is_repeated and rng.random() < 0.02:  # the last one counts
                pieces.insert(0, emit(number, wire, value[::-1] if wire == 2 else 1 if wire == 0 else value, rng))
    out, queues = [], [q for q in groups.values() if q]
    while queues:
        if rng.random() < 0.05:
            out.append(unknown(rng))
        i = int(rng.integers(len(queues))) if rng.random() < 0.5 else 0
        out.append(queues[i].pop(0))
        if not queues[i]:
            queues.pop(i)
    return out


def numbers(number, payload, width, rng):
    """Packed in one piece, in several, one by one, or mixed."""
    if rng.random() < 0.4:
        return [emit(number, 2, payload, rng)]
    pieces, at, wire = [], 0, {4: 5, 8: 1}[width]
    while at < len(payload):
        if rng.random() < 0.5:
            pieces.append(emit(number, wire, payload[at : at + width], rng))
            at += width
        else:
            size = int(rng.integers(0, 5)) * width
            pieces.append(emit(number, 2, payload[at : at + size], rng))
            at += size
    return pieces


def dims(payload, rng):
    values = [v for _, _, v in parse(b"".join(b"\x08" + p for p in split_varints(payload)))]
    if rng.random() < 0.5:
        return [emit(1, 0, v, rng) for v in values]
    at = int(rng.integers(len(values) + 1))
    return [emit(1, 2, b"".join(varint(v) for v in part), rng) for part in (values[:at], values[at:])]


def split_varints(payload):
    found, start = [], 0
    for i, byte in enumerate(payload):
        if byte < 128:
            found.append(payload[start : i + 1])
            start = i + 1
    return found


# ----------------------------------------------------------------------------------------------------- random messages
def random_blob(blob, rng):
    shape = [int(n) for n in rng.integers(0 if rng.random() < 0.05 else 1, 4, rng.integers(0, 5))]
    count = int(np.prod(shape)) if rng.random() < 0.95 else int(rng.integers(20))
    kind = rng.random()
    if kind < 0.3:
        shape = (shape + [1] * 4)[:4]
        count = int(np.prod(shape))
        for name, n in zip(("num", "channels", "height", "width"), shape, strict=True):
            setattr(blob, name, n)
        if rng.random() < 0.1:
            blob.ClearField("width")  # 0 then
    if kind > 0.2 or rng.random() < 0.1:
        blob.shape.dim.extend(-n if rng.random() < 0.01 else n for n in shape)
    if rng.random() < 0.01:
        blob.shape.dim.extend([1] * 33)
    values = rng.normal(size=count)
    if count and rng.random() < 0.1:
        values[0] = rng.choice([np.nan, np.inf, -0.0, 1e30])
    doubles = rng.random() < 0.2
    if doubles:
        blob.double_data.extend(values.tolist())
    if not doubles or rng.random() < 0.1:
        blob.data.extend(np.float32(values).tolist() if rng.random() < 0.99 else [])
    if rng.random() < 0.1:
        blob.diff.extend([0.5] * 3)


def random_fields(message, rng, depth=0):
    """Sets some of the fields of any message of the schema; names of layers and blobs are set elsewhere."""
    fields = message.DESCRIPTOR.fields
    for i in rng.integers(len(fields), size=rng.integers(4)):
        field = fields[int(i)]
        if field.name in ("name", "blobs", "layer", "layers", "clip_param"):  # whose fields are required
            continue
        if field.message_type is not None:
            if depth < 2:
                target = getattr(message, field.name)
                random_fields(target.add() if field.is_repeated else target, rng, depth + 1)
            continue
        number = int(rng.integers(-5, 300))
        value = {field.CPPTYPE_STRING: "text", field.CPPTYPE_BOOL: True, field.CPPTYPE_FLOAT: 0.25, field.CPPTYPE_DOUBLE: 0.25,
                 field.CPPTYPE_INT32: number, field.CPPTYPE_INT64: number * 10**12, field.CPPTYPE_UINT32: abs(number),
                 field.CPPTYPE_ENUM: field.enum_type and field.enum_type.values[-1].number}[field.cpp_type]  # fmt: skip
        if field.is_repeated:
            getattr(message, field.name).extend([value] * int(rng.integers(1, 3)))
        else:
            setattr(message, field.name, value)


def random_net(rng):
    net = text_message("NetParameter")()
    random_fields(net, rng)
    for i in range(rng.integers(4)):
        kind = rng.integers(3)
        layer = net.layer.add() if kind == 0 else net.layers.add()
        random_fields(layer, rng)
        holder = layer.layer if kind == 2 else layer
        if rng.random() < 0.95:
            holder.name = f"layer{i if rng.random() < 0.98 else 0} \u00e9"
        for _ in range(rng.integers(3)):
            random_blob(holder.blobs.add(), rng)
    return net


# ---------------------------------------------------------------------------------------------- what protobuf says of it
def array_of(blob):
    legacy = [blob.num, blob.channels, blob.height, blob.width]
    has_legacy = any(blob.HasField(n) for n in ("num", "channels", "height", "width"))
    shape = legacy if has_legacy else list(blob.shape.dim)
    data = np.array(blob.double_data) if len(blob.double_data) else np.array(blob.data, np.float32)
    if len(shape) > 32 or any(n < 0 for n in shape) or int(np.prod(shape, dtype=object)) != data.size:
        raise FormatError("wrong shape")
    return data.reshape(shape)


def blobs_of(net):
    if not len(net.layer) + len(net.layers):
        raise FormatError("no layers")
    found = {}
    for layer in (*net.layers, *net.layer):
        holder = layer.layer if layer.DESCRIPTOR.name == "V1LayerParameter" and layer.HasField("layer") else layer
        if len(holder.blobs):
            name = holder.name if isinstance(holder.name, str) else holder.name.decode("utf-8", "replace")  # no UTF-8
            if name in found:
                raise FormatError("twice")
            found[name] = [array_of(blob) for blob in holder.blobs]
    return found


def outcome(function, *arguments):
    try:
        return function(*arguments)
    except FormatError:
        return None


def agree(raw, whole=True):
    """Whether there were weights; where `raw` is damaged, only what protobuf accepts must be the same."""
    try:
        net = text_message("NetParameter").FromString(raw)
        theirs = outcome(blobs_of, net)
    except DecodeError:
        assert not whole
        return outcome(decode_caffemodel, raw, "f") is not None
    ours = outcome(decode_caffemodel, raw, "f")
    if not whole and (ours is None) != (theirs is None) and PACKED_DATA.search(raw):
        return False  # damaged into a field that Greentea has and this schema does not
    assert (ours is None) == (theirs is None)
    if ours is None:
        return False
    assert ours.keys() == theirs.keys()
    for name, blobs in ours.items():
        assert len(blobs) == len(theirs[name])
        for a, b in zip(blobs, theirs[name], strict=True):
            assert a.dtype == b.dtype and a.shape == b.shape
            np.testing.assert_array_equal(a, b)
    return bool(ours)


def damaged(raw, rng):
    raw = bytearray(raw)
    for _ in range(rng.integers(1, 3)):
        if raw:
            raw[int(rng.integers(len(raw)))] = int(rng.integers(256))
    return bytes(raw[: rng.integers(len(raw) + 1)] if rng.random() < 0.2 else raw)


@pytest.mark.parametrize("count", [2000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_random_nets_are_read_as_protobuf_reads_them(count):
    rng = np.random.default_rng(count)
    weights = 0
    for _ in range(count):
        net = random_net(rng)
        raw = net.SerializeToString()
        other = b"".join(rewritten(raw, net.DESCRIPTOR, rng))
        weights += agree(raw) + agree(other)
        agree(damaged(other, rng), whole=False)
    assert weights > count / 2


@pytest.mark.parametrize("count", [1000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_random_blobs_are_read_as_protobuf_reads_them(count):
    rng = np.random.default_rng(count)
    read = 0
    for _ in range(count):
        blob = text_message("BlobProto")()
        random_blob(blob, rng)
        raw = b"".join(rewritten(blob.SerializeToString(), blob.DESCRIPTOR, rng))
        theirs = outcome(array_of, text_message("BlobProto").FromString(raw))
        ours = outcome(decode_blob, raw, "f")
        assert (ours is None) == (theirs is None)
        if ours is not None:
            assert ours.dtype == theirs.dtype and ours.shape == theirs.shape
            np.testing.assert_array_equal(ours, theirs)
            read += 1
    assert read > count / 2


def test_numbers_one_by_one_in_great_number():
    values = np.arange(100_000, dtype=np.float32)
    ones = b"".join(b"\x2d" + struct.pack("<f", v) for v in values)
    raw = ones + b"\x20\x01" + b"\x2d" + struct.pack("<f", 7) + b"\x08\x01\x10\x01\x18\xa1\x8d\x06"
    np.testing.assert_array_equal(decode_blob(raw, "f").ravel(), [*values, 7])


def test_a_blob_is_a_view_of_the_files_bytes():
    payload = np.arange(1 << 20, dtype="<f4").tobytes()
    raw = b"\x3a\x05\x0a\x03" + varint(1 << 20) + b"\x2a" + varint(len(payload)) + payload
    assert np.shares_memory(decode_blob(raw, "f"), np.frombuffer(raw, np.uint8))
