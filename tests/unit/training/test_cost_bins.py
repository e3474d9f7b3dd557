"""Bins of the cost axis: flat where uniform decisions make a bell, and always hit."""

import numpy as np
import pytest
from scipy.stats import chisquare

from hwnas.errors import SpaceError
from hwnas.spaces import SearchSpace, get_space
from hwnas.training.cost_bins import mac_bins


@pytest.fixture(scope="module")
def bins():
    return mac_bins(get_space("mbconv-digits"))


def test_the_ends_of_the_axis_are_the_smallest_and_the_largest_network(bins):
    space = bins.space
    ends = np.array([space.smallest().indices, space.largest().indices], np.uint8)

    assert bins.bin_of(ends).tolist() == [0, len(bins) - 1]
    assert bins.cost(ends) == pytest.approx([bins.edges[0], bins.edges[-1]])


def test_uniform_decisions_make_a_bell_and_uniform_bins_make_it_flat(bins):
    rng = np.random.default_rng(0)
    rows = bins.space.sample(800, rng)
    drawn = rng.integers(len(bins), size=400)
    binned = np.array([bins.sample(int(index), rng) for index in drawn])

    bell = np.bincount(bins.bin_of(rows), minlength=len(bins))
    flat = np.bincount(bins.bin_of(binned), minlength=len(bins))

    assert bell[2:4].sum() > 5 * (bell[0] + bell[-1])
    assert chisquare(bell).pvalue < 1e-12
    assert chisquare(flat).pvalue > 1e-4


@pytest.mark.parametrize("name", ["mbconv-digits", "proxyless-mobile"])
def test_every_bin_is_hit_by_different_canonical_architectures(name):
    space = get_space(name)
    bins = mac_bins(space)
    rng = np.random.default_rng(1)

    for index in range(len(bins)):
        rows = np.array([bins.sample(index, rng) for _ in range(5)])
        assert (bins.bin_of(rows) == index).all()
        assert (space.canonicalise(rows) == rows).all()
        assert len(np.unique(rows, axis=0)) > 1


def test_nudging_moves_the_smallest_network_into_every_bin(bins):
    row = bins.space.smallest().row()
    rng = np.random.default_rng(2)

    moved = np.array([bins.nudged(row, index, rng) for index in range(len(bins))])

    assert bins.bin_of(moved).tolist() == list(range(len(bins)))
    assert (moved[0] == row).all()


def test_nudging_towards_a_bin_without_architectures_ends_nearby(space):
    bins = mac_bins(space, 500)
    every = space.sample(2000, np.random.default_rng(0))
    empty = sorted(set(range(len(bins))) - set(bins.bin_of(every).tolist()))[10]

    row = bins.sample(empty, np.random.default_rng(3))

    reached = int(bins.bin_of(row[None])[0])
    nearest = min(abs(int(found) - empty) for found in bins.bin_of(every))
    assert reached != empty
    assert abs(reached - empty) <= nearest + 1


def test_the_same_seed_draws_the_same_architectures(bins):
    rows = [
        [bins.sample(i % len(bins), rng).tolist() for i in range(16)]
        for rng in (np.random.default_rng(7), np.random.default_rng(7))
    ]

    assert rows[0] == rows[1]


def test_a_space_of_one_cost_has_no_bins(space):
    fixed = SearchSpace("fixed", (), tuple(block for block in space.blocks if not block.decisions))

    with pytest.raises(SpaceError, match="fixed into 8 bins"):
        mac_bins(fixed)
