from functools import partial

import numpy as np
import pytest
import torch

from hwnas.costs.counted import count_costs
from hwnas.costs.differentiable import DifferentiableCosts
from hwnas.errors import RunError
from hwnas.search.gradient.path_distribution import PathDistribution, group_decisions
from hwnas.spaces import ChoiceBlock, Decision, SearchSpace, get_space
from hwnas.spaces.inverted_residual import classifier, conv_unit, network_input
from hwnas.spaces.mbconv_digits import mbconv_digits


@pytest.fixture(scope="module")
def space():
    return mbconv_digits(resolution=16)


@pytest.fixture
def paths(space):
    made = PathDistribution(space, np.random.default_rng(0))
    spread(made)
    return made


def spread(paths, seed=1):
    rng = np.random.default_rng(seed)
    paths.restore([torch.from_numpy(rng.normal(size=group.size)) for group in paths.groups])


def test_decisions_of_one_block_are_joined_and_depths_stand_alone(space):
    groups = group_decisions(space)

    names = [f"stage{s}.{part}" for s in (1, 2, 3) for part in ("depth", 1, 2, 3)]
    assert [group.name for group in groups] == names
    assert [group.size for group in groups] == [3, 12, 12, 12] * 3
    assert sorted(c for g in groups for c in g.columns) == list(range(len(space.decisions)))
    assert [group.block is None for group in groups] == [True, False, False, False] * 3


def test_a_skip_is_one_of_seven_candidates():
    groups = group_decisions(get_space("proxyless-mobile"))

    assert [group.size for group in groups] == [6, 7, 7, 7] * 5 + [6]


def test_decisions_that_several_blocks_see_stand_alone():
    groups = {group.name: group for group in group_decisions(get_space("ofa-mbv3"))}

    assert groups["resolution"].block is None
    assert groups["resolution"].size == 25
    assert groups["unit1.1"].size == 9


def test_unsampled_candidates_keep_their_probabilities(paths):
    rng = np.random.default_rng(2)
    pairs = paths.sample_pairs(rng)
    before = paths.state()
    old = [p.detach().numpy() for p in paths.probabilities()]
    with torch.no_grad():
        for parameter, pair in zip(paths.parameters, pairs, strict=True):
            parameter[list(pair)] += torch.from_numpy(rng.normal(size=2))

    paths.rescale(pairs, before)

    for p, q, pair in zip(old, paths.probabilities(), pairs, strict=True):
        now = q.detach().numpy()
        others = np.setdiff1d(np.arange(len(p)), pair)
        np.testing.assert_allclose(now[others], p[others], rtol=0, atol=1e-15)
        up = now[list(pair)] > p[list(pair)]
        assert up.sum() == 1
        assert now[list(pair)].sum() == pytest.approx(p[list(pair)].sum(), abs=1e-14)


def test_pairs_are_drawn_without_replacement(paths):
    rng = np.random.default_rng(3)
    paths.groups, paths.parameters = paths.groups[:1], paths.parameters[:1]
    p = paths.probabilities()[0].detach().numpy()

    drawn = [tuple(sorted(paths.sample_pairs(rng)[0])) for _ in range(10_000)]

    for i, k in ((0, 1), (0, 2), (1, 2)):
        wanted = p[i] * p[k] * (1 / (1 - p[i]) + 1 / (1 - p[k]))
        assert drawn.count((i, k)) / len(drawn) == pytest.approx(wanted, abs=0.02)


def test_a_pair_can_be_drawn_when_one_candidate_has_all_the_probability(paths):
    paths.restore([t * 0 + torch.eye(len(t), dtype=t.dtype)[0] * 5000 for t in paths.state()])

    pairs = paths.sample_pairs(np.random.default_rng(0))

    assert all(first == 0 and second != 0 for first, second in pairs)
    assert paths.sample(np.random.default_rng(0)) == [0] * len(paths.groups)


def test_probabilities_of_pairs_are_the_softmax_over_two(paths):
    pairs = paths.sample_pairs(np.random.default_rng(4))

    for parameter, pair, p in zip(
        paths.parameters, pairs, paths.pair_probabilities(pairs), strict=True
    ):
        i, k = pair
        wanted = float((parameter[i] - parameter[k]).detach().exp())
        assert float((p[i] / p[k]).detach()) == pytest.approx(wanted)
        assert float(p.detach().sum()) == pytest.approx(1.0)
        assert int((p > 0).sum()) == 2


