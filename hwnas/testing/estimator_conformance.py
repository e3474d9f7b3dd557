"""What every estimator must do, as tests that a plug-in's author inherits.

In a test file of yours, with `pytest` collecting the inherited tests::

    class TestMyEstimator(EstimatorConformance):
        @pytest.fixture
        def make_estimator(self):
            return lambda: MyEstimator(get_space("mbconv-digits"))

        @pytest.fixture
        def space(self):
            return get_space("mbconv-digits")
"""

from collections.abc import Callable

import numpy as np
import pytest

from hwnas.errors import SpaceError
from hwnas.estimators import Estimator
from hwnas.spaces import SearchSpace

__all__ = ["EstimatorConformance", "MakeEstimator"]

MakeEstimator = Callable[[], Estimator]
"""Makes a fresh estimator of the fixture's space."""


class EstimatorConformance:
    """Inherit it, and give the fixtures `make_estimator` and `space`."""

    rows = 5

    def test_an_estimator_keeps_the_protocol_and_has_a_name(
        self, make_estimator: MakeEstimator
    ) -> None:
        """The class can be told by its name."""
        estimator = make_estimator()

        assert isinstance(estimator, Estimator)
        assert isinstance(estimator.name, str)
        assert estimator.name

    def test_there_is_one_finite_error_for_each_row(
        self, make_estimator: MakeEstimator, space: SearchSpace
    ) -> None:
        """Shape, type and values."""
        population = space.sample(self.rows, np.random.default_rng(0))

        errors = make_estimator().error(population)

        assert errors.shape == (self.rows,)
        assert errors.dtype == np.float64
        assert np.isfinite(errors).all()

    def test_the_same_rows_get_the_same_errors_from_two_estimators(
        self, make_estimator: MakeEstimator, space: SearchSpace
    ) -> None:
        """Nothing is left to chance."""
        population = space.sample(self.rows, np.random.default_rng(1))

        np.testing.assert_array_equal(
            make_estimator().error(population), make_estimator().error(population)
        )

    def test_an_error_does_not_depend_on_the_other_rows(
        self, make_estimator: MakeEstimator, space: SearchSpace
    ) -> None:
        """Order and company are without effect."""
        population = space.sample(self.rows, np.random.default_rng(2))

        together = make_estimator().error(population)
        alone = make_estimator()
        apart = np.concatenate([alone.error(row[None]) for row in population[::-1]])[::-1]

        np.testing.assert_array_equal(together, apart)

    def test_rows_of_one_architecture_get_one_error(
        self, make_estimator: MakeEstimator, space: SearchSpace
    ) -> None:
        """Inactive decisions are without effect."""
        rng = np.random.default_rng(3)
        free = rng.integers(space.option_counts, size=(self.rows, len(space.decisions)))
        population = free.astype(np.uint8)

        estimator = make_estimator()

        np.testing.assert_array_equal(
            estimator.error(population), estimator.error(space.canonicalise(population))
        )

    def test_queries_count_distinct_architectures(
        self, make_estimator: MakeEstimator, space: SearchSpace
    ) -> None:
        """Asking again is free."""
        population = space.sample(self.rows, np.random.default_rng(4))
        estimator = make_estimator()
        assert estimator.queries == 0

        estimator.error(np.concatenate([population, population]))
        seconds = estimator.seconds
        estimator.error(population)

        assert estimator.queries == len(np.unique(population, axis=0))
        assert estimator.seconds == seconds
        assert seconds > 0

    def test_an_empty_population_has_no_errors(
        self, make_estimator: MakeEstimator, space: SearchSpace
    ) -> None:
        """And costs nothing."""
        estimator = make_estimator()

        errors = estimator.error(np.empty((0, len(space.decisions)), np.uint8))

        assert errors.shape == (0,)
        assert estimator.queries == 0

    def test_a_population_of_another_space_is_refused(
        self, make_estimator: MakeEstimator, space: SearchSpace
    ) -> None:
        """By its width, or by an option that is not there."""
        estimator = make_estimator()

        with pytest.raises(SpaceError):
            estimator.error(np.zeros((2, len(space.decisions) + 1), np.uint8))
        with pytest.raises(SpaceError):
            estimator.error(np.full((1, len(space.decisions)), 254, np.uint8))

    def test_the_population_is_not_changed(
        self, make_estimator: MakeEstimator, space: SearchSpace
    ) -> None:
        """It belongs to the caller."""
        population = space.sample(self.rows, np.random.default_rng(5))
        before = population.copy()

        make_estimator().error(population)

        np.testing.assert_array_equal(population, before)
