from functools import partial

import numpy as np
import pytest
import torch
from torch.nn import functional

from hwnas.costs import count_costs
from hwnas.costs.differentiable import DifferentiableCosts
from hwnas.errors import LoweringError, SpaceError
from hwnas.lowering.torch_module import TorchPlan
from hwnas.spaces import ChoiceBlock, Decision, SearchSpace, get_space
from hwnas.spaces.inverted_residual import classifier, conv_unit, inverted_residual, network_input
from hwnas.supernet.elastic import ElasticSupernet
from hwnas.supernet.superkernel import SuperkernelNetwork, indicator

KERNELS = Decision("kernel", (3, 5, 7))
JOINT = ((), (3, 2), (5, 2), (3, 4), (5, 4))


def _one_block(reads, decisions, emit=inverted_residual, **options):
    """A network of one searchable block at 8x8 pixels."""
    return SearchSpace(
        "one",
        tuple(decisions),
        (
            ChoiceBlock("input", partial(network_input, channels=1, resolution=16)),
            ChoiceBlock("stem", partial(conv_unit, width=8, kernel=3, stride=2)),
            ChoiceBlock("block", partial(emit, **options), reads),
            ChoiceBlock("classifier", partial(classifier, classes=10)),
        ),
    )


def _elastic(stride=1):
    parts = ("kernel", "expand", "squeeze_excite")
    return _one_block(
        {part: part for part in parts},
        [
            KERNELS,
            Decision("expand", (2, 3, 6)),
            Decision("squeeze_excite", (False, True)),
        ],
        width=8,
        stride=stride,
    )


def _joint():
    return _one_block(
        {"operator": "operator"}, [Decision("operator", JOINT)], width=8, kernel=0, expand=0
    )


def _network(space, seed=0):
    generator = torch.Generator().manual_seed(seed)
    supernet = ElasticSupernet(space, generator)
    with torch.no_grad():
        for parameter in supernet.parameters():
            if parameter.ndim == 1:
                parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
    return SuperkernelNetwork(supernet)


def _images(n=4, side=16):
    return torch.randn(n, 1, side, side, generator=torch.Generator().manual_seed(1))


def _random(network, generator, share=0.7):
    return (torch.rand(len(network.thresholds), generator=generator) < share).float()


@pytest.fixture(params=["tiny", "elastic", "strided", "joint"])
def network(request, space):
    made = {"tiny": space, "elastic": _elastic(), "strided": _elastic(2), "joint": _joint()}
    return _network(made[request.param])


def test_hard_indicators_are_the_derived_network(network):
    generator = torch.Generator().manual_seed(2)
    images = _images()
    rows = set()

    for _ in range(20):
        indicators = _random(network, generator)
        row = network.row(indicators)
        rows.add(tuple(row.tolist()))
        with torch.no_grad():
            found = network(images, indicators)
            wanted = network.supernet(images, network.space.architecture(row))
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)

    assert len(rows) > 3


def test_the_digits_space_has_exact_masks():
    network = _network(get_space("mbconv-digits@16"))
    generator = torch.Generator().manual_seed(2)

    for _ in range(3):
        indicators = _random(network, generator)
        row = network.row(indicators)
        with torch.no_grad():
            found = network(_images(), indicators)
            wanted = network.supernet(_images(), network.space.architecture(row))
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


def _depthwise(g, x, *, kernel):
    return g.conv(x, 8, kernel, group=8, name="depthwise")