def test_the_expected_cost_is_the_mean_cost_of_what_is_drawn(space, paths):
    counted = count_costs(space, ["macs"])
    expected = DifferentiableCosts(counted)
    rng = np.random.default_rng(5)

    mean = expected.expected_of_slots(paths.slot_weights(paths.probabilities()))

    drawn = np.stack([paths.row(paths.sample(rng)) for _ in range(1000)])
    found = counted.cost(space.canonicalise(drawn))[:, 0].astype(float)
    assert abs(float(mean.detach()) - found.mean()) < 4 * found.std() / np.sqrt(len(found))


def test_the_gradient_of_the_expected_cost_is_that_of_proxylessnas(space, paths):
    # d E / d a_i = p_i (F_i - sum_k p_k F_k), here times the probability that the block is there.
    counted = count_costs(space, ["macs"])
    expected = DifferentiableCosts(counted)
    cost = expected.expected_of_slots(paths.slot_weights(paths.probabilities()))
    gradients = torch.autograd.grad(cost[0], paths.parameters)

    for g, group in enumerate(paths.groups):
        if group.block is None:
            continue
        p = paths.probabilities()[g].detach().numpy()
        columns = space.columns_of(group.block)
        slots = dict(zip(space.slots(group.block), counted.slots[group.block][:, 0], strict=True))
        gate = [c for c in columns if c not in group.columns]
        deepest = tuple(int(space.option_counts[c]) - 1 for c in gate)
        f = np.array([slots[(*deepest, *group.options(i))] for i in range(group.size)])
        there = 1.0
        if gate:
            minimum = space.blocks[group.block].present.minimum
            depth = next(i for i, other in enumerate(paths.groups) if other.columns == tuple(gate))
            there = float(paths.probabilities()[depth].detach()[minimum - 1 :].sum())
        np.testing.assert_allclose(gradients[g], there * p * (f - p @ f), rtol=1e-9)


def test_preference_is_the_log_of_the_marginals(space, paths):
    shares = [np.zeros(int(count)) for count in space.option_counts]
    for group, p in zip(paths.groups, paths.probabilities(), strict=True):
        for candidate, probability in enumerate(p.tolist()):
            for column, option in zip(group.columns, group.options(candidate), strict=True):
                shares[column][option] += probability

    for found, wanted in zip(paths.preference(), shares, strict=True):
        np.testing.assert_allclose(np.exp(found), wanted, rtol=1e-12)


def test_the_derived_architecture_has_the_most_likely_candidates_and_is_canonical(space, paths):
    for parameter, group in zip(paths.parameters, paths.groups, strict=True):
        with torch.no_grad():
            parameter[0 if group.block is None else group.size - 1] = 10.0

    row = paths.derive()

    options = space.options(space.architecture(row))
    assert [options[f"stage{s}.depth"] for s in (1, 2, 3)] == [1, 1, 1]
    assert options["stage1.1.kernel"] == 7
    assert options["stage1.2.kernel"] == 3  # absent
    assert np.array_equal(row, space.canonicalise(row[None])[0])


def test_interleaved_decisions_reach_their_slots():
    shared = "width"
    unit = {"kernel": "a.kernel", "width": shared, "activation": "a.activation"}
    space = SearchSpace(
        "interleaved",
        (
            Decision("a.kernel", (1, 3)),
            Decision(shared, (4, 8, 12)),
            Decision("a.activation", ("relu", "relu6")),
            Decision("fixed", (3,)),
        ),
        (
            ChoiceBlock("input", partial(network_input, channels=3, resolution=8)),
            ChoiceBlock("a", conv_unit, unit),
            ChoiceBlock(
                "b", partial(conv_unit, width=8), {"kernel": "fixed"}, shaped_by=(shared,)
            ),
            ChoiceBlock("classifier", partial(classifier, classes=10)),
        ),
    )
    counted = count_costs(space, ["macs"])
    paths = PathDistribution(space, np.random.default_rng(0))
    assert [group.columns for group in paths.groups] == [(0, 2), (1,)]
    one_hot = [torch.eye(4, dtype=torch.float64)[2], torch.eye(3, dtype=torch.float64)[1]]

    cost = DifferentiableCosts(counted).expected_of_slots(paths.slot_weights(one_hot))

    row = paths.row([2, 1])
    assert row.tolist() == [1, 1, 0, 0]
    assert float(cost) == pytest.approx(float(counted.cost(row[None])[0, 0]), rel=1e-6)


def test_parameters_of_another_space_are_refused(paths):
    with pytest.raises(RunError, match="architecture parameters of another space"):
        paths.restore(paths.state()[1:])
