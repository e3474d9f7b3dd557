import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwnas.errors import SpaceError
from hwnas.graph import count_graph, shape_of
from hwnas.spaces import Architecture, ChoiceBlock, Decision, Presence, SearchSpace, get_space
from hwnas.spaces.inverted_residual import classifier, conv_unit, network_input
from hwnas.testing.space_conformance import SpaceConformance, fragments_of


def image(g):
    return network_input(g, channels=3, resolution=8)


def unit(g, x, *, kernel=3, width=4):
    return conv_unit(g, x, width=width, kernel=kernel)


def head(g, x):
    return classifier(g, x, classes=2)


def toy(decisions=None, blocks=None):
    """Three blocks of which the last two may be absent, and one that is always there."""
    decisions = decisions or (
        Decision("depth", (0, 1, 2)),
        Decision("a.kernel", (1, 3)),
        Decision("b.kernel", (1, 3, 5)),
        Decision("fixed.kernel", (1, 3)),
    )
    blocks = blocks or (
        ChoiceBlock("input", image),
        ChoiceBlock("fixed", unit, {"kernel": "fixed.kernel"}),
        ChoiceBlock("a", unit, {"kernel": "a.kernel"}, present=Presence("depth", 1)),
        ChoiceBlock("b", unit, {"kernel": "b.kernel"}, present=Presence("depth", 2)),
        ChoiceBlock("head", head),
    )
    return SearchSpace("toy", decisions, blocks)


def shared_gate():
    """One decision that shapes two blocks, of which one is always there: it is always active."""
    return toy(
        (Decision("depth", (0, 1)), Decision("kernel", (1, 3))),
        (
            ChoiceBlock("input", image),
            ChoiceBlock("fixed", unit, {"kernel": "kernel"}),
            ChoiceBlock("a", unit, {"kernel": "kernel"}, present=Presence("depth", 1)),
            ChoiceBlock("head", head),
        ),
    )


def branches():
    """Two branches from one stem, added."""
    return toy(
        (Decision("left", (1, 3)), Decision("right", (1, 3, 5))),
        (
            ChoiceBlock("input", image),
            ChoiceBlock("stem", unit),
            ChoiceBlock("left", unit, {"kernel": "left"}),
            ChoiceBlock("right", unit, {"kernel": "right"}, inputs=("stem",)),
            ChoiceBlock("sum", lambda g, x, y: g.add(x, y), inputs=("left", "right")),
            ChoiceBlock("head", head),
        ),
    )


def every_row(space):
    return np.array(list(itertools.product(*map(range, space.option_counts))), np.uint8)


class TestToySpaces(SpaceConformance):
    @pytest.fixture(params=[toy, shared_gate, branches])
    def space(self, request):
        return request.param()


@pytest.mark.parametrize("make", [toy, shared_gate, branches])
def test_cardinality_is_the_number_of_distinct_networks(make):
    space = make()
    rows = every_row(space)

    canonical = np.unique(space.canonicalise(rows), axis=0)
    networks = {tuple(f.key for f in fragments_of(space, space.architecture(r))) for r in rows}

    assert space.cardinality == len(canonical) == len(networks)


def test_cardinality_of_one_stage_of_mbconv_digits_is_counted_out():
    # 12 choices a block, one to three blocks, three stages.
    assert get_space("mbconv-digits").cardinality == (12 + 12**2 + 12**3) ** 3


def test_an_absent_block_hands_its_input_through():
    space = toy()
    shallow = space.from_options({"depth": 0, "a.kernel": 3, "b.kernel": 5, "fixed.kernel": 3})

    assert shallow.indices == (0, 0, 0, 1)
    assert [f.is_empty for f in fragments_of(space, shallow)] == [True, False, True, True, False]
    assert count_graph(space.network(shallow)).nodes == 3 + 3


def test_blocks_with_two_inputs_take_the_blocks_they_name():
    space = branches()
    graph = space.network(space.largest())

    add = next(node for node in graph.nodes if node.op_type == "Add")
    assert [value.name.split("/")[0] for value in add.inputs] == ["left", "right"]
    assert space.inputs_of(3) == ("stem",)
    assert space.inputs_of(0) == ()


def test_slots_run_through_all_choices_the_first_decision_slowest():
    space = toy()

    assert list(space.slots(3)) == list(itertools.product(range(3), range(3)))
    assert space.columns_of(3) == (0, 2)
    assert list(space.slots(0)) == [()]


