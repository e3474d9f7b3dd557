import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from hwnas.graph import GraphBuilder, kernel_key
from hwnas.lowering import random_weights, to_onnx
from hwnas.lowering.onnx_kernels import divide, kernel_owners


def network(channels=8):
    builder = GraphBuilder("n")
    x = builder.input("x", (1, channels, 8, 8))
    with builder.scope("first"):
        y = builder.relu6(builder.conv(x, 16, 1, name="conv"))
    with builder.scope("second"):
        y = builder.add(x, builder.conv(y, channels, 1, name="conv"))
    builder.output(y, "y")
    return builder.build()


def model(graph, seed=0):
    return to_onnx(graph, random_weights(graph, np.random.default_rng(seed)))


def raw_model(nodes, inputs, outputs, weights):
    def typed(values):
        return [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in values.items()]

    tensors = [numpy_helper.from_array(v, n) for n, v in weights.items()]
    graph = helper.make_graph(nodes, "g", typed(inputs), typed(outputs), tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def test_activations_and_sums_join_the_convolution_before_them():
    divided, kernels = divide(model(network()))

    assert [kernel.signature.split()[1] for kernel in kernels] == ["Conv1s1-Clip", "Conv1s1-Add"]
    assert [node.name.split("/")[0] for node in divided.graph.node] == ["k0", "k0", "k1", "k1"]
    assert [kernel.counts.macs for kernel in kernels] == [8 * 16 * 64, 16 * 8 * 64]


def test_divided_model_computes_the_same():
    whole = model(network())
    x = np.random.default_rng(0).standard_normal((1, 8, 8, 8), dtype=np.float32)

    divided, _ = divide(whole)

    results = [
        ort.InferenceSession(each.SerializeToString()).run(None, {"x": x})[0]
        for each in (whole, divided)
    ]
    np.testing.assert_array_equal(*results)


def test_key_depends_on_shapes_and_not_on_weights():
    _, kernels = divide(model(network(), seed=0))
    _, same = divide(model(network(), seed=1))
    _, other = divide(model(network(channels=12)))

    assert [k.key for k in kernels] == [k.key for k in same]
    assert {k.key for k in kernels}.isdisjoint(k.key for k in other)


def test_key_of_a_convolution_is_that_of_the_same_block_of_a_space():
    builder = GraphBuilder("block")
    x = builder.input("x", (1, 8, 8, 8))
    builder.output(builder.conv(x, 16, 3, name="conv"), "y")
    block = builder.build()
    exported = model(block)
    for attribute in list(exported.graph.node[0].attribute):
        if attribute.name == "kernel_shape":  # torch's exporter leaves it out
            exported.graph.node[0].attribute.remove(attribute)
    exported.graph.node[0].attribute.append(helper.make_attribute("auto_pad", "NOTSET"))

    _, (kernel,) = divide(exported)

    assert kernel.key == kernel_key(block)


def test_value_with_two_readers_ends_a_kernel():
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Add", ["a", "b"], ["y"]),
    ]
    whole = raw_model(nodes, {"x": [2, 3]}, {"y": [2, 3]}, {"w": np.eye(3, dtype=np.float32)})

    _, kernels = divide(whole)

    assert [kernel.signature.split()[1] for kernel in kernels] == ["MatMul", "Relu-Add"]


def test_operators_on_weights_alone_are_no_kernels():
    nodes = [
        helper.make_node("Transpose", ["w"], ["t"], perm=[1, 0]),
        helper.make_node("MatMul", ["x", "t"], ["y"]),
    ]
    whole = raw_model(
        nodes, {"x": [2, 3]}, {"y": [2, 4]}, {"w": np.ones((4, 3), dtype=np.float32)}
    )

    _, (kernel,) = divide(whole)

    assert kernel.signature.startswith("2x3 MatMul 2x4")
    assert kernel.counts.weight_bytes == 4 * 3 * 4


def test_unknown_shape_gives_no_key():
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    whole = raw_model(nodes, {"x": ["batch", 3]}, {"y": ["batch", 3]}, {})

    _, (kernel,) = divide(whole)

    assert (kernel.signature, kernel.key, kernel.counts) == ("Relu", None, None)


@pytest.mark.parametrize("fused", ["k0/Conv_0", "fused k0/Conv_0"])
def test_runtime_operators_belong_to_the_kernel_in_their_name_or_to_their_reader(fused):
    nodes = [
        helper.make_node("ReorderInput", ["x"], ["r"], name="reorder"),
        helper.make_node("Conv", ["r", "w"], ["y"], name=fused),
    ]
    optimised = onnx.ModelProto(graph=onnx.GraphProto(node=nodes))

    assert kernel_owners(optimised) == {"reorder": "k0", fused: "k0"}
