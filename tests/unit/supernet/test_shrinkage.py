"""What options shrink, found from the weights."""

from functools import partial

from hwnas.spaces import ChoiceBlock, Decision, SearchSpace, get_space
from hwnas.spaces.inverted_residual import classifier, conv_unit, inverted_residual, network_input
from hwnas.supernet.shrinkage import UNLIMITED, Shrinkage, option_shrinkage, options_within


def by_name(space):
    pairs = zip(space.decisions, option_shrinkage(space), strict=True)
    return {decision.name: [tuple(option) for option in found] for decision, found in pairs}


def test_kernels_depths_and_widths_are_told_apart_by_their_effect():
    found = by_name(get_space("ofa-mbv3"))

    assert found["unit1.depth"] == [(0, 2, 0), (0, 1, 0), (0, 0, 0)]
    assert found["unit3.2.kernel"] == [(2, 0, 0), (1, 0, 0), (0, 0, 0)]
    assert found["unit3.4.expand"] == [(0, 0, 2), (0, 0, 1), (0, 0, 0)]
    assert set(found["resolution"]) == {(0, 0, 0)}


def test_squeeze_and_excitation_shrinks_nothing():
    assert set(by_name(get_space("mbconv-digits"))["stage2.2.squeeze_excite"]) == {(0, 0, 0)}


def test_an_operator_may_shrink_several_things_or_the_whole_block():
    found = by_name(get_space("proxyless-mobile@64"))["stage1.2.operator"]

    skip, k3e3, _, k7e3, k3e6, _, k7e6 = found
    assert skip == (0, 1, 0)
    assert (k3e3, k7e3, k3e6, k7e6) == ((2, 0, 1), (0, 0, 1), (2, 0, 0), (0, 0, 0))


def test_names_of_decisions_do_not_matter():
    blocks = (
        ChoiceBlock("input", partial(network_input, channels=1, resolution=16)),
        ChoiceBlock("stem", partial(conv_unit, width=8)),
        ChoiceBlock(
            "block", partial(inverted_residual, width=8), {"kernel": "expand", "expand": "kernel"}
        ),
        ChoiceBlock("classifier", partial(classifier, classes=10)),
    )
    space = SearchSpace("odd", (Decision("expand", (3, 5)), Decision("kernel", (2, 4))), blocks)

    assert by_name(space) == {"expand": [(1, 0, 0), (0, 0, 0)], "kernel": [(0, 0, 1), (0, 0, 0)]}


def test_options_beyond_the_limits_are_left_out():
    space = get_space("mbconv-digits")
    shrinkage = option_shrinkage(space)

    def allowed(*limits):
        options = options_within(shrinkage, Shrinkage(*limits))
        return dict(zip([d.name for d in space.decisions], options, strict=True))

    none, kernels, depth = allowed(0, 0, 0), allowed(UNLIMITED), allowed(UNLIMITED, 1)
    assert all(len(options) == 1 for options in none.values())
    assert kernels["stage1.1.kernel"] == (0, 1, 2)
    assert kernels["stage1.1.squeeze_excite"] == (0, 1)
    assert kernels["stage1.1.expand"] == (1,)
    assert (kernels["stage1.depth"], depth["stage1.depth"]) == ((2,), (1, 2))
    everything = allowed(UNLIMITED, UNLIMITED, UNLIMITED)
    assert [len(options) for options in everything.values()] == space.option_counts.tolist()
