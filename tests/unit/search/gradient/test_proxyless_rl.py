from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from hwnas.costs.counted import count_costs
from hwnas.costs.differentiable import DifferentiableCosts
from hwnas.datasets.dataset import load_dataset
from hwnas.errors import RunError
from hwnas.search.budgets import Budget, Budgets
from hwnas.search.gradient.gradient_search import gradient_search
from hwnas.search.gradient.hardware_loss import make_hardware_loss
from hwnas.search.gradient.proxyless_rl import ProxylessRl
from hwnas.search.gradient.strategy import GradientProblem
from hwnas.spaces import ChoiceBlock, Decision, SearchSpace
from hwnas.spaces.inverted_residual import classifier, conv_unit, network_input
from hwnas.training.options import TrainingOptions

OPTIONS = TrainingOptions(epochs=3, batch_size=16, augmentation=None)


@pytest.fixture(scope="module")
def digits():
    full = load_dataset("digits", resolution=16)
    return replace(full, x_train=full.x_train[:64], y_train=full.y_train[:64])


@pytest.fixture(scope="module")
def costs():
    """A width that two blocks see, which has no mixture, and a kernel."""
    space = SearchSpace(
        "shared-width",
        (Decision("width", (4, 8, 16)), Decision("b.kernel", (3, 5))),
        (
            ChoiceBlock("input", partial(network_input, channels=1, resolution=16)),
            ChoiceBlock("a", partial(conv_unit, kernel=3, stride=2), {"width": "width"}),
            ChoiceBlock(
                "b",
                partial(conv_unit, width=8, stride=2),
                {"kernel": "b.kernel"},
                shaped_by=("width",),
            ),
            ChoiceBlock("classifier", partial(classifier, classes=10)),
        ),
    )
    return count_costs(space, ["macs"])


def make_strategy(costs, dataset, *, budget=0.5, options=OPTIONS):
    largest = costs.cost(costs.space.largest().row()[None])[0].tolist()
    limits = (Budget("macs", budget * largest[0]),) if budget else ()
    return ProxylessRl(
        GradientProblem(
            costs.space,
            dataset,
            costs,
            Budgets(limits),
            DifferentiableCosts(costs),
            make_hardware_loss("log", largest=largest),
            options,
            np.random.default_rng(0),
            torch.Generator().manual_seed(0),
        )
    )


def test_the_reward_is_accuracy_times_the_root_of_the_cost_ratio(costs, digits):
    whole = replace(OPTIONS, batch_size=64)
    free = make_strategy(costs, digits, budget=None, options=whole)
    bound = make_strategy(costs, digits, budget=0.5, options=whole)
    drawn = [[0, 0], [2, 1], [1, 0]]

    plain, mean = free.rewards(drawn)
    scaled, _ = bound.rewards(drawn)

    rows = np.stack([free.paths.row(path) for path in drawn])
    ratios = bound.problem.budgets.limits[0].limit / costs.cost(rows)[:, 0].astype(float)
    assert mean == pytest.approx(plain.mean())
    assert (plain > 0).all()
    np.testing.assert_allclose(scaled, plain * ratios**0.1, rtol=1e-12)


def test_rewarded_networks_become_more_likely(costs, digits):
    strategy = make_strategy(costs, digits)
    strategy.rewards = lambda drawn: (np.array([float(path[0] == 1) for path in drawn]), 0.0)

    for _ in range(60):
        strategy.architecture_step()

    widths = strategy.paths.probabilities()[0].detach()
    assert float(widths[1]) > 0.9
    assert strategy.derive()[0] == 1


def test_the_update_is_the_mean_of_advantage_times_score(costs, digits):
    strategy = make_strategy(costs, digits)
    strategy.baseline = 0.5
    given, drawn = np.linspace(0.0, 1.0, strategy.networks), []
    strategy.rewards = lambda paths: (drawn.extend(paths) or given, 0.0)
    taken = []
    strategy.update = taken.extend

    strategy.architecture_step()

    for g, found in enumerate(taken):
        p = strategy.paths.probabilities()[g].detach().numpy()
        scores = np.eye(len(p))[[path[g] for path in drawn]] - p
        wanted = -((given - 0.5)[:, None] * scores).mean(axis=0)
        np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-12)


def test_the_baseline_nearly_forgets(costs, digits):
    strategy = make_strategy(costs, digits)
    rewards = iter([1.0, 0.0])
    strategy.rewards = lambda drawn: (np.full(len(drawn), next(rewards)), 0.0)

    strategy.architecture_step()
    first = strategy.baseline
    strategy.architecture_step()

    assert first == pytest.approx(1.0)
    assert strategy.baseline == pytest.approx(0.01)


def test_updates_are_spread_over_an_epoch(costs, digits):
    options = replace(OPTIONS, epochs=1, batch_size=4)  # 16 weight steps
    strategy = make_strategy(costs, digits, options=options)
    steps = []
    strategy.architecture_step = lambda: steps.append(1) or {"reward": 0.0}

    strategy.epoch(0)

    assert len(steps) == strategy.updates_per_epoch


def test_a_broken_search_goes_on_to_the_same_result(costs, digits, tmp_path):
    budgets = make_strategy(costs, digits).problem.budgets

    def search(file, progress=None, resume=False):
        return gradient_search(
            digits,
            costs,
            budgets,
            ProxylessRl,
            OPTIONS,
            rng=np.random.default_rng(7),
            checkpoint=tmp_path / file,
            progress=progress,
            resume=resume,
        )

    def stop(epoch, epochs, metrics):
        if epoch == 2:
            raise KeyboardInterrupt

    whole = search("whole")
    with pytest.raises(KeyboardInterrupt):
        search("broken", stop)
    resumed = search("broken", resume=True)

    assert np.array_equal(whole.population, resumed.population)
    assert [row["reward"] for row in whole.rows[1:]] == [row["reward"] for row in resumed.rows[1:]]
    for one, two in zip(whole.supernet.parameters(), resumed.supernet.parameters(), strict=True):
        assert torch.equal(one, two)


def test_a_damaged_baseline_is_refused(costs, digits):
    strategy = make_strategy(costs, digits)

    with pytest.raises(RunError, match="baseline"):
        strategy.restore(strategy.state() | {"baseline": "high"})
