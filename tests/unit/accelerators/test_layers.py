import numpy as np
import onnx_ir as ir
import pytest

from hwnas.accelerators import Layers, layers_of
from hwnas.accelerators.layers import DENSE, DEPTHWISE, FIELDS, STREAMING
from hwnas.errors import LoweringError
from hwnas.graph import IR_VERSION, Graph, GraphBuilder, count_graph
from hwnas.spaces import available_spaces, get_space


def row(layers, index=0):
    return dict(zip(FIELDS, layers.table[index].tolist(), strict=True))


def built(emit, shape):
    builder = GraphBuilder("graph")
    builder.output(emit(builder, builder.input("x", shape)), "y")
    return builder.build()


def single_node(op_type, shapes, result, attributes=()):
    inputs = [
        ir.Value(name=f"x{i}", shape=ir.Shape(shape), type=ir.TensorType(ir.DataType.FLOAT))
        for i, shape in enumerate(shapes)
    ]
    output = ir.Value(name="y", shape=ir.Shape(result), type=ir.TensorType(ir.DataType.FLOAT))
    node = ir.Node("", op_type, inputs, list(attributes), outputs=[output], name="node")
    graph = ir.Graph(inputs, [output], nodes=[node], opset_imports={"": 18})
    return Graph(ir.Model(graph, ir_version=IR_VERSION))


@pytest.mark.parametrize("name", available_spaces())
def test_layers_of_every_space_have_the_products_of_their_network(name):
    space = get_space(name)
    for architecture in (space.smallest(), space.largest()):
        graph = space.network(architecture)

        layers = layers_of(graph)

        assert layers.macs.sum() == count_graph(graph).macs


def test_a_strided_convolution_keeps_its_sizes():
    graph = built(lambda b, x: b.conv(x, 24, 5, name="c", stride=2), (1, 16, 32, 32))

    assert row(layers_of(graph)) == {
        "kind": DENSE, "groups": 1, "k": 24, "c": 16, "r": 5, "s": 5, "oy": 16, "ox": 16,
        "stride_y": 2, "stride_x": 2,
    }  # fmt: skip


def test_depthwise_and_grouped_convolutions_are_told_apart():
    def emit(builder, x):
        x = builder.conv(x, 16, 3, name="depthwise", group=16)
        return builder.conv(x, 32, 3, name="grouped", group=4)

    layers = layers_of(built(emit, (1, 16, 8, 8)))

    assert (row(layers)["kind"], row(layers)["k"], row(layers)["c"]) == (DEPTHWISE, 1, 16)
    assert row(layers, 1)["kind"] == DENSE
    assert [row(layers, 1)[name] for name in ("groups", "k", "c")] == [4, 8, 4]


def test_a_transposed_convolution_becomes_one_over_its_input():
    strides = ir.AttrInt64s("strides", (2, 2))
    graph = single_node("ConvTranspose", [(1, 8, 5, 7), (8, 3, 2, 2)], (1, 3, 10, 14), [strides])

    layers = layers_of(graph)

    assert [row(layers)[name] for name in ("k", "c", "r", "s", "oy", "ox")] == [12, 8, 1, 1, 5, 7]
    assert layers.macs.tolist() == [8 * 3 * 4 * 5 * 7]


def test_a_kernel_that_the_stride_does_not_divide_counts_filled_taps():
    strides = ir.AttrInt64s("strides", (2, 2))
    graph = single_node("ConvTranspose", [(1, 1, 4, 4), (1, 1, 3, 3)], (1, 1, 9, 9), [strides])

    assert [row(layers_of(graph))[name] for name in ("k", "r", "s")] == [4, 2, 2]


def test_matrix_products_are_rows_of_one_image():
    layers = layers_of(single_node("MatMul", [(2, 6, 32), (32, 10)], (2, 6, 10)))

    assert [row(layers)[name] for name in ("k", "c", "oy", "ox")] == [10, 32, 1, 12]


def test_pooling_and_sums_stream_and_activations_are_free():
    def emit(builder, x):
        y = builder.relu(builder.conv(x, 8, 3, name="c"))
        return builder.global_average_pool(builder.add(x, y))

    layers = layers_of(built(emit, (1, 8, 4, 4)))

    assert layers.table[:, 0].tolist() == [DENSE, STREAMING, STREAMING]
    assert [row(layers, 1)[name] for name in ("c", "k")] == [256, 128]
    assert layers.names[1].startswith("add")


def test_what_no_dataflow_can_map_is_named():
    graph = single_node("LSTM", [(1, 1, 4), (1, 16, 4), (1, 16, 4)], (1, 1, 1, 4))

    with pytest.raises(LoweringError, match=r"operator LSTM \('node'\) cannot be mapped"):
        layers_of(graph)


def test_three_dimensional_convolutions_are_refused():
    graph = single_node("Conv", [(1, 2, 4, 4, 4), (3, 2, 1, 1, 1)], (1, 3, 4, 4, 4))

    with pytest.raises(LoweringError, match="is 3-dimensional"):
        layers_of(graph)


def test_joined_layers_keep_their_order():
    graph = built(lambda b, x: b.conv(x, 4, 1, name="c"), (1, 2, 4, 4))
    one = layers_of(graph)

    both = Layers.join([one, one])

    assert both.names == one.names * 2
    np.testing.assert_array_equal(both.table, np.concatenate([one.table, one.table]))
