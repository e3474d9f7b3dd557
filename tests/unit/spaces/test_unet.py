"""U-Nets against what Ronneberger et al. draw, and against a formula without the graph."""

import numpy as np
import pytest

from hwnas.errors import SpaceError
from hwnas.graph import count_graph, shape_of
from hwnas.spaces import get_space
from hwnas.testing.space_conformance import fragments_of


def macs_of(side, filters):
    """Of the whole network with these filters, one entry a level."""
    macs, channels = 0, 1
    for level, width in enumerate(filters):
        macs += (side >> level) ** 2 * 9 * (channels * width + width * width)
        channels = width
    for level in reversed(range(len(filters) - 1)):
        width, pixels = filters[level], (side >> level) ** 2
        macs += pixels * filters[level + 1] * width  # each pixel of the result has one source
        macs += pixels * 9 * (2 * width * width + width * width)
    return macs + side**2 * filters[0]


def test_only_levels_that_are_there_count():
    assert get_space("unet").cardinality == 3 + 3**2 + 3**3 + 3**4 + 3**5


@pytest.mark.parametrize("name", ["unet", "unet@64", "unet@32", "unet@16"])
def test_every_network_does_what_the_formula_says(name):
    space, side = get_space(name), int(name.partition("@")[2] or 128)
    tried = [space.smallest(), space.largest()]
    tried += map(space.architecture, space.sample(4, np.random.default_rng(1)))

    for architecture in tried:
        options = space.options(architecture)
        filters = [options[f"level{level}.filters"] for level in range(1, options["height"] + 1)]
        network = space.network(architecture)
        assert count_graph(network).macs == macs_of(side, filters)
        assert shape_of(network.outputs[0]) == (1, 1, side, side)


@pytest.mark.parametrize("height", [1, 2, 3, 4, 5])
def test_a_network_goes_down_and_up_as_often_as_it_is_high(height):
    space = get_space("unet@32")
    options = space.options(space.largest()) | {"height": height}
    architecture = space.from_options(options)

    found = zip(space.blocks, fragments_of(space, architecture), strict=True)
    names = [block.name for block, fragment in found if not fragment.is_empty]
    operators = [node.op_type for node in space.network(architecture).nodes]

    down = [f"level{level}.down" for level in range(1, height + 1)]
    up = [f"level{level}.up" for level in range(height - 1, 0, -1)]
    assert names == [*down, *up, "mask"]
    for op_type in ("MaxPool", "ConvTranspose", "Concat"):
        assert operators.count(op_type) == height - 1


def test_a_side_that_cannot_be_halved_is_answered_with_one_that_can():
    with pytest.raises(SpaceError, match=r"unet@100: .* multiple of 16, such as unet@96"):
        get_space("unet@100")
