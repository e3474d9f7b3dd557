from functools import partial

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode

from hwnas.errors import SpaceError
from hwnas.spaces import ChoiceBlock, Decision, Presence, SearchSpace, get_space
from hwnas.spaces.inverted_residual import classifier, conv_unit, inverted_residual, network_input
from hwnas.supernet.elastic import ElasticSupernet
from hwnas.supernet.entangled import EntangledNetwork
from hwnas.supernet.view import sub_slices


def make_network(space, seed=0):
    """Weights, scales and biases all differ from one another."""
    generator = torch.Generator().manual_seed(seed)
    supernet = ElasticSupernet(space, generator)
    with torch.no_grad():
        for parameter in supernet.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
    return EntangledNetwork(supernet)


def images(side=16, seed=0):
    return torch.randn(6, 1, side, side, generator=torch.Generator().manual_seed(seed))


def one_hot(space, row):
    return [torch.eye(int(k))[int(i)] for k, i in zip(space.option_counts, row, strict=True)]


def random_probabilities(space, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(int(k), generator=generator).softmax(0) for k in space.option_counts]


def space_of(emit, decisions, present=None):
    """One block that reads all decisions but the one of its presence."""
    reads = {name: name for name, _ in decisions if present is None or name != present.decision}
    blocks = (
        ChoiceBlock("input", partial(network_input, channels=1, resolution=16)),
        ChoiceBlock("stem", partial(conv_unit, width=8, kernel=3, stride=2)),
        ChoiceBlock("block", emit, reads, present=present),
        ChoiceBlock("classifier", partial(classifier, classes=10)),
    )
    return SearchSpace("one", tuple(Decision(*each) for each in decisions), blocks)


def logits_of_rows(network, x):
    """Logits of all architectures `(options..., n, classes)`."""
    space = network.space
    rows = np.indices(space.option_counts).reshape(len(space.decisions), -1).T
    found = [network.supernet(x, space.architecture(row)) for row in rows.astype(np.uint8)]
    return torch.stack(found).reshape(*space.option_counts.tolist(), *found[0].shape)


@pytest.mark.parametrize("seed", range(4))
def test_one_hot_weights_give_the_sub_net(space, seed):
    network = make_network(space, seed)
    row = space.sample(1, np.random.default_rng(seed))[0]

    with torch.no_grad():
        found = network(images(), one_hot(space, row))
        wanted = network.supernet(images(), space.architecture(row))

    assert torch.allclose(found, wanted, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "side", "channels"),
    [("mbconv-digits@16", 16, 1), ("proxyless-mobile@32", 32, 3), ("ofa-mbv3@32", 32, 3)],
)
def test_one_hot_weights_give_the_sub_nets_of_elastic_spaces(name, side, channels):
    space = get_space(name)
    network = make_network(space)
    x = torch.randn(2, channels, side, side, generator=torch.Generator().manual_seed(0))

    for row in (space.smallest().row(), space.sample(1, np.random.default_rng(3))[0]):
        with torch.no_grad():
            found = network(x, one_hot(space, row))
            wanted = network.supernet(x, space.architecture(row))
        assert torch.allclose(found, wanted, rtol=1e-3, atol=1e-3)


def test_a_linear_operation_is_the_weighted_sum_of_its_options():
    def emit(g, x, *, kernel):
        return g.conv(x, 8, kernel, name="conv", bias=True)

    space = space_of(emit, [("kernel", (1, 3, 5, 7))])
    network = make_network(space)
    a = torch.tensor([0.1, 0.4, 0.2, 0.3])

    with torch.no_grad():
        found = network(images(), [a])
        wanted = torch.einsum("k,knc->nc", a, logits_of_rows(network, images()))

    assert torch.allclose(found, wanted, atol=1e-5)


def test_a_product_of_decisions_mixes_by_the_product_of_their_weights():
    def emit(g, x, *, kernel, width):
        """A depthwise kernel on some channels; their sums make up the result."""
        y = g.conv(x, width, 1, name="expand")
        y = g.batch_norm(y, name="norm")
        y = g.conv(y, width, kernel, group=width, name="depthwise")
        return g.conv(y, 8, 1, name="project")

    space = space_of(emit, [("kernel", (3, 5, 7)), ("width", (4, 8, 12))])
    network = make_network(space)
    kernel, width = random_probabilities(space)
    stored = network.supernet.shared_parameters()
    choices = list(space.slots(2))
    names = [f"block/{local}" for local in network.supernet.block_weights(2, choices[0])]
    mixed = {name: torch.zeros_like(stored[name]) for name in names}
    for choice in choices:
        share = kernel[choice[0]] * width[choice[1]]
        for local, weight in network.supernet.block_weights(2, choice).items():
            whole = mixed[f"block/{local}"]
            whole[sub_slices(whole.shape, weight.shape) or ...] += share * weight.detach()

    with torch.no_grad():
        found = network(images(), [kernel, width])
        for name, value in mixed.items():
            stored[name].copy_(value)
        wanted = network.supernet(images(), space.largest())

    assert len(mixed) == 5
    assert torch.allclose(found, wanted, atol=1e-5)


