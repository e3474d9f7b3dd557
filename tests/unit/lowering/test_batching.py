import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from hwnas.errors import LoweringError
from hwnas.lowering import check_onnx, random_weights, to_onnx
from hwnas.lowering.batching import set_batch
from hwnas.spaces import get_space

SPACES = ["mbconv-digits", "ofa-mbv3@160", "fbnet-cifar", "cells-digits", "nasbench201", "unet"]


def results(model, values):
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(model.SerializeToString(), options).run(None, values)


def network(name, seed=0):
    space = get_space(name)
    graph = space.network(space.architecture(space.sample(1, np.random.default_rng(seed))[0]))
    return to_onnx(graph, random_weights(graph, np.random.default_rng(seed)))


def small(nodes, shape=(1, 4), *, output=(1, 4), weights=None):
    tensors = [numpy_helper.from_array(np.array(v), n) for n, v in (weights or {}).items()]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, output)],
        tensors,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def sides(value):
    return [side.dim_value for side in value.type.tensor_type.shape.dim]


@pytest.mark.parametrize("name", SPACES)
def test_a_batch_gives_what_its_inputs_give_one_by_one(name):
    single = network(name)
    batched = onnx.ModelProto()
    batched.CopyFrom(single)
    (info,) = [value for value in single.graph.input if value.name == "input"]
    images = np.random.default_rng(1).standard_normal((3, *sides(info)[1:]), dtype=np.float32)

    set_batch(batched, 3)

    (found,) = results(batched, {"input": images})
    wanted = np.concatenate([results(single, {"input": each[None]})[0] for each in images])
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4 * np.abs(wanted).max())


def test_every_value_of_the_network_takes_the_batch():
    model = network("fbnet-cifar")
    known = len(model.graph.value_info)

    set_batch(model, 3)

    check_onnx(model)
    constants = {n.output[0] for n in model.graph.node if n.op_type == "Constant"}
    values = [v for v in model.graph.value_info if v.name not in constants]
    assert len(model.graph.value_info) >= known
    assert {sides(value)[0] for value in (*values, *model.graph.input, *model.graph.output)} == {3}


def test_a_free_batch_is_fixed():
    model = small([helper.make_node("Relu", ["x"], ["y"])], ("n", 4), output=("n", 4))

    set_batch(model, 2)

    assert sides(model.graph.input[0]) == sides(model.graph.output[0]) == [2, 4]


def test_weights_that_are_listed_among_the_inputs_keep_their_shape():
    model = small([helper.make_node("Add", ["x", "w"], ["y"])], weights={"w": np.float32([[1.0]])})
    model.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, (1, 1)))

    set_batch(model, 2)

    assert [sides(value) for value in model.graph.input] == [[2, 4], [1, 1]]


def test_a_model_that_takes_the_batch_already_may_reshape_to_it():
    nodes = [helper.make_node("Reshape", ["x", "shape"], ["y"])]
    model = small(nodes, (2, 4), output=(2, 2, 2), weights={"shape": [2, 2, 2]})

    set_batch(model, 2)

    assert sides(model.graph.output[0]) == [2, 2, 2]


@pytest.mark.parametrize("stored", ["initializer", "value", "value_ints"])
def test_a_reshape_to_the_old_batch_is_refused(stored):
    shape = np.array([1, 2, 2])
    nodes = [helper.make_node("Reshape", ["x", "shape"], ["y"], name="folded")]
    if stored != "initializer":
        value = numpy_helper.from_array(shape) if stored == "value" else shape.tolist()
        nodes.insert(0, helper.make_node("Constant", [], ["shape"], **{stored: value}))
    weights = {"shape": shape} if stored == "initializer" else {}
    model = small(nodes, output=(1, 2, 2), weights=weights)

    with pytest.raises(LoweringError, match=r"Reshape 'folded' to \[1, 2, 2\] fixes the batch"):
        set_batch(model, 2)


def test_a_reshape_of_weights_may_have_any_shape():
    nodes = [
        helper.make_node("Reshape", ["w", "shape"], ["row"]),
        helper.make_node("Add", ["x", "row"], ["y"]),
    ]
    weights = {"w": np.zeros(4, np.float32), "shape": [1, 4]}
    model = small(nodes, weights=weights)

    set_batch(model, 2)

    assert sides(model.graph.output[0]) == [2, 4]


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((3, 4), "its first size must be 1 or free"),
        ((), "its first size must be 1 or free"),
        ((1, "width"), "free sizes besides the batch"),
    ],
)
def test_an_input_without_a_batch_of_one_is_refused(shape, message):
    model = small([helper.make_node("Relu", ["x"], ["y"])], shape, output=shape)

    with pytest.raises(LoweringError, match=message):
        set_batch(model, 2)


def test_what_works_with_one_input_alone_is_refused():
    nodes = [helper.make_node("Squeeze", ["x", "axes"], ["y"], name="single")]
    model = small(nodes, output=(4,), weights={"axes": [0]})

    with pytest.raises(LoweringError, match="does not work with a batch of 2"):
        set_batch(model, 2)


def test_a_batch_of_nothing_is_refused():
    with pytest.raises(LoweringError, match="at least 1"):
        set_batch(small([helper.make_node("Relu", ["x"], ["y"])]), 0)
