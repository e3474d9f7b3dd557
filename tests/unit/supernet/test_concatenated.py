"""Weights that read several maps side by side: each map keeps its own part of them."""

import numpy as np
import pytest
import torch

from hwnas.errors import SpaceError
from hwnas.graph import GraphBuilder
from hwnas.lowering.torch_module import TorchModule
from hwnas.spaces import ChoiceBlock, Decision, SearchSpace, get_space
from hwnas.supernet.concatenated import concatenated_weights, joined, pieces_of
from hwnas.supernet.elastic import ElasticSupernet
from hwnas.supernet.kernel_transform import KernelTransformSupernet
from hwnas.supernet.separate import SeparateSupernet
from hwnas.training.weight_saliency import slice_sum


def block(emit):
    g = GraphBuilder("block")
    x, y = g.input("x", (1, 3, 8, 8)), g.input("y", (1, 5, 8, 8))
    g.output(emit(g, x, y), "output")
    return g.build()


def test_a_convolution_of_joined_maps_reads_each_by_its_own_part():
    graph = block(lambda g, x, y: g.conv(g.concat([x, y]), 4, 3, name="conv"))

    assert concatenated_weights(graph) == {"conv/weight": {1: (3, 5)}}


def test_maps_stay_apart_through_what_treats_channels_one_by_one_and_through_joining_again():
    def emit(g, x, y):
        both = g.relu(g.batch_norm(g.concat([x, g.concat([y, x])]), name="norm"))
        return g.conv_transpose(g.max_pool(both, 2, stride=2, pad=0), 4, 2, name="enlarge")

    found = concatenated_weights(block(emit))

    parts = ("scale", "bias", "mean", "variance")
    assert found.pop("enlarge/weight") == {0: (3, 5, 3)}
    assert found == {f"norm/{part}": {0: (3, 5, 3)} for part in parts}


def test_weights_of_single_maps_have_no_parts():
    def emit(g, x, y):
        return g.conv(g.conv(g.concat([x, y]), 6, 1, name="mix"), 4, 3, name="conv")

    assert list(concatenated_weights(block(emit))) == ["mix/weight"]


def test_groups_over_joined_maps_are_refused():
    graph = block(lambda g, x, y: g.conv(g.concat([x, y]), 8, 3, group=8, name="conv"))

    with pytest.raises(SpaceError, match="'conv' convolves maps that lie side by side in 8 group"):
        concatenated_weights(graph)


def test_pieces_are_prefixes_of_the_parts():
    stored = torch.arange(10)

    pieces = pieces_of({0: (4, 6)}, {0: (1, 2)})

    assert joined(stored, pieces).tolist() == [0, 4, 5]
    assert pieces_of({0: (4, 6)}, {0: (4, 6)}) == ()


@pytest.mark.parametrize("kind", [ElasticSupernet, SeparateSupernet, KernelTransformSupernet])
@pytest.mark.parametrize("name", ["unet@16", "resnet9@16"])
def test_a_sub_net_equals_a_separate_module_with_the_cut_weights(kind, name):
    space = get_space(name)
    supernet = kind(space, torch.Generator().manual_seed(0))
    shape = (4, 3 if name.startswith("resnet") else 1, 16, 16)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1))

    for row in space.sample(4, np.random.default_rng(2)):
        architecture = space.architecture(row)
        module = TorchModule(space.network(architecture), supernet.weights(architecture)).train()
        with torch.no_grad():
            torch.testing.assert_close(module(x), supernet(x, architecture), rtol=1e-4, atol=1e-4)


def test_a_narrow_u_net_reads_both_maps_by_the_weights_that_the_wide_one_reads_them_by():
    space = get_space("unet@16")
    supernet = ElasticSupernet(space, torch.Generator().manual_seed(0))
    stored = supernet.shared_parameters()["level1.up/first/weight"].detach().numpy()
    options = space.options(space.largest()) | {"level1.filters": 4, "height": 2}

    cut = supernet.weights(space.from_options(options))["level1.up/first/weight"]

    assert stored.shape == (16, 32, 3, 3)
    np.testing.assert_array_equal(cut[:, :4], stored[:4, :4])
    np.testing.assert_array_equal(cut[:, 4:], stored[:4, 16:20])


def test_the_shared_weights_are_those_of_the_largest_network():
    space = get_space("unet@16")
    supernet = ElasticSupernet(space)

    whole = supernet.weights(space.largest())

    stored = supernet.shared_parameters()
    assert {name: value.shape for name, value in whole.items() if name in stored} == {
        name: tuple(value.shape) for name, value in stored.items()
    }


def test_unused_parts_get_no_gradient():
    space = get_space("unet@16")
    supernet = ElasticSupernet(space, torch.Generator().manual_seed(0))
    options = space.options(space.largest()) | {"level1.filters": 4, "height": 2}
    x = torch.randn((2, 1, 16, 16), generator=torch.Generator().manual_seed(1))

    supernet(x, space.from_options(options)).square().sum().backward()

    gradient = supernet.shared_parameters()["level1.up/first/weight"].grad
    used = gradient.abs().sum((0, 2, 3)) > 0
    assert used.nonzero().flatten().tolist() == [*range(4), *range(16, 20)]


def test_maps_of_independent_widths_have_room_for_the_widest_of_each():
    def join(g, x, y, *, first, second):
        a, b = g.conv(x, first, 1, name="a"), g.conv(y, second, 1, name="b")
        return g.conv(g.concat([a, b]), 2, 1, name="join")

    space = SearchSpace(
        "two",
        (Decision("first", (1, 4)), Decision("second", (2, 3))),
        (
            ChoiceBlock("input", lambda g: g.input("input", (1, 1, 4, 4))),
            ChoiceBlock("join", join, {"first": "first", "second": "second"}, ("input", "input")),
        ),
    )
    supernet = ElasticSupernet(space)
    name = "join/join/weight"

    stored = supernet.shared_parameters()[name].detach().numpy()[0, :, 0, 0]
    cut = supernet.weights(space.from_options({"first": 1, "second": 3}))[name][0, :, 0, 0]

    assert stored.shape == (7,)
    np.testing.assert_array_equal(cut, stored[[0, 4, 5, 6]])
    ones = {key: torch.ones_like(value) for key, value in supernet.shared_parameters().items()}
    assert slice_sum(supernet, ones, 1, (0, 1)) == 1 + 3 + 2 * 4


def test_choices_that_read_different_numbers_of_maps_are_refused():
    def maybe(g, x, *, twice):
        y = g.concat([x, x]) if twice else g.conv(x, 2, 1, name="widen")
        return g.conv(y, 2, 1, name="join")

    space = SearchSpace(
        "either",
        (Decision("twice", (False, True)),),
        (
            ChoiceBlock("input", lambda g: g.input("input", (1, 1, 4, 4))),
            ChoiceBlock("maybe", maybe, {"twice": "twice"}),
        ),
    )

    with pytest.raises(SpaceError, match="maybe/join/weight"):
        ElasticSupernet(space)
