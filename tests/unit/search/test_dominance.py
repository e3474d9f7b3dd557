import numpy as np
import pytest

from hwnas.errors import SpaceError
from hwnas.search import dominance


def test_lists_and_other_layouts_are_accepted():
    assert dominance.non_dominated_sort([[1, 2], [2, 1], [2, 2]]).tolist() == [0, 0, 1]
    assert dominance.non_dominated_sort(np.zeros((3, 4), np.float32)[:, ::2]).tolist() == [0, 0, 0]


def test_a_point_does_not_dominate_its_copy():
    assert dominance.is_non_dominated([[1, 1], [1, 1], [1, 2]]).tolist() == [True, True, False]


def test_infeasible_rows_and_rows_with_nan_are_never_non_dominated():
    assert not dominance.is_non_dominated([[1, 1], [np.nan, 0]], [1, 0]).any()
    assert dominance.is_non_dominated([[1, 1], [0, 0]], [0, 1]).tolist() == [True, False]


def test_a_slightly_infeasible_row_comes_before_a_very_infeasible_one():
    ranks = dominance.non_dominated_sort([[9, 9], [0, 0], [1, 1]], [0, 2, 0.1])

    assert ranks.tolist() == [0, 2, 1]


def test_crowding_is_endless_at_the_ends_of_a_front():
    distance = dominance.crowding_distance([[0, 4], [1, 2], [4, 0]], [0, 0, 0])

    assert distance.tolist() == [np.inf, 2.0, np.inf]


def test_no_rows_have_no_ranks_and_no_volume():
    assert dominance.non_dominated_sort(np.empty((0, 2))).shape == (0,)
    assert dominance.is_non_dominated(np.empty((0, 2)), []).shape == (0,)
    assert dominance.hypervolume(np.empty((0, 2)), (1, 1)) == 0


@pytest.mark.parametrize(
    "call",
    [
        lambda: dominance.non_dominated_sort([1, 2]),
        lambda: dominance.non_dominated_sort(np.empty((2, 0))),
        lambda: dominance.non_dominated_sort([[1, 2]], [0, 0]),
        lambda: dominance.crowding_distance([[1, 2]], [0, 0]),
        lambda: dominance.hypervolume([[1, 2]], [1]),
        lambda: dominance.hypervolume([[np.nan, 2]], [1, 1]),
        lambda: dominance.hypervolume([[1, 2]], [1, np.inf]),
    ],
)
def test_shapes_and_values_that_do_not_fit_are_errors(call):
    with pytest.raises(SpaceError):
        call()
