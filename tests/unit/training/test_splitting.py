"""Splits separate what is distant, keep together what is alike, and partition the space."""

from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hwnas.errors import SpaceError
from hwnas.spaces import ChoiceBlock, Decision, SearchSpace
from hwnas.supernet.elastic import ElasticSupernet
from hwnas.supernet.split import Part, SplitSupernet
from hwnas.training.splitting import (
    Halves,
    bipartition,
    most_distant_halves,
    random_halves,
    split_supernet,
)


def random_distances(count, seed):
    values = np.random.default_rng(seed).random((count, count))
    return np.triu(values, 1) + np.triu(values, 1).T


@given(st.integers(2, 7), st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=50)
def test_the_bipartition_is_balanced_and_no_other_one_is_tighter(count, seed):
    distances = random_distances(count, seed)
    found = bipartition(distances)

    def within(group):
        return sum(distances[i, j] for i, j in combinations(group, 2))

    assert sorted(found.groups[0] + found.groups[1]) == list(range(count))
    assert abs(len(found.groups[0]) - len(found.groups[1])) <= 1
    assert found.within == pytest.approx(sum(map(within, found.groups)))
    assert found.within + found.between == pytest.approx(distances.sum() / 2)
    for group in combinations(range(count), count // 2):
        rest = [i for i in range(count) if i not in group]
        assert found.within <= within(group) + within(rest) + 1e-9


def test_the_bipartition_does_not_depend_on_the_order_of_the_options():
    distances = random_distances(6, 3)
    order = np.random.default_rng(0).permutation(6)

    one = bipartition(distances)
    other = bipartition(distances[np.ix_(order, order)])

    renamed = {frozenset(int(order[i]) for i in group) for group in other.groups}
    assert renamed == {frozenset(group) for group in one.groups}


@pytest.mark.parametrize(
    ("distances", "message"),
    [
        (np.zeros((1, 1)), "halved"),
        (np.zeros((17, 17)), "halved"),
        (np.array([[0.0, 1.0], [2.0, 0.0]]), "symmetric"),
        (np.full((2, 2), np.nan), "diverged"),
    ],
)
def test_distances_that_make_no_bipartition_are_refused(distances, message):
    with pytest.raises(SpaceError, match=message):
        bipartition(distances)


def test_the_decision_whose_groups_are_furthest_apart_is_split(space):
    column = [d.name for d in space.decisions].index("block.1.kernel")

    def measure(paths):  # kernels 3 and 7 are alike, 5 is not; nothing else matters
        kernels = [path.indices[column] for path in paths]
        return np.array([[float((a == 1) != (b == 1)) for b in kernels] for a in kernels])

    found = most_distant_halves(Part(space, {}), measure, 3, np.random.default_rng(0))

    assert found == Halves("block.1.kernel", ((0, 2), (1,)), 1.0)


def test_sub_nets_that_are_compared_differ_in_one_decision_of_the_part(space):
    part = Part(space, {"block.1.kernel": (0, 2)})
    seen = []

    def measure(paths):
        seen.append(np.array([path.indices for path in paths]))
        return np.zeros((len(paths), len(paths)))

    most_distant_halves(part, measure, 5, np.random.default_rng(0))

    depth, kernel = 0, 1
    varied = []
    for rows in seen:
        columns = [c for c in range(rows.shape[1]) if len(set(rows[:, c])) > 1]
        assert all(part.holds(row) for row in rows)
        if depth in columns:  # deeper networks bring decisions of their own
            columns = [depth]
        assert len(columns) == 1
        varied += columns
        if columns == [kernel]:
            assert rows[:, kernel].tolist() == [0, 2]
    assert len(seen) == 5 * len(part.divisible())
    assert set(varied) == {0, 1, 2}


def test_two_levels_make_four_members_that_hold_the_space_and_start_from_the_whole(space):
    supernet = ElasticSupernet(space, torch.Generator().manual_seed(0))
    before = {name: p.detach().clone() for name, p in supernet.shared_parameters().items()}
    rng = np.random.default_rng(0)

    split = split_supernet(supernet, lambda member, part: random_halves(part, rng), levels=2)

    assert len(split.members) == 4
    x = torch.randn(2, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    for row in space.sample(20, rng):
        assert sum(part.holds(row) for part in split.parts) == 1
        architecture = space.architecture(row)
        assert torch.equal(split(x, architecture), supernet(x, architecture))
    for member in split.members:
        for name, parameter in member.shared_parameters().items():
            assert torch.equal(parameter, before[name])
    pointers = {p.data_ptr() for p in split.parameters()}
    assert len(pointers) == 4 * len(before)


def test_random_halves_take_every_decision_and_are_balanced(space):
    rng = np.random.default_rng(0)
    part = Part(space, {})

    found = [random_halves(part, rng) for _ in range(60)]

    assert {halves.decision for halves in found} == set(part.divisible())
    assert all(abs(len(h.groups[0]) - len(h.groups[1])) <= 1 for h in found)
    assert len({h.groups for h in found if h.decision == "block.1.kernel"}) > 2


def test_a_member_that_cannot_be_split_stays_whole_and_a_space_that_cannot_is_refused(space):
    blocks = (space.blocks[0], space.blocks[1], space.blocks[-1])
    rigid = SearchSpace("rigid", (Decision("unread", (0, 1)),), blocks)
    rng = np.random.default_rng(0)

    def choose(member, part):
        return random_halves(part, rng)

    split = split_supernet(ElasticSupernet(rigid), choose)

    assert len(split.members) == 2
    with pytest.raises(SpaceError, match="cannot be split"):
        split_supernet(split, choose)
    fixed = SearchSpace("fixed", (Decision("one", (0,)),), blocks)
    with pytest.raises(SpaceError, match="cannot be split"):
        split_supernet(ElasticSupernet(fixed), choose)


def test_members_that_cannot_be_split_further_are_kept_beside_those_that_can(space):
    blocks = (space.blocks[0], space.blocks[1], space.blocks[-1])
    assert isinstance(blocks[0], ChoiceBlock)
    three = SearchSpace("three", (Decision("unread", (0, 1, 2)),), blocks)
    rng = np.random.default_rng(0)

    split = split_supernet(
        ElasticSupernet(three), lambda member, part: random_halves(part, rng), levels=2
    )

    assert isinstance(split, SplitSupernet)
    assert sorted(part.options[0] for part in split.parts) == [(0,), (1,), (2,)]