@settings(deadline=None, max_examples=50)
@given(data=st.data())
def test_rows_and_options_and_architectures_name_the_same(data):
    space = get_space("mbconv-digits")
    row = [data.draw(st.integers(0, int(count) - 1)) for count in space.option_counts]
    architecture = space.architecture(row)

    assert space.from_options(space.options(architecture)) == architecture
    assert space.architecture(architecture.row()) == architecture
    assert hash(space.architecture(row)) == hash(architecture)


@pytest.mark.parametrize(
    ("population", "message"),
    [
        (np.zeros((2, 3), np.uint8), r"has shape \(2, 3\), not \(n, 4\)"),
        (np.zeros(4, np.uint8), r"has shape \(4,\)"),
        (np.zeros((1, 1, 4), np.uint8), "has shape"),
        (np.zeros((2, 4), np.float64), "has type float64, not uint8"),
        (np.zeros((2, 4), bool), "has type bool"),
        (np.array([[0] * 4, [0, 0, 3, 0]], np.uint8), "row 1: option 3 of decision 'b.kernel'"),
        (np.array([[0, -1, 0, 0]]), "row 0: option -1 of decision 'a.kernel'"),
        (np.array([[256, 0, 0, 0]]), "row 0: option 256 of decision 'depth'"),
    ],
)
def test_a_malformed_population_is_refused_by_row_and_decision(population, message):
    with pytest.raises(SpaceError, match=message):
        toy().canonicalise(population)


def test_no_architectures_are_a_population():
    space = toy()

    assert space.canonicalise(np.zeros((0, 4), np.uint8)).shape == (0, 4)
    assert space.sample(0, np.random.default_rng(0)).shape == (0, 4)


def test_any_memory_order_and_integer_type_is_checked_into_a_population():
    checked = toy().checked(np.asfortranarray(np.ones((3, 4), np.int64)))

    assert checked.dtype == np.uint8
    assert checked.flags.c_contiguous


@pytest.mark.parametrize(
    "architecture",
    [
        Architecture("toy", (0, 0, 0)),
        Architecture("toy", (0, 0, 3, 0)),
        Architecture("toy", (0, 0, -1, 0)),
        Architecture("toy", (0, 0, 300, 0)),
        Architecture("other", (0, 0, 0, 0)),
    ],
)
def test_what_is_no_member_has_no_network_and_no_options(architecture):
    space = toy()

    with pytest.raises(SpaceError):
        space.network(architecture)
    with pytest.raises(SpaceError):
        space.options(architecture)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"depth": 7}, "'depth' has no option 7"),
        ({"width": 7}, "toy has no decision 'width'"),
        ({"depth": None}, "'depth' of toy is missing"),
    ],
)
def test_options_that_do_not_fit_are_refused_by_name(change, message):
    space = toy()
    options = {**space.options(space.smallest()), **change}
    if change.get("depth", 0) is None:
        del options["depth"]

    with pytest.raises(SpaceError, match=message):
        space.from_options(options)


@pytest.mark.parametrize(
    ("decisions", "blocks", "message"),
    [
        ((Decision("a", (1,)), Decision("a", (1,))), None, "decision 'a' stands twice"),
        ((Decision("a", ()),), None, "decision 'a' has 0 options"),
        ((Decision("a", tuple(range(256))),), None, "has 256 options, not 1 to 255"),
        (None, (ChoiceBlock("x", image), ChoiceBlock("x", unit)), "block 'x' stands twice"),
        (None, (ChoiceBlock("x", image, {"kernel": "no"}),), "reads 'no', which is not there"),
        (None, (ChoiceBlock("x", unit, inputs=("y",)),), "reads 'y', which is not there"),
        (None, (ChoiceBlock("x", unit, inputs=("x",)),), "reads 'x', which is not there"),
        (None, (ChoiceBlock("x", image, present=Presence("depth", 1)),), "can be absent"),
        (
            (Decision("kernel", (1, 3)), Decision("depth", (0, 1))),
            (
                ChoiceBlock("i", image),
                ChoiceBlock("x", unit, {"kernel": "kernel"}, present=Presence("depth", 1)),
            ),
            "'kernel' must come after 'depth'",
        ),
        (
            (Decision("depth", ("no", "yes")),),
            (ChoiceBlock("i", image), ChoiceBlock("x", unit, present=Presence("depth", 1))),
            "'depth' has options that are no numbers",
        ),
    ],
)
def test_a_space_that_makes_no_sense_is_refused_when_it_is_made(decisions, blocks, message):
    with pytest.raises(SpaceError, match=message):
        toy(decisions, blocks)


def test_blocks_that_emit_the_same_share_a_key_and_not_a_name():
    space = toy()
    first, second = space.fragment(2, (1, 1)), space.fragment(3, (2, 1))

    assert first.key == second.key
    assert shape_of(first.graph.outputs[0]) == (1, 4, 8, 8)
