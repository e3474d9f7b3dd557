"""Errors out of a table, and those that a regression puts in its gaps."""

import logging

import numpy as np
import pytest

from hwnas.errors import TableError
from hwnas.estimators.error_table import write_error_table
from hwnas.estimators.tabulated import TabulatedEstimator
from hwnas.spaces import get_space
from hwnas.testing.estimator_conformance import EstimatorConformance


def every_row(space):
    grid = np.indices(space.option_counts).reshape(len(space.decisions), -1).T
    return np.unique(space.canonicalise(np.ascontiguousarray(grid, np.uint8)), axis=0)


def smooth(rows):
    """Errors that fall with every option."""
    return 0.5 - 0.04 * rows.sum(1)


@pytest.fixture
def whole(space, tmp_path):
    rows, path = every_row(space), tmp_path / "whole.csv"
    write_error_table(path, space, rows, smooth(rows), {"provenance": "measured"})
    return path


@pytest.fixture
def part(space, tmp_path):
    rows, path = every_row(space)[::2], tmp_path / "part.csv"
    write_error_table(path, space, rows, smooth(rows), {"space": space.name})
    return path


class TestTabulatedEstimator(EstimatorConformance):
    @pytest.fixture
    def make_estimator(self, space, whole):
        return lambda: TabulatedEstimator(space, whole)


class TestInterpolatingEstimator(EstimatorConformance):
    @pytest.fixture
    def make_estimator(self, space, part):
        return lambda: TabulatedEstimator(space, part, interpolate=True)


def test_errors_are_those_of_the_rows(space, whole):
    estimator, rows = TabulatedEstimator(space, whole), every_row(space)

    np.testing.assert_array_equal(estimator.error(rows), smooth(rows))
    assert not estimator.predicted(rows).any()
    assert estimator.provenance == "measured"


def test_a_row_that_is_not_there_is_an_error_that_names_it(space, part):
    with pytest.raises(
        TableError, match=r"no error for 21 of 42 architectures, such as \{'depth'"
    ):
        TabulatedEstimator(space, part).error(every_row(space))


def test_interpolated_errors_are_marked_and_near_the_truth(space, part):
    estimator, rows = TabulatedEstimator(space, part, interpolate=True), every_row(space)

    found = estimator.error(rows)

    marked = estimator.predicted(rows)
    assert marked.tolist() == [index % 2 == 1 for index in range(len(rows))]
    np.testing.assert_array_equal(found[~marked], smooth(rows)[~marked])
    assert np.abs(found - smooth(rows))[marked].mean() < 0.04
    assert 0.0 < estimator.interpolation_error < 0.06
    assert estimator.provenance == "modelled"


def test_a_table_that_says_nothing_of_itself_is_published(space, part):
    assert TabulatedEstimator(space, part).provenance == "published"


def test_too_few_rows_are_not_interpolated(space, tmp_path):
    rows = every_row(space)[:5]
    write_error_table(tmp_path / "t.csv", space, rows, smooth(rows), {})

    with pytest.raises(TableError, match="has 5 rows; an interpolation is fitted on at least 20"):
        TabulatedEstimator(space, tmp_path / "t.csv", interpolate=True)


def test_a_table_made_at_another_image_side_is_taken_with_a_warning(tmp_path, caplog):
    made, used = get_space("resnet9@16"), get_space("resnet9")
    rows = made.sample(3, np.random.default_rng(0))
    write_error_table(tmp_path / "t.csv", made, rows, np.full(3, 0.1), {"space": made.name})

    with caplog.at_level(logging.WARNING):
        estimator = TabulatedEstimator(used, tmp_path / "t.csv")

    assert estimator.error(rows).tolist() == [0.1] * 3
    assert "was made for resnet9@16 and is used for resnet9" in caplog.text
