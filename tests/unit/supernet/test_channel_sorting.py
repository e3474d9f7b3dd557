"""Sorted channels: the largest network stays what it is, prefixes get the channels that count."""

from functools import partial

import numpy as np
import onnx_ir as ir
import pytest
import torch

from hwnas.graph import GraphBuilder
from hwnas.spaces import ChoiceBlock, Decision, SearchSpace, get_space
from hwnas.spaces.inverted_residual import classifier, conv_unit, inverted_residual, network_input
from hwnas.supernet.channel_sorting import channel_groups, sort_channels
from hwnas.supernet.elastic import ElasticSupernet
from hwnas.supernet.kernel_transform import KernelTransformSupernet

EXPANDS = (2, 4, 6)


@pytest.fixture
def wide_space():
    """One block of three widths, with squeeze-and-excitation."""
    reads = {"kernel": "kernel", "expand": "expand"}
    blocks = (
        ChoiceBlock("input", partial(network_input, channels=1, resolution=16)),
        ChoiceBlock("stem", partial(conv_unit, width=8, kernel=3, stride=2)),
        ChoiceBlock("block", partial(inverted_residual, width=8, squeeze_excite=True), reads),
        ChoiceBlock("classifier", partial(classifier, classes=10)),
    )
    return SearchSpace("wide", (Decision("kernel", (3, 5)), Decision("expand", EXPANDS)), blocks)


def random_supernet(space, kind=KernelTransformSupernet, seed=0):
    supernet = kind(space, torch.Generator().manual_seed(seed))
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for parameter in supernet.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=generator)
    return supernet


def all_options(space):
    return [range(int(count)) for count in space.option_counts]


def largest_options(space):
    return [(int(count) - 1,) for count in space.option_counts]


def images(side=16):
    return torch.randn(16, 1, side, side, generator=torch.Generator().manual_seed(0))


def stored(supernet, name="block/project/weight"):
    return supernet.shared_parameters()[name].detach().clone()


def importance(supernet):
    return stored(supernet).abs().sum((0, 2, 3))


@pytest.mark.parametrize(
    ("name", "kind", "groups"),
    [
        ("wide", KernelTransformSupernet, 2),
        ("tiny", ElasticSupernet, 2),
        ("mbconv-digits", KernelTransformSupernet, 18),
    ],
)
@torch.no_grad()
def test_the_largest_network_computes_the_same_after_sorting(
    wide_space, space, name, kind, groups
):
    found = {"wide": wide_space, "tiny": space}.get(name) or get_space(name)
    supernet = random_supernet(found, kind)
    x = images(32 if name == "mbconv-digits" else 16)
    largest = found.largest()
    statistics = supernet.calibrate(largest, x)
    batch, before = supernet(x, largest), supernet.shared_parameters()
    before = {name: value.clone() for name, value in before.items()}
    running = supernet.logits(largest, x, statistics)

    count = sort_channels(supernet, largest_options(found))

    after = supernet.shared_parameters()
    assert count == groups
    assert any(not torch.equal(before[name], after[name]) for name in before)
    torch.testing.assert_close(supernet(x, largest), batch, rtol=1e-4, atol=1e-5)
    again = supernet.calibrate(largest, x)
    torch.testing.assert_close(supernet.logits(largest, x, again), running, rtol=1e-4, atol=1e-5)


def test_the_statistics_move_with_their_channels(wide_space):
    supernet = random_supernet(wide_space)
    x = images()
    before = supernet.calibrate(wide_space.largest(), x)["block/depthwise_norm/mean"]
    order = importance(supernet).argsort(descending=True)

    sort_channels(supernet, largest_options(wide_space))

    after = supernet.calibrate(wide_space.largest(), x)["block/depthwise_norm/mean"]
    torch.testing.assert_close(after, before[order])


def test_channels_are_sorted_by_the_weights_of_the_layer_that_reads_them(wide_space):
    supernet = random_supernet(wide_space)
    before = importance(supernet)

    sort_channels(supernet, largest_options(wide_space))

    after = importance(supernet)
    torch.testing.assert_close(after, before.sort(descending=True).values)
    assert not torch.equal(before, after)


def test_squeezed_channels_are_sorted_by_the_excitation_that_reads_them(wide_space):
    supernet = random_supernet(wide_space)

    sort_channels(supernet, largest_options(wide_space))

    sums = stored(supernet, "block/excite/weight").abs().sum((0, 2, 3))
    assert torch.all(sums[:-1] >= sums[1:])


