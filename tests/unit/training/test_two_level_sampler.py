"""Sampling by cost: both distributions are those of the table, and draws hit their bin."""

from functools import partial

import numpy as np
import pytest
from scipy.stats import chisquare

from hwnas.costs.counted import count_costs
from hwnas.spaces import ChoiceBlock, Decision, SearchSpace, get_space
from hwnas.spaces.inverted_residual import classifier, conv_unit, network_input
from hwnas.training.two_level_sampler import TwoLevelSampler

SEED = 3


@pytest.fixture(scope="module")
def bins(space):
    return TwoLevelSampler(space, np.random.default_rng(SEED), table_size=5000, bins=12)


@pytest.fixture(scope="module")
def table(space):
    return space.sample(5000, np.random.default_rng(SEED))


def test_a_bin_is_as_likely_as_it_is_frequent_in_the_table(bins, table):
    rounded = bins.rounded_macs(table)

    assert bins.shares.sum() == pytest.approx(1.0)
    for centre, share in zip(bins.centres_macs, bins.shares, strict=True):
        assert share == pytest.approx((rounded == centre).mean())


def test_an_architecture_is_less_than_half_a_bin_from_the_centre(space, bins, table):
    macs = count_costs(space, ("macs",)).cost(table)[:, 0]

    assert np.abs(bins.rounded_macs(table) - macs).max() <= bins.width_macs * (0.5 + 1e-6)


def test_the_shares_of_options_sum_to_one_in_every_bin(bins, space):
    for shares, decision in zip(bins.option_shares, space.decisions, strict=True):
        assert shares.shape == (len(bins.shares), len(decision.options))
        np.testing.assert_allclose(shares.sum(1), 1.0)


def test_an_option_of_a_conditional_decision_counts_only_where_it_matters(space, bins, table):
    names = [decision.name for decision in space.decisions]
    depth, kernel = names.index("depth"), names.index("block.2.kernel")
    rounded = bins.rounded_macs(table)

    checked = 0
    for index, centre in enumerate(bins.centres_macs):
        rows = table[(rounded == centre) & (table[:, depth] == 1)]
        expected = np.bincount(rows[:, kernel], minlength=3) / max(len(rows), 1)
        expected = expected if len(rows) else np.full(3, 1 / 3)
        np.testing.assert_allclose(bins.option_shares[kernel][index], expected)
        checked += 0 < len(rows) < (rounded == centre).sum()
    assert checked  # a bin holds both depths


def test_one_draw_a_bin_reproduces_the_distribution_over_bins():
    space = get_space("mbconv-digits")
    bins = TwoLevelSampler(space, np.random.default_rng(0), bins=10)
    rng = np.random.default_rng(1)
    n = 1000

    drawn = [bins.draw(bins.draw_bin(rng), 1, rng)[0] for _ in range(n)]

    rounded = bins.rounded_macs(np.array(drawn))
    counts = np.array([(rounded == centre).sum() for centre in bins.centres_macs])
    common = bins.shares * n >= 5
    observed = np.append(counts[common], n - counts[common].sum())
    expected = np.append(bins.shares[common], bins.shares[~common].sum()) * n
    assert chisquare(observed[expected > 0], expected[expected > 0]).pvalue > 1e-3


@pytest.mark.parametrize("name", ["mbconv-digits", "proxyless-mobile"])
def test_nine_of_ten_draws_hit_their_bin(name):
    bins = TwoLevelSampler(get_space(name), np.random.default_rng(0))
    rng = np.random.default_rng(1)

    hits = []
    for _ in range(100):
        index = bins.draw_bin(rng)
        hits += list(bins.rounded_macs(bins.draw(index, 3, rng)) == bins.centres_macs[index])

    assert np.mean(hits) >= 0.9


def test_draws_are_canonical_and_the_same_for_the_same_seed(space, bins):
    first, second = (bins.draw(4, 50, np.random.default_rng(8)) for _ in range(2))

    assert np.array_equal(first, second)
    assert np.array_equal(first, space.canonicalise(first))
    assert len(np.unique(first, axis=0)) > 1


def test_after_the_last_try_an_architecture_of_another_bin_is_taken(space):
    bins = TwoLevelSampler(space, np.random.default_rng(SEED), table_size=5000, bins=200, tries=1)
    patient = TwoLevelSampler(space, np.random.default_rng(SEED), table_size=5000, bins=200)
    rng = np.random.default_rng(0)
    index = len(bins.shares) // 2

    once, often = (each.draw(index, 200, rng) for each in (bins, patient))

    missed = [bins.rounded_macs(each) != bins.centres_macs[index] for each in (once, often)]
    assert len(once) == 200
    assert missed[0].sum() > 0
    assert missed[1].sum() < missed[0].sum()


def test_the_table_depends_on_its_seed_alone(space):
    first, second, other = (
        TwoLevelSampler(space, np.random.default_rng(seed), table_size=500) for seed in (0, 0, 1)
    )

    assert np.array_equal(first.shares, second.shares)
    assert not np.array_equal(first.shares, other.shares)


def test_networks_of_equal_work_share_one_bin():
    def marked(builder, x, mark):
        del mark
        return conv_unit(builder, x, width=8, kernel=3, stride=2)

    blocks = (
        ChoiceBlock("input", partial(network_input, channels=1, resolution=16)),
        ChoiceBlock("stem", marked, {"mark": "mark"}),
        ChoiceBlock("classifier", partial(classifier, classes=10)),
    )
    space = SearchSpace("equal", (Decision("mark", (0, 1)),), blocks)

    bins = TwoLevelSampler(space, np.random.default_rng(0), table_size=1000)

    assert bins.shares.tolist() == [1.0]
    assert bins.draw(bins.draw_bin(np.random.default_rng(0)), 5, np.random.default_rng(0)).shape
    np.testing.assert_allclose(bins.option_shares[0], 0.5, atol=0.05)
