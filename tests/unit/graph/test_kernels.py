import numpy as np
import onnx_ir as ir
import pytest

from hwnas.graph import Graph, GraphBuilder, kernel_key, kernel_signature
from hwnas.lowering import random_weights, to_onnx
from hwnas.spaces import available_spaces, get_space


def block(
    *,
    side=8,
    channels=4,
    width=6,
    kernel=3,
    stride=1,
    group=1,
    bias=False,
    activation="relu",
    swapped=False,
    scope="",
    name="net",
    input_name="input",
):
    g = GraphBuilder(name)
    x = g.input(input_name, (1, channels, side, side))
    with g.scope(scope):
        branches = [
            lambda: g.conv(x, width, kernel, name="left", stride=stride, group=group, bias=bias),
            lambda: g.conv(x, width, 1, name="right", stride=stride),
        ]
        made = [make() for make in (reversed(branches) if swapped else branches)]
        left, right = reversed(made) if swapped else made
        y = getattr(g, activation)(g.add(left, right))
    g.output(y, f"{scope}output")
    return g.build()


def test_a_key_is_128_bits_and_repeats():
    assert len(bytes.fromhex(kernel_key(block()))) == 16
    assert kernel_key(block()) == kernel_key(block())


@pytest.mark.parametrize(
    "change",
    [{"scope": "stage1.1"}, {"name": "other"}, {"input_name": "image"}, {"swapped": True}],
)
def test_names_and_the_order_of_operators_do_not_change_a_key(change):
    assert kernel_key(block(**change)) == kernel_key(block())


@pytest.mark.parametrize(
    "change",
    [
        {"side": 9},
        {"channels": 5},
        {"width": 8},
        {"kernel": 5},
        {"stride": 2},
        {"group": 2},
        {"bias": True},
        {"activation": "hard_swish"},
        {"activation": "relu6"},
    ],
)
def test_what_changes_the_work_changes_the_key(change):
    assert kernel_key(block(**change)) != kernel_key(block())


def test_a_type_or_an_attribute_changes_the_key():
    keys = {kernel_key(block())}
    other_type = block()
    for node in other_type.nodes:
        node.outputs[0].type = ir.TensorType(ir.DataType.FLOAT16)
    keys.add(kernel_key(other_type))
    other_input = block()
    other_input.inputs[0].type = ir.TensorType(ir.DataType.FLOAT16)
    keys.add(kernel_key(other_input))
    other_pads = block()
    conv = next(n for n in other_pads.nodes if n.op_type == "Conv")
    conv.attributes["pads"] = ir.AttrInt64s("pads", (0, 2, 0, 2))
    keys.add(kernel_key(other_pads))

    assert len(keys) == 4


def test_limits_of_a_clip_are_part_of_the_key():
    graphs = [block(activation="relu6") for _ in range(2)]
    limit = graphs[1].model.graph.initializers["constant/6"]
    limit.const_value = ir.tensor(np.float32(1.0))

    assert kernel_key(graphs[0]) != kernel_key(graphs[1])


def test_the_context_is_part_of_the_key():
    assert len({kernel_key(block(), context) for context in ("", "network", "reference")}) == 3


@pytest.mark.parametrize("name", available_spaces())
def test_a_network_read_from_a_file_has_the_key_it_was_built_with(name):
    space = get_space(name)
    graph = space.network(space.smallest())
    proto = to_onnx(graph, random_weights(graph, np.random.default_rng(0)))

    loaded = Graph(ir.from_proto(type(proto).FromString(proto.SerializeToString())))

    assert kernel_key(loaded) == kernel_key(graph)


def test_keys_do_not_change_between_versions():
    # Stored tables are looked up by these: a change here makes every table worthless.
    assert kernel_key(block()) == "c57d745f0798758b082aabca505f3e98"


def test_a_signature_names_shapes_operators_and_work():
    g = GraphBuilder("net")
    y = g.conv(g.input("input", (1, 8, 8, 8)), 8, 5, name="conv", stride=2, group=8)
    g.output(g.batch_norm(y, name="norm"), "output")

    assert kernel_signature(g.build()) == "1x8x8x8 dwConv5s2-BN 1x8x4x4 macs=3200"


def test_inputs_that_nothing_reads_are_no_part_of_the_key():
    def graph(*, extra, read):
        g = GraphBuilder("net")
        inputs = [g.input(f"input{i}", (1, 4, 3, 3)) for i in range(1 + extra)]
        g.output(g.relu(inputs[read]), "output")
        return g.build()

    assert kernel_key(graph(extra=0, read=0)) == kernel_key(graph(extra=2, read=1))
