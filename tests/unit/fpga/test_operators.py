import pytest

from hwnas.fpga import ArrayLayer, array_layers, plan_layers
from hwnas.fpga.operators import graph_cycles
from hwnas.graph import GraphBuilder
from hwnas.spaces import available_spaces, get_space

SIDE = 4
PIXELS = 8 * 8


def graph(*steps, channels=16):
    g = GraphBuilder("graph")
    x = g.input("x", (1, channels, 8, 8))
    for step in steps:
        x = step(g, x)
    g.output(x, "output")
    return g.build()


def conv(g, x):
    return g.conv(x, 32, 3, name="conv")


def test_a_layer_takes_the_cycles_of_its_plan():
    layer = ArrayLayer(PIXELS, 9 * 16, 32)

    found = graph_cycles(graph(conv), SIDE)

    assert array_layers(graph(conv)) == [layer]
    assert (found.array, found.lanes) == (plan_layers([layer], [SIDE]).cycles.item(), 0)


def test_what_the_requantiser_does_costs_nothing():
    plain = graph_cycles(graph(conv), SIDE)

    with_norm = graph(conv, lambda g, x: g.batch_norm(x, name="norm"), lambda g, x: g.relu(x))

    assert graph_cycles(with_norm, SIDE) == plain


def test_what_follows_no_layer_goes_through_the_lanes():
    found = graph_cycles(graph(lambda g, x: g.relu(x)), SIDE)

    assert (found.array, found.lanes, found.total) == (0, 16 * PIXELS // SIDE, 4 * PIXELS)


def test_what_another_operator_reads_too_is_not_folded():
    def both(g, x):
        y = g.relu(x)
        return g.add(x, y)

    assert graph_cycles(graph(conv, both), SIDE).lanes == 2 * 32 * PIXELS // SIDE


@pytest.mark.parametrize("name", available_spaces())
def test_every_block_of_every_space_has_a_cost(name):
    space = get_space(name)
    for block in range(len(space.blocks)):
        choices = list(space.slots(block))
        for choice in {choices[0], choices[len(choices) // 2], choices[-1]}:
            fragment = space.fragment(block, choice)
            if not fragment.is_empty:
                few, many = (graph_cycles(fragment.graph, side) for side in (8, 2))
                assert few.lanes <= many.lanes
                assert (few.array > 0) == (len(array_layers(fragment.graph)) > 0)


@pytest.mark.parametrize(
    ("step", "values"),
    [
        (lambda g, x: g.max_pool(x, 2, stride=2, pad=0), 16 * 16 * 4),
        (lambda g, x: g.average_pool(x, 3), 16 * PIXELS * 9),
        (lambda g, x: g.global_average_pool(x), 16 * PIXELS),
        (lambda g, x: g.hard_swish(x), 16 * PIXELS),
        (lambda g, x: g.concat([x, x]), 0),
        (lambda g, x: g.channel_shuffle(x, 4), 0),
    ],
)
def test_lanes_take_a_cycle_for_each_value_and_none_for_addresses(step, values):
    assert graph_cycles(graph(step), SIDE).lanes == values // SIDE


def test_a_transposed_convolution_without_overlap_is_a_product_an_input_place():
    def up(g, x):
        return g.conv_transpose(x, 8, 2, name="up")

    assert array_layers(graph(up)) == [ArrayLayer(PIXELS, 16, 8 * 4)]
