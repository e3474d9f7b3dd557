"""ResNet-9 against Page's network and against a formula that does not use the graph."""

import numpy as np
import pytest

from hwnas.graph import count_graph, shape_of
from hwnas.spaces import get_space


def macs_of(side, stem, stages):
    """Of the whole network: `stages` are filters and residual blocks of each."""
    macs, channels = side**2 * 3 * stem * 9, stem
    for filters, skips in stages:
        macs += side**2 * channels * filters * 9
        side, channels = side // 2, filters
        macs += skips * 2 * side**2 * channels**2 * 9
    return macs + channels * 10


def test_the_space_has_2187_members():
    space = get_space("resnet9")

    assert space.cardinality == 3**7 == 2187
    assert len(np.unique(space.sample(500, np.random.default_rng(0)), axis=0)) > 350


@pytest.mark.parametrize("resolution", [16, 32, 96])
def test_every_network_does_what_the_formula_says(resolution):
    space = get_space("resnet9" if resolution == 32 else f"resnet9@{resolution}")

    for row in space.sample(5, np.random.default_rng(1)):
        options = space.options(space.architecture(row))
        stages = [(options[f"stage{k}.filters"], options[f"stage{k}.skips"]) for k in (1, 2, 3)]
        network = space.network(space.architecture(row))
        assert count_graph(network).macs == macs_of(resolution, options["stem.filters"], stages)
        assert shape_of(network.outputs[0]) == (1, 10)


def test_the_network_like_pages_has_a_stem_and_two_residual_blocks():
    # Page's widths are 64, 128, 256, 512; the space ends at 256, as NASAIC's.
    space = get_space("resnet9")
    like = {"stem.filters": 64}
    for stage, filters, skips in ((1, 128, 1), (2, 256, 0), (3, 256, 1)):
        like |= {f"stage{stage}.filters": filters, f"stage{stage}.skips": skips}

    operators = [node.op_type for node in space.network(space.from_options(like)).nodes]

    assert operators.count("Conv") == 8
    assert operators.count("Gemm") == 1
    assert operators.count("Add") == 2
    assert operators.count("MaxPool") == 3