def test_a_factor_is_mixed_in_its_output():
    def emit(g, x, *, kernel, context):
        y = g.conv(x, 8, kernel, name="conv")
        if not context:
            return y
        z = g.conv(g.global_average_pool(y), 8, 1, name="excite", bias=True)
        return g.mul(y, g.hard_sigmoid(z))

    space = space_of(emit, [("kernel", (3,)), ("context", (False, True))])
    network = make_network(space)

    with torch.no_grad():
        found = network(images(), [torch.ones(1), torch.tensor([0.3, 0.7])])
        without, with_factor = logits_of_rows(network, images())[0]

    assert torch.allclose(found, 0.3 * without + 0.7 * with_factor, atol=1e-5)
    assert (with_factor - without).abs().max() > 1e-3


def test_a_block_that_may_be_absent_or_skipped_mixes_result_and_input():
    emit = partial(inverted_residual, width=8, kernel=0, expand=0)
    skips = space_of(emit, [("operator", ((), (3, 2)))])
    emit = partial(inverted_residual, width=8, kernel=3, expand=2)
    absent = space_of(emit, [("depth", (1, 2))], Presence("depth", 2))

    for space in (skips, absent):
        network = make_network(space)
        with torch.no_grad():
            found = network(images(), [torch.tensor([0.25, 0.75])])
            without, there = logits_of_rows(network, images())
        assert torch.allclose(found, 0.25 * without + 0.75 * there, atol=1e-5)
        assert (there - without).abs().max() > 1e-3


def test_joint_options_with_a_skip_mix_weights_over_the_others_alone():
    def emit(g, x, *, operator):
        return x if operator == 0 else g.conv(x, 8, operator, name="conv")

    space = space_of(emit, [("operator", (0, 1, 3, 5))])
    network = make_network(space)
    a = torch.tensor([0.4, 0.1, 0.2, 0.3])

    with torch.no_grad():
        found = network(images(), [a])
        wanted = torch.einsum("k,knc->nc", a, logits_of_rows(network, images()))

    assert torch.allclose(found, wanted, atol=1e-5)


class _Convolutions(TorchFunctionMode):
    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.count += getattr(func, "__name__", "") == "conv2d"
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("kernels", [(7,), (3, 7), (1, 3, 5, 7)])
def test_work_does_not_grow_with_the_options(kernels):
    space = space_of(
        partial(inverted_residual, width=8),
        [("kernel", kernels), ("expand", (2, 4)), ("squeeze_excite", (False, True))],
    )
    network = make_network(space)

    with torch.no_grad(), _Convolutions() as mixed:
        network(images(), random_probabilities(space))
    with torch.no_grad(), _Convolutions() as largest:
        network.supernet(images(), space.largest())

    assert mixed.count == largest.count > 0
    shared = {id(p) for p in network.supernet.parameters()}
    assert {id(p) for p in network.parameters()} == shared


def test_all_weights_and_decisions_get_gradients(space):
    network = make_network(space)
    probabilities = [p.requires_grad_() for p in random_probabilities(space)]

    network(images(), probabilities).square().sum().backward()

    for tensor in (*network.parameters(), *probabilities):
        assert torch.isfinite(tensor.grad).all()
        assert tensor.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("name", "found"), [("ofa-mbv3", "'resolution'"), ("cells-digits", "no part of its last one")]
)
def test_options_that_are_no_parts_of_one_another_are_refused(name, found):
    with pytest.raises(SpaceError, match=found):
        EntangledNetwork(ElasticSupernet(get_space(name), torch.Generator()))


def test_a_block_that_changes_shapes_cannot_be_left_out():
    def emit(g, x, *, kernel):
        return g.conv(x, 12, kernel, name="conv") if kernel else g.relu(x)

    space = space_of(emit, [("kernel", (0, 3))])

    with pytest.raises(SpaceError):
        EntangledNetwork(ElasticSupernet(space, torch.Generator()))
