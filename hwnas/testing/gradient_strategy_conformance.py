"""What every gradient-based strategy must do, as tests that a plug-in's author inherits.

In a test file of yours, with `pytest` collecting the inherited tests::

    class TestMyStrategy(GradientStrategyConformance):
        @pytest.fixture
        def strategy(self):
            return MyStrategy

        @pytest.fixture
        def space(self):
            return a_space_that_it_is_for()

The space's networks take 1x16x16 images, so that a search takes seconds.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from hwnas.costs import CompiledCosts, count_costs
from hwnas.errors import BudgetError
from hwnas.search import Budget, Budgets
from hwnas.search.gradient.gradient_search import GradientResult, gradient_search
from hwnas.search.gradient.strategy import GradientStrategy
from hwnas.spaces import SearchSpace
from hwnas.testing.recipe_conformance import small_digits
from hwnas.training.checkpoint import load_supernet
from hwnas.training.path_gradients import Metrics

__all__ = ["GradientStrategyConformance"]


class _KilledError(Exception):
    """Stands for a kill between two epochs."""


class GradientStrategyConformance:
    """Tests of a gradient-based strategy; give the fixtures `strategy` and `space`."""

    epochs = 3

    @pytest.fixture
    def strategy(self) -> type[GradientStrategy]:
        """The strategy's class."""
        raise NotImplementedError

    @pytest.fixture
    def space(self) -> SearchSpace:
        """A space that it is for."""
        raise NotImplementedError

    def test_what_it_hands_over_meets_the_budget(
        self, strategy: type[GradientStrategy], space: SearchSpace
    ) -> None:
        """Halfway between the smallest and the largest network, and only a little above."""
        costs, low, high = _costs(space)
        for limit in (0.5 * (low + high), low + 0.02 * (high - low)):
            budgets = Budgets((Budget("macs", limit),))
            found = self._searched(strategy, costs, budgets, seed=0)

            values = costs.cost(found.population)[:, 0]
            assert (values <= limit).all()
            assert (space.canonicalise(found.population) == found.population).all()
            assert len(np.unique(found.population, axis=0)) == len(found.population)

    def test_its_networks_take_weights_from_its_supernet(
        self, strategy: type[GradientStrategy], space: SearchSpace, tmp_path: Path
    ) -> None:
        """From the checkpoint too."""
        costs, _, _ = _costs(space)
        path = tmp_path / "supernet.pt"
        found = self._searched(strategy, costs, Budgets(), seed=0, checkpoint=path)
        images = torch.from_numpy(small_digits().x_val[:16])
        architecture = space.architecture(found.population[0])
        loaded = load_supernet(path, space)
        statistics = loaded.calibrate(architecture, images)

        logits = found.supernet.logits(architecture, images, statistics)

        assert torch.isfinite(logits).all()
        assert torch.equal(logits, loaded.logits(architecture, images, statistics))

    def test_broken_at_any_epoch_it_goes_on_to_the_same_result(
        self, strategy: type[GradientStrategy], space: SearchSpace, tmp_path: Path
    ) -> None:
        """Bit for bit, from whatever seed the second call is given."""
        costs, low, high = _costs(space)
        budgets = Budgets((Budget("macs", 0.5 * (low + high)),))
        whole = self._searched(strategy, costs, budgets, seed=0)
        for last in range(1, self.epochs):
            path = tmp_path / f"{last}.pt"

            def kill(epoch: int, epochs: int, metrics: Metrics, last: int = last) -> None:
                del epochs, metrics
                if epoch == last:
                    raise _KilledError

            with pytest.raises(_KilledError):
                self._searched(strategy, costs, budgets, seed=0, checkpoint=path, progress=kill)
            resumed = self._searched(
                strategy, costs, budgets, seed=9, checkpoint=path, resume=True
            )

            assert np.array_equal(resumed.population, whole.population)
            left, right = resumed.supernet.state_dict(), whole.supernet.state_dict()
            assert all(torch.equal(left[name], right[name]) for name in right)

    def test_a_budget_that_nothing_meets_is_said(
        self, strategy: type[GradientStrategy], space: SearchSpace
    ) -> None:
        """By the error that means just that."""
        costs, low, _ = _costs(space)
        with pytest.raises(BudgetError):
            self._searched(strategy, costs, Budgets((Budget("macs", 0.5 * low),)), seed=0)

    def _searched(
        self,
        strategy: type[GradientStrategy],
        costs: CompiledCosts,
        budgets: Budgets,
        seed: int,
        **more: object,
    ) -> GradientResult:
        options = replace(strategy.defaults, epochs=self.epochs, batch_size=32)
        return gradient_search(
            small_digits(),
            costs,
            budgets,
            strategy,
            options,
            rng=np.random.default_rng(seed),
            **more,  # type: ignore[arg-type]
        )


def _costs(space: SearchSpace) -> tuple[CompiledCosts, float, float]:
    """Counted operations, and those of the smallest and the largest network."""
    costs = count_costs(space, ("macs",))
    rows = np.stack([space.smallest().row(), space.largest().row()])
    low, high = costs.cost(rows)[:, 0].tolist()
    return costs, low, high
