from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from hwnas.costs import count_costs
from hwnas.datasets.dataset import load_dataset
from hwnas.errors import BudgetError, DataError, PluginError, RunError
from hwnas.search.budgets import Budget, Budgets
from hwnas.search.gradient.gradient_search import gradient_search
from hwnas.search.gradient.strategy import GradientStrategy
from hwnas.spaces import ChoiceBlock, Decision, SearchSpace
from hwnas.spaces.inverted_residual import classifier, conv_unit, inverted_residual, network_input
from hwnas.supernet.elastic import ElasticSupernet
from hwnas.training.options import TrainingOptions


@pytest.fixture(scope="module")
def digits():
    full = load_dataset("digits", resolution=8)
    return replace(full, name="tiny", x_train=full.x_train[:32], y_train=full.y_train[:32])


@pytest.fixture(scope="module")
def costs():
    """Two blocks of three kernels."""
    decisions = [Decision(f"{name}.kernel", (3, 5, 7)) for name in ("first", "second")]
    emit = partial(inverted_residual, width=8, expand=2)
    space = SearchSpace(
        "kernels",
        tuple(decisions),
        (
            ChoiceBlock("input", partial(network_input, channels=1, resolution=8)),
            ChoiceBlock("stem", partial(conv_unit, width=8, kernel=3)),
            ChoiceBlock("first", emit, {"kernel": "first.kernel"}),
            ChoiceBlock("second", emit, {"kernel": "second.kernel"}),
            ChoiceBlock("classifier", partial(classifier, classes=10)),
        ),
    )
    return count_costs(space)


class _Scripted(GradientStrategy):
    """Derives one row after another and draws a number an epoch."""

    name = "scripted"
    rows: tuple[tuple[int, int], ...] = ((2, 2),)
    wanted = 2

    def __init__(self, problem):
        super().__init__(problem)
        self.supernet = ElasticSupernet(self.space, problem.generator)
        self.epochs = 0

    def epoch(self, epoch):
        assert epoch == self.epochs
        self.epochs += 1
        drawn = float(torch.rand((), generator=self.problem.generator))
        return {"loss": drawn, "drawn": float(self.problem.rng.random())}

    def derive(self):
        return np.array(self.rows[min(self.epochs, len(self.rows)) - 1], dtype=np.uint8)

    def preference(self):
        return [np.array([0.0, 1.0, 2.0]), np.array([0.0, 10.0, 20.0])]

    def state(self):
        return {"epochs": self.epochs}

    def restore(self, state):
        self.epochs = state["epochs"]


def _strategy(*rows, warmup_share=0.0):
    return type("Scripted", (_Scripted,), {"rows": rows, "warmup_share": warmup_share})


def _macs(costs, row):
    return float(costs.cost(np.array([row], dtype=np.uint8))[0][costs.metrics.index("macs")])


def _budget(costs, row, factor=1.0001):
    return Budgets((Budget("macs", factor * _macs(costs, row)),))


def _search(costs, digits, strategy, budgets, epochs=4, **kwargs):
    options = TrainingOptions(epochs=epochs, batch_size=16)
    rng = np.random.default_rng(0)
    return gradient_search(digits, costs, budgets, strategy, options, rng=rng, **kwargs)


def test_the_derived_architecture_comes_first_and_earlier_ones_follow(costs, digits):
    strategy = _strategy((2, 2), (1, 1), (0, 1), (1, 0))

    found = _search(costs, digits, strategy, _budget(costs, (1, 1)))

    assert not found.repaired
    rows = found.population.tolist()
    assert rows[0] == [1, 0]
    assert [1, 1] in rows
    assert [0, 1] in rows
    assert [2, 2] not in rows
    assert len(set(map(tuple, rows))) == len(rows)


def test_an_architecture_over_a_budget_is_repaired_by_the_least_wanted_change(costs, digits):
    found = _search(costs, digits, _strategy((2, 2)), _budget(costs, (1, 2)))

    assert found.repaired
    assert found.population[0].tolist() == [1, 2]
    limit = 1.0001 * _macs(costs, (1, 2))
    assert all(_macs(costs, row) <= limit for row in found.population)


