import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from hwnas.errors import LoweringError
from hwnas.lowering.model_file import read_model

WEIGHT = np.ones((64, 16), np.float32)


def model(nodes=None, shape=("batch", 64), weights=None, output=("batch", 16)):
    nodes = nodes or [helper.make_node("MatMul", ["x", "w"], ["y"])]
    given = {"w": WEIGHT} if weights is None else weights
    tensors = [numpy_helper.from_array(v, n) for n, v in given.items()]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, output)],
        tensors,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def written(folder, proto):
    path = folder / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    return path


def outside(proto, location="weights.bin"):
    """Move the first weight to another file."""
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    return proto


def test_a_free_batch_becomes_one_and_large_weights_lose_their_values(tmp_path):
    found = read_model(written(tmp_path, model()))

    (result,) = found.model.graph.output
    assert [side.dim_value for side in result.type.tensor_type.shape.dim] == [1, 16]
    assert found.weights == {"w"}
    assert not found.model.graph.initializer
    assert found.size_bytes > WEIGHT.nbytes


def test_weights_outside_the_file_are_not_opened(tmp_path):
    path = written(tmp_path, outside(model(), "../../etc/passwd"))

    assert read_model(path).weights == {"w"}


def scalar_outside():
    scaled = [helper.make_node("Mul", ["x", "s"], ["y"])]
    return outside(model(scaled, weights={"s": np.array(2.0, np.float32)}, output=("batch", 64)))


def constant_outside():
    proto = model([helper.make_node("Constant", [], ["w"], value=numpy_helper.from_array(WEIGHT)),
                   helper.make_node("MatMul", ["x", "w"], ["y"])], weights={})  # fmt: skip
    tensor = proto.graph.node[0].attribute[0].t
    tensor.data_location = TensorProto.EXTERNAL
    return proto


def negative_weight():
    proto = model()
    proto.graph.initializer[0].dims[:] = [-64, -16]
    return proto


def unknown_type():
    proto = model()
    proto.graph.initializer[0].data_type = 99
    return proto


def constant_of_wrong_size():
    tensor = TensorProto(data_type=TensorProto.FLOAT, raw_data=bytes(8))
    nodes = [
        helper.make_node("Constant", [], ["w"], value=tensor),
        helper.make_node("Mul", ["x", "w"], ["y"]),
    ]
    return model(nodes, weights={}, output=("batch", 64))


def looping():
    body = helper.make_graph([], "body", [], [])
    return model([helper.make_node("Loop", ["", ""], ["y"], body=body)])


def with_function():
    proto = model()
    proto.functions.add(name="f", domain="d")
    return proto


@pytest.mark.parametrize(
    ("proto", "said"),
    [
        (scalar_outside(), "'s' lies outside the file"),
        (constant_outside(), "lies outside the file"),
        (negative_weight(), "has shape"),
        (unknown_type(), "malformed"),
        (constant_of_wrong_size(), "malformed"),
        (looping(), "Loop"),
        (with_function(), "functions of its own"),
        (model(shape=("batch", "width")), "free size"),
        (model(shape=(1, 60)), "not valid ONNX"),
        (model(shape=(2**20, 64), output=(2**20, 2**30), weights={}), "not valid ONNX"),
        (model([helper.make_node("Relu", ["x"], ["y"])], (2**20, 2**20), {}, (2**20, 2**20)),
         "elements"),
        (model([helper.make_node("Nonsense", ["x"], ["y"])]), "not valid ONNX"),
        (onnx.ModelProto(ir_version=10), "no ONNX model"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_with_the_reason(tmp_path, proto, said):
    with pytest.raises(LoweringError, match=said):
        read_model(written(tmp_path, proto))


@pytest.mark.parametrize("content", [b"", b"not a model at all", bytes(range(256)) * 64])
def test_bytes_that_are_no_model_are_refused(tmp_path, content):
    path = tmp_path / "model.onnx"
    path.write_bytes(content)

    with pytest.raises(LoweringError):
        read_model(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(LoweringError, match=r"nothing\.onnx does not exist"):
        read_model(tmp_path / "nothing.onnx")


def test_a_name_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(model().SerializeToString().replace(b"MatMul", b"Mat\xfful"))

    with pytest.raises(LoweringError):
        read_model(path)
