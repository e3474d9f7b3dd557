import numpy as np
import pytest

from hwnas.backends.litert_check import checked_model
from hwnas.backends.litert_cpu import LitertCpuBackend
from hwnas.errors import LoweringError
from hwnas.graph import GraphBuilder
from hwnas.lowering import random_weights
from hwnas.lowering.tflite_model import to_tflite
from hwnas.targets import get_target

found = LitertCpuBackend().is_available(get_target("litert-cpu"))
if not found.works:
    pytest.skip(found.reason, allow_module_level=True)


@pytest.fixture(scope="module")
def content():
    g = GraphBuilder("net")
    with g.scope("a"):
        g.output(g.conv(g.input("input", (1, 8, 8, 8)), 8, 3, name="conv"), "output")
    graph = g.build()
    return to_tflite(graph, random_weights(graph, np.random.default_rng(0)))


@pytest.fixture
def write(tmp_path):
    def write(content):
        path = tmp_path / "model.tflite"
        path.write_bytes(content)
        return path

    return write


def changed(content, change):
    """The model with something changed, written anew."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content))
    change(model.subgraphs[0])
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def test_a_good_file_is_given_back(content, write):
    assert checked_model(write(content), 1) == content


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda content: b"", "has 0 bytes"),
        (lambda content: b"PK" + content, "is no .tflite file"),
        (lambda content: content[: len(content) // 2], "damaged"),
        (lambda content: b"\xff\xff\xff\x7f" + content[4:], "damaged"),
    ],
)
def test_damaged_files_are_refused(damage, said, content, write):
    with pytest.raises(LoweringError, match=said):
        checked_model(write(damage(content)), 1)


def test_an_operator_that_reads_no_tensor_of_the_file_does_no_harm(content, write):
    def change(subgraph):
        subgraph.operators[0].inputs = [1 << 20, 1, 2]

    with pytest.raises(LoweringError, match=r"model\.tflite"):
        checked_model(write(changed(content, change)), 1)


def test_a_tensor_larger_than_memory_is_refused(content, write):
    def change(subgraph):
        subgraph.tensors[subgraph.inputs[0]].shape = [1, 1 << 20, 1 << 20, 8]
        subgraph.tensors[subgraph.inputs[0]].shapeSignature = [1, 1 << 20, 1 << 20, 8]

    with pytest.raises(LoweringError, match=r"model\.tflite"):
        checked_model(write(changed(content, change)), 1)


def test_a_free_number_of_images_is_one(content, write):
    def change(subgraph):
        subgraph.tensors[subgraph.inputs[0]].shapeSignature = [-1, 8, 8, 8]

    executable = LitertCpuBackend().compile_model(
        write(changed(content, change)), get_target("litert-cpu")
    )

    assert list(executable.input_shapes.values()) == [(1, 8, 8, 8)]