@pytest.mark.parametrize(
    ("indicators", "side"), [((0, 0), 3), ((1, 0), 5), ((0, 1), 7), ((1, 1), 7)]
)
def test_a_masked_kernel_convolves_as_its_core(indicators, side):
    source = ChoiceBlock("input", partial(network_input, channels=8, resolution=16))
    block = ChoiceBlock("block", _depthwise, {"kernel": "kernel"})
    space = SearchSpace("depthwise", (KERNELS,), (source, block))
    network = _network(space)
    kernel = network.supernet.shared_parameters()["block/depthwise/weight"].detach()
    x = torch.randn(2, 8, 16, 16, generator=torch.Generator().manual_seed(3))
    cut = slice((7 - side) // 2, (7 + side) // 2)

    found = network(x, torch.tensor(indicators, dtype=torch.float32))
    wanted = functional.conv2d(x, kernel[:, :, cut, cut], padding=side // 2, groups=8)

    torch.testing.assert_close(found.detach(), wanted, rtol=0, atol=1e-6)


def test_an_indicator_is_hard_with_the_gradient_of_the_logistic_function():
    x = torch.linspace(-6, 6, 25, dtype=torch.float64, requires_grad=True)

    hard = indicator(x)
    (gradient,) = torch.autograd.grad(hard.sum(), x)

    assert set(hard.tolist()) == {0.0, 1.0}
    assert hard[12] == 1.0
    logistic = torch.sigmoid(x.detach())
    torch.testing.assert_close(gradient, logistic * (1 - logistic))


def test_parameters_are_those_of_the_largest_network(network):
    space = network.space
    largest = network.supernet.weights(space.largest())
    statistics = ("/mean", "/variance")
    wanted = sum(value.size for name, value in largest.items() if not name.endswith(statistics))

    found = sum(p.numel() for p in network.parameters()) - len(network.thresholds)

    assert found == wanted
    assert sum(p.numel() for p in network.supernet.parameters()) == wanted


def test_the_start_is_the_largest_network(network):
    row = network.row(network.indicators())

    np.testing.assert_array_equal(row, network.space.largest().row())


def test_norms_are_root_mean_squares_over_filters():
    network = _network(_elastic())
    depthwise = network.supernet.shared_parameters()["block/depthwise/weight"].detach()
    excite = network.supernet.shared_parameters()["block/excite/weight"].detach()
    ring5 = depthwise[:, :, 1:6, 1:6].square().sum() - depthwise[:, :, 2:5, 2:5].square().sum()
    ring7 = depthwise.square().sum() - depthwise[:, :, 1:6, 1:6].square().sum()
    wanted = [ring5 / 48, ring7 / 48]
    wanted += [depthwise[16:24].square().sum() / 8, depthwise[24:].square().sum() / 24]
    wanted += [excite.square().sum() / 48]

    norms = network.norms()

    torch.testing.assert_close(norms.detach(), torch.stack(wanted).sqrt())


def test_a_step_brings_those_below_it():
    network = _network(_elastic())
    indicators = torch.zeros(5)
    indicators[1] = 1.0  # the ring of 7x7, but not that of 5x5
    indicators[2] = 1.0

    assert network.row(indicators).tolist() == [2, 1, 0]


def test_the_cost_of_a_step_under_another_one_is_not_its_own():
    network = _network(_one_block({"kernel": "kernel"}, [KERNELS], width=8, expand=2))
    costs = DifferentiableCosts(count_costs(network.space), ["macs"])
    macs = [float(costs.expected([torch.eye(3)[i]])[0]) for i in range(3)]

    def slopes(first, second):
        indicators = torch.tensor([first, second], requires_grad=True)
        cost = costs.expected(network.probabilities(indicators))
        return torch.autograd.grad(cost.sum(), indicators)[0].tolist()

    assert slopes(1.0, 1.0) == pytest.approx([0.0, macs[2] - macs[1]])
    assert slopes(1.0, 0.0) == pytest.approx([macs[1] - macs[0], macs[2] - macs[1]])


@pytest.mark.parametrize("option", range(len(JOINT)))
def test_every_option_of_a_joint_decision_can_be_derived(option):
    network = _network(_joint())
    operator = JOINT[option]
    kernel, expand = operator or (3, 2)
    indicators = torch.tensor([kernel == 5, expand == 4, bool(operator)], dtype=torch.float32)

    probabilities = network.probabilities(indicators)

    assert probabilities[0].tolist() == [float(i == option) for i in range(len(JOINT))]
    assert network.row(indicators).tolist() == [option]


def test_option_weights_sum_to_one_between_corners_too(network):
    generator = torch.Generator().manual_seed(4)
    soft = torch.rand(len(network.thresholds), generator=generator)

    for found, count in zip(network.probabilities(soft), network.space.option_counts, strict=True):
        assert found.shape == (int(count),)
        assert (found >= 0).all()
        assert float(found.sum()) == pytest.approx(1.0)


def test_the_expected_cost_at_hard_indicators_is_the_derived_networks(network):
    compiled = count_costs(network.space)
    costs = DifferentiableCosts(compiled)
    generator = torch.Generator().manual_seed(5)

    for _ in range(10):
        indicators = _random(network, generator)
        found = costs.expected(network.probabilities(indicators)).numpy()
        wanted = compiled.cost(network.row(indicators)[None])[0]
        np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_a_step_that_was_given_up_can_come_back(network):
    images = _images()

    ends = np.cumsum([len(x.regions) for d in network.decisions for x in d.ladders]).tolist()
    for index in range(len(network.thresholds)):
        end = next(end for end in ends if end > index)
        indicators = torch.ones(len(network.thresholds))
        indicators[index:end] = 0.0  # with those above it, which would bring it
        indicators.requires_grad_()
        loss = network(images, indicators)[:, 0].square().sum()
        (gradient,) = torch.autograd.grad(loss, indicators)
        assert abs(float(gradient[index])) > 1e-6


def test_a_threshold_above_the_norm_gives_the_step_up():
    network = _network(_elastic())
    with torch.no_grad():
        network.thresholds[3] = network.norms()[3] + 0.1

    assert network.row(network.indicators()).tolist() == [2, 1, 1]


def _activation(g, x, *, activation):
    return conv_unit(g, x, width=8, activation=activation)


def _pooled(g, x, *, side):
    return g.average_pool(x, side)


@pytest.mark.parametrize(
    ("decision", "emit", "options"),
    [
        (Decision("activation", ("relu", "hard_swish")), _activation, {}),
        (Decision("width", (8, 16)), partial(conv_unit, kernel=3), {}),
        (Decision("kernel", (3, 4)), partial(conv_unit, width=8), {}),
        (Decision("side", (3, 5)), _pooled, {}),
        (
            Decision("operator", ((3, 2), (5, 4))),
            inverted_residual,
            {"width": 8, "kernel": 0, "expand": 0},
        ),
        (
            Decision("operator", ((), (3, 2))),
            inverted_residual,
            {"width": 8, "kernel": 0, "expand": 0, "stride": 2},
        ),
    ],
)
def test_options_that_are_not_nested_are_refused_by_name(decision, emit, options):
    space = _one_block({decision.name: decision.name}, [decision], emit, **options)

    with pytest.raises(SpaceError, match=f"decision '{decision.name}'"):
        SuperkernelNetwork(ElasticSupernet(space))


def test_a_decision_about_the_image_size_is_refused():
    with pytest.raises(SpaceError, match="decision 'resolution' shapes"):
        SuperkernelNetwork(ElasticSupernet(get_space("ofa-mbv3")))


def test_only_products_can_be_gated():
    graph = _elastic().fragment(2, (2, 2, 1)).graph

    with pytest.raises(LoweringError, match="only a product can be gated"):
        TorchPlan(graph, gated=["depthwise"])
