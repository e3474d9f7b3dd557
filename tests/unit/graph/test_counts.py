import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwnas.graph import Graph, GraphBuilder, count_graph
from hwnas.lowering import random_weights, to_onnx
from hwnas.spaces.inverted_residual import inverted_residual


def conv_graph(side=8, c=4, k=6, kernel=3, stride=1, group=1, bias=False):
    g = GraphBuilder("conv")
    x = g.input("input", (1, c, side, side))
    g.output(g.conv(x, k, kernel, name="conv", stride=stride, group=group, bias=bias), "output")
    return g.build()


@settings(deadline=None)
@given(
    side=st.integers(3, 40),
    channels=st.tuples(st.integers(1, 8), st.integers(1, 8)),
    kernel=st.sampled_from([1, 3, 5]),
    stride=st.integers(1, 2),
    group=st.integers(1, 4),
    bias=st.booleans(),
)
def test_a_convolution_has_its_closed_form(side, channels, kernel, stride, group, bias):
    c, k = (group * n for n in channels)
    out = (side - 1) // stride + 1

    counts = count_graph(conv_graph(side, c, k, kernel, stride, group, bias))

    assert counts.macs == out**2 * k * (c // group) * kernel**2
    assert counts.params == k * (c // group) * kernel**2 + k * bias
    assert counts.weight_bytes == 4 * counts.params
    assert counts.activation_bytes == 4 * (c * side**2 + k * out**2)
    assert counts.nodes == 1


def test_a_transposed_convolution_multiplies_every_pixel_by_its_kernel():
    g = GraphBuilder("enlarge")
    g.output(g.conv_transpose(g.input("x", (1, 6, 5, 7)), 4, 2, name="enlarge"), "y")

    counts = count_graph(g.build())

    assert counts.macs == 5 * 7 * 6 * 4 * 2 * 2
    assert counts.params == 6 * 4 * 2 * 2 + 4
    assert counts.activation_bytes == 4 * (6 * 5 * 7 + 4 * 10 * 14)


def test_an_inverted_residual_has_its_closed_form():
    c, expand, kernel, side = 16, 6, 5, 14
    g = GraphBuilder("block")
    x = g.input("input", (1, c, side, side))
    g.output(inverted_residual(g, x, width=c, kernel=kernel, expand=expand), "output")
    inner = c * expand

    counts = count_graph(g.build())

    assert counts.macs == side**2 * (c * inner + inner * kernel**2 + inner * c)
    # batch norm has two trainable vectors, and two of statistics that only weigh.
    assert counts.params == 2 * c * inner + inner * kernel**2 + 2 * (inner + inner + c)
    assert counts.weight_bytes == 4 * (counts.params + 2 * (inner + inner + c))


def test_a_classifier_counts_one_product_a_weight():
    g = GraphBuilder("classifier")
    g.output(g.gemm(g.input("input", (1, 20)), 7, name="classifier"), "output")

    counts = count_graph(g.build())

    assert (counts.macs, counts.params) == (140, 147)


@pytest.mark.parametrize("transposed", [0, 1])
def test_a_transposed_left_operand_is_counted_along_the_right_axis(transposed):
    left = [5, 3] if transposed else [3, 5]
    model = onnx.helper.make_model(
        onnx.helper.make_graph(
            [
                onnx.helper.make_node("Gemm", ["a", "b"], ["c"], transA=transposed),
                onnx.helper.make_node("MatMul", ["c", "d"], ["e"]),
            ],
            "products",
            [
                onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, s)
                for n, s in (("a", left), ("b", [5, 7]), ("d", [7, 2]))
            ],
            [onnx.helper.make_tensor_value_info("e", onnx.TensorProto.FLOAT, [3, 2])],
        )
    )
    graph = Graph(ir.from_proto(onnx.shape_inference.infer_shapes(model)))

    assert count_graph(graph).macs == 3 * 5 * 7 + 3 * 7 * 2


def test_limits_of_a_clip_are_no_activations():
    g = GraphBuilder("clip")
    g.output(g.relu6(g.input("input", (1, 10))), "output")

    assert count_graph(g.build()).activation_bytes == 2 * 10 * 4


def test_counts_are_the_same_with_and_without_values():
    graph = conv_graph(bias=True)
    loaded = Graph(ir.from_proto(to_onnx(graph, random_weights(graph, np.random.default_rng(0)))))

    assert count_graph(loaded) == count_graph(graph)


@settings(deadline=None, max_examples=30)
@given(layers=st.integers(0, 5))
def test_one_more_layer_never_lowers_a_count(layers):
    def net(n):
        g = GraphBuilder("net")
        x = g.input("input", (1, 4, 8, 8))
        for i in range(n):
            x = g.relu(g.conv(x, 4, 3, name=f"conv{i}"))
        g.output(x, "output")
        return count_graph(g.build())

    fewer, more = net(layers), net(layers + 1)

    assert more.macs > fewer.macs
    assert more.params > fewer.params
    assert more.activation_bytes > fewer.activation_bytes or layers == 0
