"""What strategies hold of what they were told."""

import numpy as np
import pytest

from hwnas.errors import RunError, SpaceError
from hwnas.search.told import Told

COUNTS = np.array([3, 4], np.uint8)


def told(count):
    found = Told(2)
    rows = np.stack((np.arange(count) % 3, np.arange(count) % 4), axis=1).astype(np.uint8)
    found.add(rows, np.arange(2.0 * count).reshape(count, 2), np.arange(count) - 1.0)
    return found


def test_the_latest_are_kept_in_order():
    found = told(5)

    found.keep_latest(10)
    assert len(found) == 5
    found.keep_latest(2)

    assert found.objectives.tolist() == [[6.0, 7.0], [8.0, 9.0]]
    assert found.violation.tolist() == [2.0, 3.0]
    assert found.population.tolist() == [[0, 3], [1, 0]]


def test_nothing_told_changes_nothing_and_feasible_is_the_default():
    found = told(2)

    assert len(found.add(np.empty((0, 2), np.uint8), np.empty((0, 7)), None)) == 0
    found.add(np.zeros((1, 2), np.uint8), np.ones((1, 2)), None)

    assert found.violation.tolist() == [-1.0, 0.0, 0.0]


def test_other_objectives_than_before_are_refused():
    with pytest.raises(SpaceError, match="told 3 objectives, 2 before"):
        told(2).add(np.zeros((1, 2), np.uint8), np.ones((1, 3)), None)


def test_what_is_restored_is_what_was_held_and_is_checked():
    found, again = told(3), Told(2)

    again.restore(found.state(), COUNTS)

    assert again.state().keys() == found.state().keys()
    assert all(np.array_equal(again.state()[name], found.state()[name]) for name in found.state())
    for broken in (
        {**found.state(), "violation": np.zeros(2)},
        {**found.state(), "population": np.full((3, 2), 9, np.uint8)},
        {"population": found.population},
    ):
        with pytest.raises(RunError):
            again.restore(broken, COUNTS)
    assert len(again) == 3
