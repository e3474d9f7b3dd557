import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from hwnas.errors import LoweringError
from hwnas.lowering import random_weights, to_onnx
from hwnas.lowering.model_graph import graph_of_file
from hwnas.lowering.torch_module import TorchModule
from hwnas.spaces import get_space


@pytest.fixture
def written(tmp_path):
    def write(model):
        path = tmp_path / "model.onnx"
        path.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
        return path

    return write


@pytest.mark.parametrize("name", ["mbconv-digits", "nasbench201"])
def test_a_network_comes_back_with_its_weights(written, name):
    space, rng = get_space(name), np.random.default_rng(0)
    graph = space.network(space.smallest())
    weights = random_weights(graph, rng)
    x = torch.randn(tuple(graph.inputs[0].shape))

    again, values = graph_of_file(written(to_onnx(graph, weights)))

    with torch.no_grad():
        found, wanted = (
            TorchModule(*each).eval()(x) for each in ((again, values), (graph, weights))
        )
    torch.testing.assert_close(found, wanted)
    assert len(values) == len(weights)


def linear(weight):
    return helper.make_model(
        helper.make_graph(
            [helper.make_node("MatMul", ["x", "w"], ["y"])],
            "linear",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", weight.dims[0]])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", weight.dims[1]])],
            [weight],
        ),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=10,
    )


@pytest.mark.parametrize("side", [2, 64])
def test_small_and_large_weights_are_values_and_a_free_batch_is_one(written, side):
    weight = numpy_helper.from_array(np.ones((side, 3), np.float32), "w")

    graph, values = graph_of_file(written(linear(weight)))

    assert set(values) == {"w"}
    assert tuple(graph.inputs[0].shape) == (1, side)
    assert [value.name for value in graph.inputs] == ["x"]


def test_weights_elsewhere_are_not_looked_for(written):
    weight = numpy_helper.from_array(np.ones((64, 64), np.float32), "w")
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="../../etc/passwd")

    with pytest.raises(LoweringError, match="lies outside the file"):
        graph_of_file(written(linear(weight)))


@pytest.mark.parametrize("content", [b"", b"\x00\x01", b"not a model"])
def test_what_is_no_model_is_refused(written, content):
    with pytest.raises(LoweringError):
        graph_of_file(written(content))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(LoweringError, match="does not exist"):
        graph_of_file(tmp_path / "model.onnx")


def test_large_weights_of_another_type_are_refused(written):
    weight = numpy_helper.from_array(np.ones((64, 64), np.float16), "w")
    model = linear(weight)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = TensorProto.FLOAT16

    with pytest.raises(LoweringError, match="is FLOAT16; float32 can be lowered"):
        graph_of_file(written(model))


def test_the_file_is_only_read(written):
    weight = numpy_helper.from_array(np.ones((4, 3), np.float32), "w")
    path = written(linear(weight))
    before = path.read_bytes()

    graph_of_file(path)

    assert path.read_bytes() == before
    assert onnx.load(path).graph.name == "linear"
