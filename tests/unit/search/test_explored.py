import numpy as np

from hwnas.search.explored import Explored
from hwnas.testing.strategy_conformance import ToySpace


def test_novel_rows_are_canonical_and_new():
    space = ToySpace()
    explored = Explored(space)
    rng = np.random.default_rng(0)

    rows = np.concatenate([explored.novel(20, rng) for _ in range(5)])

    assert len(np.unique(rows, axis=0)) == 100 == len(explored)
    assert np.array_equal(space.canonicalise(rows.copy()), rows)


def test_proposals_that_only_repeat_are_replaced_by_samples():
    space = ToySpace()
    known = np.zeros((1, 6), np.uint8)
    explored = Explored(space)
    explored.mark(known)

    rows = explored.novel(10, np.random.default_rng(0), lambda n, _: known.repeat(n, axis=0))

    assert len(rows) == 10


def test_every_last_row_of_a_small_space_is_found():
    space = ToySpace()
    explored = Explored(space)
    rng = np.random.default_rng(0)

    rows = explored.novel(10**6, rng)

    assert len(np.unique(rows, axis=0)) == len(rows) == len(space)
    assert explored.novel(1, rng).shape == (0, 6)


def test_a_large_space_whose_samples_all_repeat_counts_as_exhausted():
    class Stuck(ToySpace):
        def sample(self, n, rng):
            return np.zeros((n, len(self.option_counts)), np.uint8)

    explored = Explored(Stuck((255,) * 9))

    assert len(explored.novel(5, np.random.default_rng(0))) == 1
    assert len(explored.novel(5, np.random.default_rng(0))) == 0


def test_the_oldest_rows_are_forgotten_when_memory_is_full():
    explored = Explored(ToySpace((255, 255)), memory_rows=10)
    rows = np.stack([np.arange(1, 13), np.arange(1, 13)], axis=1).astype(np.uint8)

    for row in rows:
        explored.mark(row[None])

    assert len(explored) <= 10
    assert explored.rows()[-5:].tolist() == rows[-5:].tolist()


def test_unknown_rows_are_told_and_not_held():
    space, rng = ToySpace(), np.random.default_rng(3)
    explored = Explored(space)
    held = explored.novel(5, rng)
    rows = space.sample(50, rng)

    unknown = explored.unknown(np.concatenate((held, rows, rows)))
    again = explored.unknown(rows.copy())

    assert len(explored) == 5
    assert len(np.unique(unknown, axis=0)) == len(unknown) > 5
    assert not {bytes(row) for row in unknown} & {bytes(row) for row in held}
    np.testing.assert_array_equal(unknown, again)
    np.testing.assert_array_equal(space.canonicalise(unknown.copy()), unknown)