def test_a_prefix_keeps_at_least_as_much_weight_as_any_random_subset(wide_space):
    supernet = random_supernet(wide_space)
    rng = np.random.default_rng(0)

    sort_channels(supernet, largest_options(wide_space))

    mass = importance(supernet).numpy()
    for expand in EXPANDS[:-1]:
        width = 8 * expand
        kept = mass[:width].sum()
        others = [mass[rng.permutation(len(mass))[:width]].sum() for _ in range(200)]
        assert kept >= max(others)


def test_sorting_again_keeps_the_set_of_channels_of_every_prefix_in_use(wide_space):
    supernet = random_supernet(wide_space)
    shrunk = [range(2), (1, 2)]  # expansions 4 and 6 are trained, 2 is yet to come
    sort_channels(supernet, largest_options(wide_space))
    with torch.no_grad():  # training moved the weights
        name = "block/project/weight"
        weight = supernet.shared_parameters()[name]
        weight += torch.randn(weight.shape, generator=torch.Generator().manual_seed(9))
    before = stored(supernet)
    middle = wide_space.from_options({"kernel": 5, "expand": 4})
    outputs = supernet(images(), middle)

    sort_channels(supernet, shrunk)

    def columns(weight, begin, end):
        return sorted(weight[:, c, 0, 0].tolist() for c in range(begin, end))

    after = stored(supernet)
    assert not torch.equal(before, after)
    for begin, end in ((0, 32), (32, 48)):
        assert columns(after, begin, end) == columns(before, begin, end)
        sums = importance(supernet)[begin:end]
        assert torch.all(sums[:-1] >= sums[1:])
    torch.testing.assert_close(supernet(images(), middle), outputs, rtol=1e-4, atol=1e-5)


def test_when_all_widths_are_in_use_no_sub_net_changes(wide_space):
    supernet = random_supernet(wide_space)
    x = images()
    every = [wide_space.architecture((k, e)) for k in range(2) for e in range(3)]
    before = [supernet(x, architecture) for architecture in every]

    sort_channels(supernet, all_options(wide_space))

    for architecture, result in zip(every, before, strict=True):
        torch.testing.assert_close(supernet(x, architecture), result, rtol=1e-4, atol=1e-5)


def test_equal_importance_keeps_the_order(wide_space):
    supernet = random_supernet(wide_space)
    with torch.no_grad():
        supernet.shared_parameters()["block/project/weight"].fill_(0.5)
    before = stored(supernet, "block/expand/weight")

    sort_channels(supernet, largest_options(wide_space))

    assert torch.equal(stored(supernet, "block/expand/weight"), before)


def test_the_axes_of_a_group_follow_from_the_graph_not_from_names():
    def block(g, x):
        y = g.relu(g.conv(x, 12, 1, name="a", bias=True))
        y = g.conv(y, 12, 3, group=12, name="b")
        z = g.conv(x, 12, 3, name="c")
        return g.conv(g.add(y, z), 4, 1, name="d")

    groups = channel_groups(built(block))

    assert len(groups) == 1
    assert groups[0].size == 12
    assert set(groups[0].axes) == {
        ("a/weight", 0),
        ("a/bias", 0),
        ("b/weight", 0),
        ("c/weight", 0),
        ("d/weight", 1),
    }
    assert groups[0].readers == (("d/weight", 1),)


def test_a_linear_layer_after_pooling_reads_channels():
    def block(g, x):
        y = g.relu(g.conv(x, 12, 1, name="mix"))
        return g.gemm(g.flatten(g.global_average_pool(y)), 3, name="out")

    (group,) = channel_groups(built(block))

    assert set(group.axes) == {("mix/weight", 0), ("out/weight", 1)}
    assert group.readers == (("out/weight", 1),)


def test_pixels_that_are_flattened_and_grouped_convolutions_keep_their_order():
    def flattened(g, x):
        return g.gemm(g.flatten(g.conv(x, 12, 1, name="mix")), 3, name="out")

    def grouped(g, x):
        y = g.conv(x, 12, 1, name="a")
        return g.conv(g.conv(y, 12, 3, group=3, name="b"), 4, 1, name="c")

    assert channel_groups(built(flattened)) == []
    assert channel_groups(built(grouped)) == []


def test_channels_that_leave_the_block_are_in_no_group():
    assert channel_groups(built(lambda g, x: g.relu(g.conv(x, 12, 1, name="a")))) == []


def built(emit):
    builder = GraphBuilder("block")
    x = builder.input("input", (1, 4, 8, 8))
    result = emit(builder, x)
    assert isinstance(result, ir.Value)
    builder.output(result, "output")
    return builder.build()
