import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from hwnas.errors import LoweringError
from hwnas.lowering.fold_sizes import fold_sizes


def model(nodes, output, weights=None, shape=(2, 3, 4)):
    tensors = [numpy_helper.from_array(np.array(v), n) for n, v in (weights or {}).items()]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", *output)],
        tensors,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def reshapes(source, result):
    """Flatten all but the first size, as exporters of torch's `view(x.size(0), -1)` write it."""
    return [
        helper.make_node("Shape", [source], [f"{result}.shape"]),
        helper.make_node("Gather", [f"{result}.shape", "zero"], [f"{result}.batch"]),
        helper.make_node("Unsqueeze", [f"{result}.batch", "axis"], [f"{result}.row"]),
        helper.make_node("Concat", [f"{result}.row", "rest"], [f"{result}.sizes"], axis=0),
        helper.make_node("Reshape", [source, f"{result}.sizes"], [result]),
    ]


SIZES = {"zero": 0, "axis": [0], "rest": [-1]}
FREE = (TensorProto.FLOAT, (None, None))


def shape_of(graph, name):
    value = next(v for v in (*graph.value_info, *graph.output) if v.name == name)
    return [side.dim_value for side in value.type.tensor_type.shape.dim]


def test_a_computed_size_becomes_a_constant_and_its_result_known():
    found = fold_sizes(model(reshapes("x", "y"), FREE, SIZES))

    assert [node.op_type for node in found.graph.node] == ["Reshape"]
    assert shape_of(found.graph, "y") == [2, 12]


def test_sizes_of_what_was_reshaped_by_sizes_are_found_round_by_round():
    nodes = [
        *reshapes("x", "a"),
        helper.make_node("Relu", ["a"], ["b"]),
        *reshapes("b", "c"),
        helper.make_node("Relu", ["c"], ["y"]),
    ]

    found = fold_sizes(model(nodes, FREE, SIZES))

    assert [n.op_type for n in found.graph.node] == ["Reshape", "Relu", "Reshape", "Relu"]
    assert shape_of(found.graph, "y") == [2, 12]


def test_the_folded_model_computes_the_same():
    whole = model(reshapes("x", "y"), FREE, SIZES)
    x = np.random.default_rng(0).standard_normal((2, 3, 4), dtype=np.float32)

    folded = fold_sizes(whole)

    results = [
        ort.InferenceSession(each.SerializeToString()).run(None, {"x": x})[0]
        for each in (whole, folded)
    ]
    np.testing.assert_array_equal(*results)
    assert onnx.checker.check_model(folded, full_check=True) is None


def test_results_of_the_model_stay():
    found = fold_sizes(model([helper.make_node("Shape", ["x"], ["y"])], (TensorProto.INT64, (3,))))

    assert [node.op_type for node in found.graph.node] == ["Shape"]


@pytest.mark.parametrize("operator", ["ConstantOfShape", "Expand"])
def test_nothing_large_is_made_of_small_sizes(operator):
    inputs = ["sizes"] if operator == "ConstantOfShape" else ["one", "sizes"]
    nodes = [
        helper.make_node(operator, inputs, ["h"]),
        helper.make_node("Shape", ["h"], ["s"]),
        helper.make_node("Cast", ["s"], ["y"], to=TensorProto.FLOAT),
    ]
    weights = {"sizes": [2**20, 2**20], "one": np.ones(1, np.float32)}

    found = fold_sizes(model(nodes, (TensorProto.FLOAT, (2,)), weights))

    assert operator in [node.op_type for node in found.graph.node]


def test_what_depends_on_data_stays():
    nodes = [
        helper.make_node("NonZero", ["x"], ["n"]),
        helper.make_node("Shape", ["n"], ["s"]),
        helper.make_node("Cast", ["s"], ["y"], to=TensorProto.FLOAT),
    ]

    found = fold_sizes(model(nodes, (TensorProto.FLOAT, (2,))))

    assert [node.op_type for node in found.graph.node] == ["NonZero", "Shape", "Cast"]


def test_shapes_that_do_not_fit_are_refused():
    nodes = [helper.make_node("Add", ["x", "w"], ["y"])]

    with pytest.raises(LoweringError, match="do not fit"):
        fold_sizes(model(nodes, (TensorProto.FLOAT, (2, 3, 4)), {"w": np.ones(5, np.float32)}))
