"""Shares of random networks that a score outdoes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hwnas.estimators.zero_cost.rank_shares import RankShares

FINITE = st.floats(-1e6, 1e6, allow_nan=False).map(lambda v: round(v, 3))


def test_shares_are_ranks_among_the_scores():
    shares = RankShares(np.array([3.0, 1.0, 2.0]))

    np.testing.assert_allclose(shares(np.array([1.0, 1.5, 2.0, 3.0])), [0.25, 0.375, 0.5, 0.75])


def test_equal_scores_share_a_rank():
    shares = RankShares(np.array([1.0, 1.0, 1.0, 2.0]))

    np.testing.assert_allclose(shares(np.array([1.0, 2.0])), [0.4, 0.8])


def test_useless_networks_are_outdone_by_all():
    shares = RankShares(np.array([-np.inf, np.nan, 1.0, 2.0]))

    np.testing.assert_allclose(shares(np.array([-np.inf, 1.0, 2.0])), [0.0, 0.6, 0.8])


def test_beyond_the_ends_shares_go_on():
    shares = RankShares(np.array([0.0, 2.0]))  # one standard deviation is 1

    found = shares(np.array([-1.0, 0.0, 2.0, 3.0]))

    np.testing.assert_allclose(found, [np.exp(-1) / 3, 1 / 3, 2 / 3, 1 - np.exp(-1) / 3])


@pytest.mark.parametrize("scores", [[], [-np.inf, np.nan]])
def test_without_any_score_networks_are_useless_or_in_the_middle(scores):
    shares = RankShares(np.array(scores))

    np.testing.assert_array_equal(shares(np.array([-np.inf, 5.0])), [0.0, 0.5])


@given(arrays(float, st.integers(1, 20), elements=FINITE), arrays(float, 8, elements=FINITE))
def test_a_higher_score_has_no_lower_share(scores, asked):
    asked.sort()

    shares = RankShares(scores)(asked)

    assert (np.diff(shares) >= 0).all()
    assert (shares >= 0).all()
    assert (shares <= 1).all()
