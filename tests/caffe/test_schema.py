"""caffe.proto and its committed descriptor set, and the text that must go through them."""

import subprocess
import sys

import pytest

from fullmocha.caffe.schema import DESCRIPTOR_SET, text_message
from fullmocha.caffe.text import parse_prototxt, read_prototxt


def test_the_committed_descriptor_set_is_what_the_proto_compiles_to(tmp_path):
    pytest.importorskip("grpc_tools", reason="grpcio-tools (protoc) is not installed")
    from google.protobuf.descriptor_pb2 import FileDescriptorSet

    made = tmp_path / "caffe.desc"
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{DESCRIPTOR_SET.parent}", f"--descriptor_set_out={made}"]
    subprocess.run([*command, "caffe.proto"], check=True)
    # Messages rather than bytes: another protoc may order or pad them in another way.
    assert FileDescriptorSet.FromString(made.read_bytes()) == FileDescriptorSet.FromString(DESCRIPTOR_SET.read_bytes())


def test_every_layer_type_parameter_of_bvlc_and_greentea_has_its_number():
    fields = {f.name: f.number for f in text_message("LayerParameter").DESCRIPTOR.fields}
    # Read off BVLC's master; the two from 1001 on are ours, for Greentea's own clash with BVLC's.
    assert fields["convolution_param"] == 106 and fields["recurrent_param"] == 146 and fields["clip_param"] == 148
    assert fields["mergecrop_param"] == 1001 and fields["affinity_param"] == 1002
    assert sorted(n for n in fields.values() if 100 <= n < 1000) == list(range(100, 149))


def test_defaults_are_caffes():
    layer = text_message("LayerParameter")()
    assert layer.pooling_param.pool == layer.pooling_param.MAX
    assert layer.convolution_param.bias_term and layer.convolution_param.group == 1
    assert layer.loss_param.normalization == layer.loss_param.VALID
    assert layer.crop_param.axis == 2 and layer.softmax_param.axis == 1
    filler = layer.convolution_param.weight_filler
    assert (filler.type, filler.value, filler.max, filler.std, filler.sparse) == ("constant", 0, 1, 1, -1)
    solver = text_message("SolverParameter")()
    assert (solver.type, solver.iter_size, solver.clip_gradients) == ("SGD", 1, -1)
    assert solver.snapshot_format == solver.BINARYPROTO and solver.test_initialization


def test_all_greentea_nets_and_solvers_parse(data_dir):
    files = sorted(
        f for f in (data_dir / "greentea_nets").rglob("*.prototxt") if not f.name.startswith("train_process")
    )
    assert len(files) == 53  # the others belong to the Neural Tool, whose words are not Caffe's
    for file in files:
        solver = "solver" in file.name
        message = read_prototxt(file, "SolverParameter" if solver else "NetParameter")
        assert message.max_iter > 0 if solver else len(message.layer) >= 3


def test_all_golden_and_public_prototxts_parse(data_dir):
    files = [*(data_dir / "caffe_golden").rglob("*.prototxt"), *(data_dir / "caffemodels").rglob("*.prototxt")]
    assert len(files) > 400
    for file in files:
        read_prototxt(file, "SolverParameter" if "solver" in file.name else "NetParameter")


def test_greenteas_words():
    net = parse_prototxt(
        """layer { type: "MergeCrop" mergecrop_param { operation: ADD forward: [1, 1] backward: true backward: false } }
           layer { type: "MemoryData" memory_data_param { dim: 1 dim: 3 dim: 44 dim: 132 dim: 132 } }
           layer { type: "PoolingSK" pooling_param { kernel_size: [2, 3] kstride: 4 } }""",
        "text",
    )
    merge, memory, pool = net.layer
    assert merge.mergecrop_param.operation == merge.mergecrop_param.ADD
    assert list(merge.mergecrop_param.forward) == [True, True]
    assert list(merge.mergecrop_param.backward) == [True, False]
    assert list(memory.memory_data_param.dim) == [1, 3, 44, 132, 132]
    assert list(pool.pooling_param.kernel_size) == [2, 3] and list(pool.pooling_param.kstride) == [4]
