import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from hwnas.errors import LoweringError
from hwnas.lowering import check_onnx, random_weights, to_onnx
from hwnas.lowering.half_precision import to_float16
from hwnas.spaces import get_space

SPACES = [
    "mbconv-digits",
    "ofa-mbv3@160",
    "fbnet-cifar",
    "cells-digits",
    "proxyless-mobile@64",
    "unet",
]


def result(model, value):
    """What a model gives; the CPU runs most float16 operators as float32 ones between casts."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    (found,) = ort.InferenceSession(model.SerializeToString(), options).run(None, {"input": value})
    return found


def small(nodes, *, weights=None):
    tensors = [numpy_helper.from_array(np.array(v), n) for n, v in (weights or {}).items()]
    shapes = {"x": (1, 1, 2, 2), "y": (None, None, None, None)}
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in shapes.items()]
    graph = helper.make_graph(nodes, "small", values[:1], values[1:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


@pytest.mark.parametrize("name", SPACES)
def test_a_network_in_float16_gives_what_it_gives_in_float32_with_rounded_weights(name):
    space = get_space(name)
    graph = space.network(space.architecture(space.sample(1, np.random.default_rng(0))[0]))
    weights = random_weights(graph, np.random.default_rng(0))
    rounded = {n: v.astype(np.float16).astype(np.float32) for n, v in weights.items()}
    wanted, model = to_onnx(graph, rounded), to_onnx(graph, weights)
    sides = [side.dim_value for side in model.graph.input[0].type.tensor_type.shape.dim]
    # Random weights make some networks grow their values by more than float16 holds.
    image = (1e-3 * np.random.default_rng(1).standard_normal(sides)).astype(np.float16)

    to_float16(model)

    check_onnx(model)
    found = result(model, image)
    reference = result(wanted, image.astype(np.float32))
    assert found.dtype == np.float16
    # Activations are rounded to 11 bits after each of some tens of operators.
    error = np.linalg.norm(found.astype(np.float32) - reference) / np.linalg.norm(reference)
    assert error < 0.02


@pytest.mark.parametrize("name", SPACES)
def test_nothing_of_a_network_stays_float32_and_nothing_is_converted_when_it_runs(name):
    space = get_space(name)
    graph = space.network(space.smallest())
    model = to_onnx(graph, random_weights(graph, np.random.default_rng(0)))

    to_float16(model)

    parts = (*model.graph.input, *model.graph.output, *model.graph.value_info)
    kinds = {value.type.tensor_type.elem_type for value in parts}
    kinds |= {tensor.data_type for tensor in model.graph.initializer}
    assert kinds <= {TensorProto.FLOAT16, TensorProto.INT64}
    assert "Cast" not in {node.op_type for node in model.graph.node}


@pytest.mark.parametrize(
    "constant",
    [
        {"value": numpy_helper.from_array(np.float32([0.1]))},
        {"value_float": 0.1},
        {"value_floats": [0.1]},
    ],
)
def test_constants_are_converted_however_they_are_stored(constant):
    nodes = [
        helper.make_node("Constant", [], ["c"], **constant),
        helper.make_node("Mul", ["x", "c"], ["y"]),
    ]
    model = small(nodes)

    to_float16(model)

    check_onnx(model)
    (value,) = model.graph.node[0].attribute
    assert numpy_helper.to_array(value.t).dtype == np.float16


def test_scales_of_a_resize_stay_as_onnx_wants_them():
    nodes = [helper.make_node("Resize", ["x", "", "scales"], ["y"])]
    model = small(nodes, weights={"scales": np.float32([1, 1, 2, 2])})

    to_float16(model)

    check_onnx(model)
    assert model.graph.initializer[0].data_type == TensorProto.FLOAT


def test_a_cast_to_float32_becomes_one_to_float16():
    nodes = [
        helper.make_node("Cast", ["x"], ["i"], to=TensorProto.INT32),
        helper.make_node("Cast", ["i"], ["y"], to=TensorProto.FLOAT),
    ]
    model = small(nodes)

    to_float16(model)

    check_onnx(model)
    assert [n.attribute[0].i for n in model.graph.node] == [TensorProto.INT32, TensorProto.FLOAT16]


def test_integers_and_infinities_stay_what_they_are():
    weights = {"i": np.array([3]), "least": np.float32(-np.inf)}
    model = small([helper.make_node("Clip", ["x", "least"], ["y"])], weights=weights)

    to_float16(model)

    integer, least = (numpy_helper.to_array(tensor) for tensor in model.graph.initializer)
    assert integer.dtype == np.int64
    assert least == -np.inf


def test_a_number_beyond_float16_is_refused():
    model = small([helper.make_node("Mul", ["x", "w"], ["y"])], weights={"w": np.float32(1e5)})

    with pytest.raises(LoweringError, match="'w' holds 100000; float16 ends at 65504"):
        to_float16(model)


def test_a_weight_outside_the_file_is_refused():
    model = small([helper.make_node("Mul", ["x", "w"], ["y"])], weights={"w": np.float32(1.0)})
    model.graph.initializer[0].data_location = TensorProto.EXTERNAL

    with pytest.raises(LoweringError, match="lies outside the file"):
        to_float16(model)


def test_an_operator_with_a_graph_of_its_own_is_refused():
    body = helper.make_graph([helper.make_node("Relu", ["x"], ["z"])], "body", [], [])
    model = small([helper.make_node("If", ["c"], ["y"], then_branch=body, else_branch=body)])

    with pytest.raises(LoweringError, match="runs a graph of its own"):
        to_float16(model)