@pytest.mark.parametrize(
    ("rows", "epochs"), [(((1, 1),), 4), (((2, 2),) * 4 + ((1, 1),), 5), (((2, 2),), 6)]
)
def test_more_epochs_follow_while_a_budget_is_broken(costs, digits, rows, epochs):
    found = _search(costs, digits, _strategy(*rows), _budget(costs, (1, 1)))

    assert len(found.rows) == epochs


def test_rows_hold_the_cost_of_the_derived_architecture(costs, digits):
    found = _search(costs, digits, _strategy((2, 2), (1, 1)), _budget(costs, (1, 1)), epochs=2)

    assert [row["derived_macs"] for row in found.rows] == [
        _macs(costs, (2, 2)),
        _macs(costs, (1, 1)),
    ]


@pytest.mark.parametrize(("warmup_share", "updates"), [(0.0, 4), (0.5, 2), (1.0, 1)])
def test_budgets_adapt_to_nothing_in_the_warmup(costs, digits, warmup_share, updates):
    multipliers = []

    class Watched(_strategy((2, 2), warmup_share=warmup_share)):
        def epoch(self, epoch):
            multipliers.append(float(self.problem.hardware_loss.multipliers[0]))
            return super().epoch(epoch)

    _search(costs, digits, Watched, _budget(costs, (1, 1)))

    warmup = 4 - updates
    assert multipliers[: warmup + 1] == [0.0] * (warmup + 1)
    assert all(multiplier > 0.0 for multiplier in multipliers[warmup + 1 :])


class _StoppedError(Exception):
    pass


def test_a_resumed_run_ends_as_an_unbroken_one(costs, digits, tmp_path):
    strategy = _strategy((2, 2), (0, 1), (2, 1), (1, 1))
    path = tmp_path / "supernet.pt"

    def stop(epoch, epochs, metrics):
        if epoch == 2:
            raise _StoppedError

    whole = _search(costs, digits, strategy, _budget(costs, (1, 1)))
    with pytest.raises(_StoppedError):
        _search(costs, digits, strategy, _budget(costs, (1, 1)), checkpoint=path, progress=stop)
    found = _search(costs, digits, strategy, _budget(costs, (1, 1)), checkpoint=path, resume=True)

    assert found.rows == whole.rows
    np.testing.assert_array_equal(found.population, whole.population)


def test_a_checkpoint_of_another_budget_is_refused(costs, digits, tmp_path):
    strategy, path = _strategy((0, 0)), tmp_path / "supernet.pt"
    _search(costs, digits, strategy, _budget(costs, (1, 1)), checkpoint=path)

    with pytest.raises(RunError, match="hardware loss"):
        _search(costs, digits, strategy, _budget(costs, (0, 1)), checkpoint=path, resume=True)


def test_a_budget_that_no_architecture_meets_is_named(costs, digits):
    with pytest.raises(BudgetError, match="no architecture of kernels"):
        _search(costs, digits, _strategy((0, 0)), _budget(costs, (0, 0), 0.5), epochs=1)


def test_without_a_budget_the_first_additive_metric_is_the_cost(costs, digits):
    strategy = _strategy((0, 0))
    seen = []

    class Watched(strategy):
        def epoch(self, epoch):
            seen.append(self.problem.expected.metrics)
            return super().epoch(epoch)

    _search(costs, digits, Watched, Budgets(), epochs=1)

    assert seen == [("macs",)]


def test_unknown_strategies_and_images_that_do_not_fit_are_refused(costs, digits):
    with pytest.raises(PluginError, match="unknown gradient-based strategy 'nothing'"):
        _search(costs, digits, "nothing", _budget(costs, (1, 1)))
    with pytest.raises(DataError):
        _search(costs, load_dataset("digits", resolution=16), _strategy((0, 0)), Budgets())
